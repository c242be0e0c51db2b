"""Attention over sequences: a score, an alignment, and the mean of the values they weigh.

`call` attends with all queries at once, as `keras.layers.Attention` does. Decoders use the same
layer step by step: `prepare` once per memory, `initial_state`, then `step` per query.
"""

import abc
from typing import final

import keras
from keras import ops

from keras_attention import alignments, checks, masks, scores


class SequenceAttention(keras.layers.Layer, abc.ABC):
    """Abstract: context and weights of queries (B, T, Dq) over a memory (B, S, D).

    Call arguments:
        query: (B, T, Dq).
        value: (B, S, Dv), what the context is made of.
        key: (B, S, Dk), what queries are scored against. Defaults to `value`.
        query_mask: (B, T). A masked query gets zero weights and a zero context.
        value_mask, key_mask: (B, S). Both are heeded where both are given.
        attention_mask: (B, T, S) or (T, S).
        training: Whether `dropout` is applied.
        return_attention_scores: Whether to return the weights too.
        use_causal_mask: Whether query `t` sees memory up to `t` only.

    Returns:
        The context (B, T, Dv); with `return_attention_scores` also the weights (B, T, S) after the
        alignment and before dropout.

    Masking: True means "may be attended". Keras fills `query_mask`, `value_mask` and `key_mask`
    with the masks attached to the tensors. The query's mask is passed on.
    """

    def __init__(self, score, alignment, dropout, seed, **kwargs):
        super().__init__(**kwargs)
        self.dropout = checks.fraction("dropout", dropout)
        score = scores.get(score, dtype=self.dtype_policy)
        alignment = alignments.get(alignment, dtype=self.dtype_policy)
        self.score = _claim(score, "score", self)
        self.alignment = _claim(alignment, "alignment", self)
        self.seed = seed
        if dropout:
            self.seed_generator = keras.random.SeedGenerator(seed)
        self.supports_masking = True

    def build(self, query_shape, value_shape, key_shape=None):
        _check_shapes(query_shape, value_shape, key_shape)
        # Loading a `.keras` file builds the sublayers first; building them again would fail.
        if not self.score.built:
            self.score.build(query_shape, key_shape or value_shape)

    def call(
        self,
        query,
        value,
        key=None,
        query_mask=None,
        value_mask=None,
        key_mask=None,
        attention_mask=None,
        training=None,
        return_attention_scores=False,
        use_causal_mask=False,
    ):
        _check_shapes(query.shape, value.shape, None if key is None else key.shape)
        checks.mask("query_mask", query_mask, query.shape[:2], "(batch, queries)")
        checks.mask("value_mask", value_mask, value.shape[:2], "(batch, memory)")
        checks.mask("key_mask", key_mask, value.shape[:2], "(batch, memory)")
        weights_shape = (*query.shape[:2], value.shape[1])
        checks.broadcastable("attention_mask", attention_mask, weights_shape)
        memory = self.prepare(value, key)
        query_length, memory_length = ops.shape(query)[1], ops.shape(value)[1]
        mask = masks.combine(
            query_mask,
            value_mask,
            key_mask,
            attention_mask,
            masks.causal_mask(query_length, memory_length) if use_causal_mask else None,
        )
        noise = self.draw_noise(query_length, memory, training)
        context, weights, _ = self.attend(query, memory, self.initial_state(memory), noise, mask)
        return (context, weights) if return_attention_scores else context

    def prepare(self, value, key=None, value_mask=None):
        """Returns the memory that `step` attends to: work done once, however many the steps."""
        value = ops.convert_to_tensor(value, dtype=self.compute_dtype)
        key = value if key is None else ops.convert_to_tensor(key, dtype=self.compute_dtype)
        memory = {"keys": self.score.prepare(key), "value": value}
        if value_mask is not None:
            checks.mask("value_mask", value_mask, value.shape[:2], "(batch, memory)")
            memory["mask"] = ops.cast(value_mask, "bool")
        return memory

    def initial_state(self, memory):
        """Returns the alignment's state before the first step; `()` if it keeps none."""
        return self.alignment.initial_state(memory["value"])

    def draw_noise(self, steps, memory, training=None):
        """Returns the noise of `steps` steps, a nest of tensors (B, steps, S): empty at inference.

        A decoder draws before its loop and passes each step its slice.
        """
        batch, length = ops.shape(memory["value"])[:2]
        shape = (batch, steps, length)
        noise = {"alignment": self.alignment.draw_noise(shape, training)}
        if training and self.dropout:
            ones = ops.ones(shape, dtype=self.compute_dtype)
            noise["dropout"] = keras.random.dropout(ones, self.dropout, seed=self.seed_generator)
        return noise

    def step(self, query, memory, state=(), noise=None):
        """Attends with one query (B, Dq); returns context (B, Dv), weights (B, S), next state."""
        noise = keras.tree.map_structure(lambda x: ops.expand_dims(x, 1), noise or {})
        context, weights, state = self.attend(ops.expand_dims(query, 1), memory, state, noise)
        return ops.squeeze(context, 1), ops.squeeze(weights, 1), state

    def attend(self, query, memory, state, noise, mask=None):
        """Attends with queries (B, T, Dq); `mask` defaults to the memory's."""
        if mask is None:
            mask = masks.combine(value_mask=memory.get("mask"))
        weights, state = self.alignment(
            self.score(query, memory["keys"]),
            mask=mask,
            query=query,
            state=state,
            noise=noise.get("alignment", ()),
        )
        kept = weights * noise["dropout"] if "dropout" in noise else weights
        return ops.matmul(kept, memory["value"]), weights, state  # (B, T, Dv), (B, T, S)

    def compute_mask(self, query, previous_mask=None):
        return previous_mask

    def compute_output_shape(self, query_shape, value_shape, key_shape=None):
        _check_shapes(query_shape, value_shape, key_shape)
        return (query_shape[0], query_shape[1], value_shape[-1])

    def compute_output_spec(
        self,
        query,
        value,
        key=None,
        query_mask=None,
        value_mask=None,
        key_mask=None,
        attention_mask=None,
        training=None,
        return_attention_scores=False,
        use_causal_mask=False,
    ):
        shape = self.compute_output_shape(
            query.shape, value.shape, None if key is None else key.shape
        )
        context = keras.KerasTensor(shape, dtype=self.compute_dtype)
        if not return_attention_scores:
            return context
        weights_shape = (query.shape[0], query.shape[1], value.shape[1])
        return context, keras.KerasTensor(weights_shape, dtype=self.compute_dtype)

    @abc.abstractmethod
    def get_config(self):
        return {**super().get_config(), "dropout": self.dropout, "seed": self.seed}


