"""Layers in two places of a model: saved, loaded, cloned and exported as one layer."""

import copy

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_attention as ka
from comparing import assert_close, numbers

LAYERS = keras.layers
IDS, WIDTH = 13, 8
SOURCE, TARGET = (
    np.array([[3, 4, 5], [6, 7, 0]], "int32"),
    np.array([[1, 3, 4], [1, 5, 0]], "int32"),
)
RANDOM = np.random.default_rng(3)
INPUTS = RANDOM.normal(size=(2, 5, 7)).astype("float32")
MEMORY = RANDOM.normal(size=(2, 11, 3)).astype("float32")


def embedding():
    return LAYERS.Embedding(IDS, WIDTH, mask_zero=True)


def encoder(first):
    return keras.Sequential([first, LAYERS.GRU(5, return_sequences=True)])


def decoder(cell=None, attention=None):
    return ka.BahdanauDecoder(cell or LAYERS.GRUCell(7), attention or ka.BahdanauAttention(3))


def in_a_sequential():
    shared = embedding()
    return ka.models.EncoderDecoder(encoder(shared), shared, decoder(), LAYERS.Dense(IDS))


def in_a_functional():
    shared, tokens = embedding(), keras.Input((None,), dtype="int32")
    model = keras.Model(tokens, LAYERS.GRU(5, return_sequences=True)(shared(tokens)))
    return ka.models.EncoderDecoder(model, shared, decoder(), LAYERS.Dense(IDS))


def in_two_sequentials():
    shared = embedding()
    target = keras.Sequential([shared, LAYERS.Dense(5)])
    return ka.models.EncoderDecoder(encoder(shared), target, decoder(), LAYERS.Dense(IDS))


def tied_to_the_head():
    shared = LAYERS.ReversibleEmbedding(IDS, 7, mask_zero=True)
    return ka.models.EncoderDecoder(encoder(shared), shared, decoder(), shared)


def cell_of_encoder_and_decoder():
    cell = LAYERS.GRUCell(7)
    target = LAYERS.Embedding(IDS, 5, mask_zero=True)
    # The decoder's cell reads the context beside the target.
    source = LAYERS.Embedding(IDS, 5 + 7, mask_zero=True)
    memory = keras.Sequential([source, LAYERS.RNN(cell, return_sequences=True)])
    return ka.models.EncoderDecoder(memory, target, decoder(cell), LAYERS.Dense(IDS))


def in_a_transformer():
    shared = LAYERS.ReversibleEmbedding(IDS, WIDTH, mask_zero=True)
    return ka.models.Transformer(
        keras.Sequential([shared, ka.TransformerEncoderBlock(2, 16)]),
        shared,
        [ka.TransformerDecoderBlock(2, 16)],
        shared,
        max_length=7,
    )


def encoder_of_two_models():
    shared = encoder(embedding())
    tokens = [keras.Input((None,), dtype="int32", name=name) for name in ("source", "target")]
    models = [
        ka.models.EncoderDecoder(shared, embedding(), decoder(), LAYERS.Dense(IDS)) for _ in "ab"
    ]
    return keras.Model(tokens, [model(tokens) for model in models])


def two_decoders(**shared):
    inputs, memory = keras.Input((None, 7), name="inputs"), keras.Input((None, 3), name="memory")
    return keras.Model([inputs, memory], [decoder(**shared)(inputs, memory) for _ in "ab"])


TOKENS, VECTORS = [SOURCE, TARGET], [INPUTS, MEMORY]
WAYS = {
    "in_a_sequential": (in_a_sequential, TOKENS),
    "in_a_functional": (in_a_functional, TOKENS),
    "in_two_sequentials": (in_two_sequentials, TOKENS),
    "tied_to_the_head": (tied_to_the_head, TOKENS),
    "cell_of_encoder_and_decoder": (cell_of_encoder_and_decoder, TOKENS),
    "in_a_transformer": (in_a_transformer, TOKENS),
    "encoder_of_two_models": (encoder_of_two_models, TOKENS),
    "cell_of_two_decoders": (lambda: two_decoders(cell=LAYERS.GRUCell(7)), VECTORS),
    "attention_of_two_decoders": (
        lambda: two_decoders(attention=ka.BahdanauAttention(3)),
        VECTORS,
    ),
}
EVERY_WAY = pytest.mark.parametrize("way", WAYS)
# `keras.models.clone_model` copies the layers of a functional model one by one.
UNTIED_BY_KERAS = {"encoder_of_two_models", "cell_of_two_decoders", "attention_of_two_decoders"}


