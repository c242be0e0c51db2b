"""Programs with what they print and when: nothing is put into them to time them."""

import os
import pathlib
import subprocess
import sys
import time
from typing import NamedTuple

from benchmarks.measure import thread_variables

_ROOT = pathlib.Path(__file__).parent.parent.parent


class Line(NamedTuple):
    """A line that a program printed, and when it came, in seconds since its start."""

    seconds: float
    text: str


def run(log: pathlib.Path, threads: int, *command) -> tuple[float, list[Line]]:
    """Runs a program to its end; returns when it started, by `time.time`, and what it printed.

    The lines are in `log` too, with their seconds.
    """
    command = [str(part) for part in command]
    print(f"{log.stem}: {' '.join(command)}", file=sys.stderr)
    variables = {**os.environ, **thread_variables(threads), "CUDA_VISIBLE_DEVICES": "-1"}
    variables |= {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    variables |= {"PYTHONUNBUFFERED": "1", "PYTHONPATH": ""}
    options = {"cwd": _ROOT, "env": variables, "encoding": "utf-8", "errors": "replace"}
    options |= {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    start = time.time()
    with log.open("w", encoding="utf-8") as file, subprocess.Popen(command, **options) as process:
        for text in process.stdout:
            print(f"{time.time() - start:9.2f}  {text.rstrip()}", file=file, flush=True)
    lines = read_log(log)
    if process.returncode:
        last = "".join(f"\n{line.text}" for line in lines[-1:])
        raise SystemExit(f"exit code {process.returncode}, see {log}:{last}")
    return start, lines


def read_log(log: pathlib.Path) -> list[Line]:
    """Returns the lines of a log."""
    split = (line.lstrip().partition("  ") for line in log.read_text("utf-8").split("\n")[:-1])
    return [Line(float(seconds), text) for seconds, _, text in split]
