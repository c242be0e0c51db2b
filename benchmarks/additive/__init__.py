"""Additive attention, forward and backward."""
