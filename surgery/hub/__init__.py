"""Model cards and publishing: the only room that writes to the network."""
