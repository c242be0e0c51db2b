"""Losses on attention weights and on draws: functions, to be added to the loss of a model.

Shapes: B batch, T query steps, S memory steps, H and W the sides of a map.
"""

from keras_attention.losses.coverage import coverage_loss as coverage_loss
from keras_attention.losses.coverage import doubly_stochastic as doubly_stochastic
from keras_attention.losses.guided import guided_alignment as guided_alignment
from keras_attention.losses.reinforcement import moving_average as moving_average
from keras_attention.losses.reinforcement import reinforce as reinforce
