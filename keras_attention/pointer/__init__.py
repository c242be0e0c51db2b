"""Pointer networks (Vinyals 2015) and pointer-generators (See 2017)."""

from keras_attention.pointer.attention import PointerAttention as PointerAttention
from keras_attention.pointer.generator import PointerGenerator as PointerGenerator
