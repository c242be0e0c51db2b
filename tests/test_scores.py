"""Scores alone: numbers, variables, configs. Inside attention layers: see the table."""

import keras
import numpy as np
import pytest

import keras_attention as ka
from comparing import to_numpy
from oracles import attention as oracle
from table.attention import score_oracle

B, T, S, QUERY, KEY, UNITS = 2, 3, 5, 7, 11, 13

SCORES = {
    "dot": lambda **k: ka.scores.Dot(**k),
    "scaled_dot": lambda **k: ka.scores.ScaledDot(**k),
    "general": lambda **k: ka.scores.General(**k),
    "general_scaled": lambda **k: ka.scores.General(use_scale=True, **k),
    "additive": lambda **k: ka.scores.Additive(UNITS, **k),
    "additive_query_wide": lambda **k: ka.scores.Additive(**k),
    "additive_normalized": lambda **k: ka.scores.Additive(UNITS, normalize=True, **k),
}
EVERY_SCORE = pytest.mark.parametrize("name", SCORES)


def build_score(kind, dtype="float64", **kwargs):
    """Returns a score with random variables, a query and a memory."""
    random = np.random.default_rng(3)
    key = QUERY if "dot" in kind else KEY
    score = SCORES[kind](dtype=dtype, **kwargs)
    score.build((B, T, QUERY), (B, S, key))
    for variable in score.variables:
        variable.assign(random.normal(size=variable.shape))
    return score, random.normal(size=(B, T, QUERY)), random.normal(size=(B, S, key))


@EVERY_SCORE
@pytest.mark.parametrize(
    ("dtype", "atol"), [("float64", 1e-10), ("float32", 1e-5), ("mixed_float16", 5e-2)]
)
def test_numbers_equal_the_oracle(name, dtype, atol):
    score, query, memory = build_score(name, dtype)
    values = score(query, score.prepare(memory))
    compute_dtype = keras.dtype_policies.get(dtype).compute_dtype
    assert keras.backend.standardize_dtype(values.dtype) == compute_dtype
    expected = oracle.scores(score_oracle(score), query, memory)
    np.testing.assert_allclose(to_numpy(values), expected, atol=atol, rtol=atol)


@EVERY_SCORE
def test_each_score_depends_on_its_own_query_and_memory_step(name):
    score, query, memory = build_score(name)
    before = to_numpy(score(query, score.prepare(memory)))
    query[1, 2], memory[1, 4] = query[1, 2] + 1.0, memory[1, 4] - 1.0
    changed = to_numpy(score(query, score.prepare(memory))) != before
    expected = np.zeros((B, T, S), bool)
    expected[1, 2, :] = expected[1, :, 4] = True
    np.testing.assert_array_equal(changed, expected)


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("dot", {}),
        ("scaled_dot", {}),
        ("general", {"kernel": (KEY, QUERY)}),
        ("general_scaled", {"kernel": (KEY, QUERY), "scale": ()}),
        (
            "additive",
            {"query_kernel": (QUERY, UNITS), "key_kernel": (KEY, UNITS), "score_vector": (UNITS,)},
        ),
        (
            "additive_query_wide",
            {"query_kernel": (QUERY, QUERY), "key_kernel": (KEY, QUERY), "score_vector": (QUERY,)},
        ),
        (
            "additive_normalized",
            {
                "query_kernel": (QUERY, UNITS),
                "key_kernel": (KEY, UNITS),
                "score_vector": (UNITS,),
                "gain": (),
                "bias": (UNITS,),
            },
        ),
    ],
)
def test_names_and_shapes_of_variables(name, shapes):
    score, _, _ = build_score(name)
    assert {weight.name: tuple(weight.shape) for weight in score.weights} == shapes
    for weight in shapes:
        assert any(getattr(score, weight) is each for each in score.weights)


def test_normalization_starts_as_the_papers_do_and_contains_the_plain_score():
    """g starts at 1 / sqrt(units) and b at 0; with g = |v| and b = 0 it is the plain score."""
    plain, query, memory = build_score("additive")
    normalized = ka.scores.Additive(UNITS, normalize=True, dtype="float64")
    normalized.build(query.shape, memory.shape)
    assert float(normalized.gain) == pytest.approx(UNITS**-0.5, rel=1e-6)
    assert (to_numpy(normalized.bias) == 0).all()
    vector = to_numpy(plain.score_vector)
    for name in ("query_kernel", "key_kernel", "score_vector"):
        getattr(normalized, name).assign(to_numpy(getattr(plain, name)))
    normalized.gain.assign(np.linalg.norm(vector))
    one = to_numpy(plain(query, plain.prepare(memory)))
    other = to_numpy(normalized(query, normalized.prepare(memory)))
    np.testing.assert_allclose(one, other, rtol=1e-12)


def test_a_scale_starts_at_one():
    score = ka.scores.General(use_scale=True)
    score.build((B, T, QUERY), (B, S, KEY))
    assert float(score.scale) == 1.0


def test_kernels_of_one_shape_start_differently():
    for initializer in ("glorot_uniform", keras.initializers.RandomNormal()):
        score = ka.scores.Additive(QUERY, kernel_initializer=initializer)
        score.build((B, T, QUERY), (B, S, QUERY))
        assert np.abs(to_numpy(score.query_kernel) - to_numpy(score.key_kernel)).min() > 0


def test_the_initializer_is_used():
    additive = ka.scores.Additive(UNITS, kernel_initializer="ones")
    additive.build((B, T, QUERY), (B, S, KEY))
    general = ka.scores.General(kernel_initializer="ones")
    general.build((B, T, QUERY), (B, S, KEY))
    for weight in [*additive.weights, *general.weights]:
        assert (to_numpy(weight) == 1).all()


@EVERY_SCORE
def test_config_round_trip(name):
    score, query, memory = build_score(name, name="mine")
    config = keras.saving.serialize_keras_object(score)
    copy = keras.saving.deserialize_keras_object(config)
    assert type(copy) is type(score)
    assert copy.name == "mine"
    assert copy.get_config() == score.get_config()
    if not copy.built:  # the config of a score with variables has its shapes
        copy.build(query.shape, memory.shape)
    copy.set_weights(score.get_weights())
    one, other = (to_numpy(s(query, s.prepare(memory))) for s in (score, copy))
    np.testing.assert_array_equal(one, other)


@EVERY_SCORE
def test_symbolic_shapes(name):
    score, _query, memory = build_score(name)
    keys = score.prepare(memory)
    symbol = score(
        keras.KerasTensor((None, None, QUERY)), keras.KerasTensor((None, None, keys.shape[-1]))
    )
    assert symbol.shape == (None, None, None)
    known = score(keras.KerasTensor((B, T, QUERY)), keras.KerasTensor((B, S, keys.shape[-1])))
    assert known.shape == (B, T, S)


@pytest.mark.parametrize(
    ("identifier", "score_class"),
    [
        ("dot", ka.scores.Dot),
        ("scaled_dot", ka.scores.ScaledDot),
        ("general", ka.scores.General),
        ("additive", ka.scores.Additive),
        ("concat", ka.scores.Additive),
    ],
)
def test_get(identifier, score_class):
    score = ka.scores.get(identifier)
    assert type(score) is score_class
    assert ka.scores.get(score) is score
    assert type(ka.scores.get(keras.saving.serialize_keras_object(score))) is score_class
