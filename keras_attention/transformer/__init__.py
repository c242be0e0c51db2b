"""The blocks of the Transformer (Vaswani 2017)."""

from keras_attention.transformer.blocks import TransformerDecoderBlock as TransformerDecoderBlock
from keras_attention.transformer.blocks import TransformerEncoderBlock as TransformerEncoderBlock
from keras_attention.transformer.position_encoding import (
    SinusoidalPositionEncoding as SinusoidalPositionEncoding,
)
