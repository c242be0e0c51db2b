"""The translation example: bad input ends in one clear line and exit code 2, and harms nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from examples.common import files
from examples.common.errors import UserError
from examples.translation import data
from examples.translation.cli import app
from examples.translation.config import Config
from examples.translation.run import Run

ROOT = Path(__file__).parents[1]
PAIRS = "".join(f"a {n}\tun {n}\n" for n in range(100))

TIED = ["--joint-vocabulary", "--tie-embeddings"]


def fail(*arguments) -> str:
    """The one line on stderr of a command that must end with exit code 2."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 2, result.output
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("error: ")
    return result.stderr


def snapshot(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def pairs(tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text(PAIRS, "utf-8")
    return path


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, ": no such file"),
        (b"", ": the file is empty"),
        (b"\n \n", ": the file is empty"),
        (b"a\tb\nc\t\xff\xfe\n", ":2: not UTF-8 (byte 0xff at position 3)"),
        (b"a\tb\nc d\n", ":2: one column"),
    ],
)
def test_bad_pairs_file(tmp_path, content, told):
    path = tmp_path / "pairs.tsv"
    if content is not None:
        path.write_bytes(content)
    line = fail("train", "--pairs", path, "--out", tmp_path / "run")
    assert f"{path}{told}" in line
    assert not (tmp_path / "run").exists()


def test_a_folder_as_a_pairs_file(tmp_path):
    assert f"{tmp_path}: cannot be read" in fail("train", "--pairs", tmp_path)


def test_files_of_different_length(tmp_path):
    source, target = tmp_path / "x.en", tmp_path / "x.fr"
    source.write_text("a\nb\nc\n")
    target.write_text("a\nb\n")
    line = fail("train", "--source", source, "--target", target)
    assert f"{target}:3: line missing: {source} has 3 lines, {target} has 2" in line


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--language", "xx"], "unknown language 'xx': expected one of es, "),
        (["--language", "en"], "unknown language 'en'"),
        (["--language", "de", "--pairs", "PAIRS"], "--language is for the emoji names"),
        (["--source", "PAIRS"], "--source needs --target too"),
        (["--dev-target", "PAIRS"], "--dev-target needs --dev-source too"),
        (["--pairs", "PAIRS", "--target", "PAIRS"], "exclude each other"),
        (["--encoder-units", "7"], "--encoder-units 7: expected an even number"),
        (["--layers", "0"], "--layers 0: expected an integer from 1 to 100"),
        (
            ["--model", "transformer", "--embedding", "30"],
            "--embedding 30: expected an even multiple of --heads, 4",
        ),
        (
            ["--model", "transformer", "--attention", "none"],
            "--attention none: expected another choice with --model transformer",
        ),
        (["--subword-sampling", "1.1"], "--subword-sampling 1.1: expected a number from 0 to 1"),
        (["--tie-embeddings"], "--tie-embeddings True: expected --joint-vocabulary beside it"),
        (
            [*TIED, "--attention", "bahdanau", "--units", "64"],
            "--units 64: expected --embedding, 256, with --tie-embeddings",
        ),
        (["--epochs", "0"], "--epochs 0: expected an integer from 1 to 1000000"),
        (["--learning-rate", "inf"], "--learning-rate inf: expected a number above 0"),
        (["--dropout", "1"], "--dropout 1.0: expected"),
        (["--seed", "0"], "--seed 0: expected an integer from 1 to 4294967295"),
        (["--patience", "-1"], "--patience -1: expected an integer from 0 to 1000000"),
        (["--units", "10000000"], "--units 10000000: expected an integer from 1 to 16384"),
        (["--max-length", "1000000"], "--max-length 1000000: expected an integer from 1 to 4096"),
        (["--batch-tokens", f"{10**12}"], f"--batch-tokens {10**12}: expected an integer from"),
        (["--epochs", f"{10**20}"], f"--epochs {10**20}: expected an integer from 1 to 1000000"),
        (["--vocabulary-size", f"{10**11}"], f"--vocabulary-size {10**11}: expected an integer"),
        (["--pairs", "PAIRS", "--vocabulary-size", "4"], "--vocabulary-size 4: expected at least"),
    ],
)
def test_bad_options(tmp_path, pairs, options, told):
    options = [pairs if option == "PAIRS" else option for option in options]
    assert told in fail("train", *options, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, ": cannot be read (No such file or directory)"),
        ("", ": not JSON (Expecting value: line 1 column 1 (char 0))"),
        ("[" * 100_000, ": not JSON (maximum recursion depth exceeded"),
        ("\udcff", ": not JSON (Expecting value"),
        ("[1]", ": expected a JSON object with options and their values"),
        ('{"unit": 7}', ": unknown key 'unit'; did you mean units?"),
        ('{"batch-tokens": 7}', ": unknown key 'batch-tokens'; did you mean batch_tokens?"),
        ('{"a\\nb": 7}', ": unknown key 'a\\nb'\n"),
        ('{"units": "many"}', ': units is "many"; expected an integer'),
        ('{"units": true}', ": units is true; expected an integer"),
        ('{"units": null}', ": units is null; expected an integer"),
        ('{"units": 7.0}', ": units is 7.0; expected an integer"),
        ('{"dropout": "0.1"}', ': dropout is "0.1"; expected a number'),
        ('{"jit": 1}', ": jit is 1; expected true or false"),
        ('{"language": ["de"]}', ': language is ["de"]; expected a string or null'),
        ('{"pairs": 7}', ": pairs is 7; expected a string or null"),
        ('{"model": {}}', ": model is {}; expected recurrent or transformer"),
        ('{"encoder_units": 7}', "error: --encoder-units 7: expected an even number"),
    ],
)
def test_bad_choices_in_a_file(tmp_path, pairs, content, told):
    path = tmp_path / "choices.json"
    if content is not None:
        path.write_bytes(content.encode("utf-8", "surrogateescape"))
    line = fail("train", "--pairs", pairs, "--config", path, "--out", tmp_path / "run")
    assert told in line
    assert str(path) in line or told.startswith("error: ")
    assert not (tmp_path / "run").exists()


