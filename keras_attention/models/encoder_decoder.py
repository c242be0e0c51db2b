"""A recurrent encoder-decoder: an encoder, a decoder that attends to its output, and a head."""

import contextlib
from collections.abc import Callable
from typing import Any, final

import keras
from keras import ops

from keras_attention import search
from keras_attention._internal import validation
from keras_attention._internal.call_context import run_as_call
from keras_attention._internal.keras_masks import copy_keras_mask
from keras_attention._internal.loop_variables import read_variables_once
from keras_attention._internal.one_step import call_on_step
from keras_attention._internal.serialization import build_once, deserialize, sharing_scope
from keras_attention.decoders.base import AttentionDecoder
from keras_attention.decoders.feedback import OutputFeedback
from keras_attention.models.base import (
    Seq2SeqModel,
    build_from_spec,
    convert_inputs,
    serialize_parts,
    split_inputs,
    token_or_value_spec,
)
from keras_attention.models.bridge import get_bridge, split_states, validate_states
from keras_attention.models.scheduled_sampling import ScheduledSampler
from keras_attention.search.unroll import Unrolled, stop_after


@final
@keras.saving.register_keras_serializable("keras_attention")
class EncoderDecoder(Seq2SeqModel):
    """A recurrent sequence-to-sequence model with attention.

        memory = encoder(source)
        s_0 = bridge(memory)
        logits_t = head(decoder(target_embedding(y_{t-1}), memory, s_0)_t)

    Train the model with `compile` and `fit` on `((source, target_in), target_out)`. The mask of
    `target_in` reaches the loss and the metrics, so they ignore padding. For a search, pass what
    `begin` returns and `step` to `ka.search`.

    Args:
        encoder: A layer or model that maps the source to a memory (B, S, D), or to feature maps
            (B, H, W, D) for spatial attention. It may also return a tuple of the memory and states;
            see `bridge`. The decoder does not attend to masked positions.
        target_embedding: A layer that maps tokens to vectors, such as `keras.layers.Embedding(...,
            mask_zero=True)` if 0 is padding. If the target consists of numbers, it maps these to
            vectors.
        decoder: A `ka.BahdanauDecoder` or `ka.LuongDecoder` that returns only its outputs.
        head: A layer that maps the decoder's outputs to logits, or to numbers. A
            `keras.layers.ReversibleEmbedding`, such as the target embedding, is called with
            `reverse=True`. A function also works, but a model with one cannot be saved.
        sampling_probability: None for teacher forcing. Otherwise the probability that a step in
            training reads the model's own prediction (Bengio et al. 2015): a token sampled from it,
            or the head's output if the target consists of numbers. It is a variable of the model,
            to which a callback can `assign`.
        seed: Seed of these samples.
        bridge: What computes s_0. "mean" or "last": a `ka.models.Bridge` with this pooling. None:
            s_0 is the states that the encoder returns, or zeros if it returns none. It may also be
            a layer that maps the memory to a list of states.

    Call arguments:
        inputs: The pair (source, target_in), or {"source": ..., "target": ...}. target_in is (B, T)
            and starts with the start id, or is (B, T, F) for numbers.

    Returns:
        The logits (B, T, V).

    Raises:
        ValueError: If `decoder` is of another class or returns more than its outputs,
            `sampling_probability` is not in [0, 1], or `bridge` does not fit the encoder.

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
        bridge: Any = "mean",
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
        with sharing_scope():
            self.encoder = deserialize(encoder)
            self.target_embedding = deserialize(target_embedding)
            self.decoder = deserialize(decoder)
            self.head = deserialize(head)
            bridge = deserialize(bridge)
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
        self.bridge = get_bridge(bridge, self.decoder.cell, dtype=self.dtype_policy)

    def build(self, input_shape: Any) -> None:
        source_shape, target_shape = map(tuple, split_inputs(input_shape))
        encoded = build_from_spec(self.encoder, token_or_value_spec(source_shape))
        memory, states = split_states(encoded)
        validate_states(self.encoder, states, self.bridge, self.decoder.cell)
        if self.bridge is not None:
            build_from_spec(self.bridge, memory)
        inputs = build_from_spec(self.target_embedding, token_or_value_spec(target_shape))
        build_once(self.decoder, inputs.shape, memory.shape)
        self.build_head((*inputs.shape[:2], self.decoder.dims.output))

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        return self._decode(inputs, training)[0]

    def decode(self, inputs: Any, training: bool | None = None) -> tuple:
        """Like `call`, but for losses that need more than the logits.

        Returns:
            The logits (B, T, V); the weights (B, T, S), or (B, T, H, W) over feature maps; and the
            state of the decoder after the last step, whose "attention" is the state of the
            attention layer.
        """
        validation.not_symbolic("inputs", inputs, "decode")
        inputs = convert_inputs(self, inputs)
        return run_as_call(self, lambda training: self._decode(inputs, training), training)

    def _decode(self, inputs: Any, training: bool | None) -> tuple:
        source, target_in = convert_inputs(self, inputs)
        memory, initial_state = self._encode(source, training)
        embedded = self.target_embedding(target_in)
        feedback = None
        scope: contextlib.AbstractContextManager = contextlib.nullcontext()
        if training and self.initial_sampling_probability is not None:
            feedback = self._feedback(target_in)
            scope = read_variables_once(self)  # the loop calls embedding and head too
        with scope:
            outputs, weights, state = self.decoder.decode(
                *(embedded, memory),
                initial_state=initial_state,
                training=training,
                feedback=feedback,
            )
        return self.apply_head(copy_keras_mask(embedded, outputs)), weights, state

    def _encode(self, source: Any, training: bool | None = None) -> tuple[Any, Any]:
        """Returns the memory, with its Keras mask, and the first state of the decoder's cell."""
        with read_variables_once(self.encoder):
            encoded = self.encoder(source, training=training)
        memory, states = split_states(encoded)
        if self.bridge is None:
            return memory, states or None
        return memory, self.bridge(memory, training=training)

    def _feedback(self, target_in: Any) -> Any:
        sampling = self.sampling_probability, self.seed_generator
        if len(target_in.shape) > 2:
            return OutputFeedback(self._feed, *sampling)
        return ScheduledSampler(self._embed, self.call_head_of_step, *sampling)

    def _feed(self, output: Any) -> Any:
        """Returns the next input (B, Din): the embedding of the values of an output (B, O)."""
        return call_on_step(self.target_embedding, self.call_head_of_step(output))

    def _embed(self, tokens: Any) -> Any:
        return self.target_embedding(tokens[:, None])[:, 0]  # a slice carries no Keras mask

    def begin(self, source: Any, training: bool | None = None) -> dict:
        """Returns the state before the first step, for `ka.search`.

        With `training`, dropout is applied, as for Monte Carlo dropout. `step` then needs
        `training` too.
        """
        validation.not_symbolic("source", source, "begin")
        source = ops.convert_to_tensor(source)
        if not self.built and not isinstance(self.target_embedding, keras.layers.Dense):
            self.build([source.shape, (source.shape[0], None)])
        validation.built(self)  # whose targets may be numbers of a width that only a call tells
        memory, initial_state = self._encode(source, training)
        return self.decoder.begin(memory, initial_state=initial_state, training=training)

    @search.shares_state(AttentionDecoder.step)
    def step(self, tokens: Any, state: dict, training: bool | None = None) -> tuple:
        """Returns the logits (N, V), weights and next state after `tokens` (N,).

        The weights are (N, S), or (N, H, W) over feature maps.
        """

        def take_step(training: bool | None) -> tuple:
            output, weights, next_state = self.decoder.step(self._embed(tokens), state, training)
            return self.call_head_of_step(output), weights, next_state

        return take_step(None) if training is None else run_as_call(self, take_step, training)

    def unroll(
        self,
        source: Any,
        first: Any,
        steps: int,
        stop: Callable | None = None,
        training: bool | None = None,
    ) -> Unrolled:
        """Predicts numbers, each from the previous prediction.

        Args:
            source: As in `call`.
            first: (B, F), the value before the first prediction.
            steps: The number of steps, T.
            stop: A function from the head's outputs (B, T, F) to booleans (B, T), True at the last
                step of a sequence. What follows that step is zero.
            training: Whether dropout is applied.

        Returns:
            The head's outputs (B, T, F), the weights, the lengths (B,) and the last state.
        """
        validation.not_symbolic("source", source, "unroll")
        first = ops.convert_to_tensor(first)
        validation.rank("first", first.shape, "(batch, width)")
        first = first[:, None]
        source = ops.convert_to_tensor(source)
        if not self.built:
            self.build([source.shape, first.shape])

        def unroll(training: bool | None) -> Unrolled:
            memory, initial_state = self._encode(source, training)
            first_input = self.target_embedding(first)[:, 0]
            with read_variables_once(self):
                found = self.decoder.unroll(
                    *(memory, first_input, steps, self._feed),
                    initial_state=initial_state,
                    training=training,
                )
            outputs = self.call_head(found.outputs)
            return stop_after(stop, outputs, found.attention, found.state)

        return run_as_call(self, unroll, training)

    def attention_scores(self, inputs: Any) -> Any:
        """Returns the attention weights that `decode` returns: (B, T, S) or (B, T, H, W)."""
        return self.decode(inputs)[1]

    def get_config(self) -> dict:
        parts = serialize_parts(self, "encoder", "target_embedding", "decoder", "head", "bridge")
        config = {**super().get_config(), **parts}
        config["sampling_probability"] = self.initial_sampling_probability
        return {**config, "seed": self.seed}
