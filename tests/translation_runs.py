"""Runs of the translation example at toy size, for the tests of its parts."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from examples.translation.cli import app
from marks import more

ROOT = Path(__file__).parents[1]
NUMBERS = {"one": "un", "two": "deux", "three": "trois", "four": "quatre", "five": "cinq"}
THINGS = {"red cat": "chat rouge", "black dog": "chien noir", "red dog": "chien rouge"}
LINES = [
    (f"{n}, {m} {thing}", f"{NUMBERS[n]}, {NUMBERS[m]} {THINGS[thing]}")
    for n in NUMBERS
    for m in NUMBERS
    for thing in THINGS
]
OPTIONS = [
    "--units",
    "16",
    "--encoder-units",
    "8",
    "--embedding",
    "8",
    "--epochs",
    "4",
    "--batch-tokens",
    "100",
    "--max-length",
    "30",
    "--dropout",
    "0.1",
]


TIED = ["--joint-vocabulary", "--tie-embeddings"]
CHOICES = {
    "transformer": ["--model", "transformer", "--layers", "1"],
    "no attention": ["--attention", "none"],
    # The width of the state is not that of the embedding.
    "tied, drawn": [*TIED, "--attention", "luong", "--units", "12", "--subword-sampling", "0.3"],
}


def choice(model):
    return CHOICES.get(model) or ["--model", model]


def command(*arguments, code=0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


EVERY_MODEL = pytest.mark.parametrize("model", ["recurrent", "transformer"])
FIRST_MODEL = pytest.mark.parametrize("model", ["recurrent", *more("transformer")])


def arrays(run):
    with np.load(run.checkpoint) as file:
        return {name: file[name] for name in file.files if name != "progress"}


def wait_for(path, until):
    while not path.exists():
        assert until() is None, "training ended before its first epoch"
        time.sleep(0.005)


def wait_for_another(path, until):
    """Waits until the file is there, and then until it is another one."""
    before = path.stat().st_ino if path.exists() else None
    wait_for(path, until)
    while path.stat().st_ino == before:
        assert until() is None, "training ended too early"
        time.sleep(0.001)


SCORED = ["one, two red cat", "five, one black dog"]


def from_run(run, *options, code=0):
    """The rows of lines that the run itself translates, with options of the search."""
    given = ["--model", run.folder, "--json", *options, *SCORED]
    result = command("translate", *given, code=code)
    return [json.loads(line) for line in result.stdout.splitlines()] if code == 0 else result
