"""The translator's network: GRUs with attention between them, or a Transformer."""

import keras

import keras_attention as ka
from examples.translation.config import Config

Model = ka.models.EncoderDecoder | ka.models.Transformer


def build(config: Config, source_size: int, target_size: int) -> Model:
    """A model for vocabularies of these sizes, built, with fresh weights."""
    before = keras.config.dtype_policy()
    mixed = config.mixed_precision
    keras.config.set_dtype_policy("float32" if mixed == "none" else f"mixed_{mixed}")
    try:
        if config.model == "transformer":
            from examples.translation.transformer import transformer

            model = transformer(config, source_size, target_size)
        else:
            model = recurrent(config, source_size, target_size)
    finally:
        keras.config.set_dtype_policy(before)
    model.build([(None, None), (None, None)])
    return model


def recurrent(config: Config, source_size: int, target_size: int) -> ka.models.EncoderDecoder:
    """A bidirectional GRU, and a GRU decoder with attention."""
    source, tied = embedding(config, source_size), config.tie_embeddings
    encoder = _encoder(config, source)
    target = source if tied else embedding(config, target_size)
    cell = keras.layers.GRUCell(config.units, dropout=config.dropout)
    if config.attention == "bahdanau":
        decoder = ka.BahdanauDecoder(cell, ka.BahdanauAttention(config.units))
    else:
        attention = ka.LuongAttention("general")
        width = config.embedding if tied else config.units
        decoder = ka.LuongDecoder(cell, attention, attention_layer_size=width)
    head = target if tied else keras.layers.Dense(target_size, dtype="float32")
    return ka.models.EncoderDecoder(encoder, target, decoder, head)


def embedding(config: Config, size: int, initializer="uniform") -> keras.layers.Embedding:
    """Tokens to vectors, and from these to logits if the embeddings are tied."""
    layers, options = keras.layers, {"embeddings_initializer": initializer, "mask_zero": True}
    if not config.tie_embeddings:
        return layers.Embedding(size, config.embedding, **options)
    return layers.ReversibleEmbedding(size, config.embedding, reverse_dtype="float32", **options)


def _encoder(config: Config, embedding: keras.layers.Embedding) -> keras.Model:
    """The memory: each word's embedding beside a narrow context.

    From a wide context the decoder learns to read whole phrases at one position, as they were in
    the training data. With a narrow one it must attend to each word, and so translates new phrases.
    Without attention the memory is one position, (B, 1, D): the last states of both directions.
    """
    layers = keras.layers
    tokens = keras.Input((None,), dtype="int32", name="source")
    words = layers.Dropout(config.dropout)(embedding(tokens))
    attends = config.attention != "none"
    cudnn = False if config.jit else "auto"  # which XLA cannot compile
    gru = layers.GRU(config.encoder_units // 2, return_sequences=attends, use_cudnn=cudnn)
    contexts = layers.Bidirectional(gru)(words)
    if attends:
        memory = layers.Concatenate()([words, contexts])
    else:
        memory = layers.Reshape((1, config.encoder_units))(contexts)
    return keras.Model(tokens, layers.Dropout(config.dropout)(memory), name="encoder")
