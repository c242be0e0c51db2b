"""Diverse beam search: groups of beams that say something else than the groups before them."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from keras_attention._internal import validation
from keras_attention.search import beam_search
from keras_attention.search.beam_search import Options, select
from keras_attention.search.loop import SearchResult, is_end, validate_processors


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
    what a group goes on with; `log_probs` and `scores` are without it. One group is `beam`.

    Args:
        step, state, start_id, end_id, max_length, processors: See `greedy`. All of the state is
            repeated once per beam, or once per group where beams share it.
        beam_width: Sequences of all groups together, N.
        groups: Number of groups, of which `beam_width` is a multiple.
        diversity_penalty: Larger is more diverse.
        length_penalty_weight: See `beam`.

    Reference: Vijayakumar et al. 2018, "Diverse Beam Search for Improved Description of Complex
    Scenes", arXiv:1610.02424, algorithm 1.
    """
    width = validation.positive_integer("beam_width", beam_width)
    if width % validation.positive_integer("groups", groups):
        raise ValueError(f"`groups` is {groups}; expected a divisor of `beam_width`, {width}.")
    penalty = validation.not_negative("diversity_penalty", diversity_penalty)
    own = Options(
        end_id,
        validation.positive_integer("max_length", max_length),
        width // groups,
        width // groups,
        length_penalty_weight,
        0.0,
        validate_processors(processors),
    )

    def select_in_groups(time: Any, logits: Any, beams: dict, options: Options) -> tuple:
        rows, words = beams["finished"].shape[1], logits.shape[-1]
        grouped = ops.reshape(logits, (-1, groups, rows, words))
        batch_size = ops.shape(grouped)[0]
        said, found = ops.zeros((batch_size, words), "float32"), []
        for group in range(groups):
            mine = {
                name: ops.reshape(beams[name], (batch_size, groups, *ops.shape(beams[name])[1:]))
                for name in ("tokens", "log_probs", "lengths", "coverage", "finished")
            }
            mine = {name: tensor[:, group] for name, tensor in mine.items()}
            taken = ops.repeat(penalty * said, rows, axis=0)
            lower = (*options.processors, lambda logits, *_, taken=taken: logits - taken)
            chosen = select(
                time,
                ops.reshape(grouped[:, group], (-1, words)),
                mine,
                options._replace(processors=lower),
            )
            chosen, counts = _without_penalty(chosen, mine, penalty * said, options)
            said = said + counts
            found.append(chosen)
        return tuple(
            ops.reshape(ops.stack(parts, axis=1), (-1, *ops.shape(parts[0])[1:]))
            for parts in zip(*found, strict=True)
        )

    state = keras.tree.map_structure(lambda tensor: ops.repeat(tensor, groups, axis=0), state)
    starts = ops.cast(start_id, "int32")
    starts = ops.repeat(starts, groups, axis=0) if len(starts.shape) else start_id
    found = beam_search.search_beams(step, state, starts, own, select_in_groups)
    return _merge(found, width)


def _without_penalty(chosen: tuple, beams: dict, taken: Any, options: Options) -> tuple:
    """Gives what was taken from log p (B, V) back, sorts again, and counts the tokens (B, V)."""
    scores, log_probs, parents, tokens, has_nan = chosen
    finished = ops.take_along_axis(beams["finished"], parents, axis=1)
    back = ops.where(finished, 0.0, ops.take_along_axis(taken, tokens, axis=1))
    ended = ops.logical_or(finished, is_end(tokens, options.end_id))
    lengths = ops.take_along_axis(beams["lengths"], parents, axis=1)
    lengths = lengths + ops.cast(ops.logical_not(ended), "int32")
    scores = scores + back / beam_search.length_penalty(lengths, options.length_penalty_weight)
    counts = ops.one_hot(tokens, taken.shape[-1], dtype="float32")
    is_no_choice = ops.logical_or(finished, log_probs == -float("inf"))
    counts = ops.sum(ops.where(is_no_choice[:, :, None], 0.0, counts), axis=1)
    scores, order = ops.top_k(scores, options.beam_width)
    rest = (ops.take_along_axis(x, order, axis=1) for x in (log_probs + back, parents, tokens))
    return (scores, *rest, has_nan), counts


def _merge(found: SearchResult, width: int) -> SearchResult:
    """The groups of an entry side by side, (B G, K, ...) to (B, G K, ...), the best first."""
    merged = [None if x is None else ops.reshape(x, (-1, width, *ops.shape(x)[2:])) for x in found]
    _, order = ops.top_k(merged[3], width)

    def sort(tensor: Any) -> Any:
        axes = (*ops.shape(order), *[1] * (len(tensor.shape) - 2))
        return ops.take_along_axis(tensor, ops.reshape(order, axes), axis=1)

    return SearchResult(*(None if tensor is None else sort(tensor) for tensor in merged))
