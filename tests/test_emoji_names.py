"""The example that translates the names of emoji, at toy size."""

import numpy as np

from examples import emoji_names
from examples.emoji_names import END, PAD, START, UNKNOWN


def test_pairs_are_split_by_emoji():
    train, test = emoji_names.load_pairs("fr")
    assert 0.07 < len(test) / len(train + test) < 0.13
    assert (["red", "heart"], ["cœur", "rouge"]) in [tuple(pair) for pair in train + test]
    assert all(len(pair) == 2 and all(pair) for pair in train + test)


def test_words_become_ids_between_marks():
    words = [*emoji_names.SPECIAL, "red", "heart"]
    ids = emoji_names.encode([["red", "heart"], ["blue"]], words)
    np.testing.assert_array_equal(ids, [[START, 4, 5, END], [START, UNKNOWN, END, PAD]])


def test_it_trains_translates_and_draws(tmp_path, capsys):
    emoji_names.main(
        ["--epochs", "1", "--units", "16", "--batch-size", "256", "--out", str(tmp_path)]
    )
    assert (tmp_path / "alignment.png").read_bytes().startswith(b"\x89PNG")
    assert "BLEU" in capsys.readouterr().out
