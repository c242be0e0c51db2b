"""joeynmt: its own model, loss and Adam, the step that its TrainManager does.

Its decoder feeds an attentional vector back (`problem.py`), and starts from the encoder's last
states instead of their mean; the rest is the same translator.
The model's parts are called one after the other, as its "loss" mode does, without the count of
correct tokens. Adam is torch's fused one, which is faster than what joeynmt's settings reach.
"""

import importlib.metadata
import types

import numpy as np
import torch
import torch.nn.functional
from joeynmt.batch import Batch
from joeynmt.model import build_model
from joeynmt.vocabulary import Vocabulary

from benchmarks import worker
from benchmarks.training_step import problem


def setup(options):
    torch.set_num_threads(options["threads"])
    model = build(options)
    model.train()
    load(model, problem.weights(options))
    optimizer = torch.optim.Adam(model.parameters(), eps=1e-7, fused=True)
    data = batch(options, model)

    def forward():
        memory, last, _, _ = model(return_type="encode", **vars(data))
        logits, _, _, _ = model(
            return_type="decode",
            encoder_output=memory,
            encoder_hidden=last,
            unroll_steps=data.trg.shape[1],
            **vars(data),
        )
        log_probs = torch.nn.functional.log_softmax(logits, dim=-1)
        loss = model.loss_function(log_probs, **vars(data))
        return data.normalize(loss, normalization="tokens"), logits

    def step():
        data.sort_by_src_length()
        loss, _ = forward()
        loss.backward()
        optimizer.step()
        model.zero_grad()
        return loss.item()

    def outputs():
        with torch.no_grad():
            loss, logits = forward()
        return {"loss": loss.numpy(), "logits": logits[0].numpy()}

    versions = {name: importlib.metadata.version(name) for name in ("joeynmt", "torch")}
    weights = sum(parameter.numel() for parameter in model.parameters())
    return worker.Work(step, outputs, {"versions": versions, "weights": weights})


def build(sizes):
    """Returns joeynmt's recurrent model."""
    width = sizes["width"]
    embeddings = {"embedding_dim": width}
    recurrent = {"rnn_type": "gru", "type": "recurrent", "hidden_size": width}
    configuration = {
        "encoder": {**recurrent, "bidirectional": True, "embeddings": embeddings},
        "decoder": {
            **recurrent,
            "attention": "bahdanau",
            "input_feeding": True,
            "init_hidden": "bridge",
            "embeddings": embeddings,
        },
    }
    vocabularies = [vocabulary(sizes["vocabulary"]) for _ in ("source", "target")]
    model = build_model(configuration, *vocabularies)
    model.loss_function = ("crossentropy", 0.0)
    return model


def vocabulary(size):
    """Returns a vocabulary of `size` tokens, of which the first four are special."""
    special = {
        "unk_token": "<unk>",
        "pad_token": "<pad>",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_id": 0,
        "pad_id": 1,
        "bos_id": 2,
        "eos_id": 3,
        "sep_token": None,
        "lang_tags": [],
    }
    return Vocabulary([str(word) for word in range(size - 4)], types.SimpleNamespace(**special))


def batch(sizes, model):
    """Returns the benchmark's batch as joeynmt makes its own."""
    source, target_in, target_out = problem.batch(sizes)
    target = np.concatenate([target_in, target_out[:, -1:]], axis=1)
    return Batch(
        src=torch.tensor(source, dtype=torch.long),
        src_length=torch.full(source.shape[:1], source.shape[1]),
        src_prompt_mask=None,
        trg=torch.tensor(target, dtype=torch.long),
        trg_prompt_mask=None,
        indices=torch.arange(len(source)),
        device=torch.device("cpu"),
        pad_index=model.pad_index,
        eos_index=model.eos_index,
    )


def load(model, w):
    """Gives the model the benchmark's weights: transposed, gates in torch's order r, z, n."""
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
    put_gru(decoder.rnn, "vector_cell", "l0")
    put(decoder.bridge_layer.weight, w["bridge_kernel"].T)
    put(decoder.bridge_layer.bias, w["bridge_bias"])
    put(decoder.attention.key_layer.weight, w["key_kernel"].T)
    put(decoder.attention.query_layer.weight, w["query_kernel"].T)
    put(decoder.attention.energy_layer.weight, w["score_vector"][None])
    put(decoder.att_vector_layer.weight, w["vector_kernel"].T)
    put(decoder.att_vector_layer.bias, w["vector_bias"])
    put(decoder.output_layer.weight, w["head_kernel"].T)


if __name__ == "__main__":
    worker.serve(setup)
