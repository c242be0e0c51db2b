"""The block of the Transformer's encoder, for whole sequences and for one step at a time."""

from typing import Any, final

import keras
from keras import ops

from keras_attention._internal import validation
from keras_attention._internal.typing import Shape, Tensor
from keras_attention.self_attention.cache import attend_to_cache, first_step
from keras_attention.transformer.base import TransformerBlock


@final
@keras.saving.register_keras_serializable("keras_attention")
class TransformerEncoderBlock(TransformerBlock):
    """A layer of the Transformer's encoder: self-attention, then a feed-forward network.

        x1 = LayerNorm(x + Dropout(SelfAttention(x)))                    (sections 3.1, 5.4)
        output = LayerNorm(x1 + Dropout(FFN(x1)))
        FFN(x) = max(0, x W_1 + b_1) W_2 + b_2                           (eq. 2)

    With `norm_first`, each norm precedes its sublayer: x + Dropout(Sublayer(LayerNorm(x))). This
    makes training more stable (Xiong et al. 2020). Add one more `keras.layers.LayerNormalization`
    after a stack of such blocks.

    With `use_causal_mask`, the layer is the block of a language model: `begin` and `step` run it
    one step at a time, and `prefill` runs a whole prompt at once.

    Args:
        num_heads: Number of heads, h.
        intermediate_dim: Number of units between W_1 and W_2, d_ff.
        key_dim: Size of a head. Defaults to the size of the inputs divided by `num_heads`.
        dropout: Rate at which the features of each sublayer's output are dropped in training.
        attention_dropout: Rate at which attention weights are dropped in training. For this, the
            block holds the weights (B, num_heads, T, T).
        activation: The activation between W_1 and W_2, which replaces max(0, x).
        norm_first: Whether each norm precedes its sublayer instead of following the residual.
        epsilon: Number that the norms add to the variance.
        kernel_initializer: Initializer of the kernels.
        seed: Seed of the dropouts.
        kernel_regularizer, kernel_constraint: Applied to the variables that `kernel_initializer`
            initializes.

    Call arguments:
        inputs: (B, T, D).
        inputs_mask: (B, T).
        attention_mask: (B, T, T) or (T, T) for all heads, or (B, num_heads, T, T) with a mask for
            each head.
        training: Whether dropout is applied.
        return_attention_scores: Whether to return the weights too. The output stays the same.
        use_causal_mask: Whether step t attends only to steps up to t. Defaults to False.
        mask: (B, T), another name for `inputs_mask`, under which Keras passes the implicit mask.

    Returns:
        The output (B, T, D); with `return_attention_scores` also the weights (B, num_heads, T, T).

    Masking: masked steps neither attend nor are attended to. Their outputs are undefined. The mask
    is passed on.

    Raises:
        ValueError: If an argument is out of its range, or an input has an unexpected shape.

    Example:

    >>> block = ka.TransformerEncoderBlock(num_heads=2, intermediate_dim=32)
    >>> tuple(block(np.ones((3, 7, 8))).shape)
    (3, 7, 8)

    References: Vaswani et al. 2017, "Attention Is All You Need", arXiv:1706.03762, section 3; Xiong
    et al. 2020, "On Layer Normalization in the Transformer Architecture", arXiv:2002.04745.
    """

    def build(self, inputs_shape: Shape) -> None:
        self._build_shared(inputs_shape)

    def call(
        self,
        inputs: Tensor,
        inputs_mask: Tensor = None,
        attention_mask: Tensor = None,
        training: bool | None = None,
        return_attention_scores: bool = False,
        use_causal_mask: bool = False,
        mask: Tensor = None,
    ) -> Tensor:
        self._validate_inputs(inputs.shape, inputs_mask)
        mask = validation.mask("mask", mask, inputs.shape[:2], "(batch, steps)")
        norm = self.self_attention_norm
        residual = self.self_attention(
            self._pre_norm(norm, inputs),
            query_mask=mask if inputs_mask is None else inputs_mask,
            attention_mask=attention_mask,
            training=training,
            return_attention_scores=return_attention_scores,
            use_causal_mask=use_causal_mask,
        )
        residual, *weights = residual if return_attention_scores else (residual,)
        x = self._add_and_norm(norm, inputs, residual, training)
        output = self._feed_forward(x, training)
        return (output, *weights) if return_attention_scores else output

    def begin(self, batch_size: Tensor, max_length: int) -> dict[str, Tensor]:
        """Returns the state before the first of at most `max_length` steps."""
        return self._init_cache(batch_size, max_length)

    def step(
        self, inputs: Tensor, state: dict[str, Tensor], inputs_mask: Tensor = None
    ) -> tuple[Tensor, Tensor, dict[str, Any]]:
        """Runs one step of the causal block.

        Args:
            inputs: (B, D).
            state: From `begin` or the last step.
            inputs_mask: (B,), False where the step is padding.

        Returns:
            The output (B, D), the weights (B, num_heads, max_length), and the next state.

        Raises:
            ValueError: If the cache is full. In a graph, the outputs are NaN instead.
        """
        x = ops.convert_to_tensor(inputs, dtype=self.compute_dtype)
        x, mask = first_step("inputs", x, "inputs_mask", inputs_mask)
        output, weights, state = self._take_steps(x, state, mask, return_weights=True)
        return output[:, 0], weights[:, :, 0], state

    def _take_steps(
        self, x: Tensor, state: dict[str, Any], mask: Tensor, return_weights: bool = False
    ) -> tuple[Tensor, Tensor, dict[str, Any]]:
        validation.built(self)
        norm = self.self_attention_norm
        residual, weights, state = attend_to_cache(
            self.self_attention, self._pre_norm(norm, x), state, mask, return_weights
        )
        x = self._add_and_norm(norm, x, residual)
        return self._feed_forward(x), weights, state

    def compute_output_shape(self, inputs_shape: Shape) -> Shape:
        self._validate_inputs(inputs_shape)
        return tuple(inputs_shape)

    def compute_output_spec(self, inputs: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        shape = self.compute_output_shape(inputs.shape)
        return self._output_spec(shape, shape[1], inputs, *args, **kwargs)
