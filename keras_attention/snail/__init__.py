"""SNAIL: causal convolutions that alternate with attention (Mishra 2018)."""

from keras_attention.snail.attention import SnailAttentionBlock as SnailAttentionBlock
from keras_attention.snail.convolution import CausalConvBlock as CausalConvBlock
from keras_attention.snail.convolution import TemporalConvBlock as TemporalConvBlock
