"""Attention weights of models that were made without them."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_attention as ka
from comparing import assert_close, numbers, tensors, to_numpy
from table import OTHER_SIZES, SIZES, TABLE

LAYERS = keras.layers
WORDS = np.array([[4, 7, 3, 9, 2], [5, 1, 8, 0, 0], [6, 0, 0, 0, 0]], "int32")
TARGET = np.array([[1, 3, 4], [1, 6, 0], [1, 0, 0]], "int32")


def gives_weights(row):
    functions = [f for layer in row.holds for f in (layer.__init__, layer.call)]
    parameters = {name for f in functions for name in inspect.signature(f).parameters}
    return "weights" in row.outputs and "return_attention_scores" in parameters


@pytest.mark.parametrize("row", [row for row in TABLE if gives_weights(row)], ids=str)
def test_weights_are_those_that_the_layer_returns(row):
    """Masks given and lengths unknown."""
    layer = row.new()
    inputs = row.functional(layer).input
    arguments = {name: inputs[name] for name in row.inputs}
    masks = {name: inputs[name] for name in row.masks}
    output = (row.unweighted or row.call)(layer, arguments, masks)[0]
    model = keras.Model(inputs, LAYERS.Activation("tanh")(output))
    weights = ka.attention_model(model, layer.name)
    assert set(map(id, weights.weights)) == set(map(id, model.weights))
    for sizes in (SIZES, OTHER_SIZES):
        arrays, masks = row.arrays(sizes)
        wanted = dict(zip(row.outputs, row.call(layer, tensors(arrays), masks), strict=True))
        assert_close(numbers(weights(tensors({**arrays, **masks}))), [to_numpy(wanted["weights"])])


def embedding(width=6):
    return LAYERS.Embedding(11, width, mask_zero=True)


def classifier(attention):
    """A functional model whose masks come from an embedding."""
    words = keras.Input((None,), dtype="int32", name="words")
    x = embedding()(words)
    x = LAYERS.Dense(7)(attention(x))
    return keras.Model(words, {"label": LAYERS.Dense(1)(LAYERS.GlobalAveragePooling1D()(x))})


def wanted_weights(model, layer):
    """Of a layer over a sequence that follows the first embedding, by calling both."""
    (first,) = [x for x in model._flatten_layers() if isinstance(x, LAYERS.Embedding)]
    x = first(WORDS)
    mask = first.compute_mask(WORDS)
    if isinstance(layer, LAYERS.MultiHeadAttention):
        return layer(x, x, query_mask=mask, value_mask=mask, return_attention_scores=True)[1]
    return layer(x, query_mask=mask, return_attention_scores=True)[1]


def self_attention():
    return ka.SelfAttention(2, 5, name="look")


def functional():
    return classifier(self_attention())


def with_keras_attention():
    attention = LAYERS.MultiHeadAttention(2, 5, name="look")
    return classifier(lambda x: attention(x, x))


def sequential():
    return keras.Sequential([embedding(), self_attention(), LAYERS.Dense(3)])


def nested():
    """The attention stands in a sequential model, in a functional one, in the model."""
    x = keras.Input((None, 6))
    inner = keras.Model(x, keras.Sequential([self_attention(), LAYERS.Dense(5)])(x))
    return classifier(inner)


MODELS = [functional, with_keras_attention, sequential, nested]


@pytest.mark.parametrize("origin", ["made", "loaded"])
@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
def test_implicit_masks_count(make, origin, tmp_path):
    model = make()
    model(WORDS)
    if origin == "loaded":
        model.save(tmp_path / "model.keras")
        model = keras.models.load_model(tmp_path / "model.keras")
    (layer,) = [part for part in model._flatten_layers() if part.name == "look"]
    before = keras.tree.flatten(model(WORDS))
    for given in ("look", layer):
        weights = ka.attention_model(model, given).predict(WORDS, verbose=0)
        assert_close([weights], numbers(wanted_weights(model, layer)))
        assert (np.moveaxis(weights, -1, 1)[WORDS == 0] == 0).all()
        assert weights[1, :, :3, :3].min() > 0
    assert_close(numbers(model(WORDS)), numbers(before), atol=0)
    assert "call" not in vars(layer)


def test_the_weights_follow_the_training_of_the_model():
    model = functional()
    weights = ka.attention_model(model, "look")
    before = weights.predict(WORDS, verbose=0)
    model.compile(keras.optimizers.SGD(5.0), "mse")
    model.fit(WORDS, {"label": np.ones((3, 1))}, verbose=0)
    after = weights.predict(WORDS, verbose=0)
    assert np.abs(after - before).max() > 1e-3
    assert_close([after], numbers(wanted_weights(model, model.get_layer("look"))))


def test_the_model_of_the_weights_saves_exports_and_trains(tmp_path):
    model = ka.attention_model(functional(), "look")
    wanted = model.predict(WORDS, verbose=0)
    model.save(tmp_path / "weights.keras")
    loaded = keras.models.load_model(tmp_path / "weights.keras")
    assert_close([loaded.predict(WORDS, verbose=0)], [wanted], atol=0)
    ka.export.saved_model(model, tmp_path / "weights")
    served = tf.saved_model.load(str(tmp_path / "weights"))
    outputs = served.signatures["serving_default"](words=WORDS)
    assert_close([outputs["look_weights"]], [wanted])
    diagonal = np.broadcast_to(np.eye(5), wanted.shape)
    model.compile(keras.optimizers.Adam(0.05), "mse")
    losses = model.fit(WORDS, diagonal, epochs=5, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


# ---- Models of the library


def encoder():
    gru = LAYERS.GRU(5, return_sequences=True)
    return keras.Sequential([embedding(), ka.SelfAttention(2, 3, name="in_encoder"), gru])


def encoder_decoder(make=ka.BahdanauDecoder, **options):
    decoder = make(LAYERS.GRUCell(7), ka.BahdanauAttention(5, name="inner"), name="out", **options)
    return ka.models.EncoderDecoder(encoder(), embedding(7), decoder, LAYERS.Dense(11), name="own")


def transformer():
    blocks = [
        ka.TransformerDecoderBlock(num_heads=2, intermediate_dim=13, name=name)
        for name in ("first", "last")
    ]
    head = LAYERS.Dense(11)
    return ka.models.Transformer(encoder(), embedding(), blocks, head, max_length=9, name="own")


def luong():
    return encoder_decoder(ka.LuongDecoder)


def luong_without_loop():
    return encoder_decoder(ka.LuongDecoder, input_feeding=False)


OWN = [
    *((make, name) for make in (encoder_decoder, luong, luong_without_loop) for name in ("out",)),
    (encoder_decoder, "inner"),
    (encoder_decoder, "own"),
    (transformer, "own"),
]


@pytest.mark.each_value
@pytest.mark.parametrize("origin", ["made", "loaded"])
@pytest.mark.parametrize(("make", "layer"), OWN)
def test_decoders_and_models_give_the_weights_of_decode(make, layer, origin, tmp_path):
    model = make()
    model((WORDS, TARGET))
    if origin == "loaded":
        model.save(tmp_path / "model.keras")
        model = keras.models.load_model(tmp_path / "model.keras")
    weights = ka.attention_model(model, layer)
    for words, target in ((WORDS, TARGET), (WORDS[:2, :3], TARGET[:2, :2])):
        wanted = model.decode((words, target))[1]
        assert_close(numbers(weights((words, target))), numbers(wanted))
        padding = np.moveaxis(to_numpy(weights((words, target))), 2, 1)[words == 0]
        assert (padding == 0).all()


def test_a_model_that_is_called_with_dicts_gives_its_weights():
    model, inputs = encoder_decoder(), {"source": WORDS, "target": TARGET}
    model(inputs)
    weights = ka.attention_model(model, "out")
    assert_close(numbers(weights(inputs)), numbers(model.attention_scores(inputs)))


def test_the_parts_of_a_model_of_the_library_give_theirs():
    model = transformer()
    model((WORDS, TARGET))
    x, layers = model.encoder.layers[0](WORDS), model.encoder.layers
    mask = layers[0].compute_mask(WORDS)
    wanted = layers[1](x, query_mask=mask, return_attention_scores=True)[1]
    results = ka.attention_model(model, "in_encoder")((WORDS, TARGET))
    assert_close(numbers(results), numbers(wanted))
    heads = to_numpy(ka.attention_model(model, "last")((WORDS, TARGET)))
    assert_close([heads.mean(axis=1)], numbers(model.attention_scores((WORDS, TARGET))))
    first = to_numpy(ka.attention_model(model, model.decoder_blocks[0])((WORDS, TARGET)))
    assert first.shape == heads.shape
    assert np.abs(first - heads).max() > 1e-5


def test_a_decoder_in_a_functional_model_reads_the_masks():
    words, target = keras.Input((None,), dtype="int32"), keras.Input((None,), dtype="int32")
    decoder = ka.BahdanauDecoder(LAYERS.GRUCell(7), ka.BahdanauAttention(5), name="out")
    memory, x = embedding()(words), embedding(7)(target)
    model = keras.Model([words, target], LAYERS.Dense(11)(decoder(x, memory)))
    weights = to_numpy(ka.attention_model(model, "out")([WORDS, TARGET]))
    source, inputs = (part for part in model.layers if isinstance(part, LAYERS.Embedding))
    if source.output_dim == 7:
        source, inputs = inputs, source
    wanted = decoder.decode(inputs(TARGET), source(WORDS), TARGET != 0, WORDS != 0)[1]
    assert_close([weights], numbers(wanted))
    assert (np.moveaxis(weights, 2, 1)[WORDS == 0] == 0).all()


# ---- Errors


def twice():
    look = self_attention()
    return classifier(lambda x: look(look(x)))


def uncalled():
    """One of the attentions that take turns inside the decoder's loop."""
    memory, query = keras.Input((None, 6)), keras.Input((None, 5))
    parts = [ka.BahdanauAttention(3, name=name) for name in ("inner", "other")]
    decoder = ka.BahdanauDecoder(LAYERS.GRUCell(7), ka.MultiSourceAttention(parts))
    return keras.Model([memory, query], decoder(query, [memory, memory]))