@pytest.fixture
def other(tmp_path):
    """A run to start from, as far as its choices."""
    config = Config("other", "0123", units=17, fold_case="none")
    run = tmp_path / "other"
    run.mkdir()
    (run / "config.json").write_text(config.to_json())
    return run


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--units", "19"], "--units 19: expected 17, as in the run of --start-from"),
        (["--model", "transformer"], "--model transformer: expected 'recurrent', as in the run"),
        (["--fold-case", "both"], "--fold-case both: expected 'none', as in the run"),
        (["--vocabulary-size", "300"], "--vocabulary-size 300: expected 8000, as in the run"),
        (["--source-model", "x.model"], "x.model: expected '', as in the run of --start-from"),
        ([], "source.model: damaged, cannot be read"),
    ],
)
def test_nothing_to_start_from(tmp_path, pairs, other, options, told):
    before, out = snapshot(tmp_path), tmp_path / "run"
    line = fail("train", "--pairs", pairs, "--start-from", other, *options, "--out", out)
    assert told in line
    assert snapshot(tmp_path) == before
    assert not out.exists()


def test_weights_that_are_not_numbers_are_not_kept(tmp_path, pairs):
    run = Run(tmp_path / "run")
    options = ["--epochs", "2", "--units", "8", "--encoder-units", "8", "--embedding", "8"]
    start = ["train", "--pairs", pairs, *options, "--out", run.folder]
    line = fail(*start, "--learning-rate", "1e38")
    assert "weights have become infinite or not a number: train into another folder with" in line
    assert not run.weights.exists()
    assert not run.checkpoint.exists()


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"KERAS_BACKEND": "none"}, "KERAS_BACKEND=none: cannot be imported (Unable to import"),
        (
            {"KERAS_BACKEND": "jax", "KERAS_DISTRIBUTION_NUM_PROCESSES": "two"},
            "KERAS_DISTRIBUTION_*: cannot be understood (invalid literal for int()",
        ),
    ],
)
def test_an_environment_that_is_not_understood(tmp_path, pairs, variables, told):
    command = [sys.executable, "-m", "examples.translation", "train", "--pairs", pairs]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    out = ["--out", tmp_path / "run"]
    result = subprocess.run([*command, *out], env=environment, capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr.startswith(f"error: {told}")
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("named", ["in the file", "before it", "behind it"])
def test_a_file_wins_over_the_run_to_start_from(tmp_path, pairs, other, named):
    path = tmp_path / "choices.json"
    start = {"start_from": str(other)} if named == "in the file" else {}
    path.write_text(json.dumps({"units": 19, **start}))
    options = {
        "in the file": ["--config", path],
        "before it": ["--start-from", other, "--config", path],
        "behind it": ["--config", path, "--start-from", other],
    }[named]
    line = fail("train", "--pairs", pairs, *options, "--out", tmp_path / "run")
    assert "--units 19: expected 17, as in the run of --start-from" in line


def test_a_start_that_is_no_other_run(tmp_path, pairs, other):
    def line(start):
        return fail("train", "--pairs", pairs, "--start-from", start, "--out", other)

    assert f"{tmp_path}: holds no run (no config.json): train first" in line(tmp_path)
    assert f"--start-from {other}: expected another run than that of --out" in line(other)
    (tmp_path / "link").symlink_to(other)
    assert "expected another run than that of --out" in line(tmp_path / "link")
    (other / "config.json").write_text("{")
    assert f"{other / 'config.json'}: not the config of such a run" in line(other)


def test_a_sentence_over_the_limit_names_file_and_line(tmp_path, pairs):
    with pairs.open("a", encoding="utf-8") as file:
        file.write("short\t" + "un " * 41 + "\n")
    line = fail("train", "--pairs", pairs, "--out", tmp_path / "run")
    assert f"{pairs}:101: the target sentence has 41 tokens, the limit is 40" in line
    assert not (tmp_path / "run").exists()


def test_a_corpus_that_leaves_a_split_empty():
    pairs = [data.Pair("a", "b", "x:1"), data.Pair("c", "d", "x:2")]
    with pytest.raises(UserError, match="no development pair is left of 4 pairs"):
        data.load(data.ParallelCorpus(lambda: pairs), test=lambda: pairs)


@pytest.mark.parametrize(
    ("existing", "told"),
    [
        ({"config.json": Config("other", "0123").to_json()}, "holds another run's model"),
        ({"config.json": '{"what": 1}'}, "config.json: not the config of such a run"),
        ({"config.json": "{"}, "config.json: not the config of such a run"),
        ({"checkpoint.npz": "precious"}, "holds checkpoint.npz, which is not of this run"),
        ({"test.tsv": "precious"}, "holds test.tsv, which is not of this run"),
    ],
)
def test_a_folder_that_is_not_ours_stays_as_it_is(tmp_path, pairs, existing, told):
    out = tmp_path / "run"
    out.mkdir()
    for name, content in existing.items():
        (out / name).write_text(content)
    before = snapshot(out)
    line = fail("train", "--pairs", pairs, "--out", out)
    assert told in line
    assert str(out) in line
    assert snapshot(out) == before


def test_a_file_in_place_of_the_folder(tmp_path, pairs):
    assert f"{pairs}: not a folder" in fail("train", "--pairs", pairs, "--out", pairs)
    assert pairs.read_text() == PAIRS


def test_a_folder_in_which_another_process_trains(tmp_path, pairs):
    out = tmp_path / "run"
    with files.lock(out):
        line = fail("train", "--pairs", pairs, "--out", out)
        assert f"{out}: process {os.getpid()} is at work in it" in line
        assert list(snapshot(out)) == ["lock"]
    assert not out.exists()


@pytest.mark.parametrize("command", ["evaluate", "export"])
def test_a_folder_without_a_run(tmp_path, command):
    assert "holds no run (no config.json): train first" in fail(command, "--out", tmp_path)


def test_nothing_to_translate_with(tmp_path):
    assert f"{tmp_path / 'x'}: no such folder" in fail("translate", "--model", tmp_path / "x", "a")
    assert "neither an exported model" in fail("translate", "--model", tmp_path, "a")


def test_a_damaged_export(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"\x0b\xadmodel")
    assert "not an exported translator, or damaged" in fail("translate", "--model", tmp_path, "a")


@pytest.mark.parametrize("kept", [0, 1, 100, 0.5, 0.999])
def test_a_truncated_checkpoint(tmp_path, kept):
    import keras

    run = Run(tmp_path)
    variables = [keras.Variable([[1.0, 2.0]]), keras.Variable(3)]
    run.save_checkpoint(variables, {"epoch": 7})
    whole = run.checkpoint.read_bytes()
    assert run.load_checkpoint(variables) == {"epoch": 7}
    damaged = whole[: int(kept * len(whole)) if kept < 1 else kept]
    run.checkpoint.write_bytes(damaged)
    with pytest.raises(UserError, match=r"checkpoint\.npz: damaged, cannot be read"):
        run.load_checkpoint(variables)
    assert run.checkpoint.read_bytes() == damaged


def test_a_checkpoint_of_another_model(tmp_path):
    import keras

    run = Run(tmp_path)
    run.save_checkpoint([keras.Variable([1.0])], {"epoch": 7})
    with pytest.raises(UserError, match="shapes do not fit"):
        run.load_checkpoint([keras.Variable([1.0, 2.0])])
    with pytest.raises(UserError, match="damaged"):
        run.load_checkpoint([keras.Variable([1.0]), keras.Variable([2.0])])


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    files.write(path, "old")

    def half(beside):
        beside.write_text("ha")
        raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match="file: cannot be written"):
        files.write_with(path, half)
    assert snapshot(tmp_path) == {"file": b"old"}
