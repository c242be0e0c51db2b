"""Search: greedy, sampling and beam against oracles that follow one hypothesis at a time."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_attention as ka
from comparing import to_numpy
from keras_attention._ops.largest import largest
from oracles import search as oracle

START, END, VOCABULARY, WIDTH, MEMORY = 1, 2, 11, 5, 7


class Language:
    """A random step function with memory of all that was said, on tensors and on NumPy arrays.

    The state is a nest with a leaf that steps move and one that they hand on, the memory's mask.
    """

    def __init__(self, seed, vocabulary=VOCABULARY, end_bias=0.0):
        random = np.random.default_rng(seed)
        self.embedding = random.normal(size=(vocabulary, WIDTH))
        self.recurrent = random.normal(size=(WIDTH, WIDTH))
        self.output = 1.5 * random.normal(size=(WIDTH, vocabulary))
        self.bias = end_bias * (np.arange(vocabulary) == END)
        self.attention = random.normal(size=(WIDTH, MEMORY))
        self.random = random

    def begin(self, batch):
        hidden = self.random.normal(size=(batch, WIDTH)).astype("float32")
        mask = np.arange(MEMORY) < self.random.integers(1, MEMORY + 1, size=(batch, 1))
        return {"deep": [hidden], "mask": mask.astype("float32")}

    def step(self, tokens, state):
        matrices = [self.embedding, self.recurrent, self.output, self.bias, self.attention]
        embedding, recurrent, output, bias, attention = (
            ops.convert_to_tensor(matrix, "float32") for matrix in matrices
        )
        hidden = ops.tanh(state["deep"][0] @ recurrent + ops.take(embedding, tokens, axis=0))
        weights = ops.exp(hidden @ attention) * state["mask"]
        weights = weights / ops.sum(weights, axis=-1, keepdims=True)
        return hidden @ output + bias, weights, {**state, "deep": [hidden]}

    def single(self, token, state):
        hidden = np.tanh(state["deep"][0] @ self.recurrent + self.embedding[token])
        weights = np.exp(hidden @ self.attention) * state["mask"]
        return (
            hidden @ self.output + self.bias,
            weights / weights.sum(),
            {**state, "deep": [hidden]},
        )


def example(state, b):
    return {"deep": [state["deep"][0][b].astype(float)], "mask": state["mask"][b].astype(float)}


def assert_hypothesis(result, b, n, tokens, log_prob, rows, max_length):
    """Entry (b, n) of a result: its tokens, then the end id, and zero weights after the end."""
    padded = [*tokens, *[END] * (max_length - len(tokens))]
    assert to_numpy(result.tokens, "int32")[b, n].tolist() == padded
    ended = len(tokens) - (tokens[-1] == END)
    assert int(result.lengths[b, n]) == ended
    assert float(result.log_probs[b, n]) == pytest.approx(log_prob, abs=1e-4)
    attention = np.zeros((max_length, MEMORY))
    attention[: len(rows)] = rows
    np.testing.assert_allclose(to_numpy(result.attention)[b, n], attention, atol=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_greedy_equals_the_oracle(seed):
    language = Language(seed, end_bias=1.0)
    state = language.begin(13)
    result = ka.search.greedy(language.step, state, START, END, max_length=7)
    assert result.tokens.shape == (13, 1, 7)
    assert result.attention.shape == (13, 1, 7, MEMORY)
    for b in range(13):
        expected = oracle.greedy(language.single, example(state, b), START, END, 7)
        assert_hypothesis(result, b, 0, *expected, 7)
    np.testing.assert_array_equal(to_numpy(result.scores), to_numpy(result.log_probs))


PENALTIES = [(0.0, 0.0), (0.6, 0.0), (0.0, 0.3), (1.1, 0.7), (-0.4, 0.2)]


@pytest.mark.each_value
@pytest.mark.parametrize(("length_weight", "coverage_weight"), PENALTIES)
@pytest.mark.parametrize(("width", "end_bias"), [(1, 0.0), (3, 2.0), (5, 0.0), (11, 3.0)])
def test_beam_equals_the_oracle(width, end_bias, length_weight, coverage_weight):
    language = Language(width, end_bias=end_bias)
    state, finished = language.begin(7), 0
    result = ka.search.beam(
        language.step, state, START, END, 6, width, length_weight, coverage_weight
    )
    for b in range(7):
        hypotheses = oracle.beam(
            language.single, example(state, b), START, END, 6, width, length_weight, coverage_weight
        )
        for n, hypothesis in enumerate(hypotheses):
            assert_hypothesis(
                result, b, n, hypothesis["tokens"], hypothesis["log_prob"], hypothesis["rows"], 6
            )
            assert float(result.scores[b, n]) == pytest.approx(hypothesis["score"], abs=1e-4)
            finished += hypothesis["done"]
    if not (length_weight or coverage_weight):
        assert 0 < finished < 7 * width, "some end and some run into the maximal length"


@pytest.mark.parametrize("length_weight", [0.0, 1.3])
def test_a_beam_as_wide_as_the_vocabulary_is_exhaustive_over_two_steps(length_weight):
    """Nothing is pruned after one step, so two steps find the true best of all sequences."""
    language = Language(3, vocabulary=5, end_bias=1.0)
    state = language.begin(17)
    result = ka.search.beam(language.step, state, START, END, 2, 5, length_weight)
    for b in range(17):
        everything = oracle.every_sequence(
            language.single, example(state, b), START, END, 2, vocabulary=5
        )

        def rank(item):
            tokens, log_prob = item
            # What ends in the last step is ranked without its end; what ended before, with it.
            length = 1 if tokens in ((END,), (tokens[0], END)) else 2
            return log_prob / oracle.length_penalty(length, length_weight)

        best = sorted(everything, key=rank, reverse=True)[:5]
        for n, (tokens, log_prob) in enumerate(best):
            padded = [*tokens, END][:2]
            assert to_numpy(result.tokens, "int32")[b, n].tolist() == padded
            assert float(result.log_probs[b, n]) == pytest.approx(log_prob, abs=1e-4)


@pytest.mark.parametrize("length_weight", [0.0, 1.3])
def test_beam_over_a_large_vocabulary_equals_the_oracle(length_weight):
    """Large enough for the words to be found chunk by chunk, the last piece not full."""
    language = Language(23, vocabulary=401, end_bias=8.0)
    state, finished = language.begin(3), 0
    result = ka.search.beam(language.step, state, START, END, 4, 2, length_weight)
    for b in range(3):
        hypotheses = oracle.beam(
            language.single, example(state, b), START, END, 4, 2, length_weight, 0.0
        )
        for n, hypothesis in enumerate(hypotheses):
            assert_hypothesis(
                result, b, n, hypothesis["tokens"], hypothesis["log_prob"], hypothesis["rows"], 4
            )
            finished += hypothesis["done"]
    assert finished


@pytest.mark.parametrize("size", [64, 401, 1024])
@pytest.mark.parametrize("levels", [2, 7, 10**6])
def test_the_largest_are_those_of_a_stable_sort(size, levels):
    random = np.random.default_rng(size)
    values = random.integers(-levels, levels, size=(13, size)).astype("float32")
    values[0] = -np.inf
    values[1, 1:] = -np.inf
    top, indices = largest(ops.convert_to_tensor(values), 3)
    expected = np.argsort(-values, axis=1, kind="stable")[:, :3]
    np.testing.assert_array_equal(to_numpy(indices, "int32"), expected)
    np.testing.assert_array_equal(to_numpy(top), np.take_along_axis(values, expected, axis=1))


def test_a_step_that_shares_state_gets_it_unrepeated():
    language = Language(31, end_bias=1.0)
    state = language.begin(5)

    @ka.search.shares_state(lambda state: state["mask"])
    def step(tokens, state):
        assert state["mask"].shape[0] == 5
        beams = tokens.shape[0] // 5
        repeated = {**state, "mask": ops.repeat(state["mask"], beams, axis=0)}
        logits, weights, next_state = language.step(tokens, repeated)
        return logits, weights, {**next_state, "mask": state["mask"]}

    options = (START, END, 6, 3, 0.7, 0.2)
    for one, other in zip(
        ka.search.beam(step, state, *options),
        ka.search.beam(language.step, state, *options),
        strict=True,
    ):
        np.testing.assert_array_equal(to_numpy(one), to_numpy(other))


def test_beam_finds_what_greedy_misses():
    """A likely first word with only unlikely words after it: the textbook's garden path."""
    first = np.log([1e-9, 1e-9, 1e-9, 0.6, 0.4])
    after = {3: np.log([0.2, 0.2, 0.2, 0.2, 0.2]), 4: np.log([1e-9, 1e-9, 1 - 4e-9, 1e-9, 1e-9])}
    table = np.stack([first, first, first, after[3], after[4]]).astype("float32")

    def step(tokens, state):
        logits = ops.take(ops.convert_to_tensor(table), tokens, axis=0)
        return logits, ops.ones_like(state), state + 1

    state = np.zeros((1, 1), "float32")
    greedy = ka.search.greedy(step, state, START, END, 2)
    beam = ka.search.beam(step, state, START, END, 2, beam_width=2)
    assert to_numpy(greedy.tokens)[0, 0, 0] == 3
    assert to_numpy(beam.tokens)[0, 0].tolist() == [4, END]
    assert float(beam.log_probs[0, 0]) > float(greedy.log_probs[0, 0])