@final
@keras.saving.register_keras_serializable("keras_attention")
class Attention(SequenceAttention):
    """Any score with any alignment.

        c_t = sum_s a_ts v_s,    a_t = alignment(score(q_t, k_s))

    Args:
        score: A `ka.scores.Score` or its name.
        alignment: A `ka.alignments.Alignment` or its name.
        dropout: Share of the weights dropped in training.
        seed: Seed of the dropout.

    Call arguments, Returns, Masking: see `SequenceAttention`.

    Example:

    >>> attention = ka.Attention(score="scaled_dot")
    >>> tuple(attention(np.ones((2, 3, 7)), np.ones((2, 5, 7))).shape)
    (2, 3, 7)

    Reference: Bahdanau, Cho, Bengio 2015, arXiv:1409.0473, eq. 5-6.
    """

    def __init__(self, score="scaled_dot", alignment="softmax", dropout=0.0, seed=None, **kwargs):
        super().__init__(score, alignment, dropout, seed, **kwargs)

    def get_config(self):
        return {**super().get_config(), **_serialized(self)}


@final
@keras.saving.register_keras_serializable("keras_attention")
class BahdanauAttention(SequenceAttention):
    """Bahdanau's attention: additive score, softmax.

        e_ts = v^T tanh(W s_t + U m_s)                                     (appendix A.1.2)
        a_t = softmax(e_t),  c_t = sum_s a_ts m_s                          (eq. 6, 5)

    With W and U it takes queries and memories of any widths, which
    `keras.layers.AdditiveAttention` does not.

    Args:
        units: Width of the hidden layer.
        normalize: Whether the score uses weight normalisation; see `ka.scores.Additive`.
        kernel_initializer: Initializer of the score's kernels and vector.
        dropout: Share of the weights dropped in training.
        seed: Seed of the dropout.

    Call arguments, Returns, Masking: see `SequenceAttention`.

    Example:

    >>> attention = ka.BahdanauAttention(13)
    >>> context, weights = attention(
    ...     np.ones((2, 3, 7)), np.ones((2, 5, 11)), return_attention_scores=True
    ... )
    >>> tuple(context.shape), tuple(weights.shape)
    ((2, 3, 11), (2, 3, 5))

    Reference: Bahdanau, Cho, Bengio 2015, "Neural Machine Translation by Jointly Learning to Align
    and Translate", arXiv:1409.0473, section 3.1 and appendix A.1.2.
    """

    def __init__(
        self,
        units,
        normalize=False,
        kernel_initializer="glorot_uniform",
        dropout=0.0,
        seed=None,
        dtype=None,
        **kwargs,
    ):
        score = scores.Additive(
            checks.positive_integer("units", units), normalize, kernel_initializer, dtype=dtype
        )
        super().__init__(score, "softmax", dropout, seed, dtype=dtype, **kwargs)
        self.units = units

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "normalize": self.score.normalize,
            "kernel_initializer": keras.initializers.serialize(self.score.kernel_initializer),
        }


