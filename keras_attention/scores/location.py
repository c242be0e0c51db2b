"""The location score: Luong's, which reads the query alone."""

from typing import final

import keras
from keras import ops

from keras_attention._internal import validation
from keras_attention._ops.dense import dense
from keras_attention.scores.base import Score


@final
@keras.saving.register_keras_serializable("keras_attention")
class Location(Score):
    """A score of each position, whatever stands there.

        score(h_t, m_s) = (W_a h_t)_s                                   (eq. 8, "location")

    W_a^T is the weight `kernel` (Dq, max_length), a column per position. A memory of S positions
    is scored by the first S of them.

    Args:
        max_length: The longest memory.
        kernel_initializer: Initializer of `kernel`.

    Raises:
        ValueError: A memory is longer than `max_length`. Where the length is unknown until the
            graph runs, the backend's own error about the shapes comes instead.

    Example:

    >>> score = ka.scores.Location(max_length=11)
    >>> score.build((2, 3, 7), (2, 5, 13))
    >>> tuple(score(np.ones((2, 3, 7)), score.prepare(np.ones((2, 5, 13)))).shape)
    (2, 3, 5)

    Reference: Luong, Pham, Manning 2015, "Effective Approaches to Attention-based Neural Machine
    Translation", arXiv:1508.04025, section 3.1.
    """

    def __init__(self, max_length, kernel_initializer="glorot_uniform", **kwargs):
        super().__init__(**kwargs)
        self.max_length = validation.positive_integer("max_length", max_length)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def add_variables(self, query_width, memory_width):
        self.kernel = self.add_weight(
            name="kernel",
            shape=(query_width, self.max_length),
            initializer=self.kernel_initializer,
        )

    def make_keys(self, memory):
        if memory.shape[1] is not None and memory.shape[1] > self.max_length:
            raise ValueError(
                f"The memory has length {memory.shape[1]}; "
                f"expected at most `max_length`, {self.max_length}."
            )
        return memory[:, :, :1]  # What counts is how many there are.

    def call(self, query, keys):
        scores = dense(query, self._cast(self.kernel))  # (B, T, max_length)
        return scores[:, :, : ops.shape(keys)[1]]

    def get_config(self):
        return {
            **super().get_config(),
            "max_length": self.max_length,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }
