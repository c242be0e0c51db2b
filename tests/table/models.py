"""Rows of the encoder-decoder model and its bridge."""

import keras
import numpy as np

import keras_attention as ka
from comparing import to_numpy
from table.decoders import decode
from table.row import CELL, KEY, LOOP, QUERY, UNITS, VALUE, Row

IDS = 13


def bridge_oracle(layer, inputs, masks):
    """Sennrich 2017, eq. 1: tanh(W mean + b), for each state."""
    maps = inputs["memory"].astype(float)
    memory = maps.reshape(len(maps), -1, maps.shape[-1])
    mask = masks.get("mask", np.ones(maps.shape[:-1], bool)).reshape(memory.shape[:2])
    kernel, bias = (to_numpy(weight) for weight in layer.trainable_weights)
    states = np.zeros((len(memory), sum(layer.widths)))
    for b in range(len(memory)):
        total, count = np.zeros(memory.shape[2]), 0
        for s in range(memory.shape[1]):
            if mask[b, s]:
                total, count = total + memory[b, s], count + 1
        states[b] = np.tanh(total / max(count, 1) @ kernel + bias)
    return np.split(states, np.cumsum(layer.widths)[:-1], axis=1)


def model_oracle(model, inputs, masks):
    embedding, dense = model.encoder.layers
    embedded = to_numpy(embedding.embeddings)[inputs["source"]]
    memory = np.tanh(embedded @ to_numpy(dense.kernel) + to_numpy(dense.bias))
    memory_mask, inputs_mask = inputs["source"] != 0, inputs["target_in"] != 0
    states = bridge_oracle(model.bridge, {"memory": memory}, {"mask": memory_mask})
    x = to_numpy(model.target_embedding.embeddings)[inputs["target_in"]]
    outputs, *_ = decode(model.decoder, x, memory, inputs_mask, memory_mask, states)
    return [outputs @ to_numpy(model.head.kernel) + to_numpy(model.head.bias)]


def _model(dtype=None):
    """An encoder without recurrence keeps the oracle short."""
    layers = keras.layers
    return ka.models.EncoderDecoder(
        keras.Sequential(
            [
                layers.Embedding(IDS, QUERY, mask_zero=True, dtype=dtype),
                layers.Dense(VALUE, activation="tanh", dtype=dtype),
            ]
        ),
        layers.Embedding(IDS, KEY, mask_zero=True, dtype=dtype),
        ka.BahdanauDecoder(
            layers.GRUCell(CELL, dtype=dtype),
            ka.BahdanauAttention(UNITS, dtype=dtype),
            dtype=dtype,
        ),
        layers.Dense(IDS, dtype=dtype),
        dtype=dtype,
    )


ROWS = [
    *(
        Row(
            name=name,
            holds=(ka.models.Bridge,),
            make=lambda **k: ka.models.Bridge([QUERY, KEY], **k),
            inputs={"memory": (*axes, VALUE)},
            outputs={"state_0": (QUERY,), "state_1": (KEY,)},
            oracle=bridge_oracle,
            call=lambda layer, tensors, masks: layer(**tensors, **masks),
            masks={"mask": axes},
            weights=None,
        )
        for name, axes in [("bridge", ("S",)), ("bridge_maps", ("H", "W"))]
    ),
    Row(
        name="encoder_decoder",
        holds=(ka.models.EncoderDecoder,),
        make=_model,
        inputs={"source": ("S",), "target_in": ("T",)},
        outputs={"logits": ("T", IDS)},
        oracle=model_oracle,
        call=lambda layer, tensors, masks: [layer((tensors["source"], tensors["target_in"]))],
        ids=IDS,
        weights=None,
        limits=LOOP,
    ),
]
