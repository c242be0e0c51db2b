"""One sentence, tokens to tokens, with beam search: the export against joeynmt's model."""

from benchmarks import bars
from benchmarks.bars import Bar
from benchmarks.case import Case, Contender
from benchmarks.translator import searches

_SIZES = {
    "decoder": "luong with input feeding",
    "width": 256,
    "vocabulary": 8000,
    "batch": 1,
    "beam": 5,
    "source_steps": 20,
    "target_steps": 40,
}

CASE = Case(
    title="One sentence through an exported translator",
    points=(_SIZES,),
    contenders=(
        Contender(
            "keras_attention, SavedModel without Keras",
            "keras_attention",
            "served_worker",
            "served",
            prepare=("export", "ours"),
        ),
        Contender("joeynmt", "joeynmt", "beam_search.joeynmt_worker", "joeynmt"),
    ),
    unit=("sentences", lambda sizes: sizes["batch"]),
    compare=searches.compare,
    bars=(
        Bar(
            "median latency over joeynmt's",
            bars.times_the_time("joeynmt"),
            at_most=0.5,
        ),
    ),
    trial={"width": 16, "vocabulary": 50, "source_steps": 7, "target_steps": 9},
)
