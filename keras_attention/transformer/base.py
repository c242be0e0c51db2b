"""What the two blocks of the Transformer share: residuals, feed-forward part, cached steps."""

import abc

import keras
from keras import ops

from keras_attention._internal import validation
from keras_attention._internal.serialization import clone_initializer
from keras_attention.self_attention.multi_head import SelfAttention


class TransformerBlock(keras.layers.Layer, abc.ABC):
    """Abstract: self-attention and a feed-forward network, each in a residual with a layer norm.

        LayerNorm(x + Dropout(Sublayer(x)))                            (sections 3.1, 5.4)
        x + Dropout(Sublayer(LayerNorm(x)))                            with `norm_first`
        FFN(x) = max(0, x W_1 + b_1) W_2 + b_2                         (eq. 2)

    One step at a time, what was attended to is kept in a cache of `max_length` steps. A state is a
    dict of tensors with the batch first: "keys" and "values" (B, N, max_length, K), "written"
    (B, max_length), the steps that may be attended to, and "position" (B,), the next step.
    """

    def __init__(
        self,
        num_heads,
        intermediate_dim,
        key_dim=None,
        dropout=0.0,
        attention_dropout=0.0,
        activation="relu",
        norm_first=False,
        epsilon=1e-5,
        kernel_initializer="glorot_uniform",
        seed=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_heads = validation.positive_integer("num_heads", num_heads)
        self.intermediate_dim = validation.positive_integer("intermediate_dim", intermediate_dim)
        self.key_dim = None if key_dim is None else validation.positive_integer("key_dim", key_dim)
        self.dropout = validation.dropout_rate("dropout", dropout)
        self.attention_dropout = validation.dropout_rate("attention_dropout", attention_dropout)
        self.activation = keras.activations.get(activation)
        self.norm_first = norm_first
        self.epsilon = validation.not_negative("epsilon", epsilon)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.seed = seed
        self.residual_dropout = keras.layers.Dropout(dropout, seed=seed, dtype=self.dtype_policy)
        self.supports_masking = True

    def build_shared(self, inputs_shape):
        """Builds the self-attention, the feed-forward network and their norms."""
        self.check_inputs(inputs_shape)
        width = inputs_shape[-1]
        self.self_attention = self.new_attention(width, "self_attention", 1)
        self.self_attention_norm = self.new_norm("self_attention_norm")
        self.hidden = self._new_dense(self.intermediate_dim, "hidden", self.activation)
        self.output_projection = self._new_dense(width, "output_projection")
        self.feed_forward_norm = self.new_norm("feed_forward_norm")
        for layer in (self.self_attention, self.self_attention_norm, self.feed_forward_norm):
            layer.build(inputs_shape)
        self.hidden.build(inputs_shape)
        self.output_projection.build((*inputs_shape[:-1], self.intermediate_dim))

    def new_attention(self, width, name, order):
        """An attention from `width` to `width`; the heads share the width if they have no own.

        Its seed is `order` above that of the residuals: equal seeds would drop equal places.
        """
        if self.key_dim is None and width % self.num_heads:
            raise ValueError(
                f"`num_heads` is {self.num_heads}, and `inputs` has width {width}; expected a "
                "number that divides the width, or a `key_dim`."
            )
        return SelfAttention(
            self.num_heads,
            self.key_dim or width // self.num_heads,
            dropout=self.attention_dropout,
            output_shape=width,
            kernel_initializer=clone_initializer(self.kernel_initializer),
            seed=None if self.seed is None else self.seed + order,
            name=name,
            dtype=self.dtype_policy,
        )

    def new_norm(self, name):
        return keras.layers.LayerNormalization(
            epsilon=self.epsilon, name=name, dtype=self.dtype_policy
        )

    def enter(self, norm, x):
        """What a sublayer reads of x."""
        return norm(x) if self.norm_first else x

    def leave(self, norm, x, added, training=None):
        """x after a sublayer that gave `added`."""
        x = x + self.residual_dropout(added, training=training)
        return x if self.norm_first else norm(x)

    def feed_forward(self, x, training=None):
        """x after the feed-forward sublayer, eq. 2."""
        norm = self.feed_forward_norm
        added = self.output_projection(self.hidden(self.enter(norm, x)))
        return self.leave(norm, x, added, training)

    def empty_cache(self, batch_size, max_length):
        """The state before the first step."""
        length = validation.positive_integer("max_length", max_length)
        if not self.built:
            raise ValueError(
                f"'{self.name}' is not built; expected a block that was called or built before "
                "it begins."
            )
        shape = (batch_size, self.num_heads, length, self.self_attention.key_dim)
        return {
            "keys": ops.zeros(shape, dtype=self.compute_dtype),
            "values": ops.zeros(shape, dtype=self.compute_dtype),
            "written": ops.zeros((batch_size, length), dtype="bool"),
            "position": ops.zeros((batch_size,), dtype="int32"),
        }

    def attend_to_past(self, x, state, mask=None):
        """The self-attention sublayer for one step.

        Args:
            x: (B, 1, D).
            state: What `empty_cache` or the last step gave.
            mask: (B,), False where the step is padding.

        Returns:
            x after the sublayer, the weights (B, N, 1, max_length), and the next state.
        """
        position = state["position"]
        max_length = state["written"].shape[1]
        _check_room(position, max_length)
        norm = self.self_attention_norm
        query = self.enter(norm, x)
        keys, values = self.self_attention.prepare(query)  # (B, N, 1, K)
        now = ops.arange(max_length, dtype="int32")[None] == position[:, None]  # (B, max_length)
        real = ops.ones_like(now) if mask is None else ops.cast(mask, "bool")[:, None]
        state = {
            **state,
            # By `where` and not by slice: it exports everywhere, and rows may stand apart.
            "keys": ops.where(now[:, None, :, None], keys, state["keys"]),
            "values": ops.where(now[:, None, :, None], values, state["values"]),
            "written": ops.logical_or(state["written"], ops.logical_and(now, real)),
            "position": position + 1,
        }
        allowed = ops.logical_and(state["written"], real)[:, None]  # (B, 1, max_length)
        added, weights = self.self_attention.attend(query, state["keys"], state["values"], allowed)
        # In a graph nothing can be raised: what did not fit says so by not being a number.
        fits = (position < max_length)[:, None, None]
        return self.leave(norm, ops.where(fits, x, float("nan")), added), weights, state

    def compute_mask(self, inputs, previous_mask=None):
        return previous_mask

    def specs(self, shape, memory_length, return_attention_scores):
        """What a call returns, symbolically."""
        output = keras.KerasTensor(shape, dtype=self.compute_dtype)
        if not return_attention_scores:
            return output
        shape = (shape[0], self.num_heads, shape[1], memory_length)
        return output, keras.KerasTensor(shape, dtype=self.compute_dtype)

    def check_inputs(self, inputs_shape, inputs_mask=None):
        validation.sequence("inputs", inputs_shape)
        validation.mask("inputs_mask", inputs_mask, inputs_shape[:2], "(batch, steps)")

    def get_config(self):
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
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "seed": self.seed,
        }

    def _new_dense(self, units, name, activation=None):
        initializer = clone_initializer(self.kernel_initializer)
        return keras.layers.Dense(
            units, activation, kernel_initializer=initializer, name=name, dtype=self.dtype_policy
        )


def _check_room(position, max_length):
    try:
        taken = ops.convert_to_numpy(position).max(initial=0)
    except (NotImplementedError, TypeError):  # in a graph, where the number is not known yet
        return
    if taken >= max_length:
        raise ValueError(
            f"`state` holds {taken} steps; expected a step while there are fewer than "
            f"`max_length`, {max_length}, with which it began."
        )
