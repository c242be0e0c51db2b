"""Which cases of a test run by default."""

import itertools
import types

import pytest

from conftest import by_default
from marks import more

EACH_VALUE = pytest.mark.each_value.mark


def cases_of(*products, marks=(EACH_VALUE,)):
    """Test cases as pytest makes them, of (names, values) as `parametrize` takes them."""
    marks = [*(pytest.mark.parametrize(*product).mark for product in products), *marks]
    return [
        case_of(marks, products, values) for values in itertools.product(*dict(products).values())
    ]


def case_of(marks, products, values):
    params, marks = {}, list(marks)
    for (names, _), value in zip(products, values, strict=True):
        if hasattr(value, "marks"):  # of pytest.param
            marks += [mark.mark for mark in value.marks]
            value = value.values if isinstance(names, tuple) else value.values[0]
        params.update(
            zip(names, value, strict=True) if isinstance(names, tuple) else [(names, value)]
        )

    def iter_markers(name):
        return (mark for mark in marks if mark.name == name)

    return types.SimpleNamespace(
        nodeid="test_it",
        callspec=types.SimpleNamespace(params=params),
        iter_markers=iter_markers,
        get_closest_marker=lambda name: next(iter_markers(name), None),
    )


def found(*products, **options):
    return [
        tuple(case.callspec.params.values()) for case in by_default(cases_of(*products, **options))
    ]


def test_each_value_of_a_product_runs_and_not_each_combination():
    cases = found(("a", range(7)), ("b", "xy"), ("c", [None, 1.0, 2.0]))
    assert len(cases) == 7
    for values, wanted in zip(
        zip(*cases, strict=True), (range(7), "xy", [None, 1.0, 2.0]), strict=True
    ):
        assert set(values) == set(wanted)
    assert (
        len({case[1:] for case in cases}) == 6
    )  # and all pairs of the others, where there is room


def test_names_of_one_parametrize_go_together():
    pairs = [("x", 1), ("x", 2), ("y", 1), ("y", 2)]
    assert found((("a", "b"), pairs), ("c", [True, False])) == [
        (*pair, i % 2 == 0) for i, pair in enumerate(pairs)
    ]


def test_the_exhaustive_cases_are_left_out_first():
    assert found(("a", ["x", *more("y", "z")]), ("b", [1, 2])) == [("x", 1), ("x", 2)]
    pairs = [("x", 1), *more(("y", 2))]
    assert found((("a", "b"), pairs), marks=()) == [("x", 1)]


def test_without_a_mark_all_run():
    assert len(found(("a", range(7)), ("b", "xy"), marks=())) == 14


def test_a_test_that_would_never_run_is_an_error():
    with pytest.raises(pytest.UsageError, match="test_it: no case"):
        found(("a", more("y", "z")))
