"""Pictures: what is drawn where, and errors. Pages in a browser are tested in test_html.py."""

import json
import re

import keras
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


RANDOM = np.random.default_rng(0)
IMAGE = RANDOM.uniform(size=(27, 45, 3)).astype("float32")
MAPS = RANDOM.dirichlet(np.ones(15), 3).reshape(3, 3, 5)
WORDS = ["a", "red", "box"]
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


def test_plots_of_the_outputs_of_layers():
    attention = ka.BahdanauAttention(5, dtype="mixed_bfloat16")
    _, weights = attention(np.ones((1, 2, 3)), np.ones((1, 7, 3)), return_attention_scores=True)
    axes = ka.visualize.plot_alignment(weights[0])
    np.testing.assert_allclose(axes.get_images()[0].get_array(), 1 / 7, atol=1e-3)


def test_labels_are_not_parsed_as_mathematics(tmp_path):
    words = ["$x$", r"$\nothing$"]
    axes = ka.visualize.plot_alignment(np.eye(2), words, words, path=tmp_path / "a.png")
    assert [label.get_text() for label in axes.get_xticklabels()] == words
    ka.visualize.overlay_on_image(IMAGE, MAPS[:2], words, path=tmp_path / "b.png")


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
    assert all(word in str(error.value) for word in [*words, "expected"])


def overlays(figure):
    """The maps of a figure as they lie over the image, from 0 to 1, as (T, H, W)."""
    return np.array([ax.get_images()[1].get_array() for ax in figure.axes if ax.get_title()])


def test_there_is_an_image_and_one_for_each_word(tmp_path):
    path = tmp_path / "a.png"
    figure = ka.visualize.overlay_on_image(IMAGE, MAPS, WORDS, path, title="scene")
    assert [ax.get_title() for ax in figure.axes] == ["", *WORDS]
    assert [len(ax.get_images()) for ax in figure.axes] == [1, 2, 2, 2]
    for ax in figure.axes:
        np.testing.assert_allclose(ax.get_images()[0].get_array() / 255, IMAGE, atol=0.002)
    assert figure.get_suptitle() == "scene"
    assert path.read_bytes().startswith(b"\x89PNG")
    assert plt.get_fignums() == [], "a figure that was written is closed"


def test_a_map_is_itself_in_the_middle_of_its_cells_and_smooth_between():
    # Cells of 9 x 9 pixels have a pixel in their middle.
    drawn = overlays(ka.visualize.overlay_on_image(IMAGE, MAPS, WORDS))
    largest = MAPS.max(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(drawn[:, 4::9, 4::9], MAPS / largest, atol=1e-6)
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    ramp = np.arange(7.0) * np.ones((3, 7))
    (drawn,) = overlays(ka.visualize.overlay_on_image(np.ones((30, 70)), ramp[None], ["ramp"]))
    inside = np.linspace(1, 5, 41) / 6
    np.testing.assert_allclose(drawn[:, 15:55], np.tile((inside[1:] + inside[:-1]) / 2, (30, 1)))


def test_maps_of_one_cell_of_one_row_or_finer_than_the_image():
    for shape in ((1, 1), (1, 5), (64, 64)):
        (flat,) = overlays(ka.visualize.overlay_on_image(IMAGE, np.ones((1, *shape)), ["all"]))
        np.testing.assert_allclose(flat, np.ones((27, 45)), atol=1e-6)


def test_only_the_cell_of_a_hard_attention_is_lightened():
    hard = np.eye(15).reshape(15, 3, 5)
    figure = ka.visualize.overlay_on_image(IMAGE, hard, [str(i) for i in range(15)])
    for i, drawn in enumerate(overlays(figure)):
        cells = drawn.reshape(3, 9, 5, 9).mean(axis=(1, 3)).ravel()
        assert cells[i] > 0.6
        assert np.delete(cells, i).max() < 0.25


def test_a_word_without_attention_has_a_dark_image():
    (drawn,) = overlays(ka.visualize.overlay_on_image(IMAGE, np.zeros((1, 3, 5)), ["nothing"]))
    assert not drawn.any()


@pytest.mark.parametrize("count", [0, 1, 5, 6, 12, 20])
def test_captions_of_any_length_fit(count):
    figure = ka.visualize.overlay_on_image(IMAGE, np.ones((count, 2, 2)), ["word"] * count)
    filled = [ax for ax in figure.axes if ax.get_images()]
    assert len(filled) == count + 1
    assert len(figure.axes) - len(filled) < figure.axes[0].get_subplotspec().get_gridspec().nrows
    width, height = figure.get_size_inches()
    assert width <= 12
    assert height <= 10
    assert not any(ax.axison for ax in figure.axes)


def test_every_kind_of_image_gives_the_same_picture():
    gray = np.rint(255 * IMAGE[..., 0]).astype("uint8")
    opaque = np.full_like(gray, 255)
    kinds = {
        "gray": gray,
        "one channel": gray[..., None],
        "RGB": np.stack([gray] * 3, axis=-1),
        "RGBA": np.stack([gray, gray, gray, opaque], axis=-1),
        "floats": (gray / 255).astype("float32"),
        "half floats": keras.ops.cast(gray / 255, "bfloat16"),
        "rounded": gray / 255 * (1 + 1e-6),
        "from a file": keras.utils.array_to_img(gray[..., None], scale=False),
    }
    for name, image in kinds.items():
        figure = ka.visualize.overlay_on_image(image, MAPS, WORDS)
        drawn = np.asarray(figure.axes[0].get_images()[0].get_array(), int)
        assert drawn.shape == (27, 45, 3), name
        assert np.abs(drawn - gray[..., None]).max() <= (1 if name == "half floats" else 0), name


def test_transparent_pixels_are_white():
    image = np.zeros((2, 1, 4))
    image[1, 0] = [1, 0, 0, 0.6]
    figure = ka.visualize.overlay_on_image(image, MAPS, WORDS)
    drawn = figure.axes[0].get_images()[0].get_array()
    assert drawn.tolist() == [[[255, 255, 255]], [[255, 102, 102]]]


def test_overlays_and_pages_of_the_outputs_of_layers():
    attention = ka.SoftSpatialAttention(5, dtype="mixed_bfloat16")
    _, maps = attention(np.ones((1, 3, 2)), np.ones((1, 4, 6, 3)), return_attention_scores=True)
    drawn = overlays(ka.visualize.overlay_on_image(IMAGE, maps[0], WORDS))
    np.testing.assert_allclose(drawn, np.ones((3, 27, 45)), atol=0.01)
    assert "red" in ka.visualize.to_html([ka.visualize.Caption(IMAGE, WORDS, maps[0])])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"image": np.ones((2, 2, 2))}, ["`image`", "(2, 2, 2)"]),
        ({"image": np.ones((1, 4, 4, 3))}, ["`image`", "(1, 4, 4, 3)"]),
        ({"image": np.ones((0, 4, 3))}, ["`image`", "(0, 4, 3)"]),
        ({"image": 255 * np.ones((4, 4))}, ["`image`", "float64", "255.0"]),
        ({"image": np.ones((4, 4), int)}, ["`image`", "int64"]),
        ({"image": np.full((4, 4), np.nan)}, ["`image`", "nan"]),
        ({"maps": np.ones((3, 4))}, ["`maps`", "(3, 4)"]),
        ({"maps": np.ones((3, 0, 4))}, ["`maps`", "(3, 0, 4)"]),
        ({"maps": -MAPS}, ["`maps`", "-0."]),
        ({"maps": MAPS * np.nan}, ["`maps`", "nan"]),
        ({"words": WORDS[:2]}, ["`words`", "2", "3"]),
    ],
)
def test_errors_of_images_maps_and_words(arguments, words):
    arguments = {"image": IMAGE, "maps": MAPS, "words": WORDS, **arguments}
    for draw in (
        ka.visualize.overlay_on_image,
        lambda **arguments: ka.visualize.to_html([ka.visualize.Caption(**arguments)]),
    ):
        with pytest.raises(ValueError, match=words[0]) as error:
            draw(**arguments)
        assert all(word in str(error.value) for word in [*words, "expected"])


