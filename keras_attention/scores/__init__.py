"""Scores: how well a query matches each memory position.

A score is a layer. `prepare(memory)` returns the keys, which are computed once per memory, and
`call(query, keys)` returns the scores. A score does not depend on masks, the softmax, values or
time, so every score can be combined with every alignment. Shapes: B batch, T query steps, S memory
steps, D features, U units.
"""

from typing import Any

from keras_attention._internal.part import get_part
from keras_attention.scores.additive import Additive as Additive
from keras_attention.scores.base import Score as Score
from keras_attention.scores.cosine import Cosine as Cosine
from keras_attention.scores.dot_product import Dot as Dot
from keras_attention.scores.dot_product import General as General
from keras_attention.scores.dot_product import ScaledDot as ScaledDot
from keras_attention.scores.location import Location as Location


def get(identifier: Any, dtype: Any = None) -> Score:
    """Returns the score that `identifier` stands for: a name, a config or a `Score` itself.

    The names are those in the attribute `names` of each score class. A score with a required
    argument, such as `Location`, has no name: pass an instance.

    Raises:
        ValueError: If `identifier` is none of these. The error for an unknown name lists all names.

    Example:

    >>> type(ka.scores.get("general")).__name__
    'General'
    """
    return get_part("score", identifier, Score, dtype)
