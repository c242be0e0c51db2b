"""The held-out test pairs: greedy and beam side by side, the worst sentences, alignments."""

import dataclasses
import time

from sacrebleu.metrics.chrf import CHRF

from examples.common.files import write
from examples.translation import alignments, inference, scoring
from examples.translation.corpora import read_tsv
from examples.translation.run import Run
from examples.translation.search import GREEDY, Search


def evaluate(run: Run, search: Search, pictures: int, average: str) -> dict:
    """Scores the run's best model; writes metrics.json, translations.tsv and alignment.png.

    Returns the metrics, and under "rows" each test pair with what was found, the worst first.
    """
    config, model, source, target = inference.load(run, average)
    pairs = list(read_tsv(run.folder / "test.tsv"))
    texts = [pair.source for pair in pairs]
    references = inference.references(target, pairs)
    found, results = {}, {}
    for name, settings in {"greedy": GREEDY, "beam": search}.items():
        translate = inference.translator(model, source, target, config.max_length, settings)
        start = time.perf_counter()
        found[name] = inference.translate_all(translate, texts)
        seconds = time.perf_counter() - start
        result = scoring.scores(found[name], references, config.bleu_tokenize)
        results[name] = {**result, "seconds": round(seconds, 1)}
    results["beam"] |= dataclasses.asdict(search)

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
    if config.attention != "none":
        picture = run.folder / "alignment.png"
        alignments.draw_alignments(picture, translate, texts, found["beam"], pictures)
    run.update_metrics(metrics)
    return {**run.metrics(), "rows": rows}
