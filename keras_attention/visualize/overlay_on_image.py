"""A picture per word: where in an image the model looked."""

import math
import os
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from keras_attention.visualize import validation

# By lightness alone, which everybody sees: dark where nothing was looked for, and a little white
# on top of what was, which shows in dark images too. `page.html` does the same.
SHADE = LinearSegmentedColormap.from_list(
    "shade", [(0, (0, 0, 0, 0.65)), (0.6, (0, 0, 0, 0)), (0.6, (1, 1, 1, 0)), (1, (1, 1, 1, 0.35))]
)
MOST_COLUMNS = 6


def overlay_on_image(
    image,
    maps,
    words: Sequence[str],
    path: str | os.PathLike | None = None,
    title: str | None = None,
) -> Figure:
    """Draws the image, then once for each word, dimmed where it did not look.

    A map covers the whole image, whatever its grid, and is interpolated to the image's size. Its
    largest weight is its brightest place: brightness compares places, not words.

    Args:
        image: (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), uint8 from 0 to 255 or floats from 0 to 1.
        maps: (T, rows, columns), the weights of each word, such as spatial attention returns.
        words: The T words.
        path: A file to write the figure to.
        title: A title.

    Returns:
        The figure.

    Raises:
        ValueError: if the image or the maps have other shapes or values, or the words are not as
            many as the maps.

    Example:

    >>> maps = np.eye(4).reshape(4, 2, 2)
    >>> words = ["a", "dog", "runs", "."]
    >>> figure = ka.visualize.overlay_on_image(np.ones((32, 48, 3)), maps, words, path="a.png")

    Reference: Xu et al. 2015, arXiv:1502.03044, figures 2 and 3.
    """
    maps = validation.maps(maps, words)
    image = validation.image(image)
    height, width = image.shape[:2]
    rows = math.ceil((len(maps) + 1) / MOST_COLUMNS)
    columns = math.ceil((len(maps) + 1) / rows)
    # As large as 2 x 2 inches, whichever way the image lies.
    scale = 2 / max(height, width)
    size = (columns * max(scale * width, 0.8), rows * (scale * height + 0.35))
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    for ax in axes.flat:
        ax.axis("off")
    for ax in axes.flat[: len(maps) + 1]:
        ax.imshow(image)
    for ax, weights, word in zip(axes.flat[1:], maps, words, strict=False):
        largest = weights.max() or 1
        ax.imshow(_smooth(weights / largest, height, width), cmap=SHADE, vmin=0, vmax=1)
        ax.set_title(word, parse_math=False)
    if title is not None:
        figure.suptitle(title, parse_math=False)
    if path is not None:
        figure.savefig(path, bbox_inches="tight", dpi=150)
        plt.close(figure)
    return figure


def _smooth(weights, height, width):
    """(H, W), from 0 to 1, of weights from 0 to 1 on a grid."""
    rows, columns = weights.shape
    return np.clip(_cubic(height, rows) @ weights @ _cubic(width, columns).T, 0, 1)


def _cubic(size, cells):
    """(size, cells): how much each cell counts at each pixel: by Catmull-Rom's cubic.

    In its middle a cell alone counts, so that the largest weight is also the brightest place.
    """
    pixels = (np.arange(size) + 0.5) * cells / size - 0.5
    distance = np.minimum(np.abs(pixels[:, None] - np.arange(cells)), 2)
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    counts = np.where(distance < 1, near, far)
    return counts / counts.sum(axis=1, keepdims=True)  # fewer cells count at the border
