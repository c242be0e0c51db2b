"""Attention in tiles equals attention with all weights: context and gradients, for all masks."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_attention as ka
from comparing import assert_close, largest_tensor, numbers, to_numpy
from dot_product_oracle import (
    CASES,
    B,
    K,
    N,
    S,
    T,
    V,
    by_equation,
    drawn,
    masks_of,
    second_gradients,
    with_gradients,
)
from keras_attention._ops import dot_product_attention as entry
from keras_attention._ops.dot_product_attention import dot_product_attention
from keras_attention._ops.flash_attention import tiled_attention

SIDES = 2, 4  # do not divide T and S: 13 queries and 11 keys make 7 and 3 blocks
EVERY_CASE = pytest.mark.parametrize(("names", "causal", "window"), CASES)


@EVERY_CASE
@pytest.mark.each_value
@pytest.mark.parametrize(("mode", "known"), [("graph", True), ("graph", False), ("xla", False)])
def test_tiles_equal_all_weights(names, causal, window, mode, known):
    given = {**masks_of(names), "causal": causal, "window": window}
    tiled = functools.partial(tiled_attention, **given, sides=SIDES)
    inputs = drawn()
    results = with_gradients(tiled, mode, known)(*inputs)
    wanted = with_gradients(functools.partial(by_equation, **given))(*inputs)
    assert_close(numbers(results), numbers(wanted))
    if "value" in names:
        assert all((result[0] == 0).all() for result in numbers(results))


@pytest.mark.parametrize(("names", "causal", "window"), CASES[3:])
def test_tiles_equal_all_weights_in_float64(names, causal, window):
    given = {**masks_of(names), "causal": causal, "window": window}
    tiled = functools.partial(tiled_attention, **given, sides=SIDES)
    inputs = drawn("float64")
    results = with_gradients(tiled)(*inputs)
    wanted = with_gradients(functools.partial(by_equation, **given))(*inputs)
    assert_close(numbers(results), numbers(wanted), 1e-10)


@pytest.mark.each_value
@pytest.mark.parametrize(
    "shape", [(B, N, T, S), (B, 1, T, S), (1, N, T, S), (B, N, T, 1), (B, N, 1, S), (B, T, S)]
)
@pytest.mark.parametrize("few", [10**6, 0], ids=["short", "long"])
def test_masks_of_heads_short_and_long(shape, few, monkeypatch):
    monkeypatch.setattr(entry, "holds_weights", lambda *_, few=few: few > 0)
    mask = np.random.default_rng(7).uniform(size=shape) < 0.6
    inputs, value_mask = drawn(), masks_of("value")["value_mask"]
    results = with_gradients(
        lambda *x: dot_product_attention(*x, None, value_mask, attention_mask=mask)[0], "graph"
    )(*inputs)
    mask = mask[:, None] if mask.ndim == 3 else mask
    wanted = with_gradients(
        lambda query, *x: by_equation(query / K**0.5, *x, value_mask, mask, False, None)
    )(*inputs)
    assert_close(numbers(results), numbers(wanted))


@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_second_gradients_are_those_of_all_weights(mode):
    """As for a penalty on gradients. XLA cannot, as the number of iterations is unknown."""
    given = {**masks_of("value", memory=7), "causal": True, "window": None}

    inputs = drawn("float64", queries=5, memory=7)
    tiled = functools.partial(tiled_attention, **given, sides=SIDES)
    wanted = numbers(second_gradients(functools.partial(by_equation, **given))(*inputs))
    assert_close(numbers(second_gradients(tiled, mode)(*inputs)), wanted, 1e-10)


@pytest.mark.each_value
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("scale", [1.0, 300.0])
def test_half_precision_has_no_nan(dtype, scale):
    """Products of 300^2 overflow float16."""
    given = {**masks_of("value pairs"), "causal": True, "window": None}
    tiled = functools.partial(tiled_attention, **given, sides=SIDES)
    query, key, value, coefficients = drawn(dtype, scale=scale)
    results = with_gradients(tiled, "graph")(query, key, value / scale, coefficients / scale)
    assert {result.dtype for result in results} == {tf.as_dtype(dtype)}
    context, *gradients = numbers(results)
    assert np.isfinite(context).all()
    assert (context[0] == 0).all()
    if scale == 1:
        inputs = [tf.cast(x, "float32") for x in (query, key, value, coefficients)]
        wanted = with_gradients(functools.partial(by_equation, **given))(*inputs)
        assert_close([context, *gradients], numbers(wanted), 0.05)


@pytest.mark.parametrize("flat", [False, True])
def test_sums_of_values_beyond_float16_stay_finite(flat):
    """A sum of 512 values of 150 overflows float16, their mean does not.

    Padded and masked queries are zero; their NaN would reach the gradients of the keys.
    """
    random = np.random.default_rng(11)
    query, key = random.normal(size=(B, 1, 301, 8)), random.normal(size=(B, 1, 512, 8))
    inputs = query * (0 if flat else 6), key, 150 + key, 1e-3 * query
    halves = [tf.constant(x, "float16") for x in inputs]
    context, *gradients = numbers(with_gradients(tiled_attention)(*halves))
    assert all(np.isfinite(x).all() for x in (context, *gradients))
    wanted = by_equation(*(tf.constant(x) for x in inputs[:3]), None, None, False, None)
    assert_close([context], [to_numpy(wanted)], 0.5)


def test_future_and_distant_tiles_are_skipped():
    """NaN in a skipped tile has no effect; a mask would multiply it by zero."""
    for causal, window, poisoned in ((True, None, slice(8, None)), (False, 3, slice(8, None))):
        query, key, value, _ = drawn(queries=4, memory=12)
        key, value = (
            np.where(np.arange(12)[:, None] >= poisoned.start, np.nan, x) for x in (key, value)
        )
        key, value = (tf.constant(x, "float32") for x in (key, value))
        context = tiled_attention(query, key, value, causal=causal, window=window, sides=SIDES)
        assert np.isfinite(to_numpy(context)).all()


@pytest.fixture
def calls(monkeypatch):
    """Makes tiles small, and records each call of tiled attention."""
    calls, tiled = [], functools.partial(tiled_attention, sides=SIDES)

    def counted(*arguments, **options):
        calls.append(1)
        return tiled(*arguments, **options)

    monkeypatch.setattr(entry, "tiled_attention", counted)
    return calls


@pytest.fixture
def always_tiled(calls, monkeypatch):
    """No sequence is short enough to hold all weights: the calls of tiled attention."""
    monkeypatch.setattr(entry, "holds_weights", lambda *_: False)
    return calls


@pytest.mark.each_value
@pytest.mark.parametrize("jit_compile", [True, False])
@pytest.mark.parametrize("causal", [True, False])
def test_empty_batches_and_sequences_are_no_error(causal, jit_compile, always_tiled):
    """With unknown sizes and gradients: an empty batch, no query, no key."""
    spec = tf.TensorSpec((None, 2, None, 3))

    @tf.function(input_signature=[spec, spec, spec], jit_compile=jit_compile)
    def run(query, key, value):
        with tf.GradientTape() as tape:
            tape.watch((query, key, value))
            context, _ = dot_product_attention(query, key, value, causal=causal, scale=1.0)
        return context, *tape.gradient(context, (query, key, value))

    for batch, queries, memory in ((0, 5, 7), (2, 0, 7), (2, 5, 0)):
        query, key = tf.ones((batch, 2, queries, 3)), tf.ones((batch, 2, memory, 3))
        context, *gradients = run(query, key, key)
        assert context.shape == query.shape
        assert [x.shape for x in gradients] == [query.shape, key.shape, key.shape]
        assert (to_numpy(context) == 0).all()
    assert always_tiled


def test_masked_queries_have_no_effect_on_gradients(always_tiled):
    query, key, value, _ = (tf.constant(x, "float32") for x in drawn())
    mask = np.arange(query.shape[2])[None] < 4
    found = []
    for hidden in (0.0, 1e38):
        masked_query = tf.where(mask[:, None, :, None], query, hidden)
        with tf.GradientTape() as tape:
            tape.watch((masked_query, key, value))
            context, _ = dot_product_attention(masked_query, key, value, mask, scale=1.0)
        found.append([context, *tape.gradient(context, (masked_query, key, value))])
    assert_close(*map(numbers, found))
    assert always_tiled


@pytest.mark.parametrize(
    "shape", [(B, 1, S), (1, T, 1), (T, S), (1, T, S), (1, S), (B, 1, 1), (1, 1)]
)
def test_masks_that_broadcast(shape, always_tiled):
    """A mask that is the same for all queries or all keys is not broadcast."""
    mask = np.random.default_rng(7).uniform(size=shape) < 0.6
    query, key, value, _ = drawn()
    context, _ = dot_product_attention(query, key, value, attention_mask=mask, scale=1.0)
    wide = np.broadcast_to(mask, (B, T, S))[:, None]
    assert_close(
        [to_numpy(context)], [to_numpy(by_equation(query, key, value, None, wide, 0, None))]
    )
    assert always_tiled


@pytest.mark.each_value
@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize(("causal", "window"), [(False, None), (True, None), (False, 2)])
def test_the_layer_in_tiles_equals_the_layer_with_weights(policy, causal, window, always_tiled):
    random = np.random.default_rng(9)
    x, mask = random.normal(size=(B, T, 17)), random.uniform(size=(B, T)) < 0.7
    mask[0] = False
    layer = ka.SelfAttention(N, K, value_dim=V, window=window, dtype=policy)
    options = {"mask": mask, "use_causal_mask": causal}
    wanted, _ = layer(x, **options, return_attention_scores=True)
    assert not always_tiled
    assert_close(
        [to_numpy(layer(x, **options))], [to_numpy(wanted)], 1e-5 if policy == "float32" else 1e-2
    )
    assert always_tiled


@pytest.mark.parametrize("weights", [False, True])
def test_the_graph_of_the_layer_holds_no_weights(weights, always_tiled):
    """Nor does that of its gradients, unless the call returns them."""
    length = 61
    layer = ka.SelfAttention(N, K, value_dim=V)
    layer.build((B, length, 17))

    @tf.function(input_signature=[tf.TensorSpec((B, length, 17))])
    def step(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            output = layer(x, use_causal_mask=True, return_attention_scores=weights)
            output = output[0] if weights else output
        return output, tape.gradient(output, [x, *(w.value for w in layer.trainable_weights)])

    largest = largest_tensor(step.get_concrete_function().graph)
    pairs = B * N * length * length
    assert (largest >= pairs) == weights
    assert bool(always_tiled) != weights


def test_across_with_all_masks(always_tiled):
    random = np.random.default_rng(11)
    query, value, key = (random.normal(size=(B, n, 17)) for n in (T, S, S))
    given = {
        f"{name}_mask": random.uniform(size=shape) < 0.7
        for name, shape in {
            "query": (B, T),
            "value": (B, S),
            "key": (B, S),
            "attention": (T, S),
        }.items()
    }
    layer = ka.SelfAttention(N, K)
    wanted, _ = layer(query, value, key, **given, return_attention_scores=True)
    assert not always_tiled
    assert_close([to_numpy(layer(query, value, key, **given))], [to_numpy(wanted)])
    assert always_tiled


@pytest.mark.parametrize("jit_compile", [True, False])
def test_training_on_lengths_that_are_unknown(jit_compile, calls):
    """A graph for any length uses tiles, and learns the same as with all weights."""
    random = np.random.default_rng(13)
    batches = [random.normal(size=(B, n, 17)).astype("float32") for n in (3, T)]
    trained = []
    # Eagerly the lengths are known, and short.
    for options in ({"run_eagerly": True}, {"jit_compile": jit_compile}):
        keras.utils.set_random_seed(3)
        inputs = keras.Input((None, 17))
        model = keras.Model(inputs, ka.SelfAttention(N, K)(inputs, use_causal_mask=True))
        model.compile("sgd", "mse", **options)
        data = tf.data.Dataset.from_generator(
            lambda: ((x, x) for x in batches),
            output_signature=(tf.TensorSpec((None, None, 17)),) * 2,
        )
        model.fit(data, verbose=0)
        assert bool(calls) == ("jit_compile" in options)
        trained.append([to_numpy(weight) for weight in model.weights])
    assert_close(trained[1], trained[0])


def test_an_export_serves_short_and_long(tmp_path, calls):
    inputs = keras.Input((None, 17))
    model = keras.Model(inputs, ka.SelfAttention(N, K)(inputs, use_causal_mask=True))
    model.export(tmp_path / "model", verbose=False)
    assert calls
    served = tf.saved_model.load(tmp_path / "model")
    for length in (3, T):
        x = np.random.default_rng(15).normal(size=(B, length, 17)).astype("float32")
        assert_close([to_numpy(served.serve(x))], [to_numpy(model(x))])


@pytest.mark.each_value
@pytest.mark.parametrize("jit_compile", [True, False])
@pytest.mark.parametrize(
    ("options", "causal"), [({}, False), ({}, True), ({"window": 9}, False)], ids=str
)
def test_fit_of_a_known_length_and_an_unknown_batch(options, causal, jit_compile, monkeypatch):
    """Keras's trainer, which has no AutoGraph, knows only some of the sizes."""
    layer = ka.SelfAttention(2, 3, **options)
    sequence, mask = keras.Input((300, 5)), keras.Input((300,), dtype="bool")
    outputs = layer(sequence, mask=mask, use_causal_mask=causal)
    model = keras.Model([sequence, mask], outputs)
    random = np.random.default_rng(5)
    given = [random.normal(size=(3, 300, 5)).astype("float32"), random.uniform(size=(3, 300)) < 0.8]
    model.compile("sgd", "mse", jit_compile=jit_compile)
    model.fit(given, given[0], batch_size=2, verbose=0)
    tiled = model.predict(given, batch_size=2, verbose=0)
    monkeypatch.setattr(entry, "holds_weights", lambda *_: True)
    expected = numbers([layer(given[0], mask=given[1], use_causal_mask=causal)])
    assert_close([tiled], expected)