@pytest.mark.parametrize("penalties", PENALTIES)
def test_beam_of_one_is_greedy(penalties):
    language = Language(19, end_bias=1.0)
    state = language.begin(29)
    greedy = ka.search.greedy(language.step, state, START, END, 9)
    beam = ka.search.beam(language.step, state, START, END, 9, 1, *penalties)
    for name in ("tokens", "lengths", "log_probs", "attention"):
        one, other = to_numpy(getattr(greedy, name)), to_numpy(getattr(beam, name))
        np.testing.assert_allclose(one, other, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("penalties", PENALTIES)
def test_no_entry_depends_on_who_shares_its_batch(penalties):
    language = Language(5, end_bias=2.5)
    state = language.begin(11)
    together = ka.search.beam(language.step, state, START, END, 8, 3, *penalties)
    for b in range(11):
        own = {"deep": [state["deep"][0][b : b + 1]], "mask": state["mask"][b : b + 1]}
        alone = ka.search.beam(language.step, own, START, END, 8, 3, *penalties)
        for name in together._fields:
            one, other = to_numpy(getattr(together, name))[b], to_numpy(getattr(alone, name))[0]
            np.testing.assert_allclose(one, other, atol=1e-5, err_msg=name)


def test_n_best_are_the_first_of_the_beam():
    language = Language(7, end_bias=1.0)
    state = language.begin(5)
    everything = ka.search.beam(language.step, state, START, END, 5, 7)
    best = ka.search.beam(language.step, state, START, END, 5, 7, n_best=3)
    for name in best._fields:
        np.testing.assert_array_equal(
            to_numpy(getattr(best, name)), to_numpy(getattr(everything, name))[:, :3]
        )
    scores = to_numpy(everything.scores)
    assert (np.diff(scores, axis=1) <= 0).all()
    for b in range(5):
        assert len(set(map(tuple, to_numpy(everything.tokens)[b].tolist()))) == 7


@pytest.mark.parametrize("search", ["greedy", "beam", "sample"])
def test_start_ids_may_differ_in_a_batch(search):
    language = Language(11)
    state = language.begin(3)
    state = {
        "deep": [np.repeat(state["deep"][0][:1], 3, 0)],
        "mask": np.ones((3, MEMORY), "float32"),
    }
    options = {"greedy": {}, "beam": {"beam_width": 2}, "sample": {"top_k": 1}}[search]
    function = getattr(ka.search, search)
    starts = [1, 4, 7]
    together = function(language.step, state, np.array(starts), END, 4, **options)
    for b, start in enumerate(starts):
        alone = function(language.step, state, start, END, 4, **options)
        np.testing.assert_array_equal(to_numpy(together.tokens)[b], to_numpy(alone.tokens)[b])
    assert len({tuple(row) for row in to_numpy(together.tokens)[:, 0].tolist()}) > 1


def test_after_the_end_nothing_counts():
    """A search that ends at once: end ids, length 0, the weights of one step."""
    language = Language(13, end_bias=100.0)
    state = language.begin(3)
    for result in (
        ka.search.greedy(language.step, state, START, END, 5),
        ka.search.beam(language.step, state, START, END, 5, 1),
        ka.search.sample(language.step, state, START, END, 5),
    ):
        assert (to_numpy(result.tokens) == END).all()
        assert (to_numpy(result.lengths) == 0).all()
        np.testing.assert_allclose(to_numpy(result.log_probs), 0, atol=1e-6)
        attention = to_numpy(result.attention)
        np.testing.assert_allclose(attention[:, :, 0].sum(-1), 1, atol=1e-5)
        assert (attention[:, :, 1:] == 0).all()


@pytest.mark.parametrize("max_length", [1, 2])
def test_short_searches(max_length):
    language = Language(17)
    state = language.begin(3)
    for result in (
        ka.search.greedy(language.step, state, START, END, max_length),
        ka.search.beam(language.step, state, START, END, max_length, 1),
    ):
        for b in range(3):
            expected = oracle.greedy(language.single, example(state, b), START, END, max_length)
            assert_hypothesis(result, b, 0, *expected, max_length)


# ---- In a graph, and in float16


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf.function")
@pytest.mark.parametrize("search", ["greedy", "beam", "sample"])
def test_in_a_graph_and_under_xla_as_eager(search):
    import tensorflow as tf

    language = Language(29, end_bias=1.0)
    options = {"greedy": {}, "sample": {"seed": 3}, "beam": {"beam_width": 3}}[search]
    if search == "beam":
        options |= {"length_penalty_weight": 0.7, "coverage_penalty_weight": 0.2}

    def decode(state):
        return getattr(ka.search, search)(language.step, state, START, END, 5, **options)

    signature = {
        "deep": [tf.TensorSpec([None, WIDTH])],
        "mask": tf.TensorSpec([None, MEMORY]),
    }
    graph = tf.function(decode, input_signature=[signature])
    for batch in (3, 5):
        state = keras.tree.map_structure(tf.constant, language.begin(batch))
        eager = decode(state)
        others = [graph(state)]
        if search != "sample":  # XLA draws other numbers
            others.append(tf.function(decode, jit_compile=True)(state))
        for other in others:
            for name in eager._fields:
                one, two = to_numpy(getattr(eager, name)), to_numpy(getattr(other, name))
                np.testing.assert_allclose(one, two, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_low_precision_logits_are_summed_in_float32(dtype):
    def step(tokens, state):
        logits = ops.broadcast_to([0.0, 1.0, -3.0, 0.5], (ops.shape(state)[0], 4))
        return ops.cast(logits, dtype), ops.ones((ops.shape(state)[0], 1), dtype=dtype), state + 1

    state = np.zeros((2, 1), "float32")
    each = oracle.log_softmax([0.0, 1.0, -3.0, 0.5])[1]
    for result in (
        ka.search.greedy(step, state, START, END, 60),
        ka.search.beam(step, state, START, END, 60, 2),
    ):
        assert keras.backend.standardize_dtype(result.log_probs.dtype) == "float32"
        assert float(result.log_probs[0, 0]) == pytest.approx(60 * each, rel=1e-5)


# ---- Errors


@pytest.mark.parametrize(
    ("search", "options", "words"),
    [
        ("beam", {"beam_width": 0}, ["beam_width", "0"]),
        ("beam", {"beam_width": 2, "n_best": 3}, ["n_best", "3", "2"]),
        ("beam", {"beam_width": 2, "n_best": 0}, ["n_best", "0"]),
        ("beam", {"beam_width": 2, "n_best": 1.0}, ["n_best", "1.0"]),
        ("beam", {"beam_width": 2, "length_penalty_weight": "1"}, ["length_penalty_weight", "'1'"]),
        ("beam", {"beam_width": 2, "max_length": 0}, ["max_length", "0"]),
        ("greedy", {"max_length": -1}, ["max_length", "-1"]),
        ("greedy", {"end_id": 11}, ["end_id", "11"]),
        ("greedy", {"end_id": -1}, ["end_id", "-1"]),
        ("beam", {"beam_width": 2, "end_id": 11}, ["end_id", "11"]),
        ("sample", {"temperature": 0.0}, ["temperature", "0.0"]),
        ("sample", {"top_k": 0}, ["top_k", "0"]),
        ("sample", {"top_p": 0.0}, ["top_p", "0.0"]),
        ("sample", {"top_p": 1.5}, ["top_p", "1.5"]),
    ],
)
def test_errors_name_argument_and_value(search, options, words):
    language = Language(1)
    arguments = {"start_id": START, "end_id": END, "max_length": 3, **options}
    with pytest.raises(ValueError, match=f"`{words[0]}`") as error:
        getattr(ka.search, search)(language.step, language.begin(2), **arguments)
    assert all(word in str(error.value) for word in words)
    assert "expected" in str(error.value)
