"""Decoders beyond the layer table: stepping, states, dropout, what is fed back, and learning."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_attention as ka
from comparing import assert_close, numbers, to_numpy
from keras_attention._internal.rnn import run_loop
from marks import eagerly, more
from table.decoders import decode

B, T, S, INPUT, MEMORY, CELL, UNITS, FINAL = 2, 3, 5, 7, 11, 13, 17, 19
LAYERS = keras.layers

CELLS = {
    "gru": lambda **k: LAYERS.GRUCell(CELL, **k),
    "gru_reset_before": lambda **k: LAYERS.GRUCell(CELL, reset_after=False, **k),
    "lstm": lambda **k: LAYERS.LSTMCell(CELL, **k),
    "simple_rnn": lambda **k: LAYERS.SimpleRNNCell(CELL, **k),
    "stacked": lambda **k: LAYERS.StackedRNNCells(
        [LAYERS.LSTMCell(FINAL, **k), LAYERS.GRUCell(CELL, **k)]
    ),
    "stacked_two_lstm": lambda **k: LAYERS.StackedRNNCells(
        [LAYERS.LSTMCell(CELL, **k), LAYERS.LSTMCell(CELL, **k)]
    ),
}
STATES = {"lstm": [CELL, CELL], "stacked": [FINAL, FINAL, CELL], "stacked_two_lstm": [CELL] * 4}

DECODERS = {
    "bahdanau": lambda cell, a, **k: ka.BahdanauDecoder(
        cell, ka.BahdanauAttention(UNITS, **a), **k
    ),
    "luong": lambda cell, a, **k: ka.LuongDecoder(
        cell, ka.LuongAttention("general", **a), attention_layer_size=FINAL, **k
    ),
    "luong_no_layer": lambda cell, a, **k: ka.LuongDecoder(cell, ka.LuongAttention(**a), **k),
    "luong_unfed": lambda cell, a, **k: ka.LuongDecoder(
        cell, ka.LuongAttention("concat", **a), attention_layer_size=FINAL, input_feeding=False, **k
    ),
    "luong_unfed_no_layer": lambda cell, a, **k: ka.LuongDecoder(
        cell, ka.BahdanauAttention(UNITS, **a), input_feeding=False, **k
    ),
}
EVERY_DECODER = pytest.mark.parametrize("kind", DECODERS)
EVERY_CELL = pytest.mark.parametrize("cell", CELLS)


def normal(*shape, seed=7):
    return np.random.default_rng(seed + sum(shape)).normal(size=shape).astype("float32")


def make(kind, cell, cell_options=None, attention_options=None, **options):
    return DECODERS[kind](CELLS[cell](**(cell_options or {})), attention_options or {}, **options)


def everything(kind, cell, **options):
    return make(kind, cell, return_state=True, return_attention_scores=True, **options)


INPUTS, MEMORIES = normal(B, T, INPUT), normal(B, S, MEMORY)
MASKS = {
    "inputs_mask": np.array([[True, True, True], [True, True, False]]),
    "memory_mask": np.array([[True, True, True, False, False], [False, True, True, True, True]]),
}


def initial_states(cell):
    return [normal(B, width, seed=i) for i, width in enumerate(STATES.get(cell, [CELL]))]


@pytest.mark.each_value
@EVERY_DECODER
@EVERY_CELL
def test_numbers_with_an_initial_state_equal_the_oracle(kind, cell):
    decoder, states = everything(kind, cell), initial_states(cell)
    results = decoder(INPUTS, MEMORIES, **MASKS, initial_state=states)
    wanted = decode(decoder, INPUTS.astype(float), MEMORIES.astype(float), **MASKS, states=states)
    assert_close(numbers(results), wanted)
    assert np.abs(numbers(decoder(INPUTS, MEMORIES, **MASKS))[0] - wanted[0]).max() > 1e-3


@pytest.mark.each_value
@EVERY_DECODER
@EVERY_CELL
@pytest.mark.parametrize("dropout", [0.0, 0.3], ids=["", "dropout"])
def test_teacher_forcing_equals_stepping(kind, cell, dropout):
    """With an initial state, and with dropouts that are off."""
    decoder = everything(
        kind,
        cell,
        cell_options={"dropout": dropout, "recurrent_dropout": dropout},
        attention_options={"dropout": dropout},
    )
    states, mask = initial_states(cell), MASKS["memory_mask"]
    outputs, weights, *last = decoder(INPUTS, MEMORIES, memory_mask=mask, initial_state=states)
    state = decoder.begin(MEMORIES, memory_mask=mask, initial_state=states)
    for t in range(T):
        output, step_weights, state = decoder.step(keras.ops.convert_to_tensor(INPUTS[:, t]), state)
        assert tuple(output.shape) == (B, outputs.shape[-1])
        assert_close(numbers([output, step_weights]), numbers([outputs[:, t], weights[:, t]]))
    assert_close(numbers(state["cell"]), numbers(last))


@EVERY_DECODER
def test_a_state_can_be_handed_on(kind):
    """Two halves, the second started from the state of the first, are the whole, if nothing else
    is fed back."""
    decoder = everything(kind, "lstm")
    inputs = normal(B, 4, INPUT)
    whole = decoder(inputs, MEMORIES)
    first = decoder(inputs[:, :2], MEMORIES)
    second = decoder(inputs[:, 2:], MEMORIES, initial_state=first[2:])
    same = np.allclose(to_numpy(second[0]), to_numpy(whole[0])[:, 2:], atol=1e-5)
    assert same == (kind in ("bahdanau", "luong_unfed", "luong_unfed_no_layer"))


@EVERY_DECODER
@pytest.mark.parametrize("scores", [True, False])
@pytest.mark.parametrize("state", [True, False])
def test_what_is_returned(kind, scores, state):
    decoder = make(kind, "lstm", return_attention_scores=scores, return_state=state)
    results = decoder(INPUTS, MEMORIES)
    whole = everything(kind, "lstm")
    whole(INPUTS, MEMORIES)
    whole.set_weights(decoder.get_weights())
    outputs, weights, *states = whole(INPUTS, MEMORIES)
    expected = [outputs, *([weights] if scores else []), *(states if state else [])]
    if len(expected) == 1:
        assert not isinstance(results, (tuple, list))
    assert_close(numbers(results), numbers(expected), atol=0)


@EVERY_DECODER
def test_masked_steps_do_not_count(kind):
    """Wherever the gaps in the target are, the result is that of the target without them."""
    decoder = everything(kind, "gru")
    gaps = np.array([True, False, True, False, True])
    inputs = normal(B, 5, INPUT)
    mask = np.broadcast_to(gaps, (B, 5))
    outputs, weights, state = map(to_numpy, decoder(inputs, MEMORIES, inputs_mask=mask))
    wanted = numbers(decoder(inputs[:, gaps], MEMORIES))
    assert_close([outputs[:, gaps], weights[:, gaps], state], wanted)
    assert (outputs[:, ~gaps] == 0).all()
    assert (weights[:, ~gaps] == 0).all()


@EVERY_DECODER
def test_the_mask_of_the_inputs_is_passed_on(kind):
    embedded = LAYERS.Embedding(11, INPUT, mask_zero=True)(np.array([[3, 4, 0], [5, 0, 0]]))
    outputs = make(kind, "gru")(embedded, MEMORIES)
    np.testing.assert_array_equal(
        to_numpy(ka.masks.implicit_mask(outputs), "bool"), [[1, 1, 0], [1, 0, 0]]
    )


def train_with_dropout(kind, cell, shapes, compiled):
    rates = {"dropout": 0.3, "recurrent_dropout": 0.2}
    decoder = make(kind, cell, cell_options=rates, attention_options={"dropout": 0.3})
    inputs, memory = keras.Input((None, INPUT)), keras.Input((None, MEMORY))
    model = keras.Model([inputs, memory], LAYERS.Dense(3)(decoder(inputs, memory)))
    model.compile("sgd", "mse", jit_compile=compiled)
    for batch, steps, length in shapes:
        feed = [normal(batch, steps, INPUT), normal(batch, length, MEMORY)]
        assert np.isfinite(model.train_on_batch(feed, normal(batch, steps, 3)))
    return model


@eagerly
@pytest.mark.each_value
@pytest.mark.parametrize("kind", ["bahdanau", "luong", "luong_unfed"])
@pytest.mark.parametrize("cell", ["gru", "simple_rnn", "stacked"])
def test_training_with_dropout_everywhere(kind, cell):
    """Noise that a loop draws leaks out of its scope, on the second shape if not on the first."""
    model = train_with_dropout(kind, cell, [(2, 3, 5), (3, 2, 7)], compiled=False)
    feed = [INPUTS, MEMORIES]
    np.testing.assert_array_equal(to_numpy(model(feed)), to_numpy(model(feed)))
    noisy = [to_numpy(model(feed, training=True)) for _ in range(2)]
    assert (noisy[0] != noisy[1]).any()


@pytest.mark.parametrize(
    ("kind", "cell"), [("bahdanau", "stacked"), ("luong", "lstm"), ("luong_unfed", "gru")]
)
def test_training_with_dropout_everywhere_under_xla(kind, cell):
    train_with_dropout(kind, cell, [(2, 3, 5)], compiled=True)


@eagerly
@EVERY_DECODER
def test_a_functional_model_takes_the_encoders_state(kind):
    """Keras-style: an encoder that returns its state, and a decoder that starts from it."""
    source, target = keras.Input((None,), dtype="int32"), keras.Input((None,), dtype="int32")
    embedded = LAYERS.Embedding(11, INPUT, mask_zero=True)(source)
    memory, *states = LAYERS.LSTM(CELL, return_sequences=True, return_state=True)(embedded)
    decoder = everything(kind, "lstm")
    embedding = LAYERS.Embedding(11, INPUT, mask_zero=True)
    model = keras.Model(
        [source, target], list(decoder(embedding(target), memory, initial_state=states))
    )
    sources, targets = np.array([[3, 4, 5], [6, 7, 0]]), np.array([[1, 2], [8, 9]])
    results = model([sources, targets])
    memories, *firsts = keras.Model(source, [memory, *states])(sources)
    wanted = decode(
        decoder,
        to_numpy(embedding(targets)),
        to_numpy(memories),
        None,
        sources != 0,
        numbers(firsts),
    )
    assert_close(numbers(results), wanted)
    trained = keras.Model([source, target], LAYERS.Dense(2)(model.outputs[0]))
    trained.compile("sgd", "mse")
    assert np.isfinite(trained.train_on_batch([sources, targets], normal(2, 2, 2)))


@pytest.mark.parametrize("cell", ["gru", "gru_reset_before", "lstm"])
def test_without_feeding_the_cell_is_the_keras_layer(cell):
    """The same weights run in `keras.layers.GRU` or `LSTM`, and in the decoder's own steps."""
    decoder = make("luong_unfed_no_layer", cell, return_attention_scores=True)
    outputs, weights = decoder(INPUTS, MEMORIES)
    options = {"reset_after": False} if cell == "gru_reset_before" else {}
    layer = (LAYERS.LSTM if cell == "lstm" else LAYERS.GRU)(CELL, return_sequences=True, **options)
    hidden = layer(INPUTS)
    layer.set_weights(decoder.cell.get_weights())
    hidden = layer(INPUTS)
    context, wanted = decoder.attention(hidden, MEMORIES, return_attention_scores=True)
    assert_close(numbers([outputs, weights]), numbers([context, wanted]))


