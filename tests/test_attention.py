"""Attention layers beyond the layer table: peers, all masks, steps, dropout, learning."""

import hypothesis
import keras
import numpy as np
import pytest
from hypothesis import strategies as st

import keras_attention as ka
from comparing import assert_close, numbers, tensors, to_numpy
from marks import more
from oracles import attention as oracle
from table import TABLE
from table.attention import score_oracle

B, T, S, QUERY, VALUE, KEY, UNITS = 2, 3, 5, 7, 11, 13, 17


def normal(*shape, seed=5):
    return np.random.default_rng(seed + sum(shape)).normal(size=shape).astype("float32")


# ---- The call with a list, as that of `keras.layers.Attention`


@pytest.mark.parametrize("row", [row for row in TABLE if row.has_query], ids=str)
def test_a_list_of_tensors_and_masks_is_the_call_with_arguments(row, tmp_path):
    """In eager mode, with masks that are passed or attached, and in a saved functional model."""
    layer, (inputs, masks) = row.new(), row.arrays()
    inputs = list(tensors(inputs).values())
    given = [masks.get(f"{name}_mask") for name in row.inputs]
    named = {f"{name}_mask": mask for name, mask in zip(row.inputs, given, strict=True)}
    wanted = numbers(layer(*inputs, **{name: x for name, x in named.items() if x is not None}))
    assert_close(numbers(layer(inputs, mask=given)), wanted, 0)
    fresh = row.make()
    fresh(inputs)
    assert [v.shape for v in fresh.variables] == [v.shape for v in layer.variables]
    symbols = [keras.Input(x.shape[1:]) for x in inputs]
    model = keras.Model(symbols, layer([keras.layers.Masking()(x) for x in symbols]))
    inputs = [np.where(x[..., :1] > 0, x, 0).astype("float32") for x in inputs]
    wanted = numbers(layer(*(keras.layers.Masking()(x) for x in inputs)))
    model.save(tmp_path / "model.keras")
    assert_close(numbers(keras.saving.load_model(tmp_path / "model.keras")(inputs)), wanted, 1e-6)


# ---- Masks in combination


@hypothesis.given(
    given=st.sets(st.sampled_from(["query", "value", "key", "attention3", "attention2", "causal"])),
    seed=st.integers(0, 100),
)
def test_all_masks_together_equal_the_oracle(given, seed):
    random = np.random.default_rng(seed)
    query, value, key = normal(B, T, QUERY), normal(B, S, VALUE), normal(B, S, KEY)
    layer = ka.BahdanauAttention(UNITS)
    shapes = {"query": (B, T), "value": (B, S), "key": (B, S)}
    masks = {f"{n}_mask": random.uniform(size=shapes[n]) < 0.7 for n in shapes if n in given}
    if given & {"attention2", "attention3"}:
        shape = (B, T, S) if "attention3" in given else (T, S)
        masks["attention_mask"] = random.uniform(size=shape) < 0.7
    context, weights = layer(
        query, value, key, **masks, use_causal_mask="causal" in given, return_attention_scores=True
    )
    allowed = oracle.combine((B, T, S), **masks, causal="causal" in given)
    expected = oracle.attend(score_oracle(layer.score), query, value, key, allowed)
    np.testing.assert_allclose(to_numpy(context), expected[0], atol=1e-5)
    np.testing.assert_allclose(to_numpy(weights), expected[1], atol=1e-5)


def test_masks_of_numbers_mean_what_booleans_mean():
    layer, query, value = ka.BahdanauAttention(UNITS), normal(B, T, QUERY), normal(B, S, VALUE)
    mask = np.array([[1, 1, 0, 0, 1], [0, 1, 1, 0, 0]])
    wanted = to_numpy(layer(query, value, value_mask=mask.astype(bool)))
    for dtype in ("int32", "float32"):
        np.testing.assert_array_equal(
            to_numpy(layer(query, value, value_mask=mask.astype(dtype))), wanted
        )


