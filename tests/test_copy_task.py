"""The copy example: its data are what it says, and the whole of it runs at toy size."""

import numpy as np

from comparing import to_numpy
from examples import copy_task
from marks import eagerly


def test_the_answer_is_what_stood_before_the_mark():
    rng = np.random.default_rng(0)
    inputs, answers, answering = copy_task.draw_sequences(50, 2, 5, rng)
    assert inputs.shape == (50, 11, 9)
    assert answers.shape == (50, 11, 8)
    lengths = set()
    for x, y, counts in zip(inputs, answers, answering, strict=True):
        (length,) = np.flatnonzero(x[:, 8])
        np.testing.assert_array_equal(y[length + 1 : 2 * length + 1], x[:length, :8])
        assert np.flatnonzero(counts).tolist() == list(range(length + 1, 2 * length + 1))
        assert not x[length + 1 :].any()
        assert not y[: length + 1].any()
        assert not y[2 * length + 1 :].any()
        lengths.add(length)
    assert lengths == {2, 3, 4, 5}


def test_the_drawn_run_is_that_of_the_model():
    model = copy_task.build_model(units=5, memory_size=7, memory_dim=3)
    inputs, _, _ = copy_task.draw_sequences(1, 4, 4, np.random.default_rng(0))
    outputs, written, looked = copy_task.run_by_steps(model, inputs[0])
    wanted = 1 / (1 + np.exp(-to_numpy(model(inputs))[0]))
    np.testing.assert_allclose(outputs, wanted, atol=1e-6)
    for weights in (written, looked):
        assert weights.shape == (9, 7)
        np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-5)


@eagerly
def test_it_runs_from_training_to_picture(tmp_path, capsys):
    options = ["--epochs", "1", "--steps", "2", "--batch-size", "4", "--units", "8"]
    memory = ["--memory-size", "5", "--memory-dim", "3"]
    copy_task.main([*options, *memory, "--out", str(tmp_path / "new" / "folder")])
    assert (tmp_path / "new" / "folder" / "addressing.png").read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    assert "wrong bits in copies of 10 vectors: " in printed
    assert "wrong bits in copies of 20 vectors: " in printed
