"""masks: combining them, and the one softmax that turns them into numbers."""

import hypothesis
import hypothesis.extra.numpy
import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

import keras_attention as ka
from comparing import to_numpy
from keras_attention import masks
from oracles import attention as oracle

SIZES = st.sampled_from([1, 2, 3, 5, 7])
EPSILON = {"float64": 1e-14, "float32": 1e-6, "float16": 1e-3, "bfloat16": 1e-2}


@st.composite
def mask_sets(draw):
    batch, queries, length = draw(SIZES), draw(SIZES), draw(SIZES)

    def maybe(*shape):
        array = hypothesis.extra.numpy.arrays(bool, shape)
        return draw(st.one_of(st.none(), array))

    three = maybe(batch, queries, length)
    two = maybe(queries, length) if draw(st.booleans()) else None
    return {
        "shape": (batch, queries, length),
        "query_mask": maybe(batch, queries),
        "value_mask": maybe(batch, length),
        "key_mask": maybe(batch, length),
        "attention_mask": three if two is None else two,
        "causal": draw(st.booleans()),
    }


@hypothesis.given(mask_sets())
def test_combine_allows_what_every_mask_allows(case):
    _, queries, length = case["shape"]
    causal = masks.causal_mask(queries, length) if case["causal"] else None
    given = {name: mask for name, mask in case.items() if name.endswith("_mask")}
    combined = masks.combine(**given, causal_mask=causal)
    if causal is None and all(mask is None for mask in given.values()):
        assert combined is None
        return
    assert keras.backend.standardize_dtype(combined.dtype) == "bool"
    expected = oracle.combine(**case)
    np.testing.assert_array_equal(
        np.broadcast_to(to_numpy(combined, "bool"), case["shape"]), expected
    )


@pytest.mark.parametrize("dtype", ["int32", "float32", "uint8"])
def test_combine_takes_masks_of_any_dtype(dtype):
    mask = np.array([[1, 0, 1]], dtype)
    combined = masks.combine(value_mask=mask)
    np.testing.assert_array_equal(to_numpy(combined, "int32"), [[[1, 0, 1]]])


@hypothesis.given(
    st.tuples(SIZES, SIZES, SIZES).flatmap(
        lambda shape: st.tuples(
            hypothesis.extra.numpy.arrays(np.float64, shape, elements=st.floats(-50, 50, width=32)),
            hypothesis.extra.numpy.arrays(bool, shape),
        )
    )
)
def test_masked_softmax_is_the_softmax_of_what_is_allowed(case):
    scores, mask = case
    weights = to_numpy(masks.masked_softmax(keras.ops.convert_to_tensor(scores, "float64"), mask))
    np.testing.assert_allclose(weights, oracle.masked_softmax(scores, mask), rtol=1e-10, atol=0)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 50.0, 1e4])
def test_thousands_of_random_rows(dtype, scale):
    """Exact zeros, sums of one, no NaN: also with scores where -1e9 no longer fits the dtype."""
    random = np.random.default_rng(7)
    scores = keras.ops.cast(scale * random.normal(size=(1009, 3, 11)), dtype)
    share = random.uniform(size=(1009, 3, 1))  # from nearly full to nearly empty rows
    mask = random.uniform(size=(1009, 3, 11)) < share
    mask[::7] = False
    weights = masks.masked_softmax(scores, mask)
    assert keras.backend.standardize_dtype(weights.dtype) == dtype
    weights = to_numpy(weights)
    assert np.isfinite(weights).all()
    assert (weights[~mask] == 0).all()
    some = mask.any(axis=-1)
    assert some.sum() > 2000
    assert (~some).sum() > 400
    np.testing.assert_allclose(weights.sum(axis=-1)[some], 1, atol=11 * EPSILON[dtype])
    expected = oracle.masked_softmax(to_numpy(scores)[:53], mask[:53])
    np.testing.assert_allclose(weights[:53], expected, atol=EPSILON[dtype])


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_without_a_mask_and_with_all_allowed_agree(dtype):
    scores = keras.ops.cast(np.random.default_rng(1).normal(size=(5, 3, 7)), dtype)
    free = to_numpy(masks.masked_softmax(scores))
    allowed = to_numpy(masks.masked_softmax(scores, np.ones((5, 3, 7), bool)))
    np.testing.assert_allclose(free, allowed, atol=EPSILON[dtype])


