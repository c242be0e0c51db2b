"""int8 and LoRA: models that are quantized or fine-tuned in part, saved, loaded and searched."""

import copy
import operator

import keras
import numpy as np
import pytest

import keras_attention as ka
from comparing import assert_close, numbers, to_numpy

LAYERS = keras.layers
SOURCE, TARGET = (
    np.array([[3, 4, 5], [6, 7, 0]], "int32"),
    np.array([[1, 3, 4], [1, 5, 0]], "int32"),
)


def encoder_decoder():
    return ka.models.EncoderDecoder(
        keras.Sequential(
            [LAYERS.Embedding(19, 7, mask_zero=True), LAYERS.GRU(5, return_sequences=True)]
        ),
        LAYERS.Embedding(19, 7, mask_zero=True),
        ka.LuongDecoder(LAYERS.LSTMCell(13), ka.LuongAttention(), attention_layer_size=11),
        LAYERS.Dense(19),
    )


def transformer():
    return ka.models.Transformer(
        keras.Sequential(
            [LAYERS.Embedding(19, 6, mask_zero=True), ka.TransformerEncoderBlock(2, 12)]
        ),
        LAYERS.Embedding(19, 6, mask_zero=True),
        [ka.TransformerDecoderBlock(2, 12), ka.TransformerDecoderBlock(2, 12)],
        LAYERS.Dense(19),
        max_length=7,
    )


EVERY_MODEL = pytest.mark.parametrize("make", [encoder_decoder, transformer])


def beam(model):
    found = ka.search.beam(model.step, model.begin(SOURCE), 1, 2, max_length=7, beam_width=3)
    return [to_numpy(found.tokens), to_numpy(found.log_probs)]


@pytest.mark.each_value
@EVERY_MODEL
@pytest.mark.parametrize("mode", ["int8", "int4", "float8"])
@pytest.mark.filterwarnings("ignore:.*quantiz:UserWarning")
def test_a_quantized_model_loads_and_searches(make, mode, tmp_path):
    model = make()
    logits = to_numpy(model((SOURCE, TARGET)))
    model.quantize(mode)
    quantized = to_numpy(model((SOURCE, TARGET)))
    bound = {"int8": 0.05, "int4": 0.5, "float8": 0.2}[mode] * np.abs(logits).max()
    assert np.abs(quantized - logits).max() < bound
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert_close(numbers(loaded((SOURCE, TARGET))), [quantized], atol=0)
    assert_close(beam(loaded), beam(model), atol=1e-6)


def frozen(model):
    """All that has no Dense inside."""
    if isinstance(model, ka.models.EncoderDecoder):
        decoder = model.decoder
        return [model.encoder, model.target_embedding, decoder.cell, decoder.attention]
    layers = (layer for layer in model._flatten_layers() if len(layer._flatten_layers()) == 1)
    return [layer for layer in layers if not isinstance(layer, LAYERS.Dense)]


@EVERY_MODEL
def test_lora_reaches_the_dense_layers_inside(make, tmp_path):
    """Its matrices train, and a saved model has them added to the kernels."""
    model = make()
    model((SOURCE, TARGET))
    reached = [x for x in model._flatten_layers() if isinstance(x, LAYERS.Dense)]
    for layer in reached:
        layer.enable_lora(2)
    for part in frozen(model):
        part.trainable = False
    inside = {"attention_layer", "projection"} if make is encoder_decoder else {"hidden"}
    assert inside < {layer.name for layer in reached}
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    before = [to_numpy(layer.lora_kernel_b) for layer in reached]
    model.fit((SOURCE, TARGET), TARGET, verbose=0)
    for layer, value in zip(reached, before, strict=True):
        assert np.abs(to_numpy(layer.lora_kernel_b) - value).max() > 0, layer.path
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert_close(numbers(loaded((SOURCE, TARGET))), numbers(model((SOURCE, TARGET))))


def functional(layer, *shapes):
    inputs = [keras.Input(shape) for shape in shapes]
    return keras.Model(inputs, LAYERS.Dense(3)(layer(*inputs)))


FREEZE = {
    "attention": lambda: functional(ka.BahdanauAttention(5), (None, 7), (None, 11)),
    "pointer": lambda: functional(ka.PointerAttention(5), (3, 7), (5, 11)),
    "decoder": lambda: functional(
        ka.LuongDecoder(LAYERS.GRUCell(5), ka.LuongAttention(), attention_layer_size=7),
        *((None, 7), (None, 11)),
    ),
    "block": lambda: functional(ka.TransformerEncoderBlock(2, 12), (None, 6)),
}


@pytest.mark.parametrize("name", FREEZE)
def test_a_frozen_layer_stays_frozen_in_every_copy(name, tmp_path):
    model = FREEZE[name]()
    model.layers[-2].trainable = False
    model.save(tmp_path / "model.keras")
    copies = [
        keras.saving.load_model(tmp_path / "model.keras"),
        copy.deepcopy(model),
        keras.models.clone_model(model),
    ]
    assert len(model.trainable_weights) == 2
    assert [len(other.trainable_weights) for other in copies] == [2, 2, 2]


@pytest.mark.parametrize("part", ["attention", "attention.score", "cell", "attention_layer"])
def test_what_is_frozen_inside_a_model_stays_frozen(part, tmp_path):
    model = encoder_decoder()
    model((SOURCE, TARGET))
    operator.attrgetter(part)(model.decoder).trainable = False
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    paths = [[v.path for v in m.trainable_weights] for m in (model, loaded)]
    assert len(paths[0]) == len(paths[1]) < len(model.weights)
    assert not operator.attrgetter(part)(loaded.decoder).trainable_weights
