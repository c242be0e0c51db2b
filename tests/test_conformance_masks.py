"""The mask contract, held over every row of the layer table.

Thousands of random cases come cheaply as large batches of small examples, each with its own masks.
"""

import hypothesis
import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

from comparing import assert_close, numbers, tensors, to_numpy
from table import SIZES, TABLE, one_per_layer, shaped

MASKED_ROWS = pytest.mark.parametrize("row", [r for r in TABLE if r.masks], ids=str)
WEIGHTED_ROWS = pytest.mark.parametrize("row", [r for r in TABLE if r.weights], ids=str)
POLICIES = ["float32", "mixed_float16", "mixed_bfloat16"]


def can_be_padded(row, letter):
    """Whether inputs have an axis `letter`, and can say of a part of it that it is padding."""
    along = [letter in axes for axes in row.masks.values()]
    return any(letter in axes for axes in row.inputs.values()) and (any(along) or bool(row.ids))


PADDED = [(row, letter) for row in TABLE for letter in "STHW" if can_be_padded(row, letter)]


def with_gradients(row, layer, inputs, masks, probes):
    """Outputs, and the gradients of their sum weighted by `probes`, by input and weight."""
    floats = {name: x for name, x in inputs.items() if x.dtype.is_floating}
    weights = {variable.path: variable.value for variable in layer.trainable_variables}
    with tf.GradientTape() as tape:
        tape.watch(list(floats.values()))
        results = row.call(layer, inputs, masks)
        pairs = zip(results, probes, strict=True)
        loss = tf.add_n([tf.reduce_sum(tf.cast(r, "float32") * p) for r, p in pairs])
    gradients = tape.gradient(loss, {**floats, **weights})
    unreached = row.unlearned + row.estimated
    for name in gradients:
        assert (gradients[name] is None) == (name.split("/")[-1] in unreached), name
    learned = {n: to_numpy(tf.convert_to_tensor(g)) for n, g in gradients.items() if g is not None}
    return numbers(results), learned


def lengthened(array, axis, extra, filler):
    """`array` with `extra` positions more at the end of `axis`."""
    shape = list(array.shape)
    shape[axis] = extra
    return np.concatenate([array, np.full(shape, filler, array.dtype)], axis)


@pytest.mark.each_value
@pytest.mark.parametrize(("row", "letter"), PADDED, ids=str)
@pytest.mark.parametrize("extra", [1, 4])
def test_appended_padding_changes_nothing(row, letter, extra):
    """In outputs and gradients; the gradient of the padding itself is exactly 0."""
    layer = row.new()
    arrays, masks = row.arrays()
    random = np.random.default_rng(23)
    probes = [random.normal(size=shaped(a, SIZES)).astype("float32") for a in row.outputs.values()]
    before, gradients = with_gradients(row, layer, tensors(arrays), masks, probes)
    for name, axis in row.axes(arrays, letter):
        arrays[name] = lengthened(arrays[name], axis, extra, 0 if row.ids else 100.0)
    for name, axis in row.axes(masks, letter):
        masks[name] = lengthened(masks[name], axis, extra, False)
    for name, axis in row.axes(row.outputs, letter):
        # Where zero is promised, a probe of 1 sees that the gradient of this zero is zero too.
        i = list(row.outputs).index(name)
        probes[i] = lengthened(probes[i], axis, extra, 1.0 if name in row.zero else 0.0)
    results, longer_gradients = with_gradients(row, layer, tensors(arrays), masks, probes)
    after = dict(zip(row.outputs, results, strict=True))
    for name, axis in row.axes(row.outputs, letter):
        after[name], padding = np.split(after[name], [-extra], axis)
        if name in row.zero or (name == row.weights and letter == row.memory):
            assert (padding == 0).all(), f"{name} at the padding"
    for name, axis in row.axes(gradients, letter):
        longer_gradients[name], padding = np.split(longer_gradients[name], [-extra], axis)
        assert (padding == 0).all(), f"gradient of {name} at the padding"
    assert_close(after.values(), before)
    assert_close(longer_gradients.values(), gradients.values(), atol=2e-5)


