"""One picture per word: the part of the image that the model attended to."""

import math
import os
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from keras_attention.visualize import validation

# Lightness only, so that it is safe for color blindness: unattended regions are darkened; attended
# ones are lightened, which stays visible on dark images. `page.html` does the same.
SHADE = LinearSegmentedColormap.from_list(
    "shade", [(0, (0, 0, 0, 0.65)), (0.6, (0, 0, 0, 0)), (0.6, (1, 1, 1, 0)), (1, (1, 1, 1, 0.35))]
)
MAX_COLUMNS = 6


def overlay_on_image(
    image: Any,
    maps: Any,
    words: Sequence[str],
    path: str | os.PathLike | None = None,
    title: str | None = None,
) -> Figure:
    """Draws the image, then once more for each word, darkened where the word did not attend.

    Each map covers the whole image and is interpolated to its size. The brightness is relative to
    the largest weight of the map, so it compares positions, not words.

    Args:
        image: (H, W), (H, W, 1), (H, W, 3) or (H, W, 4): uint8 from 0 to 255, or floats from 0 to
            1.
        maps: (T, rows, columns), the attention weights of each word, as spatial attention returns
            them.
        words: The T words.
        path: A file to which the figure is written.
        title: The title of the figure.

    Returns:
        The figure.

    Raises:
        ValueError: If the image or the maps have other shapes or values, or the number of words is
            not that of the maps.

    Example:

    >>> maps = np.eye(4).reshape(4, 2, 2)
    >>> words = ["a", "dog", "runs", "."]
    >>> figure = ka.visualize.overlay_on_image(np.ones((32, 48, 3)), maps, words, path="a.png")

    Reference: Xu et al. 2015, arXiv:1502.03044, figures 2 and 3.
    """
    maps = validation.as_maps(maps, words)
    image = validation.as_image(image)
    height, width = image.shape[:2]
    rows = math.ceil((len(maps) + 1) / MAX_COLUMNS)
    columns = math.ceil((len(maps) + 1) / rows)
    # The longer side of each picture takes 2 inches.
    scale = 2 / max(height, width)
    size = (columns * max(scale * width, 0.8), rows * (scale * height + 0.35))
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    for ax in axes.flat:
        ax.axis("off")
    for ax in axes.flat[: len(maps) + 1]:
        ax.imshow(image)
    for ax, weights, word in zip(axes.flat[1:], maps, words, strict=False):
        largest = weights.max() or 1
        ax.imshow(_resize(weights / largest, height, width), cmap=SHADE, vmin=0, vmax=1)
        ax.set_title(word, parse_math=False)
    if title is not None:
        figure.suptitle(title, parse_math=False)
    if path is not None:
        figure.savefig(path, bbox_inches="tight", dpi=150)
        plt.close(figure)
    return figure


def _resize(weights: np.ndarray, height: int, width: int) -> np.ndarray:
    """Returns (H, W), interpolated from weights in [0, 1] on a grid."""
    rows, columns = weights.shape
    resized = _cubic_matrix(height, rows) @ weights @ _cubic_matrix(width, columns).T
    return np.clip(resized, 0, 1)


def _cubic_matrix(size: int, cells: int) -> np.ndarray:
    """Returns (size, cells), the coefficients of Catmull-Rom's cubic interpolation.

    At the center of a cell only that cell counts, so the largest weight is also the brightest.
    """
    pixels = (np.arange(size) + 0.5) * cells / size - 0.5
    distance = np.minimum(np.abs(pixels[:, None] - np.arange(cells)), 2)
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    coefficients = np.where(distance < 1, near, far)
    return coefficients / coefficients.sum(axis=1, keepdims=True)  # the border has fewer neighbors
