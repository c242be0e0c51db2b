"""Attention layers: they prepare a memory once, and return a context and weights for each query."""

from keras_attention.attention.base import AttentionMechanism as AttentionMechanism
from keras_attention.attention.base import MemoryAttention as MemoryAttention
from keras_attention.attention.coverage import CoverageAttention as CoverageAttention
from keras_attention.attention.gaussian_mixture import (
    GaussianMixtureAttention as GaussianMixtureAttention,
)
from keras_attention.attention.history import HistoryAttention as HistoryAttention
from keras_attention.attention.location_sensitive import (
    LocationSensitiveAttention as LocationSensitiveAttention,
)
from keras_attention.attention.monotonic import MonotonicAttention as MonotonicAttention
from keras_attention.attention.multi_source import MultiSourceAttention as MultiSourceAttention
from keras_attention.attention.scored import Attention as Attention
from keras_attention.attention.scored import BahdanauAttention as BahdanauAttention
from keras_attention.attention.scored import LuongAttention as LuongAttention
from keras_attention.attention.scored import ScoredAttention as ScoredAttention
from keras_attention.attention.sequence import SequenceAttention as SequenceAttention
from keras_attention.attention.spatial import HardSpatialAttention as HardSpatialAttention
from keras_attention.attention.spatial import SoftSpatialAttention as SoftSpatialAttention
from keras_attention.attention.spatial import SpatialAttention as SpatialAttention
