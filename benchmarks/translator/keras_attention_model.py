"""This library's translator."""

import keras
import numpy as np

import keras_attention as ka
from benchmarks.translator import problem


def build(sizes, weights):
    """Returns an EncoderDecoder with the benchmark's weights."""
    vocabulary, width, decoder = sizes["vocabulary"], sizes["width"], sizes["decoder"]
    layers = keras.layers
    encoder = keras.Sequential(
        [
            layers.Embedding(vocabulary, width, mask_zero=True),
            layers.Bidirectional(layers.GRU(width, return_sequences=True)),
        ]
    )
    if problem.is_luong(decoder):
        of_decoder = ka.LuongDecoder(
            layers.GRUCell(width),
            ka.LuongAttention("general"),
            attention_layer_size=width,
            input_feeding=decoder != "luong",
        )
    else:
        of_decoder = ka.BahdanauDecoder(layers.GRUCell(width), ka.BahdanauAttention(width))
    model = ka.models.EncoderDecoder(
        encoder,
        layers.Embedding(vocabulary, width, mask_zero=True),
        of_decoder,
        layers.Dense(vocabulary, use_bias=False, dtype="float32"),
    )
    model.build([(None, None), (None, None)])
    _load(model, weights, decoder)
    return model


def _load(model, w, decoder):
    gru = ("kernel", "recurrent", "bias")
    embedding, encoder = model.encoder.layers
    embedding.set_weights([w["source_embedding"]])
    encoder.set_weights([w[f"{d}_{p}"] for d in ("forward", "backward") for p in gru])
    model.target_embedding.set_weights([w["target_embedding"]])
    model.bridge.set_weights([w["bridge_kernel"], w["bridge_bias"]])
    score = model.decoder.attention.score
    if problem.is_luong(decoder):
        score.kernel.assign(w["key_kernel"])
        width = model.decoder.attention_layer_size
        # Its attention layer takes [c_t; h_t].
        of_state, of_context = w["vector_kernel"][:width], w["vector_kernel"][width:]
        model.decoder.attention_layer.kernel.assign(np.concatenate([of_context, of_state]))
    else:
        for name in ("query_kernel", "key_kernel", "score_vector"):
            getattr(score, name).assign(w[name])
    model.decoder.cell.set_weights([w[f"{problem.cell(decoder)}_{p}"] for p in gru])
    model.head.set_weights([w["head_kernel"]])
