"""How long `import keras_attention` takes after `import keras`, in fresh processes."""

import subprocess
import sys

from benchmarks.bars import Bar, fastest, find
from benchmarks.case import Case, Contender, Timing, Work

_START, _END = "import time; start = time.perf_counter()", "print(time.perf_counter() - start)"


def fresh_import(options):
    code = "\n".join([options["before"], _START, f"import {options['module']}", _END])
    command = [sys.executable, "-c", code]

    def step():
        printed = subprocess.run(command, capture_output=True, check=True, text=True).stdout
        return Timing(float(printed.split()[-1]))

    return Work(step)


_KERAS = {"module": "keras", "before": ""}
_OURS = {"module": "keras_attention", "before": "import keras"}
_NAME = "import keras_attention, after import keras"


def _seconds(points):
    return fastest(find(points), "keras_attention")["median"]


CASE = Case(
    title="Import, in fresh processes",
    points=[{}],
    contenders=[
        Contender("import keras", "keras", fresh_import, options=_KERAS),
        Contender(_NAME, "keras_attention", fresh_import, options=_OURS),
    ],
    unit=("imports", lambda sizes: 1),
    bars=[Bar("import time over that of Keras", _seconds, at_most=0.06, unit="s")],
    floor="keras",
)
