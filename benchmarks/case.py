"""What a case is: a question that is put to contenders, each in a process of its own."""

import importlib
import pathlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from benchmarks.bars import Bar


class Timing(NamedTuple):
    """Seconds of a step that times itself: by the clock, and of all processors if it knows them."""

    wall: float
    processor: float | None = None


@dataclass
class Work:
    """What a contender does. A floor has no outputs."""

    step: Callable[[], object]  # Does the work once, and returns only when it is done.
    outputs: Callable[[], dict] = dict  # Returns named arrays to compare.


@dataclass(frozen=True)
class Contender:
    """One row of the table. Rows of one `peer` are its configurations; the fastest counts.

    `setup` is a function of a case's module, from the point's sizes and `options`, in one dict, to
    `Work`. It imports libraries itself: the module is imported in every environment.
    """

    name: str
    peer: str
    setup: Callable[[dict], Work]
    environment: str = "ours"  # Name of a list in `requirements/`.
    options: dict = field(default_factory=dict)
    takes_part: Callable[[dict], bool] = lambda sizes: True  # At a point of these sizes.
    prepare: Callable[[dict], None] | None = None  # Runs before, in `ours`; both get a "folder".


def with_and_without_xla(name, peer, setup, environment="ours", options=None, **more):
    """Returns two contenders that differ in the option `jit_compile`."""
    return [
        Contender(f"{name}{xla}", peer, setup, environment, {**(options or {}), **jit}, **more)
        for xla, jit in (("", {"jit_compile": False}), (", XLA", {"jit_compile": True}))
    ]


def compare_with_first(sizes: dict, outputs: dict) -> list[dict]:
    """Compares the outputs of all contenders, {name: {output: array}}, with the first one's."""
    first, comparisons = next(iter(outputs), None), []
    for name in [name for name in outputs if name != first]:
        for output, actual in outputs[name].items():
            expected = np.asarray(outputs[first][output], "float64")
            difference = np.inf
            if np.shape(actual) == expected.shape:
                scale = max(np.max(np.abs(expected)), 1e-30)
                difference = float(np.max(np.abs(np.asarray(actual, "float64") - expected)) / scale)
            tolerance = 1e-4 if "gradient" in output else 1e-5  # Gradients sum what nearly cancels.
            what = f"{name}: {output} against {first}"
            comparisons.append(comparison(what, difference, tolerance))
    return comparisons


def comparison(what: str, difference: float, tolerance: float) -> dict:
    """Returns one line of evidence that contenders compute the same thing, or not."""
    agrees = bool(difference <= tolerance)  # False for NaN too.
    return {"what": what, "difference": difference, "tolerance": tolerance, "agrees": agrees}


@dataclass(frozen=True)
class Case:
    """A question put to several contenders. Those of the peer `ours` are compared with the others.

    With `extra_memory` what the first steps add is measured after steps at the `trial` sizes, which
    have to need the same compiled code. Outputs come later: steps must not change them.
    """

    title: str
    points: list[dict]  # Sizes to measure at, each in processes of its own.
    contenders: list[Contender]
    unit: tuple[str, Callable[[dict], int]]  # What a step works through, how many at a point.
    bars: list[Bar]
    compare: Callable[[dict, dict], list[dict]] | None = compare_with_first
    ours: str = "keras_attention"
    floor: str | None = None  # A peer that does not solve the problem but bounds it.
    extra_memory: bool = False
    fresh: bool = False  # Whether each step is a process of its own, so that none compiles ahead.
    rounds: int = 6  # Turns of every contender, of about a second or one step.
    against: str | None = None  # The size that points differ in, for one table and a plot of all.
    trial: dict = field(default_factory=dict)  # Small sizes for a quick check.
    on_gpu: bool = False  # Whether `--device gpu` runs it if no case is named.


def load_all() -> dict[str, Case]:
    """Returns the cases in `cases/`, by name."""
    folder = pathlib.Path(__file__).parent / "cases"
    names = sorted(path.stem for path in folder.glob("[!_]*.py"))
    return {name: importlib.import_module(f"benchmarks.cases.{name}").CASE for name in names}
