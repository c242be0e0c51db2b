"""The translation example on other backends, on two devices, and in two processes.

Each training is a process of its own, as its backend and its devices are.
"""

import csv
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from marks import more
from translation_runs import LINES, ROOT

pytest_plugins = ["translation_fixtures"]

JAX = {"KERAS_BACKEND": "jax"}
TWO_DEVICES = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
ONE_DEVICE = {"XLA_FLAGS": ""}
# As on a machine with two GPUs, which MirroredStrategy would find itself.
MIRRORED = """
import sys, tensorflow as tf
(processor,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(
    processor, [tf.config.LogicalDeviceConfiguration()] * 2
)
from examples.translation.cli import app
with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    app(sys.argv[1:])
"""
ENDED = (
    "error: another process of this training has ended: start all of them again, and they go on "
    "from the last checkpoint\n"
)
OPTIONS = [
    *("--units", 16, "--encoder-units", 8, "--embedding", 8, "--batch-tokens", 150),
    *("--epochs", 1, "--max-length", 30, "--save-every", 1),
]


def start(*arguments, environment=None, code=("-m", "examples.translation"), **options):
    """A process of the example."""
    return subprocess.Popen(
        [sys.executable, *code, *map(str, arguments)],
        env={**os.environ, **ONE_DEVICE, "PYTHONPATH": str(ROOT), **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        **options,
    )


def ended(process, code=0):
    """What it wrote."""
    out, errors = process.communicate(timeout=600)
    assert process.returncode == code, out + errors
    return out, errors


def pair(*arguments):
    """Two processes of one training on JAX."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    both = {
        **JAX,
        "KERAS_DISTRIBUTION_JOB_ADDRESSES": address,
        "JAX_COORDINATOR_BIND_ADDRESS": address,
        "KERAS_DISTRIBUTION_NUM_PROCESSES": "2",
    }
    return [
        start(*each, environment={**both, "KERAS_DISTRIBUTION_PROCESS_ID": str(number)})
        for number, each in enumerate(arguments)
    ]


def losses(folder):
    with (folder / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    return np.array([[float(row["loss"]), float(row["val_loss"])] for row in rows])


@pytest.fixture(scope="module", autouse=True)
def compiled(tmp_path_factory):
    """What JAX has compiled once it reads the next time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path_factory.mktemp("compiled")))
        patch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        patch.setenv("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
        yield


@pytest.fixture(scope="module")
def on_jax(corpus, tmp_path_factory):
    """A run on one device."""
    folder = tmp_path_factory.mktemp("jax") / "run"
    ended(start("train", "--pairs", corpus, *OPTIONS, "--out", folder, environment=JAX))
    return folder


@pytest.fixture(scope="module")
def on_tensorflow(corpus, tmp_path_factory):
    """A run on one device, without dropout, which is drawn on each device."""
    folder = tmp_path_factory.mktemp("tensorflow") / "run"
    ended(start("train", "--pairs", corpus, *OPTIONS, "--dropout", 0, "--out", folder))
    return folder


@pytest.mark.parametrize(
    ("alone", "options"),
    [
        ("on_jax", {"environment": JAX | TWO_DEVICES}),
        *more(("on_tensorflow", {"code": ("-c", MIRRORED)})),
    ],
    ids=["jax", "tensorflow"],
)
def test_two_devices(corpus, request, tmp_path, alone, options):
    folder, one = tmp_path / "run", request.getfixturevalue(alone)
    dropout = ["--dropout", 0] if alone == "on_tensorflow" else []
    arguments = "train", "--pairs", corpus, *OPTIONS, *dropout, "--out", folder
    out, _ = ended(start(*arguments, **options))
    assert "; on 2 devices\n" in out
    np.testing.assert_allclose(losses(folder), losses(one), atol=1e-4)


@pytest.mark.parametrize("killed", [[1], *more([0, 1])], ids=str)
def test_two_processes_of_jax(corpus, on_jax, tmp_path, killed):
    """One is killed, which ends the other; the pair goes on and ends as one process does."""
    folder = tmp_path / "run"
    arguments = "train", "--pairs", corpus, *OPTIONS, "--out", folder

    for number in killed:
        processes = pair(arguments, arguments)
        saved = 0.0
        checkpoint = folder / "checkpoint.npz"
        before = checkpoint.stat().st_mtime if checkpoint.exists() else 0.0
        while saved <= before:
            assert all(process.poll() is None for process in processes)
            time.sleep(0.01)
            saved = checkpoint.stat().st_mtime if checkpoint.exists() else 0.0
        processes[number].kill()
        _, errors = processes[1 - number].communicate(timeout=60)
        assert processes[1 - number].returncode in (2, -signal.SIGABRT)
        assert errors == ENDED
        processes[number].communicate()
    outputs = [ended(process)[0] for process in pair(arguments, arguments)]
    assert "training resumes after epoch" in outputs[0]
    told = "[Gloo]", "waiting for all 2 processes of this training"
    assert all(line.startswith(told) for line in outputs[1].splitlines())
    np.testing.assert_allclose(losses(folder), losses(on_jax), atol=1e-4)


def test_two_processes_with_different_options(corpus, tmp_path):
    """The second is refused, and the run stays that of the first one."""
    folder = tmp_path / "run"
    arguments = "train", "--pairs", corpus, *OPTIONS, "--out", folder
    first, second = pair(arguments, [*arguments, "--learning-rate", 0.1])
    _, errors = second.communicate(timeout=300)
    assert second.returncode == 2
    assert "run: holds another run's model (learning_rate: 0.1, not 0.003)" in errors
    _, errors = first.communicate(timeout=300)
    assert first.returncode == 2
    assert errors == ENDED
    assert '"learning_rate": 0.003' in (folder / "config.json").read_text()


def test_trained_on_jax_and_exported_on_tensorflow(on_jax):
    texts = [source for source, _ in LINES[::7]] + ["", "four unknown words"]
    arguments = "translate", "--beam-width", 3, "--json", *texts
    own, _ = ended(start(*arguments, "--model", on_jax, environment=JAX))
    _, errors = ended(start("export", "--out", on_jax, environment=JAX), code=2)
    assert errors == "error: KERAS_BACKEND is jax: expected tensorflow, which reads its runs too\n"
    ended(start("export", "--beam-width", 3, "--out", on_jax))
    served, _ = ended(start(*arguments, "--model", on_jax / "saved_model"))
    assert [line.split('"score"')[0] for line in served.splitlines()] == [
        line.split('"score"')[0] for line in own.splitlines()
    ]


def test_a_kill_on_jax(corpus, on_jax, tmp_path):
    folder = tmp_path / "run"
    arguments = "train", "--pairs", corpus, *OPTIONS, "--out", folder
    process = start(*arguments, environment=JAX)
    while not (folder / "checkpoint.npz").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.communicate()
    out, _ = ended(start(*arguments, environment=JAX))
    assert "training resumes after epoch" in out
    with np.load(folder / "checkpoint.npz") as mine, np.load(on_jax / "checkpoint.npz") as other:
        for name in set(mine.files) - {"progress"}:
            np.testing.assert_array_equal(mine[name], other[name])


def test_several_processes_need_jax(corpus, tmp_path):
    environment = {"KERAS_DISTRIBUTION_NUM_PROCESSES": "2"}
    process = start("train", "--pairs", corpus, "--out", tmp_path, environment=environment)
    assert ended(process, code=2)[1] == (
        "error: KERAS_DISTRIBUTION_NUM_PROCESSES is set: expected KERAS_BACKEND=jax, which several "
        "processes need\n"
    )
