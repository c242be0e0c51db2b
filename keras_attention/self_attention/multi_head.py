"""Multi-head attention of a sequence to itself or to another sequence."""

from typing import Any, final

import keras
from keras import ops

from keras_attention._internal import single_query, validation
from keras_attention._internal.kernel import (
    add_kernel,
    kernel_config,
    set_kernel_options,
)
from keras_attention._internal.list_call import ListCall
from keras_attention._internal.output_spec import output_spec
from keras_attention._internal.typing import Config, Initializer, Shape, Tensor
from keras_attention._ops.dense import dense
from keras_attention._ops.dot_product_attention import dot_product_attention
from keras_attention._ops.heads import merge_heads, split_heads
from keras_attention.self_attention.cache import CachedAttention


@final
@keras.saving.register_keras_serializable("keras_attention")
class SelfAttention(ListCall, CachedAttention):
    """Multi-head scaled dot-product attention of a sequence to itself or to another sequence.

        head_i = softmax(Q W_i^Q (K W_i^K)^T / sqrt(d_k)) V W_i^V        (section 3.2.2)
        output = [head_1; ...; head_h] W^O

    Variables: `query_kernel` (Dq, num_heads * key_dim), `key_kernel` (Dk, num_heads * key_dim),
    `value_kernel` (Dv, num_heads * value_dim) and `output_kernel` (num_heads * value_dim, D), with
    the heads side by side. They are those of `keras.layers.MultiHeadAttention`, reshaped.
    `use_bias` adds `query_bias`, `value_bias` and `output_bias`. The keys have no bias: it would
    add the same number to all scores of a query, which does not change their softmax.

    `begin`, `step` and `prefill` run causal self-attention over a cache.

    Args:
        num_heads: Number of heads.
        key_dim: Size of a head's queries and keys.
        value_dim: Size of a head's values. Defaults to `key_dim`.
        dropout: Rate at which attention weights are dropped in training.
        use_bias: Whether the projections have biases.
        output_shape: Size of the output, D. Defaults to that of the query.
        window: If given, step t attends only to the steps s with |t - s| <= `window`. This is for
            self-attention, where t and s count the same steps.
        kernel_initializer: Initializer of the kernels.
        seed: Seed of the dropout.
        kernel_regularizer, kernel_constraint: Applied to the variables that `kernel_initializer`
            initializes.

    Call arguments:
        query: (B, T, Dq), or (B, Dq) for one step, which needs a `value`.
        value: (B, S, Dv). Defaults to `query`: self-attention.
        key: (B, S, Dk). Defaults to `value`.
        query_mask: (B, T), or (B,) for one step. A masked query attends to nothing. In
            self-attention it also masks the keys, unless `value_mask` is given.
        value_mask, key_mask: (B, S). If both are given, both must allow a key.
        attention_mask: (B, T, S) or (T, S) for all heads, or (B, num_heads, T, S) with a mask for
            each head. For one step it lacks the axis T: (B, S) or (B, num_heads, S).
        training: Whether `dropout` is applied.
        return_attention_scores: Whether to return the weights too. The output stays the same.
        use_causal_mask: Whether step t attends only to steps up to t.
        mask: (B, T), another name for `query_mask`, under which Keras passes the implicit mask of a
            single input.

    Returns:
        The output (B, T, D); with `return_attention_scores` also the weights (B, num_heads, T, S)
        after the softmax and before dropout. For one step both lack the axis T.

    Masking: True means "may be attended to". If a query has nothing to attend to, its weights and
    heads are zero, and its output is `output_bias`, or 0 without biases. The query's mask is passed
    on.

    Memory: linear in T and S, unless weights (B, num_heads, T, S) are held. They are if they are
    returned or dropped, up to 256 x 256 for each head, and on TensorFlow, in a batch of known
    size, up to 2^24 in all (64 MB for each array of them): there tiles would cost time. See
    `_ops/holds_weights.py`.

    Raises:
        ValueError: If an argument is out of its range, or an input has an unexpected shape.

    Example:

    >>> attention = ka.SelfAttention(num_heads=2, key_dim=5)
    >>> output, weights = attention(
    ...     np.ones((3, 7, 11)), use_causal_mask=True, return_attention_scores=True
    ... )
    >>> tuple(output.shape), tuple(weights.shape)
    ((3, 7, 11), (3, 2, 7, 7))

    Reference: Vaswani et al. 2017, "Attention Is All You Need", arXiv:1706.03762, section 3.2.
    """

    def __init__(
        self,
        num_heads: int,
        key_dim: int,
        value_dim: int | None = None,
        dropout: float = 0.0,
        use_bias: bool = True,
        output_shape: int | None = None,
        window: int | None = None,
        kernel_initializer: Initializer = "glorot_uniform",
        seed: int | None = None,
        kernel_regularizer: Any = None,
        kernel_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_heads = validation.positive_integer("num_heads", num_heads)
        self.key_dim = validation.positive_integer("key_dim", key_dim)
        value_dim = key_dim if value_dim is None else value_dim
        self.value_dim = validation.positive_integer("value_dim", value_dim)
        self.dropout = validation.dropout_rate("dropout", dropout)
        self.use_bias = use_bias
        self.output_width = None
        if output_shape is not None:
            self.output_width = validation.positive_integer("output_shape", output_shape)
        self.window = None if window is None else validation.non_negative_integer("window", window)
        set_kernel_options(self, kernel_initializer, kernel_regularizer, kernel_constraint)
        self.seed = seed
        if dropout:
            self.seed_generator = keras.random.SeedGenerator(seed)
        self.supports_masking = True

    def build(
        self, query_shape: Shape, value_shape: Shape | None = None, key_shape: Shape | None = None
    ) -> None:
        value_shape, key_shape = self._memory_shapes(query_shape, value_shape, key_shape)
        query_shape = single_query.add_axis_to_shape(query_shape)
        for argument, shape in (("query", query_shape), ("value", value_shape), ("key", key_shape)):
            validation.static_dim(argument, shape)
        keys_dim, values_dim = self.num_heads * self.key_dim, self.num_heads * self.value_dim
        output_dim, add = self.output_width or query_shape[-1], self._add_projection
        self.query_kernel, self.query_bias = add("query", query_shape[-1], keys_dim)
        self.key_kernel, _ = add("key", key_shape[-1], keys_dim, use_bias=False)
        self.value_kernel, self.value_bias = add("value", value_shape[-1], values_dim)
        self.output_kernel, self.output_bias = add("output", values_dim, output_dim)

    def call(
        self,
        query: Tensor,
        value: Tensor = None,
        key: Tensor = None,
        query_mask: Tensor = None,
        value_mask: Tensor = None,
        key_mask: Tensor = None,
        attention_mask: Tensor = None,
        training: bool | None = None,
        return_attention_scores: bool = False,
        use_causal_mask: bool = False,
        mask: Tensor = None,
    ) -> Tensor:
        if mask is not None and value is not None:
            raise ValueError(
                "`mask` was given with a `value`; expected `mask` with `query` alone, and "
                "`query_mask` and `value_mask` otherwise."
            )
        is_self_attention = value is None
        self._memory_shapes(query.shape, *(None if x is None else x.shape for x in (value, key)))
        value = query if is_self_attention else value
        validation.query(query.shape, use_causal_mask)
        for name, given in (("mask", mask), ("query_mask", query_mask)):
            validation.mask(name, given, query.shape[:-1], "(batch, queries)")
        for name, given in (("value_mask", value_mask), ("key_mask", key_mask)):
            validation.mask(name, given, value.shape[:2], "(batch, memory)")
        attention_mask = validation.attention_mask(
            "attention_mask", attention_mask, query.shape, value.shape[1], self.num_heads
        )
        query_mask = mask if query_mask is None else query_mask
        if is_self_attention and value_mask is None:
            value_mask = query_mask
        query_shape = query.shape
        query, query_mask, attention_mask = single_query.add_axis(query, query_mask, attention_mask)
        query = self._heads(query, self.query_kernel, self.query_bias)
        key, value = self.prepare(value, key)
        context, weights = dot_product_attention(
            *(query, key, value, query_mask, value_mask, key_mask, attention_mask),
            causal=use_causal_mask,
            window=self.window,
            dropout_mask=self._dropout_mask(query, key) if training and self.dropout else None,
            return_weights=return_attention_scores,
        )
        output = self._project(merge_heads(context), self.output_kernel, self.output_bias)
        output, weights = single_query.remove_axis(query_shape, output, weights)
        return (output, weights) if return_attention_scores else output

    def compute_output_shape(
        self, query_shape: Shape, value_shape: Shape | None = None, key_shape: Shape | None = None
    ) -> Shape:
        self._memory_shapes(query_shape, value_shape, key_shape)
        return (*query_shape[:-1], self.output_width or query_shape[-1])

    def compute_output_spec(
        self, query: Tensor, value: Tensor = None, key: Tensor = None, *args: Any, **kwargs: Any
    ) -> Tensor:
        memory = query if value is None else value
        shapes = (None if x is None else x.shape for x in (value, key))
        shape = self.compute_output_shape(query.shape, *shapes)
        weights_shape = (query.shape[0], self.num_heads, *query.shape[1:-1], memory.shape[1])
        return output_spec(self, shape, weights_shape, query, value, key, *args, **kwargs)

    def prepare(self, value: Tensor, key: Tensor = None) -> tuple[Tensor, Tensor]:
        """Returns the keys (B, N, S, K) and values (B, N, S, V) of a memory, for N heads.

        `attend` takes them. The inputs must have the compute dtype.
        """
        validation.built(self)
        keys = self._heads(value if key is None else key, self.key_kernel)
        return keys, self._heads(value, self.value_kernel, self.value_bias)

    def attend(
        self,
        query: Tensor,
        keys: Tensor,
        values: Tensor,
        mask: Tensor = None,
        return_weights: bool = True,
    ) -> tuple[Tensor, Tensor]:
        """Attends to what `prepare` returned, where `mask` allows. It broadcasts to (B, T, S).

        Returns:
            The output (B, T, D), and the weights (B, N, T, S) or None.
        """
        queries = self._heads(query, self.query_kernel, self.query_bias)
        context, weights = dot_product_attention(
            queries, keys, values, attention_mask=mask, return_weights=return_weights
        )
        return self._project(merge_heads(context), self.output_kernel, self.output_bias), weights

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "key_dim": self.key_dim,
            "value_dim": self.value_dim,
            "dropout": self.dropout,
            "use_bias": self.use_bias,
            "output_shape": self.output_width,
            "window": self.window,
            **kernel_config(self),
            "seed": self.seed,
        }

    def _add_projection(
        self, name: str, dim: int | None, units: int | None, use_bias: bool | None = None
    ) -> tuple[Tensor, Tensor]:
        kernel = add_kernel(self, f"{name}_kernel", (dim, units))
        if not (self.use_bias if use_bias is None else use_bias):
            return kernel, None
        return kernel, self.add_weight(name=f"{name}_bias", shape=(units,), initializer="zeros")

    def _project(self, sequence: Tensor, kernel: Tensor, bias: Tensor = None) -> Tensor:
        rows = dense(sequence, ops.cast(kernel, self.compute_dtype))
        return rows if bias is None else rows + ops.cast(bias, self.compute_dtype)

    def _heads(self, sequence: Tensor, kernel: Tensor, bias: Tensor = None) -> Tensor:
        return split_heads(self._project(sequence, kernel, bias), self.num_heads)

    def _dropout_mask(self, query: Tensor, key: Tensor) -> Tensor:
        shape = (*ops.shape(query)[:3], ops.shape(key)[2])  # (B, N, T, S)
        ones = ops.ones(shape, dtype=self.compute_dtype)
        return keras.random.dropout(ones, self.dropout, seed=self.seed_generator)

    def _memory_shapes(
        self, query_shape: Shape, value_shape: Shape | None, key_shape: Shape | None
    ) -> tuple[Shape, Shape]:
        """Returns the shapes of value and key, with their defaults, and checks all shapes."""
        validation.query(query_shape)
        if value_shape is None:  # self-attention
            validation.rank("query", query_shape, "(batch, queries, width)")
            value_shape = query_shape
        key_shape = value_shape if key_shape is None else key_shape
        for argument, shape in (("value", value_shape), ("key", key_shape)):
            validation.rank(argument, shape, "(batch, memory, width)")
            validation.equal("query", query_shape[0], argument, shape[0], "batch size")
        validation.equal("key", key_shape[1], "value", value_shape[1], "length")
        lengths = single_query.add_axis_to_shape(query_shape)[1], value_shape[1]
        if self.window is not None and None not in lengths and lengths[0] != lengths[1]:
            raise ValueError(
                f"`window` is {self.window}, but `query` has length {lengths[0]} and `value` has "
                f"length {lengths[1]}; expected one length for both, as in self-attention."
            )
        return value_shape, key_shape
