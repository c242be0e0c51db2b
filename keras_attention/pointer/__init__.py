"""Pointers: distributions over the positions of the memory (Vinyals 2015, See 2017)."""

from keras_attention.pointer.attention import PointerAttention as PointerAttention
from keras_attention.pointer.generator import PointerGenerator as PointerGenerator
