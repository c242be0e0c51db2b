"""Runnable examples; a folder is a program: `python -m examples.translation --help`."""
