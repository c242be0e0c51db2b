"""Losses on attention weights."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_attention as ka
from comparing import to_numpy
from oracles import history
from oracles import losses as oracle


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


# ---- Diagonal alignment


def pair_mask(query_mask, memory_mask):
    return query_mask[:, :, None] & memory_mask[:, None, :]


@pytest.mark.parametrize("width", [0.2, 0.7])
def test_diagonal_alignment_equals_the_loops(width):
    """Padding at the end, at the start and in the middle does not count, nor does its number."""
    weights, random = distributions(11, 5, 7), np.random.default_rng(5)
    query_mask, memory_mask = random.uniform(size=(11, 5)) < 0.6, random.uniform(size=(11, 7)) < 0.6
    query_mask[3], memory_mask[4], query_mask[5] = False, False, True
    losses = ka.losses.diagonal_alignment(pair_mask(query_mask, memory_mask), weights, width)
    rows = zip(weights, query_mask, memory_mask, strict=True)
    wanted = [oracle.diagonal_alignment(*row, width) for row in rows]
    np.testing.assert_allclose(to_numpy(losses), wanted, atol=1e-6)
    assert to_numpy(losses)[[3, 4]].tolist() == [0, 0]
    everything = [np.ones(size, bool) for size in (5, 7)]
    wanted = [oracle.diagonal_alignment(w, *everything, width) for w in weights]
    unmasked = ka.losses.diagonal_alignment(None, weights, width)
    np.testing.assert_allclose(to_numpy(unmasked), wanted, atol=1e-6)


def test_padding_changes_no_diagonal_alignment():
    weights = distributions(3, 5, 7)
    masks = [np.arange(5) < [[5], [5], [2]], np.arange(7) < [[7], [3], [7]]]
    wanted = to_numpy(ka.losses.diagonal_alignment(pair_mask(*masks), weights))
    weights = np.pad(weights, [(0, 0), (0, 4), (0, 2)], constant_values=1 / 9)
    masks = [np.pad(mask, [(0, 0), (0, more)]) for mask, more in zip(masks, (4, 2), strict=True)]
    losses = ka.losses.diagonal_alignment(pair_mask(*masks), weights)
    np.testing.assert_allclose(to_numpy(losses), wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("policy", "dtype"), [("float16", "float32"), ("bfloat16", "float32"), ("float64", "float64")]
)
def test_diagonal_alignment_sums_in_at_least_float32(policy, dtype):
    weights = keras.ops.cast(np.full((1, 300, 300), 1.0), policy)
    loss = ka.losses.diagonal_alignment(None, weights)
    assert keras.backend.standardize_dtype(loss.dtype) == dtype
    t, s = np.mgrid[:300, :300] / 300
    np.testing.assert_allclose(
        to_numpy(loss), [(1 - np.exp(-((s - t) ** 2) / 0.08)).mean()], rtol=1e-5
    )


# ---- Losses on the weights in `compile`


@keras.saving.register_keras_serializable("tests")
def coverage(mask, weights):
    return ka.losses.coverage_loss(weights, mask)


@keras.saving.register_keras_serializable("tests")
def even(mask, weights):
    return ka.losses.doubly_stochastic(weights, mask)


WORDS = np.array([[4, 7, 3, 9, 2], [5, 1, 8, 0, 0]], "int32")
STEPS = np.array([[1, 3, 4], [1, 6, 0]], "int32")
TARGETS = {
    ka.losses.guided_alignment: np.eye(3, 5)[None] * (STEPS != 0)[:, :, None],
    ka.losses.diagonal_alignment: pair_mask(STEPS != 0, WORDS != 0),
    coverage: STEPS != 0,
    even: STEPS != 0,
}


@pytest.mark.parametrize("loss", TARGETS, ids=lambda loss: loss.__name__)
def test_losses_on_the_weights_are_compiled_trained_saved_and_loaded(loss, tmp_path):
    steps, words = (keras.Input((None,), dtype="int32") for _ in range(2))
    query, value = (keras.layers.Embedding(11, 5, mask_zero=True)(x) for x in (steps, words))
    context, weights = ka.BahdanauAttention(7)(query, value, return_attention_scores=True)
    logits = keras.layers.Dense(11)(context)
    model = keras.Model([steps, words], {"logits": logits, "attention": weights})
    model.compile(
        keras.optimizers.Adam(0.1),
        {"logits": keras.losses.SparseCategoricalCrossentropy(True), "attention": loss},
        loss_weights={"logits": 0.0, "attention": 1.0},
        jit_compile=True,
    )
    x, y = [STEPS, WORDS], {"logits": STEPS, "attention": TARGETS[loss]}
    wanted = to_numpy(loss(TARGETS[loss], model(x)["attention"])).mean()
    history = model.fit(x, y, epochs=20, verbose=0).history["attention_loss"]
    np.testing.assert_allclose(history[0], wanted, rtol=1e-5)
    assert history[-1] < history[0]
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(
        loaded.evaluate(x, y, verbose=0), model.evaluate(x, y, verbose=0), rtol=1e-5
    )


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
    with pytest.raises(ValueError, match=r"`mask`.*\(2, 5\).*\(2, 3, 5\)"):
        ka.losses.diagonal_alignment(np.ones((2, 5)), np.ones((2, 3, 5)))
    with pytest.raises(ValueError, match=r"`weights`.*\(2, 3\).*\(batch, queries, memory\)"):
        ka.losses.diagonal_alignment(None, np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"`width` is 0; expected a number above 0"):
        ka.losses.diagonal_alignment(None, np.ones((2, 3, 5)), width=0)
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
