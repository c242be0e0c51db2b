"""Bars: what the results of a case have to reach, worked out from the results alone.

A measure is a function of the case's points, as they stand in the JSON, to a number, or to None
where a contender that it needs has none.
"""

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass

Measure = Callable[[list[dict]], float | None]


@dataclass(frozen=True)
class Bar:
    """A number to reach, or without a limit one to report.

    Attributes:
        what: What is measured; the report's words.
        measure: How.
        at_least, at_most: The bar. One of the two at most.
        unit: What follows the numbers: "s", "MiB"; nothing for a quotient.
    """

    what: str
    measure: Measure
    at_least: float | None = None
    at_most: float | None = None
    unit: str = ""

    def __post_init__(self):
        if self.at_least is not None and self.at_most is not None:
            raise ValueError(
                f"The bar {self.what!r} has `at_least` and `at_most`; accepted is one."
            )

    def result(self, points: list[dict]) -> dict:
        """Returns what was measured and whether it is enough. What failed is not."""
        measured = self.measure(points)
        met = None
        if self.at_least is not None:
            met = measured is not None and bool(measured >= self.at_least)
        elif self.at_most is not None:
            met = measured is not None and bool(measured <= self.at_most)
        return {
            "what": self.what,
            "asked": {"at_least": self.at_least, "at_most": self.at_most},
            "unit": self.unit,
            "measured": measured,
            "met": met,
        }


def find(points: list[dict], **sizes) -> dict | None:
    """Returns the first point of these sizes."""
    for point in points:
        if all(point["sizes"][name] == size for name, size in sizes.items()):
            return point
    return None


def fastest(point: dict, peer: str, **options) -> dict | None:
    """Returns the fastest row of a peer whose options are these."""
    rows = [
        row
        for row in point["rows"].values()
        if row["peer"] == peer
        and "warm" in row
        and all(row["options"].get(name) == value for name, value in options.items())
    ]
    return min(rows, key=_seconds, default=None)


def quotient(theirs: dict, ours: dict) -> float:
    """Returns how many times as long theirs takes.

    Within each round, where the machine was in the same mood for both.
    """
    if "rounds" in theirs and "rounds" in ours:
        pairs = zip(theirs["rounds"], ours["rounds"], strict=True)
        return statistics.median(their / our for their, our in pairs)
    return _seconds(theirs) / _seconds(ours)


def times_as_fast(peer: str, at: dict | None = None, **options) -> Measure:
    """Measures how many times as long the peer takes, each side at its fastest configuration.

    With options, of the configurations that have these.
    """

    def measure(points):
        sides = _sides(points, peer, at or {}, options)
        return sides and quotient(*sides)

    return measure


def times_the_time(peer: str, at: dict | None = None, **options) -> Measure:
    """Measures how many times the peer's time we take."""
    return _inverse(times_as_fast(peer, at, **options))


def share_of_memory(peer: str, at: dict | None = None) -> Measure:
    """Measures our extra memory over the peer's, each side at its fastest configuration."""

    def measure(points):
        sides = _sides(points, peer, at or {}, {})
        if not sides:
            return None
        theirs, ours = (extra(row) for row in sides)
        return ours / theirs

    return measure


def extra_mib(at: dict | None = None) -> Measure:
    """Measures our extra memory, at our fastest configuration."""

    def measure(points):
        point = find(points, **(at or {}))
        row = point and fastest(point, point["ours"])
        return row and extra(row) / 2**20

    return measure


def seconds(name: str, at: dict | None = None) -> Measure:
    """Measures the median of the row of this name."""

    def measure(points):
        point = find(points, **(at or {}))
        return point and point["rows"].get(name, {}).get("median")

    return measure


def exponent(peer: str, size: str, **options) -> Measure:
    """Measures the power of `size` that the extra memory of a peer's configuration grows with.

    It is the slope of a line through all points in logarithms, or through the last three if that
    is steeper: what a process takes anyway flattens the first ones.
    """

    def measure(points):
        grown = growth(points, peer, size, **options)
        if len(grown) < 3 or len(grown) < len(points):
            return None
        return max(_slope(grown), _slope(grown[-3:]))

    return measure


def growth(points: list[dict], peer: str, size: str, **options) -> list[tuple[int, int]]:
    """Returns (size, extra bytes) of a peer's configuration, where it could be measured."""
    rows = [(point["sizes"][size], fastest(point, peer, **options)) for point in points]
    return [(value, extra(row)) for value, row in rows if row is not None]


def extra(row: dict) -> int:
    """Returns the extra bytes of a row; a page at least, so that quotients exist."""
    return max(row["extra"]["peak"] - row["extra"]["before"], 4096)


def _sides(points, peer, at, options):
    point = find(points, **at)
    if point is None:
        return None
    sides = fastest(point, peer, **options), fastest(point, point["ours"], **options)
    return None if None in sides else sides


def _seconds(row):
    return row.get("median", row["warm"])  # What is hopelessly slow is timed a few times only.


def _inverse(measure):
    def inverse(points):
        measured = measure(points)
        return None if measured is None else 1 / measured

    return inverse


def _slope(grown):
    logarithms = [(math.log(size), math.log(count)) for size, count in grown]
    fit = statistics.linear_regression(*zip(*logarithms, strict=True))
    return fit.slope
