"""Attention that reads its own past weights, beyond the layer table."""

import keras
import numpy as np
import pytest

import keras_attention as ka
from comparing import assert_close, numbers, to_numpy
from keras_attention._internal import rnn
from oracles import history

B, T, S, QUERY, VALUE, UNITS = 2, 3, 5, 7, 11, 13

LAYERS = {
    "coverage": lambda **k: ka.CoverageAttention(UNITS, **k),
    "location": lambda **k: ka.LocationSensitiveAttention(UNITS, 3, 4, **k),
    "cumulative": lambda **k: ka.LocationSensitiveAttention(UNITS, 3, 4, cumulative=True, **k),
}
EVERY_LAYER = pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)


def normal(*shape, seed=5):
    return np.random.default_rng(seed + sum(shape)).normal(size=shape).astype("float32")


def attended(layer, query, value, **options):
    """Context and weights, of a layer whose weights are large enough to show."""
    layer(query, value)
    layer.set_weights([0.5 * normal(*w.shape) for w in layer.weights])
    return numbers(layer(query, value, return_attention_scores=True, **options))


# ---- Steps


@pytest.mark.each_value
@EVERY_LAYER
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_steps_equal_the_call(make, dropout):
    layer, query, value = make(dropout=dropout), normal(B, T, QUERY), normal(B, S, VALUE)
    mask = np.array([[1, 1, 1, 0, 0], [1, 0, 1, 1, 1]], bool)
    context, weights = attended(layer, query, value, value_mask=mask)
    memory = layer.prepare(value, value_mask=mask)
    state = layer.initial_state(memory)
    for t in range(T):
        step = layer.step(keras.ops.convert_to_tensor(query[:, t]), memory, state)
        assert_close(numbers(step[:2]), [context[:, t], weights[:, t]])
        state = step[2]
    covered = weights[:, -1] if make is LAYERS["location"] else weights.sum(axis=1)
    np.testing.assert_allclose(to_numpy(state), covered, atol=1e-6)


@EVERY_LAYER
def test_a_masked_query_is_as_if_it_were_not_there(make):
    layer, query, value = make(), normal(1, 4, QUERY), normal(1, S, VALUE)
    mask = np.array([[True, False, False, True]])
    wanted = attended(layer, query[:, [0, 3]], value)
    results = numbers(layer(query, value, query_mask=mask, return_attention_scores=True))
    assert_close([result[:, [0, 3]] for result in results], wanted)
    assert not any(result[:, 1:3].any() for result in results)


@pytest.mark.each_value
@EVERY_LAYER
@pytest.mark.parametrize("decoder_class", [ka.BahdanauDecoder, ka.LuongDecoder])
def test_teacher_forcing_equals_stepping_in_decoders(make, decoder_class):
    decoder = decoder_class(keras.layers.LSTMCell(QUERY), make(), return_attention_scores=True)
    inputs, memory, mask = normal(B, T, 3), normal(B, S, VALUE), np.arange(S) < [[3], [5]]
    decoder(inputs, memory)
    decoder.set_weights([0.5 * normal(*w.shape) for w in decoder.weights])
    outputs, weights = numbers(decoder(inputs, memory, memory_mask=mask))
    state = decoder.begin(memory, mask)
    for t in range(T):
        output, step_weights, state = decoder.step(keras.ops.convert_to_tensor(inputs[:, t]), state)
        assert_close(numbers([output, step_weights]), [outputs[:, t], weights[:, t]])


def test_luong_without_input_feeding_walks_the_steps():
    """The fused cell runs ahead of the attention only where no step needs the one before it."""
    layer = ka.CoverageAttention(UNITS)
    decoder = ka.LuongDecoder(
        keras.layers.GRUCell(QUERY), layer, input_feeding=False, return_attention_scores=True
    )
    inputs, memory = normal(B, T, 3), normal(B, S, VALUE)
    decoder(inputs, memory)
    decoder.set_weights([normal(*w.shape) for w in decoder.weights])
    outputs, weights = numbers(decoder(inputs, memory))
    query = decoder.recurrent_layer(inputs)[0]
    scores = history.coverage(**{w.name: to_numpy(w) for w in layer.weights})
    wanted = history.attend(scores, to_numpy(query), memory, None, np.ones((B, T, S), bool))
    assert_close([outputs, weights], wanted)


