"""This run of pytest, and another one that it starts."""
