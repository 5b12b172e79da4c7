"""Tensors in, tensor out."""