# ---- What the past does


@EVERY_LAYER
def test_the_first_step_is_additive_attention(make):
    """Nothing has been seen yet, so what reads the past adds zero."""
    layer, query, value = make(), normal(B, 1, QUERY), normal(B, S, VALUE)
    results = attended(layer, query, value)
    named = {weight.name: weight for weight in layer.weights}
    peer = ka.Attention(ka.scores.Additive(UNITS, normalize=True))
    peer(query, value)
    length = np.linalg.norm(to_numpy(named["score_vector"]))
    for weight in peer.weights:  # g v / |v| is v
        weight.assign(length if weight.name == "gain" else named[weight.name])
    assert_close(results, numbers(peer(query, value, return_attention_scores=True)))


def test_what_is_covered_can_be_left_alone():
    """Over equal elements and queries, a negative w_c v moves on from where the weights were."""
    layer = ka.CoverageAttention(1)
    query = np.zeros((1, 3, 1), "float32")
    value = np.array([[[2.0], [1.0], [0.0]]], "float32")  # the first element is the best
    layer(query, value)
    for weight in layer.weights:
        scale = {"key_kernel": 0.01, "coverage_vector": -0.1, "score_vector": 1000.0}
        weight.assign(np.full(weight.shape, scale.get(weight.name, 0.0)))
    _, weights = layer(query, value, return_attention_scores=True)
    np.testing.assert_allclose(to_numpy(weights)[0], np.eye(3), atol=1e-3)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("name", ["coverage", "cumulative"])
def test_many_small_weights_are_summed_in_float32(name, policy):
    """A loop of 300 steps that look everywhere alike covers each of 100 elements 3 times."""
    layer, value = LAYERS[name](dtype=policy), np.zeros((1, 100, 2), "float32")
    query = keras.ops.zeros((1, 300, 3), dtype=layer.compute_dtype)
    layer(query[:, :1], value)
    layer.set_weights([np.zeros(w.shape) for w in layer.weights])
    memory = layer.prepare(value)

    def step(query, state):
        context, _, state = layer.step(query, memory, state)
        return context, state

    _, state = rnn.scan(step, query, layer.initial_state(memory), dtype=layer.dtype_policy)
    np.testing.assert_allclose(to_numpy(state), 3, rtol=1e-2)


@pytest.mark.each_value
@pytest.mark.parametrize("kernel_size", [1, 2, 3, 4, 7, 9])
@pytest.mark.parametrize("cumulative", [True, False])
def test_filters_reach_no_further_than_the_memory(kernel_size, cumulative):
    """Odd and even, and wider than the memory: equal to the loops, and blind to padding."""
    layer = ka.LocationSensitiveAttention(UNITS, 2, kernel_size, cumulative)
    query, value = normal(B, T, QUERY), normal(B, S, VALUE)
    results = attended(layer, query, value)
    scores = history.location(**{w.name: to_numpy(w) for w in layer.weights}, cumulative=cumulative)
    assert_close(results, history.attend(scores, query, value, None, np.ones((B, T, S), bool)))
    longer = np.concatenate([value, np.full((B, 4, VALUE), 100.0, "float32")], axis=1)
    mask = np.broadcast_to(np.arange(S + 4) < S, (B, S + 4))
    context, weights = layer(query, longer, value_mask=mask, return_attention_scores=True)
    assert_close([to_numpy(context), to_numpy(weights)[..., :S]], results)


@EVERY_LAYER
def test_dropout_drops_weights_that_the_past_counts_all_the_same(make):
    layer, query = make(dropout=0.5, seed=3), normal(B, T, QUERY)
    value = np.broadcast_to(np.eye(S, dtype="float32"), (B, S, S))
    plain, weights = attended(layer, query, value)
    dropped, same = numbers(layer(query, value, training=True, return_attention_scores=True))
    np.testing.assert_allclose(plain, weights, atol=1e-6)
    np.testing.assert_allclose(same, weights, atol=1e-6)
    assert set(np.round(dropped / weights, 3).flatten()) == {0.0, 2.0}


