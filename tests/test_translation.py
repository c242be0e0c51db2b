"""The translation example at toy size, from its data to its export."""

import functools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from examples.common.splits import hash_share
from examples.translation import corpora, data, inference, pipeline, tokenizer, train
from examples.translation import model as network
from examples.translation.cli import app
from examples.translation.config import Config
from examples.translation.run import Run
from examples.translation.tokenizer import END, PAD, START, Tokenizer

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
    "--batch-size",
    "16",
    "--max-length",
    "9",
    "--dropout",
    "0.1",
]


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
        command("train", "--pairs", corpus, *OPTIONS, "--model", model, "--out", run.folder)
        command("export", "--out", run.folder, "--beam-width", 3)
        return run

    return made


@pytest.fixture(scope="module")
def run(run_of):
    return run_of("recurrent")


EVERY_MODEL = pytest.mark.parametrize("model", ["recurrent", "transformer"])


# ---------------------------------------------------------------- data


def test_emoji_names_are_split_by_emoji():
    splits = data.load("fr")
    assert len(splits.train) > 2000
    assert 0.08 < len(splits.test) / sum(map(len, splits[:3])) < 0.12
    for pair in splits.test:
        assert hash_share(pair.origin) < 0.1
    origins = [pair.origin for split in splits[:3] for pair in split]
    assert len(set(origins)) == len(origins)
    assert data.fingerprint(splits) == data.fingerprint(data.load())


def test_languages_differ_and_share_the_split():
    german, french = data.load("de"), data.load("fr")
    assert data.fingerprint(german) != data.fingerprint(french)
    both = {pair.origin for split in german[:3] for pair in split}
    tested = {pair.origin for pair in french.test} & both
    assert tested
    assert tested <= {pair.origin for pair in german.test}


def test_no_source_sentence_is_in_two_splits():
    corpus = [data.Pair(f"Line {n % 300}", f"ligne {n}", f"x:{n}") for n in range(900)]
    splits = data.load(corpus=corpus)
    sources = [{pair.source for pair in split} for split in splits[:3]]
    assert sum(map(len, sources)) == len(set.union(*sources)) == 300
    lower = [data.Pair(pair.source.lower(), *pair[1:]) for pair in corpus]
    assert [p.origin for p in data.load(corpus=lower).test] == [p.origin for p in splits.test]


def test_files_are_read_line_by_line(tmp_path):
    (tmp_path / "a").write_bytes("\ufeffcafe\u0301\u2028 x\r\n\nlast".encode())
    (tmp_path / "b").write_bytes(b"1\n2\n3\n")
    pairs = corpora.read_parallel(tmp_path / "a", tmp_path / "b")
    assert [(p.source, p.target) for p in pairs] == [("café x", "1"), ("", "2"), ("last", "3")]
    assert pairs[2].origin == f"{tmp_path / 'a'}:3"
    given = [data.Pair("a", "b", "dev:1"), data.Pair("c", "", "dev:2")]
    splits = data.load(corpus=pairs * 10, dev=given, test=given)
    assert splits.dev == splits.test == given[:1]
    assert len(splits.train) == 20
    assert splits.dropped == 12


# ---------------------------------------------------------------- tokenizer

CHARACTERS = "aébßس漢子-\u2019.#1२_[]\u200c\u0338 "


@pytest.fixture(scope="module")
def characters():
    signs = [*CHARACTERS.strip(), tokenizer.SPACE]
    pieces = ["ab", tokenizer.SPACE + "a", tokenizer.SPACE + "ab", "##ba", *signs]
    return Tokenizer([*tokenizer.SPECIAL, *pieces, *("##" + sign for sign in signs)])


@given(texts=st.lists(st.text(CHARACTERS, max_size=30), min_size=1, max_size=5))
def test_decoding_restores_the_text(characters, texts):
    ids = characters.encode(tf.constant(texts))
    assert not tf.reduce_any(ids.flat_values == tokenizer.UNK)
    assert characters.decode(ids.to_tensor()).numpy().tolist() == (
        characters.normalize(tf.constant(texts)).numpy().tolist()
    )


