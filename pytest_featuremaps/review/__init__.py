"""What failed comparisons leave, and what people do with it; the standard library alone."""