@final
@keras.saving.register_keras_serializable("keras_attention")
class LuongAttention(SequenceAttention):
    """Luong's attention: a choice of content score, and a global alignment.

        score = h_t . m_s                      "dot"
                h_t^T W_a m_s                  "general"
                v^T tanh(W_a [h_t; m_s])       "concat"                              (section 3.1)
        a_t = softmax(score_t),  c_t = sum_s a_ts m_s                                (eq. 7)

    The decoder that goes with it, with its attentional vector and input feeding, is
    `ka.LuongDecoder`.

    Args:
        score: "dot", "general", "concat", or a `ka.scores.Score`.
        alignment: "softmax", or a `ka.alignments.Alignment`.
        dropout: Share of the weights dropped in training.
        seed: Seed of the dropout.

    Call arguments, Returns, Masking: see `SequenceAttention`.

    Example:

    >>> attention = ka.LuongAttention("general")
    >>> tuple(attention(np.ones((2, 3, 7)), np.ones((2, 5, 11))).shape)
    (2, 3, 11)

    Reference: Luong, Pham, Manning 2015, "Effective Approaches to Attention-based Neural Machine
    Translation", arXiv:1508.04025, section 3.1.
    """

    def __init__(self, score="general", alignment="softmax", dropout=0.0, seed=None, **kwargs):
        super().__init__(score, alignment, dropout, seed, **kwargs)

    def get_config(self):
        return {**super().get_config(), **_serialized(self)}


def _claim(part, argument, owner):
    # A part shared by two layers would be saved twice and loaded into one of them only.
    if getattr(part, "_owner", None) is not None:
        raise ValueError(
            f"`{argument}` is a {type(part).__name__} that '{part._owner}' already owns; "
            f"accepted is a new one for '{owner.name}'."
        )
    part._owner = owner.name
    return part


def _serialized(layer):
    return {
        "score": keras.saving.serialize_keras_object(layer.score),
        "alignment": keras.saving.serialize_keras_object(layer.alignment),
    }


def _check_shapes(query_shape, value_shape, key_shape=None):
    checks.rank("query", query_shape, "(batch, queries, width)")
    checks.rank("value", value_shape, "(batch, memory, width)")
    checks.equal("query", query_shape[0], "value", value_shape[0], "batch size")
    if key_shape is not None:
        checks.rank("key", key_shape, "(batch, memory, width)")
        checks.equal("key", key_shape[0], "value", value_shape[0], "batch size")
        checks.equal("key", key_shape[1], "value", value_shape[1], "length")
