"""A run that compares with a git revision, whose code runs the same tests on this machine."""
