"""One sentence and a batch, tokens to tokens, with beam search: the export against joeynmt's."""

import functools
import importlib.util

from benchmarks import translator
from benchmarks.bars import Bar, time_ratio
from benchmarks.case import Case, Contender, Work, with_and_without_xla
from benchmarks.cases import beam_search


def export(options):
    """Writes this library's translator, with its beam search, as a SavedModel."""
    import tensorflow as tf

    import keras_attention as ka

    model = translator.keras_attention(options)
    translate = functools.partial(beam_search.best_sequences, model, options=options)
    if options["jit_compile"]:
        translate = tf.function(translate, jit_compile=True, autograph=False)
    specs = [tf.TensorSpec([None, None], "int32", name="source")]
    ka.export.saved_model(model, options["folder"], {"translate": (translate, specs)})


def _served(options):
    """The export, in a process that has TensorFlow, and neither Keras nor this library."""
    import tensorflow as tf

    if importlib.util.find_spec("keras") is not None:
        raise RuntimeError("Keras is installed here; this is about a process without it")
    source = tf.constant(translator.draw_batch(options)[0])
    served = tf.saved_model.load(options["folder"])

    def translate():
        return served.signatures["serving_default"](source=source)

    return Work(lambda: translate()["tokens"].numpy(), translate)


_OURS = "keras_attention"
_ONE, _BATCH = {"batch": 1}, {"batch": 32}

CASE = Case(
    title="One sentence and 32 through an exported translator",
    points=[{**beam_search.SIZES, **each} for each in (_ONE, _BATCH)],
    contenders=[
        *with_and_without_xla(
            f"{_OURS}, SavedModel without Keras", _OURS, _served, "served", prepare=export
        ),
        Contender("joeynmt", "joeynmt", beam_search.joeynmt, "joeynmt"),
    ],
    unit=("sentences", lambda sizes: sizes["batch"]),
    compare=beam_search.compare,
    bars=[
        Bar("one sentence: latency over joeynmt's", time_ratio("joeynmt", _ONE), at_most=0.3),
        Bar("32 sentences: the same", time_ratio("joeynmt", _BATCH)),
    ],
    trial={"width": 16, "vocabulary": 50, "source_steps": 7, "target_steps": 9},
)