@pytest.mark.parametrize(
    ("example", "words"),
    [
        (ka.visualize.Translation(["a"], ["x", "y"], WEIGHTS), ["`source`", "1", "3"]),
        (ka.visualize.Translation(list("abc"), ["x"], WEIGHTS), ["`target`", "1", "2"]),
        (ka.visualize.Translation(list("abc"), ["x"], WEIGHTS[0]), ["`weights`", "(3,)"]),
        (ka.visualize.Translation(list("abc"), ["x", "y"], -WEIGHTS), ["`weights`", "-0.1"]),
        ({"words": WORDS}, ["`examples[0]`", "dict", "Caption"]),
        (
            ka.visualize.Comparison({"soft": {"words": WORDS}}),
            ["`examples[0].captions['soft']`", "dict", "Caption"],
        ),
        (
            ka.visualize.Caption(IMAGE, WORDS, {"attention": MAPS, "saliency": MAPS[:2]}),
            ["`words`", "3", "2"],
        ),
    ],
)
def test_errors_of_pages(example, words, tmp_path):
    with pytest.raises(ValueError, match="expected") as error:
        ka.visualize.to_html([example], path=tmp_path / "a.html")
    assert all(word in str(error.value) for word in words)
    assert list(tmp_path.iterdir()) == []


def test_a_page_is_returned_and_written_whole(tmp_path):
    path = tmp_path / "a.html"
    path.write_text("old")
    caption = ka.visualize.Caption(IMAGE, WORDS, MAPS, "a note")
    page = ka.visualize.to_html([caption], path, title="Where")
    assert path.read_text("utf-8") == page
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        ka.visualize.to_html([caption], tmp_path / "folder")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.html", "folder"]


def test_a_page_is_small_and_holds_its_examples():
    maps = RANDOM.dirichlet(np.ones(196), 20).reshape(20, 14, 14)
    caption = ka.visualize.Caption(np.ones((224, 224, 3)), ["word"] * 20, maps, "a note")
    page = ka.visualize.to_html([caption], title="Where")
    assert len(page) < 20_000
    data = json.loads(re.search(r'id="page">(.*?)</script>', page)[1])
    assert data["title"] == "Where"
    assert [example["note"] for example in data["examples"]] == ["a note"]
    assert "http" not in page.replace("http-equiv", "")


def test_titles_are_not_parsed_as_mathematics(tmp_path):
    title = r"$5 \frac{ $"
    path = tmp_path / "a.png"
    ka.visualize.overlay_on_image(np.ones((8, 8)), np.ones((1, 2, 2)), ["a"], path, title)
    ka.visualize.plot_alignment(WEIGHTS, path=tmp_path / "b.png", title=title)
    assert path.stat().st_size > 0
