"""The heads of multi-head attention: side by side in a sequence, or with an axis of their own."""

from keras import ops

from keras_attention._internal.typing import Tensor


def split_heads(sequence: Tensor, num_heads: int) -> Tensor:
    """(B, T, N dim) to (B, N, T, dim)."""
    dim = sequence.shape[-1] // num_heads
    # The batch is -1, as the exporter to ONNX makes wrong shapes of two unknown sizes.
    heads = ops.reshape(sequence, (-1, ops.shape(sequence)[1], num_heads, dim))
    return ops.transpose(heads, (0, 2, 1, 3))


def merge_heads(heads: Tensor) -> Tensor:
    """(B, N, T, dim) to (B, T, N dim)."""
    sequence = ops.transpose(heads, (0, 2, 1, 3))
    dim = heads.shape[1] * heads.shape[3]
    return ops.reshape(sequence, (-1, ops.shape(sequence)[1], dim))
