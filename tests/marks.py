"""Which cases of a test run by default; see CONTRIBUTING.md."""

import pytest


def more(*values):
    """Values for `parametrize` that run with `--exhaustive` only; tuples are of several names."""
    return [
        pytest.param(
            *(value if isinstance(value, tuple) else [value]), marks=pytest.mark.exhaustive
        )
        for value in values
    ]
