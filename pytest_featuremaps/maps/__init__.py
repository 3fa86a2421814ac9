"""Feature maps: one, all of a recording, and what can be asked of them."""
