"""The process of a contender: it sets its work up, then answers commands, one JSON object a line.

A command is {"do": method of Session, argument: value}; its answer is what the method returns.
"""

import contextlib
import gc
import importlib
import importlib.metadata
import json
import os
import pathlib
import resource
import sys
import time
import traceback

import numpy as np

from benchmarks.case import Timing


def serve(*arguments):
    """Answers commands until standard input ends."""
    # What frameworks print must not get between the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    session = Session(*arguments)
    for line in sys.stdin:
        command = json.loads(line)
        try:
            answer = getattr(session, command.pop("do"))(**command)
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}".splitlines()[0][:300]}
        print(json.dumps(answer), file=answers)


class Session:
    """One method per command, for the contender `module.function`."""

    def __init__(self, module: str, function: str, options: dict):
        self._module, self._function, self._options = module, function, options

    def setup(self):
        """Imports what the environment is for, and the contender; returns the versions."""
        if limit := round(self._options["memory_limit"] * 2**30):
            resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        versions = dict(_import(name) for name in self._options["imports"])
        self._setup = getattr(importlib.import_module(self._module), self._function)
        self._imports = self._peak = _memory("VmHWM")
        self._work = self._setup(self._options)
        return {"versions": versions}

    def first_steps(self, small):
        """Measures the memory of two steps, after `small` ones that load code and compilers."""
        work = self._setup({**self._options, **small})
        for _ in range(2):
            work.step()
        del work
        gc.collect()
        self._peak = max(self._peak, _memory("VmHWM"))
        with contextlib.suppress(OSError):  # So Linux starts the peak anew.
            pathlib.Path("/proc/self/clear_refs").write_text("5")
        before = _memory("VmRSS")
        for _ in range(2):
            self._work.step()
        return {"before": before, "peak": _memory("VmHWM")}

    def outputs(self, path):
        np.savez(path, **self._work.outputs())
        return {"path": path}

    def time(self, seconds):
        """Times as many steps as come closest to `seconds` in all, but at least one."""
        gc.collect()
        wall, processor, began = [], [], time.perf_counter()
        while True:
            start, processor_start = time.perf_counter(), time.process_time()
            result = self._work.step()
            end = time.perf_counter()
            told = result if isinstance(result, Timing) else Timing(end - start)
            wall.append(told.wall)
            own = time.process_time() - processor_start
            processor.append(own if told.processor is None else told.processor)
            half_a_step = (end - began) / len(wall) / 2
            if end - began + half_a_step >= seconds:
                return {"seconds": wall, "processor_seconds": processor}

    def memory(self):
        return {"peak": max(self._peak, _memory("VmHWM")), "imports": self._imports}


def _import(name):
    """Imports a module, and returns its package and version."""
    module, package = importlib.import_module(name), name.split(".")[0].replace("_", "-")
    return package, getattr(module, "__version__", None) or importlib.metadata.version(package)


def _memory(field):
    """Returns the bytes of "VmRSS", resident now, or of "VmHWM", its peak."""
    try:
        status = pathlib.Path("/proc/self/status").read_text()
        return int(status.split(f"{field}:")[1].split()[0]) * 1024
    except OSError:  # macOS has the peak alone, in bytes.
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))
