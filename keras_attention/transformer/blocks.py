"""The blocks of the Transformer, for whole sequences and for one step at a time."""

from typing import final

import keras
from keras import ops

from keras_attention import masks
from keras_attention._internal import validation
from keras_attention.transformer.base import TransformerBlock


@final
@keras.saving.register_keras_serializable("keras_attention")
class TransformerEncoderBlock(TransformerBlock):
    """A layer of the Transformer's encoder: self-attention, then a feed-forward network.

        x1 = LayerNorm(x + Dropout(SelfAttention(x)))                    (sections 3.1, 5.4)
        output = LayerNorm(x1 + Dropout(FFN(x1)))
        FFN(x) = max(0, x W_1 + b_1) W_2 + b_2                           (eq. 2)

    With `norm_first` the norms stand before the sublayers, which trains more steadily (Xiong et al.
    2020): x + Dropout(Sublayer(LayerNorm(x))). A stack of such blocks wants one more
    `keras.layers.LayerNormalization` behind it.

    With `use_causal_mask` it is the block of a language model, and `begin` and `step` take one step
    at a time.

    Args:
        num_heads: Number of heads, h.
        intermediate_dim: Width between W_1 and W_2, d_ff.
        key_dim: Width of a head. None: that of the inputs divided by `num_heads`.
        dropout: Share of the features that a sublayer adds which is dropped in training.
        attention_dropout: Share of the attention's weights that is. With it a block holds in
            training what it drops from: (B, num_heads, T, T).
        activation: In place of the maximum with 0.
        norm_first: Whether a norm stands before its sublayer and not behind the residual.
        epsilon: Added to the variance by the norms.
        kernel_initializer: Initializer of the kernels.
        seed: Seed of the dropouts.

    Call arguments:
        inputs: (B, T, D).
        inputs_mask: (B, T).
        attention_mask: (B, T, T) or (T, T), the same for every head.
        training: Whether the dropouts are applied.
        return_attention_scores: Whether to return the weights too. The output stays the same.
        use_causal_mask: Whether step t sees steps up to t only. Defaults to False.
        mask: (B, T), the `inputs_mask` by the name under which Keras passes the implicit mask of
            the only tensor.

    Returns:
        The output (B, T, D); with `return_attention_scores` also the weights (B, num_heads, T, T).

    Masking: nobody attends to a masked step, nor does it attend; what is there in the output is for
    nobody to read. The mask is passed on.

    Example:

    >>> block = ka.TransformerEncoderBlock(num_heads=2, intermediate_dim=32)
    >>> tuple(block(np.ones((3, 7, 8))).shape)
    (3, 7, 8)

    References: Vaswani et al. 2017, "Attention Is All You Need", arXiv:1706.03762, section 3; Xiong
    et al. 2020, "On Layer Normalization in the Transformer Architecture", arXiv:2002.04745.
    """

    def build(self, inputs_shape):
        self.build_shared(inputs_shape)

    def call(
        self,
        inputs,
        inputs_mask=None,
        attention_mask=None,
        training=None,
        return_attention_scores=False,
        use_causal_mask=False,
        mask=None,
    ):
        self.check_inputs(inputs.shape, inputs_mask)
        validation.mask("mask", mask, inputs.shape[:2], "(batch, steps)")
        inputs_mask = mask if inputs_mask is None else inputs_mask
        norm = self.self_attention_norm
        added = self.self_attention(
            self.enter(norm, inputs),
            query_mask=inputs_mask,
            attention_mask=attention_mask,
            training=training,
            return_attention_scores=return_attention_scores,
            use_causal_mask=use_causal_mask,
        )
        added, *weights = added if return_attention_scores else (added,)
        output = self.feed_forward(self.leave(norm, inputs, added, training), training)
        return (output, *weights) if return_attention_scores else output

    def begin(self, batch_size, max_length):
        """Returns the state before the first of at most `max_length` steps."""
        return self.empty_cache(batch_size, max_length)

    def step(self, inputs, state, inputs_mask=None):
        """Takes one step of the causal block.

        Args:
            inputs: (B, D).
            state: What `begin` or the last step gave.
            inputs_mask: (B,), False where the step is padding.

        Returns:
            The output (B, D), the weights (B, num_heads, max_length), and the next state.

        Raises:
            ValueError: The cache is full. In a graph the outputs are NaN instead.
        """
        inputs = ops.convert_to_tensor(inputs, dtype=self.compute_dtype)[:, None]
        x, weights, state = self.attend_to_past(inputs, state, inputs_mask)
        return self.feed_forward(x)[:, 0], weights[:, :, 0], state

    def compute_output_shape(self, inputs_shape):
        self.check_inputs(inputs_shape)
        return tuple(inputs_shape)

    def compute_output_spec(
        self,
        inputs,
        inputs_mask=None,
        attention_mask=None,
        training=None,
        return_attention_scores=False,
        use_causal_mask=False,
        mask=None,
    ):
        shape = self.compute_output_shape(inputs.shape)
        return self.specs(shape, shape[1], return_attention_scores)


