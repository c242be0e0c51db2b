"""Models made of an encoder, a decoder that attends to its output, and a head over a vocabulary."""

from keras_attention.models.bridge import Bridge as Bridge
from keras_attention.models.encoder_decoder import EncoderDecoder as EncoderDecoder
from keras_attention.models.transformer import Transformer as Transformer
