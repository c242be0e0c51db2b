"""Captions of Flickr8k, with soft, hard and no attention: `python -m benchmarks.flickr8k ...`.

The Python that runs it is ours, with what the examples need. `--captions` is a file in the layout
of the example, whose dev pictures are only scored with here: 315 of its training pictures, the last
of them, choose the epochs. A training that was stopped goes on when the command is given again.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from sacrebleu.metrics import BLEU

from examples.captioning import cider, data, scoring

DEV = 315
SAMPLES = 1000
OPTIONS = (
    "--encoder efficientnet --size 448 --min-count 5 --max-length 18 --units 256 "
    "--attention-units 128 --channels 256 --embedding 128 --dropout 0.3 --batch-size 64 --keep 5"
)
# One after the other: folder, attention, options. {} is the folder of the seed.
RUNS = (
    ("start", "soft", "--epochs 4 --learning-rate 2e-3"),
    (
        "study",
        "soft",
        "--epochs 4 --learning-rate 1e-3 --distractors 1 --start-from {}/start/soft",
    ),
    (
        "study",
        "hard",
        "--estimator straight_through --epochs 2 --learning-rate 5e-4 --distractors 1 "
        "--start-from {}/study/soft",
    ),
    ("study", "none", "--epochs 8 --learning-rate 2e-3"),
)
EVALUATE = "--beam-width 3 --length-penalty 0.6 --average last --pairs --saliency 0"
KINDS = ("soft", "hard", "none")


def main() -> None:
    settings = parse()
    out = settings.out.absolute()
    (out / "cache").mkdir(parents=True, exist_ok=True)
    listed = json.loads(settings.captions.read_text("utf-8"))
    train, test = listed["train"], listed["dev"]
    captions = out / "captions.json"
    splits = {"train": train[:-DEV], "dev": train[-DEV:], "test": test}
    captions.write_text(json.dumps(splits), "utf-8")
    source = ["--images", settings.images.absolute(), "--captions", captions]

    def study(seed: int) -> None:
        folder = out / f"seed{seed}"
        for name, attention, options in RUNS:
            (folder / name).mkdir(parents=True, exist_ok=True)
            cache = folder / name / "cache"
            if not cache.exists():
                cache.symlink_to(out / "cache")
            choices = f"{OPTIONS} {options}".format(folder).split()
            more = ["--attention", attention, "--seed", seed, "--out", folder / name]
            run(folder / name / f"{attention}.log", "train", *source, *choices, *more)
        evaluate = [*EVALUATE.split(), "--out", folder / "study"]
        run(folder / "study" / "evaluate.log", "evaluate", *evaluate)

    with ThreadPoolExecutor(settings.jobs) as pool:
        list(pool.map(study, range(settings.seeds)))
    print(table([out / f"seed{seed}" for seed in range(settings.seeds)]))


def parse() -> argparse.Namespace:
    defaults = argparse.ArgumentDefaultsHelpFormatter
    parser = argparse.ArgumentParser("python -m benchmarks.flickr8k", formatter_class=defaults)
    add = parser.add_argument
    add("--images", type=Path, required=True, help="the folder or tar of the pictures")
    add("--captions", type=Path, required=True, help="train and dev, in the example's layout")
    add("--out", type=Path, default=Path("out/flickr8k"), help="for runs, logs and features")
    add("--seeds", type=int, default=3, help="how often everything is trained")
    add("--jobs", type=int, default=2, help="how many seeds at a time, each on one core")
    return parser.parse_args()


def run(log: Path, *command) -> None:
    """Runs a command of the example on one core; its output goes to a file."""
    threads = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "2"}
    with log.open("a") as file:
        subprocess.run(
            [sys.executable, "-m", "examples.captioning", *map(str, command)],
            env={**os.environ, **threads},
            stdout=file,
            stderr=subprocess.STDOUT,
            check=True,
        )


# ---------------------------------------------------------------- the table


def table(folders: list[Path]) -> str:
    """Markdown: means and standard deviations over the seeds, and what is above no attention."""
    metrics = [json.loads((folder / "study" / "metrics.json").read_text()) for folder in folders]
    rows = [f"{len(folders)} seeds, {metrics[0]['soft']['test_pictures']} pictures", ""]
    names = ["bleu1", "bleu2", "bleu3", "bleu4", "rouge_l", "cider"]
    rows.append("| | " + " | ".join([*names, "greedy bleu4", "entropy", "minutes"]) + " |")
    rows.append("|---|" + "---:|" * (len(names) + 3))
    for kind in KINDS:
        each = [found[kind] for found in metrics]
        values = [[one["beam"][name] for one in each] for name in names]
        values.append([one["greedy"]["bleu4"] for one in each])
        values.append([one.get("entropy", np.nan) for one in each])
        values.append([minutes(folder, kind) for folder in folders])
        cells = [f"{np.mean(value):.2f} ± {np.std(value, ddof=1):.2f}" for value in values]
        rows.append(f"| {kind} | " + " | ".join(cells) + " |")
    rows += ["", "| pairs | nouns | looks | words |", "|---|---:|---:|---:|"]
    for kind in KINDS[:2]:
        found = [one[kind]["pairs"] for one in metrics]
        cells = []
        for name in ("nouns", "looks", "words"):
            mean, low, high = np.mean([one[name] for one in found], axis=0)
            cells.append(f"{mean:.1f} ({low:.1f} to {high:.1f})")
        rows.append(f"| {kind} | " + " | ".join(cells) + " |")
    return "\n".join([*rows, "", *above_none(folders)])


def minutes(folder: Path, kind: str) -> float:
    """Of training: that of the runs which it started from too."""
    runs = {"soft": ("start/soft", "study/soft"), "none": ("study/none",)}
    runs["hard"] = (*runs["soft"], "study/hard")
    files = [folder / run / "metrics.json" for run in runs[kind]]
    return sum(json.loads(file.read_text())["train_seconds"] for file in files) / 60


def above_none(folders: list[Path]) -> list[str]:
    """How much soft and hard are above none: bootstrap samples of pictures, means over seeds."""
    pictures = data.read_split(folders[0] / "study" / "soft" / "test.json")
    references = [picture.captions for picture in pictures]
    split = scoring.splitter(references)[1]
    rows = [[split(text) for text in texts] for texts in references]
    bleu = BLEU(tokenize="none", smooth_method="none", force=True)
    counts: dict = {}  # for each kind: (seeds, pictures, 10), and (seeds, pictures)
    for kind in KINDS:
        found = [captions(folder / "study" / kind, pictures) for folder in folders]
        texts = [[split(text) for text in one] for one in found]
        statistics = [
            [_statistics(bleu, *pair) for pair in zip(one, rows, strict=True)] for one in texts
        ]
        counts[kind] = (
            np.array(statistics),
            np.array([cider.cider_d(one, rows)[1] for one in texts]),
        )
    rng = np.random.default_rng(0)
    gaps = {kind: [] for kind in KINDS[:2]}
    for _ in range(SAMPLES):
        chosen = rng.integers(0, len(pictures), len(pictures))
        scores = {}
        for kind, (statistics, ciders) in counts.items():
            sums = statistics[:, chosen].sum(1)
            scores[kind] = np.mean([_bleu4(one) for one in sums]), ciders[:, chosen].mean()
        for kind, values in gaps.items():
            values.append(np.subtract(scores[kind], scores["none"]))
    lines = [
        "| above none | BLEU-4 | CIDEr-D | samples above, and by 1.0 or 0.05 |",
        "|---|---:|---:|---|",
    ]
    for kind, values in gaps.items():
        values = np.array(values)
        mean, deviation = values.mean(0), values.std(0)
        cells = [f"{mean[i]:.2f} ± {deviation[i]:.2f}" for i in (0, 1)]
        above, enough = (values > 0).mean(0), (values >= (1, 0.05)).mean(0)
        shares = ", ".join(
            f"{name} {above[i]:.1%} and {enough[i]:.1%}"
            for i, name in enumerate(("BLEU-4", "CIDEr-D"))
        )
        lines.append(f"| {kind} | {' | '.join(cells)} | {shares} |")
    return lines


def captions(run: Path, pictures: list[data.Picture]) -> list[str]:
    with (run / "captions.tsv").open(encoding="utf-8", newline="") as file:
        lines = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        found = {line[0]: line[1] for line in lines}
    return [found[picture.name] for picture in pictures]


def _statistics(bleu: BLEU, text: str, references: list[str]) -> list[int]:
    score = bleu.sentence_score(text, references)
    return [*score.counts, *score.totals, score.sys_len, score.ref_len]


def _bleu4(sums: np.ndarray) -> float:
    counts = [int(value) for value in sums]
    return BLEU.compute_bleu(counts[:4], counts[4:8], *counts[8:], smooth_method="none").score


if __name__ == "__main__":
    main()
