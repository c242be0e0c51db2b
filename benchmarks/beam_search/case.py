"""Beam search with a translator, Luong's with input feeding: the one that all three have."""

from benchmarks import bars
from benchmarks.bars import Bar
from benchmarks.case import Case, Contender
from benchmarks.translator import searches

_SIZES = {
    "decoder": "luong with input feeding",
    "width": 256,
    "vocabulary": 8000,
    "batch": 32,
    "beam": 5,
    "source_steps": 20,
    "target_steps": 40,
}

CASE = Case(
    title="Beam search with a translator",
    points=(_SIZES,),
    contenders=(
        Contender(
            "keras_attention",
            "keras_attention",
            "keras_attention_worker",
            "ours",
            {"jit_compile": False},
        ),
        Contender(
            "keras_attention, XLA",
            "keras_attention",
            "keras_attention_worker",
            "ours",
            {"jit_compile": True},
        ),
        Contender("tfa", "tfa", "tfa_worker", "tfa"),
        Contender("joeynmt", "joeynmt", "joeynmt_worker", "joeynmt"),
        Contender("head and top-k alone, tensorflow", "floor", "floor_worker", "ours"),
    ),
    unit=("sentences", lambda sizes: sizes["batch"]),
    compare=searches.compare,
    bars=(
        Bar("times tfa's sentences per second", bars.times_as_fast("tfa"), at_least=2),
        Bar("times joeynmt's sentences per second", bars.times_as_fast("joeynmt"), at_least=2),
        Bar("share of the floor, head and top-k", bars.times_as_fast("floor")),
    ),
    floor="floor",
    trial={"width": 16, "vocabulary": 50, "batch": 3, "source_steps": 7, "target_steps": 9},
)
