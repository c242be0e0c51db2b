"""The contracts that every public layer keeps, walked over the layer table.

Masks have a file of their own, test_conformance_masks.py, and so have exports, test_export.py.
"""

import copy
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from comparing import assert_close, numbers, tensors, to_numpy
from table import (
    OTHER_SIZES,
    SIZES,
    SMALLEST_SIZES,
    TABLE,
    one_per_layer,
    public_layers,
    shaped,
)

EVERY_ROW = pytest.mark.parametrize("row", TABLE, ids=str)
EVERY_LAYER = pytest.mark.parametrize("row", one_per_layer(), ids=str)
# By default two checks of a kind share the layers.
FIRST_HALF, SECOND_HALF = (
    pytest.mark.parametrize("row", one_per_layer(part=part, parts=2), ids=str) for part in range(2)
)
POLICIES = ["float32", "mixed_float16", "mixed_bfloat16", "float64"]


def test_every_public_layer_has_a_row():
    assert {layer for row in TABLE for layer in row.holds} == public_layers()


@EVERY_ROW
def test_the_row_contains_what_it_holds(row):
    """A row stands for a class only if its layer is one, or has one inside."""
    inside = {type(part) for part in row.new()._flatten_layers()}
    assert set(row.holds) <= inside


# ---- Numbers


@EVERY_ROW
@pytest.mark.parametrize("masked", [True, False], ids=["masked", "unmasked"])
def test_numbers_equal_the_oracle_in_float64(row, masked):
    layer = row.new("float64")
    inputs, masks = row.arrays()
    for name in masks:  # the first example has nothing to attend to
        masks[name][0] &= row.masks[name] != (row.memory,)
    masks = masks if masked else {}
    results = row.call(layer, tensors(inputs, "float64"), masks)
    assert {keras.backend.standardize_dtype(result.dtype) for result in results} == {"float64"}
    assert_close(numbers(results), row.oracle(layer, inputs, masks), atol=1e-10)


@EVERY_LAYER
def test_gradients_equal_finite_differences(row):
    """Along a random direction of each input and each weight, in float64."""
    layer = row.new("float64")
    arrays, masks = row.arrays()
    arrays, random = tensors(arrays, "float64"), np.random.default_rng(19)
    probes = [random.normal(size=result.shape) for result in row.call(layer, arrays, masks)]
    inputs = {name: tf.Variable(x) for name, x in arrays.items() if x.dtype.is_floating}
    weights = {variable.path: variable.value for variable in layer.trainable_variables}

    def loss():
        results = row.call(layer, {**arrays, **{n: v.value() for n, v in inputs.items()}}, masks)
        return tf.add_n([tf.reduce_sum(r * p) for r, p in zip(results, probes, strict=True)])

    points = {**inputs, **weights}
    with tf.GradientTape() as tape:
        value = loss()
    gradients = tape.gradient(value, points)
    for name, point in points.items():
        if name.split("/")[-1] in row.unlearned + row.estimated:
            assert gradients[name] is None
            continue
        assert gradients[name] is not None, name
        direction, held = random.normal(size=point.shape), point.numpy()
        point.assign(held + 1e-5 * direction)
        above = float(loss())
        point.assign(held - 1e-5 * direction)
        below = float(loss())
        point.assign(held)
        slope = np.sum(tf.convert_to_tensor(gradients[name]).numpy() * direction)
        assert slope == pytest.approx((above - below) / 2e-5, rel=1e-5, abs=1e-7), name


@EVERY_ROW
@pytest.mark.each_value
@pytest.mark.parametrize(
    ("policy", "atol"), [("float32", 1e-5), ("mixed_float16", 2e-2), ("mixed_bfloat16", 1e-1)]
)
def test_precision(row, policy, atol):
    """Lower precision computes the same thing, keeps its weights in float32, and its dtype."""
    layer = row.new(policy)
    inputs, masks = row.arrays()
    results = row.call(layer, tensors(inputs), masks)
    compute_dtype = keras.dtype_policies.get(policy).compute_dtype
    assert {keras.backend.standardize_dtype(r.dtype) for r in results} == {compute_dtype}
    assert {variable.dtype for variable in layer.trainable_variables} <= {"float32"}
    assert_close(numbers(results), row.oracle(layer, inputs, masks), atol)


# ---- Shapes


