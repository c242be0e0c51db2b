"""Losses: functions of attention weights and samples, which are added to the loss of a model.

`LinearCrossentropy` is a loss for `compile`: the cross-entropy of a head over a large vocabulary.

Shapes: B batch, T query steps, S memory steps, V vocabulary, H and W the sides of a feature map.
"""

from keras_attention.losses.coverage import coverage_loss as coverage_loss
from keras_attention.losses.coverage import doubly_stochastic as doubly_stochastic
from keras_attention.losses.crossentropy import linear_crossentropy as linear_crossentropy
from keras_attention.losses.crossentropy_loss import LinearCrossentropy as LinearCrossentropy
from keras_attention.losses.diagonal_alignment import diagonal_alignment as diagonal_alignment
from keras_attention.losses.guided_alignment import guided_alignment as guided_alignment
from keras_attention.losses.reinforce import moving_average as moving_average
from keras_attention.losses.reinforce import reinforce as reinforce
