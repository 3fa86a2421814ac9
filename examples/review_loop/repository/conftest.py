"""Make `stripes` importable in the tests."""
