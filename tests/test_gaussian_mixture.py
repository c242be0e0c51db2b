"""Gaussian mixture attention: what it learns, and how its window moves."""

import keras
import numpy as np
import pytest

import keras_attention as ka
from comparing import assert_close, numbers, to_numpy
from test_learning import accuracy, reader, sequences


def test_it_learns_to_read_in_order():
    queries, memories, symbols = sequences()
    layer = ka.GaussianMixtureAttention(4)
    model = reader(lambda query, memory: layer(query, memory))
    assert accuracy(model, [queries, memories], symbols) > 0.97


def test_the_content_of_the_memory_has_no_influence():
    random = np.random.default_rng(3)
    query = random.normal(size=(2, 3, 5)).astype("float32")
    layer = ka.GaussianMixtureAttention(2)
    weights = [
        to_numpy(layer(query, random.normal(size=(2, 7, 11)), return_attention_scores=True)[1])
        for _ in range(2)
    ]
    np.testing.assert_array_equal(*weights)


def test_the_centers_only_move_forward_and_a_masked_query_leaves_them():
    random = np.random.default_rng(5)
    layer = ka.GaussianMixtureAttention(3)
    query, value = (random.normal(size=(2, n, 5)).astype("float32") for n in (6, 4))
    layer(query, value)
    memory = layer.prepare(value)
    state, centers = layer.initial_state(memory), []
    for t in range(6):
        state = layer.step(query[:, t], memory, state)[2]
        centers.append(to_numpy(state))
    assert (np.diff(centers, axis=0) > 0).all()
    mask = np.ones((2, 6), bool)
    mask[:, 2:4] = False
    with_gap = to_numpy(layer(query, value, query_mask=mask))
    without = to_numpy(layer(query[:, [0, 1, 4, 5]], value))
    assert_close([with_gap[:, [0, 1, 4, 5]]], [without])
    assert not with_gap[:, 2:4].any()


@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("scale", [1e4, -1e4])
def test_extreme_queries_give_finite_weights_and_gradients(policy, scale):
    layer = ka.GaussianMixtureAttention(2, dtype=policy)
    query = keras.Input((None, 5))
    model = keras.Model(query, layer(query, query))
    model.compile(keras.optimizers.SGD(1e-30), "mse")
    inputs = scale * np.random.default_rng(7).normal(size=(2, 3, 5))
    loss = model.fit(inputs, np.zeros((2, 3, 5)), verbose=0).history["loss"][0]
    assert not np.isnan(loss)
    assert all(np.isfinite(variable).all() for variable in numbers(model.trainable_variables))


def test_no_queries_give_an_empty_context():
    context = ka.GaussianMixtureAttention(3)(np.ones((2, 0, 5)), np.ones((2, 3, 7)))
    assert tuple(context.shape) == (2, 0, 7)


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match="`num_components` is 0; expected an integer"):
        ka.GaussianMixtureAttention(0)
