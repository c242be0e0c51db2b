"""The second network of the translator: a Transformer."""

import keras

import keras_attention as ka
from examples.translation.config import Config


def transformer(config: Config, source_size: int, target_size: int) -> ka.models.Transformer:
    """An encoder and a decoder of `config.layers` pre-norm blocks each."""
    layers, width = keras.layers, config.embedding

    def embedding(size):
        # The position encoding scales by sqrt(width): then the vectors have a variance of 1.
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
