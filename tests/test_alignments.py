"""Alignments alone: long memories, samples, seeds. Inside attention layers: see the table."""

import keras
import numpy as np
import pytest

import keras_attention as ka
from comparing import assert_close, numbers, to_numpy


def stop_probabilities(energies, start):
    """Raffel 2017, eq. 9: the probability of stopping at j, summed over the previous position."""
    chosen = 1 / (1 + np.exp(-energies))
    weights = np.zeros(len(energies))
    for j in range(len(energies)):
        for k in range(j + 1):
            weights[j] += start[k] * np.prod(1 - chosen[k:j]) * chosen[j]
    return weights


@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0])
def test_monotonic_is_right_on_long_memories_and_for_sure_choices(scale):
    """Where the product of 1 - p vanishes, which is where a division by it fails."""
    random = np.random.default_rng(3)
    energies = scale * random.normal(size=97)
    start = random.dirichlet(np.ones(97))
    alignment = ka.alignments.Monotonic()
    weights, (state,) = alignment(
        energies[None, None].astype("float32"), state=(start[None].astype("float32"),)
    )
    expected = stop_probabilities(energies.astype("float32").astype(float), start)
    np.testing.assert_allclose(to_numpy(weights)[0, 0], expected, atol=1e-6)
    np.testing.assert_allclose(to_numpy(state)[0], expected, atol=1e-6)


@pytest.mark.parametrize(
    "make",
    [lambda: ka.alignments.Hard(0, seed=3), lambda: ka.alignments.StraightThrough(seed=3)],
    ids=["hard", "straight_through"],
)
def test_samples_have_the_probabilities_of_the_softmax_and_are_never_masked(make):
    scores = np.log(np.array([0.5, 0.3, 0.15, 0.05], "float32"))
    alignment, shape = make(), (8000, 1, 4)
    noise = alignment.sample_noise(shape, training=True)
    sampled, _ = alignment(np.broadcast_to(scores, shape), noise=noise)
    np.testing.assert_array_equal(to_numpy(sampled).sum(axis=-1), 1)
    frequencies = to_numpy(sampled).mean(axis=(0, 1))
    np.testing.assert_allclose(frequencies, [0.5, 0.3, 0.15, 0.05], atol=4 * 0.5 / np.sqrt(8000))
    mask = np.array([False, True, True, False])
    sampled, _ = alignment(np.broadcast_to(scores, shape), mask=mask, noise=noise)
    frequencies = to_numpy(sampled).mean(axis=(0, 1))
    np.testing.assert_allclose(frequencies, [0, 2 / 3, 1 / 3, 0], atol=4 * 0.5 / np.sqrt(8000))


@pytest.mark.parametrize("seed", [None, 3, 7])
def test_dropout_does_not_depend_on_the_sampled_position(seed):
    """Two generators are seeded with one number, and must not sample the same noise."""
    alignment = ka.alignments.Hard(expected_probability=0, seed=seed)
    layer = ka.HardSpatialAttention(5, alignment, gate=False, dropout=0.5, seed=seed)
    query = np.ones((4000, 3), "float32")
    value = np.ones((4000, 6, 2), "float32")
    context = to_numpy(layer(query, value, training=True))
    assert set(np.unique(context)) == {0.0, 2.0}
    assert (context[:, 0] == 0).mean() == pytest.approx(0.5, abs=0.04)


@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("layer_class", [ka.SoftSpatialAttention, ka.HardSpatialAttention])
def test_masked_positions_of_feature_maps(policy, layer_class):
    random = np.random.default_rng(5)
    layer = layer_class(7, dtype=policy)
    query, value = random.normal(size=(3, 2, 5)), random.normal(size=(3, 4, 3, 11))
    value_mask = random.uniform(size=(3, 4, 3)) < 0.5
    value_mask[0] = False
    query_mask = np.array([[True, True], [True, False], [True, True]])
    context, maps = numbers(
        layer(query, value, query_mask, value_mask, return_attention_scores=True)
    )
    assert np.isfinite(context).all()
    assert (maps[~np.broadcast_to(value_mask[:, None], maps.shape)] == 0).all()
    np.testing.assert_allclose(maps.sum(axis=(2, 3)), [[0, 0], [1, 0], [1, 1]], atol=2e-2)
    assert (context[0] == 0).all()
    assert (context[1, 1] == 0).all()
    one = layer(query[:, 1], value, query_mask[:, 1], value_mask)
    np.testing.assert_allclose(to_numpy(one), context[:, 1], atol=1e-2)