def random_masks(row, random, sizes):
    """From full to nearly empty, and an empty memory in every fifth example."""
    masks = {}
    for name, axes in row.masks.items():
        share = random.uniform(0.3, 1, size=(sizes["B"], *[1] * len(axes)))
        masks[name] = random.uniform(size=shaped(axes, sizes)) < share
        if axes == (row.memory,):
            masks[name][::5] = False
    return masks


def allowed(row, masks, sizes):
    """(B, T, S): where all masks of a row allow attention."""
    result = np.ones(shaped(("T", row.memory), sizes), bool)
    for name, axes in row.masks.items():
        letters = [letter in axes for letter in ("T", row.memory)]
        result &= masks[name][(slice(None), *(slice(None) if here else None for here in letters))]
    return result


def weights_by_query(row, weights):
    """(B, T, S, N) of weights with any other axes; T is 1 where there are no query steps."""
    axes = row.outputs[row.weights]
    for other in [i for i, axis in enumerate(axes) if axis not in ("T", row.memory)][::-1]:
        weights = np.moveaxis(weights, 1 + other, -1)
    weights = weights if "T" in axes else weights[:, None]
    return weights.reshape(*weights.shape[:3], -1)


@pytest.mark.each_value
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("scale", [1.0, 30.0])
@WEIGHTED_ROWS
def test_random_masks(row, policy, scale):
    """What is masked has weight and gradient exactly 0, empty rows give zeros, and never a NaN."""
    layer, sizes, random = row.new(policy), {**SIZES, "B": 101}, np.random.default_rng(29)
    arrays, _ = row.arrays(sizes)
    masks = random_masks(row, random, sizes)
    may = allowed(row, masks, sizes)
    empty = ~may.any(axis=-1)
    assert empty.sum() > 60
    assert (~empty).sum() > 60
    inputs = tensors({name: scale * array for name, array in arrays.items()})
    # A float16 gradient of these scales overflows without a small loss.
    probes = [np.full(shaped(a, sizes), 1e-4 / scale, "float32") for a in row.outputs.values()]
    results, gradients = with_gradients(row, layer, inputs, masks, probes)
    results = dict(zip(row.outputs, results, strict=True))
    for name, values in {**results, **gradients}.items():
        assert np.isfinite(values).all(), name
    weights = weights_by_query(row, results[row.weights])
    for each in np.moveaxis(weights, -1, 0):
        assert (each[~may[:, : each.shape[1]]] == 0).all()
    total = {"float32": 1e-5, "mixed_float16": 3e-3, "mixed_bfloat16": 2e-2}[policy]
    if row.normalized:
        sums = weights.sum(axis=2)[~empty[:, : weights.shape[1]]]
        np.testing.assert_allclose(sums, 1, atol=total)
    for name in row.empty:
        assert (results[name][empty] == 0).all(), name
    for name, _ in row.axes(arrays, row.memory):
        assert (gradients[name][~may.any(axis=1)] == 0).all(), name
    for mask, axes in row.masks.items():
        if axes == ("T",):
            for name in row.zero:
                assert (results[name][~masks[mask]] == 0).all(), name
            for name, _ in row.axes(arrays, "T"):
                assert (gradients[name][~masks[mask]] == 0).all(), name


@pytest.mark.parametrize("row", one_per_layer([r for r in TABLE if r.weights]), ids=str)
@hypothesis.settings(max_examples=5)
@hypothesis.given(
    sizes=st.fixed_dictionaries({axis: st.sampled_from([1, 2, 3, 5]) for axis in "BTS"}),
    seed=st.integers(0, 1000),
)
def test_random_shapes_and_masks_equal_the_oracle(row, sizes, seed):
    layer = row.new()
    arrays, _ = row.arrays(sizes, seed)
    masks = random_masks(row, np.random.default_rng(seed), sizes)
    results = row.call(layer, tensors(arrays), masks)
    assert_close(numbers(results), row.oracle(layer, arrays, masks))


