"""Scores on the test pictures: soft, hard and no attention side by side, and their maps drawn.

A study is a folder with a run for each kind of attention.
"""

import io
import json
import time
from pathlib import Path
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")  # before pyplot: pictures go to files, without a display

import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf

import keras_attention as ka
from examples.captioning import data, features, inference, pairs, scoring
from examples.captioning.data import Picture
from examples.captioning.decoding import decode
from examples.captioning.images import open_images
from examples.captioning.meteor import check_meteor, meteor
from examples.captioning.run import Run
from examples.captioning.tokenizer import Words
from examples.common.errors import UserError
from examples.common.files import write, write_with
from examples.common.fonts import any_script

KINDS = ("soft", "hard", "none")


class Result(NamedTuple):
    """The metrics of a run on the test pictures, and the outputs of `inference.caption_all`."""

    metrics: dict
    pictures: list[Picture]
    images: Path
    found: dict


def runs(folder: Path) -> dict[str, Run]:
    """The runs of a study, by their attention."""
    found = {kind: Run(folder / kind) for kind in KINDS if (folder / kind / "config.json").exists()}
    if not found:
        places = ", ".join(str(folder / kind) for kind in KINDS)
        raise UserError(f"{folder}: holds no run (expected one in {places}): train first")
    if len({run.config().fingerprint for run in found.values()}) > 1:
        raise UserError(f"{folder}: its runs are of different data, which cannot be compared")
    return found


def evaluate(
    folder: Path,
    beam_width: int,
    length_penalty: float,
    shown: int,
    average: str,
    with_meteor: bool = False,
    with_pairs: bool = False,
) -> dict:
    """Scores the best model of each run; writes metrics.json, attention.png and attention.html.

    Each run's captions.tsv lists its test pictures, the wrong ones first. Returns the metrics.
    """
    if with_meteor:
        check_meteor()
    results, study = {}, runs(folder)
    for kind, run in study.items():
        results[kind] = _score(run, beam_width, length_penalty, average, with_meteor, with_pairs)
        run.update_metrics(results[kind].metrics)
        write(run.folder / "captions.tsv", _table(results[kind]))
    metrics = {kind: run.metrics() for kind, run in study.items()}
    write(folder / "metrics.json", json.dumps(metrics, indent=2) + "\n")
    attending = {kind: result for kind, result in results.items() if kind != "none"}
    if attending:
        _draw(folder, attending, shown)
    return metrics


def _score(
    run: Run,
    beam_width: int,
    length_penalty: float,
    average: str,
    with_meteor: bool,
    with_pairs: bool,
) -> Result:
    config, frozen, model, tokenizer = inference.load(run, average)
    pictures = data.read_split(run.folder / "test.json")
    images = open_images(run.images)
    names = [picture.name for picture in pictures]
    missing = sorted(set(names).difference(images.names()))
    if missing:
        problem = f"{len(missing)} of the test pictures missing, {', '.join(missing[:5])}"
        raise UserError(f"{run.images}: {problem}")
    source = features.compute(frozen, images, names, run.cache)
    references = [picture.captions for picture in pictures]
    metrics, found = {}, {}
    for search, options in {"greedy": (1, 0.0), "beam": (beam_width, length_penalty)}.items():
        caption = inference.captioner(model, tokenizer, config, *options)
        start = time.perf_counter()
        found = inference.caption_all(caption, source)
        seconds = round(time.perf_counter() - start, 1)
        scores = scoring.scores(found["text"], references, config.bleu_tokenize)
        metrics[search] = {**scores, "seconds": seconds}
        if with_meteor:
            metrics[search]["meteor"] = round(100 * meteor(found["text"], references), 2)
    # The exported model searches with the beam, so its figures are the headline.
    headline = {name: metrics["beam"][name] for name in ("exact_match", "bleu4")}
    if config.attention != "none" and any(picture.objects for picture in pictures):
        looks = zip(found["words"], found["attention"], strict=True)
        if not isinstance(tokenizer, Words):
            looks = (scoring.whole_words(*look) for look in looks)
        headline["pointing"] = scoring.pointing(*zip(*looks, strict=True), pictures)
    if with_pairs and config.attention != "none":
        metrics["pairs"] = pairs.measure(model, tokenizer, source, pictures)
    metrics["beam"] |= {"beam_width": beam_width, "length_penalty": length_penalty}
    metrics = {**headline, "test_pictures": len(pictures), "average": average, **metrics}
    return Result(metrics, pictures, run.images, found)


def _table(result: Result) -> str:
    rows = sorted(
        zip(result.pictures, result.found["text"], strict=True),
        key=lambda row: row[1] in row[0].captions,
    )
    lines = ["\t".join((picture.name, text, *picture.captions)) for picture, text in rows]
    return "image\tfound\treferences\n" + "".join(line + "\n" for line in lines)


def _draw(folder: Path, results: dict[str, Result], number: int) -> None:
    """attention.png, the pictures with the longest captions; attention.html, twelve times more."""
    examples, drawn = [], []
    for kind, result in results.items():
        all_words = result.found["words"]
        longest = sorted(range(len(all_words)), key=lambda i: (-len(all_words[i]), i))
        images = open_images(result.images)
        for rank, i in enumerate(longest[: 12 * number]):
            picture, words = result.pictures[i], all_words[i]
            pixels = decode(tf.constant(images.read(picture.name)), 224).numpy() / 255
            maps = result.found["attention"][i][: len(words)]
            note = f"{kind} attention, {picture.name}: {' | '.join(picture.captions)}"
            examples.append(ka.visualize.Caption(pixels, words, maps, note))
            if rank < number:
                drawn.append((pixels, maps, words, f"{kind} attention: {picture.captions[0]}"))
    write_with(
        folder / "attention.html",
        lambda path: ka.visualize.to_html(examples, path, title="Where the captioner looks"),
    )
    text = "".join(title + "".join(words) for *_, words, title in drawn)
    with any_script(text, folder / "attention.png"):
        figures = [ka.visualize.overlay_on_image(*each, title=title) for *each, title in drawn]
        write_with(folder / "attention.png", lambda path: _stack(figures, path))


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
