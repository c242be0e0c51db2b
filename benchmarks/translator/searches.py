"""Compares what searches found."""

import numpy as np

from benchmarks.case import Comparison
from benchmarks.compare import relative_difference
from benchmarks.translator import problem


def compare(sizes, outputs):
    """Compares the best sequences and their scores with the first contender's.

    Sequences have to be the same words, and of full length: nobody may have stopped early.
    """
    comparisons = []
    first = next(iter(outputs), None)
    for name, values in outputs.items():
        tokens, expected = values["tokens"], outputs[first]["tokens"]
        full = (sizes["batch"], sizes["target_steps"])
        whole = tokens.shape == full and not np.any(tokens == problem.END)
        comparisons.append(Comparison(f"{name}: takes all steps", 0 if whole else 1, 0))
        if name == first or not whole:
            continue
        differing = np.mean(np.any(tokens != expected, axis=1))
        scores = relative_difference(values["scores"], outputs[first]["scores"])
        comparisons += [
            Comparison(f"{name}: share of sentences with other words", float(differing), 0),
            Comparison(f"{name}: scores against {first}", scores, 1e-5),
        ]
    return comparisons
