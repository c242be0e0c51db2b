"""Diverse beam search: groups of beams that say something else than the groups before them."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from keras_attention._internal import validation
from keras_attention._ops.take_per_row import take_per_row
from keras_attention.search.beam_search import search_beams, select
from keras_attention.search.loop import Options, SearchResult


def diverse_beam(
    step: Callable,
    state: Any,
    start_id: Any,
    end_id: int | None,
    max_length: int,
    beam_width: int,
    groups: int,
    diversity_penalty: float = 0.5,
    length_penalty_weight: float = 0.0,
    processors: Sequence[Callable] = (),
) -> SearchResult:
    """A beam search in groups of `beam_width / groups`, one after the other at each step.

        theta'(y_t) = theta(y_t) - diversity_penalty * n(y_t)         (section 4, Hamming diversity)

    n(y_t) is how many sequences of the groups before chose y_t at this step. The penalty decides
    what a group goes on with; `log_probs` and `scores` are without it. One group is `beam` without
    a coverage penalty.

    Args:
        step, state, start_id, end_id, max_length, processors: See `greedy`. All of the state is
            repeated once per beam, or once per group where beams share it.
        beam_width: Sequences of all groups together, N.
        groups: Number of groups, of which `beam_width` is a multiple.
        diversity_penalty: Larger is more diverse.
        length_penalty_weight: See `beam`.

    Example:

    >>> step = lambda tokens, state: (keras.ops.one_hot(tokens + 1, 5), None, state)
    >>> found = ka.search.diverse_beam(step, np.zeros((2, 1)), 0, 4, 3, beam_width=4, groups=2)
    >>> tuple(found.tokens.shape)
    (2, 4, 3)

    Reference: Vijayakumar et al. 2018, "Diverse Beam Search for Improved Description of Complex
    Scenes", arXiv:1610.02424, algorithm 1.
    """
    validation.positive_integer("beam_width", beam_width)
    if beam_width % validation.positive_integer("groups", groups):
        raise ValueError(f"`groups` is {groups}; expected a divisor of `beam_width`, {beam_width}.")
    penalty = validation.at_least("diversity_penalty", diversity_penalty, 0)

    def select_in_groups(log_probs: Any, time: Any, found: dict, options: Options) -> tuple:
        rows, words, chosen = found["finished"].shape[1], log_probs.shape[-1], []
        log_probs = ops.reshape(log_probs, (-1, rows, words))
        counts = ops.zeros_like(log_probs[::groups, 0])  # n, (B, V)
        for group in range(groups):
            own = {k: found[k][group::groups] for k in ("log_probs", "lengths", "finished")}
            own_log_probs = ops.reshape(log_probs[group::groups], (-1, words))
            costs = ops.repeat(penalty * counts, rows, axis=0)
            parents, new = select(own_log_probs, time, own, options, costs)
            chosen.append((parents, new))
            # What a finished sequence goes on with does not count.
            finished = take_per_row(own["finished"], parents)
            is_new = ops.logical_and(ops.logical_not(finished), new["log_probs"] > -float("inf"))
            said = ops.one_hot(ops.where(is_new, new["last"], -1), words, dtype="float32")
            counts = counts + ops.sum(said, axis=1)
        return keras.tree.map_structure(
            lambda *parts: ops.reshape(ops.stack(parts, axis=1), (-1, options.beam_width)), *chosen
        )

    width = beam_width // groups
    options = Options(end_id, max_length, processors, groups, width, width, length_penalty_weight)
    return search_beams(step, state, start_id, options, select_in_groups)
