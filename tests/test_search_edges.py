"""Search at its edges: no weights, no end id, wide beams, NaN, other default dtypes."""

import itertools

import keras
import numpy as np
import pytest
from keras import ops

import keras_attention as ka
from comparing import assert_close, to_numpy
from oracles import search as oracle

START, END, WORDS, STEPS = 0, 4, 5, 3
LOGITS = np.random.default_rng(3).normal(size=(WORDS, WORDS)).astype("float32")
LOGS = np.stack([oracle.log_softmax(row) for row in LOGITS.astype("float64")])
STATE = np.zeros((2,), "int32")


def step(tokens, state):
    """A bigram model, which attends to nothing."""
    return ops.take(ops.convert_to_tensor(LOGITS), tokens, axis=0), None, state + 1


def log_prob(tokens):
    return sum(LOGS[a, b] for a, b in itertools.pairwise([START, *tokens]))


def all_sequences(end_id):
    """Every sequence of at most STEPS tokens, best first: its log p and tokens."""
    found = set()
    for tokens in itertools.product(range(WORDS), repeat=STEPS):
        if end_id in tokens:
            tokens = tokens[: tokens.index(end_id) + 1]
        found.add(tokens)
    return sorted(((log_prob(tokens), tokens) for tokens in found), reverse=True)


@pytest.mark.parametrize("end_id", [END, None])
def test_a_beam_wider_than_all_sequences_finds_each_once(end_id):
    expected = all_sequences(end_id)
    width = len(expected) + 7
    found = ka.search.beam(step, STATE, START, end_id, STEPS, width)
    assert found.attention is None
    logs, tokens, lengths = (to_numpy(x)[1] for x in (found.log_probs, found.tokens, found.lengths))
    assert_close([logs[: len(expected)]], [[log for log, _ in expected]])
    rows = {}
    for row, length, log in zip(tokens[: len(expected)].astype(int), lengths, logs, strict=False):
        stop = int(length) + (length < STEPS)  # the end id, too
        assert (row[stop:] == END).all()
        rows[tuple(row[:stop].tolist())] = log
    assert set(rows) == {wanted for _, wanted in expected}
    assert_close([rows[wanted] for _, wanted in expected], [log for log, _ in expected])
    assert (logs[len(expected) :] == -np.inf).all()  # and the others are empty
    assert (tokens[len(expected) :] == (END if end_id else 0)).all()
    assert (lengths[len(expected) :] == 0).all()


@pytest.mark.parametrize("search", [ka.search.greedy, ka.search.sample])
def test_without_an_end_id_all_sequences_have_the_whole_length(search):
    found = search(step, STATE, START, None, 7)
    assert to_numpy(found.lengths).tolist() == [[7], [7]]
    for b in range(2):
        tokens = to_numpy(found.tokens)[b, 0].astype(int)
        assert float(found.log_probs[b, 0]) == pytest.approx(log_prob(tokens), abs=1e-4)
        if search is ka.search.greedy:
            assert tokens.tolist() == [np.argmax(LOGS[a]) for a in [START, *tokens[:-1]]]


def with_nan(tokens, state):
    """NaN at the third step of the first example."""
    logits, weights, next_state = step(tokens, state)
    is_nan = ops.logical_and((state == 2)[:, None], ops.arange(WORDS, dtype="int32") == 2)
    return ops.where(is_nan, float("nan"), logits), weights, next_state


def test_nan_ends_a_sequence_and_shows_in_its_probability():
    state = np.array([0, -9], "int32")
    found = ka.search.greedy(with_nan, state, START, END, 6)
    plain = ka.search.greedy(step, state, START, END, 6)
    tokens = to_numpy(found.tokens)[:, 0]
    assert (tokens[0, 2:] == END).all()
    assert tokens[0, :2].tolist() == to_numpy(plain.tokens)[0, 0, :2].tolist()
    assert np.isnan(to_numpy(found.log_probs)[0, 0])
    assert_close([to_numpy(found.log_probs)[1]], [to_numpy(plain.log_probs)[1]])
    endless = ka.search.greedy(with_nan, state, START, None, 6)
    assert to_numpy(endless.lengths)[:, 0].tolist() == [2, 6]
    found = ka.search.beam(with_nan, state, START, END, 6, beam_width=3)
    plain = ka.search.beam(step, state, START, END, 6, beam_width=3)
    logs = to_numpy(found.log_probs)
    assert_close([logs[1]], [to_numpy(plain.log_probs)[1]])
    # Of the first example only what had ended before is left.
    is_left = ~np.isnan(logs[0])
    assert to_numpy(found.lengths)[0, is_left].max(initial=0) < 2
    assert not is_left.all()


