"""Multi-head attention beyond the layer table: its peer in Keras, masks, dropout, learning."""

import functools

import hypothesis
import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

import keras_attention as ka
from comparing import assert_close, numbers, to_numpy
from keras_attention._ops import dot_product_attention as entry
from oracles.self_attention import multi_head
from table.self_attention import each, multi_head_oracle, weights_of

B, T, S, QUERY, VALUE, KEY, HEADS, KEY_DIM, VALUE_DIM, FINAL = 2, 3, 5, 7, 11, 13, 17, 19, 23, 29


def normal(*shape, seed=5):
    return np.random.default_rng(seed + sum(shape)).normal(size=shape).astype("float32")


# ---- The peer


def copied(peer, layer):
    """Gives `layer` the weights of a built `keras.layers.MultiHeadAttention`, with random biases.

    Ours are the same as matrices; the bias of the keys has none to go to.
    """
    random = np.random.default_rng(3)
    for weight in peer.weights:
        weight.assign(random.normal(scale=0.4, size=weight.shape))
    for ours in layer.weights:
        name, kind = ours.name.split("_")
        theirs = to_numpy(getattr(getattr(peer, f"{name}_dense"), kind))
        ours.assign(theirs.reshape(ours.shape))
    return layer


def masked(shape, seed):
    """A random mask of `shape` that leaves the first position, so that no row is empty."""
    mask = np.random.default_rng(seed).uniform(size=shape) < 0.6
    mask[..., 0] = True
    return mask


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("masks", [(), ("value",), ("attention",), ("value", "attention", "key")])
@pytest.mark.parametrize("causal", [True, False])
def test_it_equals_keras_where_keras_is_right(use_bias, masks, causal):
    """With the same weights, in output and weights, wherever no row is empty."""
    query, value, key = normal(B, T, QUERY), normal(B, S, VALUE), normal(B, S, KEY)
    options = {"value_dim": VALUE_DIM, "use_bias": use_bias, "output_shape": FINAL}
    peer = keras.layers.MultiHeadAttention(HEADS, KEY_DIM, **options)
    layer = ka.SelfAttention(HEADS, KEY_DIM, **options)
    peer(query, value, key)
    layer(query, value, key)
    copied(peer, layer)
    shapes = {"value": (B, S), "key": (B, S), "attention": (B, T, S)}
    given = {f"{name}_mask": masked(shapes[name], i) for i, name in enumerate(masks)}
    arguments = (query, value, key)
    wanted = peer(*arguments, **given, use_causal_mask=causal, return_attention_scores=True)
    ours = layer(*arguments, **given, use_causal_mask=causal, return_attention_scores=True)
    assert_close(numbers(ours), numbers(wanted), atol=1e-5)


def test_alone_it_equals_keras_with_the_sequence_given_twice():
    x = normal(B, S, QUERY)
    peer, layer = keras.layers.MultiHeadAttention(HEADS, KEY_DIM), ka.SelfAttention(HEADS, KEY_DIM)
    peer(x, x)
    layer(x)
    copied(peer, layer)
    mask = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]], bool)
    wanted = to_numpy(peer(x, x, value_mask=mask, use_causal_mask=True))
    ours = to_numpy(layer(x, mask=mask, use_causal_mask=True))
    np.testing.assert_allclose(ours[mask], wanted[mask], atol=1e-5)


# ---- Masks


@hypothesis.given(
    given=st.sets(st.sampled_from(["mask", "value_mask", "key_mask", "attention3", "attention2"])),
    causal=st.booleans(),
    window=st.sampled_from([None, 0, 1, 3]),
    seed=st.integers(0, 100),
)
@hypothesis.settings(max_examples=30)
def test_all_masks_together_equal_the_oracle(given, causal, window, seed):
    """Self-attention; the output of a query without a key is the bias."""
    random, x = np.random.default_rng(seed), normal(B, S, QUERY)
    layer = ka.SelfAttention(3, 5, window=window)
    layer(x)
    layer.output_bias.assign(normal(QUERY))
    masks = {name: random.uniform(size=(B, S)) < 0.6 for name in given if "mask" in name}
    if given & {"attention2", "attention3"}:
        shape = (B, S, S) if "attention3" in given else (S, S)
        masks["attention_mask"] = random.uniform(size=shape) < 0.6
    output, weights = layer(x, **masks, use_causal_mask=causal, return_attention_scores=True)
    if "mask" in masks:
        masks["query_mask"] = masks.pop("mask")
        masks.setdefault("value_mask", masks["query_mask"])
    wanted = multi_head_oracle(layer, {"query": x}, masks, causal)
    assert_close(numbers([output, weights]), wanted)
    empty = ~(wanted[1] > 0).any(axis=(1, 3))
    bias = np.broadcast_to(to_numpy(layer.output_bias), to_numpy(output)[empty].shape)
    np.testing.assert_allclose(to_numpy(output)[empty], bias, atol=1e-7)


