"""Self-attention: layers whose queries and memory are the same sequence or feature map."""

from keras_attention.self_attention.feature_map import SelfAttention2D as SelfAttention2D
from keras_attention.self_attention.intra import IntraAttention as IntraAttention
from keras_attention.self_attention.multi_head import SelfAttention as SelfAttention
from keras_attention.self_attention.pooling import AttentionPooling as AttentionPooling
from keras_attention.self_attention.structured import (
    StructuredSelfAttention as StructuredSelfAttention,
)
