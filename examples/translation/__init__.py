"""A translator with attention, from corpus to exported model: `python -m examples.translation`."""