@pytest.mark.parametrize("window", [None, 1])
def test_steps_and_a_prefill_equal_causal_self_attention(window):
    """Padding included; the weights of a step cover the whole cache."""
    layer, x, mask = ka.SelfAttention(3, 5, window=window), normal(B, S, QUERY), masked((B, S), 3)
    options = {"mask": mask, "use_causal_mask": True, "return_attention_scores": True}
    wanted = numbers(layer(x, **options))
    state = layer.begin(B, max_length=S + 2)
    outputs, prefilled = numbers(layer.prefill(x, state, mask))[0], []
    for t in range(S):
        output, weights, state = layer.step(x[:, t], state, mask[:, t])
        prefilled.append(output)
        assert weights.shape == (B, 3, S + 2)
        np.testing.assert_allclose(to_numpy(weights)[..., :S], wanted[1][:, :, t], atol=1e-6)
        assert (to_numpy(weights)[..., S:] == 0).all()
    np.testing.assert_allclose(np.stack(numbers(prefilled), 1), wanted[0], atol=1e-6)
    np.testing.assert_allclose(outputs, wanted[0], atol=1e-6)


@pytest.mark.parametrize("heads", [3, 1])
@pytest.mark.parametrize("few", [10**6, 0], ids=["short", "long"])
def test_a_mask_of_heads_equals_the_oracle(heads, few, monkeypatch):
    """One mask for each head, or one for all; for queries (B, T, D) and (B, D)."""
    monkeypatch.setattr(entry, "holds_weights", lambda *_, few=few: few > 0)
    query, value = normal(B, 7, QUERY), normal(B, S, QUERY)
    layer, mask = ka.SelfAttention(3, 5), masked((B, heads, 7, S), 3)
    mask[0, 0, 2] = False
    output = layer(query, value, attention_mask=mask)
    _, weights = layer(query, value, attention_mask=mask, return_attention_scores=True)
    every_head = np.broadcast_to(mask, (B, 3, 7, S))
    wanted = each(
        functools.partial(multi_head, heads=3, **weights_of(layer)), query, value, every_head
    )
    assert_close(numbers([output, weights]), wanted)
    one = layer(query[:, 2], value, attention_mask=mask[:, :, 2], return_attention_scores=True)
    assert_close(numbers(one), [wanted[0][:, 2], wanted[1][:, :, 2]])


@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
def test_returning_the_weights_does_not_change_the_output(policy):
    x, mask = normal(B, S, QUERY), masked((B, S), 1)
    mask[0] = False
    layer = ka.SelfAttention(3, 5, window=1, dtype=policy)
    output, weights = numbers(layer(x, mask=mask, return_attention_scores=True))
    np.testing.assert_array_equal(to_numpy(layer(x, mask=mask)), output)
    assert np.isfinite(output).all()
    assert (weights[~np.broadcast_to(mask[:, None, None], weights.shape)] == 0).all()


@pytest.mark.each_value
@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("scale", [1.0, 30.0])
@pytest.mark.parametrize("causal", [True, False])
def test_random_masks_of_one_sequence(policy, scale, causal):
    """Masked steps have weight and gradient exactly 0, empty rows give the bias and never NaN."""
    random, examples = np.random.default_rng(29), 101
    layer = ka.SelfAttention(3, 5, window=2 if causal else None, dtype=policy)
    layer(normal(1, S, QUERY))
    layer.output_bias.assign(normal(QUERY))
    mask, pairs = (
        random.uniform(size=(examples, *shape)) < random.uniform(0.3, 1, size=(examples, *ones))
        for shape, ones in (((S,), (1,)), ((S, S), (1, 1)))
    )
    mask[::5] = False
    x = tf.constant(scale * normal(examples, S, QUERY))
    with tf.GradientTape() as tape:
        tape.watch(x)
        options = {"use_causal_mask": causal, "return_attention_scores": True}
        results = layer(x, mask=mask, attention_mask=pairs, **options)
        # A float16 gradient of this scale overflows without a small loss.
        loss = tf.add_n([tf.reduce_sum(tf.cast(y, "float32")) for y in results]) * 1e-4 / scale
    gradients = tape.gradient(loss, [x, *(weight.value for weight in layer.trainable_weights)])
    output, weights, gradient, *others = numbers([*results, *gradients])
    assert all(np.isfinite(y).all() for y in (output, weights, gradient, *others))
    may = pairs & mask[:, None] & mask[:, :, None]
    if causal:
        may &= np.tri(S, dtype=bool) & ~np.tri(S, k=-3, dtype=bool)
    empty = ~may.any(axis=2)
    assert min(empty.sum(), (~empty).sum()) > 60
    assert (np.moveaxis(weights, 1, -1)[~may] == 0).all()
    sums = np.moveaxis(weights.sum(axis=3), 1, -1)[~empty]
    np.testing.assert_allclose(sums, 1, atol=1e-5 if policy == "float32" else 2e-2)
    bias = to_numpy(keras.ops.cast(layer.output_bias, layer.compute_dtype))
    np.testing.assert_array_equal(output[empty], np.broadcast_to(bias, output[empty].shape))
    assert (gradient[~mask] == 0).all()
    assert (gradient[~empty] != 0).any()


