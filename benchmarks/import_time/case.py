"""What `import keras_attention` takes over `import keras`."""

from benchmarks import bars, compare
from benchmarks.bars import Bar
from benchmarks.case import Case, Contender

_OURS = "import keras_attention, after import keras"


def _contender(name, peer, module, before=""):
    return Contender(name, peer, "worker", "ours", {"module": module, "before": before})


CASE = Case(
    title="Import, in fresh processes",
    points=({},),
    contenders=(
        _contender("import keras", "keras", "keras"),
        _contender(_OURS, "keras_attention", "keras_attention", "import keras"),
    ),
    unit=("imports", lambda sizes: 1),
    compare=compare.nothing,
    bars=(Bar("import time over that of Keras", bars.seconds(_OURS), at_most=0.15, unit="s"),),
    floor="keras",
)
