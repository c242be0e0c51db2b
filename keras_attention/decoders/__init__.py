"""Decoders: recurrent cells that attend to a memory, for teacher forcing and for search."""

from keras_attention.decoders.bahdanau import BahdanauDecoder as BahdanauDecoder
from keras_attention.decoders.base import AttentionDecoder as AttentionDecoder
from keras_attention.decoders.deep_output import DeepOutput as DeepOutput
from keras_attention.decoders.luong import LuongDecoder as LuongDecoder
