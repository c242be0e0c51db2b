"""Scores: how well a query matches each memory position.

A score is a layer. `prepare(memory)` gives the keys, once per memory; `call(query, keys)` gives the
scores. It knows no masks, no softmax, no values and no time, so every score goes with every
alignment. Shapes: B batch, T query steps, S memory steps, D widths, U units.
"""

from keras_attention._internal import serialization
from keras_attention.scores.additive import Additive as Additive
from keras_attention.scores.base import Score as Score
from keras_attention.scores.cosine import Cosine as Cosine
from keras_attention.scores.dot_product import Dot as Dot
from keras_attention.scores.dot_product import General as General
from keras_attention.scores.dot_product import ScaledDot as ScaledDot
from keras_attention.scores.location import Location as Location

_BY_NAME = {
    "dot": Dot,
    "scaled_dot": ScaledDot,
    "general": General,
    "additive": Additive,
    "concat": Additive,
    "cosine": Cosine,
}


def get(identifier, dtype=None) -> Score:
    """Returns the score that `identifier` names: a name, a config, or a `Score` itself.

    Names: "dot", "scaled_dot", "general", "additive", "cosine", and "concat", Luong's name for
    "additive". `Location` needs an argument, and so has none.
    """
    return serialization.get_part("score", identifier, Score, _BY_NAME, dtype)
