"""The benchmark against joeynmt, end to end: all of it that needs no joeynmt."""

import json
import random
import sys
from pathlib import Path

import pytest
import sentencepiece

from benchmarks.end_to_end import joeynmt, ours, programs, result
from benchmarks.end_to_end.__main__ import parse, prepare
from examples.common.tokenizer import SPECIAL, Tokenizer, learn

WORDS = {"Hund": "dog", "Katze": "cat", "rot": "red", "groß": "big", "läuft": "runs", "der": "the"}

# What joeynmt 2.3 printed, as `programs.run` writes it down, less what does not matter.
LOGS = Path(__file__).parent / "fixtures"


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """Of a corpus of 89 pairs, and 2 that have no words, with 13 to score."""
    folder = tmp_path_factory.mktemp("end_to_end")
    draw = random.Random(1)
    for split, count in (("train", 89), ("val", 13)):
        lines = [
            [draw.choice(list(WORDS)) for _ in range(draw.randint(2, 7))] for _ in range(count)
        ]
        lines = [[], *lines, []]
        reversed_lines = [[WORDS[word] for word in line[::-1]] for line in lines]
        for side, part in (("de", lines), ("en", reversed_lines)):
            text = "".join(" ".join(line) + "\n" for line in part)
            (folder / f"{split}.{side}").write_text(text, "utf-8")
    files = {"source": "train.de", "target": "train.en", "dev-source": "val.de"}
    options = {name: folder / file for name, file in files.items()}
    options |= {"dev-target": folder / "val.en", "out": folder / "out", "vocabulary-size": 400}
    options |= {"epochs": 2, "units": 5, "embedding": 7, "batch-tokens": 101, "threads": 1}
    settings = parse([f"--{name}={value}" for name, value in options.items()])
    settings.out.mkdir()
    return settings


@pytest.fixture(scope="module")
def data(settings):
    folder, sentences = prepare(settings)
    assert sentences == 13
    return folder


def test_both_sides_read_the_same_text(data):
    lines = {path.name: joeynmt.read_lines(path) for path in data.iterdir()}
    counts = {"train.source": 89, "train.target": 89, "dev.source": 13, "dev.target": 13}
    assert {name: len(text) for name, text in lines.items()} == counts
    for text in lines.values():
        assert all(line and line == line.lower() for line in text)
    pairs = zip(lines["train.source"], lines["train.target"], strict=True)
    words = {source.lower(): target for source, target in WORDS.items()}
    for source, target in pairs:
        assert [words[word] for word in source.split()] == target.split()[::-1]


def test_our_side_trains_and_searches(settings, data):
    row = ours.run(settings, data)
    first, second = row["epochs"]
    assert 0 < first["seconds"] < first["trained"] < first["scored"]
    assert first["scored"] - 0.1 < second["trained"] - second["seconds"]
    assert second["trained"] < second["scored"]
    # Every target with its end, and no padding.
    model = (settings.out / "keras_attention/target.model").read_bytes()
    targets = joeynmt.read_lines(data / "train.target")
    assert first["tokens"] == len(targets) + Tokenizer(model).encode(targets).values.shape[0]
    assert row["weights"] > 400 * 7
    assert 0 < row["beam"]["seconds"] < row["beam"]["first"]
    assert 0 <= row["beam"]["bleu"] <= 100


def test_a_program_that_fails_ends_the_benchmark_with_its_last_line(tmp_path):
    command = "print('its first words'); print('its last words'); raise SystemExit(3)"
    with pytest.raises(SystemExit, match=r"exit code 3, see .*say\.log:\nits last words"):
        programs.run(tmp_path / "say.log", 1, sys.executable, "-c", command)


def test_joeynmt_gets_the_same_pieces(tmp_path):
    texts = [" ".join(WORDS).lower(), "der hund läuft .", "eine katze \u2581 läuft ."]
    model = learn(texts, 400)
    (tmp_path / "ours.model").write_bytes(model)
    joeynmt.save_tokenizer(tmp_path / "ours.model", tmp_path / "joeynmt.source")
    read = sentencepiece.SentencePieceProcessor(str(tmp_path / "joeynmt.source.model"))
    tokenizer = Tokenizer(model)
    for text in texts:
        ids = tokenizer.encode([text]).flat_values
        pieces = [piece.decode() for piece in tokenizer.pieces(ids).numpy()]
        assert read.encode(text, out_type=str) == pieces
        assert read.decode(pieces) == text
    vocabulary = joeynmt.read_lines(tmp_path / "joeynmt.source.txt")
    assert len(vocabulary) == tokenizer.size - len(SPECIAL)
    assert not set(vocabulary) & set(SPECIAL)


