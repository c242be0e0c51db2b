"""Alignments: how scores become weights.

An alignment is a layer: `call(scores, mask, query, state, noise) -> (weights, state)`. Anything
shaped like a softmax is one; the other arguments are there for alignments that look at the query,
remember their last weights, or draw. All that is random is drawn by `sample_noise` before a
decoder's loop, so that a step is a function of its arguments.
"""

from keras_attention._internal import serialization
from keras_attention.alignments.base import Alignment as Alignment
from keras_attention.alignments.hard import Hard as Hard
from keras_attention.alignments.local import LocalMonotonic as LocalMonotonic
from keras_attention.alignments.local import LocalPredictive as LocalPredictive
from keras_attention.alignments.monotonic import Monotonic as Monotonic
from keras_attention.alignments.softmax import Softmax as Softmax
from keras_attention.alignments.sparse import Entmax15 as Entmax15
from keras_attention.alignments.sparse import Sparsemax as Sparsemax
from keras_attention.alignments.straight_through import StraightThrough as StraightThrough

_BY_NAME = {
    "softmax": Softmax,
    "sparsemax": Sparsemax,
    "entmax15": Entmax15,
    "monotonic": Monotonic,
    "hard": Hard,
    "straight_through": StraightThrough,
}


def get(identifier, dtype=None) -> Alignment:
    """Returns the alignment that `identifier` names: a name, a config, or an `Alignment` itself.

    Names: "softmax", "sparsemax", "entmax15", "monotonic", "hard", "straight_through". Local
    alignments need arguments, and so have none.
    """
    return serialization.get_part("alignment", identifier, Alignment, _BY_NAME, dtype)
