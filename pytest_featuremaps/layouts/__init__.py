"""What each axis of a feature map means, and where a channel lies in it."""
