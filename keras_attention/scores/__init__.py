"""Scores: how well a query matches each memory position.

A score is a layer. `prepare(memory)` returns the keys, once per memory; `call(query, keys)` returns
the scores. It is independent of masks, softmax, values and time, so every score goes with every
alignment. Shapes: B batch, T query steps, S memory steps, D features, U units.
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
    """Returns the score that `identifier` stands for: a name, a config, or a `Score` itself.

    The names are those in `names` of the score classes; an unknown name's error lists them. A score
    with a required argument, such as `Location`, has no name: pass an instance.
    """
    return get_part("score", identifier, Score, dtype)
