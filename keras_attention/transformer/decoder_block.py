"""The block of the Transformer's decoder, for whole sequences and for one step at a time."""

from typing import Any, final

import keras
from keras import ops

from keras_attention import masks
from keras_attention._internal import validation
from keras_attention._internal.typing import Shape, Tensor
from keras_attention.self_attention.cache import attend_to_cache, first_step
from keras_attention.transformer.base import TransformerBlock


@final
@keras.saving.register_keras_serializable("keras_attention")
class TransformerDecoderBlock(TransformerBlock):
    """A layer of the Transformer's decoder: self-attention, then attention to a memory.

        y1 = LayerNorm(y + Dropout(SelfAttention(y)))                    (sections 3.1, 5.4)
        y2 = LayerNorm(y1 + Dropout(Attention(y1, memory)))              (section 3.2.3)
        output = LayerNorm(y2 + Dropout(FFN(y2)))
        FFN(y) = max(0, y W_1 + b_1) W_2 + b_2                           (eq. 2)

    With `norm_first`, each norm precedes its sublayer, as in `ka.TransformerEncoderBlock`. The size
    of the memory may differ from that of the inputs.

    Args:
        num_heads, intermediate_dim, key_dim, dropout: See `ka.TransformerEncoderBlock`.
        attention_dropout: See there. For this, the block holds weights (B, num_heads, T, T) and
            (B, num_heads, T, S) in training.
        activation, norm_first, epsilon, seed: See there.
        kernel_initializer, kernel_regularizer, kernel_constraint: See there.

    Call arguments:
        inputs: (B, T, D), the target shifted by one step.
        memory: (B, S, Dm), the output of the encoder.
        inputs_mask: (B, T).
        memory_mask: (B, S).
        attention_mask: For the self-attention: (B, T, T), (T, T) or (B, num_heads, T, T).
        memory_attention_mask: For the attention to the memory: (B, T, S), (T, S) or
            (B, num_heads, T, S).
        training: Whether dropout is applied.
        return_attention_scores: Whether to return the weights over the memory too. The output stays
            the same.
        use_causal_mask: Whether step t attends only to inputs up to t. Defaults to True.

    Returns:
        The output (B, T, D); with `return_attention_scores` also the weights (B, num_heads, T, S).

    Masking: masked steps and masked memory positions are not attended to. A masked step does not
    attend either: its weights are zero, and its output is undefined. The mask of the inputs is
    passed on.

    Raises:
        ValueError: If an argument is out of its range, or an input has an unexpected shape.

    Example:

    >>> block = ka.TransformerDecoderBlock(num_heads=2, intermediate_dim=32)
    >>> inputs, memory = np.random.normal(size=(3, 7, 8)), np.ones((3, 5, 8))
    >>> outputs = block(inputs, memory)
    >>> state = block.begin(memory, max_length=7)
    >>> for t in range(7):
    ...     output, weights, state = block.step(inputs[:, t], state)
    >>> bool(np.allclose(output, outputs[:, 6], atol=1e-5))
    True

    References: Vaswani et al. 2017, "Attention Is All You Need", arXiv:1706.03762, section 3; Xiong
    et al. 2020, "On Layer Normalization in the Transformer Architecture", arXiv:2002.04745.
    """

    def build(self, inputs_shape: Shape, memory_shape: Shape) -> None:
        self._validate_shapes(inputs_shape, memory_shape)
        self._build_shared(inputs_shape)
        self.cross_attention = self._make_attention(
            inputs_shape[-1], "cross_attention", seed_offset=2
        )
        self.cross_attention_norm = self.make_norm("cross_attention_norm")
        self.cross_attention.build(inputs_shape, memory_shape)
        self.cross_attention_norm.build(inputs_shape)

    def call(
        self,
        inputs: Tensor,
        memory: Tensor,
        inputs_mask: Tensor = None,
        memory_mask: Tensor = None,
        attention_mask: Tensor = None,
        memory_attention_mask: Tensor = None,
        training: bool | None = None,
        return_attention_scores: bool = False,
        use_causal_mask: bool = True,
    ) -> Tensor:
        self._validate_shapes(inputs.shape, memory.shape)
        self._validate_inputs(inputs.shape, inputs_mask)
        memory_mask = validation.mask(
            "memory_mask", memory_mask, memory.shape[:2], "(batch, memory)"
        )
        memory_attention_mask = validation.attention_mask(
            *("memory_attention_mask", memory_attention_mask, inputs.shape, memory.shape[1]),
            num_heads=self.num_heads,
        )
        norm = self.self_attention_norm
        residual = self.self_attention(
            self._pre_norm(norm, inputs),
            query_mask=inputs_mask,
            attention_mask=attention_mask,
            training=training,
            use_causal_mask=use_causal_mask,
        )
        x = self._add_and_norm(norm, inputs, residual, training)
        norm = self.cross_attention_norm
        residual = self.cross_attention(
            self._pre_norm(norm, x),
            memory,
            query_mask=inputs_mask,
            value_mask=memory_mask,
            attention_mask=memory_attention_mask,
            training=training,
            return_attention_scores=return_attention_scores,
        )
        residual, *weights = residual if return_attention_scores else (residual,)
        output = self._feed_forward(self._add_and_norm(norm, x, residual, training), training)
        return (output, *weights) if return_attention_scores else output

    def begin(
        self, memory: Tensor, memory_mask: Tensor = None, *, max_length: int
    ) -> dict[str, Any]:
        """Returns the state before the first of at most `max_length` steps.

        The "memory" of the state holds the keys and values of the memory, which no step changes.
        """
        memory = ops.convert_to_tensor(memory, dtype=self.compute_dtype)
        validation.rank("memory", memory.shape, "(batch, memory, width)")
        memory_mask = validation.mask(
            "memory_mask", memory_mask, memory.shape[:2], "(batch, memory)"
        )
        state = self._init_cache(ops.shape(memory)[0], max_length)
        keys, values = self.cross_attention.prepare(memory)
        prepared = {"keys": keys, "values": values}
        if memory_mask is not None:
            prepared["mask"] = ops.cast(memory_mask, "bool")
        return {**state, "memory": prepared}

    def step(
        self, inputs: Tensor, state: dict[str, Any], inputs_mask: Tensor = None
    ) -> tuple[Tensor, Tensor, dict[str, Any]]:
        """Runs one step.

        Args:
            inputs: (B, D), or (B K, D) for K beams per example, which share its memory. The cache
                has as many rows as the inputs.
            state: From `begin` or the last step.
            inputs_mask: (B,) or (B K,), False where the step is padding.

        Returns:
            The output (B, D), the weights over the memory (B, num_heads, S) and the next state,
            with one row for each row of the inputs.

        Raises:
            ValueError: If the cache is full. In a graph, the outputs are NaN instead.
        """
        x = ops.convert_to_tensor(inputs, dtype=self.compute_dtype)
        x, mask = first_step("inputs", x, "inputs_mask", inputs_mask)
        output, weights, state = self._take_steps(x, state, mask, return_weights=True)
        weights = ops.transpose(weights, (0, 2, 1, 3))  # (B, K, N, S)
        weights = ops.reshape(weights, (ops.shape(x)[0], *ops.shape(weights)[2:]))
        return output[:, 0], weights, state

    def _take_steps(
        self, x: Tensor, state: dict[str, Any], mask: Tensor, return_weights: bool = False
    ) -> tuple[Tensor, Tensor, dict[str, Any]]:
        """Returns outputs (B K, P, D), weights (B, N, K P, S) or None, and the next state."""
        validation.built(self)
        norm = self.self_attention_norm
        residual, _, state = attend_to_cache(
            self.self_attention, self._pre_norm(norm, x), state, mask
        )
        x = self._add_and_norm(norm, x, residual)
        prepared, norm = state["memory"], self.cross_attention_norm
        keys, values = prepared["keys"], prepared["values"]
        batch_size = ops.shape(keys)[0]
        query = ops.reshape(self._pre_norm(norm, x), (batch_size, -1, x.shape[-1]))  # (B, K P, D)
        query_mask = None if mask is None else ops.reshape(mask, (batch_size, -1))
        allowed = masks.combine(query_mask, prepared.get("mask"))
        residual, weights = self.cross_attention.attend(
            query, keys, values, allowed, return_weights
        )
        x = self._add_and_norm(norm, x, ops.reshape(residual, ops.shape(x)))  # (B K, P, D)
        return self._feed_forward(x), weights, state

    def compute_output_shape(self, inputs_shape: Shape, memory_shape: Shape) -> Shape:
        self._validate_shapes(inputs_shape, memory_shape)
        return tuple(inputs_shape)

    def compute_output_spec(
        self, inputs: Tensor, memory: Tensor, *args: Any, **kwargs: Any
    ) -> Tensor:
        shape = self.compute_output_shape(inputs.shape, memory.shape)
        return self._output_spec(shape, memory.shape[1], inputs, memory, *args, **kwargs)

    def _validate_shapes(self, inputs_shape: Shape, memory_shape: Shape) -> None:
        self._validate_inputs(inputs_shape)
        validation.rank("memory", memory_shape, "(batch, memory, width)")
        validation.equal("inputs", inputs_shape[0], "memory", memory_shape[0], "batch size")
