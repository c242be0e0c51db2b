"""Layers, decoders and searches on the backend that KERAS_BACKEND names.

All backends are compared with the same NumPy oracles, and thus with each other. Needs nothing but
Keras, one backend, NumPy and pytest.
"""

import keras
import numpy as np
import pytest

import keras_attention as ka
from comparing import assert_close, numbers, tensors, to_numpy
from keras_attention._ops import dot_product_attention as entry
from keras_attention.losses import crossentropy
from oracles import search as oracle
from table import SIZES, TABLE, shaped

EVERY_ROW = pytest.mark.parametrize("row", TABLE, ids=str)
MASKED_ROWS = pytest.mark.parametrize("row", [r for r in TABLE if r.masks], ids=str)


@EVERY_ROW
def test_numbers_equal_the_oracle(row):
    layer = row.new()
    inputs, masks = row.arrays()
    for name in masks:  # the first example has nothing to attend to
        masks[name][0] &= row.masks[name] != (row.memory,)
    results = row.call(layer, tensors(inputs), masks)
    assert_close(numbers(results), row.oracle(layer, inputs, masks))


@MASKED_ROWS
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_empty_rows_give_zeros_and_never_nan(row, policy):
    layer = row.new(policy)
    inputs, masks = row.arrays()
    for name, axes in row.masks.items():
        masks[name] = masks[name] & (axes != (row.memory,))
    results = row.call(layer, tensors(inputs), masks)
    for name, result in zip(row.outputs, numbers(results), strict=True):
        assert np.isfinite(result).all(), name
        if name in row.empty:
            assert (result == 0).all(), name


@EVERY_ROW
def test_saved_models_load(row, tmp_path):
    inputs, masks = row.arrays()
    feed = {**tensors(inputs), **tensors(masks)}
    model = row.functional(row.new())
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert_close(numbers(loaded(feed)), numbers(model(feed)), atol=1e-6)


@pytest.mark.parametrize("row", [r for r in TABLE if not r.draws], ids=str)
def test_a_step_of_training_descends_as_its_gradient_says(row):
    """The loss falls by the squared length of the gradient, times the learning rate."""
    inputs, masks = row.arrays()
    feed = {**inputs, **masks}
    model = row.functional(row.new(), projected=True)
    model = keras.Model(model.inputs, model.outputs[0])
    axes = next(iter(row.outputs.values()))
    target = np.random.default_rng(31).normal(size=shaped(axes, SIZES)).astype("float32")
    first = [to_numpy(variable) for variable in model.variables]

    def train(rate):
        """Returns the losses before and after a step, the squared gradient, and the moves."""
        for variable, value in zip(model.variables, first, strict=True):
            variable.assign(value)
        model.compile(keras.optimizers.SGD(rate), "mse")
        before = [to_numpy(variable) for variable in model.trainable_variables]
        loss = model.train_on_batch(feed, target)
        after = [to_numpy(variable) for variable in model.trainable_variables]
        moves = [np.abs(b - a).max() for a, b in zip(after, before, strict=True)]
        squares = sum(np.sum((b - a) ** 2) for a, b in zip(after, before, strict=True)) / rate**2
        model.reset_metrics()
        return loss, model.test_on_batch(feed, target), squares, moves

    rate = 1e-4
    loss, next_loss, squares, moves = train(rate)
    for variable, move in zip(model.trainable_variables, moves, strict=True):
        assert (move > 0) == (variable.name not in row.unlearned), variable.path
    if rate * squares > 0.01 * loss:  # too far for a linear fall
        rate = 0.001 * loss / squares
        loss, next_loss, squares, _ = train(rate)
    assert loss - next_loss == pytest.approx(rate * squares, rel=0.1)


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("causal", [True, False])
def test_long_self_attention_answers_and_trains_as_short(masked, causal, monkeypatch):
    """By the kernel of the backend where it takes the masks, in blocks elsewhere."""
    random = np.random.default_rng(3)
    x, y = (random.normal(size=(2, 13, 7)).astype("float32") for _ in "xy")
    mask = random.uniform(size=(2, 13)) < 0.7
    mask[0] = False
    options = {"mask": keras.ops.convert_to_tensor(mask)} if masked else {}
    found, ways = [], []

    def counted(way):
        def count(*arguments, **options):
            context = way(*arguments, **options)
            if context is not None:
                ways.append(way)
            return context

        return count

    for name in ("tiled_attention", "_fused_kernel"):
        way = getattr(entry, name)
        monkeypatch.setattr(entry, name, counted(way))
    for few in (10**6, 0):
        monkeypatch.setattr(entry, "holds_weights", lambda *_, few=few: few > 0)
        keras.utils.set_random_seed(5)
        layer = ka.SelfAttention(3, 5)
        outputs = layer(x, use_causal_mask=causal, **options)
        tensors = keras.Input((13, 7)), keras.Input((13,), dtype="bool")
        symbols = {"mask": tensors[1]} if masked else {}
        model = keras.Model(tensors, layer(tensors[0], use_causal_mask=causal, **symbols))
        model.compile(keras.optimizers.SGD(0.1), "mse")
        model.train_on_batch([x, mask], y)
        found.append([outputs, *model.trainable_weights])
        assert bool(ways) == (few == 0)
    assert_close(*(numbers(part) for part in found))


