"""The page and the picture of a study: its runs side by side, the same test pictures for each."""

import io
from pathlib import Path
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")  # before pyplot: pictures go to files, without a display

import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
from rich.progress import track

import keras_attention as ka
from examples.captioning import explain
from examples.captioning.data import Picture
from examples.captioning.decoding import decode
from examples.captioning.images import Images
from examples.captioning.inference import Loaded
from examples.common.files import write_with
from examples.common.fonts import any_script

NAMES = {"soft": "soft attention", "hard": "hard attention", "none": "no attention"}
SIZE = 224  # pixels
MORE = 12  # times as many pictures are on the page as in attention.png


class Captioned(NamedTuple):
    """A run's test pictures, and what its model says of them: of `inference.caption_all`."""

    loaded: Loaded
    images: Images
    pictures: list[Picture]
    found: dict


def draw(folder: Path, runs: dict[str, Captioned], number: int, salient: int) -> None:
    """Writes attention.html, and of its first `number` pictures attention.png.

    They are those that all runs together have most words for; the first `salient` with saliency.
    """
    rows = zip(*(run.found["words"] for run in runs.values()), strict=True)
    lengths = [sum(map(len, row)) for row in rows]
    chosen = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))[: MORE * number]
    _, images, pictures, _ = next(iter(runs.values()))
    encoded = {i: images.read(pictures[i].name) for i in chosen}
    all_maps = _maps(runs, encoded, salient)
    drawn, compared = [], []
    for rank, i in enumerate(chosen):
        pixels = decode(tf.constant(encoded[i]), SIZE).numpy() / 255
        captions = {}
        for kind, run in runs.items():
            maps = all_maps.get((kind, i), {})
            words = run.found["words"][i] if maps else [run.found["text"][i]]
            captions[NAMES[kind]] = ka.visualize.Caption(pixels, words, maps)
            if rank < number and maps:
                title = f"{NAMES[kind]}: {pictures[i].captions[0]}"
                drawn.append((pixels, maps["attention"], words, title))
        note = "\n".join((f"{pictures[i].name}, references:", *pictures[i].captions))
        compared.append(ka.visualize.Comparison(captions, note))
    title = "Where the captioners look"
    write_with(folder / "attention.html", lambda path: ka.visualize.to_html(compared, path, title))
    if drawn:
        _draw_all(drawn, folder / "attention.png")


def _maps(
    runs: dict[str, Captioned], encoded: dict[int, bytes], salient: int
) -> dict[tuple[str, int], dict[str, np.ndarray]]:
    """For each run with attention and each picture: by their names, maps of the words (T, H, W)."""
    maps = {
        (kind, i): {"attention": run.found["attention"][i][: len(run.found["words"][i])]}
        for kind, run in runs.items()
        for i in encoded
        if kind != "none"
    }
    first = [*encoded][:salient]
    slow = [(kind, i) for kind, i in maps if i in first and runs[kind].found["words"][i]]
    saliency = {kind: explain.saliency_of(runs[kind].loaded) for kind in {kind for kind, _ in slow}}
    for kind, i in track(slow, "saliency", disable=not slow):
        found = saliency[kind](encoded[i], runs[kind].found["words"][i])
        # The mean of each place, so that it compares with attention.
        places = maps[kind, i]["attention"].shape[1:]
        maps[kind, i]["saliency"] = tf.image.resize(found[..., None], places, "area")[..., 0]
    return maps


def _draw_all(drawn: list[tuple], path: Path) -> None:
    text = "".join(title + "".join(words) for *_, words, title in drawn)
    with any_script(text, path):
        figures = [ka.visualize.overlay_on_image(*each, title=title) for *each, title in drawn]
        write_with(path, lambda beside: _stack(figures, beside))


def _stack(figures: list[plt.Figure], path: Path) -> None:
    """One picture of several figures, one below the other."""
    drawn = []
    for figure in figures:
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=80, bbox_inches="tight")  # however long the title
        plt.close(figure)
        drawn.append(plt.imread(io.BytesIO(file.getvalue()))[..., :3])
    width = max(each.shape[1] for each in drawn)
    drawn = [
        np.pad(each, [(0, 10), (0, width - each.shape[1]), (0, 0)], constant_values=1)
        for each in drawn
    ]
    plt.imsave(path, np.concatenate(drawn))
