"""Draws docs/translation.md's curves from the history.csv of its runs, which lie beside this file.

python docs/pictures/multi30k/curves.py
"""

import csv
import pathlib

import matplotlib

matplotlib.use("Agg")  # The picture goes to a file; a display is not needed.

from matplotlib import pyplot as plt

FOLDER = pathlib.Path(__file__).parent
NAMES = {
    "transformer": "Transformer",
    "bahdanau": "GRUs, Bahdanau attention",
    "none": "GRUs, without attention",
}
STYLE = {
    "font.size": 8,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "keras_attention",  # two runs give the same names
}


def main():
    with plt.rc_context(STYLE):
        figure, ax = plt.subplots(figsize=(6, 3.2), layout="constrained")
        for name, label in NAMES.items():
            with (FOLDER / f"{name}.csv").open() as file:
                rows = list(csv.DictReader(file))
            epochs, bleu = ([float(row[column]) for row in rows] for column in ("epoch", "bleu"))
            ax.plot(epochs, bleu, marker=".", label=label)
        ax.set(xlabel="epoch", ylabel="BLEU, greedy", ylim=(0, None), xlim=(0, None))
        ax.grid(alpha=0.3)
        ax.legend(loc="lower right")
        figure.savefig(FOLDER / "curves.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