@pytest.mark.each_value
@pytest.mark.parametrize("row", [r for r in TABLE if r.unweighted], ids=str)
@pytest.mark.parametrize("policy", POLICIES)
def test_asking_for_the_weights_never_changes_the_answer(row, policy):
    layer = row.new(policy)
    arrays, _ = row.arrays()
    masks = random_masks(row, np.random.default_rng(37), SIZES)
    inputs = tensors(arrays)
    results = dict(zip(row.outputs, numbers(row.call(layer, inputs, masks)), strict=True))
    del results["weights"]
    assert_close(numbers(row.unweighted(layer, inputs, masks)), results.values(), atol=0)


def _mask_of(row, name):
    """Keras fills `mask` of a layer with one input, and `<name>_mask` of one with several."""
    return "mask" if len(row.inputs) == 1 else f"{name}_mask"


def implicitly_masked(row, arrays, masks):
    """Tensors that carry the masks of their inputs, by way of a zero and a Masking layer."""
    carried, rest = {}, dict(masks)
    for name, array in arrays.items():
        mask = rest.pop(_mask_of(row, name), None)
        carried[name] = array
        if mask is not None:
            carried[name] = keras.layers.Masking()(np.where(mask[..., None], array, 0))
    return carried, rest


@MASKED_ROWS
def test_implicit_and_passed_masks_agree_and_are_left_alone(row):
    layer = row.new()
    arrays, masks = row.arrays()
    carried, rest = implicitly_masked(row, arrays, masks)
    assert len(rest) < len(masks)
    held = {name: x._keras_mask for name, x in carried.items() if hasattr(x, "_keras_mask")}
    copies = {name: to_numpy(x) for name, x in carried.items()}
    passed = {name: mask.copy() for name, mask in rest.items()}
    implicit = numbers(row.call(layer, carried, rest))
    for name, x in carried.items():
        assert getattr(x, "_keras_mask", None) is held.get(name), name
        np.testing.assert_array_equal(to_numpy(x), copies[name])
    for name, mask in held.items():
        np.testing.assert_array_equal(to_numpy(mask, "bool"), masks[_mask_of(row, name)])
    for name, mask in rest.items():
        np.testing.assert_array_equal(mask, passed[name])
    bare = {name: tf.constant(copies[name], "float32") for name in carried}
    assert_close(implicit, numbers(row.call(layer, bare, masks)), atol=0)


@MASKED_ROWS
def test_implicit_masks_work_in_a_functional_model(row):
    layer = row.new()
    arrays, masks = row.arrays()
    carried, rest = implicitly_masked(row, arrays, masks)
    inputs = {
        name: keras.Input([None] * (len(axes) - 1) + [axes[-1]], name=name)
        for name, axes in row.inputs.items()
    }
    symbols = {
        name: keras.layers.Masking()(x) if _mask_of(row, name) in masks else x
        for name, x in inputs.items()
    }
    model = keras.Model(inputs, list(row.call(layer, symbols, {})))
    given = {name: mask for name, mask in masks.items() if name not in rest}
    bare = {name: to_numpy(x, "float32") for name, x in carried.items()}
    assert_close(numbers(model(bare)), row.oracle(layer, bare, given))


@pytest.mark.parametrize(
    # NTM cells run in Keras's RNN, which takes tensors only.
    "row",
    [row for row in TABLE if row.masks and not row.name.startswith("ntm")],
    ids=str,
)
def test_masks_as_nested_lists_are_those_of_arrays(row):
    layer, (inputs, masks) = row.new(), row.arrays()
    inputs, lists = tensors(inputs), {name: mask.tolist() for name, mask in masks.items()}
    expected = numbers(row.call(layer, inputs, masks))
    assert_close(numbers(row.call(layer, inputs, lists)), expected, 0)
