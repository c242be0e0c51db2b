"""int8 and LoRA: models that are quantized or fine-tuned in part, saved, loaded and searched."""

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
