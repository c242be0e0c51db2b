"""Dropout in `decode`, `step` and searches: `training` reaches every layer inside."""

from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_attention as ka
from comparing import assert_close, numbers, to_numpy

LAYERS = keras.layers
RANDOM = np.random.default_rng(3)
INPUTS = RANDOM.normal(size=(3, 5, 7)).astype("float32")
MEMORY = RANDOM.normal(size=(3, 11, 2)).astype("float32")


class NestedCell(LAYERS.Layer):
    """A cell of one's own around a cell and a layer with dropout; its `call` has no `training`."""

    state_size = 13

    def __init__(self):
        super().__init__()
        self.cell = LAYERS.GRUCell(13, recurrent_dropout=0.5, seed=3)
        self.dropout_layer = LAYERS.Dropout(0.5, seed=5)

    def build(self, input_shape):
        self.cell.build(input_shape)

    def call(self, inputs, states):
        return self.cell(self.dropout_layer(inputs), states)


CELLS = {
    "lstm": lambda: LAYERS.LSTMCell(13, dropout=0.5, recurrent_dropout=0.5, seed=3),
    "stacked": lambda: LAYERS.StackedRNNCells(
        [LAYERS.GRUCell(17, dropout=0.5, seed=3), LAYERS.LSTMCell(13, recurrent_dropout=0.5)]
    ),
    "nested": NestedCell,
}
DECODERS = {
    "bahdanau": lambda cell: ka.BahdanauDecoder(cell, ka.BahdanauAttention(5)),
    "luong": lambda cell: ka.LuongDecoder(cell, ka.LuongAttention()),
    "luong_unfed": lambda cell: ka.LuongDecoder(cell, ka.LuongAttention(), input_feeding=False),
}
EVERY_CELL = pytest.mark.parametrize("cell", CELLS)
EVERY_DECODER = pytest.mark.parametrize("kind", DECODERS)


def made(kind, cell):
    keras.utils.set_random_seed(3)
    decoder = DECODERS[kind](CELLS[cell]())
    decoder(INPUTS, MEMORY)
    return decoder


def seeds_reset(layer):
    """Lets the dropouts sample the numbers of a new layer."""
    for part in layer._flatten_layers():
        for generator in vars(part).values():
            if isinstance(generator, keras.random.SeedGenerator):
                state = keras.ops.convert_to_tensor([3, 0], "uint32")
                generator.state.assign(keras.ops.cast(state, generator.state.dtype))


@pytest.mark.each_value
@EVERY_CELL
@EVERY_DECODER
@pytest.mark.parametrize("in_graph", [True, False])
def test_decode_drops_as_the_call(kind, cell, in_graph):
    decoder = made(kind, cell)
    decode = partial(decoder.decode, INPUTS, MEMORY, training=True)
    call = partial(decoder, INPUTS, MEMORY, training=True)
    found = []
    for function in (decode, call):
        seeds_reset(decoder)
        function = tf.function(function) if in_graph else function
        result = function()
        found.append(to_numpy(result[0] if isinstance(result, tuple) else result))
    assert_close([found[0]], [found[1]])
    inference = to_numpy(decoder(INPUTS, MEMORY))
    assert np.abs(found[0] - inference).max() > 0.01
    assert_close(numbers(decoder.decode(INPUTS, MEMORY)[0]), [inference], atol=0)


@pytest.mark.each_value
@pytest.mark.parametrize("cell", ["lstm", "stacked"])
@EVERY_DECODER
def test_steps_with_dropout_equal_the_call_with_dropout(kind, cell):
    """The masks of a cell are those of the whole sequence."""
    decoder = made(kind, cell)
    seeds_reset(decoder)
    outputs = to_numpy(decoder(INPUTS, MEMORY, training=True))
    seeds_reset(decoder)
    state = decoder.begin(MEMORY, training=True)
    for t in range(INPUTS.shape[1]):
        inputs = keras.ops.convert_to_tensor(INPUTS[:, t])
        output, _, state = decoder.step(inputs, state, training=True)
        assert_close([to_numpy(output)], [outputs[:, t]])


@EVERY_DECODER
def test_a_step_in_training_needs_a_state_of_training(kind):
    decoder = made(kind, "lstm")
    state = decoder.begin(MEMORY)
    with pytest.raises(ValueError, match="`state` has no dropout masks"):
        decoder.step(keras.ops.convert_to_tensor(INPUTS[:, 0]), state, training=True)


def test_the_attention_of_a_step_drops_weights_in_training():
    attention = ka.BahdanauAttention(5, dropout=0.5, seed=3)
    decoder = ka.LuongDecoder(LAYERS.GRUCell(13), attention)
    decoder(INPUTS, MEMORY)
    inputs, state = keras.ops.convert_to_tensor(INPUTS[:, 0]), decoder.begin(MEMORY)
    one, other = (to_numpy(decoder.step(inputs, state, training=True)[0]) for _ in range(2))
    assert np.abs(one - other).max() > 0.01
    assert_close(numbers(decoder.step(inputs, state)), numbers(decoder.step(inputs, state, False)))


def encoder_decoder(**options):
    return ka.models.EncoderDecoder(
        keras.Sequential(
            [
                LAYERS.Embedding(19, 7, mask_zero=True),
                LAYERS.GRU(5, return_sequences=True, dropout=0.5),
            ]
        ),
        LAYERS.Embedding(19, 7, mask_zero=True),
        ka.BahdanauDecoder(LAYERS.GRUCell(13, dropout=0.5), ka.BahdanauAttention(5, dropout=0.3)),
        keras.Sequential([LAYERS.Dropout(0.5), LAYERS.Dense(19)]),
        **options,
    )


def transformer():
    return ka.models.Transformer(
        keras.Sequential(
            [
                LAYERS.Embedding(19, 6, mask_zero=True),
                ka.TransformerEncoderBlock(2, 12, dropout=0.5),
            ]
        ),
        LAYERS.Embedding(19, 6, mask_zero=True),
        [ka.TransformerDecoderBlock(2, 12, dropout=0.5)],
        LAYERS.Dense(19),
        max_length=7,
        dropout=0.5,
    )


MODELS = {
    "encoder_decoder": encoder_decoder,
    "scheduled": lambda: encoder_decoder(sampling_probability=0.5),
    "transformer": transformer,
}
SOURCE, TARGET = np.array([[3, 4, 5], [6, 7, 0]]), np.array([[1, 3, 4, 6], [1, 5, 0, 0]])


@pytest.mark.parametrize("name", MODELS)
def test_decode_of_a_model_drops_in_training(name):
    model = MODELS[name]()
    for _ in range(2):
        logits = to_numpy(model.decode((SOURCE, TARGET), training=True)[0])
        assert np.abs(logits - to_numpy(model((SOURCE, TARGET)))).max() > 0.01
    found = [to_numpy(model.decode((SOURCE, TARGET))[0]), to_numpy(model((SOURCE, TARGET)))]
    assert_close([found[0]], [found[1]])


@pytest.mark.each_value
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("in_graph", [True, False])
def test_searches_with_dropout_differ_from_each_other(name, in_graph):
    model = MODELS[name]()
    step = partial(model.step, training=True)

    def search(training):
        state = model.begin(SOURCE, training=training)
        found = ka.search.beam(step if training else model.step, state, 1, 2, 5, beam_width=3)
        return found.log_probs

    model.begin(SOURCE)
    search = tf.function(search) if in_graph else search
    found = [to_numpy(search(training)) for training in (True, True, False, False)]
    assert np.abs(found[0] - found[1]).max() > 1e-4
    assert_close([found[2]], [found[3]], atol=0)
