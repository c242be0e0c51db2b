"""How the translation example searches: options, samples, scores and ensembles."""

import re
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from examples.common.special import END, START
from examples.translation import corpora, inference
from examples.translation.run import Run
from examples.translation.search import Search
from marks import eagerly
from translation_runs import SCORED, command, from_run

pytest_plugins = ["translation_fixtures"]


@eagerly
def test_a_beam_wider_than_the_vocabulary(run):
    config, network, source, target = inference.load(run)
    size = target.size
    texts = tf.constant(["one, two red cat"])
    wide, all_of_it = (
        inference.translator(network, source, target, config.max_length, Search(beam_width=width))(
            texts
        )
        for width in (size + 40, size)
    )
    assert wide["n_best_score"].shape == (1, size)
    np.testing.assert_array_equal(wide["n_best_text"], all_of_it["n_best_text"])


@pytest.fixture(scope="module")
def brief(run, tmp_path_factory):
    """The run with a bias towards the end, so that its translations end before the limit."""
    folder = tmp_path_factory.mktemp("brief") / "run"
    shutil.copytree(run.folder, folder)
    brief = Run(folder)
    config, model, *tokenizers = inference.load(brief)
    translate = inference.translator(model, *tokenizers, config.max_length, Search())
    for _ in range(10):
        model.head.bias.assign(model.head.bias + 2.0 * (np.arange(model.head.units) == END))
        if (translate(tf.constant(SCORED))["tokens"] != "").numpy().sum(axis=1).max() < 12:
            model.save_weights(brief.weights)
            return brief
    raise AssertionError("no bias ends a translation")


@eagerly
def test_options_of_the_search(brief):
    plain = from_run(brief)
    for row, other in zip(plain, from_run(brief, "--min-length", 12), strict=True):
        assert len(row["tokens"]) < 12 <= len(other["tokens"])
    for row in from_run(brief, "--prefix", "Deux,"):
        assert row["text"].startswith("Deux,")
    for row in from_run(brief, "--no-repeat-ngram", 1, "--min-length", 12):
        assert len(set(row["tokens"])) == len(row["tokens"]) >= 12
    covered = from_run(brief, "--coverage-penalty", 2)
    assert all(row["score"] < other["score"] for row, other in zip(covered, plain, strict=True))
    told = from_run(brief, "--prefix", "deux " * 100, code=2).stderr
    assert re.fullmatch(r"error: --prefix: \d+ tokens, expected at most 30\n", told)


@pytest.mark.parametrize("name", ["--length-penalty", "--temperature"])
def test_settings_of_the_search_are_finite(run, name):
    told = from_run(run, name, "inf", code=2).stderr
    assert told == f"error: {name}: inf; expected a finite number\n"


def test_what_is_evaluated_is_no_sample(run):
    told = command("evaluate", "--out", run.folder, "--sample", code=2).stderr
    assert told.startswith("error: --sample: expected a search")


@eagerly
def test_samples_are_drawn_and_sorted(brief):
    options = ["--sample", "--beam-width", 6, "--n-best", 6]
    rows = from_run(brief, *options, "--temperature", 3)
    for row in rows:
        found, scores = zip(*(one.values() for one in row["n_best"]), strict=True)
        assert len(set(found)) > 1
        assert list(scores) == sorted(scores, reverse=True)
    assert from_run(brief, *options, "--temperature", 3) == rows
    assert from_run(brief, *options, "--temperature", 3, "--seed", 2) != rows
    greedy = [row["score"] for row in from_run(brief, "--beam-width", 1)]
    cold = [row["score"] for row in from_run(brief, *options, "--temperature", 1e-4)]
    np.testing.assert_allclose(cold, greedy, rtol=1e-3)


def test_an_exported_sampler_draws_others_in_each_call(brief, tmp_path):
    options = ["--sample", "--temperature", 3, "--to", tmp_path / "sampler"]
    command("export", "--out", brief.folder, *options)
    served = tf.saved_model.load(str(tmp_path / "sampler")).signatures["serving_default"]
    one, other = (served(text=tf.constant(SCORED))["n_best_text"].numpy() for _ in "12")
    assert one.shape == (2, 5)
    assert (one != other).any()


@eagerly
def test_pairs_are_scored_as_by_teacher_forcing(run, tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text("one, two red cat\tun, deux chat rouge\nfive\tcinq chien chien\n")
    found = command("translate", "--model", run.folder, "--score", path).stdout.split()
    _, model, source, target = inference.load(run)
    for score, pair in zip(found, corpora.read_tsv(path), strict=True):
        (ids,), (said,) = (
            tokenizer.encode(tokenizer.normalize(tf.constant([text]))).to_list()
            for tokenizer, text in ((source, pair.source), (target, pair.target))
        )
        logits = model((np.array([[*ids, END]]), np.array([[START, *said]])))
        losses = keras.losses.sparse_categorical_crossentropy(
            np.array([[*said, END]]), logits, from_logits=True
        )
        assert float(score) == pytest.approx(-float(np.sum(losses)), abs=1e-3)
    both = ["--model", run.folder, "--score", path, "--json"]
    assert command("translate", *both, code=2).stderr.startswith("error: --score: expected no ")
    exported = run.folder / "saved_model"
    told = command("translate", "--model", exported, "--score", path, code=2).stderr
    assert told.startswith(f"error: {exported}")
    assert told.count("\n") == 1
