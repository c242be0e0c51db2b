"""Ways to compare outputs, for the cases."""

import numpy as np

from benchmarks.case import Comparison


def difference(actual, expected) -> float:
    """Returns the largest absolute difference of two arrays."""
    return float(np.max(np.abs(np.asarray(actual, "float64") - np.asarray(expected, "float64"))))


def relative_difference(actual, expected) -> float:
    """Returns the largest difference of two arrays over the largest number in them."""
    scale = float(np.max(np.abs(expected)))
    return difference(actual, expected) / max(scale, 1e-30)


def nothing(sizes, outputs) -> list[Comparison]:
    """Compares nothing: for what has no outputs."""
    return []


def with_first(tolerance: float, gradients: float | None = None):
    """Returns a `Case.compare`: all outputs of all contenders against those of the first one.

    Outputs whose names say "gradient" may have a tolerance of their own: one that sums over a
    million places, most of which cancel, is less exact in float32 than what it is a gradient of.
    """

    def compare(sizes, outputs):
        if not outputs:
            return []
        first, *others = outputs
        return [
            Comparison(
                f"{name}: {output} against {first}",
                relative_difference(outputs[name][output], expected),
                tolerance if gradients is None or "gradient" not in output else gradients,
            )
            for name in others
            for output, expected in outputs[first].items()
        ]

    return compare
