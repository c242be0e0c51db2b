"""The side of this library: `python -m examples.translation train`, and its search."""

import csv
import importlib.metadata
import json
import re
import sys
from pathlib import Path

from benchmarks.end_to_end import programs

_SIZES = re.compile(r"([\d,]+) weights; \d+ batches of \d+ shapes, (\d+)% real tokens")


def run(settings, data: Path) -> dict:
    """Trains on the files in `data` and searches; returns a row of the table."""
    folder, files = settings.out / "keras_attention", {}
    for split, prefix in (("train", ""), ("dev", "dev_"), ("dev", "test_")):
        files |= {f"{prefix}{side}": data / f"{split}.{side}" for side in ("source", "target")}
    options = {**files, **network(settings)}.items()
    options = [f"--{name.replace('_', '-')}={value}" for name, value in options]
    options += ["--skip-long", *(["--jit"] if settings.jit else [])]

    def program(name, *arguments):
        log = settings.out / f"ours-{name}.log"
        return programs.run(log, settings.threads, sys.executable, "-m", *arguments)

    train = ["examples.translation", "train", "--out", folder, *options]
    row = training(*program("train", *train), folder)
    _, lines = program("beam", "benchmarks.end_to_end.search", folder, settings.beam)
    versions = {name: importlib.metadata.version(name) for name in ("keras", "tensorflow")}
    return {**row, "beam": json.loads(lines[-1].text), "versions": versions}


def network(settings) -> dict:
    """Returns the options of the network and of its training."""
    return {
        "vocabulary_size": settings.vocabulary_size,
        "fold_case": "none",  # The files are lower-cased.
        "max_length": settings.max_length,
        "attention": "luong",
        "embedding": settings.embedding,
        "encoder_units": 2 * settings.units,  # Of both directions.
        "units": settings.units,
        "dropout": settings.dropout,
        "label_smoothing": settings.label_smoothing,
        "batch_tokens": settings.batch_tokens,
        "learning_rate": settings.learning_rate,
        "epochs": settings.epochs,
        "seed": settings.seed,
    }


def training(start: float, lines: list[programs.Line], folder: Path) -> dict:
    """Returns what is known of each epoch; its times are seconds since the start of the program.

    An epoch begins when "Epoch 1/5" is printed. TensorBoard's log tells when the loss on the
    development pairs was known, which ends its training here, so that this loss is in our time,
    and when their translations were scored.
    """
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def times(part, tag):
        events = EventAccumulator(str(folder / "logs" / part), {"tensors": 0}).Reload()
        return [event.wall_time - start for event in events.Tensors(tag)]

    began = [line.seconds for line in lines if re.match(r"Epoch \d+/\d+$", line.text)]
    trained = times("validation", "evaluation_loss_vs_iterations")
    scored = times("train", "epoch_loss")
    with (folder / "history.csv").open(encoding="utf-8") as file:
        bleu = [float(row["bleu"]) for row in csv.DictReader(file)]
    shards = json.loads((folder / "shards/train/shards.json").read_text("utf-8"))["shards"]
    tokens = sum(target * count for row in shards["lengths"] for target, count in enumerate(row))
    epochs = [
        {"tokens": tokens, "seconds": end - begin, "trained": end, "scored": after, "bleu": score}
        for begin, end, after, score in zip(began, trained, scored, bleu, strict=True)
    ]
    (sizes,) = filter(None, (_SIZES.search(line.text) for line in lines))
    return {"weights": int(sizes[1].replace(",", "")), "real": int(sizes[2]), "epochs": epochs}
