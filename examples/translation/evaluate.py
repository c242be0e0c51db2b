"""The held-out test pairs: greedy and beam side by side, the worst sentences, alignments."""

import time

import matplotlib

matplotlib.use("Agg")  # before pyplot: pictures go to files, without a display

import matplotlib.pyplot as plt
import tensorflow as tf
from sacrebleu.metrics.chrf import CHRF

import keras_attention as ka
from examples.common.files import write, write_with
from examples.translation import inference, scoring
from examples.translation.corpora import read_tsv
from examples.translation.run import Run
from examples.translation.tokenizer import SPACE


def evaluate(run: Run, beam_width: int, length_penalty: float, pictures: int, average: str) -> dict:
    """Scores the run's best model; writes metrics.json, translations.tsv and alignment.png.

    Returns the metrics, and under "rows" each test pair with what was found, the worst first.
    """
    config, model, source, target = inference.load(run, average)
    pairs = read_tsv(run.folder / "test.tsv")
    texts = [pair.source for pair in pairs]
    references = inference.references(target, pairs)
    found, results = {}, {}
    searches = {"greedy": (1, 0.0), "beam": (beam_width, length_penalty)}
    for name, (width, penalty) in searches.items():
        translate = inference.translator(model, source, target, config.max_length, width, penalty)
        start = time.perf_counter()
        found[name] = inference.translate_all(translate, texts)
        seconds = time.perf_counter() - start
        result = scoring.scores(found[name], references, config.bleu_tokenize)
        results[name] = {**result, "seconds": round(seconds, 1)}
    results["beam"] |= {"beam_width": beam_width, "length_penalty": length_penalty}

    # The exported model searches with the beam, so its figures are the headline.
    metrics = {
        "bleu": results["beam"]["bleu"],
        "exact_match": results["beam"]["exact_match"],
        "signature": results["beam"].pop("signature"),
        "test_pairs": len(pairs),
        "average": average,
        **results,
    }
    metrics["greedy"].pop("signature")
    rows = sorted(
        zip(texts, references, found["greedy"], found["beam"], strict=True),
        # chrF: BLEU says little about a single short sentence.
        key=lambda row: CHRF().sentence_score(row[3], [row[1]]).score,
    )
    header = "source\treference\tgreedy\tbeam\n"
    write(run.folder / "translations.tsv", header + "".join("\t".join(row) + "\n" for row in rows))
    draw_alignments(run, translate, texts, found["beam"], pictures)
    run.update_metrics(metrics)
    return {**run.metrics(), "rows": rows}


def draw_alignments(run: Run, translate, texts: list[str], found: list[str], number: int) -> None:
    """alignment.png: the attention of the longest test sentences, no two translations alike."""
    chosen, seen = [], set()
    for i in sorted(range(len(texts)), key=lambda i: (-len(texts[i].split()), i)):
        opening = found[i].split()[:1]
        if tuple(opening) not in seen and len(chosen) < number:
            seen.add(tuple(opening))
            chosen.append(texts[i])
    columns = min(2, len(chosen))
    rows = -(-len(chosen) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(7 * columns, 6 * rows), squeeze=False, layout="constrained"
    )
    for ax in axes.flat[len(chosen) :]:
        ax.axis("off")
    for ax, text in zip(axes.flat, chosen, strict=False):
        result = {name: value.numpy()[0] for name, value in translate(tf.constant([text])).items()}
        source, target = (_labels(result[name]) for name in ("source_tokens", "tokens"))
        # One row and column more, for [END].
        weights = result["attention"][: len(target) + 1, : len(source) + 1]
        ka.visualize.plot_alignment(weights, [*source, "[END]"], [*target, "[END]"], ax=ax)
    write_with(run.folder / "alignment.png", figure.savefig)
    plt.close(figure)


def _labels(tokens) -> list[str]:
    return [token.decode().replace(SPACE, "") for token in tokens if token]
