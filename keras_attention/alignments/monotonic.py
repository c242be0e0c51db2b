"""Monotonic alignment: Raffel's walk along the memory, which never turns back."""

from typing import final

import keras
from keras import ops

from keras_attention import masks
from keras_attention._internal import rnn, validation
from keras_attention.alignments.base import Alignment

_MODES = ("parallel", "recursive", "hard")


@final
@keras.saving.register_keras_serializable("keras_attention")
class Monotonic(Alignment):
    """From where it stopped last, it moves on until a position is chosen.

        p_ij = sigmoid(e_ij + r + noise)                                (eq. 12)
        q_ij = (1 - p_i,j-1) q_i,j-1 + a_i-1,j,   a_ij = p_ij q_ij      (eq. 13-14)

    The weights are the probabilities that step i stops at j, and a_0 is all at position 0. They may
    sum to less than 1: the walk can fall off the end. A step needs the weights of the step before.

    Args:
        mode: "recursive" computes the recurrence as it stands, one position after the other;
            "parallel" all at once, as TensorFlow Addons does: faster, but it divides by the
            cumulative product of 1 - p, clipped at 1e-10, and is wrong where that has vanished
            before the last weights' place, as on long memories or by a p near 1; "hard" stops at
            the first position from the last one on with e_ij + r above 0, so that the weights are 0
            or 1: for inference. It passes no gradient.
        noise: Standard deviation of the noise before the sigmoid in training, which drives the
            probabilities towards 0 or 1.
        bias_initializer: Initializer of the weight `bias`, r: a negative one walks farther.
        seed: Seed of the noise.

    Masking: positions that are masked are never chosen. A step that may choose none gets zero
    weights and leaves the state as it was.

    Raises:
        ValueError: It is called with several steps. The attention layer that owns it walks them.

    Example:

    >>> alignment = ka.alignments.Monotonic("hard")
    >>> state = alignment.initial_state(np.zeros((1, 4, 3)))
    >>> scores = np.array([[[-1.0, 2.0, -1.0, 3.0]]])
    >>> np.array(alignment(scores, state=state)[0])[0, 0].tolist()
    [0.0, 1.0, 0.0, 0.0]

    Reference: Raffel, Luong, Liu, Weiss, Eck 2017, "Online and Linear-Time Attention by Enforcing
    Monotonic Alignments", arXiv:1704.00784.
    """

    sequential = True

    def __init__(self, mode="recursive", noise=0.0, bias_initializer="zeros", seed=None, **kwargs):
        super().__init__(**kwargs)
        if mode not in _MODES:
            raise ValueError(f"`mode` is {mode!r}; expected one of {', '.join(map(repr, _MODES))}.")
        self.mode = mode
        self.noise = validation.not_negative("noise", noise)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.seed = seed
        if noise:
            self.seed_generator = keras.random.SeedGenerator(seed)

    def add_variables(self, query_width):
        self.bias = self.add_weight(name="bias", shape=(), initializer=self.bias_initializer)

    def call(self, scores, mask=None, query=None, state=(), noise=()):
        if scores.shape[1] != 1 or len(state) != 1:
            raise ValueError(
                f"`scores` have shape {tuple(scores.shape)} and `state` has {len(state)} parts; "
                "expected one step, (batch, 1, memory), with the state of the step before. An "
                "attention layer or a decoder walks the steps."
            )
        (last,) = state  # (B, S)
        energies = scores[:, 0] + ops.cast(self.bias, scores.dtype)  # (B, S)
        for drawn in noise:
            energies = energies + self.noise * drawn[:, 0]
        allowed = None if mask is None else ops.cast(mask[:, 0], "bool")
        energies = masks.mask_scores(energies, allowed)
        stop = _STOP[self.mode](energies, ops.cast(last, energies.dtype))
        weights = ops.expand_dims(ops.cast(stop, scores.dtype), 1)
        if allowed is not None:
            stop = ops.where(ops.any(allowed, axis=-1, keepdims=True), stop, last)
        return weights, (ops.cast(stop, last.dtype),)

    def initial_state(self, value):
        # At least float32, as it is multiplied step after step.
        dtype = keras.backend.result_type(self.compute_dtype, "float32")
        first = ops.cast(ops.arange(ops.shape(value)[1], dtype="int32") == 0, dtype)
        return (ops.tile(first[None], (ops.shape(value)[0], 1)),)

    def sample_noise(self, shape, training):
        if not training or not self.noise:
            return ()
        return (keras.random.normal(shape, dtype=self.compute_dtype, seed=self.seed_generator),)

    def get_config(self):
        return {
            **super().get_config(),
            "mode": self.mode,
            "noise": self.noise,
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
            "seed": self.seed,
        }


# Each maps energies (B, S) and the last weights (B, S) to the next weights (B, S).


def _parallel(energies, last):
    chosen = ops.sigmoid(energies)
    reached = _exclusive_products(1 - chosen)
    return chosen * reached * ops.cumsum(last / ops.clip(reached, 1e-10, 1.0), axis=-1)


def _recursive(energies, last):
    chosen = ops.sigmoid(energies)
    passed = ops.pad(ops.sigmoid(-energies), [[0, 0], [1, 0]])[:, :-1]  # 1 - p_j-1

    def step(inputs, arrived):
        arrived = inputs[:, :1] * arrived + inputs[:, 1:]
        return arrived, arrived

    arrived, _ = rnn.scan(
        step, ops.stack([passed, last], axis=-1), ops.zeros_like(last[:, :1]), dtype=last.dtype
    )
    return chosen * arrived[:, :, 0]


def _hard(energies, last):
    from_last = ops.cast(energies > 0, last.dtype) * ops.cumsum(last, axis=-1)
    first = ops.cast(ops.cumsum(from_last, axis=-1) - from_last < 0.5, last.dtype)
    return from_last * first


_STOP = {"parallel": _parallel, "recursive": _recursive, "hard": _hard}


def _exclusive_products(factors):
    """The products of all factors before each, by logarithms: a product of its own is slow."""
    tiny = 1.1754944e-38  # the smallest normal float32
    logs = ops.cumsum(ops.log(ops.clip(factors, tiny, 1.0)), axis=-1)
    return ops.exp(ops.pad(logs, [[0, 0], [1, 0]])[:, :-1])
