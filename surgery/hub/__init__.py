"""Model cards and publishing: the only package that writes to the network."""
