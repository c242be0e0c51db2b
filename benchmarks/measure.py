"""One point of a case: contenders side by side, compared, then timed in turns."""

import concurrent.futures
import contextlib
import pathlib
import statistics
import sys
import tempfile
from dataclasses import dataclass

import numpy as np

from benchmarks.case import Case, module
from benchmarks.compare import nothing
from benchmarks.processes import Worker, WorkerError, run

_TURN_SECONDS = 1.0  # A turn is long beside the switch, and short beside the machine's moods.
_POINT_SECONDS = 60  # For the rounds of all contenders together.
_SLOW = 5  # Seconds of a step that one warm-up of has to do.
_HOPELESS = 5  # Times the fastest configuration of the same peer.


class OutputsDiffer(Exception):
    """Contenders do not compute the same thing."""


@dataclass(frozen=True)
class Settings:
    """What all points share.

    Attributes:
        pythons: {environment: interpreter}.
        threads: For every contender.
        rounds: How often each contender has its turn, in an order that rotates.
        logs: Folder for what the workers write to standard error.
        memory_limit: Bytes of data that a process may hold.
    """

    pythons: dict
    threads: int
    rounds: int
    logs: pathlib.Path
    memory_limit: int


def measure(name: str, case: Case, sizes: dict, settings: Settings) -> dict:
    """Returns the report of `case` at `sizes`: a dict that goes into the JSON as it is."""
    contenders = [each for each in case.contenders if each.takes_part(sizes)]
    rows = {each.name: {"peer": each.peer, "options": each.options} for each in contenders}
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        workers, outputs = _started(name, case, contenders, sizes, settings, rows, folder, stack)
        comparisons = _compared(case, sizes, outputs)
        for contender in list(workers):
            _progress(f"{name}: warming up {contender}")
            _warm_up(case, workers, rows, contender)
        _dismiss_slow(rows, workers)
        steps = {each: max(1, round(_TURN_SECONDS / rows[each]["costs"])) for each in workers}
        rounds = _rounds(rows, workers, min(settings.rounds, case.rounds or settings.rounds))
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
            rows[contender].update(summary(turns[contender], case.unit[1](sizes)))
            rows[contender]["processor_median"] = statistics.median(processor[contender])
    _progress("")
    rank(case.ours, rows)
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


def _started(name, case, contenders, sizes, settings, rows, folder, stack):
    """Starts all workers, as many at once as there are threads; returns them, and what they say."""
    workers, outputs = {}, {}

    def start(contender):
        options = {**sizes, **contender.options, "threads": settings.threads}
        options["memory_limit"] = settings.memory_limit
        label = f"{name}-{contender.name}".replace(" ", "_").replace(",", "")
        log = settings.logs / f"{label}.log"
        if contender.prepare is not None:
            options["folder"] = f"{folder}/{label}"
            script, environment = contender.prepare
            python = settings.pythons[environment]
            try:
                run(python, module(name, script), options, log)
            except WorkerError as error:
                rows[contender.name]["error"] = f"failed: {error}"
                return
        _progress(f"{name}: starting {contender.name}")
        worker = Worker(
            settings.pythons[contender.environment],
            module(name, contender.script),
            options,
            log,
        )
        workers[contender.name] = stack.enter_context(worker)
        path = f"{folder}/{label}.npz"
        if _ask(workers, rows, contender.name, "setup") is None:
            return
        if case.extra_memory:
            extra = _ask(workers, rows, contender.name, "first_steps", steps=2, small=case.trial)
            if extra is None:
                return
            rows[contender.name]["extra"] = extra
        if case.compare is nothing:
            return
        answer = _ask(workers, rows, contender.name, "outputs", path=path)
        if answer is not None and answer["compared"]:
            with np.load(path) as arrays:
                outputs[contender.name] = dict(arrays)

    with concurrent.futures.ThreadPoolExecutor(settings.threads) as pool:
        list(pool.map(start, contenders))
    order = [each.name for each in contenders]
    return (
        {each: workers[each] for each in order if each in workers},
        {each: outputs[each] for each in order if each in outputs},
    )


