"""The attention over a few sentences as a picture, in whatever script they are."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # before pyplot: pictures go to files, without a display

import matplotlib.pyplot as plt
import tensorflow as tf

import keras_attention as ka
from examples.common.files import write_with
from examples.common.fonts import any_script
from examples.common.tokenizer import SPACE


def draw_alignments(path: Path, translate, texts: list[str], found: list[str], number: int) -> None:
    """The attention of the longest sentences, no two translations alike.

    Columns stand from left to right in the order in which the source is read, in Arabic and Hebrew
    too, so that in each picture the diagonal that falls means the same: translated word by word.
    Each token is written as its script is, from right to left or joined (by matplotlib, from 3.11).
    """
    openings: dict[str, str] = {}
    for i in sorted(range(len(texts)), key=lambda i: (-len(texts[i].split()), -len(texts[i]))):
        openings.setdefault(found[i].partition(" ")[0], texts[i])
    chosen = list(openings.values())[:number]
    results = [
        {name: value.numpy()[0] for name, value in translate(tf.constant([text])).items()}
        for text in chosen
    ]
    labels = [[_labels(result[name]) for name in ("source_tokens", "tokens")] for result in results]
    columns = min(2, len(chosen))
    rows = -(-len(chosen) // columns)
    options = {"figsize": (7 * columns, 6 * rows), "squeeze": False, "layout": "constrained"}
    text = "".join("".join(source + target) for source, target in labels)
    with any_script(text, path):
        figure, axes = plt.subplots(rows, columns, **options)
        for ax in axes.flat[len(chosen) :]:
            ax.axis("off")
        for ax, result, (source, target) in zip(axes.flat, results, labels, strict=False):
            # One row and column more, for [END], which a translation at the limit lacks.
            weights = result["attention"][: len(target) + 1, : len(source) + 1]
            target = [*target, "[END]"][: len(weights)]
            ka.visualize.plot_alignment(weights, [*source, "[END]"], target, ax=ax)
        write_with(path, figure.savefig)
    plt.close(figure)


def _labels(tokens) -> list[str]:
    return [token.decode("utf-8", "replace").replace(SPACE, "") for token in tokens if token]