@EVERY_ROW
@pytest.mark.each_value
@pytest.mark.parametrize("policy", POLICIES)
def test_symbolic_shapes_and_dtypes_are_the_real_ones(row, policy):
    layer = row.new(policy)
    inputs, masks = row.arrays(OTHER_SIZES)
    results = row.call(layer, tensors(inputs), masks)
    unknown = dict.fromkeys(OTHER_SIZES)  # B, T and S are None
    for sizes in (OTHER_SIZES, unknown):
        symbols = {
            name: keras.KerasTensor(shaped(axes, sizes), {**inputs, **masks}[name].dtype.name)
            for name, axes in {**row.inputs, **row.masks}.items()
        }
        outputs = row.call(
            layer, {name: symbols[name] for name in inputs}, {name: symbols[name] for name in masks}
        )
        for axes, symbol, result in zip(row.outputs.values(), outputs, results, strict=True):
            assert symbol.shape == shaped(axes, sizes)
            assert tuple(result.shape) == shaped(axes, OTHER_SIZES)
            assert symbol.dtype == keras.backend.standardize_dtype(result.dtype)


@EVERY_LAYER
def test_a_functional_model_takes_any_batch_and_length(row):
    layer = row.new()
    model = row.functional(layer)
    for sizes in (SIZES, OTHER_SIZES, SMALLEST_SIZES):
        inputs, masks = row.arrays(sizes)
        results = numbers(model({**tensors(inputs), **tensors(masks)}))
        assert_close(results, row.oracle(layer, inputs, masks))


@pytest.mark.parametrize("row", one_per_layer([r for r in TABLE if r.has_query]), ids=str)
def test_a_single_query_has_results_without_the_axis_of_steps(row, tmp_path):
    """All that holds for (B, T, D) holds for (B, D): numbers, masks, shapes, models, files."""
    row = row.without_steps()
    test_numbers_equal_the_oracle_in_float64(row, masked=True)
    test_symbolic_shapes_and_dtypes_are_the_real_ones(row, "float32")
    test_a_functional_model_takes_any_batch_and_length(row)
    test_saved_models_and_weights_load(row, tmp_path)


# ---- Saving


def without_id(config):
    """A config without the id by which others share its layer, another one in each process."""
    return {key: value for key, value in config.items() if key != "shared_object_id"}


@EVERY_LAYER
def test_config_round_trip(row):
    layer = row.new()
    saved = json.dumps(layer.get_config())
    config = json.loads(saved, object_hook=without_id)
    again = type(layer).from_config(json.loads(saved))  # Keras's RNN takes its config apart.
    assert json.loads(json.dumps(again.get_config()), object_hook=without_id) == config
    inputs, masks = row.arrays()
    row.call(again, tensors(inputs), masks)
    again.set_weights(layer.get_weights())
    assert [v.name for v in again.variables] == [v.name for v in layer.variables]
    assert_close(
        numbers(row.call(again, tensors(inputs), masks)),
        numbers(row.call(layer, tensors(inputs), masks)),
        atol=0,
    )


@EVERY_LAYER
def test_saved_models_and_weights_load(row, tmp_path):
    """Without custom_objects, and with equal outputs."""
    inputs, masks = row.arrays()
    feed = {**tensors(inputs), **tensors(masks)}
    model = row.functional(row.new())
    wanted = numbers(model(feed))
    model.save(tmp_path / "model.keras")
    assert_close(numbers(keras.saving.load_model(tmp_path / "model.keras")(feed)), wanted, 0)
    model.save_weights(tmp_path / "model.weights.h5")
    fresh = row.functional(row.make())
    if fresh.weights:
        assert np.abs(to_numpy(fresh(feed)[0]) - wanted[0]).max() > 1e-3
    fresh.load_weights(tmp_path / "model.weights.h5")
    assert_close(numbers(fresh(feed)), wanted, 0)


@FIRST_HALF
def test_copies_are_equal_and_independent(row):
    """Clones and deep copies of models, deep copies of layers, built or not."""
    inputs, masks = row.arrays()
    inputs, masks = tensors(inputs), tensors(masks)
    layer, fresh = row.new(), copy.deepcopy(row.make())
    row.call(fresh, inputs, masks)
    model = row.functional(layer)
    copies = [
        (row.functional(copied), copied.weights)
        for copied in (fresh, copy.deepcopy(layer), copy.copy(layer))
    ]
    copies += [(m, m.weights) for m in (keras.models.clone_model(model), copy.deepcopy(model))]
    feed = {**inputs, **masks}
    wanted = numbers(model(feed))
    for copied, weights in copies:
        assert not {id(v) for v in weights} & {id(v) for v in model.weights}
        assert [v.shape for v in weights] == [v.shape for v in model.weights]
        copied.set_weights(model.get_weights())
        assert_close(numbers(copied(feed)), wanted, 0)
        for variable in weights:
            variable.assign(keras.ops.ones_like(variable))
    assert_close(numbers(model(feed)), wanted, 0)


