"""Pointers beyond the layer table: masks, losses, ids of all kinds, errors, learning."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_attention as ka
from comparing import to_numpy
from keras_attention.pointer.generator import copy_distribution
from marks import more
from oracles import pointer as oracle

B, T, S, QUERY, VALUE, UNITS = 2, 3, 5, 7, 11, 13


def normal(*shape, seed=5):
    return np.random.default_rng(seed + sum(shape)).normal(size=shape).astype("float32")


# ---- Pointing


def test_a_pointer_gives_the_weights_of_bahdanaus_attention():
    """The same equation: one layer returns the weights, the other the weighted sum."""
    query, value, mask = normal(B, T, QUERY), normal(B, S, VALUE), np.arange(S) < [[3], [5]]
    layer, peer = ka.PointerAttention(UNITS), ka.BahdanauAttention(UNITS)
    probabilities = layer(query, value, value_mask=mask)
    peer(query, value)
    peer.set_weights(layer.get_weights())
    _, weights = peer(query, value, value_mask=mask, return_attention_scores=True)
    np.testing.assert_array_equal(to_numpy(probabilities), to_numpy(weights))


def test_pointing_can_be_restricted_to_the_elements_that_are_left():
    layer, left = ka.PointerAttention(UNITS), np.arange(S) != np.arange(T)[:, None]
    probabilities = to_numpy(layer(normal(B, T, QUERY), normal(B, S, VALUE), attention_mask=left))
    assert (probabilities[:, ~left] == 0).all()
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1, atol=1e-6)


def test_keras_masks_are_applied_and_passed_on():
    query = keras.layers.Masking()(np.where([[[1], [0], [1]]], normal(1, T, QUERY), 0))
    value = keras.layers.Masking()(np.where(np.arange(S)[:, None] < 3, normal(1, S, VALUE), 0))
    probabilities = ka.PointerAttention(UNITS)(query, value)
    assert ((to_numpy(probabilities)[0] > 0) == [[1, 1, 1, 0, 0], [0] * 5, [1, 1, 1, 0, 0]]).all()
    passed = ka.masks.implicit_mask(probabilities)
    np.testing.assert_array_equal(to_numpy(passed, "bool"), [[True, False, True]])


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_memories_of_any_length_meet_keras_losses(policy):
    """One layer, other numbers of classes; finite even where the label has probability 0."""
    keras.config.set_dtype_policy(policy)
    layer, loss = ka.PointerAttention(UNITS, dtype="float32"), None
    for length in (2, 7):
        mask = np.arange(length) < length - 1
        value_mask = np.broadcast_to(mask, (B, length))
        probabilities = layer(normal(B, T, QUERY), normal(B, length, VALUE), value_mask=value_mask)
        assert keras.backend.standardize_dtype(probabilities.dtype) == "float32"
        labels = np.zeros((B, T), "int32")
        loss = keras.losses.SparseCategoricalCrossentropy()(labels, probabilities)
        wanted = -np.log(to_numpy(probabilities)[:, :, 0]).mean()
        assert float(loss) == pytest.approx(wanted, rel=1e-4, abs=1e-6)
        loss = keras.losses.SparseCategoricalCrossentropy()(labels + length - 1, probabilities)
        assert 10 < float(loss) < 30


def test_steps_over_a_prepared_memory_equal_one_call():
    """Each query for itself, or as K beams of an example; where it may point, it may in both."""
    layer, query, value = ka.PointerAttention(UNITS), normal(B, T, QUERY), normal(B, S, VALUE)
    value_mask, left = np.arange(S) < [[3], [5]], np.arange(S) != np.arange(T)[:, None]
    left = np.stack([left, left[::-1]])
    masks = {"value_mask": value_mask, "attention_mask": left}
    wanted = to_numpy(layer(query, value, **masks))
    memory = layer.prepare(value, value_mask)
    for t in range(T):
        found = layer.step(keras.ops.convert_to_tensor(query[:, t]), memory, left[:, t])
        np.testing.assert_allclose(to_numpy(found), wanted[:, t], atol=1e-6)
    beams = keras.ops.reshape(query, (B * T, QUERY))
    found = to_numpy(layer.step(beams, memory, left.reshape(B * T, S)))
    np.testing.assert_allclose(found, wanted.reshape(B * T, S), atol=1e-6)


def test_a_search_projects_its_memory_once():
    """In the loop, the query alone is multiplied by a kernel."""
    layer = ka.PointerAttention(UNITS)
    layer.build((B, None, QUERY), (B, S, VALUE))

    @tf.function
    def pointers(query, value):
        memory = layer.prepare(value)

        def step(token, state):
            weights = layer.step(state["query"], state["memory"])
            return keras.ops.log(weights), weights, state

        return ka.search.greedy(step, {"query": query, "memory": memory}, 0, 1, max_length=4).tokens

    graph = pointers.get_concrete_function(normal(B, QUERY), normal(B, S, VALUE)).graph
    bodies = [
        graph._get_function(op.get_attr("body").name).graph
        for op in graph.get_operations()
        if op.type in ("While", "StatelessWhile")
    ]
    shapes = {
        tuple(x.shape)
        for body in bodies
        for op in body.get_operations()
        for x in op.outputs
        if op.type == "MatMul" and x.shape.rank
    }
    assert shapes == {(B, UNITS)}


# ---- Writing and copying


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8", "float32"])
def test_copy_distribution_equals_the_loops(dtype):
    """Repeated ids, ids of no word, and any dtype that holds them."""
    size, random = 7, np.random.default_rng(3)
    weights, ids = random.uniform(size=(B, T, 23)), random.integers(0, 11, size=(B, 23))
    wanted = np.zeros((B, T, size))
    for b, t, s in np.ndindex(weights.shape):
        if ids[b, s] < size:
            wanted[b, t, ids[b, s]] += weights[b, t, s]
    assert (ids >= size).any()
    results = copy_distribution(keras.ops.convert_to_tensor(weights), ids.astype(dtype), size)
    np.testing.assert_allclose(to_numpy(results), wanted, atol=1e-12)
    below = copy_distribution(keras.ops.convert_to_tensor(weights), ids * 0 - 1, size)
    assert not to_numpy(below).any()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_copy_distribution_is_summed_in_float32(dtype):
    weights = keras.ops.cast(np.full((1, 1, 4096), 2**-12), dtype)
    total = copy_distribution(weights, np.zeros((1, 4096), "int32"), 1)
    assert keras.backend.standardize_dtype(total.dtype) == dtype
    assert float(to_numpy(total)[0, 0, 0]) == 1


def features():
    return [normal(B, T, width) for width in (VALUE, QUERY, UNITS)]


@pytest.mark.parametrize("extra_ids", [0, 4])
def test_mixtures_are_distributions_and_equal_the_oracle(extra_ids):
    words, ids = 5, np.array([[1, 3, 1, 0, 4], [8, 8, 2, 4, 6]]) % (5 + extra_ids)
    vocabulary = to_numpy(keras.ops.softmax(normal(B, T, words)), "float32")
    weights = to_numpy(keras.ops.softmax(normal(B, T, S)), "float32")
    layer = ka.PointerGenerator(extra_ids)
    layer(vocabulary, weights, ids, *features())
    layer.set_weights([normal(*w.shape) for w in layer.weights])
    results = to_numpy(layer(vocabulary, weights, ids, *features()))
    kernels = {weight.name: to_numpy(weight) for weight in layer.weights}
    for b, t in np.ndindex(B, T):
        step = [x[b, t] for x in features()]
        wanted = oracle.mixture(
            vocabulary[b, t], weights[b, t], ids[b], *step, extra_ids, **kernels
        )
        np.testing.assert_allclose(results[b, t], wanted, atol=1e-6)
    np.testing.assert_allclose(results.sum(axis=-1), 1, atol=1e-6)


@pytest.mark.each_value
@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_nothing_is_copied_from_padding(policy, scale):
    """Nor is there a gradient, and for an empty source p_gen P_vocab remains."""
    random, examples, words = np.random.default_rng(29), 101, 5
    layer = ka.PointerGenerator(S, dtype=policy)
    mask = random.uniform(size=(examples, S)) < random.uniform(0.3, 1, size=(examples, 1))
    mask[::5] = False
    # Every other position holds a word of the vocabulary, the others one of their own.
    ids = np.where(np.arange(S) % 2, np.arange(S), words + np.arange(S))
    ids = np.broadcast_to(ids, mask.shape)
    dtype = layer.compute_dtype
    vocabulary = keras.ops.softmax(keras.ops.cast(normal(examples, T, words), dtype))
    scores, features = (
        [tf.cast(scale * normal(examples, T, width), dtype) for width in widths]
        for widths in ([S], [VALUE, QUERY, UNITS])
    )
    with tf.GradientTape() as tape:
        tape.watch([scores, features])
        weights = ka.masks.masked_softmax(scores[0], mask[:, None])
        result = layer(vocabulary, weights, ids, *features)
        # A float16 gradient of this scale overflows without a small loss.
        loss = tf.reduce_sum(tf.cast(result, "float32") * normal(*result.shape)) * 1e-2 / scale
    kernels = [weight.value for weight in layer.trainable_weights]
    gradients = tape.gradient(loss, [*scores, *features, *kernels])
    result, *gradients = (to_numpy(x) for x in (result, *gradients))
    assert all(np.isfinite(x).all() for x in (result, *gradients))
    atol = {"float32": 1e-5, "mixed_float16": 3e-3, "mixed_bfloat16": 2e-2}[policy]
    np.testing.assert_allclose(result[mask.any(axis=1)].sum(axis=-1), 1, atol=atol)
    own = np.moveaxis(result[:, :, words:], 2, 1)  # (B, S, T)
    assert (own[~mask] == 0).all()
    assert (own[mask][:, 0] > 0).any()
    empty = result[~mask.any(axis=1)]
    share = empty[:, :, :words] / to_numpy(vocabulary)[~mask.any(axis=1)]  # p_gen
    np.testing.assert_allclose(share, share[:, :, :1].repeat(words, axis=2), rtol=2e-2, atol=1e-6)
    assert (np.moveaxis(gradients[0], 2, 1)[~mask] == 0).all()
    assert (np.moveaxis(gradients[0], 2, 1)[mask] != 0).any()


def test_nothing_is_as_large_as_the_source_times_the_vocabulary():
    source, words = 211, 1009

    @tf.function(input_signature=[tf.TensorSpec([B, T, source]), tf.TensorSpec([B, source])])
    def graph(weights, ids):
        return copy_distribution(weights, ids, words)

    operations = graph.get_concrete_function().graph.get_operations()
    sizes = [x.shape.num_elements() for operation in operations for x in operation.outputs]
    assert max(size for size in sizes if size is not None) == B * T * words < source * words


def test_a_mixture_learns_to_copy_words_that_the_vocabulary_lacks():
    """Half of the words come from the vocabulary, the other half from the source only."""
    words, extra, length, random = 5, 8, 6, np.random.default_rng(3)
    source = random.permuted(np.tile(np.arange(words, words + extra), (512, 1)), axis=1)[:, :length]
    known = random.uniform(size=(512, length)) < 0.5
    target = np.where(known, random.integers(0, words, size=source.shape), source)
    # The decoder gets a position to copy from, or a word of the vocabulary.
    position = np.broadcast_to(np.eye(length), (512, length, length))
    word = np.eye(words + 1)[np.where(known, target, words)]
    inputs = keras.Input((length, length + words + 1)), keras.Input((length, length))
    source_ids = keras.Input((length,), dtype="int32")
    context, weights = ka.BahdanauAttention(16)(*inputs, return_attention_scores=True)
    vocabulary = keras.layers.Dense(words, activation="softmax")(inputs[0])

    def trained(head):
        model = keras.Model([*inputs, source_ids], head)
        model.compile(
            keras.optimizers.Adam(0.05),
            keras.losses.SparseCategoricalCrossentropy(),
            metrics=["accuracy"],
            jit_compile=True,
        )
        query = np.concatenate([position, word], axis=-1)
        data = [query.astype("float32"), position.astype("float32"), source]
        model.fit([x[64:] for x in data], target[64:], epochs=10, batch_size=32, verbose=0)
        return model.evaluate([x[:64] for x in data], target[:64], verbose=0)[1]

    mixture = ka.PointerGenerator(extra)(
        vocabulary, weights, source_ids, context, inputs[0], inputs[0]
    )
    assert trained(mixture) > 0.97
    # Without pointers, even a head over all words cannot know which word is at a position.
    features = keras.layers.Concatenate()([inputs[0], context])
    assert trained(keras.layers.Dense(words + extra, activation="softmax")(features)) < 0.7


# ---- Errors


def generator(argument, shape):
    """A symbolic mixture with one tensor of another shape."""
    shapes = dict.fromkeys(("context", "state", "inputs"), (2, 3, 7)) | {argument: shape}
    tensors = [keras.Input(batch_shape=shape) for shape in ((2, 3, 5), (2, 3, 4), (2, 4))]
    features = [keras.Input(batch_shape=shape) for shape in shapes.values()]
    return ka.PointerGenerator()(*tensors, *features)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ka.PointerAttention(0), ["`units`", "0", "at least 1"]),
        (
            lambda: ka.PointerAttention(3, name="point").prepare(normal(2, 5, 3)),
            ["PointerAttention 'point' is not built", "call it once"],
        ),
        (lambda: ka.PointerGenerator(-1), ["`extra_ids`", "-1"]),
        (lambda: ka.PointerGenerator(2.5), ["`extra_ids`", "2.5", "integer"]),
        (
            lambda: ka.PointerAttention(3)(normal(3), normal(2, 5, 3)),
            ["`query`", "(3,)", "(batch, queries, width)"],
        ),
        (
            lambda: ka.PointerAttention(3)(normal(2, 3, 5), normal(3, 5, 3)),
            ["`query`", "batch size 2", "`value`", "batch size 3"],
        ),
        (
            lambda: ka.PointerAttention(3)(
                normal(2, 3, 5), normal(2, 5, 3), value_mask=np.ones((2, 3))
            ),
            ["`value_mask`", "(2, 3)", "(2, 5)"],
        ),
        (
            lambda: ka.PointerGenerator()(
                normal(2, 3, 5), normal(2, 3, 4), np.zeros((2, 7), "int32"), *features()
            ),
            ["`source_ids`", "memory length 7", "`weights`", "memory length 4"],
        ),
        (
            lambda: ka.PointerGenerator()(
                normal(2, 3, 5), normal(2, 4), np.zeros((2, 4), "int32"), *features()
            ),
            ["`weights`", "(2, 4)", "(batch, steps, memory)"],
        ),
        (
            lambda: ka.PointerGenerator()(
                normal(2, 4, 5), normal(2, 3, 4), np.zeros((2, 4), "int32"), *features()
            ),
            ["`probabilities`", "length 4", "`weights`", "length 3"],
        ),
        *(
            (lambda argument=argument, shape=shape: generator(argument, shape), [*words])
            for argument in ("context", "state", "inputs")
            for shape, words in (
                ((2, 7), [f"`{argument}`", "(2, 7)", "(batch, steps, width)"]),
                ((3, 3, 7), [f"`{argument}`", "batch size 3", "`weights`", "batch size 2"]),
                ((2, 1, 7), [f"`{argument}`", "length 1", "`weights`", "length 3"]),
            )
        ),
    ],
)
def test_errors_name_the_argument_and_what_is_expected(make, words):
    with pytest.raises(ValueError, match=words[0]) as error:
        make()
    assert all(word in str(error.value) for word in words)


# ---- Learning


@pytest.mark.parametrize("pointing", [True, *more(False)])
def test_pointers_learn_to_sort(pointing):
    """Six of twenty numbers; the decoder's input is the number that it pointed at last."""
    count, random = 6, np.random.default_rng(7)
    values = random.permuted(np.tile(np.arange(1, 21), (4096, 1)), axis=1)[:, :count]
    order = np.argsort(values, axis=1)
    read = np.concatenate([np.zeros((4096, 1), int), np.sort(values, axis=1)[:, :-1]], axis=1)
    elements, pointed_at = keras.Input((count, 21)), keras.Input((count, 21))
    last = keras.layers.GRU(32)(elements)
    decoded = keras.layers.GRU(32, return_sequences=True)(pointed_at, initial_state=last)
    if pointing:
        positions = ka.PointerAttention(32)(decoded, elements)
    else:  # The encoder's last state has to contain the numbers and their positions.
        positions = keras.layers.Dense(count, activation="softmax")(decoded)
    model = keras.Model([elements, pointed_at], positions)
    model.compile(
        keras.optimizers.Adam(0.02), keras.losses.SparseCategoricalCrossentropy(), jit_compile=True
    )
    data = [np.eye(21, dtype="float32")[x] for x in (values, read)]
    model.fit([x[512:] for x in data], order[512:], epochs=3, batch_size=64, verbose=0)
    found = model.predict([x[:512] for x in data], verbose=0).argmax(axis=-1)
    exact = np.mean(np.all(found == order[:512], axis=1))
    assert exact > 0.9 if pointing else exact < 0.5
