"""Losses on attention weights."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_attention as ka
from comparing import to_numpy
from oracles import history


def distributions(*shape, seed=3):
    values = np.random.default_rng(seed).uniform(size=shape) ** 5
    return values / values.sum(axis=-1, keepdims=True)


# ---- Coverage


@pytest.mark.parametrize("masked", [True, False])
def test_coverage_loss_equals_the_loops(masked):
    weights = distributions(11, 5, 7)
    weights[3, 2:] = 0  # steps that attend to nothing
    weights[4] = 0
    mask = np.random.default_rng(5).uniform(size=(11, 5)) < 0.6
    mask[6] = False
    losses = to_numpy(ka.losses.coverage_loss(weights, mask if masked else None))
    rows = mask if masked else np.ones_like(mask)
    wanted = [history.coverage_loss(w, row) for w, row in zip(weights, rows, strict=True)]
    np.testing.assert_allclose(losses, wanted, atol=1e-6)
    assert losses[4] == 0


def test_coverage_loss_is_zero_for_new_positions_and_largest_for_one():
    same = np.zeros((1, 4, 4))
    same[..., 2] = 1
    losses = to_numpy(ka.losses.coverage_loss(np.concatenate([np.eye(4)[None], same])))
    np.testing.assert_allclose(losses, [0, 3 / 4])


@pytest.mark.parametrize(
    ("policy", "dtype"), [("float16", "float32"), ("bfloat16", "float32"), ("float64", "float64")]
)
def test_coverage_loss_sums_in_at_least_float32(policy, dtype):
    weights = keras.ops.cast(np.full((1, 5000, 1), 1.0), policy)
    loss = ka.losses.coverage_loss(weights)
    assert keras.backend.standardize_dtype(loss.dtype) == dtype
    np.testing.assert_allclose(to_numpy(loss), [4999 / 5000], rtol=1e-6)


def test_padding_changes_no_coverage_loss():
    weights = distributions(3, 5, 7)
    padded = np.pad(weights, [(0, 0), (0, 4), (0, 2)])
    wanted = to_numpy(ka.losses.coverage_loss(weights))
    np.testing.assert_allclose(to_numpy(ka.losses.coverage_loss(padded)), wanted, atol=1e-6)
    padded[:, 5:] = 1 / 9
    mask = np.broadcast_to(np.arange(9) < 5, (3, 9))
    losses = ka.losses.coverage_loss(padded, mask)
    np.testing.assert_allclose(to_numpy(losses), wanted, atol=1e-6)


class Penalized(keras.layers.Layer):
    """Adds the coverage loss of its inputs to the loss of the model."""

    def call(self, weights):
        self.add_loss(keras.ops.mean(ka.losses.coverage_loss(weights)))
        return weights


@pytest.mark.parametrize("jit_compile", [True, False])
def test_coverage_loss_trains_attention_to_avoid_repetition(jit_compile):
    query, value = (keras.Input((None, 5)) for _ in range(2))
    _, weights = ka.CoverageAttention(7)(query, value, return_attention_scores=True)
    model = keras.Model([query, value], Penalized()(weights))
    # The compiled loss is zero: the model learns from the coverage loss only.
    model.compile(keras.optimizers.Adam(0.1), lambda _, y: 0 * y[..., 0], jit_compile=jit_compile)
    random = np.random.default_rng(5)
    inputs = [random.normal(size=(64, 4, 5)).astype("float32") for _ in range(2)]
    history = model.fit(inputs, np.zeros((64, 4)), epochs=20, batch_size=64, verbose=0).history
    assert history["loss"][-1] < 0.5 * history["loss"][0]


# ---- Doubly stochastic attention


@pytest.mark.parametrize("masked", [True, False])
def test_doubly_stochastic_equals_the_loops(masked):
    weights = distributions(11, 5, 6)
    mask = np.random.default_rng(5).uniform(size=(11, 5)) < 0.6
    wanted = []
    for w, row in zip(weights, mask if masked else np.ones_like(mask), strict=True):
        totals = [sum(w[t, i] for t in range(5) if row[t]) for i in range(6)]
        wanted.append(sum((1 - total) ** 2 for total in totals))
    for shape in ((11, 5, 6), (11, 5, 2, 3)):
        losses = ka.losses.doubly_stochastic(weights.reshape(shape), mask if masked else None)
        np.testing.assert_allclose(to_numpy(losses), wanted, atol=1e-6)


def test_doubly_stochastic_is_zero_if_every_position_is_attended_to_once():
    each, one = np.eye(4)[None], np.tile(np.eye(4)[:1], (4, 1))[None]
    losses = to_numpy(ka.losses.doubly_stochastic(np.concatenate([each, one])))
    np.testing.assert_allclose(losses, [0, 9 + 3])


@pytest.mark.parametrize(
    ("policy", "dtype"), [("float16", "float32"), ("bfloat16", "float32"), ("float64", "float64")]
)
def test_doubly_stochastic_sums_in_at_least_float32(policy, dtype):
    loss = ka.losses.doubly_stochastic(keras.ops.cast(np.full((1, 5000, 1), 1.0), policy))
    assert keras.backend.standardize_dtype(loss.dtype) == dtype
    np.testing.assert_allclose(to_numpy(loss), [4999.0**2], rtol=1e-6)


# ---- REINFORCE


def test_the_gradients_of_reinforce_are_those_of_the_paper():
    """(log p(y | s) - b) d log p(s) and dH, each times its lambda; none through the reward."""
    random = np.random.default_rng(3)
    log_likelihood, baseline = random.normal(size=5), random.normal(size=5)
    parts = [tf.constant(x) for x in (log_likelihood, *random.normal(size=(2, 5, 1)))]
    with tf.GradientTape() as tape:
        tape.watch(parts)
        losses = ka.losses.reinforce(*parts, baseline, reward_weight=0.7, entropy_weight=0.3)
    assert tuple(losses.shape) == (5,)
    reward = log_likelihood - baseline
    wanted = -0.7 * reward * parts[1].numpy()[:, 0] - 0.3 * parts[2].numpy()[:, 0]
    np.testing.assert_allclose(to_numpy(losses), wanted, atol=1e-12)
    d_likelihood, d_log_prob, d_entropy = tape.gradient(losses, parts)
    assert d_likelihood is None
    np.testing.assert_allclose(to_numpy(d_log_prob)[:, 0], -0.7 * reward, atol=1e-12)
    np.testing.assert_allclose(to_numpy(d_entropy), -0.3, atol=1e-12)


def test_the_moving_average_forgets_at_its_rate():
    values, baseline, wanted = np.random.default_rng(3).normal(size=(6, 4)), 0.0, 0.0
    for row in values:
        baseline = ka.losses.moving_average(baseline, row)
        wanted = 0.9 * wanted + 0.1 * row.mean()
    assert float(baseline) == pytest.approx(wanted, abs=1e-6)
    assert float(ka.losses.moving_average(-3.0, values[0], decay=0.0)) == pytest.approx(
        values[0].mean(), abs=1e-6
    )


def test_errors_name_the_argument_and_what_is_expected():
    with pytest.raises(ValueError, match=r"`weights`.*\(2, 3\).*\(batch, queries, height, width\)"):
        ka.losses.doubly_stochastic(np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"`query_mask`.*\(2, 5\).*\(2, 3\)"):
        ka.losses.doubly_stochastic(np.ones((2, 3, 5, 7)), np.ones((2, 5)))
    with pytest.raises(ValueError, match=r"`log_prob`.*\(2, 3\).*\(batch, 1\)"):
        ka.losses.reinforce(np.ones(2), np.ones((2, 3)), np.ones((2, 1)), 0.0)
    three, two = np.ones(3), np.ones(2)
    for argument, parts in (
        ("log_prob", (three, two, three, 0.0)),
        ("entropy", (three, three, two, 0.0)),
        ("baseline", (three, three, three, two)),
    ):
        with pytest.raises(ValueError, match=rf"`{argument}` has batch size 2.*batch size 3"):
            ka.losses.reinforce(*parts)
    with pytest.raises(ValueError, match=r"`weights`.*\(2, 3\).*\(batch, queries, memory\)"):
        ka.losses.coverage_loss(np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"`query_mask`.*\(2, 5\).*\(2, 3\)"):
        ka.losses.coverage_loss(np.ones((2, 3, 5)), np.ones((2, 5)))
