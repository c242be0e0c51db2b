"""How the translation example trains: resumed, from a file of choices, from another run."""

import csv
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from examples.translation import corpora, data, inference
from examples.translation.config import FILES, Config
from examples.translation.run import Run
from marks import eagerly, more
from translation_runs import (
    FIRST_MODEL,
    LINES,
    OPTIONS,
    ROOT,
    arrays,
    choice,
    command,
    wait_for,
    wait_for_another,
)

pytest_plugins = ["translation_fixtures"]


def test_a_run_holds_what_is_needed(run, corpus):
    config = run.config()
    assert config.units == 16
    assert config.learning_rate == 3e-3
    splits = data.load(*corpora.read(Config(pairs=corpus)))
    assert config.fingerprint == splits.fingerprint
    metrics = run.metrics()
    assert metrics["epochs"] == 4
    assert metrics["train_seconds"] > 0
    again = command("train", "--pairs", corpus, *OPTIONS, "--out", run.folder)
    assert "training is complete" in again.stdout
    assert run.metrics() == metrics
    other = command("train", "--pairs", corpus, *OPTIONS, "--seed", 2, "--out", run.folder, code=2)
    assert "holds another run's model (seed: 2, not 1)" in other.stderr


@pytest.mark.parametrize(
    ("model", "after"), [("recurrent", 1), *more(("transformer", 6), ("tied, drawn", 3))]
)
def test_training_resumes_after_a_kill(run_of, model, after, corpus, tmp_path):
    run, killed = run_of(model), Run(tmp_path / "run")
    arguments = ["train", "--pairs", str(corpus), *OPTIONS, *choice(model)]
    arguments += ["--out", str(killed.folder), "--save-every", "2"]
    process = subprocess.Popen(
        [sys.executable, "-m", "examples.translation", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
    )
    for _ in range(after):
        wait_for_another(killed.checkpoint, process.poll)
    process.kill()
    process.wait()
    progress = killed.load_checkpoint([])
    resumed = command(*arguments)
    where = f"training resumes after epoch {progress['epoch']}, step {progress['step']}"
    assert where in resumed.stdout
    # The same weights, optimizer state and seeds as without the kill.
    whole, again = arrays(run), arrays(killed)
    assert whole.keys() == again.keys()
    for name, value in whole.items():
        np.testing.assert_array_equal(again[name], value)
    assert killed.metrics()["best_epoch"] == run.metrics()["best_epoch"]


@eagerly
def test_choices_come_from_a_file_and_repeat_a_run(corpus, tmp_path, monkeypatch):
    first, second = Run(tmp_path / "first"), Run(tmp_path / "second")
    pairs = Path(shutil.copy(corpus, tmp_path / os.fsdecode(b"not-utf-8-\xff.tsv")))
    choices = {"pairs": pairs.name, "units": 13, "encoder_units": 6, "embedding": 11, "epochs": 7}
    (tmp_path / "choices.json").write_text(json.dumps({**choices, "max_length": 30, "dropout": 0}))
    monkeypatch.chdir(tmp_path)
    given = ["--epochs", 1, "--units", 17]  # which win
    command("train", "--config", tmp_path / "choices.json", *given, "--out", first.folder)
    config = first.config()
    assert (config.units, config.epochs, config.embedding, config.patience) == (17, 1, 11, 0)
    assert config.pairs == str(pairs)
    monkeypatch.chdir(ROOT)
    command("train", "--config", first.folder / "config.json", "--out", second.folder)
    assert second.config() == dataclasses.replace(config, data=corpora.printable(pairs))
    for name, value in arrays(first).items():
        np.testing.assert_array_equal(arrays(second)[name], value)
    # And the command that goes on is the same.
    again = command("train", "--config", first.folder / "config.json", "--out", first.folder)
    assert "training is complete" in again.stdout


def test_a_run_of_before_is_known_without_its_corpus(run, corpus, tmp_path):
    shutil.copytree(run.folder, tmp_path / "run")
    path = tmp_path / "run" / "config.json"
    kept = json.loads(path.read_text())
    for name in (*FILES, "language", "start_from"):
        del kept[name]
    path.write_text(json.dumps(kept))
    again = command("train", "--pairs", corpus, *OPTIONS, "--out", path.parent)
    assert "training is complete" in again.stdout


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """A corpus with words that the vocabularies lack."""
    path = tmp_path_factory.mktemp("other") / "pairs.tsv"
    path.write_text("".join(f"oh, {s}\tô, {t}\n" for s, t in LINES), "utf-8")
    return path


def losses(run):
    with (run.folder / "history.csv").open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


@FIRST_MODEL
def test_a_run_starts_from_another(run_of, model, other, tmp_path):
    """With a learning rate of almost nothing the first weights are those that are kept."""
    first, tuned = run_of(model), Run(tmp_path / "tuned")
    still = ["--pairs", other, "--epochs", 1, "--learning-rate", 1e-12]
    command("train", *still, "--start-from", first.folder, "--out", tuned.folder)
    before, after = inference.load(first), inference.load(tuned)
    for mine, theirs in zip(after[1].weights, before[1].weights, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-6)
    assert [made.model for made in after[2:]] == [made.model for made in before[2:]]
    config = after[0]
    assert (config.model, config.units, config.embedding, config.dropout) == (model, 16, 8, 0.1)
    assert config.start_from == str(first.folder)
    untrained = np.log(before[3].size)  # the loss of equal probabilities
    assert losses(tuned)[0] < untrained - 0.1


def test_fine_tuning_resumes_without_its_start(run, other, tmp_path):
    undisturbed, killed = Run(tmp_path / "undisturbed"), Run(tmp_path / "killed")
    start, moved = (shutil.copytree(run.folder, tmp_path / name) for name in ("start", "moved"))
    arguments = ["train", "--pairs", str(other), "--epochs", "3", "--batch-tokens", "100"]
    arguments += ["--save-every", "2", "--start-from"]
    command(*arguments, start, "--out", undisturbed.folder)
    process = subprocess.Popen(
        [sys.executable, "-m", "examples.translation", *arguments, start, "--out", killed.folder],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
    )
    wait_for_another(killed.checkpoint, process.poll)
    process.kill()
    process.wait()
    shutil.rmtree(start)
    (moved / "model.weights.h5").unlink()
    assert "training resumes after" in command(*arguments, moved, "--out", killed.folder).stdout
    for name, value in arrays(undisturbed).items():
        np.testing.assert_array_equal(arrays(killed)[name], value)
    for options in ([start, "--out", killed.folder], [start]):  # the start is gone
        first = [] if "--out" in options else ["--out", killed.folder]
        again = command("train", *first, *arguments[1:], *options)
        assert "training is complete" in again.stdout
    broken = command(*arguments, moved, "--out", tmp_path / "new", code=2)
    assert f"{moved / 'model.weights.h5'}: no such file" in broken.stderr
    assert not (tmp_path / "new").exists()
    # Other weights than at first, and another run than one from nothing.
    assert losses(killed)[-1] < losses(killed)[0]
    config = killed.config()
    options = ["--units", config.units, "--encoder-units", config.encoder_units]
    options += ["--embedding", config.embedding, "--dropout", config.dropout]
    nothing = command(*arguments[:-1], *options, "--out", killed.folder, code=2)
    assert "another run's model (fingerprint: " in nothing.stderr


def test_an_interrupt_keeps_the_best_model(corpus, tmp_path):
    stopped = Run(tmp_path / "run")

    def interrupt():
        wait_for(stopped.checkpoint, lambda: None)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    arguments = ["--pairs", corpus, *OPTIONS, "--epochs", 1000, "--out", stopped.folder]
    result = command("train", *arguments, code=130)
    thread.join()
    assert "stopped: the best model so far is in" in result.stdout
    assert stopped.metrics()["epochs"] >= 1
    inference.load(stopped)
