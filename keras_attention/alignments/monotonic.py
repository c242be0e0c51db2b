"""Monotonic alignment (Raffel 2017): it moves forward along the memory, never back."""

from typing import Any, final

import keras
from keras import ops

from keras_attention import masks
from keras_attention._internal import rnn, validation
from keras_attention._internal.precision import at_least_float32
from keras_attention._internal.serialization import clone_initializer
from keras_attention._internal.typing import Config, Initializer, Shape, Tensor
from keras_attention.alignments.base import Alignment


@final
@keras.saving.register_keras_serializable("keras_attention")
class Monotonic(Alignment):
    """Each step starts where the previous step stopped, and moves forward until it stops itself.

        p_ij = sigmoid(e_ij + r + noise)                                (eq. 12)
        q_ij = (1 - p_i,j-1) q_i,j-1 + a_i-1,j,   a_ij = p_ij q_ij      (eq. 13-14)

    The weights a_ij are the probabilities that step i stops at position j. Before the first step,
    all weight a_0 is at position 0. The weights of a step sum to less than 1 if the step may pass
    the end of the memory. Each step needs the weights of the previous one.

    Args:
        mode: "recursive" computes the recurrence one position after the other. "parallel" computes
            all positions at once, as TensorFlow Addons does. This is faster, but it divides by the
            cumulative product of 1 - p, clipped at 1e-10. Where that product has vanished before
            the position of the last weights, as in long memories or after a p near 1, the weights
            are wrong. "hard" is for inference: starting from the last position, it stops at the
            first position with e_ij + r above 0. Its weights are 0 or 1, and have no gradient.
        noise: Standard deviation of the noise that is added before the sigmoid in training. The
            noise drives the probabilities toward 0 or 1.
        bias_initializer: Initializer of the variable `bias` (), r. A negative r makes steps longer.
        seed: Seed of the noise.

    Masking: a step never stops at a masked position. If all positions are masked, the step gets
    zero weights and does not change the state.

    Raises:
        ValueError: If `mode` is none of these, `noise` is negative, or the alignment is called with
            several steps. Attention layers and decoders take several.

    Example:

    >>> alignment = ka.alignments.Monotonic("hard")
    >>> state = alignment.initial_state(np.zeros((1, 4, 3)))
    >>> scores = np.array([[[-1.0, 2.0, -1.0, 3.0]]])
    >>> np.array(alignment(scores, state=state)[0])[0, 0].tolist()
    [0.0, 1.0, 0.0, 0.0]

    Reference: Raffel, Luong, Liu, Weiss, Eck 2017, "Online and Linear-Time Attention by Enforcing
    Monotonic Alignments", arXiv:1704.00784.
    """

    names = ("monotonic",)
    sequential = True

    def __init__(
        self,
        mode: str = "recursive",
        noise: float = 0.0,
        bias_initializer: Initializer = "zeros",
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if mode not in _MODES:
            names = ", ".join(map(repr, _MODES))
            raise ValueError(f"`mode` is {mode!r}; expected one of {names}.")
        self.mode = mode
        self.noise = validation.not_negative("noise", noise)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.seed = seed
        if noise:
            self.seed_generator = keras.random.SeedGenerator(seed)

    def add_variables(self, query_dim: int | None) -> None:
        initializer = clone_initializer(self.bias_initializer)
        self.bias = self.add_weight(name="bias", shape=(), initializer=initializer)

    def call(
        self,
        scores: Tensor,
        mask: Tensor = None,
        query: Tensor = None,
        state: Any = (),
        noise: Any = (),
    ) -> tuple[Tensor, Any]:
        if scores.shape[1] != 1 or len(state) != 1:
            raise ValueError(
                f"`scores` have shape {tuple(scores.shape)} and `state` has {len(state)} parts; "
                "expected one step, (batch, 1, memory), with the state of the step before. Use an "
                "attention layer or a decoder for many steps."
            )
        (previous,) = state  # (B, S)
        energies = scores[:, 0] + ops.cast(self.bias, scores.dtype)  # (B, S)
        for sample in noise:
            energies = energies + self.noise * sample[:, 0]
        allowed = None if mask is None else ops.cast(mask[:, 0], "bool")
        energies = masks.mask_scores(energies, allowed)
        alpha = _MODES[self.mode](energies, ops.cast(previous, energies.dtype))
        weights = ops.expand_dims(ops.cast(alpha, scores.dtype), 1)
        if allowed is not None:
            alpha = ops.where(ops.any(allowed, axis=-1, keepdims=True), alpha, previous)
        return weights, (ops.cast(alpha, previous.dtype),)

    def initial_state(self, value: Tensor) -> tuple[Tensor]:
        # At least float32, as it is multiplied step after step.
        dtype = at_least_float32(self.compute_dtype)
        first = ops.cast(ops.arange(ops.shape(value)[1], dtype="int32") == 0, dtype)
        return (ops.tile(first[None], (ops.shape(value)[0], 1)),)

    def sample_noise(self, shape: Shape, training: bool | None) -> tuple[Tensor, ...]:
        if not training or not self.noise:
            return ()
        return (keras.random.normal(shape, dtype=self.compute_dtype, seed=self.seed_generator),)

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "mode": self.mode,
            "noise": self.noise,
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
            "seed": self.seed,
        }


# Each maps energies (B, S) and the previous weights (B, S) to the next weights (B, S).


def _parallel(energies: Tensor, previous: Tensor) -> Tensor:
    p_choose = ops.sigmoid(energies)
    cumprod_1mp = _exclusive_cumprod(1 - p_choose)
    return p_choose * cumprod_1mp * ops.cumsum(previous / ops.clip(cumprod_1mp, 1e-10, 1.0), -1)


def _recursive(energies: Tensor, previous: Tensor) -> Tensor:
    p_choose = ops.sigmoid(energies)
    p_continue = ops.pad(ops.sigmoid(-energies), [[0, 0], [1, 0]])[:, :-1]  # 1 - p_j-1

    def step(inputs: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
        q = inputs[:, :1] * q + inputs[:, 1:]
        return q, q

    inputs = ops.stack([p_continue, previous], axis=-1)
    first = ops.zeros((ops.shape(previous)[0], 1), previous.dtype)
    q, _ = rnn.scan(step, inputs, first, dtype=previous.dtype)
    return p_choose * q[:, :, 0]


def _hard(energies: Tensor, previous: Tensor) -> Tensor:
    from_previous = ops.cast(energies > 0, previous.dtype) * ops.cumsum(previous, axis=-1)
    is_first = ops.cast(ops.cumsum(from_previous, axis=-1) - from_previous < 0.5, previous.dtype)
    return from_previous * is_first


_MODES = {"parallel": _parallel, "recursive": _recursive, "hard": _hard}


def _exclusive_cumprod(factors: Tensor) -> Tensor:
    """Returns the products of the factors before each, by logarithms: a cumprod is slow."""
    tiny = 1.1754944e-38  # the smallest normal float32
    logs = ops.cumsum(ops.log(ops.clip(factors, tiny, 1.0)), axis=-1)
    return ops.exp(ops.pad(logs, [[0, 0], [1, 0]])[:, :-1])
