"""Spatial attention over the positions of an image, as in Show, Attend and Tell (Xu 2015)."""

import abc
from typing import Any, final

import keras
from keras import ops

from keras_attention import masks
from keras_attention._internal import single_query, validation
from keras_attention._internal.kernel import kernel_config
from keras_attention._internal.list_call import ListCall
from keras_attention._internal.output_spec import output_spec
from keras_attention._internal.part import get_part
from keras_attention._internal.serialization import build_once
from keras_attention._internal.typing import Config, Initializer, Shape, Tensor
from keras_attention.alignments import Softmax
from keras_attention.alignments.sampling import SampledAlignment
from keras_attention.attention.base import validate_memory_mask
from keras_attention.attention.scored import ScoredAttention
from keras_attention.scores import Additive


class SpatialAttention(ListCall, ScoredAttention, abc.ABC):
    """Abstract: a gated additive attention layer that is called with queries and feature maps.

    In a decoder too, the memory is a feature map or a sequence, and the attention weights that the
    decoder returns have the shape of the memory. `prepare` flattens feature maps, so `attend` and
    `step` only see positions (B, L, C).
    """

    accepts_feature_maps = True

    @abc.abstractmethod
    def __init__(
        self,
        units: int,
        alignment: Any,
        gate: bool,
        kernel_initializer: Initializer,
        dropout: float,
        seed: int | None,
        dtype: Any,
        kernel_regularizer: Any,
        kernel_constraint: Any,
        **kwargs: Any,
    ) -> None:
        self.units = validation.positive_integer("units", units)
        score = Additive(
            units,
            kernel_initializer=kernel_initializer,
            kernel_regularizer=kernel_regularizer,
            kernel_constraint=kernel_constraint,
            dtype=dtype,
        )
        super().__init__(score, alignment, dropout, seed, dtype=dtype, **kwargs)
        if gate:
            self.gate = keras.layers.Dense(
                1, activation="sigmoid", name="gate", dtype=self.dtype_policy
            )

    def build(self, query_shape: Shape, value_shape: Shape) -> None:
        _validate_shapes(query_shape, value_shape)
        query_shape = single_query.add_axis_to_shape(query_shape)
        value_shape = (value_shape[0], None, value_shape[-1])  # flattened
        self.build_projections(query_shape, value_shape, value_shape)
        if self.gate is not None:
            build_once(self.gate, (None, query_shape[-1]))

    def call(
        self,
        query: Tensor,
        value: Tensor,
        query_mask: Tensor = None,
        value_mask: Tensor = None,
        training: bool | None = None,
        return_attention_scores: bool = False,
    ) -> Any:
        """Attends to a feature map, or to a sequence of its positions.

        Call arguments:
            query: (B, T, Dq), or (B, Dq) for one step.
            value: (B, H, W, C), or (B, L, C).
            query_mask: (B, T), or (B,) for one step. A masked query gets zero weights and a zero
                context.
            value_mask: (B, H, W) or (B, L), the positions that may be attended.
            training: Whether `dropout` is applied and hard attention samples.
            return_attention_scores: Whether to return the weights too.

        Returns:
            The context (B, T, C); with `return_attention_scores` also the weights (B, T, H, W), or
            (B, T, L) for a sequence of positions. For one step both lack the axis T.

        Masking: True means "may be attended to". Keras fills in `query_mask` and `value_mask` from
        the masks attached to the tensors. The query's mask is passed on.

        Raises:
            ValueError: If the shapes of the inputs or masks do not fit together.
        """
        _validate_shapes(query.shape, value.shape)
        query_mask = validation.mask("query_mask", query_mask, query.shape[:-1], "(batch, queries)")
        validate_memory_mask("value_mask", value_mask, value.shape)
        query_shape = query.shape
        query, query_mask, _ = single_query.add_axis(query, query_mask)
        memory = self.prepare(value, value_mask=value_mask)
        results = self.attend_sequence(query, memory, masks.combine(query_mask), training)
        context, weights = single_query.remove_axis(query_shape, *results)
        if len(value.shape) == 4:
            weights = ops.reshape(weights, (*ops.shape(weights)[:-1], *ops.shape(value)[1:3]))
        return (context, weights) if return_attention_scores else context

    def compute_output_shape(self, query_shape: Shape, value_shape: Shape) -> tuple:
        _validate_shapes(query_shape, value_shape)
        return (*query_shape[:-1], value_shape[-1])

    def compute_output_spec(self, query: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> Any:
        shape = self.compute_output_shape(query.shape, value.shape)
        attention_shape = (*query.shape[:-1], *value.shape[1:-1])
        return output_spec(self, shape, attention_shape, query, value, *args, **kwargs)

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "units": self.units,
            "gate": self.gate is not None,
            **kernel_config(self.score),
        }