@pytest.mark.parametrize("cell", [LAYERS.GRUCell, LAYERS.LSTMCell, LAYERS.SimpleRNNCell])
def test_one_known_memory_for_inputs_of_an_unknown_batch_size(cell):
    decoder = ka.LuongDecoder(cell(6), ka.LuongAttention("general"), 7, input_feeding=False)
    inputs, memory = np.ones((1, 5, 4), "float32"), np.ones((1, 3, 8), "float32")
    signature = [tf.TensorSpec((None, None, 4)), tf.TensorSpec(memory.shape)]
    mask = np.array([[True, True, True, False, False]])
    for each in (None, mask):
        more = [] if each is None else [tf.TensorSpec((None, None), "bool")]
        graph = tf.function(decoder, input_signature=[*signature, *more])
        results = [
            call(inputs, memory, *([] if each is None else [each])) for call in (decoder, graph)
        ]
        assert_close(*(numbers([result]) for result in results), atol=1e-6)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_no_row_without_a_step_reaches_the_fused_loop(cell, monkeypatch):
    """cuDNN takes none. Keras's plain loop, which does, gives the same numbers."""
    decoder = everything("luong_unfed", cell)
    mask, states = np.array([[False] * T, [True] * (T - 1) + [False]]), initial_states(cell)
    found = numbers(decoder(INPUTS, MEMORIES, inputs_mask=mask, initial_state=states))
    loop, seen = decoder.recurrent_layer.call, []

    def call(inputs, initial_state=None, mask=None, training=False):
        seen.append(np.asarray(mask))
        return loop(inputs, initial_state=initial_state, mask=mask, training=training)

    monkeypatch.setattr(decoder.recurrent_layer, "call", call)
    assert_close(numbers(decoder(INPUTS, MEMORIES, inputs_mask=mask, initial_state=states)), found)
    np.testing.assert_array_equal(seen, [[[True] + [False] * (T - 1), mask[1]]])

    plain = LAYERS.RNN(decoder.cell, return_sequences=True, return_state=True)
    monkeypatch.setattr(
        decoder, "_run_cell", lambda x, state, mask: run_loop(plain, x, state, mask)
    )
    assert_close(numbers(decoder(INPUTS, MEMORIES, inputs_mask=mask, initial_state=states)), found)