def test_the_mask_of_the_query_is_passed_on():
    mask = np.array([[True, True, False]])
    query = keras.layers.Masking()(np.where(mask[..., None], normal(1, T, QUERY), 0))
    value = keras.layers.Masking()(normal(1, S, VALUE))
    context = ka.BahdanauAttention(UNITS)(query, value)
    np.testing.assert_array_equal(to_numpy(ka.masks.implicit_mask(context), "bool"), mask)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ka.BahdanauAttention(UNITS),
        lambda: ka.CoverageAttention(UNITS),
        lambda: ka.SoftSpatialAttention(UNITS),
        lambda: ka.PointerAttention(UNITS),
        lambda: ka.SelfAttention(2, 5),
    ],
)
def test_the_mask_of_a_single_query_is_applied_and_passed_on(make):
    """An embedding of ids (B,) has a mask (B,)."""
    embedding = keras.layers.Embedding(4, QUERY, mask_zero=True)
    model_query, model_value = keras.Input((), dtype="int32"), keras.Input((S, VALUE))
    layer = make()
    options = {} if isinstance(layer, ka.PointerAttention) else {"return_attention_scores": True}
    for query, value in ((model_query, model_value), (np.array([2, 0]), normal(B, S, VALUE))):
        results = keras.tree.flatten(layer(embedding(query), value, **options))
    assert ka.masks.implicit_mask(results[0]).shape == (B,)
    assert to_numpy(ka.masks.implicit_mask(results[0])).tolist() == [1, 0]
    weights = to_numpy(results[-1])
    assert (weights[1] == 0).all()
    np.testing.assert_allclose(weights[0].sum(axis=-1), 1, atol=1e-6)


# ---- Peers


def test_dot_products_equal_keras_where_keras_is_right():
    query, value, key = normal(B, T, QUERY), normal(B, S, VALUE), normal(B, S, QUERY)
    mask = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], bool)
    peer = keras.layers.Attention()
    wanted, weights = peer([query, value, key], mask=[None, mask], return_attention_scores=True)
    layer = ka.Attention("dot")
    context, ours = layer(query, value, key, value_mask=mask, return_attention_scores=True)
    np.testing.assert_allclose(to_numpy(context), to_numpy(wanted), atol=1e-5)
    np.testing.assert_allclose(to_numpy(ours), to_numpy(weights), atol=1e-5)


def test_additive_with_identity_kernels_equals_keras():
    """`keras.layers.AdditiveAttention` is Bahdanau's score with W = U = 1."""
    query, value = normal(B, T, QUERY), normal(B, S, QUERY)
    peer, layer = keras.layers.AdditiveAttention(), ka.BahdanauAttention(QUERY)
    wanted = peer([query, value])
    layer(query, value)
    layer.score.query_kernel.assign(np.eye(QUERY))
    layer.score.key_kernel.assign(np.eye(QUERY))
    layer.score.score_vector.assign(to_numpy(peer.scale))
    np.testing.assert_allclose(to_numpy(layer(query, value)), to_numpy(wanted), atol=1e-5)


def test_one_head_of_keras_multi_head_attention_without_its_projections():
    query, value = normal(B, T, QUERY), normal(B, S, QUERY)
    peer = keras.layers.MultiHeadAttention(1, QUERY, use_bias=False)
    peer(query, value)
    identity = np.eye(QUERY).reshape(QUERY, 1, QUERY)
    peer.set_weights([identity, identity, identity, np.eye(QUERY).reshape(1, QUERY, QUERY)])
    wanted = to_numpy(peer(query, value, use_causal_mask=True))
    ours = to_numpy(ka.Attention()(query, value, use_causal_mask=True))
    np.testing.assert_allclose(ours, wanted, atol=1e-5)


# ---- Steps


LAYERS = {
    "attention": lambda **k: ka.Attention("additive", **k),
    "bahdanau": lambda **k: ka.BahdanauAttention(UNITS, normalize=True, **k),
    "luong": lambda **k: ka.LuongAttention("general", **k),
    "luong_dot": lambda **k: ka.LuongAttention("dot", **k),
}
EVERY_LAYER = pytest.mark.parametrize("name", LAYERS)


MECHANISM_ROWS = [row for row in TABLE if issubclass(row.holds[0], ka.attention.AttentionMechanism)]


@pytest.mark.parametrize("row", MECHANISM_ROWS, ids=str)
def test_steps_equal_one_call(row):
    layer = row.new()
    inputs, _ = row.arrays()
    if len(row.inputs["value"]) > 2:  # as a mechanism, a spatial attention takes places
        inputs["value"] = inputs["value"].reshape(B, -1, VALUE)
    mask = np.arange(inputs["value"].shape[1]) < np.array([[3], [0]])
    context, weights = layer(**inputs, value_mask=mask, return_attention_scores=True)
    memory = layer.prepare(inputs["value"], inputs.get("key"), value_mask=mask)
    state = layer.initial_state(memory)
    for t in range(T):
        query = keras.ops.convert_to_tensor(inputs["query"][:, t])
        one_context, one_weights, state = layer.step(query, memory, state)
        np.testing.assert_allclose(to_numpy(one_context), to_numpy(context)[:, t], atol=1e-6)
        np.testing.assert_allclose(to_numpy(one_weights), to_numpy(weights)[:, t], atol=1e-6)