def test_what_is_masked_may_be_anything():
    """Garbage at masked positions, infinite and NaN included, never leaks."""
    for garbage in (1e30, -1e38, np.inf, -np.inf, np.nan):
        scores = np.array([[[0.3, garbage, -0.2]]], "float32")
        weights = to_numpy(masks.masked_softmax(scores, np.array([[[True, False, True]]])))
        expected = oracle.masked_softmax(
            np.array([[[0.3, 0.0, -0.2]]]), np.array([True, False, True])
        )
        np.testing.assert_allclose(weights, expected, atol=1e-6)


@pytest.mark.parametrize("masked", [True, False])
def test_a_memory_of_no_steps_gets_no_weights(masked):
    mask = np.ones((2, 3, 0), bool) if masked else None
    assert masks.masked_softmax(np.zeros((2, 3, 0), "float32"), mask).shape == (2, 3, 0)


@pytest.mark.filterwarnings("error")
def test_a_memory_of_one_step_gets_all_the_weight():
    """Keras warns of a softmax of one number; a picture's mean is a memory all the same."""
    weights = masks.masked_softmax(np.array([[[-7.0]], [[9.0]]], "float32"))
    assert to_numpy(weights).tolist() == [[[1.0]], [[1.0]]]


def test_float16_scores_that_overflowed_are_large():
    scores = keras.ops.cast([[[np.inf, 0.0, np.inf, -np.inf]]], "float16")
    mask = np.array([[[True, True, False, True]]])
    np.testing.assert_array_equal(to_numpy(masks.masked_softmax(scores, mask)), [[[1, 0, 0, 0]]])


def test_the_given_mask_and_scores_are_not_modified():
    scores = np.random.default_rng(3).normal(size=(2, 3, 5)).astype("float32")
    mask = np.random.default_rng(4).uniform(size=(2, 3, 5)) < 0.5
    copies = scores.copy(), mask.copy()
    masks.masked_softmax(scores, mask)
    np.testing.assert_array_equal(scores, copies[0])
    np.testing.assert_array_equal(mask, copies[1])


def test_masked_mean():
    random = np.random.default_rng(5)
    values, mask = random.normal(size=(3, 5, 2)), random.uniform(size=(3, 5)) < 0.6
    mask[1] = False
    expected = np.zeros((3, 2))
    for b in range(3):
        chosen = [values[b, s] for s in range(5) if mask[b, s]]
        expected[b] = np.mean(chosen, axis=0) if chosen else 0.0
    mean = masks.masked_mean(keras.ops.convert_to_tensor(values, "float64"), mask)
    np.testing.assert_allclose(to_numpy(mean), expected, atol=1e-14)
    everything = masks.masked_mean(keras.ops.convert_to_tensor(values, "float64"))
    np.testing.assert_allclose(to_numpy(everything), values.mean(axis=1), atol=1e-14)


def test_implicit_mask_is_the_one_keras_attached():
    ids = np.array([[4, 0, 2]])
    embedded = keras.layers.Embedding(5, 3, mask_zero=True)(ids)
    np.testing.assert_array_equal(
        to_numpy(ka.masks.implicit_mask(embedded), "bool"), [[True, False, True]]
    )
    assert ka.masks.implicit_mask(keras.ops.ones((1, 3))) is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("hidden", masks.mask_scores),
        ("zeroed", masks.zero_masked),
        ("order_mask", masks.causal_window_mask),
        ("HIDDEN", masks.MASKED_SCORE),
    ],
)
def test_names_of_0_1_0_warn_and_still_work(old, new):
    with pytest.warns(DeprecationWarning, match=f"masks.{old}"):
        assert getattr(masks, old) is new


@pytest.mark.parametrize("length", [1, 5])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_a_row_of_infinitely_low_scores_has_nothing_to_attend_to(length, dtype):
    scores = tf.cast(tf.fill((2, length), -np.inf), dtype)
    with tf.GradientTape() as tape:
        tape.watch(scores)
        weights = masks.masked_softmax(scores, np.ones((2, length), bool))
        squares = keras.ops.sum(weights**2)
    assert not np.any(to_numpy(weights))
    assert not np.any(to_numpy(tape.gradient(squares, scores)))


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_score_that_is_not_a_number_is_seen_unless_it_is_masked(jit_compile):
    scores = tf.constant([[np.nan, 1.0, 2.0], [3.0, np.nan, 3.0]])
    mask = tf.constant([[True, True, False], [True, False, True]])
    softmax = tf.function(masks.masked_softmax, jit_compile=jit_compile)
    weights = to_numpy(softmax(scores, mask))
    assert np.isnan(weights[0]).any()
    np.testing.assert_allclose(weights[1], [0.5, 0, 0.5])
