"""Logits processors against their definitions; what searches make of them."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from keras import ops

import keras_attention as ka
from comparing import to_numpy
from keras_attention.search import SearchResult
from oracles import processors as definition
from oracles import search as oracle
from processor_cases import MAKE, VOCABULARY, cases, expected

START, END = 1, 2
EVERY = pytest.mark.parametrize("name", MAKE)


def wrap(processor, jit_compile):
    """A graph of any number of rows and steps, but of known width."""
    specs = [
        tf.TensorSpec([None, VOCABULARY]),
        tf.TensorSpec([None, 9], "int32"),
        tf.TensorSpec([], "int32"),
    ]
    return tf.function(processor, input_signature=specs, jit_compile=jit_compile)


@EVERY
def test_ten_thousand_rows_equal_the_oracle(name):
    for processor, of_row, *case in cases(name, 400):
        found = to_numpy(processor(*map(ops.convert_to_tensor, case)), "float32")
        np.testing.assert_allclose(found, expected(of_row, *case), rtol=1e-6)


@EVERY
@pytest.mark.each_value
@pytest.mark.parametrize("jit_compile", [False, True])
def test_graphs_equal_the_oracle(name, jit_compile):
    for processor, of_row, *case in cases(name, 12):
        found = to_numpy(wrap(processor, jit_compile)(*case), "float32")
        np.testing.assert_allclose(found, expected(of_row, *case), rtol=1e-6)


# ---- In searches

WORDS, STEPS, MEMORY = 4, 4, 3
BATCH = 2
_random = np.random.default_rng(5)
LOGITS = _random.normal(size=(WORDS, WORDS)).astype("float32")
WEIGHTS = _random.dirichlet([1.0] * MEMORY, size=WORDS).astype("float32")
STATE = np.zeros((BATCH, 1), "float32")
PREFIXES = np.array([[3, 0], [0, 3]])
PROCESSORS = {
    "min": ka.processors.MinLength(2, END),
    "suppress": ka.processors.SuppressTokens([1]),
    "prefix": ka.processors.ForcedPrefix(PREFIXES, [1, 2]),
    "ngram": ka.processors.NoRepeatNGram(2),
    "repetition": ka.processors.RepetitionPenalty(1.3),
    "bad": ka.processors.BadWords([[3, 3], [0, 1, 0]]),
}
SUBSETS = [s for size in range(7) for s in itertools.combinations(PROCESSORS, size)]


def step(tokens, state):
    """A bigram model with weights by the last token."""
    logits = ops.take(ops.convert_to_tensor(LOGITS), tokens, axis=0)
    return logits, ops.take(ops.convert_to_tensor(WEIGHTS), tokens, axis=0), state + 1


def every_sequence(b, names, length_weight, coverage_weight):
    """Score, log p and tokens of all sequences of entry b that the processors allow, best first."""
    rules = {
        "min": lambda x, said: definition.min_length(x, said, 2, END),
        "suppress": lambda x, said: definition.suppress_tokens(x, said, [1]),
        "prefix": lambda x, said: definition.forced_prefix(x, said, PREFIXES[b, : b + 1].tolist()),
        "ngram": lambda x, said: definition.no_repeat_ngram(x, said, 2),
        "repetition": lambda x, said: definition.repetition_penalty(x, said, 1.3),
        "bad": lambda x, said: definition.bad_words(x, said, [[3, 3], [0, 1, 0]]),
    }
    found = []

    def extend(said, log_prob):
        if said and (said[-1] == END or len(said) == STEPS):
            read = [START, *said[:-1]]
            ended_before = said[-1] == END and len(said) < STEPS
            length = len(said) - (said[-1] == END and len(said) == STEPS)
            score = log_prob / oracle.length_penalty(length, length_weight)
            if ended_before:
                score += coverage_weight * oracle.coverage_penalty(WEIGHTS[read])
            found.append((score, log_prob, said))
            return
        logits = oracle.log_softmax(LOGITS[said[-1] if said else START].astype(float))
        for name in names:
            logits = rules[name](logits, list(said))
        for word, x in enumerate(logits):
            if x > -np.inf:
                extend((*said, word), log_prob + x)

    extend((), 0.0)
    return sorted(found, reverse=True)


@pytest.mark.each_value
@pytest.mark.parametrize(("length_weight", "coverage_weight"), [(0, 0), (0.7, 0), (-0.5, 0.4)])
@pytest.mark.parametrize("names", SUBSETS, ids="-".join)
def test_a_wide_beam_is_a_search_over_all_sequences(names, length_weight, coverage_weight):
    processors = [PROCESSORS[name] for name in names]
    options = {"length_penalty_weight": length_weight, "coverage_penalty_weight": coverage_weight}
    found = ka.search.beam(
        step, STATE, START, END, STEPS, WORDS**STEPS, processors=processors, **options
    )
    for b in range(BATCH):
        wanted = every_sequence(b, names, length_weight, coverage_weight)
        assert_sequences(found, b, wanted)
        assert (to_numpy(found.log_probs)[b, len(wanted) :] == -np.inf).all()


def assert_sequences(found: SearchResult, b, wanted):
    """The first results of entry b are these sequences, in any order where the scores are equal."""
    count = len(wanted)
    scores, logs = to_numpy(found.scores)[b, :count], to_numpy(found.log_probs)[b, :count]
    np.testing.assert_allclose(scores, [score for score, *_ in wanted], atol=1e-5)
    rows = {}
    for tokens, log in zip(to_numpy(found.tokens, "int32")[b, :count].tolist(), logs, strict=True):
        stop = tokens.index(END) + 1 if END in tokens else STEPS
        assert set(tokens[stop:]) <= {END}
        rows[tuple(tokens[:stop])] = log
    assert set(rows) == {tokens for *_, tokens in wanted}, "each once"
    np.testing.assert_allclose(
        [rows[t] for *_, t in wanted], [log for _, log, _ in wanted], atol=1e-5
    )


@pytest.mark.each_value
@pytest.mark.parametrize("width", [3, 8])
@pytest.mark.parametrize("length_weight", [0.0, 0.7, -0.5])
def test_the_best_are_those_of_a_search_that_does_not_end_early(width, length_weight):
    processors = [PROCESSORS["min"], PROCESSORS["repetition"]]
    options = (STATE, START, END, 9, width, length_weight)
    every = ka.search.beam(step, *options, processors=processors)
    for n_best in (1, 2):
        best = ka.search.beam(step, *options, n_best=n_best, processors=processors)
        for one, other in zip(best[:4], every[:4], strict=True):
            np.testing.assert_array_equal(to_numpy(one), to_numpy(other)[:, :n_best])


def test_a_search_ends_when_nothing_can_change_the_best():
    """The start ends with 0.9, other words hardly ever: only the best sequence is known at once."""
    table = np.log([[0.4, 0.1, 0.01, 0.49]] * WORDS).astype("float32")
    table[START] = np.log([0.05, 0.02, 0.9, 0.03])
    times = []

    def counted(tokens, state):
        times.append(1)
        return ops.take(ops.convert_to_tensor(table), tokens, axis=0), None, state

    steps = {}
    for n_best in (1, 4):
        times.clear()
        ka.search.beam(counted, STATE, START, END, 50, 4, n_best=n_best)
        steps[n_best] = len(times)
    assert steps == {1: 2, 4: 50}


@pytest.mark.parametrize("search", ["greedy", "sample", "beam"])
def test_where_all_is_forbidden_a_sequence_ends_without_probability(search):
    options = {"beam_width": 3} if search == "beam" else {}
    after = ka.processors.SuppressTokens(range(WORDS))

    def forbid(logits, tokens, time):
        first = ops.reshape(tokens[:, :1] == 3, (-1, 1))
        return ops.where(ops.logical_and(first, time > 0), after(logits, tokens, time), logits)

    start = ka.processors.ForcedPrefix([[3], [0]])
    found = getattr(ka.search, search)(
        step, STATE, START, END, STEPS, processors=[start, forbid], **options
    )
    logs = to_numpy(found.log_probs)
    assert (logs[0] == -np.inf).all()
    assert np.isfinite(logs[1, 0])
    assert np.isfinite(to_numpy(found.attention)).all()
    assert to_numpy(found.lengths)[0].max() <= 1


SEARCHES = {"greedy": {}, "sample": {}, "beam": {"beam_width": 3}}
SEARCHES |= {"diverse_beam": {"beam_width": 4, "groups": 2}}


@pytest.mark.parametrize("search", SEARCHES)
def test_nan_and_forbidden_ends(search):
    """NaN stays NaN; a beam without a continuation does not become it."""

    def nan(tokens, state):
        return np.nan * step(tokens, state)[0], None, state

    function, options = getattr(ka.search, search), SEARCHES[search]
    processors = [PROCESSORS["min"]]
    found = function(nan, STATE, START, END, STEPS, processors=processors, **options)
    assert np.isnan(to_numpy(found.log_probs)).all()
    only = [lambda logits, *_: ops.where(ops.arange(WORDS) == 3, logits, -np.inf)]
    found = function(step, STATE, START, None, STEPS, processors=only, **options)
    logs = to_numpy(found.log_probs)
    assert not np.isnan(logs).any()
    assert np.isfinite(logs[:, 0]).all()


@pytest.mark.parametrize("search", SEARCHES)
def test_an_empty_batch(search):
    found = getattr(ka.search, search)(
        step,
        STATE[:0],
        START,
        END,
        STEPS,
        processors=list(PROCESSORS.values())[:2],
        **SEARCHES[search],
    )
    assert found.tokens.shape[0] == 0


def test_a_processor_may_return_another_precision():
    half = [lambda logits, *_: ops.cast(logits, "float16")]
    found = ka.search.greedy(step, STATE, START, END, STEPS, processors=half)
    plain = ka.search.greedy(step, STATE, START, END, STEPS)
    np.testing.assert_allclose(to_numpy(found.log_probs), to_numpy(plain.log_probs), atol=0.02)


def test_a_prefix_for_all_entries_ends_with_its_tokens():
    prefix = ka.processors.ForcedPrefix([[3, 0]], 7)
    found = ka.search.greedy(step, STATE, START, END, STEPS, processors=[prefix])
    free = ka.search.greedy(step, STATE, 0, END, STEPS - 2)
    tokens = to_numpy(found.tokens, "int32")[:, 0]
    assert (tokens[:, :2] == [3, 0]).all()
    np.testing.assert_array_equal(tokens[:, 2:], to_numpy(free.tokens)[:, 0])


@pytest.mark.parametrize("search", ["greedy", "sample", "beam"])
def test_searches_with_processors_are_the_same_in_a_graph(search):
    options = {"beam_width": 3, "length_penalty_weight": 0.7} if search == "beam" else {}
    options |= {"seed": 3} if search == "sample" else {}
    processors = [PROCESSORS[name] for name in PROCESSORS if name != "prefix"]

    def decode(state):
        function = getattr(ka.search, search)
        return function(step, state, START, END, STEPS, processors=processors, **options)

    graph = tf.function(decode, input_signature=[tf.TensorSpec([None, 1])])
    compiled = tf.function(decode, jit_compile=True)
    eager = decode(tf.constant(STATE))
    for other in (graph(STATE), *([compiled(STATE)] if search != "sample" else [])):
        for one, two in zip(eager, other, strict=True):
            np.testing.assert_allclose(to_numpy(one), to_numpy(two), atol=1e-5)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ka.processors.MinLength(-1, END), ["`length`", "-1"]),
        (lambda: ka.processors.MinLength(1, 2.5), ["`end_id`", "2.5"]),
        (lambda: ka.processors.SuppressTokens([1, "a"]), ["`ids`", "'a'"]),
        (lambda: ka.processors.NoRepeatNGram(0), ["`n`", "0"]),
        (lambda: ka.processors.RepetitionPenalty(0.5), ["`penalty`", "0.5", "at least 1"]),
        (lambda: ka.processors.RepetitionPenalty(np.inf), ["`penalty`", "inf"]),
        (lambda: ka.processors.BadWords([[1], []]), ["`sequences`", "empty"]),
        (lambda: ka.processors.ForcedPrefix([1, 2]), ["`tokens`", "(2,)"]),
        (lambda: ka.processors.ForcedPrefix([[1], [2]], [1, 1, 1]), ["`lengths`", "(3,)", "2"]),
        (lambda: _search([ka.processors.ForcedPrefix([[0, WORDS]])]), ["`tokens`", str(WORDS)]),
        (lambda: _search([ka.processors.SuppressTokens([WORDS])]), ["`ids`", str(WORDS)]),
        (lambda: _search([ka.processors.MinLength(1, WORDS)]), ["`end_id`", str(WORDS)]),
        (lambda: _search([ka.processors.ForcedPrefix([[0]] * 3)]), ["`tokens`", "3", "2"]),
        (lambda: _beam_of_four([ka.processors.ForcedPrefix([[0], [3]])]), ["`tokens`", "2", "4"]),
        (lambda: _search([lambda logits, tokens, time: None]), ["`processors`", "None"]),
        (lambda: _search([lambda logits, *_: logits[:, :2]]), ["`processors`", "(2, 2)"]),
        (lambda: _search(PROCESSORS["min"]), ["`processors`", "MinLength"]),
        (lambda: _search([3]), ["`processors`", "3"]),
    ],
)
def test_errors_name_argument_and_value(make, words):
    with pytest.raises(ValueError, match="expected") as error:
        make()
    assert all(word in str(error.value) for word in words), error.value


def _beam_of_four(processors):
    return ka.search.beam(step, np.zeros((4, 1)), START, END, STEPS, 2, processors=processors)


def _search(processors):
    return ka.search.greedy(step, STATE, START, END, STEPS, processors=processors)
