"""Attention made of a score and an alignment, and the layers that are named pairs of these."""

import abc
from typing import Any, final

import keras
from keras import ops

from keras_attention import alignments, masks, scores
from keras_attention._internal import validation
from keras_attention._internal.kernel import kernel_config
from keras_attention._internal.serialization import build_once, take_ownership
from keras_attention._internal.typing import Config, Initializer, Shape, Tensor
from keras_attention.attention.base import MemoryAttention, weighted_sum
from keras_attention.attention.sequence import SequenceAttention


class ScoredAttention(MemoryAttention, abc.ABC):
    """Abstract: an attention layer whose weights are an alignment of scores.

    With a `gate`, a layer that maps the query to a number in (0, 1), this number scales the
    context.
    """

    @abc.abstractmethod
    def __init__(
        self, score: Any, alignment: Any, dropout: float, seed: int | None, **kwargs: Any
    ) -> None:
        super().__init__(dropout, seed, **kwargs)
        self.gate: keras.layers.Layer | None = None
        score = scores.get(score, dtype=self.dtype_policy)
        alignment = alignments.get(alignment, dtype=self.dtype_policy)
        self.score = take_ownership("score", score, self)
        self.alignment = take_ownership("alignment", alignment, self)

    @property
    def sequential(self) -> bool:
        return self.alignment.sequential

    def build_projections(self, query_shape: Shape, value_shape: Shape, key_shape: Shape) -> None:
        build_once(self.score, query_shape, key_shape)
        build_once(self.alignment, (*query_shape[:-1], key_shape[1]), query_shape)

    def make_keys(self, key: Tensor) -> Tensor:
        return self.score.prepare(key)

    def initial_state(self, memory: dict[str, Tensor]) -> Any:
        return self.alignment.initial_state(memory["value"])

    def attend(
        self, query: Tensor, memory: dict, state: Any, noise: dict, mask: Tensor = None
    ) -> tuple[Tensor, Tensor, Any]:
        found = self.alignment(
            self.score(query, memory["keys"]),
            mask=masks.combine(value_mask=memory.get("mask"), attention_mask=mask),
            query=query,
            state=state,
            noise=noise.get("alignment", ()),
        )
        if not (isinstance(found, tuple | list) and len(found) == 2):
            name = type(self.alignment).__name__
            raise ValueError(
                f"`{name}.call` returned a {type(found).__name__}; expected a tuple: the weights "
                "and the next state."
            )
        weights, state = found
        context = weighted_sum(weights, memory, noise)
        if self.gate is not None:
            # Flattened, as the gradient of a product of rank 3 does not compile in a loop.
            beta = self.gate(ops.reshape(query, (-1, query.shape[-1])))
            context = ops.reshape(beta, (*ops.shape(query)[:2], 1)) * context
        return context, weights, state


