"""joeynmt: its encoder and its beam search, without a length penalty, as `predict` calls them."""

import importlib.metadata

import torch
from joeynmt.search import beam_search

from benchmarks import worker
from benchmarks.translator import joeynmt_model, problem


def setup(options):
    torch.set_num_threads(options["threads"])
    model = joeynmt_model.build(options, problem.for_search(problem.weights(options)))
    model.eval()
    source = torch.tensor(problem.batch(options)[0], dtype=torch.long)
    lengths = torch.full(source.shape[:1], source.shape[1])
    mask = (source != model.pad_index).unsqueeze(1)

    def search():
        with torch.no_grad():
            memory, last, _, _ = model(
                return_type="encode", src=source, src_length=lengths, src_mask=mask
            )
            tokens, scores, _ = beam_search(
                model,
                beam_size=options["beam"],
                encoder_output=memory,
                encoder_hidden=last,
                src_mask=mask,
                max_output_length=options["target_steps"],
                alpha=-1,
                n_best=1,
                return_prob="hyp",
            )
        return {"tokens": tokens, "scores": scores[:, 0]}

    versions = {name: importlib.metadata.version(name) for name in ("joeynmt", "torch")}
    return worker.Work(search, search, {"versions": versions})


if __name__ == "__main__":
    worker.serve(setup)
