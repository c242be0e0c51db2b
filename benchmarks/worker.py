"""The worker's side: sets its work up, then answers commands, one JSON object a line each.

It imports the standard library and NumPy alone, because it runs in every peer's environment.

    {"do": "setup"}                     answers {"facts": {...}}
    {"do": "first_steps", "steps": 2,
     "small": {...}}                    answers {"before": bytes, "peak": bytes, "seconds": [...]}
    {"do": "outputs", "path": "x.npz"}  writes the outputs to compare
    {"do": "time", "steps": 5}          answers {"seconds": [...], "processor_seconds": [...],
                                                 "all_seconds": seconds in all}
    {"do": "memory"}                    answers {"peak": bytes, "imports": bytes}
"""

import contextlib
import dataclasses
import gc
import json
import os
import pathlib
import resource
import sys
import time
import traceback
from collections.abc import Callable

import numpy as np

_PATIENCE = 10  # Seconds.


class Seconds(float):
    """What a step returns that knows better how long its work took."""


@dataclasses.dataclass
class Work:
    """What a contender does.

    Attributes:
        step: Does the work once, and returns only when it is done.
        outputs: Returns named arrays to compare; called before any timed step. None: a floor.
        facts: What the report tells about this contender, such as versions.
    """

    step: Callable[[], object]
    outputs: Callable[[], dict] | None = None
    facts: dict = dataclasses.field(default_factory=dict)


def serve(setup: Callable[[dict], Work]):
    """Answers commands until standard input ends. `setup` gets the command line's options."""
    # What frameworks print must not get between the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    options = json.loads(sys.argv[1])
    if limit := options.get("memory_limit"):
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    session = Session(setup, options)
    for line in sys.stdin:
        command = json.loads(line)
        try:
            answer = getattr(session, command.pop("do"))(**command)
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}".splitlines()[0][:300]}
        print(json.dumps(answer), file=answers)


class Session:
    """One method per command."""

    def __init__(self, setup, options):
        self._setup, self._options = setup, options
        self._imports = self._peak = _peak()

    def setup(self):
        self._work = self._setup(self._options)
        return {"facts": self._work.facts}

    def first_steps(self, steps, small):
        """The first one compiles, and the next may need more memory; a long one has to do.

        What code and compilers take, whatever the sizes, is there before: steps of `small` sizes
        bring it along.
        """
        work = self._setup({**self._options, **small})
        for _ in range(steps):
            work.step()
        del work
        gc.collect()
        self._peak = max(self._peak, _peak())
        _forget_peak()
        before, seconds = _resident(), []
        while len(seconds) < steps and sum(seconds) < _PATIENCE:
            start = time.perf_counter()
            self._work.step()
            seconds.append(time.perf_counter() - start)
        return {"before": before, "peak": _peak(), "seconds": seconds}

    def outputs(self, path):
        if self._work.outputs is None:
            return {"compared": False}
        np.savez(path, **self._work.outputs())
        return {"compared": True}

    def time(self, steps):
        gc.collect()
        seconds, processor_seconds, began = [], [], time.perf_counter()
        for _ in range(steps):
            start, processor_start = time.perf_counter(), time.process_time()
            result = self._work.step()
            took = time.perf_counter() - start
            seconds.append(float(result) if isinstance(result, Seconds) else took)
            processor_seconds.append(time.process_time() - processor_start)
        all_seconds = time.perf_counter() - began
        return {
            "seconds": seconds,
            "processor_seconds": processor_seconds,
            "all_seconds": all_seconds,
        }

    def memory(self):
        return {"peak": max(self._peak, _peak()), "imports": self._imports}


def _resident():
    try:
        pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return _peak()  # Not Linux: what it was at most so far.
    return pages * resource.getpagesize()


def _forget_peak():
    # Linux lets a process start its peak anew. Elsewhere it is that of the whole life so far.
    with contextlib.suppress(OSError):
        pathlib.Path("/proc/self/clear_refs").write_text("5")


def _peak():
    status = pathlib.Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    # Linux counts in KiB, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