@final
@keras.saving.register_keras_serializable("keras_attention")
class Attention(ScoredAttention, SequenceAttention):
    """Attention with any score and any alignment.

        c_t = sum_s a_ts v_s,    a_t = alignment(score(q_t, k_s))

    Args:
        score: A `ka.scores.Score` or its name.
        alignment: A `ka.alignments.Alignment` or its name.
        dropout: Fraction of the attention weights to drop in training.
        seed: Seed of the dropout.

    Call arguments, Returns, Masking: see `call`.

    Raises:
        ValueError: If `score` or `alignment` is an unknown name, or `dropout` is not in [0, 1).

    Example:

    >>> attention = ka.Attention(score="scaled_dot")
    >>> tuple(attention(np.ones((2, 3, 7)), np.ones((2, 5, 7))).shape)
    (2, 3, 7)

    Reference: Bahdanau, Cho, Bengio 2015, arXiv:1409.0473, eq. 5-6.
    """

    def __init__(
        self,
        score: Any = "scaled_dot",
        alignment: Any = "softmax",
        dropout: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(score, alignment, dropout, seed, **kwargs)

    def get_config(self) -> Config:
        return {**super().get_config(), **_serialize_parts(self)}


@final
@keras.saving.register_keras_serializable("keras_attention")
class BahdanauAttention(ScoredAttention, SequenceAttention):
    """Bahdanau's attention: an additive score and a softmax.

        e_ts = v^T tanh(W s_t + U m_s)                                     (appendix A.1.2)
        a_t = softmax(e_t),  c_t = sum_s a_ts m_s                          (eq. 6, 5)

    W and U project queries and memories of any sizes to the same number of units.
    `keras.layers.AdditiveAttention` has no such projections.

    Args:
        units: Size of the hidden layer.
        normalize: Whether the score uses weight normalization; see `ka.scores.Additive`.
        kernel_initializer: Initializer of the score's kernels and vector.
        dropout: Fraction of the attention weights to drop in training.
        seed: Seed of the dropout.
        kernel_regularizer, kernel_constraint: Applied to the variables that `kernel_initializer`
            initializes.

    Call arguments, Returns, Masking: see `call`.

    Raises:
        ValueError: If `units` is not a positive integer, or `dropout` is not in [0, 1).

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
        units: int,
        normalize: bool = False,
        kernel_initializer: Initializer = "glorot_uniform",
        dropout: float = 0.0,
        seed: int | None = None,
        dtype: Any = None,
        kernel_regularizer: Any = None,
        kernel_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        score = scores.Additive(
            validation.positive_integer("units", units),
            normalize,
            kernel_initializer,
            kernel_regularizer,
            kernel_constraint,
            dtype=dtype,
        )
        super().__init__(score, "softmax", dropout, seed, dtype=dtype, **kwargs)
        self.units = units

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "units": self.units,
            "normalize": self.score.normalize,
            **kernel_config(self.score),
        }


@final
@keras.saving.register_keras_serializable("keras_attention")
class LuongAttention(ScoredAttention, SequenceAttention):
    """Luong's attention: a choice of score, and a global or local alignment.

        score = h_t . m_s                     "dot"                             (section 3.1)
                h_t^T W_a m_s                 "general"
                v^T tanh(W_a [h_t; m_s])      "concat"
                (W_a h_t)_s                   `ka.scores.Location`              (eq. 8)
        a_t = softmax(score_t)                "softmax", global                 (eq. 7)
              softmax in a window             `ka.alignments.LocalMonotonic`    (section 3.2)
              around a predicted position     `ka.alignments.LocalPredictive`   (eq. 9-10)
        c_t = sum_s a_ts m_s

    Luong's decoder, with the attentional vector and input feeding, is `ka.LuongDecoder`.

    Args:
        score: "dot", "general", "concat", or a `ka.scores.Score`.
        alignment: "softmax" or a `ka.alignments.Alignment`.
        dropout: Fraction of the attention weights to drop in training.
        seed: Seed of the dropout.

    Call arguments, Returns, Masking: see `call`.

    Raises:
        ValueError: If `score` or `alignment` is an unknown name, or `dropout` is not in [0, 1).

    Example:

    >>> attention = ka.LuongAttention("general", ka.alignments.LocalPredictive(13, window=2))
    >>> tuple(attention(np.ones((2, 3, 7)), np.ones((2, 5, 11))).shape)
    (2, 3, 11)

    Reference: Luong, Pham, Manning 2015, "Effective Approaches to Attention-based Neural Machine
    Translation", arXiv:1508.04025, sections 3.1 and 3.2.
    """

    def __init__(
        self,
        score: Any = "general",
        alignment: Any = "softmax",
        dropout: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(score, alignment, dropout, seed, **kwargs)

    def get_config(self) -> Config:
        return {**super().get_config(), **_serialize_parts(self)}


def _serialize_parts(layer: ScoredAttention) -> Config:
    return {
        "score": keras.saving.serialize_keras_object(layer.score),
        "alignment": keras.saving.serialize_keras_object(layer.alignment),
    }
