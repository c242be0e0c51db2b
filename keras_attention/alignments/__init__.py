"""Alignments: how scores become weights.

An alignment is a layer: `call(scores, mask, query, state, noise) -> (weights, state)`. A softmax
needs only the scores and the mask. Other alignments read the query, remember their last weights, or
sample. All random numbers come from `sample_noise`, which a decoder calls before its loop, so that
a step is a function of its arguments.
"""

from typing import Any

from keras_attention._internal.part import get_part
from keras_attention.alignments.base import Alignment as Alignment
from keras_attention.alignments.hard import Hard as Hard
from keras_attention.alignments.local import LocalMonotonic as LocalMonotonic
from keras_attention.alignments.local import LocalPredictive as LocalPredictive
from keras_attention.alignments.monotonic import Monotonic as Monotonic
from keras_attention.alignments.softmax import Softmax as Softmax
from keras_attention.alignments.sparse import Entmax15 as Entmax15
from keras_attention.alignments.sparse import Sparsemax as Sparsemax
from keras_attention.alignments.straight_through import StraightThrough as StraightThrough


def get(identifier: Any, dtype: Any = None) -> Alignment:
    """Returns the alignment that `identifier` stands for: a name, a config or an `Alignment`.

    The names are those in the attribute `names` of each alignment class. An alignment with required
    arguments, such as a local one, has no name: pass an instance.

    Raises:
        ValueError: If `identifier` is none of these. The error for an unknown name lists all names.

    Example:

    >>> type(ka.alignments.get("sparsemax")).__name__
    'Sparsemax'
    """
    return get_part("alignment", identifier, Alignment, dtype)