def _warm_up(case, workers, rows, contender):
    """Compiles, and notes how long the next steps take, and what a step costs us to wait for."""
    compiling, seconds = True, 0.0
    if case.extra_memory:
        compiling, seconds = False, rows[contender]["extra"]["seconds"][-1]
    timed = 1 if case.rounds == 1 or seconds > _SLOW else 2
    if compiling:
        _ask(workers, rows, contender, "time", steps=1)
    warm = contender in workers and _ask(workers, rows, contender, "time", steps=timed)
    if warm:
        rows[contender]["warm"] = min(warm["seconds"])
        rows[contender]["costs"] = warm["all_seconds"] / timed


def _rounds(rows, workers, wanted):
    """As many as are wanted, unless a round takes so long that fewer have to do."""
    a_round = sum(max(_TURN_SECONDS, rows[contender]["costs"]) for contender in workers)
    return max(1, min(wanted, round(_POINT_SECONDS / max(a_round, _TURN_SECONDS))))


def _ask(workers, rows, contender, do, **arguments):
    # A contender that fails keeps its row, which says why, and drops out.
    try:
        answer = workers[contender].ask(do, **arguments)
    except WorkerError as error:
        rows[contender]["error"] = f"failed: {error}"
        rows[contender].pop("warm", None)
        del workers[contender]
        return None
    if "facts" in answer:
        rows[contender]["facts"] = answer["facts"]
    return answer


def _dismiss_slow(rows, workers):
    """Drops configurations far behind another one of the same peer."""

    def hopeless(contender):
        peer = rows[contender]["peer"]
        best = min(rows[other]["warm"] for other in workers if rows[other]["peer"] == peer)
        return rows[contender]["warm"] > _HOPELESS * best

    for contender in list(workers):
        if hopeless(contender):  # or other programs had the processors just then
            again = _ask(workers, rows, contender, "time", steps=1)
            if again is None:
                continue
            rows[contender]["warm"] = min(rows[contender]["warm"], *again["seconds"])
            rows[contender]["costs"] = min(rows[contender]["costs"], again["all_seconds"])
        if hopeless(contender):
            seconds = rows[contender]["warm"]
            rows[contender]["error"] = f"not measured further: {seconds:.2f} s a step"
            workers[contender].stop()
            del workers[contender]


def _compared(case, sizes, outputs):
    comparisons = case.compare(sizes, outputs)
    wrong = [comparison for comparison in comparisons if not comparison.agrees]
    if wrong:
        raise OutputsDiffer(
            "no times, because outputs differ: "
            + "; ".join(f"{c.what}: {c.difference:.2e} > {c.tolerance:.0e}" for c in wrong)
        )
    return [vars(comparison) for comparison in comparisons]


def summary(turns: list[list[float]], units: int) -> dict:
    """Returns the statistics of a contender's turns, each a list of seconds."""
    seconds = [second for turn in turns for second in turn]
    low, median, high = np.quantile(seconds, (0.25, 0.5, 0.75)).tolist()
    return {
        "median": median,
        "quartiles": [low, high],
        "fastest": min(seconds),
        "steps": len(seconds),
        "rounds": [statistics.median(turn) for turn in turns],
        "units_per_second": units / median,
    }


def rank(ours: str, rows: dict):
    """Adds to each row how many times as long as our best configuration it takes.

    The quotient is taken within each round, where the machine was in the same mood for both.
    """
    timed = {name: row for name, row in rows.items() if "rounds" in row}
    best = min(
        (row for row in timed.values() if row["peer"] == ours),
        key=lambda row: row["median"],
        default=None,
    )
    if best is None:
        return
    for row in timed.values():
        quotients = [their / our for their, our in zip(row["rounds"], best["rounds"], strict=True)]
        row["times_ours"] = statistics.median(quotients)
        row["times_ours_range"] = [min(quotients), max(quotients)]


def _rotated(items, number):
    start = number % max(1, len(items))
    return items[start:] + items[:start]


def _progress(message):
    if sys.stderr.isatty():
        print(f"\r\033[K{message}", end="", file=sys.stderr, flush=True)
    elif message:
        print(message, file=sys.stderr, flush=True)
