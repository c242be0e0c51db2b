"""The additive score: Bahdanau's, and Luong's concat."""

from typing import final

import keras
from keras import ops

from keras_attention._internal import serialization, validation
from keras_attention._ops.additive_scores import additive_scores
from keras_attention._ops.dense import dense
from keras_attention.scores.base import Score


@final
@keras.saving.register_keras_serializable("keras_attention")
class Additive(Score):
    """A small network over query and memory; Luong's "concat" is the same function.

        score(s_t, m_s) = v^T tanh(W s_t + U m_s)                       (appendix A.1.2)

    and with `normalize`, v is kept apart from its length and a bias is added:

        score(s_t, m_s) = g (v / |v|)^T tanh(W s_t + U m_s + b)

    Weights: `query_kernel` (Dq, units), `key_kernel` (Dk, units), `score_vector` (units,), and with
    `normalize` `gain` () and `bias` (units,). The keys are U m, projected once per memory.

    Memory: of the order of the scores (B, T, S) and of the projections, forward and backward and
    whatever `units` is. The hidden layer of all pairs, (B, T, S, units), is held where it is small
    only, and computed again for the gradients.

    Args:
        units: Width of the hidden layer. None: as many as the query is wide.
        normalize: Whether to use weight normalisation.
        kernel_initializer: Initializer of the kernels and of `score_vector`.

    Example:

    >>> score = ka.scores.Additive(13)
    >>> score.build((2, 3, 7), (2, 5, 11))
    >>> [tuple(weight.shape) for weight in score.weights]
    [(7, 13), (11, 13), (13,)]

    References: Bahdanau, Cho, Bengio 2015, "Neural Machine Translation by Jointly Learning to Align
    and Translate", arXiv:1409.0473; Salimans, Kingma 2016, "Weight Normalization",
    arXiv:1602.07868.
    """

    def __init__(self, units=None, normalize=False, kernel_initializer="glorot_uniform", **kwargs):
        super().__init__(**kwargs)
        self.units = None if units is None else validation.positive_integer("units", units)
        self.normalize = normalize
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def add_variables(self, query_width, memory_width):
        units = self.units or query_width

        def add(name, shape):
            initializer = serialization.clone_initializer(self.kernel_initializer)
            return self.add_weight(name=name, shape=shape, initializer=initializer)

        self.query_kernel = add("query_kernel", (query_width, units))
        self.key_kernel = add("key_kernel", (memory_width, units))
        self.score_vector = add("score_vector", (units,))
        if self.normalize:
            self.gain = self.add_weight(
                name="gain", shape=(), initializer=keras.initializers.Constant(units**-0.5)
            )
            self.bias = self.add_weight(name="bias", shape=(units,), initializer="zeros")

    def make_keys(self, memory):
        keys = dense(memory, self._cast(self.key_kernel))  # (B, S, U)
        return keys + self._cast(self.bias) if self.normalize else keys

    def call(self, query, keys):
        query = dense(query, self._cast(self.query_kernel))  # (B, T, U)
        return additive_scores(query, keys, self._direction())

    def _direction(self):
        if not self.normalize:
            return self._cast(self.score_vector)
        vector = ops.convert_to_tensor(self.score_vector)
        length = ops.sqrt(ops.maximum(ops.sum(ops.square(vector)), 1e-12))
        return self._cast(self.gain * vector / length)

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "normalize": self.normalize,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }
