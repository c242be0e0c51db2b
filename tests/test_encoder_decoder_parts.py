"""The parts that users give to models: encoders of their own, bridges, inputs as dicts."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_attention as ka
from comparing import assert_close, numbers, to_numpy
from marks import eagerly, more

LAYERS = keras.layers
IDS = 13
SOURCE = np.array([[3, 4, 5, 6, 7], [8, 9, 0, 0, 0], [3, 0, 0, 0, 0]], "int32")
TARGET = np.array([[1, 3, 4, 5], [1, 6, 7, 0], [1, 0, 0, 0]], "int32")
# Of Keras, when it loads a layer of one's own that has no `build`.
pytestmark = pytest.mark.filterwarnings("ignore:`build:UserWarning")
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@keras.saving.register_keras_serializable("tests")
class Subclassed(keras.Model):
    """As tutorials write it: `__init__` and `call`."""

    def __init__(self, return_state=False, **kwargs):
        super().__init__(**kwargs)
        self.return_state = return_state
        self.embedding = LAYERS.Embedding(IDS, 5, mask_zero=True)
        self.recurrent = LAYERS.GRU(11, return_sequences=True, return_state=return_state)

    def call(self, tokens):
        return self.recurrent(self.embedding(tokens))

    def get_config(self):
        return {**super().get_config(), "return_state": self.return_state}


@keras.saving.register_keras_serializable("tests")
class SubclassedEmbedding(LAYERS.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.embedding = LAYERS.Embedding(IDS, 7, mask_zero=True)

    def call(self, tokens):
        return self.embedding(tokens)


@keras.saving.register_keras_serializable("tests")
class SubclassedHead(LAYERS.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.hidden, self.logits = LAYERS.Dense(17, activation="relu"), LAYERS.Dense(IDS)

    def call(self, outputs):
        return self.logits(self.hidden(outputs))


def made(encoder=None, **options):
    return ka.models.EncoderDecoder(
        encoder or Subclassed(),
        SubclassedEmbedding(),
        ka.BahdanauDecoder(LAYERS.GRUCell(11), ka.BahdanauAttention(3)),
        SubclassedHead(),
        **options,
    )


def transformer():
    return ka.models.Transformer(
        Subclassed(),
        keras.Sequential([SubclassedEmbedding(), LAYERS.Dense(6)]),
        [ka.TransformerDecoderBlock(2, 12)],
        SubclassedHead(),
        max_length=7,
    )


MODELS = {
    "called_before": lambda: made(called(Subclassed())),
    "mean": made,
    "last": lambda: made(bridge="last"),
    "zeros": lambda: made(bridge=None),
    "states": lambda: made(Subclassed(return_state=True), bridge=None),
    "transformer": transformer,
}


def called(layer):
    layer(SOURCE)
    return layer


@eagerly
@pytest.mark.parametrize(
    ("name", "first"),
    [
        *((name, "fit") for name in MODELS),
        *more(("mean", "call"), ("states", "begin"), ("last", "build")),
    ],
)
def test_layers_with_a_call_alone_train_search_and_load(name, first, tmp_path):
    model = MODELS[name]()
    {
        "fit": lambda: None,
        "call": lambda: model((SOURCE, TARGET)),
        "begin": lambda: ka.search.greedy(model.step, model.begin(SOURCE), 1, 2, 5),
        "build": lambda: model.build([(None, None), (None, None)]),
    }[first]()
    model.compile("adam", LOSS)
    model.fit((SOURCE, TARGET), TARGET, verbose=0)
    found = ka.search.beam(model.step, model.begin(SOURCE), 1, 2, max_length=5, beam_width=3)
    assert found.tokens.shape == (3, 3, 5)
    logits = numbers(model((SOURCE, TARGET)))
    padded = np.pad(SOURCE, [[0, 0], [0, 2]])
    assert_close(numbers(model((padded, TARGET))), logits)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert_close(numbers(loaded((SOURCE, TARGET))), logits, atol=1e-6)


def test_padding_does_not_count_in_the_loss_after_any_head():
    model = made()
    model.compile("sgd", LOSS)
    logits = to_numpy(model((SOURCE, TARGET)))
    logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    chosen = np.take_along_axis(logs, TARGET[:, :, None].astype("int64"), axis=2)[:, :, 0]
    expected = -chosen[TARGET > 0].mean()
    assert model.test_on_batch((SOURCE, TARGET), TARGET) == pytest.approx(expected, rel=1e-5)


def test_the_states_of_the_encoder_start_the_decoder():
    model = made(Subclassed(return_state=True), bridge=None)
    logits = to_numpy(model((SOURCE, TARGET)))
    memory, state = model.encoder(SOURCE)
    outputs = model.decoder(
        model.target_embedding(TARGET), memory, memory_mask=SOURCE > 0, initial_state=state
    )
    assert_close([logits], [to_numpy(model.head(outputs))])


def test_states_that_do_not_fit_name_the_encoder():
    with pytest.raises(ValueError, match=r"`encoder` 'mine' returns states of widths .11. beside"):
        made(Subclassed(return_state=True, name="mine"))((SOURCE, TARGET))
    decoder = ka.BahdanauDecoder(LAYERS.GRUCell(5), ka.BahdanauAttention(3))
    model = ka.models.EncoderDecoder(
        Subclassed(return_state=True), SubclassedEmbedding(), decoder, SubclassedHead(), bridge=None
    )
    with pytest.raises(ValueError, match=r"returns states of widths \[11\]; expected \[5\]"):
        model((SOURCE, TARGET))


def test_the_last_step_of_a_bridge_is_the_last_that_is_not_masked():
    bridge = ka.models.Bridge([7], pooling="last")
    memory = np.random.default_rng(3).normal(size=(3, 5, 11)).astype("float32")
    (state,) = bridge(memory, mask=np.array([[1, 1, 1, 1, 1], [0, 1, 1, 0, 0], [0] * 5], "bool"))
    kernel, bias = map(np.asarray, bridge.get_weights())
    last = np.stack([memory[0, 4], memory[1, 2], np.zeros(11)])
    assert_close([to_numpy(state)], [np.tanh(last @ kernel + bias)])
    assert_close(numbers(bridge(memory)), [np.tanh(memory[:, 4] @ kernel + bias)])
    with pytest.raises(ValueError, match="`bridge` is 'max'; expected 'mean', 'last', None or a"):
        made(bridge="max")
    with pytest.raises(ValueError, match="`pooling` is 'max'; expected 'mean' or 'last'"):
        ka.models.Bridge([7], pooling="max")


@eagerly
def test_a_new_vocabulary_takes_over_encoder_decoder_and_bridge(tmp_path):
    old = made()
    old.compile("sgd", LOSS)
    old.fit((SOURCE, TARGET), TARGET, verbose=0)
    new = ka.models.EncoderDecoder(
        old.encoder, LAYERS.Embedding(23, 7), old.decoder, LAYERS.Dense(23), bridge=old.bridge
    )
    assert new.bridge is old.bridge
    assert new((SOURCE, TARGET + 10)).shape == (3, 4, 23)
    old.save_weights(tmp_path / "old.weights.h5")
    again = ka.models.EncoderDecoder(
        Subclassed(),
        LAYERS.Embedding(23, 7),
        ka.BahdanauDecoder(LAYERS.GRUCell(11), ka.BahdanauAttention(3)),
        LAYERS.Dense(23),
    )
    again((SOURCE, TARGET))
    with pytest.warns(UserWarning, match="could not be loaded"):
        again.load_weights(tmp_path / "old.weights.h5", skip_mismatch=True)
    for part in ("encoder", "decoder", "bridge"):
        assert_close(getattr(again, part).get_weights(), getattr(old, part).get_weights(), atol=0)


def test_a_bridge_of_ones_own_gives_the_first_state():
    bridge = keras.Sequential([LAYERS.GlobalMaxPooling1D(), LAYERS.Dense(11)])
    model = made(bridge=bridge)
    logits = to_numpy(model((SOURCE, TARGET)))
    memory = model.encoder(SOURCE)
    state = model.decoder.begin(memory, initial_state=bridge(memory))
    assert_close(numbers(state["cell"]), numbers(model.begin(SOURCE)["cell"]))
    assert logits.shape == (3, 4, IDS)


@keras.saving.register_keras_serializable("tests")
class SubclassedBridge(LAYERS.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.projection = LAYERS.Dense(11, activation="tanh")

    def call(self, memory):
        return [self.projection(memory[:, 0])]


def test_a_bridge_with_a_call_alone_is_loaded(tmp_path):
    model = made(bridge=SubclassedBridge())
    logits = numbers(model((SOURCE, TARGET)))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert len(loaded.weights) == len(model.weights)
    assert_close(numbers(loaded((SOURCE, TARGET))), logits, atol=1e-6)


def test_one_mask_for_two_memories_is_refused():
    attention = ka.MultiSourceAttention([ka.BahdanauAttention(3), ka.BahdanauAttention(3)])
    decoder = ka.BahdanauDecoder(LAYERS.GRUCell(11), attention)
    memories = [np.ones((2, steps, 3), "float32") for steps in (5, 7)]
    with pytest.raises(ValueError, match="`memory_mask` is one mask; expected a list of 2"):
        decoder(np.ones((2, 3, 5), "float32"), memories, memory_mask=np.ones((2, 5), "bool"))


@eagerly
@pytest.mark.parametrize("name", ["mean", "transformer"])
def test_inputs_may_be_a_dict(name, tmp_path):
    model = MODELS[name]()
    inputs = {"source": SOURCE, "target": TARGET}
    model.compile("sgd", LOSS)
    model.fit(tf.data.Dataset.from_tensor_slices((inputs, TARGET)).batch(2), verbose=0)
    logits = numbers(model((SOURCE, TARGET)))
    assert_close(numbers(model(inputs)), logits, atol=0)
    assert_close(numbers(model.decode(inputs)[0]), logits)
    model.save(tmp_path / "model.keras")
    assert_close(
        numbers(keras.saving.load_model(tmp_path / "model.keras")(inputs)), logits, atol=1e-6
    )


@pytest.mark.parametrize("name", ["mean", "transformer"])
def test_other_inputs_are_refused_in_one_line(name):
    model = MODELS[name]()
    for inputs in ({"source": SOURCE, "y": TARGET}, (SOURCE, TARGET, TARGET), SOURCE):
        with pytest.raises(ValueError, match=r"`inputs` is .*expected \(source, target\), or a"):
            model(inputs)
    with pytest.raises(ValueError, match="`source` is symbolic"):
        model.begin(keras.Input((None,)))


@pytest.mark.parametrize("in_graph", [True, False])
def test_one_first_state_serves_all_examples(in_graph):
    decoder = ka.BahdanauDecoder(LAYERS.GRUCell(11), ka.BahdanauAttention(3))
    random = np.random.default_rng(3)
    inputs, memory, state = (
        random.normal(size=shape).astype("float32") for shape in ((3, 4, 7), (3, 5, 2), (1, 11))
    )

    def call(inputs, memory):
        return decoder(inputs, memory, initial_state=[state])

    decoder(inputs, memory)
    specs = [tf.TensorSpec([None, *x.shape[1:]], x.dtype) for x in (inputs, memory)]
    call = tf.function(call, input_signature=specs) if in_graph else call
    repeated = decoder(inputs, memory, initial_state=[np.repeat(state, 3, axis=0)])
    assert_close(numbers(call(inputs, memory)), numbers(repeated))


def test_what_is_not_built_says_what_to_call():
    decoder = ka.BahdanauDecoder(LAYERS.GRUCell(11), ka.BahdanauAttention(3), name="mine")
    with pytest.raises(ValueError, match="BahdanauDecoder 'mine' is not built; call it once"):
        decoder.begin(np.ones((3, 5, 2), "float32"))


def test_a_forecaster_that_was_never_called_says_so():
    model = ka.models.EncoderDecoder(
        LAYERS.GRU(11, return_sequences=True),
        LAYERS.Dense(7),
        ka.BahdanauDecoder(LAYERS.GRUCell(11), ka.BahdanauAttention(3)),
        LAYERS.Dense(1),
    )
    with pytest.raises(ValueError, match=r"EncoderDecoder 'encoder_decoder.*' is not built; call"):
        model.begin(np.ones((3, 5, 2), "float32"))
