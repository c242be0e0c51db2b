"""Attention layers for Keras 3, each about a page long and in the notation of its paper.

The layers are in this namespace. `alignments`, `losses`, `masks`, `models`, `processors`, `scores`
and `search` are modules. `export`, `tfa` and `visualize` are modules too, which are loaded on first
use.
"""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

from keras_attention import alignments as alignments
from keras_attention import losses as losses
from keras_attention import masks as masks
from keras_attention import models as models
from keras_attention import processors as processors
from keras_attention import scores as scores
from keras_attention import search as search
from keras_attention.attention import Attention as Attention
from keras_attention.attention import BahdanauAttention as BahdanauAttention
from keras_attention.attention import CoverageAttention as CoverageAttention
from keras_attention.attention import GaussianMixtureAttention as GaussianMixtureAttention
from keras_attention.attention import HardSpatialAttention as HardSpatialAttention
from keras_attention.attention import LocationSensitiveAttention as LocationSensitiveAttention
from keras_attention.attention import LuongAttention as LuongAttention
from keras_attention.attention import MonotonicAttention as MonotonicAttention
from keras_attention.attention import MultiSourceAttention as MultiSourceAttention
from keras_attention.attention import SoftSpatialAttention as SoftSpatialAttention
from keras_attention.decoders import BahdanauDecoder as BahdanauDecoder
from keras_attention.decoders import DeepOutput as DeepOutput
from keras_attention.decoders import LuongDecoder as LuongDecoder
from keras_attention.models.attention_model import attention_model as attention_model
from keras_attention.ntm import NTMCell as NTMCell
from keras_attention.pointer import PointerAttention as PointerAttention
from keras_attention.pointer import PointerGenerator as PointerGenerator
from keras_attention.self_attention import AttentionPooling as AttentionPooling
from keras_attention.self_attention import IntraAttention as IntraAttention
from keras_attention.self_attention import SelfAttention as SelfAttention
from keras_attention.self_attention import SelfAttention2D as SelfAttention2D
from keras_attention.self_attention import StructuredSelfAttention as StructuredSelfAttention
from keras_attention.snail import CausalConvBlock as CausalConvBlock
from keras_attention.snail import SnailAttentionBlock as SnailAttentionBlock
from keras_attention.snail import TemporalConvBlock as TemporalConvBlock
from keras_attention.transformer import SinusoidalPositionEncoding as SinusoidalPositionEncoding
from keras_attention.transformer import TransformerDecoderBlock as TransformerDecoderBlock
from keras_attention.transformer import TransformerEncoderBlock as TransformerEncoderBlock

if TYPE_CHECKING:
    from keras_attention import export as export
    from keras_attention import tfa as tfa
    from keras_attention import visualize as visualize

__version__ = "0.1.0"

# Loaded on first use: they import TensorFlow and matplotlib, or are rarely needed.
_LAZY = ("export", "tfa", "visualize")


def __getattr__(name: str) -> ModuleType:
    if name in _LAZY:
        return importlib.import_module(f"keras_attention.{name}")
    raise AttributeError(f"module 'keras_attention' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
