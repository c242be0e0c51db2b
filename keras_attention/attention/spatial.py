"""Spatial attention: where in a picture to look, as in Show, Attend and Tell."""

import abc
import functools
from typing import final

import keras
from keras import ops

from keras_attention import masks
from keras_attention._internal import serialization, validation
from keras_attention.alignments import Hard, Softmax, StraightThrough
from keras_attention.alignments.sampling import SampledAlignment
from keras_attention.attention.base import (
    MemoryAttention,
    combined_mask,
    validate_memory_mask,
    weighted_sum,
)
from keras_attention.scores import Additive


class SpatialAttention(MemoryAttention, abc.ABC):
    """Abstract: context and weights of queries over a map of features.

    Call arguments:
        query: (B, T, Dq), or (B, Dq) for one step.
        value: (B, H, W, C), or (B, L, C).
        query_mask: (B, T). A masked query gets zero weights and a zero context.
        value_mask: (B, H, W) or (B, L), the places that may be looked at.
        training: Whether `dropout` is applied, and a hard attention draws.
        return_attention_scores: Whether to return the weights too.

    Returns:
        The context (B, T, C), or (B, C) for one step; with `return_attention_scores` also the
        weights (B, T, H, W), or (B, T, L), without T for one step.

    Masking: True means "may be attended". Keras fills `query_mask` and `value_mask` with the masks
    attached to the tensors. The query's mask is passed on.

    In a decoder its memory is either of the two as well, and the decoder's weights are maps again.
    `prepare` makes places of a map, so that in `attend` and `step` there is but (B, L, C).
    """

    accepts_feature_maps = True

    @abc.abstractmethod
    def __init__(self, units, alignment, gate, kernel_initializer, dropout, seed, **kwargs):
        super().__init__(dropout, seed, **kwargs)
        self.units = validation.positive_integer("units", units)
        self.score = Additive(
            self.units, kernel_initializer=kernel_initializer, dtype=self.dtype_policy
        )
        self.alignment = serialization.take_ownership("alignment", alignment, self)
        self.gate = None
        if gate:
            self.gate = keras.layers.Dense(
                1, activation="sigmoid", name="gate", dtype=self.dtype_policy
            )

    @property
    def sequential(self):
        return False

    def build(self, query_shape, value_shape):
        _check_shapes(query_shape, value_shape)
        places = (*value_shape[:1], None, value_shape[-1])
        # Loading a `.keras` file builds the sublayers first; building them again would fail.
        if not self.score.built:
            self.score.build(query_shape, places)
        if not self.alignment.built:
            self.alignment.build((*query_shape[:-1], None), query_shape)
        if self.gate is not None and not self.gate.built:
            self.gate.build((None, query_shape[-1]))

    def call(
        self,
        query,
        value,
        query_mask=None,
        value_mask=None,
        training=None,
        return_attention_scores=False,
    ):
        _check_shapes(query.shape, value.shape)
        validation.mask("query_mask", query_mask, query.shape[:-1], "(batch, queries)")
        validate_memory_mask("value_mask", value_mask, value.shape)
        one_step = len(query.shape) == 2
        if one_step:
            query = ops.expand_dims(query, 1)
            query_mask = None if query_mask is None else ops.expand_dims(query_mask, 1)
        memory = self.prepare(value, value_mask=value_mask)
        mask = masks.combine(query_mask)
        noise = self.sample_noise(ops.shape(query)[1], memory, training)
        state = self.initial_state(memory)
        context, weights, _ = self.attend_sequence(query, memory, state, noise, mask)
        if len(value.shape) == 4:
            weights = ops.reshape(weights, (*ops.shape(weights)[:2], *ops.shape(value)[1:3]))
        if one_step:
            context, weights = ops.squeeze(context, 1), ops.squeeze(weights, 1)
        return (context, weights) if return_attention_scores else context

    def make_keys(self, key):
        return self.score.prepare(key)

    def initial_state(self, memory):
        return self.alignment.initial_state(memory["value"])

    def sample_alignment_noise(self, shape, training):
        return self.alignment.sample_noise(shape, training)

    def attend(self, query, memory, state, noise, mask=None):
        scores = self.score(query, memory["keys"])
        weights, state = self.alignment(
            scores, mask=combined_mask(memory, mask), state=state, noise=noise.get("alignment", ())
        )
        context = weighted_sum(weights, memory, noise)
        if self.gate is not None:
            # In rows, as the gradient of a product of rank 3 does not compile in a loop.
            rows = self.gate(ops.reshape(query, (-1, query.shape[-1])))
            context = ops.reshape(rows, (-1, ops.shape(query)[1], 1)) * context
        return context, weights, state

    def compute_mask(self, query, previous_mask=None):
        return previous_mask

    def compute_output_shape(self, query_shape, value_shape):
        _check_shapes(query_shape, value_shape)
        return (*query_shape[:-1], value_shape[-1])

    def compute_output_spec(
        self,
        query,
        value,
        query_mask=None,
        value_mask=None,
        training=None,
        return_attention_scores=False,
    ):
        shape = self.compute_output_shape(query.shape, value.shape)
        context = keras.KerasTensor(shape, dtype=self.compute_dtype)
        if not return_attention_scores:
            return context
        weights_shape = (*query.shape[:-1], *value.shape[1:-1])
        return context, keras.KerasTensor(weights_shape, dtype=self.compute_dtype)

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "gate": self.gate is not None,
            "kernel_initializer": keras.initializers.serialize(self.score.kernel_initializer),
        }