def test_local_monotonic_counts_the_steps_that_are_not_masked():
    alignment = ka.alignments.LocalMonotonic(window=0)
    mask = np.array([[[True] * 4, [False] * 4, [True] * 4]])
    weights, (count,) = alignment(
        np.zeros((1, 3, 4)), mask=mask, state=(np.zeros((1, 1), "int32"),)
    )
    assert to_numpy(weights)[0].argmax(axis=-1).tolist() == [0, 0, 1]
    assert to_numpy(weights)[0, 1].sum() == 0
    assert int(count[0, 0]) == 2


def test_a_callable_initializes():
    attention = ka.LuongAttention(
        "dot", ka.alignments.LocalPredictive(3, 2, kernel_initializer=keras.ops.ones)
    )
    attention(np.ones((1, 2, 5)), np.ones((1, 3, 5)))
    np.testing.assert_array_equal(to_numpy(attention.alignment.position_vector), np.ones(3))


def test_hooks_of_0_1_0_warn_and_still_work():
    """Scores and alignments of users, who override the hooks by the names that they had."""
    with pytest.warns(DeprecationWarning, match="`Even.add_alignment_weights` is now called"):

        class Even(ka.alignments.Alignment):
            def add_alignment_weights(self, query_width):
                self.added = query_width

            def call(self, scores, mask=None, query=None, state=(), noise=()):
                return keras.ops.ones_like(scores) / scores.shape[-1], state

    with pytest.warns(DeprecationWarning, match="`Halved.project` is now called `make_keys`"):

        class Halved(ka.scores.Score):
            def project(self, memory):
                return memory / 2

            def call(self, query, keys):
                return keras.ops.matmul(query, keras.ops.transpose(keys, (0, 2, 1)))

    attention, ones = ka.Attention(Halved(), Even()), np.ones((1, 4, 3))
    results = attention(np.ones((1, 2, 3)), ones, return_attention_scores=True)
    assert attention.alignment.added == 3
    assert_close(numbers(results), [np.ones((1, 2, 3)), np.full((1, 2, 4), 0.25)])
    assert_close(numbers([attention.score.prepare(ones)]), [ones / 2])


def test_a_new_hook_wins_over_an_old_name_in_the_same_class():
    """As in a score for both versions, or one with a method of its own that is called so."""

    class Halved(ka.scores.Score):
        def make_keys(self, memory):
            return memory / 2

        def project(self, memory):
            raise NotImplementedError

        def call(self, query, keys):
            return keras.ops.matmul(query, keras.ops.transpose(keys, (0, 2, 1)))

    score, ones = Halved(), np.ones((1, 4, 3))
    score.build((1, 2, 3), (1, 4, 3))
    assert_close(numbers([score.prepare(ones)]), [ones / 2])


@pytest.mark.parametrize("names", [{}, {"names": ("softmax",)}])
def test_a_subclass_of_a_user_takes_over_no_name(names):
    for base in (ka.alignments.Softmax, ka.alignments.Alignment):
        type("Own", (base,), {**names, "call": ka.alignments.Softmax.call})
    assert type(ka.BahdanauAttention(3).alignment) is ka.alignments.Softmax
    assert type(ka.HardSpatialAttention(3, "hard").alignment) is ka.alignments.Hard


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_an_alignment_that_returns_weights_alone_is_told(batch):
    """A batch of two would otherwise be taken for weights and a state."""

    class Alone(ka.alignments.Alignment):
        def call(self, scores, mask=None, query=None, state=(), noise=()):
            return ka.masks.masked_softmax(scores, mask)

    query, memory = np.ones((batch, 3, 8), "float32"), np.ones((batch, 5, 8), "float32")
    with pytest.raises(ValueError, match=r"`Alone.call` returned a .*; expected a tuple"):
        ka.Attention("dot", Alone())(query, memory)
