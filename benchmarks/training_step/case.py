"""The training step of a translator: forward, backward, Adam; teacher forcing."""

import functools

from benchmarks import bars
from benchmarks.bars import Bar
from benchmarks.case import Case, Comparison, Contender
from benchmarks.compare import difference
from benchmarks.translator import problem

_SIZES = {"width": 256, "vocabulary": 8000, "batch": 64, "source_steps": 20, "target_steps": 20}
_BAHDANAU, _FEEDING, _PLAIN = ({"decoder": decoder} for decoder in problem.DECODERS[:3])


def _compare(sizes, outputs):
    reference = functools.cache(functools.partial(problem.reference, sizes))
    decoder = sizes["decoder"]
    comparisons = []
    for name, values in outputs.items():
        joeynmt = name == "joeynmt"
        equations = "joeynmt's" if joeynmt and decoder == "bahdanau" else decoder
        expected = reference(equations, "last states" if joeynmt else "mean")
        comparisons += [
            Comparison(
                f"{name}: {output} against NumPy",
                difference(values[output], expected[output]),
                tolerance=1e-5,
            )
            for output in ("loss", "logits")
        ]
    return comparisons


def _bahdanau_alone(sizes):
    return sizes["decoder"] == "bahdanau"


def _ours(name, **options):
    return Contender(name, "keras_attention", "keras_attention_worker", "ours", options)


def _tfa(name, takes_part=lambda sizes: True, **options):
    return Contender(name, "tfa", "tfa_worker", "tfa", options, takes_part)


def _floor(library):
    return Contender(
        f"GEMMs alone, {library}", "GEMMs", "floor_worker", "ours", {"library": library}
    )


CASE = Case(
    title="Training step of a translator",
    points=tuple({**decoder, **_SIZES} for decoder in (_BAHDANAU, _FEEDING, _PLAIN)),
    contenders=(
        _ours("keras_attention", jit_compile=False),
        _ours("keras_attention, XLA", jit_compile=True),
        # What never pays with one decoder need not be tried with the others.
        _tfa("tfa, head as output_layer", _bahdanau_alone, jit_compile=False, head_in_loop=True),
        _tfa("tfa, head after the loop", jit_compile=False, head_in_loop=False),
        _tfa(
            "tfa, head after the loop, XLA", _bahdanau_alone, jit_compile=True, head_in_loop=False
        ),
        Contender("joeynmt", "joeynmt", "joeynmt_worker", "joeynmt"),
        _floor("numpy"),
        _floor("tensorflow"),
    ),
    unit=("target tokens", lambda sizes: sizes["batch"] * sizes["target_steps"]),
    compare=_compare,
    bars=(
        Bar(
            "Bahdanau: times tfa's target tokens per second",
            bars.times_as_fast("tfa", _BAHDANAU),
            at_least=1.8,
        ),
        Bar(
            "Bahdanau: times joeynmt's target tokens per second",
            bars.times_as_fast("joeynmt", _BAHDANAU),
            at_least=1.6,
        ),
        Bar(
            "Luong with input feeding: times tfa's target tokens per second",
            bars.times_as_fast("tfa", _FEEDING),
            at_least=1.8,
        ),
        Bar(
            "Luong without input feeding: times tfa's target tokens per second",
            bars.times_as_fast("tfa", _PLAIN),
            at_least=2.5,
        ),
        Bar("Bahdanau: share of the GEMM floor", bars.times_as_fast("GEMMs", _BAHDANAU)),
        Bar(
            "Luong with input feeding: share of the GEMM floor",
            bars.times_as_fast("GEMMs", _FEEDING),
        ),
        Bar(
            "Luong without input feeding: share of the GEMM floor",
            bars.times_as_fast("GEMMs", _PLAIN),
        ),
    ),
    floor="GEMMs",
    trial={"width": 16, "vocabulary": 50, "batch": 5, "source_steps": 7, "target_steps": 5},
)
