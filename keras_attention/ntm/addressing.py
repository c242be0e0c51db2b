"""Addressing by location, and reading and writing the memory of a Neural Turing Machine.

Shapes: B batch, H heads, N locations, M the size of each, K shifts.
"""

from keras import ops

from keras_attention._internal.typing import Tensor

# Added to the weights before their logarithm.
_TINY = 1e-16


def interpolate(content: Tensor, previous: Tensor, gate: Tensor) -> Tensor:
    """w^g_t = g_t w^c_t + (1 - g_t) w_{t-1} (eq. 7), of weights (B, H, N) and a gate (B, H, 1)."""
    return gate * content + (1 - gate) * previous


def shift(weights: Tensor, shifts: Tensor) -> Tensor:
    """w~_t(i) = sum_j w^g_t(j) s_t(i - j), modulo N (eq. 8).

    `weights` is (B, H, N), and `shifts` (B, H, K) are ordered from -(K - 1) / 2 to (K - 1) / 2.
    """
    locations, shift_range = weights.shape[-1], shifts.shape[-1] // 2
    parts = [weights[..., -shift_range:], weights, weights[..., :shift_range]]
    ring = ops.concatenate(parts, axis=-1)
    shifted = []
    for k in range(-shift_range, shift_range + 1):
        probability = shifts[..., shift_range + k : shift_range + k + 1]
        start = shift_range - k
        shifted.append(probability * ring[..., start : start + locations])
    return sum(shifted)


def sharpen(weights: Tensor, gamma: Tensor) -> Tensor:
    """w_t(i) = w~_t(i)^gamma_t / sum_j w~_t(j)^gamma_t (eq. 9), with gamma (B, H, 1).

    Computed from logarithms: no sum of powers underflows, and the gradient at zero is finite.
    """
    return ops.softmax(gamma * ops.log(weights + _TINY), axis=-1)


def read(memory: Tensor, weights: Tensor) -> Tensor:
    """r_t = sum_i w_t(i) M_t(i) (eq. 2): (B, H, M), from a memory (B, N, M)."""
    return ops.einsum("bhn,bnm->bhm", weights, memory)


def write(memory: Tensor, weights: Tensor, erase: Tensor, add: Tensor) -> Tensor:
    """M_t(i) = M_{t-1}(i) [1 - w_t(i) e_t] + w_t(i) a_t (eq. 3-4).

    `erase` and `add` are (B, H, M). All heads erase before any adds.
    """
    for head in range(weights.shape[1]):
        erased = ops.expand_dims(weights[:, head], 2) * ops.expand_dims(erase[:, head], 1)
        memory = memory * (1 - erased)  # (B, N, M)
    return memory + ops.einsum("bhn,bhm->bnm", weights, add)
