"""An interactive page: point at a word, and see its attention."""

import base64
import importlib.resources
import io
import json
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np

from keras_attention._internal import files
from keras_attention.visualize import validation


class Caption(NamedTuple):
    """The caption of an image, for `to_html`.

    Attributes:
        image: As in `overlay_on_image`.
        words: The T words.
        maps: (T, rows, columns), the weights of each word over the whole image. Or a dict from
            names to such maps, for example attention and saliency, which are shown side by side.
            With {}, the words are only text.
        note: Lines of text below the caption, such as a reference caption or a score.
    """

    image: Any
    words: Sequence[str]
    maps: Any
    note: str = ""


class Comparison(NamedTuple):
    """Captions side by side, such as those of several models for one image, for `to_html`.

    Attributes:
        captions: A dict from names to `Caption`s.
        note: Lines of text below the captions.
    """

    captions: Mapping[str, Caption]
    note: str = ""


class Translation(NamedTuple):
    """A translation, or any other attention between two lists of words, for `to_html`.

    Attributes:
        source: The S words of the memory.
        target: The T words of the queries.
        weights: (T, S), as in `plot_alignment`.
        note: Lines of text below the translation.
    """

    source: Sequence[str]
    target: Sequence[str]
    weights: Any
    note: str = ""


def to_html(
    examples: Iterable[Caption | Comparison | Translation],
    path: str | os.PathLike | None = None,
    title: str = "Attention",
) -> str:
    """Makes a page that shows the attention of the word at which the reader points.

    A word of a caption lightens the regions of the image that it attends to, as in
    `overlay_on_image`. A word of a translation shades the source words by their weights, and a
    source word shades the words that attend to it. The page works with mouse, keyboard and touch.

    The page is a single file that loads nothing else. Images are embedded as PNG at full
    resolution, so large images make it large; equal images are embedded once. Weights are rounded
    to 8 bits.

    Args:
        examples: Captions, comparisons of captions, and translations.
        path: A file to which the page is written. An existing file is replaced as a whole.
        title: The title of the page.

    Returns:
        The text of the page.

    Raises:
        ValueError: If an example is of another class, or its shapes or values do not match.

    Example:

    >>> attended = ka.visualize.Translation(["le", "chat"], ["the", "cat"], np.eye(2))
    >>> seen = ka.visualize.Caption(np.ones((32, 48)), ["a", "cat"], np.ones((2, 7, 7)), "a pet")
    >>> page = ka.visualize.to_html([attended, seen], path="attention.html")
    """
    images: dict[str, int] = {}  # as PNG, with their places in the page's list
    page = {
        "title": str(title),
        "examples": [_to_json(f"examples[{i}]", each, images) for i, each in enumerate(examples)],
        "images": list(images),
    }
    # Without a "<", no text can end the element that holds it.
    data = json.dumps(page, allow_nan=False).replace("<", "\\u003c")
    template = importlib.resources.files("keras_attention.visualize") / "page.html"
    text = template.read_text("utf-8").replace("{{page}}", data)
    if path is not None:
        with files.replace(pathlib.Path(path)) as new:
            new.write_bytes(text.encode())
    return text


def _to_json(argument: str, example: Any, images: dict[str, int]) -> dict[str, Any]:
    """Returns the example in the format of the page's script; adds its image to `images`."""
    if isinstance(example, Caption):
        return _caption(example, images)
    if isinstance(example, Comparison):
        captions = []
        for name, caption in example.captions.items():
            if not isinstance(caption, Caption):
                raise ValueError(
                    f"`{argument}.captions[{name!r}]` is a {type(caption).__name__}; expected a "
                    "`ka.visualize.Caption`."
                )
            captions.append({"name": str(name), **_caption(caption, images)})
        return {"kind": "comparison", "note": str(example.note), "captions": captions}
    if isinstance(example, Translation):
        weights = validation.as_attention("weights", example.weights, "(target, source)")
        sizes = zip(("target", "source"), weights.shape, strict=True)
        for side, size in sizes:
            words = getattr(example, side)
            validation.check_labels(side, words, size, "weights", weights.shape)
        validation.check_not_negative("weights", weights)
        return {
            "kind": "translation",
            "note": str(example.note),
            "source": [str(word) for word in example.source],
            "target": [str(word) for word in example.target],
            "weights": _base64(weights),
        }
    raise ValueError(
        f"`{argument}` is a {type(example).__name__}; expected a `ka.visualize.Caption`, a "
        "`ka.visualize.Comparison` or a `ka.visualize.Translation`."
    )


def _caption(caption: Caption, images: dict[str, int]) -> dict[str, Any]:
    image = validation.as_image(caption.image)
    named = caption.maps if isinstance(caption.maps, Mapping) else {"": caption.maps}
    maps = []
    for name, value in named.items():
        weights = validation.as_maps(value, caption.words)
        largest = weights.max(axis=(1, 2), keepdims=True)
        maps.append(
            {
                "name": str(name),
                "rows": weights.shape[1],
                "columns": weights.shape[2],
                "weights": _base64(weights / np.where(largest > 0, largest, 1)),
            }
        )
    return {
        "kind": "caption",
        "note": str(caption.note),
        "image": images.setdefault(_base64_png(image), len(images)),
        "height": image.shape[0],
        "width": image.shape[1],
        "words": [str(word) for word in caption.words],
        "maps": maps,
    }


def _base64(weights: np.ndarray) -> str:
    """Encodes weights in [0, 1] with 8 bits each."""
    pixels = np.rint(255 * np.minimum(weights, 1)).astype("uint8")
    return base64.b64encode(pixels.tobytes()).decode()


def _base64_png(image: np.ndarray) -> str:
    file = io.BytesIO()
    plt.imsave(file, image)
    return base64.b64encode(file.getvalue()).decode()