def test_the_memory_is_never_kept():
    """One decoder, two memories of other lengths: each call sees its own."""
    decoder = make("bahdanau", "gru")
    first = to_numpy(decoder(INPUTS, MEMORIES))
    decoder(normal(3, 2, INPUT), normal(3, 7, MEMORY))
    np.testing.assert_array_equal(to_numpy(decoder(INPUTS, MEMORIES)), first)


class OwnCell(keras.layers.Layer):
    """A cell as a user writes one: a leaky average."""

    state_size = output_size = 3

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(input_shape[-1], 3), name="kernel")

    def call(self, inputs, states):
        output = 0.5 * states[0] + keras.ops.matmul(inputs, self.kernel)
        return output, [output]


@EVERY_DECODER
def test_any_keras_cell_will_do(kind):
    decoder = DECODERS[kind](OwnCell(), {}, return_state=True)
    outputs, state = decoder(INPUTS, MEMORIES, inputs_mask=MASKS["inputs_mask"])
    assert tuple(state.shape) == (B, 3)
    steps = decoder.begin(MEMORIES)
    for t in range(T):
        output, _, steps = decoder.step(keras.ops.convert_to_tensor(INPUTS[:, t]), steps)
        np.testing.assert_allclose(to_numpy(output)[0], to_numpy(outputs)[0, t], atol=1e-5)


