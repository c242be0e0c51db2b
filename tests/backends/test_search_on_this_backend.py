"""Processors, scores and unrolled steps on the backend that KERAS_BACKEND names."""

import itertools

import keras
import numpy as np
import pytest
from keras import ops

import keras_attention as ka
from comparing import assert_close, to_numpy
from oracles import search as oracle
from processor_cases import MAKE, cases, expected

START, END, WORDS = 1, 2, 5
LOGITS = np.random.default_rng(3).normal(size=(WORDS, WORDS)).astype("float32")
LOGS = np.stack([oracle.log_softmax(row) for row in LOGITS.astype("float64")])
STATE = np.zeros((3, 1), "float32")


def step(tokens, state):
    return ops.take(ops.convert_to_tensor(LOGITS), tokens, axis=0), None, state + 1


@pytest.mark.parametrize("name", MAKE)
def test_ten_thousand_rows_equal_the_oracle(name):
    for processor, of_row, *case in cases(name, 400):
        found = to_numpy(processor(*map(ops.convert_to_tensor, case)), "float32")
        np.testing.assert_allclose(found, expected(of_row, *case), rtol=1e-6)


@pytest.mark.parametrize("search", ["greedy", "beam", "sample"])
def test_searches_obey_their_processors(search):
    processors = [
        ka.processors.ForcedPrefix([[3], [0], [4]]),
        ka.processors.MinLength(4, END),
        ka.processors.NoRepeatNGram(1),
        ka.processors.RepetitionPenalty(1.2),
    ]
    if search != "sample":  # which may have no other word left
        processors.append(ka.processors.BadWords([[3, 1]]))
    options = {"beam": {"beam_width": 3}, "sample": {"seed": 1}}.get(search, {})
    found = getattr(ka.search, search)(step, STATE, START, END, 5, processors=processors, **options)
    for b, first in enumerate((3, 0, 4)):
        tokens = to_numpy(found.tokens, "int32")[b, 0].tolist()
        assert tokens[0] == first
        assert sorted(tokens[:4]) == [0, 1, 3, 4]
        assert tokens[4] == END
        assert search == "sample" or (3, 1) not in itertools.pairwise(tokens)


def test_scores_are_sums_of_log_probabilities():
    tokens = np.array([[3, 4, 2, 4], [0, 0, 1, 3], [2, 2, 2, 2]])
    found = ka.search.score(step, STATE, tokens, START, END)
    read = [[START, 3, 4], [START, 0, 0, 1], [START]]
    logs = [
        sum(LOGS[a, b] for a, b in zip(row, said, strict=False))
        for row, said in zip(read, tokens, strict=True)
    ]
    assert_close([found.log_probs[:, 0]], [np.array(logs)])


def test_an_ensemble_of_one_is_the_step():
    options = (START, END, 5, 3)
    alone = ka.search.beam(step, STATE, *options)
    one = ka.search.beam(ka.search.ensemble([step]), [STATE], *options)
    for name in ("tokens", "lengths", "log_probs", "scores"):
        assert_close([getattr(one, name)], [getattr(alone, name)])


class Forecaster(keras.Model):
    """Learns the matrix by which each step is that before it."""

    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(3, use_bias=False)

    def call(self, first):
        def advance(inputs, state):
            return self.dense(inputs), None, state

        return ka.search.unroll(advance, ops.zeros_like(first), first, 4).outputs


def test_gradients_flow_through_unrolled_steps():
    random, model = np.random.default_rng(4), Forecaster()
    first = random.normal(size=(64, 3)).astype("float32")
    matrix = np.linalg.qr(random.normal(size=(3, 3)))[0].astype("float32")
    steps = [first @ matrix]
    for _ in range(3):
        steps.append(steps[-1] @ matrix)
    model(first)
    model.compile(keras.optimizers.Adam(0.03), "mse")
    model.fit(first, np.stack(steps, axis=1), epochs=200, batch_size=64, verbose=0)
    assert_close([model.dense.kernel], [matrix], 0.01)
