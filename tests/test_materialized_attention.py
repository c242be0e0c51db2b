"""Attention with weights in memory equals its equation, and is chosen where it is cheaper."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from comparing import assert_close, numbers
from dot_product_oracle import (
    CASES,
    B,
    K,
    N,
    S,
    T,
    by_equation,
    drawn,
    masks_of,
    second_gradients,
    with_gradients,
)
from keras_attention._ops import dot_product_attention as entry
from keras_attention._ops import materialized_attention
from keras_attention._ops.dot_product_attention import dot_product_attention
from keras_attention._ops.holds_weights import holds_weights


def attend(*tensors, **given):
    return dot_product_attention(*tensors, **given, scale=1.0)[0]


@pytest.mark.each_value
@pytest.mark.parametrize(("names", "causal", "window"), CASES)
@pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
def test_context_and_gradients_are_those_of_the_equation(names, causal, window, mode):
    given = {**masks_of(names), "causal": causal, "window": window}
    results = with_gradients(functools.partial(attend, **given), mode)(*drawn("float64"))
    wanted = with_gradients(functools.partial(by_equation, **given))(*drawn("float64"))
    assert_close(numbers(results), numbers(wanted), 1e-10)
    if "value" in names:  # The first example has no key.
        assert all((result[0] == 0).all() for result in numbers(results))


@pytest.mark.parametrize("names", ["", "value", "value pairs of heads"])
@pytest.mark.parametrize("mode", ["graph", "xla"])
@pytest.mark.parametrize("window", [None, 3])
def test_blocks_of_queries_that_see_no_future(names, mode, window, monkeypatch):
    """Four blocks of three or four queries. What they leave out has no effect, not even NaN."""
    monkeypatch.setattr(materialized_attention, "MIN_ROWS", 3)
    given = {**masks_of(names, T, T), "causal": True, "window": window}
    inputs = drawn("float64", T, T)
    results = with_gradients(functools.partial(attend, **given), mode)(*inputs)
    wanted = with_gradients(functools.partial(by_equation, **given))(*inputs)
    assert_close(numbers(results), numbers(wanted), 1e-10)
    query, key, value, _ = inputs
    late = np.where(np.arange(T)[:, None] == T - 1, np.nan, 0)
    context = attend(query, key + late, value + late, **given)
    assert np.isfinite(numbers([context])[0][:, :, :9]).all()


@pytest.mark.parametrize("mode", ["eager", "graph"])
@pytest.mark.parametrize("memory", [S, T], ids=["whole", "in blocks"])
def test_second_gradients_are_those_of_the_equation(mode, memory, monkeypatch):
    monkeypatch.setattr(materialized_attention, "MIN_ROWS", 3)
    given = {**masks_of("value", T, memory), "causal": True, "window": None}
    inputs = drawn("float64", T, memory)
    results = second_gradients(functools.partial(attend, **given), mode)(*inputs)
    wanted = second_gradients(functools.partial(by_equation, **given))(*inputs)
    assert_close(numbers(results), numbers(wanted), 1e-10)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_close(dtype):
    given = {**masks_of("value pairs"), "causal": True, "window": None}
    inputs = drawn(dtype)
    results = with_gradients(functools.partial(attend, **given), "graph")(*inputs)
    assert {result.dtype for result in results} == {tf.as_dtype(dtype)}
    wanted = with_gradients(functools.partial(by_equation, **given))(
        *(tf.cast(x, "float32") for x in inputs)
    )
    assert_close(numbers(results), numbers(wanted), 0.05)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("holds", [True, False])
@pytest.mark.parametrize("return_weights", [False, True])
def test_scores_that_overflow_float16_are_still_masked(
    dtype, sign, holds, return_weights, monkeypatch
):
    """Products of 300^2, of both signs: asking for the weights changes no context."""
    monkeypatch.setattr(entry, "holds_weights", lambda *_: holds)
    query = tf.fill((1, 1, 1, K), tf.cast(sign * 300.0, dtype))
    key = tf.fill((1, 1, 3, K), tf.cast(300.0, dtype))
    value = tf.cast([[[[1.0], [3.0], [50.0]]]], dtype)
    mask = np.array([[True, True, False]])
    context, _ = dot_product_attention(
        query, key, value, value_mask=mask, scale=1.0, return_weights=return_weights
    )
    assert numbers([context])[0].item() == 2


@pytest.mark.parametrize("holds", [True, False])
def test_large_values_of_masked_keys_leave_float16_gradients_finite(holds, monkeypatch):
    monkeypatch.setattr(entry, "holds_weights", lambda *_: holds)
    query, key, value, coefficients = drawn("float16")
    mask = np.arange(S)[None] < 4
    value = tf.where(mask[:, None, :, None], value, tf.cast(6e4, "float16"))
    given = functools.partial(attend, value_mask=np.repeat(mask, B, 0))
    results = with_gradients(given)(query, key, value, 10 * coefficients)
    assert all(np.isfinite(result).all() for result in numbers(results))


def test_nan_in_a_masked_query_reaches_no_gradient():
    query, key, value, coefficients = drawn()
    mask = np.arange(T)[None].repeat(B, 0) < T - 1
    query = tf.where(mask[:, None, :, None], query, np.nan)
    results = with_gradients(functools.partial(attend, query_mask=mask))(
        query, key, value, coefficients
    )
    assert all(np.isfinite(result).all() for result in numbers(results))


def test_the_gradient_passes_over_the_weights_few_times():
    """Arrays of the size of the weights: scores, masked scores, P; dP, dP - D, dS."""
    query, key, value, coefficients = drawn()
    mask = masks_of("value")["value_mask"]

    @tf.function
    def gradients(query, key, value):
        with tf.GradientTape() as tape:
            tape.watch((query, key, value))
            context = attend(query, key, value, value_mask=mask)
        return tape.gradient(context, (query, key, value), coefficients)

    graph = gradients.get_concrete_function(query, key, value).graph
    sizes = [x.shape.num_elements() for op in graph.get_operations() for x in op.outputs]
    transposes = 2  # of P and dS, which TensorFlow makes part of their products
    assert sum(size == B * N * T * S for size in sizes) == 6 + transposes


SIZES = [  # batch, heads, T, S, and whether weights are held
    (64, 16, 256, 256, True),
    (8, 8, 512, 512, True),
    (9, 8, 512, 512, False),
    (None, 8, 512, 512, False),
    (None, 8, 256, 256, True),
    (None, 8, None, 5, False),
    (2, 8, 1024, 1024, True),
    (1, 1, 1, 50_000, True),
    (0, 8, 4096, 4096, True),
    (2, 8, 65_536, 65_536, False),
]


def test_what_is_held_depends_on_sizes():
    found = []

    @tf.function
    def run(query, key):
        found.append(holds_weights(query, key))

    for batch, heads, length, memory, _ in SIZES:
        shapes = (batch, heads, length, 1), (batch, heads, memory, 1)
        run.get_concrete_function(*map(tf.TensorSpec, shapes))
    assert found == [held for *_, held in SIZES]