@pytest.mark.parametrize("heads", [3, 1])
def test_long_attention_with_a_mask_of_heads_is_that_of_short(heads, monkeypatch):
    random = np.random.default_rng(3)
    x, layer = random.normal(size=(2, 13, 7)).astype("float32"), ka.SelfAttention(3, 5)
    mask = random.uniform(size=(2, heads, 13, 13)) < 0.6
    mask[0, 0] = False
    outputs = []
    for few in (10**6, 0):
        monkeypatch.setattr(entry, "holds_weights", lambda *_, few=few: few > 0)
        outputs.append(layer(x, attention_mask=keras.ops.convert_to_tensor(mask)))
    assert_close(*(numbers([output]) for output in outputs))


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="the others have no transformations")
@pytest.mark.parametrize("way", ["gradient of compiled", "compiled gradient", "checkpoint"])
@pytest.mark.parametrize(("causal", "window"), [(False, None), (True, None), (True, 3)])
def test_gradients_in_blocks_with_traced_masks(way, causal, window, monkeypatch):
    """Masks that JAX traces must not be enclosed by a function with a gradient of its own."""
    import jax

    random = np.random.default_rng(3)
    tensors = [random.normal(size=(2, 3, 13, width)).astype("float32") for width in (5, 5, 7)]
    masks = [random.uniform(size=shape) < 0.6 for shape in ((2, 13), (2, 3, 13, 13))]

    def loss(query, key, value, value_mask, attention_mask):
        context, _ = entry.dot_product_attention(
            *(query, key, value, None, value_mask, None, attention_mask, causal, window)
        )
        return (context**2).sum()

    def gradients(few):
        monkeypatch.setattr(entry, "holds_weights", lambda *_, few=few: few > 0)
        compiled = {
            "gradient of compiled": lambda f, n: jax.grad(jax.jit(f), n),
            "compiled gradient": lambda f, n: jax.jit(jax.grad(f, n)),
            "checkpoint": lambda f, n: jax.jit(jax.grad(jax.checkpoint(f), n)),
        }[way](lambda *x: loss(*x), (0, 1, 2))  # a new function, which is compiled anew
        return compiled(*tensors, *masks)

    assert_close(numbers(gradients(0)), numbers(gradients(10**6)), 1e-4)


@pytest.mark.skipif(
    keras.backend.backend() != "torch",
    reason="an error on JAX, and TensorFlow is asked in test_flash_attention",
)
@pytest.mark.parametrize("window", [None, 2])
def test_second_gradients_in_blocks_are_those_at_once(window, monkeypatch):
    """For torch the intermediate values of a custom gradient are constants."""
    import torch

    random = np.random.default_rng(3)
    tensors = [
        torch.tensor(random.normal(size=(1, 2, 7, width)), requires_grad=True)
        for width in (3, 3, 5)  # which no kernel takes
    ]

    def second(few):
        monkeypatch.setattr(entry, "holds_weights", lambda *_, few=few: few > 0)
        context, _ = entry.dot_product_attention(*tensors, causal=True, window=window)
        first = torch.autograd.grad((context**2).sum(), tensors, create_graph=True)
        return torch.autograd.grad(sum((x**2).sum() for x in first), tensors)

    assert_close(numbers(second(few=0)), numbers(second(few=10**6)), 1e-4)


def test_spatial_attention_without_a_query_has_no_context():
    layer = ka.SoftSpatialAttention(5)
    maps = np.ones((3, 2, 3, 8), "float32")
    assert tuple(layer(np.ones((3, 0, 6), "float32"), maps).shape) == (3, 0, 8)


