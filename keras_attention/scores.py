"""Scores: how well a query matches each memory position.

A score is a layer. `prepare(memory)` gives the keys, once per memory; `call(query, keys)` gives the
scores. It knows no masks, no softmax, no values and no time, so every score goes with every
alignment. Shapes: B batch, T query steps, S memory steps, D widths, U units.
"""

import abc
from typing import final

import keras
from keras import ops

from keras_attention import checks, identifiers


class Score(keras.layers.Layer, abc.ABC):
    """Abstract: a score of each query against each memory position.

    The attention layer that owns a score builds it. Used alone, it is built by hand:
    `score.build(query_shape, memory_shape)`.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def build(self, query_shape, memory_shape=None):
        if memory_shape is None:
            raise ValueError(
                f"{type(self).__name__} '{self.name}' is not built, and the memory's width is not "
                "in the keys; call `build(query_shape, memory_shape)` first."
            )
        if query_shape[-1] is None or memory_shape[-1] is None:
            raise ValueError(
                f"`query` and memory have shapes {tuple(query_shape)} and {tuple(memory_shape)}; "
                "accepted are shapes whose last axis is known."
            )
        self.add_score_weights(query_shape[-1], memory_shape[-1])

    @abc.abstractmethod
    def add_score_weights(self, query_width: int, memory_width: int):
        """Adds the weights, and refuses widths that do not go together."""

    def prepare(self, memory):
        """Returns the keys, (B, S, any), of `memory` (B, S, Dk): work done once per memory."""
        if not self.built:
            raise ValueError(
                f"{type(self).__name__} '{self.name}' is not built; call the layer that owns it "
                "once, or `build(query_shape, memory_shape)`."
            )
        # Decoders prepare outside of `__call__`, where Keras does not cast for the layer.
        return self.project(ops.convert_to_tensor(memory, dtype=self.compute_dtype))

    @abc.abstractmethod
    def project(self, memory):
        """Returns the keys of a memory in the compute dtype."""

    @abc.abstractmethod
    def call(self, query, keys):
        """Returns the scores (B, T, S) of `query` (B, T, Dq) against prepared `keys`."""

    def compute_mask(self, query, previous_mask=None):
        return None  # A mask of the query says nothing about the last axis of the scores.

    def compute_output_shape(self, query_shape, keys_shape):
        return (query_shape[0], query_shape[1], keys_shape[1])

    def get_config(self):
        # Stated here, as Keras infers no config when a dtype policy is among the arguments.
        return dict(super().get_config())

    def _cast(self, weight):
        return ops.cast(weight, self.compute_dtype)


def _inner_product(query, keys):
    return ops.einsum("btd,bsd->bts", query, keys)


def _project(sequence, kernel):
    # As one product of two matrices: twice as fast, backward too, as the products of a batch.
    rows = ops.matmul(ops.reshape(sequence, (-1, kernel.shape[0])), kernel)
    return ops.reshape(rows, (-1, ops.shape(sequence)[1], kernel.shape[1]))


def _require_equal_widths(score, query_width, memory_width):
    if query_width != memory_width:
        raise ValueError(
            f"`query` has width {query_width}, but the memory has width {memory_width}; "
            f'{score} accepts equal widths only. For others use "general" or "additive".'
        )


@final
@keras.saving.register_keras_serializable("keras_attention")
class Dot(Score):
    """The inner product of query and memory.

        score(h_t, m_s) = h_t . m_s                                     (section 3.1, "dot")

    Query and memory have the same width.

    Example:

    >>> score = ka.scores.Dot()
    >>> score.build((2, 3, 7), (2, 5, 7))
    >>> tuple(score(np.ones((2, 3, 7)), score.prepare(np.ones((2, 5, 7)))).shape)
    (2, 3, 5)

    Reference: Luong, Pham, Manning 2015, "Effective Approaches to Attention-based Neural Machine
    Translation", arXiv:1508.04025.
    """

    def add_score_weights(self, query_width, memory_width):
        _require_equal_widths("Dot", query_width, memory_width)

    def project(self, memory):
        return memory

    def call(self, query, keys):
        return _inner_product(query, keys)


@final
@keras.saving.register_keras_serializable("keras_attention")
class ScaledDot(Score):
    """The inner product over the square root of the width.

        score(q_t, k_s) = q_t . k_s / sqrt(D)                           (eq. 1)

    Query and memory have the same width D. The division keeps the variance of the scores at that
    of the entries, whatever D.

    Example:

    >>> score = ka.scores.ScaledDot()
    >>> score.build((1, 1, 4), (1, 1, 4))
    >>> float(score(np.ones((1, 1, 4)), score.prepare(np.ones((1, 1, 4))))[0, 0, 0])
    2.0

    Reference: Vaswani et al. 2017, "Attention Is All You Need", arXiv:1706.03762.
    """

    def add_score_weights(self, query_width, memory_width):
        _require_equal_widths("ScaledDot", query_width, memory_width)

    def project(self, memory):
        return memory

    def call(self, query, keys):
        return _inner_product(query / query.shape[-1] ** 0.5, keys)


@final
@keras.saving.register_keras_serializable("keras_attention")
class General(Score):
    """The inner product through a learned matrix.

        score(h_t, m_s) = h_t^T W_a m_s                                 (section 3.1, "general")

    W_a^T is the weight `kernel` (Dk, Dq), and the keys are m W_a^T, projected once per memory.

    Args:
        use_scale: Whether to multiply the scores by one learned number, the weight `scale`, which
            starts at 1.
        kernel_initializer: Initializer of `kernel`.

    Example:

    >>> score = ka.scores.General()
    >>> score.build((2, 3, 7), (2, 5, 11))
    >>> tuple(score.kernel.shape)
    (11, 7)

    Reference: Luong, Pham, Manning 2015, arXiv:1508.04025.
    """

    def __init__(self, use_scale=False, kernel_initializer="glorot_uniform", **kwargs):
        super().__init__(**kwargs)
        self.use_scale = use_scale
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def add_score_weights(self, query_width, memory_width):
        self.kernel = self.add_weight(
            name="kernel",
            shape=(memory_width, query_width),
            initializer=self.kernel_initializer,
        )
        self.scale = (
            self.add_weight(name="scale", shape=(), initializer="ones") if self.use_scale else None
        )

    def project(self, memory):
        keys = ops.matmul(memory, self._cast(self.kernel))  # (B, S, Dq)
        return keys if self.scale is None else keys * self._cast(self.scale)

    def call(self, query, keys):
        return _inner_product(query, keys)

    def get_config(self):
        return {
            **super().get_config(),
            "use_scale": self.use_scale,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }


@final
@keras.saving.register_keras_serializable("keras_attention")
class Additive(Score):
    """A small network over query and memory; Luong's "concat" is the same function.

        score(s_t, m_s) = v^T tanh(W s_t + U m_s)                       (appendix A.1.2)

    and with `normalize`, v is kept apart from its length and a bias is added:

        score(s_t, m_s) = g (v / |v|)^T tanh(W s_t + U m_s + b)

    Weights: `query_kernel` (Dq, units), `key_kernel` (Dk, units), `score_vector` (units,), and with
    `normalize` `gain` () and `bias` (units,). The keys are U m, projected once per memory.

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
        self.units = None if units is None else checks.positive_integer("units", units)
        self.normalize = normalize
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def add_score_weights(self, query_width, memory_width):
        units = self.units or query_width

        def add(name, shape):
            initializer = self.kernel_initializer
            if isinstance(initializer, keras.initializers.Initializer):
                initializer = initializer.clone()  # One instance without a seed draws once.
            return self.add_weight(name=name, shape=shape, initializer=initializer)

        self.query_kernel = add("query_kernel", (query_width, units))
        self.key_kernel = add("key_kernel", (memory_width, units))
        self.score_vector = add("score_vector", (units,))
        if self.normalize:
            self.gain = self.add_weight(
                name="gain", shape=(), initializer=keras.initializers.Constant(units**-0.5)
            )
            self.bias = self.add_weight(name="bias", shape=(units,), initializer="zeros")

    def project(self, memory):
        keys = ops.matmul(memory, self._cast(self.key_kernel))  # (B, S, U)
        return keys + self._cast(self.bias) if self.normalize else keys

    def call(self, query, keys):
        query = _project(query, self._cast(self.query_kernel))  # (B, T, U)
        hidden = ops.tanh(ops.expand_dims(query, 2) + ops.expand_dims(keys, 1))  # (B, T, S, U)
        return ops.einsum("btsu,u->bts", hidden, self._direction())

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


_BY_NAME = {
    "dot": Dot,
    "scaled_dot": ScaledDot,
    "general": General,
    "additive": Additive,
    "concat": Additive,
}


def get(identifier, dtype=None) -> Score:
    """Returns the score that `identifier` names: a name, a config, or a `Score` itself.

    Names: "dot", "scaled_dot", "general", "additive", and "concat", Luong's name for "additive".
    """
    return identifiers.resolve("score", identifier, Score, _BY_NAME, dtype)
