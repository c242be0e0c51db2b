"""The translator's network: GRUs with attention between them, or a Transformer."""

import keras

import keras_attention as ka
from examples.translation.config import Config

Model = ka.models.EncoderDecoder | ka.models.Transformer


def build(config: Config, source_size: int, target_size: int) -> Model:
    """A model for vocabularies of these sizes, built, with fresh weights."""
    network = _transformer if config.model == "transformer" else _recurrent
    before = keras.config.dtype_policy()
    prefix = "" if config.mixed_precision == "none" else "mixed_"
    precision = "float32" if config.mixed_precision == "none" else config.mixed_precision
    keras.config.set_dtype_policy(prefix + precision)
    try:
        model = network(config, source_size, target_size)
    finally:
        keras.config.set_dtype_policy(before)
    model.build([(None, None), (None, None)])
    return model


def _recurrent(config: Config, source_size: int, target_size: int) -> ka.models.EncoderDecoder:
    """A bidirectional GRU, and a GRU decoder with attention."""
    layers = keras.layers
    encoder = _encoder(config, source_size)
    embedding = layers.Embedding(target_size, config.embedding, mask_zero=True)
    cell = layers.GRUCell(config.units, dropout=config.dropout)
    if config.attention == "bahdanau":
        decoder = ka.BahdanauDecoder(cell, ka.BahdanauAttention(config.units))
    else:
        attention = ka.LuongAttention("general")
        decoder = ka.LuongDecoder(cell, attention, attention_layer_size=config.units)
    head = layers.Dense(target_size, dtype="float32")
    return ka.models.EncoderDecoder(encoder, embedding, decoder, head)


def _encoder(config: Config, source_size: int) -> keras.Model:
    """The memory holds each word itself beside its context, which is narrow in small data.

    Wide contexts let the decoder read whole phrases off one place, as it has seen them. From narrow
    ones it has to look at each word, which is how it translates phrases that it has never seen.
    """
    layers = keras.layers
    tokens = keras.Input((None,), dtype="int32", name="source")
    words = layers.Embedding(source_size, config.embedding, mask_zero=True)(tokens)
    words = layers.Dropout(config.dropout)(words)
    contexts = layers.Bidirectional(layers.GRU(config.encoder_units // 2, return_sequences=True))(
        words
    )
    memory = layers.Dropout(config.dropout)(layers.Concatenate()([words, contexts]))
    return keras.Model(tokens, memory, name="encoder")


def _transformer(config: Config, source_size: int, target_size: int) -> ka.models.Transformer:
    layers, width = keras.layers, config.embedding

    def embedding(size):
        # Times sqrt(width), which the position encodings do, the vectors have a variance of 1.
        initializer = keras.initializers.RandomNormal(stddev=width**-0.5)
        return layers.Embedding(size, width, initializer, mask_zero=True)

    options = {"dropout": config.dropout, "norm_first": True}
    tokens = keras.Input((None,), dtype="int32", name="source")
    memory = ka.SinusoidalPositionEncoding(scale_inputs=True)(embedding(source_size)(tokens))
    memory = layers.Dropout(config.dropout)(memory)
    for _ in range(config.layers):
        memory = ka.TransformerEncoderBlock(config.heads, config.units, **options)(memory)
    memory = layers.LayerNormalization()(memory)
    blocks = [
        ka.TransformerDecoderBlock(config.heads, config.units, **options)
        for _ in range(config.layers)
    ]
    return ka.models.Transformer(
        keras.Model(tokens, memory, name="encoder"),
        embedding(target_size),
        blocks,
        layers.Dense(target_size, dtype="float32"),
        max_length=config.max_length + 1,  # with the start, or with the end
        dropout=config.dropout,
    )
