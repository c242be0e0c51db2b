"""The Transformer as a model: an encoder, decoder blocks over what it made, and a head."""

from typing import final

import keras
from keras import ops

from keras_attention import search
from keras_attention._internal import validation
from keras_attention._internal.keras_masks import get_keras_mask
from keras_attention._internal.serialization import build_once, deserialize
from keras_attention.models.base import Seq2SeqModel
from keras_attention.transformer.decoder_block import TransformerDecoderBlock
from keras_attention.transformer.position_encoding import SinusoidalPositionEncoding


@final
@keras.saving.register_keras_serializable("keras_attention")
class Transformer(Seq2SeqModel):
    """A sequence-to-sequence model without recurrence.

        memory = encoder(source)
        y = Dropout(sqrt(d_model) target_embedding(target_in) + PE)     (sections 3.4, 3.5, 5.4)
        logits = head(block_N(... block_1(y, memory) ..., memory))      (section 3.1)

    Between blocks with `norm_first` and the head stands the layer norm that such a stack needs.
    The paper shares one matrix between both embeddings and the head (section 3.4); here they are as
    given.

    It is trained and searched as `ka.models.EncoderDecoder` is: with plain `compile` and `fit` on
    `((source, target_in), target_out)`, where the mask of `target_in` reaches the loss and the
    metrics; `begin` and `step` are what `ka.search` takes.

    Args:
        encoder: A layer from source to a memory (B, S, Dm), whose mask is heeded. That of the paper
            is an embedding, `ka.SinusoidalPositionEncoding(scale_inputs=True)` and
            `ka.TransformerEncoderBlock`s.
        target_embedding: A layer from tokens to vectors (B, T, D), `keras.layers.Embedding(...,
            mask_zero=True)` where 0 is padding. D is even.
        decoder_blocks: A list of `ka.TransformerDecoderBlock`s.
        head: A layer from the last block's outputs to logits.
        max_length: The most steps that a search may take: the size of the caches.
        dropout: Share of the embedded target dropped in training.
        seed: Seed of the dropout.

    Call arguments:
        inputs: The pair (source, target_in), target_in (B, T) starting with the start id.

    Returns:
        Logits (B, T, V).

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
        encoder,
        target_embedding,
        decoder_blocks,
        head,
        max_length,
        dropout=0.0,
        seed=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.encoder = deserialize(encoder)
        self.target_embedding = deserialize(target_embedding)
        several = isinstance(decoder_blocks, (list, tuple))
        self.decoder_blocks = [deserialize(block) for block in decoder_blocks] if several else []
        distinct = len(set(map(id, self.decoder_blocks)))
        if not distinct == len(self.decoder_blocks) > 0 or not all(
            isinstance(block, TransformerDecoderBlock) for block in self.decoder_blocks
        ):
            raise ValueError(
                f"`decoder_blocks` is {decoder_blocks!r}; expected a list of one or more "
                "ka.TransformerDecoderBlock, all different."
            )
        self.head = deserialize(head)
        self.max_length = validation.positive_integer("max_length", max_length)
        self.dropout = validation.dropout_rate("dropout", dropout)
        self.seed = seed
        self.position_encoding = SinusoidalPositionEncoding(
            scale_inputs=True, dtype=self.dtype_policy
        )
        last = self.decoder_blocks[-1]
        self.final_norm = last.make_norm("final_norm") if last.norm_first else None
        self.embedding_dropout = keras.layers.Dropout(dropout, seed=seed, dtype=self.dtype_policy)

    def build(self, input_shape):
        source_shape, target_shape = map(tuple, input_shape)
        memory_shape = tuple(self.encoder.compute_output_shape(source_shape))
        embedded_shape = tuple(self.target_embedding.compute_output_shape(target_shape))
        for layer, shapes in (
            (self.encoder, [source_shape]),
            (self.target_embedding, [target_shape]),
            (self.position_encoding, [embedded_shape]),
            *((block, [embedded_shape, memory_shape]) for block in self.decoder_blocks),
            *([] if self.final_norm is None else [(self.final_norm, [embedded_shape])]),
            (self.head, [embedded_shape]),
        ):
            build_once(layer, *shapes)

    def call(self, inputs, training=None):
        return self.apply_head(self._normed(self._outputs(inputs, training)), training)

    def decode(self, inputs, training=None):
        """As the call, for those who ask for more than logits.

        Returns:
            Logits (B, T, V); the weights (B, T, S) over the memory of the last block, the mean of
            its heads; and an empty dict in place of a last state, which there is not.
        """
        outputs, weights = self._outputs(inputs, training, return_attention_scores=True)
        return self.apply_head(self._normed(outputs), training), ops.mean(weights, axis=1), {}

    def begin(self, source):
        """Returns the state before the first of at most `max_length` steps, for `ka.search`."""
        source = ops.convert_to_tensor(source)
        if not self.built:
            self.build([source.shape, (source.shape[0], None)])
        memory = self.encoder(source)
        mask = get_keras_mask(memory)
        return [
            block.begin(memory, mask, max_length=self.max_length) for block in self.decoder_blocks
        ]

    @search.shares_state(lambda state: [block["memory"] for block in state])
    def step(self, tokens, state):
        """Returns logits (N, V), weights (N, S) and the next state after `tokens` (N,).

        Raises:
            ValueError: `max_length` steps are taken. In a graph the logits are NaN instead.
        """
        embedded = self.target_embedding(tokens[:, None])  # (N, 1, D)
        mask = get_keras_mask(embedded)
        mask = None if mask is None else mask[:, 0]
        x = self.position_encoding(embedded, positions=state[0]["position"][:, None])[:, 0]
        following = []
        for block, block_state in zip(self.decoder_blocks, state, strict=True):
            x, weights, block_state = block.step(x, block_state, mask)
            following.append(block_state)
        # With the axis of the steps, as in training: a Sequential head is built for that rank.
        return self.head(self._normed(x[:, None]))[:, 0], ops.mean(weights, axis=1), following

    def attention_scores(self, inputs):
        """Returns the weights (B, T, S) of `decode`, on the way through the inputs."""
        return self.decode(inputs)[1]

    def get_config(self):
        return {
            **super().get_config(),
            "encoder": keras.saving.serialize_keras_object(self.encoder),
            "target_embedding": keras.saving.serialize_keras_object(self.target_embedding),
            "decoder_blocks": [
                keras.saving.serialize_keras_object(block) for block in self.decoder_blocks
            ],
            "head": keras.saving.serialize_keras_object(self.head),
            "max_length": self.max_length,
            "dropout": self.dropout,
            "seed": self.seed,
        }

    def _outputs(self, inputs, training, return_attention_scores=False):
        """What the last block returns; masks travel with the tensors."""
        source, target_in = map(ops.convert_to_tensor, inputs)
        if not self.built:
            self.build([source.shape, target_in.shape])
        memory = self.encoder(source, training=training)
        x = self.position_encoding(self.target_embedding(target_in, training=training))
        x = self.embedding_dropout(x, training=training)
        *blocks, last = self.decoder_blocks
        for block in blocks:
            x = block(x, memory, training=training)
        return last(x, memory, training=training, return_attention_scores=return_attention_scores)

    def _normed(self, outputs):
        return outputs if self.final_norm is None else self.final_norm(outputs)
