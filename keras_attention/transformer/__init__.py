"""The Transformer (Vaswani 2017): its blocks and its position encoding."""

from keras_attention.transformer.decoder_block import (
    TransformerDecoderBlock as TransformerDecoderBlock,
)
from keras_attention.transformer.encoder_block import (
    TransformerEncoderBlock as TransformerEncoderBlock,
)
from keras_attention.transformer.position_encoding import (
    SinusoidalPositionEncoding as SinusoidalPositionEncoding,
)
