"""Plumbing between Keras and the layers: validation, serialization, RNN loops, masks."""
