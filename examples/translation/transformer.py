"""The second network of the translator: a Transformer."""

import keras

import keras_attention as ka
from examples.translation import model as network
from examples.translation.config import Config


def transformer(config: Config, source_size: int, target_size: int) -> ka.models.Transformer:
    """An encoder and a decoder of `config.layers` pre-norm blocks each."""
    layers = keras.layers

    def embedding(size):
        # The position encoding scales by sqrt(width): then the vectors have a variance of 1.
        initializer = keras.initializers.RandomNormal(stddev=config.embedding**-0.5)
        return network.embedding(config, size, initializer)

    source = embedding(source_size)
    options = {"dropout": config.dropout, "norm_first": True}
    tokens = keras.Input((None,), dtype="int32", name="source")
    memory = ka.SinusoidalPositionEncoding(scale_inputs=True)(source(tokens))
    memory = layers.Dropout(config.dropout)(memory)
    for _ in range(config.layers):
        memory = ka.TransformerEncoderBlock(config.heads, config.units, **options)(memory)
    memory = layers.LayerNormalization()(memory)
    blocks = [
        ka.TransformerDecoderBlock(config.heads, config.units, **options)
        for _ in range(config.layers)
    ]
    target = source if config.tie_embeddings else embedding(target_size)
    return ka.models.Transformer(
        keras.Model(tokens, memory, name="encoder"),
        target,
        blocks,
        target if config.tie_embeddings else layers.Dense(target_size, dtype="float32"),
        max_length=config.max_length + 1,  # with the start, or with the end
        dropout=config.dropout,
    )
