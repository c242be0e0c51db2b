"""The Transformer as a model: an encoder, decoder blocks that attend to its output, and a head."""

from typing import Any, final

import keras
from keras import ops

from keras_attention import search
from keras_attention._internal import validation
from keras_attention._internal.call_context import run_as_call
from keras_attention._internal.keras_masks import get_keras_mask
from keras_attention._internal.serialization import build_once, deserialize, sharing_scope
from keras_attention._internal.typing import Config, Tensor
from keras_attention.models.base import (
    Seq2SeqModel,
    build_from_spec,
    convert_inputs,
    serialize_parts,
    split_inputs,
    token_or_value_spec,
)
from keras_attention.transformer.decoder_block import TransformerDecoderBlock
from keras_attention.transformer.position_encoding import SinusoidalPositionEncoding


@final
@keras.saving.register_keras_serializable("keras_attention")
class Transformer(Seq2SeqModel):
    """A sequence-to-sequence model without recurrence.

        memory = encoder(source)
        y = Dropout(sqrt(d_model) target_embedding(target_in) + PE)     (sections 3.4, 3.5, 5.4)
        logits = head(block_N(... block_1(y, memory) ..., memory))      (section 3.1)

    If the last block has `norm_first`, a layer norm follows it. The paper shares one matrix between
    both embeddings and the head (section 3.4). For this, use one `keras.layers.ReversibleEmbedding`
    for all three.

    Train the model like `ka.models.EncoderDecoder`, with `compile` and `fit` on
    `((source, target_in), target_out)`. The mask of `target_in` reaches the loss and the metrics,
    so they ignore padding. For a search, pass what `begin` returns and `step` to `ka.search`.

    Args:
        encoder: A layer or model that maps the source to a memory (B, S, Dm), whose masked
            positions are not attended to. The paper uses an embedding,
            `ka.SinusoidalPositionEncoding(scale_inputs=True)` and `ka.TransformerEncoderBlock`s.
        target_embedding: A layer that maps tokens to vectors (B, T, D) with an even D, such as
            `keras.layers.Embedding(..., mask_zero=True)` if 0 is padding.
        decoder_blocks: A list of `ka.TransformerDecoderBlock`s.
        head: A layer that maps the last block's outputs to logits. A
            `keras.layers.ReversibleEmbedding` is called with `reverse=True`. A function also works,
            but a model with one cannot be saved.
        max_length: Largest number of steps of a search, which is the size of the caches.
        dropout: Rate at which features of the embedded target are dropped in training.
        seed: Seed of the dropout.

    Call arguments:
        inputs: The pair (source, target_in), or {"source": ..., "target": ...}. target_in is (B, T)
            and starts with the start id.

    Returns:
        The logits (B, T, V).

    Raises:
        ValueError: If an argument is out of its range, or `decoder_blocks` is not a list of
            different blocks of this class.

    Example:

    >>> layers = keras.layers
    >>> encoder = keras.Sequential([
    ...     layers.Embedding(11, 8, mask_zero=True),
    ...     ka.SinusoidalPositionEncoding(scale_inputs=True),
    ...     ka.TransformerEncoderBlock(num_heads=2, intermediate_dim=32),
    ... ])
    >>> model = ka.models.Transformer(
    ...     encoder,
    ...     layers.Embedding(13, 8, mask_zero=True),
    ...     [ka.TransformerDecoderBlock(num_heads=2, intermediate_dim=32)],
    ...     layers.Dense(13),
    ...     max_length=7,
    ... )
    >>> tuple(model((np.array([[3, 4, 5]]), np.array([[1, 2]]))).shape)
    (1, 2, 13)
    >>> state = model.begin(np.array([[3, 4, 5]]))
    >>> result = ka.search.beam(model.step, state, 1, 2, max_length=7, beam_width=3)
    >>> tuple(result.tokens.shape)
    (1, 3, 7)

    Reference: Vaswani et al. 2017, "Attention Is All You Need", arXiv:1706.03762, section 3.
    """

    def __init__(
        self,
        encoder: Any,
        target_embedding: Any,
        decoder_blocks: Any,
        head: Any,
        max_length: int,
        dropout: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        is_list = isinstance(decoder_blocks, (list, tuple))
        with sharing_scope():
            self.encoder = deserialize(encoder)
            self.target_embedding = deserialize(target_embedding)
            self.decoder_blocks = list(map(deserialize, decoder_blocks)) if is_list else []
            self.head = deserialize(head)
        distinct = len(set(map(id, self.decoder_blocks)))
        if not distinct == len(self.decoder_blocks) > 0 or not all(
            isinstance(block, TransformerDecoderBlock) for block in self.decoder_blocks
        ):
            raise ValueError(
                f"`decoder_blocks` is {decoder_blocks!r}; expected a list of one or more "
                "ka.TransformerDecoderBlock, all different."
            )
        self.max_length = validation.positive_integer("max_length", max_length)
        self.dropout = validation.dropout_rate("dropout", dropout)
        self.seed = seed
        self.position_encoding = SinusoidalPositionEncoding(
            scale_inputs=True, dtype=self.dtype_policy
        )
        last = self.decoder_blocks[-1]
        self.final_norm = last.make_norm("final_norm") if last.norm_first else None
        self.embedding_dropout = keras.layers.Dropout(dropout, seed=seed, dtype=self.dtype_policy)

    def build(self, input_shape: Any) -> None:
        source_shape, target_shape = map(tuple, split_inputs(input_shape))
        memory = build_from_spec(self.encoder, token_or_value_spec(source_shape))
        embedded = build_from_spec(self.target_embedding, token_or_value_spec(target_shape))
        build_once(self.position_encoding, embedded.shape)
        for block in self.decoder_blocks:
            build_once(block, embedded.shape, memory.shape)
        if self.final_norm is not None:
            build_once(self.final_norm, embedded.shape)
        self.build_head(embedded.shape)

    def call(self, inputs: Any, training: bool | None = None) -> Tensor:
        outputs = self._decoder_outputs(inputs, training)
        return self.apply_head(self._apply_final_norm(outputs))

    def decode(
        self, inputs: Any, training: bool | None = None
    ) -> tuple[Tensor, Tensor, dict[str, Any]]:
        """Like `call`, but also returns attention weights.

        Returns:
            The logits (B, T, V); the weights (B, T, S) of the last block over the memory, averaged
            over its heads; and an empty dict, since there is no last state.
        """
        validation.not_symbolic("inputs", inputs, "decode")
        inputs = convert_inputs(self, inputs)

        def decode(training: bool | None) -> tuple:
            outputs, weights = self._decoder_outputs(inputs, training, return_attention_scores=True)
            logits = self.apply_head(self._apply_final_norm(outputs))
            return logits, ops.mean(weights, axis=1), {}

        return run_as_call(self, decode, training)

    def begin(self, source: Tensor, training: bool | None = None) -> list[dict[str, Any]]:
        """Returns the state before the first of at most `max_length` steps, for `ka.search`.

        With `training`, the dropout of the encoder is applied, as for Monte Carlo dropout.
        """
        validation.not_symbolic("source", source, "begin")
        source = ops.convert_to_tensor(source)
        if not self.built:
            self.build([source.shape, (source.shape[0], None)])
        memory = self.encoder(source, training=training)
        mask = get_keras_mask(memory)
        return [
            block.begin(memory, mask, max_length=self.max_length) for block in self.decoder_blocks
        ]

    @search.shares_state(lambda state: [block["memory"] for block in state])
    def step(
        self, tokens: Tensor, state: list[dict[str, Any]], training: bool | None = None
    ) -> tuple[Tensor, Tensor, list[dict[str, Any]]]:
        """Returns the logits (N, V), weights (N, S) and next state after `tokens` (N,).

        With `training`, the dropout of features is applied, but not that of attention weights.

        Raises:
            ValueError: If the state already holds `max_length` steps. In a graph, the logits are
                NaN instead.
        """
        if training is not None:
            return run_as_call(self, lambda _: self._take_step(tokens, state), training)
        return self._take_step(tokens, state)

    def _take_step(self, tokens: Tensor, state: list[dict[str, Any]]) -> tuple:
        embedded = self.target_embedding(tokens[:, None])  # (N, 1, D)
        mask = get_keras_mask(embedded)
        mask = None if mask is None else mask[:, 0]
        x = self.position_encoding(embedded, positions=state[0]["position"][:, None])
        x = self.embedding_dropout(x)[:, 0]
        next_state = []
        for block, block_state in zip(self.decoder_blocks, state, strict=True):
            x, weights, block_state = block.step(x, block_state, mask)
            next_state.append(block_state)
        logits = self.call_head_of_step(self._apply_final_norm(x))
        return logits, ops.mean(weights, axis=1), next_state

    def attention_scores(self, inputs: Any) -> Tensor:
        """Returns the attention weights (B, T, S) that `decode` returns."""
        return self.decode(inputs)[1]

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            **serialize_parts(self, "encoder", "target_embedding", "decoder_blocks", "head"),
            "max_length": self.max_length,
            "dropout": self.dropout,
            "seed": self.seed,
        }

    def _decoder_outputs(
        self, inputs: Any, training: bool | None, return_attention_scores: bool = False
    ) -> Any:
        """Returns the output of the last block; masks are passed on with the tensors."""
        source, target_in = convert_inputs(self, inputs)
        memory = self.encoder(source, training=training)
        x = self.position_encoding(self.target_embedding(target_in, training=training))
        x = self.embedding_dropout(x, training=training)
        *blocks, last = self.decoder_blocks
        for block in blocks:
            x = block(x, memory, training=training)
        return last(x, memory, training=training, return_attention_scores=return_attention_scores)

    def _apply_final_norm(self, outputs: Tensor) -> Tensor:
        return outputs if self.final_norm is None else self.final_norm(outputs)
