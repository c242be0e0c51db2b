"""Beam search with a translator."""
