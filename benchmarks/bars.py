"""Bars: what the results of a case have to reach. `speedup` and its like return measures."""

import contextlib
import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass

Measure = Callable[[list[dict]], float]  # Of a case's points, as the JSON has them.


class Missing(LookupError):
    """A contender or a point that a bar needs was not measured."""


@dataclass(frozen=True)
class Bar:
    """A number to reach, or without a limit one to report."""

    what: str
    measure: Measure
    at_least: float | None = None
    at_most: float | None = None
    unit: str = ""

    def result(self, points: list[dict]) -> dict:
        """Returns what was measured and whether it is met. What is missing is not."""
        measured = met = None
        with contextlib.suppress(Missing):
            measured = self.measure(points)
        if self.at_least is not None:
            met = measured is not None and measured >= self.at_least
        elif self.at_most is not None:
            met = measured is not None and measured <= self.at_most
        asked = {"at least": self.at_least, "at most": self.at_most}
        found = {"unit": self.unit, "measured": measured, "met": met}
        return {"what": self.what, "asked": asked, **found}


def speedup(peer: str, at: dict | None = None, **options) -> Measure:
    """Measures how many times as long as ours the peer takes, each side at its fastest."""
    return lambda points: statistics.median(time_ratios(*_sides(points, peer, at, options)))


def least_speedup(peer: str, at: dict | None = None, **options) -> Measure:
    """Measures `speedup` at each point of these sizes, and returns the least."""

    def measure(points):
        found = [point for point in points if (at or {}).items() <= point["sizes"].items()]
        if not found:
            raise Missing
        return min(speedup(peer, **options)([point]) for point in found)

    return measure


def time_ratio(peer: str, at: dict | None = None, **options) -> Measure:
    """Measures our time over the peer's."""
    return lambda points: 1 / speedup(peer, at, **options)(points)


def memory_ratio(peer: str, at: dict | None = None, **options) -> Measure:
    """Measures our extra memory over the peer's, each side at its fastest."""

    def measure(points):
        theirs, ours = _sides(points, peer, at, options)
        return extra_memory(ours) / extra_memory(theirs)

    return measure


def _sides(points, peer, at, options):
    point = find(points, at)
    return [fastest(point, each, **options) for each in (peer, point["ours"])]


def memory_exponent(peer: str, **options) -> Measure:
    """Measures the power of the length that the extra memory of a peer's rows grows with."""

    def measure(points):
        growth = memory_by_length(points, peer, **options)
        sizes, extra = ([math.log(each) for each in part] for part in zip(*growth, strict=True))
        # What a process takes anyway flattens the first points: the last three may be steeper.
        fits = [statistics.linear_regression(sizes[i:], extra[i:]) for i in (0, -3)]
        return max(fit.slope for fit in fits)

    return measure


def find(points: list[dict], sizes: dict | None = None) -> dict:
    """Returns the first point of these sizes."""
    for point in points:
        if (sizes or {}).items() <= point["sizes"].items():
            return point
    raise Missing


def fastest(point: dict, peer: str, **options) -> dict:
    """Returns the fastest row of a peer, of those whose options are these."""
    rows = [row for row in point["rows"].values() if row["peer"] == peer and "median" in row]
    rows = [row for row in rows if options.items() <= row["options"].items()]
    if not rows:
        raise Missing
    return min(rows, key=lambda row: row["median"])


def time_ratios(theirs: dict, ours: dict) -> list[float]:
    """Returns how many times as long theirs takes, in each round, where the load was the same."""
    return [their / our for their, our in zip(theirs["rounds"], ours["rounds"], strict=True)]


def extra_memory(row: dict) -> int:
    """Returns the extra bytes of a row; a page at least, so that quotients exist."""
    return max(row["extra"]["peak"] - row["extra"]["before"], 4096)


def memory_by_length(points: list[dict], peer: str, **options) -> list[tuple[int, int]]:
    """Returns (length, extra bytes) of a peer's configuration at all points."""
    if len(points) < 3:
        raise Missing
    return [(p["sizes"]["length"], extra_memory(fastest(p, peer, **options))) for p in points]
