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
    drawn,
    masks_of,
    materialized,
    second_gradients,
    with_gradients,
)
from keras_attention._ops import dot_product_attention as entry
from keras_attention._ops import materialize, materialized_attention
from keras_attention._ops.dot_product_attention import dot_product_attention
from keras_attention._ops.materialize import may_materialize


def attend(*tensors, **given):
    return dot_product_attention(*tensors, **given, scale=1.0)[0]


@pytest.mark.each_value
@pytest.mark.parametrize(("names", "causal", "window"), CASES)
@pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
def test_context_and_gradients_are_those_of_the_equation(names, causal, window, mode):
    given = {**masks_of(names), "causal": causal, "window": window}
    results = with_gradients(functools.partial(attend, **given), mode)(*drawn("float64"))
    wanted = with_gradients(functools.partial(materialized, **given))(*drawn("float64"))
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
    wanted = with_gradients(functools.partial(materialized, **given))(*inputs)
    assert_close(numbers(results), numbers(wanted), 1e-10)
    query, key, value, _ = inputs
    late = np.where(np.arange(T)[:, None] == T - 1, np.nan, 0)
    context = attend(query, key + late, value + late, **given)
    assert np.isfinite(numbers([context])[0][:, :, :9]).all()


@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_second_gradients_are_those_of_the_equation(mode):
    given = {**masks_of("value"), "causal": True, "window": None}
    results = second_gradients(functools.partial(attend, **given), mode)(*drawn("float64"))
    wanted = second_gradients(functools.partial(materialized, **given))(*drawn("float64"))
    assert_close(numbers(results), numbers(wanted), 1e-10)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_close_and_overflows_to_no_nan(dtype):
    """Products of 300^2 overflow float16, to both sides: what is masked stays so."""
    given = {**masks_of("value pairs"), "causal": True, "window": None}
    inputs = drawn(dtype)
    results = with_gradients(functools.partial(attend, **given), "graph")(*inputs)
    assert {result.dtype for result in results} == {tf.as_dtype(dtype)}
    wanted = with_gradients(functools.partial(materialized, **given))(
        *(tf.cast(x, "float32") for x in inputs)
    )
    assert_close(numbers(results), numbers(wanted), 0.05)
    query = tf.fill((1, 1, 1, K), tf.cast(-300.0, dtype))
    key, mask = tf.fill((1, 1, 3, K), tf.cast(300.0, dtype)), np.array([[True, True, False]])
    value = tf.cast([[[[1.0], [3.0], [50.0]]]], dtype)
    context = dot_product_attention(query, key, value, value_mask=mask, scale=1.0)[0]
    assert numbers([context])[0].item() == 2


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


SIZES = [  # batch, heads, T, S, and whether weights are held, where None is up to the run
    (64, 16, 256, 256, True),
    (8, 8, 512, 512, True),
    (9, 8, 512, 512, False),
    (None, 8, 512, 512, None),
    (None, 8, 256, 256, True),
    (None, 8, 1500, 1500, False),  # One example has too many.
    (None, 8, None, 5, False),
    (2, 8, 1024, 1024, True),
    (1, 1, 1, 50_000, True),
    (0, 8, 4096, 4096, True),
    (2, 8, 65_536, 65_536, False),  # beyond int32
]


@pytest.mark.parametrize("jit_compile", [False, True])
def test_what_is_held_depends_on_sizes_and_on_xla(jit_compile):
    found = []

    @tf.function(jit_compile=jit_compile)
    def run(query, key):
        # What a compiled function calls is compiled with it.
        inner = tf.function(lambda: found.append(may_materialize(query, key)))
        inner()
        return query[:1]

    for batch, heads, length, memory, _ in SIZES:
        shapes = (batch, heads, length, 1), (batch, heads, memory, 1)
        run.get_concrete_function(*map(tf.TensorSpec, shapes))
    found = [held if isinstance(held, bool) else None for held in found]
    # XLA has no gradient of such a choice.
    wanted = [False if jit_compile and held is None else held for *_, held in SIZES]
    assert found == wanted


def test_a_batch_of_unknown_size_is_held_if_it_is_small(monkeypatch):
    """One graph for both, which computes the same."""
    monkeypatch.setattr(materialize, "MAX_PAIRS", 0)
    monkeypatch.setattr(materialize, "MAX_WEIGHTS", N * T * S)
    calls = []

    def counted(*arguments, **options):
        calls.append(1)
        tf.py_function(lambda: calls.append("run"), [], [])
        return tiled(*arguments, **options)

    tiled = entry.tiled_attention
    monkeypatch.setattr(entry, "tiled_attention", counted)
    inputs = drawn("float64")
    specs = [tf.TensorSpec([None, *x.shape[1:]], x.dtype) for x in inputs]
    run = tf.function(with_gradients(functools.partial(attend, causal=True)), specs)
    none = {"value_mask": None, "attention_mask": None, "window": None}
    for batch, held in ((1, True), (B, False)):
        given = [x[:batch] for x in inputs]
        oracle = functools.partial(oracle_of_batch, causal=True, **none)
        assert_close(numbers(run(*given)), numbers(with_gradients(oracle)(*given)), 1e-10)
        assert ("run" in calls) != held


def oracle_of_batch(query, key, value, **given):
    """The equation for a batch of any size."""
    batch = query.shape[0]
    padded = [tf.pad(x, [[0, B - batch], *[[0, 0]] * 3]) for x in (query, key, value)]
    return materialized(*padded, **given)[:batch]
