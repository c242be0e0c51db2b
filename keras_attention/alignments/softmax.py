"""Softmax: the alignment of global attention."""

from typing import Any, final

import keras

from keras_attention import masks
from keras_attention._internal.typing import Tensor
from keras_attention.alignments.base import Alignment


@final
@keras.saving.register_keras_serializable("keras_attention")
class Softmax(Alignment):
    """A softmax over the whole memory: global soft attention.

        a_ts = exp(e_ts) / sum_s' exp(e_ts')                            (Bahdanau 2015, eq. 6)

    Masking: the sum runs over the allowed positions. A row that allows none gets zero weights.

    Example:

    >>> weights, _ = ka.alignments.Softmax()(np.zeros((1, 1, 4)), np.array([[[1, 1, 0, 0]]]))
    >>> np.array(weights)[0, 0].tolist()
    [0.5, 0.5, 0.0, 0.0]

    Reference: Bahdanau, Cho, Bengio 2015, arXiv:1409.0473.
    """

    names = ("softmax",)

    def call(
        self,
        scores: Tensor,
        mask: Tensor = None,
        query: Tensor = None,
        state: Any = (),
        noise: Any = (),
    ) -> tuple[Tensor, Any]:
        return masks.masked_softmax(scores, mask), state