def test_unknown_words_and_bytes_are_one_piece_each(characters):
    texts = tf.constant([b"\xff\xfe ab", "Привет ab".encode(), b""])
    assert characters.encode(texts).to_list() == [
        [tokenizer.UNK] * 2 + [6],
        [tokenizer.UNK, 6],
        [],
    ]


def test_case_is_folded_on_demand():
    texts = ["Straße OK", "ok"]
    folded = tokenizer.learn_vocabulary(texts, 100, fold_case=True)
    assert not any(piece != piece.casefold() for piece in folded[4:])
    assert Tokenizer(folded, True).normalize(tf.constant(texts[:1])).numpy() == [b"strasse ok"]
    assert tokenizer.SPACE + "OK" in tokenizer.learn_vocabulary(texts, 100, fold_case=False)


@pytest.mark.parametrize("size", [5, 9, 30, 1000])
def test_a_vocabulary_keeps_its_size(size):
    texts = [source for source, _ in LINES]
    vocabulary = tokenizer.learn_vocabulary(texts, size, fold_case=False)
    assert len(vocabulary) <= size
    assert len(set(vocabulary)) == len(vocabulary)
    if size == 1000:
        assert tokenizer.SPACE + "three" in vocabulary


# ---------------------------------------------------------------- pipeline


@pytest.fixture(scope="module")
def batches():
    pairs = [data.Pair("a" * (n % 13 + 1), "b" * (n % 7 + 1), f"x:{n}") for n in range(50)]
    letters = [tokenizer.SPACE, "a", "b", "##a", "##b"]
    made = Tokenizer([*tokenizer.SPECIAL, *letters, tokenizer.SPACE + "a", tokenizer.SPACE + "b"])
    encoded = pipeline.encode(pairs, made, made)
    return pairs, encoded, pipeline.Batches(encoded, batch_size=8, buckets=3, seed=1)


def test_batches_have_few_fixed_shapes(batches):
    pairs, encoded, batches = batches
    lengths = pipeline.lengths(encoded)
    assert lengths.tolist() == [[len(pair.source), len(pair.target)] for pair in pairs]
    found = list(batches.epochs(0, 1).as_numpy_iterator())
    assert len(found) == batches.steps
    assert len(batches.widths) == 3
    sources = 0
    for (source, target_in), target_out in found:
        assert source.shape == target_in.shape == target_out.shape
        assert source.shape[0] == 8
        assert source.shape[1] in batches.widths
        rows = source[:, 0] != PAD
        sources += rows.sum()
        assert not target_in[~rows].any()
        assert not target_out[~rows].any()
        assert (target_in[rows, 0] == START).all()
        assert ((source == END).sum(axis=1) == rows).all()
        assert ((target_out == END).sum(axis=1) == rows).all()
        shifted = np.where(target_out[:, :-1] == END, PAD, target_out[:, :-1])
        assert (target_in[:, 1:] == shifted).all()
    assert sources == len(pairs)


def test_an_epoch_depends_on_its_number_alone(batches):
    _, _, batches = batches
    all_three = list(batches.epochs(0, 3).as_numpy_iterator())
    late = list(batches.epochs(2, 3).as_numpy_iterator())
    for one, other in zip(all_three[2 * batches.steps :], late, strict=True):
        assert all(map(np.array_equal, tf.nest.flatten(one), tf.nest.flatten(other)))
    first, second = (all_three[i * batches.steps : (i + 1) * batches.steps] for i in (0, 1))
    sources = [np.concatenate([b[0][0].ravel() for b in epoch]) for epoch in (first, second)]
    assert sources[0].shape != sources[1].shape or (sources[0] != sources[1]).any()


def test_long_pairs_are_skipped_on_demand():
    pairs = [data.Pair("a " * n, "a " * (4 - n), f"x:{n}") for n in range(1, 4)]
    made = Tokenizer([*tokenizer.SPECIAL, tokenizer.SPACE + "a"])
    assert pipeline.fit_length(pairs, made, made, limit=3, skip=False) == (pairs, 0)
    assert pipeline.fit_length(pairs, made, made, limit=2, skip=True) == ([pairs[1]], 2)


