"""One point of a case: contenders side by side, compared, then timed in turns."""

import concurrent.futures
import contextlib
import dataclasses
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

import numpy as np

from benchmarks.bars import Missing, fastest, time_ratios
from benchmarks.case import Case, Contender
from benchmarks.environments import IMPORTS

_TURN_SECONDS = 1.0  # Long compared with switching, short compared with load fluctuations.

_THREADS = ("OMP_NUM", "MKL_NUM", "OPENBLAS_NUM", "TF_NUM_INTRAOP", "TF_NUM_INTEROP")


class OutputsDiffer(Exception):
    """Contenders do not compute the same thing."""


class Entry:
    """A contender at one point: its process, its outputs, its turns and its row of the table."""

    def __init__(self, contender: Contender):
        self.contender, self.outputs, self.turns = contender, {}, []
        self.row = {"peer": contender.peer, "options": contender.options}

    def ask(self, do: str, **arguments) -> dict | None:
        """Returns the worker's answer. One that fails keeps its row, which says why, but is out."""
        if "error" in self.row:
            return None
        try:
            print(json.dumps({"do": do, **arguments}), file=self.process.stdin, flush=True)
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        answer = json.loads(line) if line else {"error": f"exit code {self.process.wait()}"}
        if "error" in answer:
            self.row["error"] = f"failed: {answer['error']}, see {self.log}"
            return None
        return answer

    def start(self, case: Case, name: str, sizes: dict, settings, folder: str, stack):
        """Starts the process, sets it up and gets its extra memory and its outputs."""
        contender = self.contender
        label = f"{name}-{contender.name}".replace(" ", "_").replace(",", "")
        self.log, path = settings.out / f"{label}.log", f"{folder}/{label}"
        self.log.unlink(missing_ok=True)
        options = {"device": settings.device, "threads": settings.threads, "folder": path}
        options["before"] = settings.before
        # The driver of a GPU reserves far more than it uses.
        options["memory_limit"] = settings.memory_limit if settings.device == "cpu" else 0
        options |= {**sizes, **contender.options}
        functions = {contender.prepare: "ours", contender.setup: contender.environment}
        for function in filter(None, functions):
            environment = functions[function]
            self.process = start_process(function, environment, options, settings, self.log)
            stack.callback(self.process.communicate)
            stack.callback(self.process.kill)
            self.row.update(self.ask("setup") or {})
        if case.extra_memory:
            self.row["extra"] = self.ask("first_steps", small=case.trial)
        if case.compare and self.ask("outputs", path=f"{path}.npz"):
            with np.load(f"{path}.npz") as arrays:
                self.outputs = dict(arrays)


def thread_variables(threads: int) -> dict[str, str]:
    """Returns what a process needs in its environment to use this many threads."""
    return {f"{name}_THREADS": str(threads) for name in _THREADS}


def start_process(setup, environment: str, options: dict, settings, log) -> subprocess.Popen:
    """Starts the worker of a function in an environment."""
    backend = settings.backend if environment == "ours" else "tensorflow"
    imports = [backend if each == "tensorflow" else each for each in IMPORTS[environment]]
    variables = thread_variables(settings.threads)
    variables |= {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": ""}
    if options["device"] == "cpu":
        variables |= {"CUDA_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu"}
    module = [os.path.abspath(settings.pythons[environment]), "-m", "benchmarks.worker"]
    arguments = [setup.__module__, setup.__name__, json.dumps({"imports": imports, **options})]
    root, variables = pathlib.Path(__file__).parent.parent, {**os.environ, **variables}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with log.open("a") as errors:
        where = {"cwd": root, "env": variables, "stderr": errors}
        return subprocess.Popen([*module, *arguments], **where, **pipes)


def measure(name: str, case: Case, sizes: dict, settings) -> dict:
    """Returns what the JSON has of `case` at `sizes`; `settings` are the command line's."""
    entries = [Entry(each) for each in contenders_on(settings.device, case, sizes)]
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        print(f"{name}: starting {len(entries)} contenders, {sizes}", file=sys.stderr)
        with concurrent.futures.ThreadPoolExecutor(settings.threads) as pool:
            shared = (case, name, sizes, settings, folder, stack)
            list(pool.map(lambda each: each.start(*shared), entries))
        outputs = {each.contender.name: each.outputs for each in entries if each.outputs}
        comparisons = compare_outputs(case, sizes, outputs)
        untimed = 0 if case.fresh else 1 if case.extra_memory else 2  # The first step compiles.
        for entry in entries:
            for _ in range(untimed):
                entry.ask("time", seconds=0)
        rounds = settings.rounds or case.rounds
        for number in range(rounds):
            print(f"{name}: round {number + 1} of {rounds}", file=sys.stderr)
            first = number % len(entries)
            for entry in entries[first:] + entries[:first]:
                entry.turns.append(entry.ask("time", seconds=_TURN_SECONDS))
        for entry in entries:
            if memory := entry.ask("memory"):
                entry.row |= {"memory": memory, **summary(entry.turns, case.unit[1](sizes))}
    rows = {each.contender.name: each.row for each in entries}
    point = {"sizes": sizes, "unit": case.unit[0], "ours": case.ours, "floor": case.floor}
    return add_time_ratios({**point, "comparisons": comparisons, "rows": rows})


def contenders_on(device: str, case: Case, sizes: dict) -> list[Contender]:
    """Returns those that take part: on a GPU ours and Keras's, compared with the processor."""
    contenders = [each for each in case.contenders if each.takes_part(sizes)]
    if device == "cpu":
        return contenders
    contenders = [each for each in contenders if each.environment == "ours"]
    ours = next(each for each in contenders if each.peer == case.ours)
    name, options = f"{ours.name}, on the processor", {**ours.options, "device": "cpu"}
    return [dataclasses.replace(ours, name=name, peer="cpu", options=options), *contenders]


def compare_outputs(case: Case, sizes: dict, outputs: dict) -> list[dict]:
    """Returns the comparisons if all agree."""
    comparisons = case.compare(sizes, outputs) if case.compare else []
    wrong = ["{what}: {difference:.2e}".format(**c) for c in comparisons if not c["agrees"]]
    if wrong:
        raise OutputsDiffer(f"no times, because outputs differ: {'; '.join(wrong)}")
    return comparisons


def summary(turns: list[dict], units: int) -> dict:
    """Returns the statistics of a contender's turns, each an answer to "time"."""
    seconds = [second for turn in turns for second in turn["seconds"]]
    processor = [second for turn in turns for second in turn["processor_seconds"]]
    low, median, high = np.quantile(seconds, (0.25, 0.5, 0.75)).tolist()
    rounds = [statistics.median(turn["seconds"]) for turn in turns]
    times = {"median": median, "quartiles": [low, high], "rounds": rounds, "steps": len(seconds)}
    processor_median = statistics.median(processor)
    return {**times, "processor_median": processor_median, "units_per_second": units / median}


def add_time_ratios(point: dict) -> dict:
    """Adds to each row how many times as long as our fastest configuration it takes."""
    with contextlib.suppress(Missing):
        ours = fastest(point, point["ours"])
        for row in point["rows"].values():
            if "rounds" in row:
                ratios = time_ratios(row, ours)
                row["times_ours"] = statistics.median(ratios)
                row["times_ours_range"] = [min(ratios), max(ratios)]
    return point
