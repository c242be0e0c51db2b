"""What the examples share in training, on a small network: stopping anywhere and going on."""

import contextlib
import csv
import dataclasses
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from examples.common import files, fit
from examples.common.config import TRAINING, Config
from examples.common.errors import UserError
from examples.common.options import option
from examples.common.run import RunFolder

ROOT = Path(__file__).parents[1]
STEPS = 7  # in an epoch


@dataclasses.dataclass(frozen=True)
class Choices(Config):
    epochs: int = option(3, TRAINING, "Passes over all batches.")
    dropout: float = 0.5
    learning_rate: float = 0.01

    def check(self):
        pass


class Run(RunFolder):
    config_class = Choices
    names = ("config.json", "model.weights.h5", "checkpoint.npz")
    score = "bleu"


@contextlib.contextmanager
def files_of_at_most(size):
    """To write beyond fails, as on a full disk."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limit[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)


def network():
    layers = [keras.Input((3,)), keras.layers.Dense(97), keras.layers.Dropout(0.5)]
    return keras.Sequential([*layers, keras.layers.Dense(1)])


class Batches:
    """Random batches, which end in an error after `alive` steps, if that is a number."""

    steps = STEPS

    def __init__(self, alive=None):
        self.alive, self.given = alive, 0

    def epochs(self, first, last, skip=0):
        shapes = tf.TensorSpec((5, 3)), tf.TensorSpec((5, 1))
        self.given = 0

        def draw():
            for number in range(first * STEPS + skip, last * STEPS):
                if self.given == self.alive:
                    raise OSError("power failure")
                self.given += 1
                rng = np.random.default_rng(number)
                yield rng.normal(size=(5, 3)), rng.normal(size=(5, 1))

        return tf.data.Dataset.from_generator(draw, output_signature=shapes)


SCORES = [10.0, 40.0, 20.0, 39.0, 39.8, 12.0, 11.0, 10.0, 9.0]


def train(folder, batches=None, scores=SCORES, **choices):
    """Trains or goes on; returns the run and its progress."""
    started, config, run = time.monotonic(), Choices(**choices), Run(folder)
    keras.utils.set_random_seed(3)
    model = network()
    model.compile(fit.optimizer(config, STEPS), "mse", metrics=["mae"])
    model.optimizer.build(model.trainable_variables)
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(config.to_json())

    def score(epoch):
        return scores[epoch], 0.0, "a sample"

    checkpoints = fit.Checkpoints(run, config, score, started)
    return run, fit.fit(model, batches or Batches(), checkpoints)


def arrays(run):
    with np.load(run.checkpoint) as file:
        return {name: file[name] for name in file.files if name != "progress"}


def history(run):
    with (run.folder / "history.csv").open() as file:
        return [{**row, "seconds": None} for row in csv.DictReader(file)]


def assert_equal(run, other):
    """Every variable is the same to the bit, and so is the log but for its seconds."""
    mine, theirs = arrays(run), arrays(other)
    assert mine.keys() == theirs.keys()
    for name, value in mine.items():
        np.testing.assert_array_equal(value, theirs[name])
    assert history(run) == history(other)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return train(tmp_path_factory.mktemp("undisturbed"))[0]


# ---------------------------------------------------------------- locks

HOLD = """
import sys, time, pathlib
from examples.common.files import lock
with lock(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_lock_names_its_process_and_ends_with_it(tmp_path):
    folder = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
    )
    assert process.stdout.readline() == b"held\n"
    (folder / ".77.checkpoint.npz").write_bytes(b"half")
    with (
        pytest.raises(UserError, match=f"run: process {process.pid} is at work in it"),
        files.lock(folder),
    ):
        pass
    assert (folder / ".77.checkpoint.npz").exists()
    process.kill()
    process.wait()
    process.stdout.close()
    (folder / "precious").write_text("precious")
    with files.lock(folder):
        assert sorted(path.name for path in folder.iterdir()) == ["lock", "precious"]
    with files.lock(folder, wait=True):
        pass
    assert (folder / "lock").read_bytes() == b""


def test_a_lock_leaves_no_new_folder(tmp_path):
    with contextlib.suppress(UserError), files.lock(tmp_path / "new" / "run"):
        raise UserError("no such data")
    assert not (tmp_path / "new" / "run").exists()
    (tmp_path / "file").write_text("precious")
    with (
        pytest.raises(UserError, match=r"file/run/lock: cannot be written \(Not a directory\)"),
        files.lock(tmp_path / "file" / "run"),
    ):
        pass


# ---------------------------------------------------------------- full disks


@pytest.mark.parametrize("size", [0, 1, 2047, 4096, 8192])
def test_weights_on_a_full_disk(tmp_path, size):
    run, model, other = Run(tmp_path), network(), network()
    run.save_weights(model)
    before = run.weights.read_bytes()
    with files_of_at_most(size), pytest.raises(UserError, match="cannot be written"):
        run.save_weights(other)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        run.weights.name: before
    }
    other.load_weights(run.weights)
    for mine, theirs in zip(other.weights, model.weights, strict=True):
        np.testing.assert_array_equal(mine, theirs)


