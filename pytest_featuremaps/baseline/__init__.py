"""The table of numbers: written, read, aligned and compared."""