def test_joeynmts_own_figures_are_read():
    row = joeynmt.training(programs.read_log(LOGS / "joeynmt_train.txt"))
    assert row == {
        "weights": 31032,
        "epochs": [
            {"tokens": 3776, "seconds": 1.4227, "trained": 7.4, "scored": 7.4},
            {"tokens": 3776, "seconds": 1.4165, "trained": 8.82, "scored": 8.82},
        ],
    }
    seconds = joeynmt.seconds_of_search(programs.read_log(LOGS / "joeynmt_search.txt"))
    assert seconds == {"first": 0.2497, "seconds": 0.2274}


def sides(bleu=20.0):
    """Ours trains for 10 s an epoch and scores for 2, after 4; joeynmt for 30 s, after 1."""
    epochs = [
        {"tokens": 700, "seconds": 10.0, "trained": 14.0 + 12 * i, "scored": 16.0 + 12 * i}
        for i in range(3)
    ]
    ours = [{**epoch, "bleu": score} for epoch, score in zip(epochs, (7, 19, 23), strict=True)]
    theirs = [
        {"tokens": 700, "seconds": 30.0, "trained": 31.0 + 30 * i, "scored": 31.0 + 30 * i}
        for i in range(3)
    ]
    theirs[-1]["bleu"] = bleu
    beam = {"bleu": 25.0, "first": 3.0, "seconds": 2.0}
    slow = {"bleu": 24.0, "first": 9.0, "seconds": 8.0, "sentences": 64}
    return {
        "keras_attention": {
            "weights": 1234,
            "real": 93,
            "epochs": ours,
            "beam": beam,
            "versions": {"keras": "3"},
        },
        "joeynmt": {"weights": 1200, "epochs": theirs, "beam": slow, "versions": {"torch": "2"}},
    }


def test_bars_compare_the_sides():
    tokens, search, time, with_scoring = result.bars(sides(), 13, 3)
    assert (tokens["measured"], tokens["met"]) == (pytest.approx(3), True)
    assert (search["measured"], search["met"]) == (pytest.approx(4), True)
    # Ours is as good after its third epoch: 38 s, 4 of them scoring the first two.
    assert (time["measured"], time["met"]) == (pytest.approx(34 / 91), True)
    assert (with_scoring["measured"], with_scoring["met"]) == (pytest.approx(40 / 91), None)
    assert result.bars(sides(bleu=19.0), 13, 3)[2]["measured"] == pytest.approx(24 / 91)
    assert result.bars(sides(bleu=23.5), 13, 3)[2]["met"] is False


def test_the_tables_have_both_sides_and_every_epoch(tmp_path):
    bars = result.bars(sides(), 13, 3)
    results = {"machine": {"processor": "A processor", "threads": 2, "load": 0.1}}
    results |= {"sentences": 13, "sides": sides(), "cases": [{"case": "end_to_end", "bars": bars}]}
    text = result.write(results, tmp_path)
    assert (
        "| end_to_end | times joeynmt's sentences per second, of 13 | at least 3 | 4 | met |"
        in text
    )
    assert "| keras_attention | 1,234 | 30 | 70 | 23.00 | 2.0 (3.0) | 6.5 | 25.00 |" in text
    assert "| joeynmt | 1,200 | 90 | 23 | 20.00 | 8.0 (9.0) | 1.6 | 24.00 |" in text
    assert "| 2 | 24 | 28 | 19.00 | 61 |  |" in text
    assert "| 3 | 34 | 40 | 23.00 | 91 | 20.00 |" in text
    assert (tmp_path / "results.md").read_text() == text
    assert json.loads((tmp_path / "results.json").read_text())["cases"][0]["bars"] == bars
