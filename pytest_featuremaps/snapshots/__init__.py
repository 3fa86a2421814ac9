"""`feature_snapshot`, and what a failed comparison leaves."""
