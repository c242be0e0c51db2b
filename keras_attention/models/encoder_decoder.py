"""A recurrent encoder-decoder: an encoder, a decoder that attends to its output, and a head."""

import contextlib
from typing import Any, final

import keras
from keras import ops

from keras_attention import search
from keras_attention._internal import validation
from keras_attention._internal.keras_masks import copy_keras_mask, get_keras_mask
from keras_attention._internal.loop_variables import read_variables_once
from keras_attention._internal.serialization import deserialize
from keras_attention.decoders.base import AttentionDecoder
from keras_attention.models.base import Seq2SeqModel
from keras_attention.models.bridge import Bridge
from keras_attention.models.scheduled_sampling import ScheduledSampler


@final
@keras.saving.register_keras_serializable("keras_attention")
class EncoderDecoder(Seq2SeqModel):
    """A sequence-to-sequence model with attention.

        memory = encoder(source)
        s_0 = bridge(memory)
        logits_t = head(decoder(target_embedding(y_{t-1}), memory, s_0)_t)

    Train it with `compile` and `fit` on `((source, target_in), target_out)`: the mask of
    `target_in` reaches the loss and the metrics, which ignore padding. `ka.search` takes `begin`
    and `step`.

    Args:
        encoder: A layer from source to a memory (B, S, D), or to feature maps (B, H, W, D) for a
            spatial attention. The decoder does not attend to masked positions.
        target_embedding: A layer from tokens to vectors, `keras.layers.Embedding(...,
            mask_zero=True)` where 0 is padding.
        decoder: A `ka.BahdanauDecoder` or `ka.LuongDecoder` that returns its outputs only.
        head: A layer from the decoder's outputs to logits.
        sampling_probability: None for teacher forcing; or the probability that a step in training
            reads a token sampled from the model's own prediction (Bengio et al. 2015). It is a
            variable of the model: a callback can `assign` to it.
        seed: Seed of these samples.

    Call arguments:
        inputs: The pair (source, target_in), target_in (B, T) starting with the start id.

    Returns:
        Logits (B, T, V).

    Raises:
        ValueError: `decoder` is of another class or returns more than its outputs, or
            `sampling_probability` is not in [0, 1].

    Example:

    >>> layers = keras.layers
    >>> source_embedding = layers.Embedding(11, 8, mask_zero=True)
    >>> model = ka.models.EncoderDecoder(
    ...     keras.Sequential([source_embedding, layers.GRU(8, return_sequences=True)]),
    ...     layers.Embedding(13, 8, mask_zero=True),
    ...     ka.BahdanauDecoder(layers.GRUCell(8), ka.BahdanauAttention(8)),
    ...     layers.Dense(13),
    ... )
    >>> tuple(model((np.array([[3, 4, 5]]), np.array([[1, 2]]))).shape)
    (1, 2, 13)
    >>> state = model.begin(np.array([[3, 4, 5]]))
    >>> result = ka.search.beam(model.step, state, 1, 2, max_length=7, beam_width=3)
    >>> tuple(result.tokens.shape)
    (1, 3, 7)

    References: Bahdanau, Cho, Bengio 2015, arXiv:1409.0473; Bengio, Vinyals, Jaitly, Shazeer 2015,
    arXiv:1506.03099.
    """

    def __init__(
        self,
        encoder: Any,
        target_embedding: Any,
        decoder: Any,
        head: Any,
        sampling_probability: float | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.initial_sampling_probability = sampling_probability
        self.seed = seed
        if sampling_probability is not None:
            self.sampling_probability = self.add_weight(
                name="sampling_probability",
                shape=(),
                initializer=keras.initializers.Constant(
                    validation.probability("sampling_probability", sampling_probability)
                ),
                trainable=False,
            )
            self.seed_generator = keras.random.SeedGenerator(seed)
        self.encoder = deserialize(encoder)
        self.target_embedding = deserialize(target_embedding)
        self.decoder = deserialize(decoder)
        self.head = deserialize(head)
        if not isinstance(self.decoder, AttentionDecoder):
            raise ValueError(
                f"`decoder` is {decoder!r}; expected a decoder of this library, such as "
                "ka.BahdanauDecoder."
            )
        if self.decoder.return_state or self.decoder.return_attention_scores:
            raise ValueError(
                "`decoder` returns its state or attention scores; expected a decoder with "
                "return_state=False and return_attention_scores=False. Use `attention_scores`."
            )
        self.bridge = Bridge(
            keras.tree.flatten(self.decoder.cell.state_size), dtype=self.dtype_policy
        )

    def build(self, input_shape: Any) -> None:
        source_shape, target_shape = map(tuple, input_shape)
        memory_shape = tuple(self.encoder.compute_output_shape(source_shape))
        inputs_shape = tuple(self.target_embedding.compute_output_shape(target_shape))

        def build(layer: keras.layers.Layer, *shapes: Any) -> None:
            if not layer.built:
                layer.build(*shapes)

        build(self.encoder, source_shape)
        build(self.target_embedding, target_shape)
        build(self.bridge, memory_shape)
        build(self.decoder, inputs_shape, memory_shape)
        build(self.head, (None, None, self.decoder.dims.output))

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        return self.decode(inputs, training)[0]

    def decode(self, inputs: Any, training: bool | None = None) -> tuple:
        """Like `call`, for losses that need more than the logits.

        Returns:
            Logits (B, T, V); weights (B, T, S), or (B, T, H, W) over feature maps; and the state of
            the decoder after the last step, whose "attention" is the state of the attention.
        """
        source, target_in = map(ops.convert_to_tensor, inputs)
        if not self.built:
            self.build([source.shape, target_in.shape])
        with read_variables_once(self.encoder):
            memory = self.encoder(source, training=training)
        embedded = self.target_embedding(target_in, training=training)
        sampler = None
        scope: contextlib.AbstractContextManager = contextlib.nullcontext()
        if training and self.initial_sampling_probability is not None:
            sampler = ScheduledSampler(
                self._embed, self._apply_head, self.sampling_probability, self.seed_generator
            )
            scope = read_variables_once(self)  # the loop calls embedding and head too
        with scope:
            outputs, weights, state = self.decoder.decode(
                embedded,
                memory,
                inputs_mask=get_keras_mask(embedded),
                memory_mask=get_keras_mask(memory),
                initial_state=self.bridge(memory),
                training=training,
                sampler=sampler,
            )
        outputs = copy_keras_mask(embedded, outputs)
        return self.apply_head(outputs, training), weights, state

    def _embed(self, tokens: Any) -> Any:
        return self.target_embedding(tokens[:, None])[:, 0]  # a slice carries no Keras mask

    def _apply_head(self, outputs: Any) -> Any:
        # With a time axis, as in training: a Sequential head is built for that rank.
        return self.head(outputs[:, None])[:, 0]

    def begin(self, source: Any) -> dict:
        """Returns the state before the first step, for `ka.search`."""
        memory = self.encoder(ops.convert_to_tensor(source))
        return self.decoder.begin(memory, get_keras_mask(memory), initial_state=self.bridge(memory))

    @search.shares_state(AttentionDecoder.step)
    def step(self, tokens: Any, state: dict) -> tuple:
        """Returns logits (N, V), weights (N, S) and the next state after `tokens` (N,).

        Over feature maps S = H*W.
        """
        output, weights, state = self.decoder.step(self._embed(tokens), state)
        return self._apply_head(output), weights, state

    def attention_scores(self, inputs: Any) -> Any:
        """Returns the attention weights of `decode`: (B, T, S), or (B, T, H, W)."""
        return self.decode(inputs)[1]

    def get_config(self) -> dict:
        parts = ("encoder", "target_embedding", "decoder", "head")
        config = {name: keras.saving.serialize_keras_object(getattr(self, name)) for name in parts}
        config["sampling_probability"] = self.initial_sampling_probability
        return {**super().get_config(), **config, "seed": self.seed}
