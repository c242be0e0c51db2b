"""The matrix of attention weights, as the papers draw it."""

import os
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt

from keras_attention.visualize import validation


def plot_alignment(
    weights: Any,
    source: Sequence[str] | None = None,
    target: Sequence[str] | None = None,
    ax: plt.Axes | None = None,
    path: str | os.PathLike | None = None,
    title: str | None = None,
) -> plt.Axes:
    """Draws attention weights as in the papers: rows are queries, columns are memory, white is 1.

    Args:
        weights: (T, S). Each row has the weights of one query.
        source: Labels of the S memory steps.
        target: Labels of the T queries.
        ax: The axes to draw on. By default, those of a new figure of suitable size.
        path: A file to which the figure is written.
        title: The title of the axes.

    Returns:
        The axes.

    Raises:
        ValueError: If the weights are not (T, S), or the number of labels is not that of the steps.

    Example:

    >>> axes = ka.visualize.plot_alignment(np.eye(3), list("abc"), list("xyz"), path="a.png")

    Reference: Bahdanau, Cho, Bengio 2015, arXiv:1409.0473, figure 3.
    """
    weights = validation.as_attention("weights", weights, "(queries, memory)")
    for argument, labels, size in (("source", source, 1), ("target", target, 0)):
        if labels is not None:
            validation.check_labels(argument, labels, weights.shape[size], "weights", weights.shape)
    queries, memory = weights.shape
    is_new = ax is None
    if ax is None:
        _, ax = plt.subplots(figsize=(1.5 + 0.35 * memory, 1.2 + 0.35 * queries))
    ax.imshow(weights, cmap="gray", vmin=0, vmax=1, aspect="auto")
    ax.xaxis.tick_top()
    if source is not None:
        ax.set_xticks(range(memory), source, rotation=90, parse_math=False)
    if target is not None:
        ax.set_yticks(range(queries), target, parse_math=False)
    if title is not None:
        ax.set_title(title, parse_math=False)
    if path is not None:
        ax.figure.savefig(path, bbox_inches="tight", dpi=150)
        if is_new:
            plt.close(ax.figure)
    return ax
