"""Scores: how well a query matches each memory position.

A score is a layer. `prepare(memory)` gives the keys, once per memory; `call(query, keys)` gives the
scores. It knows no masks, no softmax, no values and no time, so every score goes with every
alignment. Shapes: B batch, T query steps, S memory steps, D widths, U units.
"""

from keras_attention import identifiers
from keras_attention.scores.additive import Additive as Additive
from keras_attention.scores.content import Dot as Dot
from keras_attention.scores.content import General as General
from keras_attention.scores.content import ScaledDot as ScaledDot
from keras_attention.scores.cosine import Cosine as Cosine
from keras_attention.scores.location import Location as Location
from keras_attention.scores.score import Score as Score

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
    return identifiers.resolve("score", identifier, Score, _BY_NAME, dtype)
