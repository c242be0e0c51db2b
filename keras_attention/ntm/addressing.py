"""Addressing by location, reading and writing: what a Neural Turing Machine does with its memory.

Shapes: B batch, H heads, N locations, M the width of each, K shifts.
"""

from keras import ops

# What the logarithm of a weight of zero is taken of.
_TINY = 1e-16


def interpolate(content, previous, gate):
    """w^g_t = g_t w^c_t + (1 - g_t) w_{t-1} (eq. 7), of weights (B, H, N) and a gate (B, H, 1)."""
    return gate * content + (1 - gate) * previous


def shift(weights, shifts):
    """w~_t(i) = sum_j w^g_t(j) s_t(i - j), modulo N (eq. 8).

    `weights` is (B, H, N) and `shifts` (B, H, K), from the furthest back to the furthest forward.
    """
    locations, reach = weights.shape[-1], shifts.shape[-1] // 2
    ring = ops.concatenate([weights[..., -reach:], weights, weights[..., :reach]], axis=-1)
    moved = [
        shifts[..., reach + k : reach + k + 1] * ring[..., reach - k : reach - k + locations]
        for k in range(-reach, reach + 1)
    ]
    return sum(moved)


def sharpen(weights, power):
    """w_t(i) = w~_t(i)^gamma_t / sum_j w~_t(j)^gamma_t (eq. 9), with gamma (B, H, 1).

    In logarithms: no sum of powers underflows, and the gradient of a zero is finite.
    """
    return ops.softmax(power * ops.log(weights + _TINY), axis=-1)


def read(memory, weights):
    """r_t = sum_i w_t(i) M_t(i) (eq. 2): (B, H, M) of a memory (B, N, M)."""
    return ops.einsum("bhn,bnm->bhm", weights, memory)


def write(memory, weights, erase, add):
    """M_t(i) = M_{t-1}(i) [1 - w_t(i) e_t] + w_t(i) a_t (eq. 3-4).

    `erase` and `add` are (B, H, M). All heads erase, and then all add.
    """
    for head in range(weights.shape[1]):
        erased = ops.expand_dims(weights[:, head], 2) * ops.expand_dims(erase[:, head], 1)
        memory = memory * (1 - erased)  # (B, N, M)
    return memory + ops.einsum("bhn,bhm->bnm", weights, add)