# ---- Errors


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ka.CoverageAttention(0), ["`units`", "0", "at least 1"]),
        (lambda: ka.CoverageAttention(3, dropout=1.0), ["`dropout`", "1.0", "[0, 1)"]),
        (lambda: ka.LocationSensitiveAttention(2.5, 1, 1), ["`units`", "2.5", "integer"]),
        (lambda: ka.LocationSensitiveAttention(3, 0, 1), ["`filters`", "0", "at least 1"]),
        (lambda: ka.LocationSensitiveAttention(3, 1, -3), ["`kernel_size`", "-3", "at least 1"]),
        (
            lambda: ka.CoverageAttention(3)(normal(2, 3, 5, 7), normal(2, 5, 3)),
            ["`query`", "(2, 3, 5, 7)", "(batch, queries, width)"],
        ),
        (
            lambda: ka.LocationSensitiveAttention(3, 1, 1)(normal(2, 3, 5), normal(3, 5, 3)),
            ["`query`", "batch size 2", "`value`", "batch size 3"],
        ),
    ],
)
def test_errors_name_what_came_and_what_is_expected(make, words):
    with pytest.raises(ValueError, match=words[0]) as error:
        make()
    assert all(word in str(error.value) for word in words)


# ---- Learning


def accuracy(layer, query, memory, target):
    """On unseen examples, of symbols told from the contexts; without a layer, from their mean."""
    classes = int(target.max()) + 1
    question, elements = keras.Input(query.shape[1:]), keras.Input(memory.shape[1:])
    if layer is None:
        mean = keras.layers.GlobalAveragePooling1D()(elements)
        found = keras.layers.RepeatVector(query.shape[1])(mean)
        found = keras.layers.Concatenate()([question, found])
        found = keras.layers.Dense(64, activation="relu")(found)
    else:
        found = layer(question, elements)
    model = keras.Model([question, elements], keras.layers.Dense(classes)(found))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    options = {"metrics": ["accuracy"], "jit_compile": True}
    model.compile(keras.optimizers.Adam(0.02), loss, **options)
    model.fit([query[128:], memory[128:]], target[128:], epochs=10, batch_size=64, verbose=0)
    return model.evaluate([query[:128], memory[:128]], target[:128], verbose=0)[1]


def test_coverage_learns_what_was_answered_already():
    """Each key is in the memory twice; asked a second time, the answer is that of the second."""
    keys, answers, shape = 3, 5, (1024, 6)
    random = np.random.default_rng(7)
    twice = np.broadcast_to(np.repeat(np.arange(keys), 2), shape)
    held, asked = random.permuted(twice, axis=1), random.permuted(twice, axis=1)
    values = random.integers(0, answers, size=shape)
    # A stable sort keeps the order of equals, so that the n-th question meets the n-th answer.
    target = np.zeros(shape, "int32")
    by_question, by_key = (np.argsort(x, axis=1, kind="stable") for x in (asked, held))
    np.put_along_axis(target, by_question, np.take_along_axis(values, by_key, 1), axis=1)
    place = np.broadcast_to(np.linspace(0, 1, 6)[:, None], (*shape, 1))
    memory = np.concatenate([np.eye(keys)[held], np.eye(answers)[values], place], axis=-1)
    data = np.eye(keys, dtype="float32")[asked], memory.astype("float32"), target
    assert accuracy(ka.CoverageAttention(16), *data) > 0.97
    assert accuracy(ka.BahdanauAttention(16), *data) < 0.7
    assert accuracy(None, *data) < 0.5


def test_locations_learn_to_move_on():
    """Values by their keys, in order; a key that comes again means its next place, not its last."""
    random, keys, answers, shape = np.random.default_rng(7), 4, 5, (1024, 7)
    held = random.integers(1, keys, size=shape)
    held[:, 0] = 0  # the start, which is there once
    values = random.integers(0, answers, size=shape)
    query = np.eye(keys, dtype="float32")[held]
    memory = np.concatenate([query, np.eye(answers, dtype="float32")[values]], axis=-1)
    data = query, memory, values
    assert accuracy(ka.LocationSensitiveAttention(32, 8, 3), *data) > 0.97
    assert accuracy(ka.BahdanauAttention(32), *data) < 0.8
    assert accuracy(None, *data) < 0.5
