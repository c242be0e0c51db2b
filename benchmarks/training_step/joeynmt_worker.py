"""joeynmt: its own model, loss and Adam, the step that its TrainManager does.

The model's parts are called one after the other, as its "loss" mode does, without the count of
correct tokens. Adam is torch's fused one, which is faster than what joeynmt's settings reach.
"""

import importlib.metadata

import numpy as np
import torch
import torch.nn.functional
from joeynmt.batch import Batch

from benchmarks import worker
from benchmarks.translator import joeynmt_model, problem


def setup(options):
    torch.set_num_threads(options["threads"])
    model = joeynmt_model.build(options, problem.weights(options))
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), eps=1e-7, fused=True)
    data = _batch(options, model)

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


def _batch(sizes, model):
    """The benchmark's batch as joeynmt makes its own."""
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


if __name__ == "__main__":
    worker.serve(setup)
