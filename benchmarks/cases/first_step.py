"""The first training step of a translator: its train function is made and called once.

A first step happens once in a process, so every one has a process of its own, which imports before
the clock starts. Contenders are this library as it is and as it was at a commit, `--before`. By
default that is the last commit that traced the step twice. In a clone that lacks it, its rows say
so, and the bars over them count as not met.
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

from benchmarks import bars, translator
from benchmarks.bars import Bar, time_ratio
from benchmarks.case import (
    Case,
    Contender,
    Timing,
    Work,
    compare_with_first,
    comparison,
    with_and_without_xla,
)
from benchmarks.cases import training_step

BEFORE = "4f73d8a"
_ROOT = pathlib.Path(__file__).parents[2]
_CUTS = [0, 1, 3, 2]  # Each batch is shorter by so many steps, where retraces are counted.
# `python -c` imports from its working directory first.
_CODE = """
import json, sys
import keras_attention
from benchmarks.cases import first_step
print(json.dumps(first_step.first_step(json.loads(sys.argv[1]))))
"""


def as_it_is(options):
    return _work("library", options, _ROOT)


def before(options):
    """The library at the commit, in the folder where its processes look first."""
    folder = pathlib.Path(options["folder"])
    folder.mkdir(parents=True)
    git = ["git", "-C", _ROOT, "archive", options["before"], "keras_attention"]
    archive = subprocess.run(git, capture_output=True)
    if archive.returncode:
        raise LookupError(f"this clone has no commit {options['before']}")
    subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
    return _work("library", options, folder)


def keras_layers(options):
    work = _work("without_attention", options, _ROOT)
    return Work(work.step)  # Another function: its outputs are not compared.


def _work(model, options, folder):
    """Returns the work of a model of this file, with the library in this folder."""

    def run(**more):
        arguments = json.dumps({**options, **more, "model": model})
        command = [sys.executable, "-c", _CODE, arguments]
        variables = {**os.environ, "PYTHONPATH": str(_ROOT)}
        if options.get("stored"):
            variables["TF_XLA_FLAGS"] = f"--tf_xla_persistent_cache_directory={options['folder']}"
        where = {"cwd": folder, "env": variables}
        printed = subprocess.run(command, **where, stdout=subprocess.PIPE, check=True).stdout
        return json.loads(printed.splitlines()[-1])

    def outputs():
        found = run(cuts=[] if options["jit_compile"] else _CUTS)  # XLA compiles each length.
        del found["seconds"]
        return found

    if options.get("stored"):
        run(cuts=[])  # which stores what XLA compiled
    return Work(lambda: Timing(*run(cuts=[])["seconds"]), outputs)


def first_step(options):
    """Returns the seconds of the first step and of its processors, and the loss.

    With `cuts`, batches are shorter by these, and it also returns how many steps traced anew.
    """
    build = {"library": library, "without_attention": without_attention}[options["model"]]
    batches = iter(_batches(translator.draw_batch(options), options["cuts"]))
    model, loss = build(options)
    model.compile("adam", loss, jit_compile=options["jit_compile"])
    start = _seconds()
    traces, step = [], model.train_step

    def counted(data):
        traces.append(data)
        return step(data)

    model.train_step = counted
    model.make_train_function()
    loss = float(model.train_function(batches)["loss"])
    seconds = [end - begin for begin, end in zip(start, _seconds(), strict=True)]
    found = {"seconds": seconds, "loss": loss}
    if options["cuts"]:
        before = len(traces)
        for _ in options["cuts"][1:]:
            model.train_function(batches)
        found["retraces"] = len(traces) - before
    return found


def _seconds():
    return time.perf_counter(), time.process_time()


def _batches(batch, cuts):
    import tensorflow as tf

    if not cuts:
        return tf.data.Dataset.from_tensors((batch[:2], batch[2]))
    cut = [[part[:, : part.shape[1] - steps] for part in batch] for steps in cuts]
    spec = tf.TensorSpec((None, None), "int32")
    batches = (((source, target_in), target_out) for source, target_in, target_out in cut)
    return tf.data.Dataset.from_generator(lambda: batches, output_signature=((spec, spec), spec))


def library(options):
    import keras_attention as ka

    return translator.keras_attention(options), ka.losses.LinearCrossentropy()


def without_attention(options):
    """Returns the same layers of Keras, where the decoder starts from the memory's mean."""
    import keras
    from keras import layers

    words, width = options["vocabulary"], options["width"]
    source, target = (keras.Input((None,), dtype="int32") for _ in range(2))
    memory = layers.Embedding(words, width, mask_zero=True)(source)
    memory = layers.Bidirectional(layers.GRU(width, return_sequences=True))(memory)
    first = layers.Dense(width, "tanh")(layers.GlobalAveragePooling1D()(memory))
    inputs = layers.Embedding(words, width, mask_zero=True)(target)
    states = layers.GRU(width, return_sequences=True)(inputs, initial_state=first)
    logits = layers.Dense(words, use_bias=False)(states)
    model = keras.Model([source, target], logits)
    return model, keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def compare(sizes, outputs):
    """Compares losses. A step of another length may not be traced anew."""
    retraces = {n: found["retraces"] for n, found in outputs.items() if "retraces" in found}
    once = [comparison(f"{name}: retraces", float(n), 0) for name, n in retraces.items()]
    losses = {name: {"loss": found["loss"]} for name, found in outputs.items()}
    return once + compare_with_first(sizes, losses)


def _bar(name, jit_compile):
    measure = time_ratio("before", jit_compile=jit_compile)
    return Bar(f"{name}: time over that before", measure, at_most=0.5)


def _stored_over_before(points):
    rows = (
        bars.fastest(bars.find(points), each, jit_compile=True) for each in ("stored", "before")
    )
    return statistics.median(bars.time_ratios(*rows))


_OURS, _BEFORE, _KERAS = "keras_attention", "keras_attention, before", "Keras without attention"

CASE = Case(
    title="First training step of a translator, in fresh processes",
    points=[{**training_step.SIZES, "decoder": "bahdanau"}],
    contenders=[
        *with_and_without_xla(_OURS, _OURS, as_it_is),
        Contender(
            f"{_OURS}, XLA, stored by an earlier process",
            "stored",
            as_it_is,
            options={"jit_compile": True, "stored": True},
        ),
        *with_and_without_xla(_BEFORE, "before", before),
        *with_and_without_xla(_KERAS, "keras.layers", keras_layers),
    ],
    unit=("first steps", lambda sizes: 1),
    compare=compare,
    bars=[
        _bar("without XLA", jit_compile=False),
        _bar("with XLA", jit_compile=True),
        Bar("with XLA, stored by an earlier process: over that before", _stored_over_before),
        Bar(
            "without XLA: time over Keras's without attention",
            time_ratio("keras.layers", jit_compile=False),
        ),
        Bar(
            "with XLA: time over Keras's without attention",
            time_ratio("keras.layers", jit_compile=True),
        ),
    ],
    fresh=True,
    trial={"width": 16, "vocabulary": 50, "batch": 5, "source_steps": 7, "target_steps": 5},
)
