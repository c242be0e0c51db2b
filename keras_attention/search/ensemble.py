"""Several models as one."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from keras import ops

from keras_attention._internal import validation
from keras_attention.search.step import shared_parts, shares_state


def ensemble(steps: Sequence[Callable]) -> Callable:
    """Returns a step that averages the probabilities of several steps.

        log p(y) = log(1/M sum_m p_m(y))

    Its state is the list of their states. Its weights are the mean of theirs, and None if one
    returns None.

    Args:
        steps: Functions of tokens (N,) and a state to logits (N, V), weights and the next state,
            over one vocabulary and, if they have weights, one memory.

    Example:

    >>> steps = [lambda tokens, state, x=x: (np.log([x]), None, state) for x in ([1, 3], [3, 1])]
    >>> log_probs, _, _ = ka.search.ensemble(steps)(np.array([0]), [(), ()])
    >>> np.exp(log_probs).tolist()
    [[0.5, 0.5]]
    """
    steps = list(steps)
    if not steps:
        raise ValueError("`steps` is empty; expected one step or more.")

    def parts(states: list) -> list:
        if len(states) != len(steps):
            raise ValueError(
                f"`state` has {len(states)} parts, and the ensemble {len(steps)} steps; expected "
                "the list of their states."
            )
        owns = map(shared_parts, steps)
        return [own(x) if own else () for own, x in zip(owns, states, strict=True)]

    @shares_state(parts)
    def step(tokens: Any, states: list) -> tuple:
        parts(states)
        results = [each(tokens, state) for each, state in zip(steps, states, strict=True)]
        logits, weights, states = (list(found) for found in zip(*results, strict=True))
        _validate_alike("logits", logits)
        log_probs = [ops.log_softmax(ops.cast(x, "float32"), axis=-1) for x in logits]
        mean = ops.logsumexp(ops.stack(log_probs), axis=0) - math.log(len(steps))
        if any(found is None for found in weights):
            return mean, None, states
        _validate_alike("weights", weights)
        dtype = weights[0].dtype
        return mean, sum(ops.cast(each, dtype) for each in weights) / len(steps), states

    return step


def _validate_alike(what: str, found: list) -> None:
    shapes = [tuple(each.shape) for each in found]
    if not all(validation.shapes_match(shapes[0], shape) for shape in shapes):
        raise ValueError(f"`steps` return {what} of shapes {shapes}; expected equal ones.")
