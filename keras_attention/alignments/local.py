"""Local alignments: Luong's windows around a position, which is the step's or predicted."""

from typing import final

import keras
from keras import ops

from keras_attention import masks
from keras_attention._internal import serialization, validation
from keras_attention._ops.dense import dense
from keras_attention.alignments.base import Alignment


@final
@keras.saving.register_keras_serializable("keras_attention")
class LocalMonotonic(Alignment):
    """A softmax over a window that moves on by one position a step: "local-m".

        p_t = t                                                         (section 3.2)
        a_t = softmax over s in [p_t - D, p_t + D]

    Positions and steps count from 0. A window that lies past the memory's end holds nothing: its
    weights are zero. A step that is masked, or that may look nowhere, is not counted.

    Args:
        window: D, 0 or more.

    Masking: the softmax runs over the allowed positions in the window.

    Example:

    >>> weights, _ = ka.alignments.LocalMonotonic(window=1)(np.zeros((1, 3, 4)))
    >>> np.array(weights, float)[0].round(2).tolist()
    [[0.5, 0.5, 0.0, 0.0], [0.33, 0.33, 0.33, 0.0], [0.0, 0.33, 0.33, 0.33]]

    Reference: Luong, Pham, Manning 2015, "Effective Approaches to Attention-based Neural Machine
    Translation", arXiv:1508.04025, section 3.2.
    """

    sequential = False

    def __init__(self, window, **kwargs):
        super().__init__(**kwargs)
        self.window = validation.not_negative("window", window)

    def add_variables(self, query_width):
        pass

    def call(self, scores, mask=None, query=None, state=(), noise=()):
        first = state[0] if len(state) else ops.zeros((1, 1), "int32")  # (B, 1)
        allowed = ops.ones_like(scores, "bool")
        if mask is not None:
            allowed = ops.logical_and(allowed, ops.cast(mask, "bool"))
        steps = ops.cast(ops.any(allowed, axis=-1), "int32")  # (B, T), 1 where there is a step
        counted = ops.cumsum(steps, axis=1)
        positions = ops.expand_dims(ops.cast(first + counted - 1, "float32"), -1)  # (B, T, 1)
        near = _near(positions, ops.shape(scores)[2], self.window)
        weights = masks.masked_softmax(scores, _both(mask, near))
        return weights, tuple(part + counted[:, -1:] for part in state)

    def initial_state(self, value):
        # Integers, as Keras casts floats to the compute dtype, and bfloat16 counts to 256 only.
        return (ops.zeros((ops.shape(value)[0], 1), "int32"),)

    def sample_noise(self, shape, training):
        return ()

    def get_config(self):
        return {**super().get_config(), "window": self.window}


@final
@keras.saving.register_keras_serializable("keras_attention")
class LocalPredictive(Alignment):
    """A softmax over a window around a predicted position, times a Gaussian: "local-p".

        p_t = S sigmoid(v_p^T tanh(W_p h_t))                            (eq. 9)
        a_ts = softmax_s(score(h_t, m_s)) exp(-(s - p_t)^2 / (2 sigma^2)),  sigma = D / 2   (eq. 10)

    The softmax runs over s in [p_t - D, p_t + D]; with the Gaussian, the weights sum to less than
    1. S is the true length: the last attended position plus 1.

    Weights: `position_kernel` (Dq, units), which is W_p^T, and `position_vector` (units,), v_p.

    Args:
        units: Width of the hidden layer.
        window: D, above 0.
        kernel_initializer: Initializer of both weights.

    Masking: the softmax runs over the allowed positions in the window, and S is their end.

    Example:

    >>> attention = ka.LuongAttention("dot", ka.alignments.LocalPredictive(units=5, window=2))
    >>> tuple(attention(np.ones((2, 3, 7)), np.ones((2, 11, 7))).shape)
    (2, 3, 7)

    Reference: Luong, Pham, Manning 2015, arXiv:1508.04025, section 3.2.
    """

    sequential = False

    def __init__(self, units, window, kernel_initializer="glorot_uniform", **kwargs):
        super().__init__(**kwargs)
        self.units = validation.positive_integer("units", units)
        self.window = validation.not_negative("window", window)
        if self.window == 0:
            raise ValueError("`window` is 0; expected a number above 0: sigma is half of it.")
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def add_variables(self, query_width):
        if query_width is None:
            raise ValueError(
                "`query` is missing; expected (batch, queries, width), which LocalPredictive "
                "predicts its positions from."
            )
        for name, shape in (
            ("position_kernel", (query_width, self.units)),
            ("position_vector", (self.units,)),
        ):
            initializer = serialization.clone_initializer(self.kernel_initializer)
            setattr(self, name, self.add_weight(name=name, shape=shape, initializer=initializer))

    def call(self, scores, mask=None, query=None, state=(), noise=()):
        length = ops.shape(scores)[2]
        positions = self._positions(query, _true_length(mask, length))  # (B, T, 1)
        near = _near(positions, length, self.window)
        weights = masks.masked_softmax(scores, _both(mask, near))
        distance = ops.subtract(_count(length), positions) / (self.window / 2)  # in sigmas
        gaussian = ops.exp(-ops.square(distance) / 2)
        return weights * ops.cast(gaussian, weights.dtype), state

    def initial_state(self, value):
        return ()

    def sample_noise(self, shape, training):
        return ()

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "window": self.window,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }

    def _positions(self, query, length):
        kernel = ops.cast(self.position_kernel, self.compute_dtype)
        hidden = ops.tanh(dense(query, kernel))  # (B, T, U)
        # At least float32 from here: bfloat16 knows 107 positions of 1,000.
        hidden = ops.cast(hidden, keras.backend.result_type(hidden.dtype, "float32"))
        vector = ops.cast(self.position_vector, hidden.dtype)
        share = ops.sigmoid(ops.sum(hidden * vector, axis=-1, keepdims=True))  # (B, T, 1)
        return share * ops.cast(length, share.dtype)


def _count(length):
    return ops.cast(ops.arange(length, dtype="int32"), "float32")


def _near(positions, length, window):
    """(B, T, S): where s is at most `window` from a position (B, T, 1)."""
    return ops.abs(ops.subtract(_count(length), positions)) <= window


def _both(mask, near):
    return near if mask is None else ops.logical_and(ops.cast(mask, "bool"), near)


def _true_length(mask, length):
    """The last position that `mask` allows, plus 1: broadcastable to (B, T, 1)."""
    if mask is None:
        return length
    ends = ops.where(ops.cast(mask, "bool"), _count(length) + 1, 0.0)
    return ops.max(ends, axis=-1, keepdims=True)
