"""Whether the examples' training waits for data."""

from benchmarks import bars, compare
from benchmarks.bars import Bar
from benchmarks.case import Case, Contender

_EXAMPLES = ("translation", "captioning")
_STEP, _WAITING = "training step, with its batch", "of which waiting for the batch"


def _contender(name, peer, measure):
    return Contender(name, peer, "worker", "ours", {"measure": measure})


def _share(example):
    def measure(points):
        at = {"example": example}
        waiting, step = (bars.seconds(name, at)(points) for name in (_WAITING, _STEP))
        return None if None in (waiting, step) else waiting / step

    return measure


CASE = Case(
    title="Input pipelines of the examples",
    points=tuple({"example": example} for example in _EXAMPLES),
    contenders=(
        _contender(_STEP, "keras_attention", "step"),
        _contender(_WAITING, "waiting", "waiting"),
        _contender("the pipeline alone", "pipeline", "pipeline"),
    ),
    unit=("batches", lambda sizes: 1),
    compare=compare.nothing,
    bars=tuple(
        Bar(
            f"{example}: share of a training step that waits for data",
            _share(example),
            at_most=0.02,
        )
        for example in _EXAMPLES
    ),
    floor=None,
)
