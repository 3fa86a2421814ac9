"""What a layer, a call and a tensor in an output are called, and which of them a target means."""
