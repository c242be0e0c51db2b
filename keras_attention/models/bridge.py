"""The bridge: computes a decoder's first state from the encoder's outputs."""

import itertools
from collections.abc import Sequence
from typing import Any, final

import keras
from keras import ops

from keras_attention import masks
from keras_attention._internal import validation
from keras_attention._internal.sublayers import SavedSublayers
from keras_attention.attention.base import flatten_spatial


@final
@keras.saving.register_keras_serializable("keras_attention")
class Bridge(SavedSublayers):
    """Computes the decoder's first state from the mean or the last step of the memory.

        s_0 = tanh(W mean_s(m_s) + b)                       "mean"
        s_0 = tanh(W m_S + b)                               "last"

    Each state tensor of the cell has its own W and b. The mean does not need an encoder with a last
    state, so the memory may come from any layer, such as a network over images.

    Args:
        widths: The widths of the cell's state tensors.
        pooling: "mean", or "last" for the last step that is not masked. For a recurrent encoder
            that reads forward, that is its last state.

    Call arguments:
        memory: (B, S, D), or feature maps (B, H, W, D).
        mask: (B, S) or (B, H, W), the positions to pool. If there are none, the pooled vector is
            zero.

    Returns:
        A list of tensors (B, width), one for each of `widths`. No mask is passed on.

    Raises:
        ValueError: If a width is not a positive integer, `pooling` has another value, or the memory
            has another rank.

    Example:

    >>> [tuple(state.shape) for state in ka.models.Bridge([7, 5])(np.ones((2, 3, 11)))]
    [(2, 7), (2, 5)]

    References: Sennrich et al. 2017, "Nematus", arXiv:1703.04357, section 2; Xu et al. 2015,
    arXiv:1502.03044, section 3.1.2.
    """

    def __init__(self, widths: Sequence[int], pooling: str = "mean", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.widths = [validation.positive_integer("widths", width) for width in widths]
        if pooling not in ("mean", "last"):
            raise ValueError(f"`pooling` is {pooling!r}; expected 'mean' or 'last'.")
        self.pooling = pooling
        self.projection = keras.layers.Dense(
            sum(self.widths), activation="tanh", name="projection", dtype=self.dtype_policy
        )
        self.supports_masking = True

    def build(self, memory_shape: Any) -> None:
        if len(memory_shape) not in (3, 4):
            raise ValueError(
                f"`memory` has shape {tuple(memory_shape)}; expected (batch, memory, width), or "
                "(batch, height, width, channels)."
            )
        if not self.projection.built:
            self.projection.build((memory_shape[0], memory_shape[-1]))

    def call(self, memory: Any, mask: Any = None) -> list:
        pool = masks.masked_mean if self.pooling == "mean" else _last
        states = self.projection(pool(*flatten_spatial(memory, mask)))
        ends = itertools.accumulate(self.widths)
        return [states[:, end - width : end] for end, width in zip(ends, self.widths, strict=True)]

    def compute_mask(self, memory: Any, previous_mask: Any = None) -> None:
        return None

    def compute_output_shape(self, memory_shape: Any) -> list:
        return [(memory_shape[0], width) for width in self.widths]

    def get_config(self) -> dict:
        return {**super().get_config(), "widths": list(self.widths), "pooling": self.pooling}


def get_bridge(bridge: Any, cell: Any, dtype: Any) -> Any:
    """Returns the bridge that an argument stands for: a pooling, a layer or None."""
    if bridge in ("mean", "last"):
        return Bridge(keras.tree.flatten(cell.state_size), bridge, dtype=dtype)
    if bridge is not None and not isinstance(bridge, keras.layers.Layer):
        raise ValueError(f"`bridge` is {bridge!r}; expected 'mean', 'last', None or a layer.")
    return bridge


def split_states(encoded: Any) -> tuple[Any, list]:
    """Returns the memory that an encoder returned, and the list of the states beside it."""
    memory, *states = encoded if isinstance(encoded, (list, tuple)) else (encoded,)
    return memory, states


def validate_states(encoder: Any, states: list, bridge: Any, cell: Any) -> None:
    """Checks that the states that an encoder returned are those of `cell`, without a bridge."""
    widths = [state.shape[-1] for state in keras.tree.flatten(states)]
    expected = keras.tree.flatten(cell.state_size)
    if states and bridge is not None:
        raise ValueError(
            f"`encoder` '{encoder.name}' returns states of widths {widths} beside its memory; "
            "expected bridge=None, with which they start the decoder, or the memory only."
        )
    if states and widths != expected:
        raise ValueError(
            f"`encoder` '{encoder.name}' returns states of widths {widths}; expected {expected}, "
            "those of the decoder's cell."
        )


def _last(memory: Any, mask: Any) -> Any:
    """Returns the last step (B, D) of the memory (B, S, D) that `mask` (B, S) includes."""
    mask = ops.ones(ops.shape(memory)[:2], "int32") if mask is None else ops.cast(mask, "int32")
    is_last = ops.logical_and(mask == 1, ops.cumsum(mask, axis=1) == ops.sum(mask, 1, True))
    return ops.sum(ops.where(is_last[:, :, None], memory, 0), axis=1)
