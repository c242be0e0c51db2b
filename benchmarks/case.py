"""What a benchmark case is: a folder of this package whose `case.py` defines `CASE`."""

import importlib
import pathlib
from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks.bars import Bar


def everywhere(sizes: dict) -> bool:
    """A contender that takes part at all points."""
    return True


@dataclass(frozen=True)
class Contender:
    """One row of the table: a script of the case, run in a process of its own.

    Contenders of one `peer` are its configurations, and the fastest of them counts. The script is
    a module of the case's folder that calls `benchmarks.worker.serve`, or of another's, then as
    "folder.module"; it receives the point's sizes and `options` in one dict, and runs in
    `environment` (see `environments.py`).

    Attributes:
        takes_part: Whether it is measured at a point of these sizes.
        prepare: A script and an environment to run once before it starts, with the same options
            and a "folder" that both may use.
    """

    name: str
    peer: str
    script: str
    environment: str
    options: dict = field(default_factory=dict)
    takes_part: Callable[[dict], bool] = everywhere
    prepare: tuple[str, str] | None = None


@dataclass(frozen=True)
class Comparison:
    """One line of evidence that contenders compute the same thing."""

    what: str
    difference: float
    tolerance: float

    @property
    def agrees(self) -> bool:
        return bool(self.difference <= self.tolerance)  # False for NaN too.


@dataclass(frozen=True)
class Case:
    """A question put to several contenders.

    Attributes:
        title: What is measured, in a sentence.
        points: Sizes to measure at, each in processes of its own.
        contenders: The rows. Those of the peer `ours` are what the others are compared with.
        unit: Name of what a step works through, and how many of them at a point.
        compare: Checks the outputs of the contenders that started, {name: {output: array}}.
        bars: What the results have to reach.
        floor: A peer that does not solve the problem but bounds it, such as its GEMMs alone.
        extra_memory: Whether to measure what the first steps take over what was there after some
            at the `trial` sizes. They come before the outputs then, so that a step must not change
            what is compared.
        rounds: Fewer turns than the command's, for steps that take long.
        against: The size that the points differ in, for one table and a plot of all of them.
        trial: Small sizes, to see that all of it works. With `extra_memory` large enough that every
            contender takes the code path of the points, so that it is compiled before.
    """

    title: str
    points: tuple[dict, ...]
    contenders: tuple[Contender, ...]
    unit: tuple[str, Callable[[dict], int]]
    compare: Callable[[dict, dict], list[Comparison]]
    bars: tuple[Bar, ...] = ()
    ours: str = "keras_attention"
    floor: str | None = None
    extra_memory: bool = False
    rounds: int | None = None
    against: str | None = None
    trial: dict = field(default_factory=dict)

    def __post_init__(self):
        if self.extra_memory and not self.trial:
            raise ValueError(
                f"{self.title!r} measures extra memory; accepted is a case with `trial`."
            )


def module(case: str, script: str) -> str:
    """Returns the module of a script of a case."""
    return f"benchmarks.{script}" if "." in script else f"benchmarks.{case}.{script}"


def names() -> list[str]:
    """Returns the names of all cases."""
    return sorted(path.parent.name for path in pathlib.Path(__file__).parent.glob("*/case.py"))


def load(name: str) -> Case:
    """Returns the case in folder `name`."""
    return importlib.import_module(f"benchmarks.{name}.case").CASE
