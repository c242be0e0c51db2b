"""joeynmt's translator: its recurrent model.

Its decoder feeds an attentional vector back (`problem.py`), and starts from the encoder's last
states instead of their mean; the rest is the same translator.
"""

import types

import numpy as np
import torch
from joeynmt.model import build_model
from joeynmt.vocabulary import Vocabulary

from benchmarks.translator import problem


def build(sizes, weights):
    """Returns joeynmt's recurrent model with the benchmark's weights."""
    width, decoder = sizes["width"], sizes["decoder"]
    embeddings = {"embedding_dim": width}
    recurrent = {"rnn_type": "gru", "type": "recurrent", "hidden_size": width}
    configuration = {
        "encoder": {**recurrent, "bidirectional": True, "embeddings": embeddings},
        "decoder": {
            **recurrent,
            "attention": "luong" if problem.is_luong(decoder) else "bahdanau",
            "input_feeding": decoder != "luong",
            "init_hidden": "bridge",
            "embeddings": embeddings,
        },
    }
    vocabularies = [_vocabulary(sizes["vocabulary"]) for _ in ("source", "target")]
    model = build_model(configuration, *vocabularies)
    model.loss_function = ("crossentropy", 0.0)
    _load(model, weights, "joeynmt's" if decoder == "bahdanau" else decoder)
    return model


def _vocabulary(size):
    """Returns a vocabulary of `size` tokens, of which the first four are special."""
    special = {
        "unk_token": "<unk>",
        "pad_token": "<pad>",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_id": 0,
        "pad_id": 1,
        "bos_id": problem.START,
        "eos_id": problem.END,
        "sep_token": None,
        "lang_tags": [],
    }
    return Vocabulary([str(word) for word in range(size - 4)], types.SimpleNamespace(**special))


def _load(model, w, name):
    """Weights are transposed, and gates in torch's order r, z, n."""
    decoder = model.decoder

    def put(parameter, *values):
        with torch.no_grad():
            parameter.copy_(torch.tensor(np.concatenate(values)))

    def gates(name, part):
        update, reset, candidate = np.split(w[f"{name}_{part}"], 3, axis=-1)
        return np.concatenate([reset, update, candidate], axis=-1)

    def put_gru(gru, name, suffix):
        put(getattr(gru, f"weight_ih_{suffix}"), gates(name, "kernel").T)
        put(getattr(gru, f"weight_hh_{suffix}"), gates(name, "recurrent").T)
        for bias, values in zip(("bias_ih", "bias_hh"), gates(name, "bias"), strict=True):
            put(getattr(gru, f"{bias}_{suffix}"), values)

    put(model.src_embed.lut.weight, w["source_embedding"])
    put(model.trg_embed.lut.weight, w["target_embedding"])
    put_gru(model.encoder.rnn, "forward", "l0")
    put_gru(model.encoder.rnn, "backward", "l0_reverse")
    put_gru(decoder.rnn, problem.cell(name), "l0")
    put(decoder.bridge_layer.weight, w["bridge_kernel"].T)
    put(decoder.bridge_layer.bias, w["bridge_bias"])
    put(decoder.attention.key_layer.weight, w["key_kernel"].T)
    put(decoder.att_vector_layer.weight, w["vector_kernel"].T)
    if problem.is_luong(name):
        put(decoder.att_vector_layer.bias, 0 * w["vector_bias"])
    else:
        put(decoder.att_vector_layer.bias, w["vector_bias"])
        put(decoder.attention.query_layer.weight, w["query_kernel"].T)
        put(decoder.attention.energy_layer.weight, w["score_vector"][None])
    put(decoder.output_layer.weight, w["head_kernel"].T)