# ---- Learning


def learned_reversal(kind, attends):
    """Accuracy on unseen words of 7 letters, after 256 steps, of writing them backwards."""
    random, letters, length, seen = np.random.default_rng(3), 7, 7, 4096
    words = random.integers(0, letters, size=(seen + 128, length))
    reverse = words[:, ::-1]
    places = np.broadcast_to(np.eye(length), (*words.shape, length))
    before = np.pad(np.eye(letters)[reverse][:, :-1], ((0, 0), (1, 0), (0, 0)))
    inputs = np.concatenate([before, places], -1).astype("float32")
    memories = np.concatenate([np.eye(letters)[words], places], -1).astype("float32")
    target, source = keras.Input(inputs.shape[1:]), keras.Input(memories.shape[1:])
    memory = source if attends else LAYERS.GlobalAveragePooling1D(keepdims=True)(source)
    decoder = DECODERS[kind](LAYERS.GRUCell(32), {})
    model = keras.Model([target, source], LAYERS.Dense(letters)(decoder(target, memory)))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.03), loss, metrics=["accuracy"])
    model.fit([inputs[:seen], memories[:seen]], reverse[:seen], epochs=4, batch_size=64, verbose=0)
    unseen = [inputs[seen:], memories[seen:]]
    return model.evaluate(unseen, reverse[seen:], verbose=0)[1]


