"""The Neural Turing Machine (Graves 2014)."""

from keras_attention.ntm.cell import NTMCell as NTMCell
from keras_attention.ntm.cell import NTMState as NTMState
