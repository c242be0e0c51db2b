"""Scores of given sequences, ensembles, and steps over outputs that are numbers."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

import keras_attention as ka
from comparing import assert_close, to_numpy
from oracles import search as oracle

START, END, WORDS, MEMORY = 1, 2, 11, 7


def translator(seed, decoder=None):
    keras.utils.set_random_seed(seed)
    layers = keras.layers
    if decoder is None:
        decoder = ka.BahdanauDecoder(layers.GRUCell(5), ka.BahdanauAttention(5))
    model = ka.models.EncoderDecoder(
        layers.Embedding(WORDS, 5, mask_zero=True, embeddings_initializer="normal"),
        layers.Embedding(WORDS, 5, mask_zero=True, embeddings_initializer="normal"),
        decoder,
        layers.Dense(WORDS, kernel_initializer="normal"),
    )
    model((SOURCE, np.full((4, 1), START)))
    model.set_weights([3 * w for w in model.get_weights()])
    return model


SOURCE = np.random.default_rng(1).integers(3, WORDS, size=(4, MEMORY))
SOURCE[1, 4:] = 0
TARGETS = np.random.default_rng(2).integers(3, WORDS, size=(4, 6))
TARGETS[0, 3:] = [END, 0, 0]
TARGETS[2, 0:] = [END, 5, 7, 5, 3, END]  # nothing counts after the first end
TARGETS[3, 5] = END


def lengths_with_end():
    return [4, 6, 1, 6]


# ---- Scores


def test_scores_equal_the_loss_of_teacher_forcing():
    model = translator(1)
    found = ka.search.score(model.step, model.begin(SOURCE), TARGETS, START, END)
    read = np.concatenate([np.full((4, 1), START), TARGETS[:, :-1]], axis=1)
    logits = to_numpy(model((SOURCE, read)))
    losses = [
        -sum(oracle.log_softmax(logits[b, t])[TARGETS[b, t]] for t in range(length))
        for b, length in enumerate(lengths_with_end())
    ]
    assert_close([found.log_probs[:, 0]], [-np.array(losses)], 1e-5)
    assert to_numpy(found.lengths, "int32")[:, 0].tolist() == [3, 6, 0, 5]
    attention = to_numpy(found.attention)
    assert attention.shape == (4, 1, 6, MEMORY)
    for b, length in enumerate(lengths_with_end()):
        np.testing.assert_allclose(attention[b, 0, :length].sum(-1), 1, atol=1e-5)
        assert (attention[b, 0, length:] == 0).all()


@pytest.mark.parametrize("decode", [ka.search.greedy, ka.search.beam, ka.search.sample])
def test_scores_of_what_a_search_found_are_its_own(decode):
    model, options = translator(2), {"beam_width": 3} if decode is ka.search.beam else {}
    found = decode(model.step, model.begin(SOURCE), START, END, 6, **options)
    again = ka.search.score(model.step, model.begin(SOURCE), found.tokens[:, 0], START, END)
    for one, other in zip(found, again, strict=True):
        assert_close([one[:, :1]], [other], 1e-5)


def test_what_follows_the_end_may_be_no_token():
    model, padded = translator(3), np.where(np.cumsum(TARGETS == END, axis=1) > 1, WORDS, TARGETS)
    padded[0, 4:] = -100
    scored = [
        ka.search.score(model.step, model.begin(SOURCE), tokens, START, END)
        for tokens in (TARGETS, padded)
    ]
    assert_close([scored[0].log_probs], [scored[1].log_probs])


def test_scores_without_an_end_id_are_of_all_tokens():
    model = translator(3)
    whole = ka.search.score(model.step, model.begin(SOURCE), TARGETS, START, None)
    assert to_numpy(whole.lengths, "int32")[:, 0].tolist() == [6] * 4
    ended = ka.search.score(model.step, model.begin(SOURCE), TARGETS, START, END)
    assert (to_numpy(whole.log_probs) <= to_numpy(ended.log_probs) + 1e-6).all()


def test_scores_in_a_graph():
    model = translator(4)
    graph = tf.function(
        lambda source, tokens: (
            ka.search.score(model.step, model.begin(source), tokens, START, END).log_probs
        ),
        input_signature=[tf.TensorSpec([None, None], "int32"), tf.TensorSpec([None, 6], "int32")],
    )
    eager = ka.search.score(model.step, model.begin(SOURCE), TARGETS, START, END)
    assert_close([graph(SOURCE, TARGETS)], [eager.log_probs])


# ---- Ensembles


def test_an_ensemble_of_one_is_the_model():
    model, options = translator(5), (START, END, 6, 3, 0.7, 0.2)
    alone = ka.search.beam(model.step, model.begin(SOURCE), *options)
    one = ka.search.beam(ka.search.ensemble([model.step]), [model.begin(SOURCE)], *options)
    for a, b in zip(alone, one, strict=True):
        assert_close([a], [b], 1e-5)


def test_an_ensemble_averages_probabilities_and_weights():
    models = [translator(seed) for seed in (6, 7, 8)]
    step = ka.search.ensemble([model.step for model in models])
    tokens, states = np.array([3, 4, 5, 6]), [model.begin(SOURCE) for model in models]
    logits, weights, _ = step(tokens, states)
    each = [model.step(tokens, model.begin(SOURCE)) for model in models]
    p = [np.exp([oracle.log_softmax(row) for row in to_numpy(x)]) for x, *_ in each]
    assert_close([ops.exp(logits)], [np.mean(p, axis=0)])
    assert_close([weights], [np.mean([to_numpy(w) for _, w, _ in each], axis=0)])


def test_the_beams_of_an_ensemble_share_what_its_models_share():
    model, seen = translator(9), []

    @ka.search.shares_state(model.step)
    def spy(tokens, state):
        seen.append(max(len(leaf) for leaf in keras.tree.flatten(state) if len(leaf.shape) > 2))
        return model.step(tokens, state)

    step = ka.search.ensemble([spy, model.step])
    states = [model.begin(SOURCE), model.begin(SOURCE)]
    ka.search.beam(step, states, START, END, 5, 3)
    assert set(seen) == {4}


def test_members_of_an_ensemble_without_weights_leave_it_without():
    def blind(tokens, state):
        return ops.zeros((ops.shape(tokens)[0], WORDS)), None, state

    model = translator(10)
    step = ka.search.ensemble([model.step, blind])
    found = ka.search.greedy(step, [model.begin(SOURCE), np.zeros((4, 1))], START, END, 5)
    assert found.attention is None


# ---- Numbers

WIDTH = 3
RECURRENT = np.random.default_rng(3).normal(size=(WIDTH, WIDTH)).astype("float32")
MATRIX = np.random.default_rng(4).normal(size=(WIDTH, WIDTH)).astype("float32")


def forecast_step(inputs, state):
    hidden = ops.tanh(inputs @ MATRIX + state["hidden"] @ RECURRENT)
    weights = ops.softmax(hidden @ ops.transpose(state["memory"][0]), axis=-1)
    return hidden + 0.5 * inputs, weights, {**state, "hidden": hidden}


def forecast_state(batch):
    random = np.random.default_rng(6)
    hidden = random.normal(size=(batch, WIDTH)).astype("float32")
    return {"hidden": hidden, "memory": random.normal(size=(batch, 5, WIDTH)).astype("float32")}


def forecast_oracle(first, state, steps):
    x, hidden, found = first.astype(float), state["hidden"].astype(float), []
    for _ in range(steps):
        hidden = np.tanh(x @ MATRIX + hidden @ RECURRENT)
        x = hidden + 0.5 * x
        found.append(x)
    return np.stack(found, axis=1)


FIRST = np.random.default_rng(5).normal(size=(4, WIDTH)).astype("float32")


@pytest.mark.parametrize("steps", [1, 2, 9])
def test_unrolled_steps_equal_the_oracle(steps):
    found = ka.search.unroll(forecast_step, forecast_state(4), FIRST, steps)
    assert_close([found.outputs], [forecast_oracle(FIRST, forecast_state(4), steps)])
    assert found.attention.shape == (4, steps, 5)
    np.testing.assert_allclose(to_numpy(found.attention).sum(-1), 1, atol=1e-5)
    assert to_numpy(found.lengths, "int32").tolist() == [steps] * 4
    assert_close([found.state["memory"]], [forecast_state(4)["memory"]])


def test_unrolling_a_decoder_equals_its_own():
    keras.utils.set_random_seed(11)
    decoder = ka.BahdanauDecoder(keras.layers.GRUCell(WIDTH), ka.BahdanauAttention(5))
    memory = np.random.default_rng(12).normal(size=(4, 5, 6)).astype("float32")
    own = decoder.unroll(memory, FIRST, 7)
    found = ka.search.unroll(decoder.step, decoder.begin(memory), FIRST, 7)
    assert_close([found.outputs, found.attention], [own.outputs, own.attention], 1e-5)


def test_frames_after_the_stop_are_zero():
    expected = forecast_oracle(FIRST, forecast_state(4), 9)
    bound = np.median(expected[:, 3:6, 0])
    found = ka.search.unroll(
        forecast_step, forecast_state(4), FIRST, 9, stop=lambda frames: frames[:, :, 0] > bound
    )
    for b, length in enumerate(to_numpy(found.lengths, "int32")):
        above = np.flatnonzero(expected[b, :, 0] > bound)
        assert length == (above[0] + 1 if len(above) else 9)
        assert_close([found.outputs[b, :length]], [expected[b, :length]])
        assert (to_numpy(found.outputs)[b, length:] == 0).all()
        assert (to_numpy(found.attention)[b, length:] == 0).all()


@pytest.mark.parametrize("jit_compile", [False, True])
def test_gradients_flow_through_unrolled_steps_in_a_graph(jit_compile):
    @tf.function(jit_compile=jit_compile)
    def gradient(first):
        with tf.GradientTape() as tape:
            tape.watch(first)
            found = ka.search.unroll(forecast_step, forecast_state(4), first, 5)
            loss = tf.reduce_sum(found.outputs[:, -1] ** 2)
        return tape.gradient(loss, first)

    def loss(first):
        return (forecast_oracle(first, forecast_state(4), 5)[:, -1] ** 2).sum()

    found, first = to_numpy(gradient(tf.constant(FIRST))), FIRST.astype(float)
    for i in np.ndindex(2, WIDTH):
        nudge = np.zeros_like(first)
        nudge[i] = 1e-5
        slope = (loss(first + nudge) - loss(first - nudge)) / 2e-5
        assert found[i] == pytest.approx(slope, rel=1e-3, abs=1e-4)


def test_a_step_goes_on_from_the_state_after_the_last_one():
    """Also where the state counts, and where a policy is of another precision."""
    keras.utils.set_random_seed(13)
    block = ka.TransformerDecoderBlock(num_heads=1, intermediate_dim=8)
    memory = np.random.default_rng(14).normal(size=(4, 5, WIDTH)).astype("float32")
    block(FIRST[:, None], memory)
    state = block.begin(memory, max_length=6)
    whole = ka.search.unroll(block.step, state, FIRST, 6)
    keras.config.set_dtype_policy("mixed_float16")
    some = ka.search.unroll(block.step, state, FIRST, 4)
    rest = ka.search.unroll(block.step, some.state, some.outputs[:, -1], 2)
    both = np.concatenate([some.outputs, rest.outputs], axis=1)
    assert_close([both], [whole.outputs], 1e-6)


def test_a_step_without_weights_is_unrolled_without_attention():
    def blind(inputs, state):
        output, _, state = forecast_step(inputs, state)
        return output, None, state

    found = ka.search.unroll(
        blind, forecast_state(4), FIRST, 4, stop=lambda frames: frames[:, :, 0] > 1e9
    )
    assert found.attention is None
    assert_close([found.outputs], [forecast_oracle(FIRST, forecast_state(4), 4)])


def test_unrolled_blocks_of_the_transformer_equal_their_call():
    keras.utils.set_random_seed(13)
    block = ka.TransformerDecoderBlock(num_heads=1, intermediate_dim=8)
    memory = np.random.default_rng(14).normal(size=(4, 5, WIDTH)).astype("float32")
    block(FIRST[:, None], memory)
    found = ka.search.unroll(block.step, block.begin(memory, max_length=6), FIRST, 6)
    read = np.concatenate([FIRST[:, None], to_numpy(found.outputs)[:, :-1]], axis=1)
    assert_close([found.outputs], [block(read.astype("float32"), memory)], 1e-5)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ka.search.ensemble([]), ["`steps`", "empty"]),
        (lambda: _unequal_ensemble(), ["`steps`", "logits", "11", "12"]),
        (lambda: _score(np.ones(3, int)), ["`tokens`", "(3,)"]),
        (lambda: _score(np.ones((4, 0), int)), ["`tokens.shape[1]`", "0"]),
        (lambda: _score([[3, WORDS]] * 4), ["`tokens`", str(WORDS)]),
        (lambda: _score([[3, -1]] * 4), ["`tokens`", "-1"]),
        (lambda: _ensemble_with_one_state(), ["`state`", "1", "2"]),
        (lambda: _unroll(FIRST[:, :2]), ["`first`", "(4, 2)", "(4, 3)"]),
        (lambda: _unroll(FIRST[0]), ["`first`", "(3,)"]),
        (lambda: _unroll(FIRST, steps=0), ["`steps`", "0"]),
        (lambda: _unroll(FIRST, stop=lambda frames: frames), ["`stop`", "float32"]),
    ],
)
def test_errors_name_argument_and_value(make, words):
    with pytest.raises(ValueError, match="expected") as error:
        make()
    assert all(word in str(error.value) for word in words), error.value


def _unequal_ensemble():
    def of_width(width):
        return lambda tokens, state: (ops.zeros((ops.shape(tokens)[0], width)), None, state)

    step = ka.search.ensemble([of_width(11), of_width(12)])
    return ka.search.greedy(step, [np.zeros((2, 1))] * 2, START, END, 3)


def _ensemble_with_one_state():
    def blind(tokens, state):
        return ops.zeros((ops.shape(tokens)[0], WORDS)), None, state

    return ka.search.greedy(ka.search.ensemble([blind] * 2), [np.zeros((2, 1))], START, END, 3)


def _score(tokens):
    model = translator(15)
    return ka.search.score(model.step, model.begin(SOURCE), tokens, START, END)


def _unroll(first, steps=3, stop=None):
    def step(inputs, state):
        return ops.zeros((ops.shape(inputs)[0], WIDTH)), None, state

    return ka.search.unroll(step, np.zeros((4, 1), "float32"), first, steps, stop)