# ---- Dropout


@EVERY_LAYER
def test_dropout_drops_weights_in_training_and_only_there(name):
    """The context is made of kept weights over 1 - rate; the weights come back undropped."""
    query, value = normal(B, T, QUERY), np.broadcast_to(np.eye(7, dtype="float32"), (B, 7, 7))
    layer = LAYERS[name](dropout=0.5, seed=3)
    plain, weights = layer(query, value, return_attention_scores=True)
    dropped, same_weights = layer(query, value, training=True, return_attention_scores=True)
    np.testing.assert_allclose(to_numpy(plain), to_numpy(weights), atol=1e-6)
    np.testing.assert_array_equal(to_numpy(weights), to_numpy(same_weights))
    # Over the identity, the context is the weights that were kept.
    ratio = to_numpy(dropped) / to_numpy(weights)
    assert set(np.round(ratio, 4).flatten()) == {0.0, 2.0}
    again = LAYERS[name](dropout=0.5, seed=3)
    again(query, value)
    again.set_weights(layer.get_weights())
    np.testing.assert_array_equal(to_numpy(again(query, value, training=True)), to_numpy(dropped))
    assert (to_numpy(layer(query, value, training=True)) != to_numpy(dropped)).any()


def test_dropout_keeps_the_mean():
    query, value = normal(503, T, QUERY), normal(503, S, QUERY)
    layer = ka.Attention(dropout=0.2, seed=7)
    ones = np.ones((503, S, 1), "float32")
    total = to_numpy(layer(query, ones, key=value, training=True)).mean()
    assert total == pytest.approx(1.0, abs=0.03)


# ---- The alignment alone, and who owns what


def test_softmax_is_an_alignment_of_its_own():
    scores, mask = normal(B, T, S), normal(B, T, S) > 0
    layer = ka.alignments.Softmax()
    weights, state = layer(scores, mask=mask)
    np.testing.assert_allclose(to_numpy(weights), oracle.masked_softmax(scores, mask), atol=1e-6)
    assert state == ()
    assert layer.initial_state(normal(B, S, VALUE)) == ()
    assert ka.alignments.get(layer) is layer
    config = keras.saving.serialize_keras_object(ka.alignments.get("softmax"))
    assert type(ka.alignments.get(config)) is ka.alignments.Softmax


@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "float64"])
def test_parts_made_from_names_have_the_dtype_of_their_owner(policy):
    for make in LAYERS.values():
        layer = make(dtype=policy)
        assert layer.score.dtype_policy.name == layer.alignment.dtype_policy.name == policy


def test_names_of_weights_in_a_model():
    """Old checkpoints are brought over by these names, so they are a promise."""
    layer = ka.BahdanauAttention(UNITS, name="look")
    layer(normal(B, T, QUERY), normal(B, S, VALUE))
    assert [weight.name for weight in layer.weights] == [
        "query_kernel",
        "key_kernel",
        "score_vector",
    ]


# ---- Learning


@pytest.mark.parametrize("name", ["attention", "bahdanau", *more("luong"), None], ids=str)
def test_attention_learns_to_look_things_up(name):
    """Associative recall: find the value beside the key that is asked for. A mean cannot."""
    random = np.random.default_rng(7)
    pairs, symbols, answers, examples = 7, 11, 5, 1024
    keys = np.stack([random.permutation(symbols)[:pairs] for _ in range(examples)])
    values = random.integers(0, answers, size=(examples, pairs))
    asked = random.integers(0, pairs, size=examples)
    rows = np.arange(examples)
    query = np.eye(symbols, dtype="float32")[keys[rows, asked]][:, None]
    memory = np.concatenate([np.eye(symbols)[keys], np.eye(answers)[values]], axis=-1).astype(
        "float32"
    )
    question, context = keras.Input((1, symbols)), keras.Input((pairs, symbols + answers))
    if name is None:
        found = keras.layers.GlobalAveragePooling1D(keepdims=True)(context)
        found = keras.layers.Concatenate()([question, found])
        found = keras.layers.Dense(64, activation="relu")(found)
    else:
        found = LAYERS[name]()(question, context)
    model = keras.Model([question, context], keras.layers.Dense(answers)(found))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.03), loss, metrics=["accuracy"])
    split = 896
    target = values[rows, asked][:, None]
    model.fit([query[:split], memory[:split]], target[:split], epochs=25, batch_size=64, verbose=0)
    accuracy = model.evaluate([query[split:], memory[split:]], target[split:], verbose=0)[1]
    if name is None:
        assert accuracy < 0.7
    else:
        assert accuracy > 0.97