def made(way):
    make, inputs = WAYS[way]
    model = make()
    model(inputs)
    for variable in model.trainable_variables:
        variable.assign(RANDOM.normal(size=variable.shape, scale=0.3))
    return model, inputs


def assert_equal(model, other, inputs):
    assert len(model.weights) == len(other.weights)
    assert_close(numbers(other(inputs)), numbers(model(inputs)), atol=1e-6)


@EVERY_WAY
def test_the_file_loads(way, tmp_path):
    model, inputs = made(way)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert_equal(model, loaded, inputs)
    for variable in loaded.trainable_variables:  # one variable in both places still
        variable.assign(variable + 0.1)
    for variable in model.trainable_variables:
        variable.assign(variable + 0.1)
    assert_equal(model, loaded, inputs)


@EVERY_WAY
def test_weights_load_into_a_model_made_the_same_way(way, tmp_path):
    model, inputs = made(way)
    model.save_weights(tmp_path / "model.weights.h5")
    other, _ = made(way)
    other.load_weights(tmp_path / "model.weights.h5")
    assert_equal(model, other, inputs)


@EVERY_WAY
def test_copies_share_as_the_model_does(way):
    model, inputs = made(way)
    assert_equal(model, copy.deepcopy(model), inputs)
    if way not in UNTIED_BY_KERAS:
        clone = keras.models.clone_model(model)
        clone(inputs)
        clone.set_weights(model.get_weights())
        assert_equal(model, clone, inputs)


@EVERY_WAY
def test_the_export_gives_the_same_numbers(way, tmp_path):
    model, inputs = made(way)
    specs = [tf.TensorSpec([None, *x.shape[1:]], x.dtype) for x in inputs]

    def call(first, second):
        outputs = keras.tree.flatten(model([first, second]))
        return {str(i): output for i, output in enumerate(outputs)}

    ka.export.saved_model(model, tmp_path / "model", {"call": (call, specs)})
    served = tf.saved_model.load(tmp_path / "model").signatures["call"]
    names = sorted(served.structured_input_signature[1])
    results = served(**dict(zip(names, map(tf.constant, inputs), strict=True)))
    expected = keras.tree.flatten(model(inputs))
    assert_close([results[str(i)].numpy() for i in range(len(expected))], numbers(expected))


def test_a_tied_head_trains_and_searches_as_its_transpose():
    model, inputs = made("tied_to_the_head")
    outputs = model.decoder(
        model.target_embedding(TARGET),
        model.encoder(SOURCE),
        initial_state=model.bridge(model.encoder(SOURCE)),
    )
    logits = np.asarray(outputs) @ np.asarray(model.head.embeddings).T
    assert_close([np.asarray(model(inputs))], [logits], atol=1e-5)
    model.compile("sgd", ka.losses.LinearCrossentropy())
    assert np.isfinite(model.train_on_batch(tuple(TOKENS), TARGET))
    found = ka.search.beam(model.step, model.begin(SOURCE), 1, 2, max_length=5, beam_width=3)
    assert found.tokens.shape == (2, 3, 5)


def test_a_function_as_head_trains_and_is_not_saved(tmp_path):
    shared = LAYERS.ReversibleEmbedding(IDS, 7)
    model = ka.models.EncoderDecoder(
        encoder(shared), shared, decoder(), lambda outputs: shared(outputs, reverse=True)
    )
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit((SOURCE, TARGET), TARGET, verbose=0)
    with pytest.raises(ValueError, match=r"`head` is .* a function, which is not saved"):
        model.save(tmp_path / "model.keras")


def test_two_rnns_of_keras_over_one_cell_are_rescued(tmp_path):
    """Keras saves them and cannot load the model; into a new one it can load the weights."""
    inputs, cell = keras.Input((None, 7)), LAYERS.GRUCell(3)
    model = keras.Model(inputs, [LAYERS.RNN(cell)(inputs), LAYERS.RNN(cell)(inputs)])
    model.save(tmp_path / "model.keras")
    cell = LAYERS.GRUCell(3)
    again = keras.Model(inputs, [LAYERS.RNN(cell)(inputs), LAYERS.RNN(cell)(inputs)])
    again.load_weights(tmp_path / "model.keras")
    assert_close(numbers(again(INPUTS)), numbers(model(INPUTS)))