# ---------------------------------------------------------------- stopping and going on


@pytest.mark.parametrize(
    ("alive", "save_every"), [(0, 3), (4, 1), (4, 3), (STEPS, 3), (STEPS + 3, 2), (STEPS + 3, 100)]
)
def test_training_goes_on_from_the_very_step(undisturbed, tmp_path, alive, save_every):
    with pytest.raises(tf.errors.OpError, match="power failure"):
        train(tmp_path, Batches(alive), save_every=save_every)
    batches = Batches()
    run, progress = train(tmp_path, batches, save_every=save_every)
    assert progress["epoch"] == 3
    assert_equal(run, undisturbed)


def test_few_steps_are_done_again(tmp_path, capsys):
    with pytest.raises(tf.errors.OpError, match="power failure"):
        train(tmp_path, Batches(STEPS + 5), save_every=2)
    assert Run(tmp_path).load_checkpoint([])["step"] == 4
    with pytest.raises(tf.errors.OpError, match="power failure"):
        train(tmp_path, Batches(2), save_every=2)
    assert "training resumes after epoch 1, step 4" in capsys.readouterr().out
    assert Run(tmp_path).load_checkpoint([])["step"] == 6
    train(tmp_path, save_every=2)
    assert train(tmp_path)[1]["epoch"] == 3
    assert "training is complete" in capsys.readouterr().out


def test_more_epochs_may_be_asked_for(undisturbed, tmp_path):
    train(tmp_path, epochs=1)
    run, progress = train(tmp_path, epochs=3)
    assert progress["epoch"] == 3
    rates = [float(row["learning_rate"]) for row in history(run)]
    # The rate is that of the epochs that there are by then: 0 at the end of one, and later of all.
    assert rates[0] == pytest.approx(0)
    assert rates[1:] == [float(row["learning_rate"]) for row in history(undisturbed)][1:]
    run.check(Choices(epochs=5, save_every=2, patience=1, keep=2))
    with pytest.raises(UserError, match=r"another run's model \(seed: 2, not 1\)"):
        run.check(Choices(seed=2))


@pytest.mark.parametrize(("patience", "epochs"), [(0, 9), (1, 3), (2, 4), (3, 5)])
def test_training_stops_early(tmp_path, patience, epochs):
    """The best of SCORES is the second; those a little below it are kept as the best model."""
    with pytest.raises(tf.errors.OpError, match="power failure"):
        train(tmp_path, Batches(2 * STEPS), epochs=9, patience=patience)
    for _ in range(2):
        run, progress = train(tmp_path, epochs=9, patience=patience)
        assert progress["epoch"] == epochs
        assert len(history(run)) == epochs
        assert (progress["best_epoch"], progress["best_bleu"]) == (5 if epochs > 4 else 2, 40.0)


def test_the_log_has_each_epoch_once(tmp_path):
    for alive in (STEPS + 2, 3, 2 * STEPS, None):
        with contextlib.suppress(tf.errors.OpError):
            run, _ = train(tmp_path, Batches(alive), epochs=4, save_every=2)
    rows = history(run)
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3, 4]
    assert [float(row["bleu"]) for row in rows] == SCORES[:4]
    columns = ["epoch", "loss", "mae", "bleu", "exact", "learning_rate", "seconds"]
    assert list(rows[0]) == columns
    seen = {}
    for file in (tmp_path / "logs").rglob("*tfevents*"):
        for event in tf.compat.v1.train.summary_iterator(str(file)):
            for value in event.summary.value:
                seen[value.tag, event.step] = float(tf.make_ndarray(value.tensor))
    assert {step for tag, step in seen if tag == "epoch_bleu"} >= {1, 2, 3}
    assert seen["epoch_loss", 3] == pytest.approx(float(rows[3]["loss"]))


def test_the_mean_of_epochs(tmp_path):
    run, _ = train(tmp_path, epochs=5, keep=2)
    kept = {int(path.name.split(".")[0]): path for path in (tmp_path / "epochs").iterdir()}
    assert sorted(kept) == [2, 4, 5]  # the last are 4 and 5, the best 2 and 5
    weights = {}
    for number, path in kept.items():
        model = network()
        model.load_weights(path)
        weights[number] = [weight.numpy() for weight in model.weights]
    for average, numbers in {"last": [4, 5], "best": [2, 5], "none": [5]}.items():
        run.load_weights(model, average)
        for weight, *each in zip(model.weights, *(weights[n] for n in numbers), strict=True):
            np.testing.assert_allclose(weight, sum(each) / len(each), rtol=1e-6, atol=1e-7)
    assert np.ptp([weights[n][0] for n in kept], axis=0).max() > 0.01


def test_nothing_to_average(tmp_path):
    (tmp_path / "config.json").write_text(Choices().to_json())
    with pytest.raises(UserError, match="epochs: no weights to average are kept there"):
        Run(tmp_path).load_weights(network(), "last")