@final
@keras.saving.register_keras_serializable("keras_attention")
class SoftSpatialAttention(SpatialAttention):
    """Soft attention over the places of a picture: the expected context.

        e_ti = f_att(a_i, h_{t-1}),  alpha_t = softmax(e_t)             (eq. 4-5)
        z_t = beta_t sum_i alpha_ti a_i                                 (eq. 13; section 4.2.1)
        beta_t = sigmoid(f_beta(h_{t-1}))

    f_att is `ka.scores.Additive`, and f_beta the linear layer `gate`: how much the picture matters
    at this word.

    Args:
        units: Width of the hidden layer of f_att.
        gate: Whether there is beta.
        kernel_initializer: Initializer of the score's kernels and vector.
        dropout: Share of the weights dropped in training.
        seed: Seed of the dropout.

    Call arguments, Returns, Masking: see `SpatialAttention`.

    Example:

    >>> attention = ka.SoftSpatialAttention(13)
    >>> context, maps = attention(
    ...     np.ones((2, 3, 7)), np.ones((2, 5, 4, 11)), return_attention_scores=True
    ... )
    >>> tuple(context.shape), tuple(maps.shape)
    ((2, 3, 11), (2, 3, 5, 4))

    Reference: Xu et al. 2015, "Show, Attend and Tell: Neural Image Caption Generation with Visual
    Attention", arXiv:1502.03044, section 4.2.
    """

    def __init__(
        self,
        units,
        gate=True,
        kernel_initializer="glorot_uniform",
        dropout=0.0,
        seed=None,
        dtype=None,
        **kwargs,
    ):
        alignment = Softmax(dtype=dtype)
        super().__init__(
            units, alignment, gate, kernel_initializer, dropout, seed, dtype=dtype, **kwargs
        )


@final
@keras.saving.register_keras_serializable("keras_attention")
class HardSpatialAttention(SpatialAttention):
    """Hard attention over the places of a picture: one place a step.

        p(s_ti = 1 | ...) = alpha_ti,  z_t = beta_t sum_i s_ti a_i      (eq. 8-9)

    with alpha, and beta, which is section 4.2.1's, as in `SoftSpatialAttention`. The place is drawn
    in training and the likeliest one at inference. What the score learns from is the alignment's
    affair:

    - "hard": `ka.losses.reinforce`, of the sums that `ka.alignments.Hard` keeps as its state, and
      the share of the pictures that get the expected context.
    - "straight_through": the loss of the model; see `ka.alignments.StraightThrough`.

    Args:
        units: Width of the hidden layer of f_att.
        alignment: One of these, or a `ka.alignments.Hard` or `ka.alignments.StraightThrough`.
        gate: Whether there is beta.
        kernel_initializer: Initializer of the score's kernels and vector.
        dropout: Share of the weights dropped in training.
        seed: Seed of the dropout, and of the draws of an alignment made from its name.

    Call arguments, Returns, Masking: see `SpatialAttention`.

    Example:

    >>> attention = ka.HardSpatialAttention(13)
    >>> _, maps = attention(
    ...     np.ones((2, 7)), np.random.normal(size=(2, 5, 4, 11)), return_attention_scores=True
    ... )
    >>> np.array(maps).sum(axis=(1, 2)).tolist(), np.array(maps).max(axis=(1, 2)).tolist()
    ([1.0, 1.0], [1.0, 1.0])

    Reference: Xu et al. 2015, arXiv:1502.03044, section 4.1.
    """

    def __init__(
        self,
        units,
        alignment="hard",
        gate=True,
        kernel_initializer="glorot_uniform",
        dropout=0.0,
        seed=None,
        dtype=None,
        **kwargs,
    ):
        by_name = {
            "hard": functools.partial(Hard, seed=seed),
            "straight_through": functools.partial(StraightThrough, seed=seed),
        }
        alignment = serialization.get_part("alignment", alignment, SampledAlignment, by_name, dtype)
        super().__init__(
            units, alignment, gate, kernel_initializer, dropout, seed, dtype=dtype, **kwargs
        )

    def get_config(self):
        alignment = keras.saving.serialize_keras_object(self.alignment)
        return {**super().get_config(), "alignment": alignment}


def _check_shapes(query_shape, value_shape):
    if len(query_shape) not in (2, 3):
        raise ValueError(
            f"`query` has shape {tuple(query_shape)}; expected (batch, width) or "
            "(batch, queries, width)."
        )
    if len(value_shape) not in (3, 4):
        raise ValueError(
            f"`value` has shape {tuple(value_shape)}; expected (batch, height, width, channels) "
            "or (batch, places, channels)."
        )
    validation.equal("query", query_shape[0], "value", value_shape[0], "batch size")
