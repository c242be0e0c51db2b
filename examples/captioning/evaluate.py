"""Scores on the test pictures: soft, hard and no attention side by side.

A study is a folder with a run for each kind of attention.
"""

import json
import time
from pathlib import Path

from examples.captioning import data, drawing, features, inference, pairs, scoring
from examples.captioning.images import open_images
from examples.captioning.meteor import check_meteor, meteor
from examples.captioning.run import Run
from examples.captioning.tokenizer import Words
from examples.common.errors import UserError
from examples.common.files import write

KINDS = ("soft", "hard", "none")


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
    salient: int = 0,
) -> dict:
    """Scores the best model of each run; writes metrics.json, and what `drawing.draw` draws.

    Each run's captions.tsv lists its test pictures, the wrong ones first. Returns the metrics.
    """
    if with_meteor:
        check_meteor()
    captioned, study = {}, runs(folder)
    for kind, run in study.items():
        metrics, captioned[kind] = _score(
            run, beam_width, length_penalty, average, with_meteor, with_pairs
        )
        run.update_metrics(metrics)
        write(run.folder / "captions.tsv", _table(captioned[kind]))
    metrics = {kind: run.metrics() for kind, run in study.items()}
    write(folder / "metrics.json", json.dumps(metrics, indent=2) + "\n")
    drawing.draw(folder, captioned, shown, salient)
    return metrics


def _score(
    run: Run,
    beam_width: int,
    length_penalty: float,
    average: str,
    with_meteor: bool,
    with_pairs: bool,
) -> tuple[dict, drawing.Captioned]:
    loaded = inference.load(run, average)
    config, frozen, model, tokenizer = loaded
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
    words, maps = found["words"], found["attention"]
    if not isinstance(tokenizer, Words):
        looks = map(scoring.whole_words, words, maps)
        words, maps = zip(*looks, strict=True)
    # The exported model searches with the beam, so its figures are the headline.
    headline = {name: metrics["beam"][name] for name in ("exact_match", "bleu4")}
    if config.attention != "none" and any(picture.objects for picture in pictures):
        headline["pointing"] = scoring.pointing(words, maps, pictures)
    if config.attention == "soft":
        metrics["entropy"] = scoring.entropy(words, maps)
    if with_pairs and config.attention != "none":
        metrics["pairs"] = pairs.measure(model, tokenizer, source, pictures)
    metrics["beam"] |= {"beam_width": beam_width, "length_penalty": length_penalty}
    metrics = {**headline, "test_pictures": len(pictures), "average": average, **metrics}
    return metrics, drawing.Captioned(loaded, images, pictures, found)


def _table(captioned: drawing.Captioned) -> str:
    rows = sorted(
        zip(captioned.pictures, captioned.found["text"], strict=True),
        key=lambda row: row[1] in row[0].captions,
    )
    lines = ["\t".join((picture.name, text, *picture.captions)) for picture, text in rows]
    return "image\tfound\treferences\n" + "".join(line + "\n" for line in lines)