@final
@keras.saving.register_keras_serializable("keras_attention")
class TransformerDecoderBlock(TransformerBlock):
    """A layer of the Transformer's decoder: it attends to itself, then to a memory.

        y1 = LayerNorm(y + Dropout(SelfAttention(y)))                    (sections 3.1, 5.4)
        y2 = LayerNorm(y1 + Dropout(Attention(y1, memory)))              (section 3.2.3)
        output = LayerNorm(y2 + Dropout(FFN(y2)))
        FFN(y) = max(0, y W_1 + b_1) W_2 + b_2                           (eq. 2)

    With `norm_first` the norms stand before the sublayers, as in `ka.TransformerEncoderBlock`. The
    memory may have a width of its own.

    Args:
        num_heads, intermediate_dim, key_dim, dropout, attention_dropout: See
            `ka.TransformerEncoderBlock`.
        activation, norm_first, epsilon, kernel_initializer, seed: See there too. With
            `attention_dropout` a block holds (B, num_heads, T, S) in training.

    Call arguments:
        inputs: (B, T, D), the target shifted by one.
        memory: (B, S, Dm), what the encoder made.
        inputs_mask: (B, T).
        memory_mask: (B, S).
        attention_mask: (B, T, T) or (T, T), where the inputs attend to themselves.
        memory_attention_mask: (B, T, S) or (T, S), where they attend to the memory.
        training: Whether the dropouts are applied.
        return_attention_scores: Whether to return the weights over the memory too. The output stays
            the same.
        use_causal_mask: Whether step t sees steps of the inputs up to t only. Defaults to True.

    Returns:
        The output (B, T, D); with `return_attention_scores` also the weights (B, num_heads, T, S).

    Masking: as in `ka.TransformerEncoderBlock`, and nobody attends to masked memory. The weights of
    a masked step are zero. The mask of the inputs is passed on.

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

    def build(self, inputs_shape, memory_shape):
        self._check_memory(inputs_shape, memory_shape)
        self.build_shared(inputs_shape)
        self.cross_attention = self.new_attention(inputs_shape[-1], "cross_attention", 2)
        self.cross_attention_norm = self.new_norm("cross_attention_norm")
        self.cross_attention.build(inputs_shape, memory_shape)
        self.cross_attention_norm.build(inputs_shape)

    def call(
        self,
        inputs,
        memory,
        inputs_mask=None,
        memory_mask=None,
        attention_mask=None,
        memory_attention_mask=None,
        training=None,
        return_attention_scores=False,
        use_causal_mask=True,
    ):
        self._check_memory(inputs.shape, memory.shape)
        self.check_inputs(inputs.shape, inputs_mask)
        validation.mask("memory_mask", memory_mask, memory.shape[:2], "(batch, memory)")
        over_shape = (*inputs.shape[:2], memory.shape[1])
        validation.broadcastable("memory_attention_mask", memory_attention_mask, over_shape)
        norm = self.self_attention_norm
        added = self.self_attention(
            self.enter(norm, inputs),
            query_mask=inputs_mask,
            attention_mask=attention_mask,
            training=training,
            use_causal_mask=use_causal_mask,
        )
        x = self.leave(norm, inputs, added, training)
        norm = self.cross_attention_norm
        added = self.cross_attention(
            self.enter(norm, x),
            memory,
            query_mask=inputs_mask,
            value_mask=memory_mask,
            attention_mask=memory_attention_mask,
            training=training,
            return_attention_scores=return_attention_scores,
        )
        added, *weights = added if return_attention_scores else (added,)
        output = self.feed_forward(self.leave(norm, x, added, training), training)
        return (output, *weights) if return_attention_scores else output

    def begin(self, memory, memory_mask=None, *, max_length):
        """Returns the state before the first of at most `max_length` steps.

        Its "memory" holds the keys and values of the memory, which no step changes.
        """
        memory = ops.convert_to_tensor(memory, dtype=self.compute_dtype)
        validation.rank("memory", memory.shape, "(batch, memory, width)")
        validation.mask("memory_mask", memory_mask, memory.shape[:2], "(batch, memory)")
        state = self.empty_cache(ops.shape(memory)[0], max_length)
        keys, values = self.cross_attention.prepare(memory)
        prepared = {"keys": keys, "values": values}
        if memory_mask is not None:
            prepared["mask"] = ops.cast(memory_mask, "bool")
        return {**state, "memory": prepared}

    def step(self, inputs, state, inputs_mask=None):
        """Takes one step.

        Args:
            inputs: (B, D), or (B K, D) with such a cache and a memory of B rows, as the beams of a
                search have them.
            state: What `begin` or the last step gave.
            inputs_mask: (B,) or (B K,), False where the step is padding.

        Returns:
            The output, the weights over the memory (B, num_heads, S), and the next state, with a
            row for each of the inputs.

        Raises:
            ValueError: The cache is full. In a graph the outputs are NaN instead.
        """
        inputs = ops.convert_to_tensor(inputs, dtype=self.compute_dtype)[:, None]
        x, _, state = self.attend_to_past(inputs, state, inputs_mask)
        memory, norm = state["memory"], self.cross_attention_norm
        keys, values = memory["keys"], memory["values"]
        batch_size = ops.shape(keys)[0]
        query = ops.reshape(self.enter(norm, x), (batch_size, -1, x.shape[-1]))  # (B, K, D)
        query_mask = None if inputs_mask is None else ops.reshape(inputs_mask, (batch_size, -1))
        allowed = masks.combine(query_mask, memory.get("mask"))
        added, weights = self.cross_attention.attend(query, keys, values, allowed)
        x = self.leave(norm, x, ops.reshape(added, ops.shape(x)))  # (B K, 1, D)
        weights = ops.transpose(weights, (0, 2, 1, 3))  # (B, K, N, S)
        weights = ops.reshape(weights, (ops.shape(x)[0], *ops.shape(weights)[2:]))
        return self.feed_forward(x)[:, 0], weights, state

    def compute_output_shape(self, inputs_shape, memory_shape):
        self._check_memory(inputs_shape, memory_shape)
        return tuple(inputs_shape)

    def compute_output_spec(
        self,
        inputs,
        memory,
        inputs_mask=None,
        memory_mask=None,
        attention_mask=None,
        memory_attention_mask=None,
        training=None,
        return_attention_scores=False,
        use_causal_mask=True,
    ):
        shape = self.compute_output_shape(inputs.shape, memory.shape)
        return self.specs(shape, memory.shape[1], return_attention_scores)

    def _check_memory(self, inputs_shape, memory_shape):
        self.check_inputs(inputs_shape)
        validation.rank("memory", memory_shape, "(batch, memory, width)")
        validation.equal("inputs", inputs_shape[0], "memory", memory_shape[0], "batch size")