def test_every_way_to_mask_one_sequence_is_the_same():
    layer, mask = ka.SelfAttention(3, 5), np.array([[1, 1, 0, 1, 0], [1, 1, 1, 1, 1]], bool)
    x = np.where(mask[..., None], normal(B, S, QUERY), 0)
    carrying = keras.layers.Masking()(x)
    everything = np.ones((B, S, S), bool)
    wanted = to_numpy(layer(x, mask=mask))
    for output in (
        layer(x, query_mask=mask),
        layer(x, query_mask=mask, value_mask=mask),
        layer(x, x, query_mask=mask, value_mask=mask),
        layer(carrying),
        layer(carrying, attention_mask=everything),
        layer(carrying, carrying),
    ):
        np.testing.assert_array_equal(to_numpy(output), wanted)
    np.testing.assert_array_equal(to_numpy(ka.masks.implicit_mask(layer(carrying)), "bool"), mask)
    assert np.abs(to_numpy(layer(x)) - wanted).max() > 1e-3


def test_no_attention_beyond_a_window_or_to_the_future():
    """A change does not affect steps outside of its window, or before it."""
    x, changed = normal(1, 7, QUERY), normal(1, 7, QUERY, seed=6)
    changed[:, :4] = x[:, :4]
    layer = ka.SelfAttention(3, 5, window=2)
    before, after = to_numpy(layer(x)), to_numpy(layer(changed))
    np.testing.assert_array_equal(after[:, :2], before[:, :2])
    assert (np.abs(after - before).max(axis=(0, 2))[2:] > 1e-4).all()
    before, after = (to_numpy(layer(y, use_causal_mask=True)) for y in (x, changed))
    np.testing.assert_array_equal(after[:, :4], before[:, :4])


# ---- Options


def test_names_and_shapes_of_weights():
    """Old checkpoints are converted by these names: they must not change."""
    layer = ka.SelfAttention(HEADS, KEY_DIM, value_dim=VALUE_DIM, output_shape=FINAL)
    layer(normal(B, T, QUERY), normal(B, S, VALUE), normal(B, S, KEY))
    assert {weight.name: tuple(weight.shape) for weight in layer.weights} == {
        "query_kernel": (QUERY, HEADS * KEY_DIM),
        "query_bias": (HEADS * KEY_DIM,),
        "key_kernel": (KEY, HEADS * KEY_DIM),
        "value_kernel": (VALUE, HEADS * VALUE_DIM),
        "value_bias": (HEADS * VALUE_DIM,),
        "output_kernel": (HEADS * VALUE_DIM, FINAL),
        "output_bias": (FINAL,),
    }


def test_kernels_of_one_initializer_differ():
    layer = ka.SelfAttention(1, QUERY, kernel_initializer=keras.initializers.GlorotUniform())
    layer(normal(B, T, QUERY))
    kernels = [to_numpy(weight) for weight in layer.weights if "kernel" in weight.name]
    assert len({kernel.tobytes() for kernel in kernels}) == 4


def test_dropout_is_of_weights_and_in_training_only():
    x = normal(1, 40, QUERY)
    layer = ka.SelfAttention(2, QUERY, dropout=0.5, seed=3)
    calm = numbers(layer(x, return_attention_scores=True))
    np.testing.assert_array_equal(to_numpy(layer(x)), calm[0])
    first, second = (numbers(layer(x, training=True, return_attention_scores=True)) for _ in "ab")
    assert np.abs(first[0] - calm[0]).max() > 1e-3
    assert np.abs(first[0] - second[0]).max() > 1e-3
    np.testing.assert_array_equal(first[1], calm[1])  # the weights are those before dropout
    drawn = [to_numpy(layer(x, training=True)) for _ in range(300)]
    assert np.abs(np.mean(drawn, axis=0) - calm[0]).max() < 5 * np.std(drawn, axis=0).max() / 17


def zeros(*shape):
    return np.zeros(shape, "float32")


def layer(**options):
    return ka.SelfAttention(**{"num_heads": 2, "key_dim": 3, **options})


