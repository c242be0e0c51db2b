"""Models: an encoder, a decoder that attends to what it made, and a head over the vocabulary."""

import itertools
from typing import final

import keras
from keras import ops

from keras_attention import masks, search
from keras_attention._internal import validation
from keras_attention._internal.keras_masks import copy_keras_mask, get_keras_mask
from keras_attention._internal.loop_variables import read_variables_once
from keras_attention._internal.serialization import deserialize
from keras_attention.attention.base import flatten_spatial
from keras_attention.decoders import scheduled_sampling
from keras_attention.decoders.base import AttentionDecoder, shared_memory
from keras_attention.models.base import Seq2SeqModel
from keras_attention.models.transformer import Transformer as Transformer


@final
@keras.saving.register_keras_serializable("keras_attention")
class Bridge(keras.layers.Layer):
    """The decoder's first state, from the mean of the memory.

        s_0 = tanh(W mean_s(m_s) + b)

    one W and b per state tensor of the cell. It needs no last state, so anything that gives a
    memory can be the encoder, images included.

    Args:
        widths: The widths of the state tensors.

    Call arguments:
        memory: (B, S, D), or a map (B, H, W, D).
        mask: (B, S) or (B, H, W), the positions that the mean runs over. The mean of nothing is
            zero.

    Returns:
        A list of tensors (B, width).

    Example:

    >>> [tuple(state.shape) for state in ka.models.Bridge([7, 5])(np.ones((2, 3, 11)))]
    [(2, 7), (2, 5)]

    References: Sennrich et al. 2017, "Nematus", arXiv:1703.04357, section 2; Xu et al. 2015,
    arXiv:1502.03044, section 3.1.2.
    """

    def __init__(self, widths, **kwargs):
        super().__init__(**kwargs)
        self.widths = [validation.positive_integer("widths", width) for width in widths]
        self.projection = keras.layers.Dense(
            sum(self.widths), activation="tanh", name="projection", dtype=self.dtype_policy
        )
        self.supports_masking = True

    def build(self, memory_shape):
        if len(memory_shape) not in (3, 4):
            raise ValueError(
                f"`memory` has shape {tuple(memory_shape)}; expected (batch, memory, width), or "
                "(batch, height, width, channels)."
            )
        if not self.projection.built:
            self.projection.build((memory_shape[0], memory_shape[-1]))

    def call(self, memory, mask=None):
        states = self.projection(masks.masked_mean(*flatten_spatial(memory, mask)))
        ends = itertools.accumulate(self.widths)
        return [states[:, end - width : end] for end, width in zip(ends, self.widths, strict=True)]

    def compute_mask(self, memory, previous_mask=None):
        return None

    def compute_output_shape(self, memory_shape):
        return [(memory_shape[0], width) for width in self.widths]

    def get_config(self):
        return {**super().get_config(), "widths": list(self.widths)}


