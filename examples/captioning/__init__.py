"""A captioner with attention, from pixels to exported model: `python -m examples.captioning`."""
