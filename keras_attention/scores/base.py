"""The abstract score."""

import abc

import keras
from keras import ops


class Score(keras.layers.Layer, abc.ABC):
    """Abstract: a score of each query against each memory position.

    The attention layer that owns a score builds it. Used alone, it is built by hand:
    `score.build(query_shape, memory_shape)`.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def build(self, query_shape, memory_shape=None):
        if memory_shape is None:
            raise ValueError(
                f"{type(self).__name__} '{self.name}' is not built, and the memory's width is not "
                "in the keys; call `build(query_shape, memory_shape)` first."
            )
        if query_shape[-1] is None or memory_shape[-1] is None:
            raise ValueError(
                f"`query` and memory have shapes {tuple(query_shape)} and {tuple(memory_shape)}; "
                "expected shapes whose last axis is known."
            )
        self.add_variables(query_shape[-1], memory_shape[-1])

    @abc.abstractmethod
    def add_variables(self, query_width: int, memory_width: int):
        """Adds the weights, and refuses widths that do not go together."""

    def prepare(self, memory):
        """Returns the keys, (B, S, any), of `memory` (B, S, Dk): work done once per memory."""
        if not self.built:
            raise ValueError(
                f"{type(self).__name__} '{self.name}' is not built; call the layer that owns it "
                "once, or `build(query_shape, memory_shape)`."
            )
        # Decoders prepare outside of `__call__`, where Keras does not cast for the layer.
        return self.make_keys(ops.convert_to_tensor(memory, dtype=self.compute_dtype))

    @abc.abstractmethod
    def make_keys(self, memory):
        """Returns the keys of a memory in the compute dtype."""

    @abc.abstractmethod
    def call(self, query, keys):
        """Returns the scores (B, T, S) of `query` (B, T, Dq) against prepared `keys`."""

    def compute_mask(self, query, previous_mask=None):
        return None  # A mask of the query says nothing about the last axis of the scores.

    def compute_output_shape(self, query_shape, keys_shape):
        return (query_shape[0], query_shape[1], keys_shape[1])

    def get_config(self):
        # Stated here, as Keras infers no config when a dtype policy is among the arguments.
        return dict(super().get_config())

    def _cast(self, weight):
        return ops.cast(weight, self.compute_dtype)
