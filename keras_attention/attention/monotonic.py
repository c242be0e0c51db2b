"""Monotonic attention (Raffel 2017): it moves forward along the memory, never back."""

from typing import Any, final

import keras

from keras_attention._internal.typing import Config, Initializer
from keras_attention.alignments import Monotonic
from keras_attention.attention.scored import ScoredAttention
from keras_attention.attention.sequence import SequenceAttention


@final
@keras.saving.register_keras_serializable("keras_attention")
class MonotonicAttention(ScoredAttention, SequenceAttention):
    """Each step stops at a position at or after the one where the previous step stopped.

        p_ij = sigmoid(score(s_i-1, m_j) + r + noise)                   (eq. 11-12)
        a_ij = p_ij ((1 - p_i,j-1) a_i,j-1 / p_i,j-1 + a_i-1,j)         (eq. 10)
        c_i = sum_j a_ij m_j                                            (eq. 3)

    A call processes its queries in order. Train with noise. For inference, load the weights into a
    layer with the mode "hard": its steps depend on the memory only up to where they stop, so the
    memory can come as a stream.

    Args:
        score: A `ka.scores.Score` or its name. The paper uses `ka.scores.Additive(units,
            normalize=True)`. With "general" the layer is TensorFlow Addons'
            `LuongMonotonicAttention`.
        mode: "recursive", "parallel" or "hard"; see `ka.alignments.Monotonic`.
        noise: Standard deviation of the noise that is added before the sigmoid in training.
        bias_initializer: Initializer of r.
        dropout: Fraction of the attention weights to drop in training.
        seed: Seed of the noise and the dropout.

    Call arguments, Returns, Masking: see `call`. A masked query does not change the state.

    Raises:
        ValueError: If `mode` is none of these, or an argument is out of its range.

    Example:

    >>> attention = ka.MonotonicAttention(ka.scores.Additive(13, normalize=True), noise=1.0)
    >>> tuple(attention(np.ones((2, 3, 7)), np.ones((2, 5, 11))).shape)
    (2, 3, 11)

    Reference: Raffel, Luong, Liu, Weiss, Eck 2017, "Online and Linear-Time Attention by Enforcing
    Monotonic Alignments", arXiv:1704.00784.
    """

    def __init__(
        self,
        score: Any = "additive",
        mode: str = "recursive",
        noise: float = 0.0,
        bias_initializer: Initializer = "zeros",
        dropout: float = 0.0,
        seed: int | None = None,
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        alignment = Monotonic(mode, noise, bias_initializer, seed, dtype=dtype)
        super().__init__(score, alignment, dropout, seed, dtype=dtype, **kwargs)

    def get_config(self) -> Config:
        alignment = self.alignment.get_config()
        parts = {name: alignment[name] for name in ("mode", "noise", "bias_initializer")}
        score = keras.saving.serialize_keras_object(self.score)
        return {**super().get_config(), **parts, "score": score}
