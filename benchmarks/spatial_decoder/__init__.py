"""A decoder that looks at the regions of a picture."""