@SECOND_HALF
def test_a_layer_in_two_places_loads_as_one(row, tmp_path):
    """Called by two branches of a model: one set of weights, before and after."""
    inputs, masks = row.arrays()
    feed = {**tensors(inputs), **tensors(masks)}
    layer = row.new()
    one = row.functional(layer)
    named = {tensor.name: tensor for tensor in one.inputs}
    again = row.call(
        layer,
        {name: named[name] + (0 if row.ids else 1) for name in row.inputs},
        {name: named[name] for name in row.masks},
    )
    model = keras.Model(named, [*one.outputs, *again])
    assert len(model.weights) == len(layer.weights)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert len(loaded.weights) == len(layer.weights)
    assert_close(numbers(loaded(feed)), numbers(model(feed)), 0)


@SECOND_HALF
@pytest.mark.each_value
@pytest.mark.parametrize("mode", ["int8", "float8"])
@pytest.mark.filterwarnings("ignore:.*quantiz:UserWarning")
def test_quantized_models_load(row, mode, tmp_path):
    """What Keras quantizes are layers of its own, such as Dense, wherever they are inside."""
    inputs, masks = row.arrays()
    feed = {**tensors(inputs), **tensors(masks)}
    model = row.functional(row.new())
    model.quantize(mode)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert_close(numbers(loaded(feed)), numbers(model(feed)), 0)
    assert _modes(loaded) == _modes(model)


def _modes(model):
    return [getattr(layer, "quantization_mode", None) for layer in model._flatten_layers()]


# ---- Training, compiled or not


@EVERY_LAYER
@pytest.mark.each_value
@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "xla"])
def test_training_is_the_same_eager_in_a_graph_and_under_xla(row, jit_compile):
    inputs, masks = row.arrays()
    feed = {**tensors(inputs), **tensors(masks)}
    axes = next(iter(row.outputs.values()))
    target = np.random.default_rng(31).normal(size=shaped(axes, SIZES)).astype("float32")
    # As most data comes: the size of a batch is known when it runs only.
    batches = tf.data.Dataset.from_tensor_slices((feed, target)).batch(SIZES["B"])
    trained = []
    for options in ({"run_eagerly": True}, {"jit_compile": jit_compile}):
        model = row.functional(row.new(), projected=True)
        model = keras.Model(model.inputs, model.outputs[0])
        model.compile(keras.optimizers.SGD(0.03), "mse", **options)
        before = [to_numpy(variable) for variable in model.trainable_variables]
        history = model.fit(batches, epochs=2, verbose=0)
        assert history.history["loss"][1] < history.history["loss"][0]
        after = [to_numpy(variable) for variable in model.trainable_variables]
        for variable, one, other in zip(model.trainable_variables, before, after, strict=True):
            learned = variable.name not in row.unlearned
            assert (np.abs(one - other).max() > 0) == learned, variable.path
        trained.append(after)
    if not row.draws:
        assert_close(trained[1], trained[0])


@FIRST_HALF
def test_a_step_on_two_devices_is_that_on_one(row, two_devices):
    """Of the same two examples, one on each device."""
    axes = next(iter(row.outputs.values()))
    target = np.random.default_rng(31).normal(size=shaped(axes, SIZES)).astype("float32")
    inputs, masks = row.arrays()
    batch = {**inputs, **masks}, target

    def new():
        model = row.functional(row.new(), projected=True)
        model = keras.Model(model.inputs, model.outputs[0])
        # The sum over both devices; a mean would be that over what each of them does not mask.
        model.compile(keras.optimizers.SGD(0.1), keras.losses.MeanSquaredError(reduction="sum"))
        model.optimizer.build(model.trainable_variables)
        return model

    def share(context):
        i = context.replica_id_in_sync_group
        return keras.tree.map_structure(lambda x: tf.constant(x[i : i + 1]), batch)

    one = new()
    before = numbers(one.trainable_variables)
    one.train_step(keras.tree.map_structure(tf.constant, batch))
    with two_devices.scope():
        both = new()
    shares = two_devices.experimental_distribute_values_from_function(share)
    two_devices.run(both.train_step, (shares,))
    after = numbers(both.trainable_variables)
    for variable, x, y in zip(both.trainable_variables, before, after, strict=True):
        first, second = numbers(variable.value.values)
        np.testing.assert_array_equal(first, second, variable.path)
        assert (np.abs(y - x).max() > 0) == (variable.name not in row.unlearned), variable.path
    if not row.draws:  # each device draws for itself
        assert_close(after, numbers(one.trainable_variables))
