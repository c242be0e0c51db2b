"""The additive score in loops: numbers, gradients and memory are those of the equation."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_attention as ka
from comparing import assert_close, largest_tensor, numbers, to_numpy
from keras_attention._ops import additive_scores as module
from keras_attention._ops.additive_scores import (
    additive_scores,
    dense_scores,
    looped_scores,
    num_activations,
)

B, T, S, U = 2, 5, 7, 11
MODES = {"eager": None, "graph": False, "xla": True}
EVERY_MODE = pytest.mark.parametrize("mode", MODES)
UNKNOWN = [tf.TensorShape((None, None, U)), tf.TensorShape((None, None, U)), tf.TensorShape((U,))]


def arrays(steps=T, memory=S, batch=B, dtype="float64"):
    random = np.random.default_rng(3)
    shapes = (batch, steps, U), (batch, memory, U), (U,), (batch, steps, memory)
    return [random.normal(size=shape).astype(dtype) for shape in shapes]


def with_gradients(scores):
    """The function of query, keys, vector and upstream that returns scores and gradients."""

    def run(query, keys, vector, upstream):
        with tf.GradientTape() as tape:
            tape.watch([query, keys, vector])
            value = scores(query, keys, vector)
        return value, *tape.gradient(value, [query, keys, vector], upstream)

    return run


def run(scores, tensors, mode="eager", shapes=None):
    function = with_gradients(scores)
    tensors = [tf.constant(x) for x in tensors]
    if mode != "eager":
        shapes = shapes or [x.shape for x in tensors]
        signature = [
            tf.TensorSpec(shape, x.dtype) for shape, x in zip(shapes, tensors, strict=True)
        ]
        function = tf.function(function, input_signature=signature, jit_compile=MODES[mode])
    results = function(*tensors)
    assert {result.dtype for result in results} == {tensors[0].dtype}
    return numbers(results)


def by_hand(query, keys, vector, upstream):
    """Scores and gradients, pair by pair."""
    scores = np.zeros_like(upstream)
    d_query, d_keys, d_vector = map(np.zeros_like, (query, keys, vector))
    for b, t, s in np.ndindex(*upstream.shape):
        hidden = np.tanh(query[b, t] + keys[b, s])
        scores[b, t, s] = vector @ hidden
        d_tanh = upstream[b, t, s] * vector * (1 - hidden**2)
        d_query[b, t] += d_tanh
        d_keys[b, s] += d_tanh
        d_vector += upstream[b, t, s] * hidden
    return [scores, d_query, d_keys, d_vector]


@EVERY_MODE
@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
@pytest.mark.parametrize(("dtype", "atol"), [("float64", 1e-10), ("float32", 1e-5)])
@pytest.mark.parametrize("scores", [dense_scores, looped_scores, additive_scores])
def test_numbers_and_gradients_are_those_of_the_equation(scores, dtype, atol, known, mode):
    given = arrays()
    shapes = None if known else [*UNKNOWN, (None, None, None)]
    results = run(scores, [x.astype(dtype) for x in given], mode, shapes)
    assert_close(results, by_hand(*given), atol)


@EVERY_MODE
@pytest.mark.parametrize("steps", [None, 1], ids=["unknown", "known"])
def test_a_single_query(steps, mode):
    given = arrays(steps=1)
    shapes = [(None, steps, U), *UNKNOWN[1:], (None, steps, None)]
    assert_close(run(additive_scores, given, mode, shapes), by_hand(*given), 1e-10)


@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_second_gradients_are_those_of_the_equation(mode):
    """As for a penalty on gradients. XLA cannot, as the number of iterations is unknown."""

    def second(scores):
        def run(*tensors):
            with tf.GradientTape() as tape:
                tape.watch(tensors)
                loss = sum(tf.reduce_sum(x**2) for x in with_gradients(scores)(*tensors))
            return tape.gradient(loss, tensors)

        return run if mode == "eager" else tf.function(run)

    tensors = [tf.constant(x) for x in arrays()]
    wanted = numbers(second(dense_scores)(*tensors))
    assert_close(numbers(second(looped_scores)(*tensors)), wanted, 1e-10)


@EVERY_MODE
@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
def test_large_scores_are_looped_and_small_ones_dense(known, mode, monkeypatch):
    """Both give the same numbers, so each adds a number of its own here."""
    shapes = None if known else [*UNKNOWN, (None, None, None)]
    monkeypatch.setattr(module, "dense_scores", lambda *tensors: dense_scores(*tensors) + 100)
    monkeypatch.setattr(module, "looped_scores", lambda *tensors: looped_scores(*tensors) + 200)
    given = arrays()
    expected, *_ = by_hand(*given)
    for limit, added in ((B * T * S * U, 100), (B * T * S * U - 1, 200)):
        monkeypatch.setattr(module, "MAX_DENSE_SIZE", limit)
        scores, *_ = run(additive_scores, given, mode, shapes)
        assert_close([scores], [expected + added], 1e-10)


def test_the_size_of_unknown_shapes_does_not_overflow():
    size = tf.function(num_activations, input_signature=[tf.TensorSpec((None, None, None))] * 2)
    assert float(size(np.ones((1, 2**16, 2)), np.ones((1, 2**16, 2)))) == 2**33


@EVERY_MODE
@pytest.mark.parametrize(
    ("policy", "atol"),
    [("float32", 1e-5), ("mixed_float16", 2e-2), ("mixed_bfloat16", 1e-1), ("float64", 1e-10)],
)
def test_a_layer_returns_the_same_dense_and_looped(policy, atol, mode, monkeypatch):
    """Context, weights and the gradients of inputs and weights, with masks."""
    keras.utils.set_random_seed(5)
    layer = ka.BahdanauAttention(U, normalize=True, dtype=policy)
    query, value, *_ = arrays(dtype="float64" if policy == "float64" else "float32")
    mask = np.arange(S) < [[S], [3]]
    layer(query, value)

    def results():
        def step(query, value):
            with tf.GradientTape() as tape:
                tape.watch([query, value])
                context, weights = layer(
                    query, value, value_mask=mask, return_attention_scores=True
                )
                loss = tf.reduce_sum(context**2)
            points = [query, value, *(weight.value for weight in layer.trainable_variables)]
            return context, weights, *tape.gradient(loss, points)

        if mode != "eager":
            step = tf.function(step, jit_compile=MODES[mode])
        return [
            to_numpy(tf.cast(x, "float64")) for x in step(tf.constant(query), tf.constant(value))
        ]

    dense = results()
    monkeypatch.setattr(module, "MAX_DENSE_SIZE", 0)
    looped = results()
    assert np.abs(dense[0]).max() > 0.1
    assert_close(looped, dense, atol)


def test_sums_of_float16_run_in_float32():
    """In float16 a sum of ones ends at 2048."""
    query = tf.fill((1, 2, 4096), tf.constant(20.0, "float16"))
    vector = tf.ones(4096, "float16")
    for queries in (query, query[:, :1]):
        scores = additive_scores(queries, query, vector)
        assert scores.dtype == "float16"
        assert (to_numpy(scores) == 4096).all()


def largest(scores, steps=T):
    """The size of the largest tensor in the graph of scores and gradients."""
    tensors = arrays(steps, dtype="float32")
    signature = [tf.TensorSpec(x.shape, x.dtype) for x in tensors]
    step = tf.function(with_gradients(scores), input_signature=signature)
    return largest_tensor(step.get_concrete_function().graph)


def test_the_hidden_layer_of_all_pairs_is_never_held():
    pairs = B * T * S * U
    assert largest(dense_scores) == pairs
    assert largest(looped_scores) == B * S * U
    assert pairs > B * S * U


def test_a_loop_over_queries_keeps_no_hidden_layer_for_the_gradients():
    """A decoder's loop keeps tensors for the gradient of each step, but no (B, S, U)."""
    layer = ka.BahdanauDecoder(keras.layers.GRUCell(3), ka.BahdanauAttention(U))
    inputs, memory = np.ones((B, T, 3), "float32"), np.ones((B, S, U + 2), "float32")
    layer(inputs, memory)

    @tf.function
    def step(inputs, memory):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(inputs, memory))
        return tape.gradient(loss, [weight.value for weight in layer.trainable_variables])

    graph = step.get_concrete_function(inputs, memory).graph
    stored = [
        int(np.prod(tf.get_static_value(operation.inputs[0])))
        for operation in graph.get_operations()
        if operation.type == "TensorListReserve"
    ]
    assert stored
    assert max(stored) < B * S * U


@pytest.mark.parametrize("largest", [0, 10**6], ids=["looped", "dense"])
def test_gradients_through_a_function_of_unknown_shapes(monkeypatch, largest):
    """By a tape outside of it, as `tf-keras-vis` takes them, or a loop of one's own."""
    monkeypatch.setattr(module, "MAX_DENSE_SIZE", largest)
    given = [tf.constant(x) for x in arrays()[:3]]
    signature = [tf.TensorSpec(shape, tf.float64) for shape in UNKNOWN]
    function = tf.function(additive_scores, input_signature=signature)

    def gradients(function):
        with tf.GradientTape() as tape:
            tape.watch(given)
            loss = tf.reduce_sum(function(*given) ** 2)
        return numbers(tape.gradient(loss, given))

    assert_close(gradients(function), gradients(dense_scores), 1e-10)
