"""What came out: scores over the seeds, and how surely attention is better than none."""

import json
from pathlib import Path

import numpy as np
from sacrebleu.metrics import BLEU

from examples.captioning import cider, data, scoring
from examples.captioning.evaluate import KINDS
from examples.captioning.run import Run

STUDY = "rewards"
SAMPLES = 1000
SCORES = ("bleu1", "bleu2", "bleu3", "bleu4", "rouge_l", "cider")
PAIRS = ("nouns", "looks", "words")


def table(folders: list[Path]) -> str:
    """Markdown, of a folder for each seed: means and standard deviations over the seeds."""
    studies = [folder / STUDY for folder in folders]
    metrics = [json.loads((study / "metrics.json").read_text()) for study in studies]
    lines = [f"{len(folders)} seeds, {metrics[0]['soft']['test_pictures']} pictures", ""]
    lines += _head("attention", *SCORES, "greedy bleu4", "entropy", "minutes")
    for kind in KINDS:
        found = [each[kind] for each in metrics]
        values = [[each["beam"][name] for each in found] for name in SCORES]
        values.append([each["greedy"]["bleu4"] for each in found])
        values.append([each["entropy"] for each in found if "entropy" in each])
        values.append([seconds(Run(study / kind)) / 60 for study in studies])
        cells = [f"{np.mean(v):.2f} ± {np.std(v, ddof=1):.2f}" if v else "" for v in values]
        lines.append(_row(kind, *cells))
    lines += ["", *_head("pairs", *PAIRS)]
    for kind in KINDS[:2]:
        found = [each[kind]["pairs"] for each in metrics]
        ranges = [np.mean([each[name] for each in found], axis=0) for name in PAIRS]
        lines.append(_row(kind, *(f"{m:.1f} ({low:.1f} to {high:.1f})" for m, low, high in ranges)))
    lines += ["", *_head("above none", "BLEU-4", "above", "by 1.0", "CIDEr-D", "above", "by 0.05")]
    for kind, gaps in above_none(studies).items():
        cells = []
        for values, bar in zip(gaps.T, (1.0, 0.05), strict=True):
            cells.append(f"{values.mean():.3f} ± {values.std():.3f}")
            cells += [f"{np.mean(values > 0):.1%}", f"{np.mean(values >= bar):.1%}"]
        lines.append(_row(kind, *cells))
    return "\n".join(lines)


def seconds(run: Run) -> float:
    """Of training: that of the runs from which it started too."""
    start = run.config().start_from
    return run.metrics()["train_seconds"] + (seconds(Run(Path(start))) if start else 0)


def above_none(studies: list[Path]) -> dict[str, np.ndarray]:
    """Differences of BLEU-4 and CIDEr-D to no attention, (samples, 2), for soft and hard.

    Each sample is of as many pictures, with replacement; a score is the mean over the seeds.
    """
    pictures = data.read_split(studies[0] / "soft" / "test.json")
    references = [picture.captions for picture in pictures]
    split = scoring.splitter(references)[1]
    references = [[split(text) for text in texts] for texts in references]
    parts = {}
    for kind in KINDS:
        found = [[split(text) for text in captions(study / kind, pictures)] for study in studies]
        counts = [[*map(bleu_counts, texts, references)] for texts in found]
        ciders = [cider.cider_d(texts, references)[1] for texts in found]
        parts[kind] = np.array(counts), np.array(ciders)  # (seeds, pictures, 10); (..., pictures)
    rng = np.random.default_rng(0)
    samples: dict[str, list] = {kind: [] for kind in KINDS}
    for _ in range(SAMPLES):
        chosen = rng.integers(0, len(pictures), len(pictures))
        for kind, (counts, ciders) in parts.items():
            bleus = [bleu4(each) for each in counts[:, chosen].sum(axis=1)]
            samples[kind].append((np.mean(bleus), ciders[:, chosen].mean()))
    return {kind: np.subtract(samples[kind], samples["none"]) for kind in KINDS[:2]}


def captions(run: Path, pictures: list[data.Picture]) -> list[str]:
    """The captions that a run found, in the order of the pictures."""
    lines = (run / "captions.tsv").read_text("utf-8").split("\n")[1:-1]
    found = dict(line.split("\t")[:2] for line in lines)
    return [found[picture.name] for picture in pictures]


def bleu_counts(text: str, references: list[str]) -> list[int]:
    """Matches and n-grams of each order, the caption's length and the closest reference's."""
    score = BLEU(tokenize="none", effective_order=True).sentence_score(text, references)
    return [*score.counts, *score.totals, score.sys_len, score.ref_len]


def bleu4(sums: np.ndarray) -> float:
    counts = sums.tolist()
    return BLEU.compute_bleu(counts[:4], counts[4:8], *counts[8:], smooth_method="none").score


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _head(*names: str) -> list[str]:
    return [_row(*names), "|---|" + "---:|" * (len(names) - 1)]