def same_names():
    outer = functional()
    words = keras.Input((None,), dtype="int32")
    x = self_attention()(embedding()(words))
    return keras.Model(words, [outer(words), x])


@pytest.mark.parametrize(
    ("make", "layer", "match"),
    [
        (functional, "looks", r"`layer` is 'looks', no layer of '\w+'; .* one of \['look'\]"),
        (functional, self_attention(), r"`layer` is 'look', no layer of '\w+'"),
        (functional, "dense", r"`layer` is 'dense', a layer without .* one of \['look'\]"),
        (twice, "look", r"^`layer` is 'look', which '\w+' calls 2 times; expected .* once"),
        (uncalled, "inner", r"^`layer` is 'inner', which '\w+' calls 0 times; expected .* once"),
        (same_names, "look", r"`layer` is 'look', a name of 2 layers of '\w+'; .* layer itself"),
    ],
)
def test_errors_say_what_is_wrong_with_the_layer(make, layer, match):
    keras.backend.clear_session()  # names of layers begin at "dense" again
    model = make()
    with pytest.raises(ValueError, match=match):
        ka.attention_model(model, layer)


def test_the_layer_itself_is_found_among_equal_names():
    model = same_names()
    outer, inner = (part for part in model._flatten_layers() if part.name == "look")
    results = [ka.attention_model(model, part)(WORDS) for part in (outer, inner)]
    assert np.abs(to_numpy(results[0]) - to_numpy(results[1])).max() > 1e-5


def test_inputs_have_to_be_known():
    for model in (keras.Sequential([self_attention()]), encoder_decoder()):
        layer = "look" if isinstance(model, keras.Sequential) else "out"
        with pytest.raises(ValueError, match=rf"`model` is '{model.name}', whose inputs are not"):
            ka.attention_model(model, layer)