@final
@keras.saving.register_keras_serializable("keras_attention")
class SoftSpatialAttention(SpatialAttention):
    """Soft attention over the positions of an image: the expected context.

        e_ti = f_att(a_i, h_{t-1}),  alpha_t = softmax(e_t)             (eq. 4-5)
        z_t = beta_t sum_i alpha_ti a_i                                 (eq. 13; section 4.2.1)
        beta_t = sigmoid(f_beta(h_{t-1}))

    f_att is `ka.scores.Additive`, and f_beta is the linear layer `gate`. beta_t says how much the
    image matters for the word of step t.

    Args:
        units: Size of the hidden layer of f_att.
        gate: Whether to scale the context by beta.
        kernel_initializer: Initializer of the score's kernels and vector.
        dropout: Fraction of the attention weights to drop in training.
        seed: Seed of the dropout.
        kernel_regularizer, kernel_constraint: Applied to the variables that `kernel_initializer`
            initializes.

    Call arguments, Returns, Masking: see `call`.

    Raises:
        ValueError: If `units` is not a positive integer, or `dropout` is not in [0, 1).

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
        units: int,
        gate: bool = True,
        kernel_initializer: Initializer = "glorot_uniform",
        dropout: float = 0.0,
        seed: int | None = None,
        dtype: Any = None,
        kernel_regularizer: Any = None,
        kernel_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        alignment = Softmax(dtype=dtype)
        super().__init__(
            *(units, alignment, gate, kernel_initializer, dropout, seed, dtype),
            *(kernel_regularizer, kernel_constraint),
            **kwargs,
        )


@final
@keras.saving.register_keras_serializable("keras_attention")
class HardSpatialAttention(SpatialAttention):
    """Hard attention over the positions of an image: one position per step.

        p(s_ti = 1 | ...) = alpha_ti,  z_t = beta_t sum_i s_ti a_i      (eq. 8-9)

    alpha and beta (section 4.2.1) are those of `SoftSpatialAttention`. In training the position is
    sampled; at inference it is the most probable one. What the score learns from depends on
    `alignment`:

    - "hard": `ka.losses.reinforce`. It takes the sums in the state of `ka.alignments.Hard`, which a
      decoder's `decode` returns. Examples that get the expected context train the score by
      backpropagation.
    - "straight_through": the loss of the model alone; see `ka.alignments.StraightThrough`.

    Args:
        units: Size of the hidden layer of f_att.
        alignment: "hard", "straight_through", or an instance of `ka.alignments.Hard` or
            `ka.alignments.StraightThrough`.
        gate: Whether to scale the context by beta.
        kernel_initializer: Initializer of the score's kernels and vector.
        dropout: Fraction of the attention weights to drop in training.
        seed: Seed of the dropout, and of the samples of an alignment given by name.
        kernel_regularizer, kernel_constraint: Applied to the variables that `kernel_initializer`
            initializes.

    Call arguments, Returns, Masking: see `call`.

    Raises:
        ValueError: If `units` is not a positive integer, `alignment` is none of these, or `dropout`
            is not in [0, 1).

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
        units: int,
        alignment: Any = "hard",
        gate: bool = True,
        kernel_initializer: Initializer = "glorot_uniform",
        dropout: float = 0.0,
        seed: int | None = None,
        dtype: Any = None,
        kernel_regularizer: Any = None,
        kernel_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        alignment = get_part("alignment", alignment, SampledAlignment, dtype, seed=seed)
        super().__init__(
            *(units, alignment, gate, kernel_initializer, dropout, seed, dtype),
            *(kernel_regularizer, kernel_constraint),
            **kwargs,
        )

    def get_config(self) -> Config:
        alignment = keras.saving.serialize_keras_object(self.alignment)
        return {**super().get_config(), "alignment": alignment}


def _validate_shapes(query_shape: Shape, value_shape: Shape) -> None:
    validation.query(query_shape)
    if len(value_shape) not in (3, 4):
        raise ValueError(
            f"`value` has shape {tuple(value_shape)}; expected (batch, height, width, channels) "
            "or (batch, positions, channels)."
        )
    validation.equal("query", query_shape[0], "value", value_shape[0], "batch size")