# An action, and the words that its error must contain, the argument in backticks first.
ERRORS = {
    "num_heads": (lambda: layer(num_heads=0), ["`num_heads`", "0", "at least 1"]),
    "key_dim": (lambda: layer(key_dim=2.5), ["`key_dim`", "2.5", "integer"]),
    "value_dim": (lambda: layer(value_dim=0), ["`value_dim`", "0", "at least 1"]),
    "output_shape": (lambda: layer(output_shape=-1), ["`output_shape`", "-1", "at least 1"]),
    "dropout": (lambda: layer(dropout=1.0), ["`dropout`", "1.0", "[0, 1)"]),
    "window": (lambda: layer(window=-1), ["`window`", "-1", "at least 0"]),
    "window_type": (lambda: layer(window=True), ["`window`", "True", "integer"]),
    "window_across": (
        lambda: layer(window=1)(zeros(2, 3, 5), zeros(2, 7, 5)),
        ["`window`", "3", "7", "self-attention"],
    ),
    "query_rank": (lambda: layer()(zeros(2, 3)), ["`query`", "(2, 3)", "(batch, queries, width)"]),
    "symbolic_rank": (
        lambda: layer()(keras.Input((3,))),
        ["`query`", "(None, 3)", "(batch, queries, width)"],
    ),
    "value_rank": (
        lambda: layer()(zeros(2, 3, 5), zeros(2, 5)),
        ["`value`", "(2, 5)", "(batch, memory, width)"],
    ),
    "query_width": (lambda: layer().build((2, 3, None)), ["`query`", "None", "last axis"]),
    "value_width": (
        lambda: layer().build((2, 3, 5), (2, 7, None)),
        ["`value`", "None", "last axis"],
    ),
    "batches": (
        lambda: layer()(zeros(2, 3, 5), zeros(3, 3, 5)),
        ["`query`", "2", "`value`", "3", "batch size"],
    ),
    "key_length": (
        lambda: layer()(zeros(2, 3, 5), zeros(2, 7, 5), zeros(2, 11, 5)),
        ["`key`", "11", "`value`", "7", "length"],
    ),
    "mask": (
        lambda: layer()(zeros(2, 3, 5), mask=np.ones((2, 4), bool)),
        ["`mask`", "(2, 4)", "(2, 3)"],
    ),
    "value_mask": (
        lambda: layer()(zeros(2, 3, 5), zeros(2, 7, 5), value_mask=np.ones((2, 3), bool)),
        ["`value_mask`", "(2, 3)", "(2, 7)"],
    ),
    "attention_mask": (
        lambda: layer()(zeros(2, 3, 5), attention_mask=np.ones((2, 4, 3), bool)),
        ["`attention_mask`", "(2, 4, 3)", "(2, 3, 3)", "(batch, heads, queries, memory)"],
    ),
    "mask_across": (
        lambda: layer()(zeros(2, 3, 5), zeros(2, 7, 5), mask=np.ones((2, 3), bool)),
        ["`mask`", "`value`", "`query_mask`"],
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_name_the_argument_and_what_is_expected(name):
    act, words = ERRORS[name]
    with pytest.raises(ValueError, match="expected") as caught:
        act()
    for word in words:
        assert word in str(caught.value)


# ---- Learning


@pytest.mark.parametrize("attentive", [True, False])
def test_it_learns_to_reverse(attentive):
    """Each step outputs the letter at the mirrored step, which needs attention."""
    random = np.random.default_rng(7)
    examples, steps, letters = 512, 8, 6
    text = random.integers(0, letters, size=(examples, steps))
    places = np.broadcast_to(np.eye(steps), (examples, steps, steps))
    x = np.concatenate([np.eye(letters)[text], places], axis=-1).astype("float32")
    sequence = keras.Input((steps, letters + steps))
    features = ka.SelfAttention(2, 16)(sequence) if attentive else sequence
    features = keras.layers.Dense(32, activation="relu")(features)
    model = keras.Model(sequence, keras.layers.Dense(letters)(features))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss, metrics=["accuracy"])
    split = 448
    model.fit(x[:split], text[:split, ::-1], epochs=25, batch_size=32, verbose=0)
    accuracy = model.evaluate(x[split:], text[split:, ::-1], verbose=0)[1]
    if attentive:
        assert accuracy > 0.97
    else:
        assert accuracy < 0.4


def test_a_single_query_in_a_graph_over_a_memory_of_any_length():
    layer = ka.SelfAttention(2, 5)
    random = np.random.default_rng(3)
    query, value = (random.normal(size=shape).astype("float32") for shape in ((3, 7), (3, 6, 11)))
    wanted = to_numpy(layer(query, value))
    specs = [tf.TensorSpec([None, 7]), tf.TensorSpec([None, None, 11])]
    found = tf.function(lambda q, v: layer(q, v), input_signature=specs)(query, value)
    assert_close([to_numpy(found)], [wanted])