@pytest.mark.parametrize("feeding", [True, False])
def test_stepping_and_dropout_in_the_cell(feeding):
    """Steps equal the call at inference; training with dropout runs, in the loop and out of it."""
    cell = keras.layers.GRUCell(5, dropout=0.3, recurrent_dropout=0.3)
    decoder = ka.LuongDecoder(
        cell, ka.LuongAttention(dropout=0.3), attention_layer_size=7, input_feeding=feeding
    )
    random = np.random.default_rng(3)
    inputs, memory = (
        random.normal(size=shape).astype("float32") for shape in ((2, 3, 5), (2, 7, 3))
    )
    outputs, state = to_numpy(decoder(inputs, memory)), decoder.begin(memory)
    for t in range(3):
        output, _, state = decoder.step(keras.ops.convert_to_tensor(inputs[:, t]), state)
        np.testing.assert_allclose(to_numpy(output), outputs[:, t], atol=1e-5)
    shapes = keras.Input((None, 5)), keras.Input((None, 3))
    model = keras.Model(shapes, decoder(*shapes))
    model.compile("sgd", "mse")
    for steps in (3, 2):
        loss = model.train_on_batch([inputs[:, :steps], memory], outputs[:, :steps] + 1)
        assert np.isfinite(loss)


EVERY_MODEL = pytest.mark.parametrize("name", ["encoder_decoder", "transformer"])


@EVERY_MODEL
def test_padding_does_not_count_in_the_loss(name):
    (row,) = [row for row in TABLE if row.name == name]
    model = row.new()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss)
    source, target = np.array([[3, 4, 5], [6, 0, 0]]), np.array([[1, 3, 4], [1, 5, 0]])
    logits = to_numpy(model((source, target)))
    losses = [
        -oracle.log_softmax(logits[b, t])[target[b, t]]
        for b, t in zip(*np.nonzero(target), strict=True)
    ]
    assert model.test_on_batch((source, target), target) == pytest.approx(np.mean(losses), rel=1e-5)


@EVERY_MODEL
def test_the_loss_of_a_linear_head_trains_as_that_of_its_logits(name, monkeypatch):
    monkeypatch.setattr(crossentropy, "MAX_STEPS", 4)  # of 6
    (row,) = [row for row in TABLE if row.name == name]
    source, target = np.array([[3, 4, 5], [6, 0, 0]]), np.array([[1, 3, 4], [1, 5, 0]])
    first, results = None, []
    for loss in (
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        ka.losses.LinearCrossentropy(),
    ):
        model = row.new()
        model((source, target))
        first = model.get_weights() if first is None else first
        model.set_weights(first)
        model.compile(keras.optimizers.SGD(0.5), loss)
        losses = [model.train_on_batch((source, target), target) for _ in range(2)]
        results.append([*losses, *model.get_weights()])
    assert_close(results[1], results[0])


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="only JAX traces in scopes")
def test_gradients_of_a_linear_head_within_a_compiled_function(monkeypatch):
    import jax

    monkeypatch.setattr(crossentropy, "MAX_STEPS", 4)
    random = np.random.default_rng(3)
    features, kernel = random.normal(size=(7, 5)), random.normal(size=(5, 11))
    targets, weights = random.integers(0, 11, 7), random.uniform(size=7)

    def loss(features, targets, weights):
        return ka.losses.linear_crossentropy(targets, features, kernel, weights=weights)

    wanted = jax.grad(loss)(features, targets, weights)
    result = jax.grad(jax.jit(loss))(features, targets, weights)
    np.testing.assert_allclose(result, wanted, atol=1e-6)


@EVERY_MODEL
def test_searches_over_a_model_equal_the_oracle(name):
    (row,) = [row for row in TABLE if row.name == name]
    model = row.new()

    def single(token, state):
        logits, weights, state = model.step(keras.ops.convert_to_tensor([token]), state)
        return to_numpy(logits)[0], to_numpy(weights)[0], state

    source = np.array([[3, 4, 5], [6, 0, 0]])
    greedy = ka.search.greedy(model.step, model.begin(source), 1, 2, 4)
    beam = ka.search.beam(model.step, model.begin(source), 1, 2, 4, 3, 0.6, 0.2)
    one = ka.search.beam(model.step, model.begin(source), 1, 2, 4, 1)
    sample = ka.search.sample(model.step, model.begin(source), 1, 2, 4, top_k=1, seed=5)
    assert_close(numbers(one.tokens), numbers(greedy.tokens))
    assert_close(numbers(sample.tokens), numbers(greedy.tokens))
    for b, length in enumerate((3, 1)):
        state = model.begin(source[b : b + 1, :length])
        tokens, log_prob, _ = oracle.greedy(single, state, 1, 2, 4)
        assert to_numpy(greedy.tokens)[b, 0, : len(tokens)].tolist() == tokens
        assert to_numpy(greedy.log_probs)[b, 0] == pytest.approx(log_prob, abs=1e-4)
        for n, wanted in enumerate(oracle.beam(single, state, 1, 2, 4, 3, 0.6, 0.2)):
            tokens = wanted["tokens"]
            assert to_numpy(beam.tokens)[b, n, : len(tokens)].tolist() == tokens
            assert to_numpy(beam.scores)[b, n] == pytest.approx(wanted["score"], abs=1e-4)
