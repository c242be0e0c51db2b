"""Searches with the example's translator: `python -m benchmarks.end_to_end.search RUN WIDTH`."""

import json
import sys
import time
from pathlib import Path

from examples.translation import inference, scoring
from examples.translation.corpora import read_tsv
from examples.translation.run import Run
from examples.translation.search import Search


def search(run: Run, width: int) -> dict:
    """Translates the development pairs twice, text to text; returns BLEU and the seconds of both.

    The first time makes the graph.
    """
    config, *parts = inference.load(run)
    pairs = list(read_tsv(run.folder / "dev.tsv"))
    translate = inference.translator(*parts, config.max_length, Search(beam_width=width))
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        found = inference.translate_all(translate, [pair.source for pair in pairs])
        seconds.append(time.perf_counter() - start)
    references = inference.references(parts[-1], pairs)
    bleu = scoring.scores(found, references, config.bleu_tokenize)["bleu"]
    return {"bleu": bleu, "first": seconds[0], "seconds": seconds[1]}


if __name__ == "__main__":
    print(json.dumps(search(Run(Path(sys.argv[1])), int(sys.argv[2]))))
