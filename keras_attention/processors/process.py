"""What searches do with a list of processors."""

from collections.abc import Callable, Sequence
from typing import Any

from keras import ops

from keras_attention._internal import validation
from keras_attention._internal.typing import Tensor
from keras_attention.processors.forced_prefix import ForcedPrefix


def validate_processors(processors: Any, batch_size: Any) -> tuple[Callable, ...]:
    """Returns a list of functions, which must suit the size of the batch if it is known."""
    if not isinstance(processors, list | tuple) or not all(map(callable, processors)):
        raise ValueError(f"`processors` is {processors!r}; expected a list of functions.")
    for processor in processors:
        if isinstance(processor, ForcedPrefix) and isinstance(batch_size, int) and batch_size:
            processor.validate_batch_size(batch_size)
    return tuple(processors)


def process(processors: Sequence[Callable], logits: Tensor, tokens: Tensor, time: Any) -> Tensor:
    """Returns logits (N, V), normalized, as the processors leave them."""
    for processor in processors:
        before, logits = logits, processor(logits, tokens, time)
        if not validation.shapes_match(getattr(logits, "shape", ()), before.shape):
            raise ValueError(
                f"`processors` has {processor!r}, which returned "
                f"{getattr(logits, 'shape', logits)}; expected logits of shape {before.shape}."
            )
        logits = ops.cast(logits, before.dtype)
    return logits
