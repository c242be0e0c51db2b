"""plot_alignment: what is drawn, where, and what it refuses."""

import matplotlib
import numpy as np
import pytest

import keras_attention as ka

matplotlib.use("Agg")

import matplotlib.pyplot as plt


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


WEIGHTS = np.array([[0.1, 0.7, 0.2], [0.0, 0.25, 0.75]])


def test_memory_runs_to_the_right_and_queries_down():
    axes = ka.visualize.plot_alignment(WEIGHTS, ["le", "chat", "noir"], ["black", "cat"], title="!")
    (image,) = axes.get_images()
    np.testing.assert_allclose(image.get_array(), WEIGHTS, atol=1e-6)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["le", "chat", "noir"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["black", "cat"]
    assert axes.yaxis_inverted(), "the first query is at the top"
    assert image.get_clim() == (0, 1), "pictures compare with each other"
    assert axes.get_title() == "!"


def test_it_draws_on_given_axes_and_writes_a_file(tmp_path):
    _, (left, right) = plt.subplots(1, 2)
    assert ka.visualize.plot_alignment(WEIGHTS, ax=right, path=tmp_path / "a.png") is right
    assert right.get_images()
    assert not left.get_images()
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_it_takes_what_layers_return():
    attention = ka.BahdanauAttention(5, dtype="mixed_bfloat16")
    _, weights = attention(np.ones((1, 2, 3)), np.ones((1, 7, 3)), return_attention_scores=True)
    axes = ka.visualize.plot_alignment(weights[0])
    np.testing.assert_allclose(axes.get_images()[0].get_array(), 1 / 7, atol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"weights": np.ones((1, 2, 3))}, ["`weights`", "(1, 2, 3)"]),
        ({"weights": WEIGHTS, "source": ["a"]}, ["`source`", "1", "3"]),
        ({"weights": WEIGHTS, "target": ["a", "b", "c"]}, ["`target`", "3", "2"]),
    ],
)
def test_errors_name_argument_and_shape(arguments, words):
    with pytest.raises(ValueError, match=words[0]) as error:
        ka.visualize.plot_alignment(**arguments)
    assert all(word in str(error.value) for word in [*words, "accepted"])