@final
@keras.saving.register_keras_serializable("keras_attention")
class EncoderDecoder(Seq2SeqModel):
    """A sequence-to-sequence model with attention.

        memory = encoder(source)
        s_0 = bridge(memory)
        logits_t = head(decoder(target_embedding(y_{t-1}), memory, s_0)_t)

    Trained with plain `compile` and `fit` on `((source, target_in), target_out)`: the mask of
    `target_in` reaches the loss and the metrics, which leave padding out. For search, `begin` and
    `step` are what `ka.search` takes.

    Args:
        encoder: A layer from source to a memory (B, S, D), or to a map (B, H, W, D) for a spatial
            attention; its mask is heeded.
        target_embedding: A layer from tokens to vectors, `keras.layers.Embedding(...,
            mask_zero=True)` where 0 is padding.
        decoder: A `ka.BahdanauDecoder` or `ka.LuongDecoder` which returns its outputs alone.
        head: A layer from the decoder's outputs to logits.
        sampling_probability: None for teacher forcing; or the chance with which a step in training
            reads a word drawn from the model's own prediction (Bengio et al. 2015). It is a
            variable of the model: a callback raises it by `assign`.
        seed: Seed of these draws.

    Call arguments:
        inputs: The pair (source, target_in), target_in (B, T) starting with the start id.

    Returns:
        Logits (B, T, V).

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
        encoder,
        target_embedding,
        decoder,
        head,
        sampling_probability=None,
        seed=None,
        **kwargs,
    ):
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

    def build(self, input_shape):
        source_shape, target_shape = map(tuple, input_shape)
        memory_shape = tuple(self.encoder.compute_output_shape(source_shape))
        inputs_shape = tuple(self.target_embedding.compute_output_shape(target_shape))
        context_dim = self.decoder.attention.context_dim(memory_shape)
        output_width = self.decoder.widths(context_dim).output
        for layer, shapes in (
            (self.encoder, [source_shape]),
            (self.target_embedding, [target_shape]),
            (self.bridge, [memory_shape]),
            (self.decoder, [inputs_shape, memory_shape]),
            (self.head, [(None, None, output_width)]),
        ):
            if not layer.built:
                layer.build(*shapes)

    def call(self, inputs, training=None):
        return self.decode(inputs, training)[0]

    def decode(self, inputs, training=None):
        """As the call, for losses that ask for more than logits.

        Returns:
            Logits (B, T, V), weights (B, T, S), or (B, T, H, W) over a map, and the decoder's state
            after the last step, of which "attention" is that of the attention.
        """
        source, target_in = map(ops.convert_to_tensor, inputs)
        if not self.built:
            self.build([source.shape, target_in.shape])
        with read_variables_once(self.encoder):
            memory = self.encoder(source, training=training)
        embedded = self.target_embedding(target_in, training=training)
        call = {
            "inputs_mask": get_keras_mask(embedded),
            "memory_mask": get_keras_mask(memory),
            "initial_state": self.bridge(memory),
            "training": training,
        }
        if training and self.initial_sampling_probability is not None:
            own, draws = self._drawn(embedded)
            with read_variables_once(self):
                logits, weights, state = scheduled_sampling.decode(
                    self.decoder, self._embed, self.head, embedded, memory, own, draws, **call
                )
            return copy_keras_mask(embedded, logits), weights, state
        outputs, weights, state = self.decoder.decode(embedded, memory, **call)
        outputs = copy_keras_mask(embedded, outputs)
        return self.apply_head(outputs, training), weights, state

    def _drawn(self, embedded):
        """Which steps read what the model would have written, and draws of what: (B, T, 1)."""
        shape = (*ops.shape(embedded)[:2], 1)
        chances, draws = (
            keras.random.uniform(shape, dtype="float32", seed=self.seed_generator) for _ in "ab"
        )
        later = ops.arange(shape[1], dtype="int32")[None, :, None] > 0  # the first has none before
        own = ops.logical_and(chances < ops.cast(self.sampling_probability, "float32"), later)
        return ops.cast(own, embedded.dtype), draws

    def _embed(self, tokens):
        return self.target_embedding(tokens[:, None])[:, 0]  # a slice carries no Keras mask

    def begin(self, source):
        """Returns the state before the first step, for `ka.search`."""
        memory = self.encoder(ops.convert_to_tensor(source))
        return self.decoder.begin(memory, get_keras_mask(memory), initial_state=self.bridge(memory))

    @search.shares_state(shared_memory)
    def step(self, tokens, state):
        """Returns logits (N, V), weights (N, S) and the next state after `tokens` (N,).

        Over a map S = H W.
        """
        output, weights, state = self.decoder.step(self._embed(tokens), state)
        # With the axis of the steps, as in training: a Sequential head is built for that rank.
        return self.head(output[:, None])[:, 0], weights, state

    def attention_scores(self, inputs):
        """Returns the weights (B, T, S), or (B, T, H, W), on the way through the inputs."""
        return self.decode(inputs)[1]

    def get_config(self):
        parts = ("encoder", "target_embedding", "decoder", "head")
        config = {name: keras.saving.serialize_keras_object(getattr(self, name)) for name in parts}
        config["sampling_probability"] = self.initial_sampling_probability
        return {**super().get_config(), **config, "seed": self.seed}
