"""Trained runs of the translation example, as fixtures of the files that name this plugin."""

import functools

import pytest

from examples.translation.run import Run
from translation_runs import LINES, OPTIONS, choice, command


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("corpus") / "pairs.tsv"
    path.write_text("".join(f"{s}\t{t}\tCC-BY 2.0\n" for s, t in LINES), "utf-8")
    return path


@pytest.fixture(scope="module")
def run_of(corpus, tmp_path_factory):
    """Gives a trained and exported run of a model, one for each."""

    @functools.cache
    def made(model):
        run = Run(tmp_path_factory.mktemp("run") / "folder")
        command("train", "--pairs", corpus, *OPTIONS, *choice(model), "--out", run.folder)
        command("export", "--out", run.folder, "--beam-width", 3)
        return run

    return made


@pytest.fixture(scope="module")
def run(run_of):
    return run_of("recurrent")
