"""Draws the pictures of docs/mechanisms.md with the layers that they show.

    python docs/pictures/draw.py

The weights are set by hand, to what the picture is about, or learned in seconds.
"""

import argparse
import os
import pathlib

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import matplotlib

matplotlib.use("Agg")  # The pictures go to files; a display is not needed.

import layers
import scores_and_alignments
import snail
import transformer
from matplotlib import pyplot as plt

PICTURES = [
    scores_and_alignments.scores,
    scores_and_alignments.alignments,
    scores_and_alignments.local,
    scores_and_alignments.monotonic,
    layers.history,
    layers.pointers,
    layers.self_attention,
    transformer.transformer,
    snail.few_shot,
    layers.pooling,
    layers.images,
    layers.addressing,
]
STYLE = {
    "axes.titlesize": 10,
    "figure.constrained_layout.use": True,
    "font.family": "sans-serif",
    "font.size": 8,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "keras_attention",  # two runs give the same names
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent)
    parser.add_argument("--format", choices=["svg", "png"], default="svg")
    options = parser.parse_args()
    # Without a date two runs write the same file.
    metadata = {"Date": None} if options.format == "svg" else None
    options.out.mkdir(parents=True, exist_ok=True)
    for picture in PICTURES:
        keras.utils.set_random_seed(0)
        with plt.rc_context(STYLE):
            figure = picture()
            path = options.out / f"{picture.__name__}.{options.format}"
            figure.savefig(path, dpi=120, metadata=metadata)
            plt.close(figure)


if __name__ == "__main__":
    main()
