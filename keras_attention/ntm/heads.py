"""The heads of a Neural Turing Machine, which turn the controller's output into addresses."""

import itertools
from typing import Any, final

from keras import ops

from keras_attention._internal.kernel import add_kernel, set_kernel_options
from keras_attention._internal.sublayers import SavedSublayers
from keras_attention._internal.typing import Shape, Tensor
from keras_attention.ntm import addressing
from keras_attention.scores.cosine import cosine, l2_normalize


@final
class Heads(SavedSublayers):
    """H heads of one kind, either all reading or all writing.

    Call arguments:
        hidden: (B, C), the controller's output.
        previous: (B, H, N), the weights of the last step.
        memory: (B, N, M).

    Returns:
        The weights (B, H, N). Write heads also return e and a, both (B, H, M), before their
        activations.
    """

    def __init__(
        self,
        num_heads: int,
        is_write: bool,
        memory_dim: int,
        num_shifts: int,
        kernel_initializer: Any,
        kernel_regularizer: Any,
        kernel_constraint: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_heads = num_heads
        set_kernel_options(self, kernel_initializer, kernel_regularizer, kernel_constraint)
        # Key, strength, gate, shifts, gamma; erase, add.
        self._sizes = [memory_dim, 1, 1, num_shifts, 1, *[memory_dim, memory_dim][: 2 * is_write]]

    def build(self, hidden_shape: Shape) -> None:
        size = self.num_heads * sum(self._sizes)
        self.kernel = add_kernel(self, "kernel", (hidden_shape[-1], size))
        self.bias = self.add_weight(name="bias", shape=(size,), initializer="zeros")

    def call(self, hidden: Tensor, previous: Tensor, memory: Tensor) -> tuple[Tensor, ...]:
        outputs = ops.matmul(hidden, self.kernel) + self.bias
        outputs = ops.reshape(outputs, (-1, self.num_heads, sum(self._sizes)))
        ends = list(itertools.accumulate(self._sizes[:-1]))
        keys, strength, gate, shifts, gamma, *erase_add = ops.split(outputs, ends, axis=-1)
        scores = ops.softplus(strength) * cosine(keys, l2_normalize(memory))  # (B, H, N)
        weights = ops.softmax(scores, axis=-1)
        weights = addressing.interpolate(weights, previous, ops.sigmoid(gate))
        weights = addressing.shift(weights, ops.softmax(shifts, axis=-1))
        weights = addressing.sharpen(weights, 1 + ops.softplus(gamma))
        return weights, *erase_add
