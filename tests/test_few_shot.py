"""The few-shot example: its data are what it says, SNAIL learns it, and all of it runs."""

import numpy as np
import pytest

from examples import few_shot
from examples.common.fresh import FreshBatches
from marks import more


def test_episodes_show_every_class_and_ask_for_one_of_them():
    ways, shots, width = 5, 3, few_shot.WIDTH
    episodes, asked = few_shot.draw_episodes(50, ways, shots, np.random.default_rng(0))
    assert episodes.shape == (50, ways * shots + 1, width + ways)
    assert set(asked) == set(range(ways))
    orders = set()
    for episode, label in zip(episodes, asked, strict=True):
        items, marks = episode[:, :width], episode[:, width:]
        labels = marks[:-1].argmax(axis=1)
        assert (marks[:-1].sum(axis=1) == 1).all()
        assert (np.bincount(labels) == shots).all()
        assert (marks[-1] == 0).all()
        means = [items[:-1][labels == k].mean(axis=0) for k in range(ways)]
        assert np.linalg.norm(means - items[-1], axis=1).argmin() == label
        orders.add(tuple(labels))
    assert len(orders) == 50


@pytest.mark.parametrize("attends", [True, *more(False)])
def test_it_learns_new_classes_by_two_examples_of_each(attends):
    """With attention; convolutions alone, with more weights, are as yet little above chance."""
    ways, shots = 5, 2
    model = few_shot.build_model(ways, shots, units=16, attends=attends)
    batches = FreshBatches(500, lambda rng: few_shot.draw_episodes(128, ways, shots, rng), seed=1)
    few_shot.train(model, batches, epochs=1)
    unseen = few_shot.draw_episodes(2000, ways, shots, np.random.default_rng(2))
    accuracy = model.evaluate(*unseen, verbose=0)[1]
    assert accuracy > 0.95 if attends else accuracy < 0.5


def test_the_baseline_has_more_weights():
    with_attention = few_shot.build_model(5, 2, units=16)
    assert with_attention.count_params() < few_shot.build_model(5, 2, 16, False).count_params()


def test_it_runs_from_training_to_comparison(capsys):
    few_shot.main(
        ["--epochs", "1", "--steps", "2", "--batch-size", "4", "--units", "8", "--ways=3"]
    )
    printed = capsys.readouterr().out
    assert "\nwith attention: " in printed
    assert "\nwithout attention: " in printed
