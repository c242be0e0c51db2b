"""Which cases of a test run by default, and how; see CONTRIBUTING.md."""

import pytest


def more(*values):
    """Values for `parametrize` that run with `--exhaustive` only; tuples are of several names."""
    return [
        pytest.param(
            *(value if isinstance(value, tuple) else [value]), marks=pytest.mark.exhaustive
        )
        for value in values
    ]


def eagerly(test):
    """By default no function of TensorFlow is compiled in it: its operations run one by one.

    For a test that would compile for longer than it computes, and is not about what is compiled.
    With `--exhaustive` it does.
    """
    about_data = "ignore:Even though the `tf.config.experimental_run_functions_eagerly`:UserWarning"
    return pytest.mark.usefixtures("eager")(pytest.mark.filterwarnings(about_data)(test))
