"""The base of the Transformer's blocks: residual connections and the feed-forward network."""

import abc
from typing import Any

import keras
from keras import ops

from keras_attention._internal import validation
from keras_attention._internal.kernel import kernel_config, kernel_options, set_kernel_options
from keras_attention._internal.output_spec import output_spec
from keras_attention._internal.sublayers import SavedSublayers
from keras_attention._internal.typing import Config, Initializer, Shape, Tensor
from keras_attention.self_attention.multi_head import SelfAttention


class TransformerBlock(SavedSublayers, abc.ABC):
    """Abstract: self-attention and a feed-forward network, each with a residual and a layer norm.

        LayerNorm(x + Dropout(Sublayer(x)))                        (sections 3.1, 5.4)
        x + Dropout(Sublayer(LayerNorm(x)))                        with `norm_first`
        FFN(x) = max(0, x W_1 + b_1) W_2 + b_2                     (eq. 2)

    A sublayer is an attention layer or the feed-forward network FFN.
    """

    def __init__(
        self,
        num_heads: int,
        intermediate_dim: int,
        key_dim: int | None = None,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        activation: Any = "relu",
        norm_first: bool = False,
        epsilon: float = 1e-5,
        kernel_initializer: Initializer = "glorot_uniform",
        seed: int | None = None,
        kernel_regularizer: Any = None,
        kernel_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_heads = validation.positive_integer("num_heads", num_heads)
        self.intermediate_dim = validation.positive_integer("intermediate_dim", intermediate_dim)
        self.key_dim = None if key_dim is None else validation.positive_integer("key_dim", key_dim)
        self.dropout = validation.dropout_rate("dropout", dropout)
        self.attention_dropout = validation.dropout_rate("attention_dropout", attention_dropout)
        self.activation = keras.activations.get(activation)
        self.norm_first = norm_first
        self.epsilon = validation.not_negative("epsilon", epsilon)
        set_kernel_options(self, kernel_initializer, kernel_regularizer, kernel_constraint)
        self.seed = seed
        self.residual_dropout = keras.layers.Dropout(dropout, seed=seed, dtype=self.dtype_policy)
        self.supports_masking = True

    @abc.abstractmethod
    def _take_steps(
        self, x: Tensor, state: dict[str, Any], mask: Tensor, return_weights: bool = False
    ) -> tuple[Tensor, Tensor, dict[str, Any]]:
        """Returns the next steps' outputs (B, P, D), their weights or None, and the next state."""

    def prefill(
        self, inputs: Tensor, state: dict[str, Tensor], inputs_mask: Tensor = None
    ) -> tuple[Tensor, dict[str, Any]]:
        """Runs P steps at once, such as a prompt, with the results of P calls of `step`.

        Prompts of a batch may differ in length. To continue each row at the end of its own prompt,
        pad the prompts at their ends, and set "position" of the next state to their lengths (B,).

        Args:
            inputs: (B, P, D). A decoder block also takes (B K, P, D), for K beams per example.
            state: From `begin` or the last step.
            inputs_mask: (B, P), False where a step is padding.

        Returns:
            The outputs (B, P, D) and the next state.

        Raises:
            ValueError: If the cache is full. In a graph, the outputs of steps beyond it are NaN.
        """
        x = ops.convert_to_tensor(inputs, dtype=self.compute_dtype)
        self._validate_inputs(x.shape)
        mask = validation.mask("inputs_mask", inputs_mask, x.shape[:2], "(batch, steps)")
        output, _, state = self._take_steps(x, state, mask)
        return output, state

    def make_norm(self, name: str) -> keras.layers.Layer:
        return keras.layers.LayerNormalization(
            epsilon=self.epsilon, name=name, dtype=self.dtype_policy
        )

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "intermediate_dim": self.intermediate_dim,
            "key_dim": self.key_dim,
            "dropout": self.dropout,
            "attention_dropout": self.attention_dropout,
            "activation": keras.activations.serialize(self.activation),
            "norm_first": self.norm_first,
            "epsilon": self.epsilon,
            **kernel_config(self),
            "seed": self.seed,
        }

    def _build_shared(self, inputs_shape: Shape) -> None:
        """Builds self-attention, feed-forward network and their norms."""
        self._validate_inputs(inputs_shape)
        dim = inputs_shape[-1]
        self.self_attention = self._make_attention(dim, "self_attention", seed_offset=1)
        self.self_attention_norm = self.make_norm("self_attention_norm")
        self.hidden = self._make_dense(self.intermediate_dim, "hidden", self.activation)
        self.output_projection = self._make_dense(dim, "output_projection")
        self.feed_forward_norm = self.make_norm("feed_forward_norm")
        norms = self.self_attention_norm, self.feed_forward_norm
        for layer in (self.self_attention, *norms, self.hidden):
            layer.build(inputs_shape)
        self.output_projection.build((*inputs_shape[:-1], self.intermediate_dim))

    def _make_attention(self, dim: Any, name: str, seed_offset: int) -> SelfAttention:
        """Returns an attention layer from `dim` to `dim`. Without `key_dim`, the heads share `dim`.

        Attention layers and residuals need different seeds: dropouts with equal seeds drop the same
        entries.
        """
        if self.key_dim is None and dim % self.num_heads:
            raise ValueError(
                f"`num_heads` is {self.num_heads}, and `inputs` has width {dim}; expected a "
                "number that divides the width, or a `key_dim`."
            )
        return SelfAttention(
            self.num_heads,
            self.key_dim or dim // self.num_heads,
            dropout=self.attention_dropout,
            output_shape=dim,
            seed=None if self.seed is None else self.seed + seed_offset,
            name=name,
            dtype=self.dtype_policy,
            **kernel_options(self),
        )

    def _make_dense(self, units: Any, name: str, activation: Any = None) -> keras.layers.Layer:
        return keras.layers.Dense(
            units, activation, name=name, dtype=self.dtype_policy, **kernel_options(self)
        )

    def _pre_norm(self, norm: keras.layers.Layer, x: Tensor) -> Tensor:
        """Returns the input of a sublayer."""
        return norm(x) if self.norm_first else x

    def _add_and_norm(
        self, norm: keras.layers.Layer, x: Tensor, residual: Tensor, training: bool | None = None
    ) -> Tensor:
        """Adds the output of a sublayer to `x`."""
        x = x + self.residual_dropout(residual, training=training)
        return x if self.norm_first else norm(x)

    def _feed_forward(self, x: Tensor, training: bool | None = None) -> Tensor:
        """Returns `x` after the feed-forward sublayer, eq. 2."""
        norm = self.feed_forward_norm
        residual = self.output_projection(self.hidden(self._pre_norm(norm, x)))
        return self._add_and_norm(norm, x, residual, training)

    def _init_cache(self, batch_size: Tensor, max_length: int) -> dict[str, Tensor]:
        if not self.built:
            raise ValueError(
                f"'{self.name}' is not built; expected a block that was called or built before "
                "it begins."
            )
        cache: dict[str, Tensor] = self.self_attention.begin(batch_size, max_length)
        return cache

    def _output_spec(
        self, shape: Shape, memory_length: int | None, *args: Any, **kwargs: Any
    ) -> Any:
        weights_shape = (shape[0], self.num_heads, shape[1], memory_length)
        return output_spec(self, shape, weights_shape, *args, **kwargs)

    def _validate_inputs(self, inputs_shape: Shape, inputs_mask: Tensor = None) -> None:
        validation.sequence("inputs", inputs_shape)
        validation.mask("inputs_mask", inputs_mask, inputs_shape[:2], "(batch, steps)")
