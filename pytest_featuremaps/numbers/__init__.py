"""Plain values in, plain values out: statistics, sketches, digests."""
