"""Numbers on the command lines of the small examples, which `argparse` reads."""

import argparse
import math


def positive_integer(text):
    """Reads an integer of at least 1."""
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r}; expected an integer of at least 1")
    return int(text)


def seed(text):
    """Reads an integer from 0 to 2**32 - 1, as NumPy's seeds are."""
    if not (text.isascii() and text.isdigit() and int(text) < 2**32):
        raise argparse.ArgumentTypeError(f"{text!r}; expected an integer from 0 to 2**32 - 1")
    return int(text)


def positive_number(text):
    """Reads a finite number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r}; expected a finite number above 0")
    return number
