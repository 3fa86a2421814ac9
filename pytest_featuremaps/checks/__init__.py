"""What is held against a feature map: shapes, bounds, health."""