# ---------------------------------------------------------------- model


def first_step(**choices):
    """The loss of a first training step, the same by NumPy from the logits, and the model."""
    choices = {
        "units": 6,
        "encoder_units": 4,
        "embedding": 8,
        "dropout": 0.0,
        "epochs": 1,
        **choices,
    }
    config = Config("toy", "0", **choices)
    model = network.build(config, source_size=11, target_size=13)
    train.compile_model(model, config, steps=1)
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
    ],
)
def test_mixed_precision_trains(choice, precision):
    loss, wanted, model = first_step(**choice, mixed_precision=precision)
    assert loss == pytest.approx(wanted, abs=1e-3)
    assert model.compute_dtype == precision
    assert {weight.dtype for weight in model.weights} == {"float32"}


# ---------------------------------------------------------------- commands


def test_a_run_holds_what_is_needed(run, corpus):
    config = run.config()
    assert config.units == 16
    assert config.learning_rate == 3e-3
    assert config.fingerprint == data.fingerprint(data.load(corpus=corpora.read_tsv(corpus)))
    metrics = run.metrics()
    assert metrics["epochs"] == 4
    assert metrics["train_seconds"] > 0
    again = command("train", "--pairs", corpus, *OPTIONS, "--out", run.folder)
    assert "training is complete" in again.stdout
    assert run.metrics() == metrics
    other = command("train", "--pairs", corpus, *OPTIONS, "--seed", 2, "--out", run.folder, code=2)
    assert "holds another run's model (seed: 2, not 1)" in other.stderr


@EVERY_MODEL
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


def test_an_average_is_evaluated_and_exported(run, tmp_path):
    """The export gives what the mean of the last epochs' weights gives, and no other."""
    command("export", "--out", run.folder, "--to", tmp_path / "mean", "--average", "last")
    served = tf.saved_model.load(str(tmp_path / "mean")).signatures["serving_default"]
    texts, scores = tf.constant(["one, two red cat"]), {}
    for average in ("last", "none"):
        config, network, *tokenizers = inference.load(run, average)
        translate = inference.translator(network, *tokenizers, config.max_length, beam_width=5)
        scores[average] = translate(texts)["score"].numpy()
    np.testing.assert_allclose(served(text=texts)["score"], scores["last"], atol=1e-5)
    assert abs(scores["last"] - scores["none"]) > 1e-3
    command("evaluate", "--out", run.folder, "--average", "best", "--pictures", 1)
    assert run.metrics()["average"] == "best"


TEXTS = ["one, two red cat", "", "Привет мир 漢字", "  FIVE, one   black dog ", "dog \udcff"]


@EVERY_MODEL
def test_the_export_gives_the_same_numbers(run_of, model):
    run = run_of(model)
    config, network, source, target = inference.load(run)
    eager = inference.translator(network, source, target, config.max_length, beam_width=3)
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
    assert together["source_tokens"][2].numpy()[:2].tolist() == [b"[UNK]", b"[UNK]"]
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


def test_translating_lines(run):
    path = run.folder / "saved_model"
    result = CliRunner().invoke(
        app, ["translate", "--model", str(path)], input="\none, one red cat\n"
    )
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0] == ""
    assert len(result.stdout.splitlines()) == 2
    long = command("translate", "--model", path, "a", "one " * 10, code=2)
    assert long.stderr == "error: text 2 has 10 tokens, the limit is 9\n"


@pytest.mark.parametrize("name", ["model.weights.h5", "source.vocabulary.txt", "config.json"])
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


@pytest.mark.parametrize(("model", "after"), [("recurrent", 1), ("transformer", 6)])
def test_training_resumes_after_a_kill(run_of, model, after, corpus, tmp_path):
    run, killed = run_of(model), Run(tmp_path / "run")
    arguments = ["train", "--pairs", str(corpus), *OPTIONS, "--model", model]
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
