"""ROUGE-L against the paper's definition, with every subsequence tried."""

import itertools
import random

import pytest

from examples.captioning.rouge import rouge_l


def longest_common(one, other):
    """The most words of `one` that are left when others are struck out, and stand in `other`."""

    def stands(words):
        rest = iter(other)
        return all(word in rest for word in words)

    return max(
        size for size in range(len(one) + 1) if any(map(stands, itertools.combinations(one, size)))
    )


def oracle(caption, references):
    words, rows = caption.split(), [text.split() for text in references]
    precision = max(longest_common(words, row) / len(words) for row in rows)
    recall = max(longest_common(words, row) / len(row) for row in rows)
    if precision == 0:
        return 0
    return 1 / ((1 / 2.44) / precision + (1.44 / 2.44) / recall)  # a weighted harmonic mean


def test_equals_the_definition():
    chooser = random.Random(3)

    def text():
        words = ["a", "dog", "runs", "on", "the", "red", "sand"]
        return " ".join(chooser.choices(words, k=chooser.randint(1, 8)))

    references = [[text() for _ in range(chooser.randint(1, 4))] for _ in range(40)]
    found = [text() for _ in references]
    mean, scores = rouge_l(found, references)
    expected = [oracle(*each) for each in zip(found, references, strict=True)]
    assert len(set(expected)) > 20
    assert scores == pytest.approx(expected, abs=1e-12)
    assert mean == pytest.approx(sum(expected) / len(expected))


def test_precision_and_recall_may_be_of_different_references():
    """3 of 4 words of the one, and the whole of the other."""
    _, (score,) = rouge_l(["a dog runs fast"], [["a dog runs on the red sand", "fast"]])
    assert score == pytest.approx(2.44 * 0.75 * 1 / (1 + 1.44 * 0.75))


def test_from_all_to_nothing():
    mean, scores = rouge_l(["a dog", "", "cats"], [["two cats", "a dog"], ["a dog"], ["a dog"]])
    assert scores == [1, 0, 0]
    assert mean == pytest.approx(1 / 3)
