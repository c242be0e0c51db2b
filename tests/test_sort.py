"""The sort example: its data are what it says, and the whole of it runs at toy size."""

import keras
import numpy as np

from comparing import to_numpy
from examples import sort


def test_pointers_read_the_numbers_in_order_between_two_marks():
    (numbers, pointers_in), pointers_out = sort.draw_numbers(50, 7, np.random.default_rng(0))
    assert numbers.shape == pointers_in.shape == pointers_out.shape == (50, 8)
    for row, before, after in zip(numbers, pointers_in, pointers_out, strict=True):
        assert row[0] == sort.MARK_VALUE
        assert len(set(row)) == len(row)
        assert row[after].tolist() == [*sorted(row[1:]), row[0]]
        assert before.tolist() == [sort.MARK, *after[:-1]]


def test_search_steps_give_the_numbers_of_teacher_forcing():
    model = sort.Sorter(5)
    (numbers, pointers), _ = sort.draw_numbers(3, 4, np.random.default_rng(0))
    probabilities, state = to_numpy(model((numbers, pointers))), model.begin(numbers)
    for t in range(5):
        logits, weights, state = model.step(keras.ops.convert_to_tensor(pointers[:, t]), state)
        np.testing.assert_allclose(to_numpy(weights), probabilities[:, t], atol=1e-6)
        np.testing.assert_allclose(np.exp(to_numpy(logits)), probabilities[:, t], atol=1e-6)


def test_it_runs_from_training_to_picture(tmp_path, capsys):
    options = ["--epochs", "1", "--steps", "2", "--batch-size", "4", "--units", "8"]
    sort.main([*options, "--numbers", "8", "--out", str(tmp_path / "new" / "folder")])
    assert (tmp_path / "new" / "folder" / "pointers.png").read_bytes().startswith(b"\x89PNG")
    assert "exact match on 1,000 unseen examples: 0.00%" in capsys.readouterr().out
