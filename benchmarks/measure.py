"""One point of a case: contenders side by side, compared, then timed in turns."""

import contextlib
import pathlib
import statistics
import sys
import tempfile

import numpy as np

from benchmarks.case import Case
from benchmarks.processes import Worker, WorkerError

_TURN_SECONDS = 1.0  # A turn is long beside the switch, and short beside the machine's moods.
_HOPELESS = 5  # Times the fastest configuration of the same peer.


def measure(name: str, case: Case, sizes: dict, pythons: dict, threads: int, rounds: int, logs):
    """Returns the report of `case` at `sizes`: a dict that goes into the JSON as it is.

    Args:
        pythons: {environment: interpreter}.
        rounds: How often each contender has its turn, in an order that rotates.
        logs: Folder for what the workers write to standard error.
    """
    rows = {contender.name: {"peer": contender.peer} for contender in case.contenders}
    with contextlib.ExitStack() as stack:
        workers = {}
        for contender in case.contenders:
            _progress(f"{name}: starting {contender.name}")
            log = pathlib.Path(logs) / f"{name}-{contender.name.replace(' ', '_')}.log"
            worker = Worker(
                pythons[contender.environment],
                f"benchmarks.{name}.{contender.script}",
                {**sizes, **contender.options, "threads": threads},
                log,
            )
            workers[contender.name] = stack.enter_context(worker)
            _ask(workers, rows, contender.name, "setup")
        comparisons = _compared(case, sizes, workers, rows)
        steps = {}
        for contender in list(workers):
            _progress(f"{name}: warming up {contender}")
            # The first step compiles; the fastest of the next tells how long a turn has to be.
            warm = _ask(workers, rows, contender, "time", steps=4)
            if warm is not None:
                seconds = rows[contender]["warm"] = min(warm["seconds"][1:])
                steps[contender] = max(1, round(_TURN_SECONDS / seconds))
        _dismiss_slow(rows, workers)
        turns = {contender: [] for contender in workers}
        processor = {contender: [] for contender in workers}
        for number in range(rounds):
            for contender in _rotated(list(workers), number):
                _progress(f"{name}: round {number + 1} of {rounds}, {contender}")
                answer = _ask(workers, rows, contender, "time", steps=steps[contender])
                if answer is not None:
                    turns[contender].append(answer["seconds"])
                    processor[contender] += answer["processor_seconds"]
        for contender in list(workers):
            rows[contender]["memory"] = _ask(workers, rows, contender, "memory")
            rows[contender].update(_summary(turns[contender], case.unit[1](sizes)))
            rows[contender]["processor_median"] = statistics.median(processor[contender])
    _progress("")
    _rank(case, rows, {contender: turns[contender] for contender in workers})
    return {
        "case": name,
        "title": case.title,
        "sizes": sizes,
        "unit": case.unit[0],
        "ours": case.ours,
        "floor": case.floor,
        "comparisons": comparisons,
        "rows": rows,
    }


def _ask(workers, rows, contender, do, **arguments):
    # A contender that fails keeps its row, which says why, and drops out.
    try:
        answer = workers[contender].ask(do, **arguments)
    except WorkerError as error:
        rows[contender]["error"] = f"failed: {error}"
        del workers[contender]
        return None
    if "facts" in answer:
        rows[contender]["facts"] = answer["facts"]
    return answer


def _dismiss_slow(rows, workers):
    """Drops configurations far behind another one of the same peer."""
    for contender in list(workers):
        peer = rows[contender]["peer"]
        best = min(rows[other]["warm"] for other in workers if rows[other]["peer"] == peer)
        if rows[contender]["warm"] > _HOPELESS * best:
            seconds = rows[contender]["warm"]
            rows[contender]["error"] = f"not measured further: {seconds:.2f} s a step"
            del workers[contender]


def _compared(case, sizes, workers, rows):
    outputs = {}
    with tempfile.TemporaryDirectory() as folder:
        for contender in list(workers):
            _progress(f"comparing the outputs of {contender}")
            path = f"{folder}/outputs.npz"
            answer = _ask(workers, rows, contender, "outputs", path=path)
            if answer is not None and answer["compared"]:
                with np.load(path) as arrays:
                    outputs[contender] = dict(arrays)
    comparisons = case.compare(sizes, outputs)
    wrong = [comparison for comparison in comparisons if not comparison.agrees]
    if wrong:
        raise SystemExit(
            "no times, because outputs differ:\n"
            + "\n".join(f"  {c.what}: {c.difference:.2e} > {c.tolerance:.0e}" for c in wrong)
        )
    return [vars(comparison) for comparison in comparisons]


def _summary(turns, units):
    seconds = [second for turn in turns for second in turn]
    low, median, high = np.quantile(seconds, (0.25, 0.5, 0.75)).tolist()
    return {
        "median": median,
        "quartiles": [low, high],
        "fastest": min(seconds),
        "steps": len(seconds),
        "units_per_second": units / median,
    }


def _rank(case, rows, turns):
    """Adds to each row how many times as long as our best configuration it takes.

    The quotient is taken within each round, where the machine was in the same mood for both.
    """
    ours = [name for name in turns if rows[name]["peer"] == case.ours]
    if not ours:
        return
    best = min(ours, key=lambda name: rows[name]["median"])
    for name in turns:
        quotients = [
            statistics.median(theirs) / statistics.median(our)
            for theirs, our in zip(turns[name], turns[best], strict=True)
        ]
        rows[name]["times_ours"] = statistics.median(quotients)
        rows[name]["times_ours_range"] = [min(quotients), max(quotients)]


def _rotated(items, number):
    start = number % max(1, len(items))
    return items[start:] + items[:start]


def _progress(message):
    if sys.stderr.isatty():
        print(f"\r\033[K{message}", end="", file=sys.stderr, flush=True)
    elif message:
        print(message, file=sys.stderr, flush=True)
