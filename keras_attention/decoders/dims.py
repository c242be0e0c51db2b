"""The sizes inside a decoder."""

from typing import NamedTuple


class DecoderDims(NamedTuple):
    """The sizes inside a decoder.

    Attributes:
        extra_input: Size of the context or attentional vector that is concatenated to the cell's
            input; 0 for none.
        query: Size of the queries.
        output: Size of the outputs, O.
    """

    extra_input: int
    query: int
    output: int
