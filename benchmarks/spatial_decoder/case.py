"""A soft spatial attention decoder against the usual way to write one."""

from benchmarks import bars, compare
from benchmarks.bars import Bar
from benchmarks.case import Case, Contender

_SIZES = {
    "batch": 32,
    "steps": 20,
    "regions": 196,
    "region_width": 512,
    "word_width": 256,
    "units": 512,
}
_TRAINING, _FORWARD = {"backward": True}, {"backward": False}


def _usual(name, **options):
    return Contender(
        f"tile and concatenate, {name}", "usual", "tile_and_concatenate_worker", "ours", options
    )


def _ours(name, **options):
    return Contender(name, "keras_attention", "keras_attention_worker", "ours", options)


CASE = Case(
    title="Soft spatial attention decoder",
    points=tuple({**passes, **_SIZES} for passes in (_TRAINING, _FORWARD)),
    contenders=(
        _usual("keras.layers.RNN", loop="rnn", jit_compile=False),
        _usual("keras.layers.RNN, XLA", loop="rnn", jit_compile=True),
        _usual("Python loop", loop="python", jit_compile=False),
        _usual("Python loop, XLA", loop="python", jit_compile=True),
        _ours("keras_attention", jit_compile=False),
        _ours("keras_attention, XLA", jit_compile=True),
    ),
    unit=("words", lambda sizes: sizes["batch"] * sizes["steps"]),
    compare=compare.with_first(1e-5, gradients=1e-4),
    bars=(
        Bar(
            "forward and backward: times as fast as tile and concatenate",
            bars.times_as_fast("usual", _TRAINING),
            at_least=2,
        ),
        Bar(
            "forward: times as fast as tile and concatenate",
            bars.times_as_fast("usual", _FORWARD),
            at_least=2,
        ),
    ),
    extra_memory=True,
    trial={"batch": 3, "steps": 5, "regions": 7, "region_width": 11, "word_width": 5, "units": 13},
)
