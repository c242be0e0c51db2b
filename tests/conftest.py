"""Every test starts from the same seed and leaves Keras's global settings as it found them.

By default a part of the cases runs; `--exhaustive` runs all of them, and so does naming a test.
`--outcomes FILE` writes how the tests of the layer table went, for `docs/scripts/conformance.py`.
`--rows MODULE` runs the tests of the layer table for the list `ROWS` of a module of one's own.
"""

import environment  # noqa: F401  # isort: skip  # before anything reads it

import collections
import gc
import importlib
import json
import pathlib

import keras
import pytest

try:
    import hypothesis
except ImportError:  # tests/backends runs without
    pass
else:
    # Drawing the same cases in every run keeps a failure reproducible.
    hypothesis.settings.register_profile(
        "repeatable", deadline=None, derandomize=True, max_examples=50, database=None
    )
    hypothesis.settings.load_profile("repeatable")

# On TensorFlow the whole suite runs, which holds all that is in there.
collect_ignore = ["backends"] if keras.backend.backend() == "tensorflow" else []

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    # Before TensorFlow starts its devices. Without a strategy all runs on the first one.
    (processor,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(
        processor, [tf.config.LogicalDeviceConfiguration()] * 2
    )


@pytest.fixture(scope="session")
def two_devices():
    """A strategy over both halves of the processor.

    TensorFlow's default way to add up gradients on CPUs mixes up the strategies of a process.
    """
    return tf.distribute.MirroredStrategy(
        ["CPU:0", "CPU:1"], cross_device_ops=tf.distribute.ReductionToOneDevice()
    )


@pytest.fixture
def eager(request):
    """Functions of TensorFlow run one operation at a time, unless all cases run."""
    tf.config.run_functions_eagerly(not all_cases(request.config))
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(autouse=True)
def seed():
    keras.utils.set_random_seed(20150119)
    policy, floatx = keras.config.dtype_policy(), keras.config.floatx()
    yield
    keras.config.set_dtype_policy(policy)
    keras.config.set_floatx(floatx)


def pytest_addoption(parser):
    parser.addoption("--exhaustive", action="store_true", help="run all cases of all tests")
    parser.addoption("--outcomes", metavar="FILE", help="write the outcomes of the layer table")
    parser.addoption(
        "--rows", metavar="MODULE", help="test the rows in its `ROWS`, and nothing else"
    )


def pytest_configure(config):
    path = config.getoption("--outcomes")
    if path and not hasattr(config, "workerinput"):  # of pytest-xdist, whose reports come here
        config.pluginmanager.register(Outcomes(pathlib.Path(path)))

    if module := config.getoption("--rows"):
        importlib.import_module("table").TABLE[:] = importlib.import_module(module).ROWS


def all_cases(config):
    return config.getoption("--exhaustive") or any("::" in name for name in config.args)


def pytest_collection_modifyitems(config, items):
    if config.getoption("--rows"):
        select(config, items, {item for item in items if "row" in parameters(item)})
    elif not all_cases(config):
        tests = collections.defaultdict(list)
        for item in items:
            tests[item.nodeid.partition("[")[0]].append(item)
        select(config, items, {item for cases in tests.values() for item in by_default(cases)})


def pytest_collection_finish():
    """Spares the collector what stays; tracing makes more objects than its defaults are for."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def select(config, items, kept):
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = [item for item in items if item in kept]


def by_default(cases):
    """The cases of a test that run unless all are asked for: at least one."""
    first = cases[0]
    cases = [case for case in cases if not case.get_closest_marker("exhaustive")]
    if not cases:
        raise pytest.UsageError(f"{first.nodeid}: no case of this test runs without --exhaustive")
    if not first.get_closest_marker("each_value"):
        return cases
    columns = [turns(cases, mark.args[0]) for mark in first.iter_markers("parametrize")]
    longest, *others = sorted(columns, key=max, reverse=True)
    kept = []
    for position, case in enumerate(cases):
        turn = longest[position]
        for column in others:
            count = max(column) + 1
            if column[position] != turn % count:
                break
            turn //= count
        else:
            kept.append(case)
    return kept


def turns(cases, names):
    """The number of the value that each case has of what one `parametrize` names."""
    names = names.replace(" ", "").split(",") if isinstance(names, str) else names
    values = [tuple(id(case.callspec.params[name]) for name in names) for case in cases]
    numbers = {value: number for number, value in enumerate(dict.fromkeys(values))}
    return [numbers[value] for value in values]


def parameters(item):
    return item.callspec.params if hasattr(item, "callspec") else {}


def pytest_itemcollected(item):
    """Every report of a test of a row says which row it is."""
    params = parameters(item)
    if "row" in params:
        case = {
            "test": item.originalname,
            "row": str(params["row"]),
            "policy": params.get("policy"),
        }
        item.user_properties.append(("case", case))


class Outcomes:
    """Collects what came of each case; one of which a part failed has failed."""

    def __init__(self, path):
        self.path, self.found = path, {}

    def pytest_runtest_logreport(self, report):
        case = dict(report.user_properties).get("case")
        if case and (report.when == "call" or not report.passed):
            before = self.found.get(report.nodeid, case)
            failed = report.failed or before.get("outcome") == "failed"
            self.found[report.nodeid] = {**case, "outcome": "failed" if failed else report.outcome}

    def pytest_sessionfinish(self):
        backend = keras.backend.backend()
        names = ("keras", backend)
        versions = {name: importlib.import_module(name).__version__ for name in names}
        outcomes = {"backend": backend, "versions": versions, "cases": list(self.found.values())}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(outcomes, indent=1))
