"""Imports in a fresh interpreter, timed inside of it: first one module, then another."""

import os
import subprocess
import sys

from benchmarks import worker

_TIMED = """
import time
{before}
start = time.perf_counter()
import {module}
print(time.perf_counter() - start)
"""


def setup(options):
    code = _TIMED.format(before=options["before"], module=options["module"])

    def step():
        printed = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            check=True,
            text=True,
            env=os.environ,
        ).stdout
        return worker.Seconds(printed.split()[-1])

    return worker.Work(step)


if __name__ == "__main__":
    worker.serve(setup)
