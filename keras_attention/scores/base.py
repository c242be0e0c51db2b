"""The abstract score."""

import abc
from typing import Any

from keras import ops

from keras_attention._internal.part import Part
from keras_attention._internal.typing import Shape, Tensor


class Score(Part, abc.ABC):
    """Abstract: a score of each query against each memory position.

    The attention layer that owns a score builds it. To use a score alone, build it yourself:
    `score.build(query_shape, memory_shape)`. A score knows no masks: the alignment applies them.
    A score of your own needs only `call`.

    Example:

    >>> class Distance(ka.scores.Score):
    ...     def call(self, query, keys):
    ...         return -keras.ops.norm(query[:, :, None] - keys[:, None], axis=-1)
    >>> attention = ka.Attention(Distance())
    >>> tuple(attention(np.ones((2, 3, 7)), np.ones((2, 5, 7))).shape)
    (2, 3, 7)
    """

    def build(self, query_shape: Shape, memory_shape: Shape | None = None) -> None:
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

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        self._validate_built()  # Keras cannot build it from the keys.
        return super().__call__(*args, **kwargs)

    def add_variables(self, query_dim: int, memory_dim: int) -> None:
        """Adds the variables, if any. Raises a `ValueError` for sizes that do not go together."""

    def prepare(self, memory: Tensor) -> Tensor:
        """Returns the keys (B, S, any) of `memory` (B, S, Dk). Call it once per memory."""
        self._validate_built()
        # Decoders prepare outside of `__call__`, where Keras does not cast for the layer.
        return self.make_keys(ops.convert_to_tensor(memory, dtype=self.compute_dtype))

    def make_keys(self, memory: Tensor) -> Tensor:
        """Returns the keys of a memory in the compute dtype. The default is the memory itself."""
        return memory

    @abc.abstractmethod
    def call(self, query: Tensor, keys: Tensor) -> Tensor:
        """Returns the scores (B, T, S) of `query` (B, T, Dq) against the prepared `keys`."""

    def compute_output_shape(self, query_shape: Shape, keys_shape: Shape) -> tuple:
        return (query_shape[0], query_shape[1], keys_shape[1])

    def _validate_built(self) -> None:
        if not self.built:
            raise ValueError(
                f"{type(self).__name__} '{self.name}' is not built; call the layer that owns it "
                "once, or `build(query_shape, memory_shape)`."
            )

    def _cast(self, variable: Any) -> Tensor:
        return ops.cast(variable, self.compute_dtype)
