"""What loops know of a step: its weights as rows, its state, and what beams share of that."""

import functools
import inspect
import math
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_attention._internal import validation


def shares_state(parts: Callable) -> Callable:
    """Declares that a step's state has parts that all beams of a batch entry share.

    The decorated step takes tokens (N,) with N = B K, and these parts with B rows. It must return
    them unchanged. Without this decorator `beam` repeats the whole state per beam. A wrapper does
    not inherit it: decorate it with `shares_state(wrapped)`. A `functools.partial` does.

    Args:
        parts: Function of a state to these parts of it, a nest of tensors; or a decorated step
            with a state of the same structure.
    """

    def decorate(step: Any, *arguments: Any) -> Any:
        if arguments:
            raise ValueError(
                f"`parts` is {parts!r}, used as a step; expected a function of a state, or a "
                "decorated step: shares_state(parts)(step)."
            )
        if inspect.ismethod(step):  # which takes no attributes
            step = functools.partial(step)
        step.shared_parts = shared_parts(parts) or parts
        return step

    return decorate


def shared_parts(step: Any) -> Callable | None:
    """Returns the function from a state to its shared parts that `step` was decorated with."""
    if not hasattr(step, "shared_parts") and isinstance(step, functools.partial):
        step = step.func
    return getattr(step, "shared_parts", None)


class FlatStep:
    """A step whose weights are always (N, S): more axes are flattened, None becomes (N, 0).

    The first call, before the loop, fixes `axes`, those of the weights without N.
    """

    def __init__(self, step: Callable) -> None:
        self.step, self.shared_parts = step, shared_parts(step)
        self.axes: tuple | None = None

    def __call__(self, tokens: Any, state: Any) -> tuple:
        logits, weights, state = self.step(tokens, state)
        if self.axes is None:
            self.axes = () if weights is None else ops.shape(weights)[1:]
        if weights is None:
            weights = ops.zeros((ops.shape(tokens)[0], 0), dtype="float32")
        elif len(self.axes) > 1:
            weights = ops.reshape(weights, (ops.shape(tokens)[0], math.prod(self.axes)))
        return logits, weights, state

    def unflatten(self, attention: Any) -> Any:
        """Returns weights (..., S) with the axes of the step's; None if it has none."""
        if not self.axes:
            return None
        return ops.reshape(attention, (*ops.shape(attention)[:-1], *self.axes))


class LoopState:
    """The parts of a step's state that change, and those that the step returns unchanged.

    The latter stay out of the loop: once for all beams that share them, or once per beam.
    """

    def __init__(self, step: Callable, state: Any, next_state: Any, beam_width: int = 1) -> None:
        before, after = keras.tree.flatten(state), keras.tree.flatten(next_state)
        _validate_like(before, after)
        parts = shared_parts(step)
        shared = {id(leaf) for leaf in keras.tree.flatten(parts(state) if parts else ())}
        self._structure = next_state

        # None for a tensor that changes. So does one in two places: the step may swap these.
        def constant(old: Any, new: Any) -> Any:
            is_shared = id(old) in shared
            if new is not old or not (is_shared or sum(old is x for x in before) == 1):
                return None
            return old if is_shared or beam_width == 1 else ops.repeat(old, beam_width, axis=0)

        self._constants = [constant(*pair) for pair in zip(before, after, strict=True)]

    def changing(self, state: Any) -> list:
        """Returns the tensors of `state` that change."""
        leaves = keras.tree.flatten(state)
        return [x for x, fixed in zip(leaves, self._constants, strict=True) if fixed is None]

    def merge(self, changing: list) -> Any:
        """Returns the whole state, of the tensors that change."""
        rest = iter(changing)
        leaves = [next(rest) if fixed is None else fixed for fixed in self._constants]
        return keras.tree.pack_sequence_as(self._structure, leaves)


def _validate_like(before: list, after: list) -> None:
    """Checks that a state that a step returned has the dtypes and shapes of the one it took."""
    if len(before) != len(after):
        raise ValueError(
            f"`step` returns a state of {len(after)} tensors; expected one like it took, of "
            f"{len(before)}."
        )
    for old, new in zip(before, after, strict=True):
        took, gave = (keras.backend.standardize_dtype(tensor.dtype) for tensor in (old, new))
        if took != gave or not validation.shapes_match(old.shape, new.shape):
            raise ValueError(
                f"`step` takes a state with a {took} tensor of shape {tuple(old.shape)}, and "
                f"returns {gave} of shape {tuple(new.shape)} in its place; expected the same."
            )