@pytest.mark.parametrize("search", [ka.search.greedy, ka.search.beam])
def test_weights_may_have_any_axes(search):
    """Those of heads, or the sides of a map, come back; the paths are those of flat weights."""
    weights = np.random.default_rng(5).uniform(size=(WORDS, 2, 3)).astype("float32")

    def attending(shape):
        def step_with_weights(tokens, state):
            logits, _, state = step(tokens, state)
            return logits, ops.take(ops.reshape(weights, (WORDS, *shape)), tokens, axis=0), state

        options = {"beam_width": 3} if search is ka.search.beam else {}
        return search(step_with_weights, STATE, START, END, 5, **options)

    found, flat = attending((2, 3)), attending((6,))
    assert to_numpy(found.attention).shape[3:] == (2, 3)
    assert_close(
        [to_numpy(found.attention).reshape(flat.attention.shape), to_numpy(found.tokens)],
        [to_numpy(flat.attention), to_numpy(flat.tokens)],
    )


def test_errors_say_what_the_step_returned():
    with pytest.raises(ValueError, match=r"`coverage_penalty_weight` is 0.5, and `step` returns N"):
        ka.search.beam(step, STATE, START, END, 3, 2, coverage_penalty_weight=0.5)

    def growing(tokens, state):
        return *step(tokens, tokens)[:2], ops.concatenate([state, state], axis=-1)

    with pytest.raises(ValueError, match=r"float32 tensor of shape \(2, 3\), and returns float32"):
        ka.search.greedy(growing, np.zeros((2, 3), "float32"), START, END, 3)


@pytest.fixture(params=["float64", "float16"])
def floatx(request):
    before = keras.config.floatx()
    keras.config.set_floatx(request.param)
    yield request.param
    keras.config.set_floatx(before)


def encoder_decoder():
    layers = keras.layers
    return ka.models.EncoderDecoder(
        keras.Sequential(
            [layers.Embedding(13, 7, mask_zero=True), layers.GRU(5, return_sequences=True)]
        ),
        layers.Embedding(13, 7, mask_zero=True),
        ka.LuongDecoder(layers.LSTMCell(11), ka.LuongAttention()),
        layers.Dense(13),
    )


def transformer():
    layers = keras.layers
    return ka.models.Transformer(
        keras.Sequential(
            [layers.Embedding(13, 6, mask_zero=True), ka.TransformerEncoderBlock(2, 12)]
        ),
        layers.Embedding(13, 6, mask_zero=True),
        [ka.TransformerDecoderBlock(2, 12)],
        layers.Dense(13),
        max_length=7,
    )


@pytest.mark.parametrize("make", [encoder_decoder, transformer])
@pytest.mark.usefixtures("floatx")
def test_searches_run_in_every_default_dtype(make):
    model, source = make(), np.array([[3, 4, 5], [6, 7, 0]])
    state = model.begin(source)
    found = [
        ka.search.greedy(model.step, state, 1, 2, 5),
        ka.search.sample(model.step, state, 1, 2, 5, top_k=7, top_p=0.9, seed=3),
        ka.search.beam(
            *(model.step, state, 1, 2, 5, 3),
            length_penalty_weight=0.6,
            coverage_penalty_weight=0.2,
        ),
    ]
    for result in found:
        assert np.isfinite(to_numpy(result.scores)).all()
        assert keras.backend.standardize_dtype(result.log_probs.dtype) == "float32"
    one = ka.search.beam(model.step, state, 1, 2, 5, 1)
    assert to_numpy(one.tokens).tolist() == to_numpy(found[0].tokens).tolist()


def test_a_method_may_share_state():
    class Model:
        def step(self, tokens, state):
            memory, count = state
            return *step(tokens, count)[:2], (memory, count + 1)

    state = (np.ones((2, 3), "float32"), STATE)
    shared = ka.search.shares_state(lambda state: state[0])(Model().step)
    found = ka.search.beam(shared, state, START, END, 5, 3)
    plain = ka.search.beam(step, STATE, START, END, 5, 3)
    assert_close([to_numpy(found.tokens)], [to_numpy(plain.tokens)])
    with pytest.raises(
        ValueError, match=r"`parts` is .*, used as a step; expected a function of a"
    ):
        ka.search.greedy(ka.search.shares_state(step), STATE, START, END, 5)


def test_a_beam_that_dies_of_nan_leaves_the_others_their_scores():
    """NaN in logits and weights, with the penalty of coverage, as without NaN in the weights."""
    weights = np.abs(LOGITS) / np.abs(LOGITS).sum(-1, keepdims=True)

    def dying(nan_weights):
        def step_with_nan(tokens, state):
            logits, _, state = step(tokens, state)
            is_bad = (tokens == 3)[:, None]
            attention = ops.take(ops.convert_to_tensor(weights), tokens, axis=0)
            bad_attention = ops.where(is_bad, float("nan"), attention)
            logits = ops.where(is_bad, float("nan"), logits)
            return logits, bad_attention if nan_weights else attention, state

        options = {"coverage_penalty_weight": 0.3, "length_penalty_weight": 0.6}
        return ka.search.beam(step_with_nan, STATE, START, END, 5, 4, **options)

    found, wanted = dying(True), dying(False)
    assert_close(
        [to_numpy(found.tokens), to_numpy(found.scores)],
        [to_numpy(wanted.tokens), to_numpy(wanted.scores)],
    )
    assert np.isfinite(to_numpy(found.scores)).any()
