"""Diverse beam search against an oracle that takes one group after the other."""

import numpy as np
import pytest
import tensorflow as tf
from keras import ops

import keras_attention as ka
from comparing import assert_close, to_numpy
from oracles import search as oracle

START, END, WORDS, STEPS = 1, 2, 9, 6
RANDOM = np.random.default_rng(3)
LOGITS = (2 * RANDOM.normal(size=(WORDS, WORDS))).astype("float32")
LOGS = np.stack([oracle.log_softmax(row) for row in LOGITS.astype(float)])
WEIGHTS = RANDOM.dirichlet([1.0] * 4, size=WORDS).astype("float32")
STATE = np.zeros((2, 1), "float32")
STARTS = np.array([1, 4])


def step(tokens, state):
    logits = ops.take(ops.convert_to_tensor(LOGITS), tokens, axis=0)
    return logits, ops.take(ops.convert_to_tensor(WEIGHTS), tokens, axis=0), state + 1


def diverse(start, width, groups, penalty, length_weight):
    """Vijayakumar 2018, algorithm 1: log p and tokens of all groups, the best first."""
    beams = [[((), 0.0)] for _ in range(groups)]
    size = width // groups
    for _ in range(STEPS):
        said = np.zeros(WORDS)
        for group in range(groups):
            candidates = []
            for tokens, log_prob in beams[group]:
                if tokens and tokens[-1] == END:
                    score = log_prob / oracle.length_penalty(len(tokens), length_weight)
                    candidates.append((score, tokens, log_prob))
                    continue
                for word, x in enumerate(LOGS[tokens[-1] if tokens else start]):
                    length = len(tokens) + (word != END)
                    lowered = log_prob + x - penalty * said[word]
                    score = lowered / oracle.length_penalty(length, length_weight)
                    candidates.append((score, (*tokens, word), log_prob + x))
            before = {tokens for tokens, _ in beams[group] if tokens and tokens[-1] == END}
            candidates.sort(key=lambda candidate: -candidate[0])
            beams[group] = [(tokens, log_prob) for _, tokens, log_prob in candidates[:size]]
            for tokens, _ in beams[group]:
                said[tokens[-1]] += tokens not in before
    found = [pair for group in beams for pair in group]

    def score(pair):
        tokens, log_prob = pair
        length = len(tokens) - (tokens[-1] == END and len(tokens) == STEPS)
        return log_prob / oracle.length_penalty(length, length_weight)

    return sorted(found, key=score, reverse=True)


@pytest.mark.each_value
@pytest.mark.parametrize("length_weight", [0.0, 0.7])
@pytest.mark.parametrize("penalty", [0.0, 0.5, 3.0])
@pytest.mark.parametrize(("width", "groups"), [(6, 1), (6, 2), (6, 3), (6, 6), (4, 2)])
def test_groups_equal_the_oracle(width, groups, penalty, length_weight):
    found = ka.search.diverse_beam(
        step, STATE, STARTS, END, STEPS, width, groups, penalty, length_weight
    )
    for b, start in enumerate(STARTS):
        wanted = diverse(start, width, groups, penalty, length_weight)
        rows = []
        for tokens, log in zip(to_numpy(found.tokens, "int32")[b], found.log_probs[b], strict=True):
            stop = tokens.tolist().index(END) + 1 if END in tokens else STEPS
            rows.append((tuple(tokens[:stop].tolist()), float(log)))
        assert sorted(tokens for tokens, _ in rows) == sorted(tokens for tokens, _ in wanted)
        assert_close([[log for _, log in rows]], [[log for _, log in wanted]], 1e-5)
    scores = to_numpy(found.scores)
    assert (np.diff(scores, axis=1) <= 1e-6).all()


def test_one_group_is_a_beam_search():
    one = ka.search.diverse_beam(step, STATE, START, END, STEPS, 4, 1, 2.0, 0.6)
    beam = ka.search.beam(step, STATE, START, END, STEPS, 4, 0.6)
    for a, b in zip(one, beam, strict=True):
        assert_close([a], [b], 1e-5)


def test_a_large_penalty_lets_groups_begin_with_other_words():
    found = ka.search.diverse_beam(step, STATE, STARTS, END, STEPS, 4, 4, 1e3)
    first = to_numpy(found.tokens, "int32")[:, :, 0]
    assert all(len(set(row)) == 4 for row in first.tolist())


def test_penalties_leave_log_p_exact():
    """Also where all groups must say the same, at any price."""
    prefix = [ka.processors.ForcedPrefix([[3, 4, 5]])]
    found = ka.search.diverse_beam(step, STATE, STARTS, END, STEPS, 4, 4, 1e6, processors=prefix)
    for n in range(4):
        scored = ka.search.score(step, STATE, found.tokens[:, n], STARTS, END)
        assert_close([found.log_probs[:, n]], [scored.log_probs[:, 0]], 1e-5)


def test_in_a_graph_with_processors():
    def decode(state):
        return ka.search.diverse_beam(
            step, state, START, END, STEPS, 4, 2, 1.0, processors=[ka.processors.MinLength(3, END)]
        )

    eager = decode(tf.constant(STATE))
    graph = tf.function(decode, input_signature=[tf.TensorSpec([None, 1])])
    for other in (graph(STATE), tf.function(decode, jit_compile=True)(STATE)):
        for one, two in zip(eager, other, strict=True):
            assert_close([one], [two], 1e-5)
    assert (to_numpy(eager.lengths) >= 3).all()
    np.testing.assert_allclose(to_numpy(eager.attention)[:, :, :3].sum(-1), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"groups": 4}, ["`groups`", "4", "6"]),
        ({"groups": 0}, ["`groups`", "0"]),
        ({"diversity_penalty": -1}, ["`diversity_penalty`", "-1"]),
        ({"diversity_penalty": np.inf}, ["`diversity_penalty`", "inf"]),
        ({"length_penalty_weight": np.nan}, ["`length_penalty_weight`", "nan"]),
    ],
)
def test_errors_name_argument_and_value(options, words):
    with pytest.raises(ValueError, match="expected") as error:
        ka.search.diverse_beam(step, STATE, START, END, STEPS, 6, **{"groups": 2, **options})
    assert all(word in str(error.value) for word in words)
