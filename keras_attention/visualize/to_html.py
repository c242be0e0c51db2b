"""A page on which to point at words."""

import base64
import importlib.resources
import io
import json
import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np

from keras_attention.visualize import validation


class Caption(NamedTuple):
    """A caption, for `to_html`.

    Attributes:
        image: As in `overlay_on_image`.
        words: The T words.
        maps: (T, rows, columns), the weights of each word over the whole image.
        note: A line of text below: what others said of the image, a score.
    """

    image: Any
    words: Sequence[str]
    maps: Any
    note: str = ""


class Translation(NamedTuple):
    """A translation, for `to_html`, or anything else that attends from words to words.

    Attributes:
        source: The S words of the memory.
        target: The T words of the queries.
        weights: (T, S), as in `plot_alignment`.
        note: A line of text below.
    """

    source: Sequence[str]
    target: Sequence[str]
    weights: Any
    note: str = ""


def to_html(
    examples: Iterable[Caption | Translation],
    path: str | os.PathLike | None = None,
    title: str = "Attention",
) -> str:
    """Makes a page that shows where the model looked, for each word that is pointed at.

    A word of a caption lights up its places in the image, as `overlay_on_image` does. A word of a
    translation shades the source words by their weights; a source word shades the words that looked
    at it. Mouse, keyboard and touch do.

    The page is one file that loads nothing. Images are in it as PNG, pixel by pixel: large ones
    make it large. Weights are rounded to 8 bits.

    Args:
        examples: Captions and translations.
        path: A file to write the page to. It is written beside and renamed.
        title: A title.

    Returns:
        The text of the page.

    Raises:
        ValueError: if an example is neither, or its parts do not fit.

    Example:

    >>> attended = ka.visualize.Translation(["le", "chat"], ["the", "cat"], np.eye(2))
    >>> seen = ka.visualize.Caption(np.ones((32, 48)), ["a", "cat"], np.ones((2, 7, 7)), "a pet")
    >>> page = ka.visualize.to_html([attended, seen], path="attention.html")
    """
    page = {
        "title": str(title),
        "examples": [_data(i, example) for i, example in enumerate(examples)],
    }
    # Without a "<", no text can end the element that holds it.
    data = json.dumps(page, allow_nan=False).replace("<", "\\u003c")
    template = importlib.resources.files("keras_attention.visualize") / "page.html"
    text = template.read_text("utf-8").replace("{{page}}", data)
    if path is not None:
        _write(pathlib.Path(path), text)
    return text


def _data(index, example):
    """The example as the page's script reads it."""
    if isinstance(example, Caption):
        image = validation.image(example.image)
        maps = validation.maps(example.maps, example.words)
        largest = maps.max(axis=(1, 2), keepdims=True)
        return {
            "note": str(example.note),
            "image": _base64_png(image),
            "height": image.shape[0],
            "width": image.shape[1],
            "words": [str(word) for word in example.words],
            "rows": maps.shape[1],
            "columns": maps.shape[2],
            "weights": _base64(maps / np.where(largest > 0, largest, 1)),
        }
    if isinstance(example, Translation):
        weights = validation.weights("weights", example.weights, "(target, source)")
        sizes = zip(("target", "source"), weights.shape, strict=True)
        for argument, size in sizes:
            words = getattr(example, argument)
            validation.labels(argument, words, size, "weights", weights.shape)
        validation.not_negative("weights", weights)
        return {
            "note": str(example.note),
            "source": [str(word) for word in example.source],
            "target": [str(word) for word in example.target],
            "weights": _base64(weights),
        }
    raise ValueError(
        f"`examples[{index}]` is a {type(example).__name__}; expected "
        "`ka.visualize.Caption` and `ka.visualize.Translation`."
    )


def _base64(weights):
    """Weights from 0 to 1 in 8 bits each."""
    return base64.b64encode(
        np.rint(255 * np.minimum(weights, 1)).astype("uint8").tobytes()
    ).decode()


def _base64_png(image):
    file = io.BytesIO()
    plt.imsave(file, image)
    return base64.b64encode(file.getvalue()).decode()


def _write(path, text):
    beside = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        beside.write_bytes(text.encode())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
