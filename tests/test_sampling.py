"""Sampling: frequencies, truncation, seeds. For tests of all searches, see test_search.py."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_attention as ka
from comparing import to_numpy
from test_search import END, START, Language


def constant_step(probabilities):
    logits = np.log(probabilities).astype("float32")

    def step(tokens, state):
        batch = ops.shape(state)[0]
        return ops.broadcast_to(logits, (batch, len(logits))), ops.ones((batch, 1)), state + 0

    return step


PROBABILITIES = np.array([0.1, 0.25, 0.05, 0.4, 0.2])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, PROBABILITIES),
        ({"temperature": 0.5}, PROBABILITIES**2 / np.sum(PROBABILITIES**2)),
        ({"temperature": 2.0}, PROBABILITIES**0.5 / np.sum(PROBABILITIES**0.5)),
        ({"top_k": 2}, np.array([0, 25, 0, 40, 0]) / 65),
        ({"top_k": 99}, PROBABILITIES),
        ({"top_p": 0.6}, np.array([0, 25, 0, 40, 0]) / 65),
        ({"top_p": 0.66}, np.array([0, 25, 0, 40, 20]) / 85),
        ({"top_p": 1.0}, PROBABILITIES),
        ({"top_k": 3, "top_p": 0.7}, np.array([0, 25, 0, 40, 0]) / 65),
    ],
    ids=str,
)
def test_frequencies_of_samples(options, expected):
    """Of 20,000 samples; three standard deviations are 0.011 at most."""
    state = np.zeros((20_000, 1), "float32")
    result = ka.search.sample(constant_step(PROBABILITIES), state, 0, END, 1, seed=3, **options)
    tokens = to_numpy(result.tokens, "int32")[:, 0, 0]
    frequencies = np.bincount(tokens, minlength=5) / len(tokens)
    np.testing.assert_allclose(frequencies, expected, atol=0.011)
    assert (frequencies[expected == 0] == 0).all()
    np.testing.assert_allclose(
        to_numpy(result.log_probs)[:, 0], np.log(PROBABILITIES)[tokens], atol=1e-5
    )


def test_samples_of_one_candidate_are_greedy_and_seeds_repeat():
    language = Language(23)
    state = language.begin(7)

    def tokens(**options):
        result = ka.search.sample(language.step, state, START, END, 6, **options)
        return to_numpy(result.tokens).tolist()

    greedy = to_numpy(ka.search.greedy(language.step, state, START, END, 6).tokens).tolist()
    assert tokens(top_k=1) == greedy
    assert tokens(top_p=1e-6) == greedy
    assert tokens(temperature=1e-4) == greedy
    assert tokens(seed=5) == tokens(seed=5)
    assert tokens(seed=5) != tokens(seed=6)
    generator = keras.random.SeedGenerator(5)
    assert tokens(seed=generator) != tokens(seed=generator)


def test_samples_of_different_steps_are_independent():
    state = np.zeros((2_000, 1), "float32")
    result = ka.search.sample(constant_step(np.array([0.5, 0.5, 1e-9])), state, 0, END, 2, seed=3)
    tokens = to_numpy(result.tokens, "int32")[:, 0]
    joint = np.histogram2d(tokens[:, 0], tokens[:, 1], bins=2)[0] / len(tokens)
    np.testing.assert_allclose(joint, 0.25, atol=0.035)


def test_samples_of_an_entry_are_side_by_side_the_most_probable_first():
    language = Language(23, end_bias=1.0)
    state = language.begin(3)
    repeated = keras.tree.map_structure(lambda x: np.repeat(x, 5, axis=0), state)
    options = {"max_length": 6, "seed": 4}
    found = ka.search.sample(language.step, state, START, END, n=5, **options)
    alone = ka.search.sample(language.step, repeated, START, END, **options)
    order = np.argsort(-to_numpy(alone.scores).reshape(3, 5), axis=1, kind="stable")
    for one, other in zip(found, alone, strict=True):
        one, other = to_numpy(one), to_numpy(other)
        other = other.reshape(3, 5, *other.shape[2:])
        for b in range(3):
            np.testing.assert_allclose(one[b], other[b, order[b]], atol=1e-6)
    with pytest.raises(ValueError, match="`n` is 0; expected"):
        ka.search.sample(language.step, state, START, END, 6, n=0)
