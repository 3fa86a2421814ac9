"""Keep the small repository out of the suite: it is tested where the script copies it to."""

collect_ignore = ["repository"]
