"""Several attention layers in one decoder, over several memories or over the same one."""

import math
from typing import Any, final

import keras
from keras import ops

from keras_attention._internal.serialization import build_once, deserialize, take_ownership
from keras_attention._internal.typing import Config, Shape, Tensor
from keras_attention.attention.base import AttentionMechanism


@final
@keras.saving.register_keras_serializable("keras_attention")
class MultiSourceAttention(AttentionMechanism):
    """Several attention layers side by side, for decoders. Their contexts are concatenated.

        c_t = [c_t^1; ...; c_t^n],    c_t^k = attention_k(query_t, memory_k)

    A decoder with this layer takes a list of n memories, which may differ in length and size, or a
    single memory for all n attention layers. The layer works in decoders only, and cannot be called
    by itself.

    Args:
        attentions: The attention layers, one per memory.

    Returns:
        The concatenated contexts (B, T, sum of their sizes) and weights (B, T, sum of the memories'
        lengths), in the order of the memories. The length of a feature map is H W.

    Masking: the decoder's `memory_mask` is a list too, with None for each memory without a mask.

    Raises:
        ValueError: If `attentions` is not a list of attention layers; or, in a decoder, if the
            number of memories or masks differs from the number of attention layers.

    Example:

    >>> attention = ka.MultiSourceAttention([ka.BahdanauAttention(7), ka.LuongAttention()])
    >>> decoder = ka.BahdanauDecoder(
    ...     keras.layers.GRUCell(13), attention, return_attention_scores=True
    ... )
    >>> memories = [np.ones((2, 5, 11)), np.ones((2, 4, 17))]
    >>> output, weights = decoder(np.ones((2, 3, 5)), memories)
    >>> tuple(output.shape), tuple(weights.shape)
    ((2, 3, 13), (2, 3, 9))

    References: Zoph, Knight 2016, "Multi-Source Neural Translation", arXiv:1601.00710; Libovicky,
    Helcl 2017, "Attention Strategies for Multi-Source Sequence-to-Sequence Learning",
    arXiv:1704.06567, section 3.
    """

    def __init__(self, attentions: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        is_list = isinstance(attentions, (list, tuple))
        self.attentions = [deserialize(attention) for attention in attentions] if is_list else []
        if not self.attentions or not all(
            isinstance(attention, AttentionMechanism) for attention in self.attentions
        ):
            raise ValueError(
                f"`attentions` is {attentions!r}; expected a list of attention layers of this "
                "library."
            )
        for attention in self.attentions:
            take_ownership("attentions", attention, self)

    @property
    def sequential(self) -> bool:
        return any(attention.sequential for attention in self.attentions)

    def build(self, query_shape: Shape, value_shape: Any) -> None:
        for attention, shape in zip(self.attentions, self._memory_shapes(value_shape), strict=True):
            build_once(attention, query_shape, shape)

    def prepare(self, value: Any, key: Any = None, value_mask: Any = None) -> list[Any]:
        is_multi_source = isinstance(value, (list, tuple))
        values = value if is_multi_source else [value] * len(self.attentions)
        self._validate_count("memory", values)
        value_masks = [value_mask] * len(values)
        if is_multi_source and value_mask is not None:
            self._validate_count("memory_mask", value_mask)
            value_masks = value_mask
        return [
            attention.prepare(value, value_mask=mask)
            for attention, value, mask in zip(self.attentions, values, value_masks, strict=True)
        ]

    def initial_state(self, memory: Any) -> list[Any]:
        pairs = zip(self.attentions, memory, strict=True)
        return [attention.initial_state(part) for attention, part in pairs]

    def sample_noise(self, steps: Any, memory: Any, training: bool | None = None) -> list[Any]:
        pairs = zip(self.attentions, memory, strict=True)
        return [attention.sample_noise(steps, part, training) for attention, part in pairs]

    def context_dim(self, value_shape: Any) -> int:
        pairs = zip(self.attentions, self._memory_shapes(value_shape), strict=True)
        return sum(attention.context_dim(shape) for attention, shape in pairs)

    def attention_shape(self, value_shape: Any) -> tuple[int | None, ...]:
        pairs = zip(self.attentions, self._memory_shapes(value_shape), strict=True)
        sizes = [attention.attention_shape(shape) for attention, shape in pairs]
        return (None if any(None in size for size in sizes) else sum(map(math.prod, sizes)),)

    def attend(
        self, query: Tensor, memory: Any, state: Any, noise: Any, mask: Tensor = None
    ) -> tuple[Tensor, Tensor, list[Any]]:
        noise = noise or [{}] * len(self.attentions)
        contexts, weights, states = zip(
            *(
                attention.attend(query, *parts, mask)
                for attention, *parts in zip(self.attentions, memory, state, noise, strict=True)
            ),
            strict=True,
        )
        return ops.concatenate(contexts, -1), ops.concatenate(weights, -1), list(states)

    def get_config(self) -> Config:
        attentions = [keras.saving.serialize_keras_object(part) for part in self.attentions]
        return {**super().get_config(), "attentions": attentions}

    def _memory_shapes(self, value_shape: Any) -> list[tuple]:
        is_multi_source = isinstance(value_shape[0], (list, tuple))
        shapes = value_shape if is_multi_source else [value_shape] * len(self.attentions)
        self._validate_count("memory", shapes)
        return [tuple(shape) for shape in shapes]

    def _validate_count(self, argument: str, memories: Any) -> None:
        if len(memories) != len(self.attentions):
            raise ValueError(
                f"`{argument}` has {len(memories)} parts; expected one for all or a list of "
                f"{len(self.attentions)}, one for each of the attentions."
            )
