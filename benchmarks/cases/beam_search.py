"""Beam search with a translator, Luong's with input feeding: the one that all three have."""

import functools

import numpy as np

from benchmarks import translator
from benchmarks.bars import Bar, speedup
from benchmarks.case import (
    Case,
    Contender,
    Work,
    compare_with_first,
    comparison,
    with_and_without_xla,
)

SIZES = {"decoder": translator.FEEDING, "width": 256, "vocabulary": 8000}
SIZES |= {"batch": 32, "beam": 5, "source_steps": 20, "target_steps": 40}


def best_sequences(model, source, options):
    """Returns the best tokens and scores that `ka.search.beam` finds."""
    import keras_attention as ka

    settings = {"max_length": options["target_steps"], "beam_width": options["beam"], "n_best": 1}
    state, ends = model.begin(source), (translator.START, translator.END)
    result = ka.search.beam(model.step, state, *ends, **settings)
    return {"tokens": result.tokens[:, 0], "scores": result.scores[:, 0]}


def _keras_attention(options):
    import tensorflow as tf

    model = translator.keras_attention(options)
    source = tf.constant(translator.draw_batch(options)[0])
    search = functools.partial(best_sequences, model, options=options)
    search = tf.function(search, jit_compile=options["jit_compile"])
    return Work(lambda: search(source)["tokens"].numpy(), lambda: search(source))


def _tfa(options):
    """BeamSearchDecoder, with memory and lengths tiled as it asks for."""
    import tensorflow as tf
    from tensorflow_addons import seq2seq

    model, beam = translator.tfa(options), options["beam"]
    source = tf.constant(translator.draw_batch(options)[0])
    output = {"output_layer": model.head, "maximum_iterations": options["target_steps"]}
    decoder = seq2seq.BeamSearchDecoder(model.wrapper, beam, **output)

    @tf.function
    def search(source):
        tiled = [seq2seq.tile_batch(each, beam) for each in model.encode(source)]
        outputs, state, _ = decoder(
            model.target.variables[0],
            start_tokens=tf.fill(tf.shape(source)[:1], translator.START),
            end_token=translator.END,
            initial_state=model.begin(*tiled),
        )
        return {"tokens": outputs.predicted_ids[:, :, 0], "scores": state.log_probs[:, 0]}

    return Work(lambda: search(source)["tokens"].numpy(), lambda: search(source))


def joeynmt(options):
    """Its encoder and its beam search, without a length penalty, as `predict` calls them."""
    import torch
    from joeynmt.search import beam_search

    model = translator.joeynmt(options)
    model.eval()
    source = torch.tensor(translator.draw_batch(options)[0], dtype=torch.long)
    mask = (source != model.pad_index).unsqueeze(1)
    inputs = {"src": source, "src_length": mask.sum((1, 2)), "src_mask": mask}
    settings = {"beam_size": options["beam"], "max_output_length": options["target_steps"]}
    settings |= {"alpha": -1, "n_best": 1, "return_prob": "hyp"}

    def search():
        with torch.no_grad():
            memory, last, _, _ = model(return_type="encode", **inputs)
            states = {"encoder_output": memory, "encoder_hidden": last, "src_mask": mask}
            tokens, scores, _ = beam_search(model, **states, **settings)
        return {"tokens": tokens, "scores": scores[:, 0]}

    return Work(search, search)


def _head_and_top_k(options):
    """What no search can do without: the head's product and its best words, step by step."""
    import tensorflow as tf

    batch, beam, width = options["batch"], options["beam"], options["width"]
    states = tf.random.normal((batch * beam, width))
    kernel = tf.random.normal((width, options["vocabulary"]))

    def step():
        for _ in range(options["target_steps"]):
            tf.math.top_k(tf.reshape(states @ kernel, (batch, -1)), beam)

    return Work(step)


def compare(sizes, outputs):
    """Compares words and scores with the first contender's; nobody may have stopped early."""
    ends = {name: np.sum(found["tokens"] == translator.END) for name, found in outputs.items()}
    all_steps = [comparison(f"{name}: takes all steps", float(n), 0) for name, n in ends.items()]
    return all_steps + compare_with_first(sizes, outputs)  # Words are numbers up to 8000.


CASE = Case(
    title="Beam search with a translator",
    points=[SIZES],
    contenders=[
        *with_and_without_xla("keras_attention", "keras_attention", _keras_attention),
        Contender("tfa", "tfa", _tfa, "tfa"),
        Contender("joeynmt", "joeynmt", joeynmt, "joeynmt"),
        Contender("head and top-k alone, tensorflow", "floor", _head_and_top_k),
    ],
    unit=("sentences", lambda sizes: sizes["batch"]),
    compare=compare,
    bars=[
        Bar("share of the floor, head and top-k", speedup("floor"), at_least=0.9),
        Bar("times tfa's sentences per second", speedup("tfa")),
        Bar("times joeynmt's sentences per second", speedup("joeynmt")),
    ],
    floor="floor",
    trial={"width": 16, "vocabulary": 50, "batch": 3, "source_steps": 7, "target_steps": 9},
)