@pytest.mark.parametrize("kind", ["bahdanau", "luong", *more("luong_unfed")])
def test_attention_learns_to_reverse(kind):
    assert learned_reversal(kind, attends=True) > 0.98


def test_the_mean_of_the_memory_is_not_enough_to_reverse():
    assert learned_reversal("bahdanau", attends=False) < 0.65


# ---- Several attentions


def test_one_memory_for_all_attentions_is_that_memory_for_each():
    random = np.random.default_rng(3)
    inputs, memory = (random.normal(size=shape) for shape in ((2, 3, 5), (2, 7, 11)))
    attention = ka.MultiSourceAttention([ka.BahdanauAttention(13), ka.LuongAttention()])
    decoder = ka.BahdanauDecoder(LAYERS.GRUCell(CELL), attention, return_attention_scores=True)
    output, weights = numbers(decoder(inputs, memory))
    assert weights.shape == (2, 3, 14)
    np.testing.assert_allclose(weights.reshape(2, 3, 2, 7).sum(axis=-1), 1, atol=1e-6)
    assert_close([output, weights], numbers(decoder(inputs, [memory, memory])), atol=1e-6)
    symbols = decoder(keras.Input((None, 5)), keras.Input((7, 11)))
    assert [symbol.shape for symbol in symbols] == [(None, None, CELL), (None, None, 14)]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ka.MultiSourceAttention([]), ["`attentions`", "[]", "list"]),
        (lambda: ka.MultiSourceAttention([LAYERS.Dense(3)]), ["`attentions`", "Dense"]),
        (lambda: _two_memories(3), ["`memory`", "3 parts", "2"]),
        (lambda: _two_memories(2, masks=1), ["`memory_mask`", "1", "2"]),
        (
            lambda: ka.BahdanauDecoder(
                LAYERS.GRUCell(3), ka.BahdanauAttention(3), readout=LAYERS.Dense(3)
            ),
            ["`readout`", "Dense", "DeepOutput"],
        ),
        (
            lambda: ka.LuongDecoder(
                LAYERS.GRUCell(3), ka.LuongAttention(), 3, readout=ka.DeepOutput(3)
            ),
            ["`attention_layer_size`", "3", "`readout`", "DeepOutput"],
        ),
    ],
)
def test_wrong_parts_are_refused(make, words):
    with pytest.raises(ValueError, match="expected") as error:
        make()
    assert all(word in str(error.value) for word in words), error.value


def _two_memories(count, masks=None):
    attention = ka.MultiSourceAttention([ka.BahdanauAttention(3), ka.BahdanauAttention(3)])
    decoder = ka.BahdanauDecoder(LAYERS.GRUCell(3), attention)
    mask = None if masks is None else [np.ones((2, 5), bool)] * masks
    return decoder(np.ones((2, 3, 5)), [np.ones((2, 5, 7))] * count, memory_mask=mask)
