"""Draws the pictures of docs/mechanisms.md with the layers that they show.

    python docs/pictures/draw.py

The layers' variables are set by hand to show one effect, or trained in seconds.
"""

import argparse
import importlib
import os
import pathlib
import pkgutil
import re

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import matplotlib

matplotlib.use("Agg")  # The pictures go to files; a display is not needed.

from matplotlib import pyplot as plt

FOLDER = pathlib.Path(__file__).parent
# The page names the pictures; the function of that name in a module of this folder draws one.
NAMES = re.findall(r"\(pictures/(\w+)\.svg\)", (FOLDER.parent / "mechanisms.md").read_text())
MODULES = [
    importlib.import_module(found.name)
    for found in pkgutil.iter_modules([str(FOLDER)])
    if found.name not in ("draw", "drawing")
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
    parser.add_argument("--out", type=pathlib.Path, default=FOLDER)
    parser.add_argument("--format", choices=["svg", "png"], default="svg")
    options = parser.parse_args()
    # Without a date two runs write the same file.
    metadata = {"Date": None} if options.format == "svg" else None
    options.out.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        draw = next(vars(module)[name] for module in MODULES if name in vars(module))
        keras.utils.set_random_seed(0)
        with plt.rc_context(STYLE):
            figure = draw()
            path = options.out / f"{name}.{options.format}"
            figure.savefig(path, dpi=120, metadata=metadata)
            plt.close(figure)


if __name__ == "__main__":
    main()
