"""CIDEr-D against the paper's definition, written out with loops over one n-gram at a time."""

import math
import random

import pytest

from examples.captioning.cider import cider_d


def occurrences(text, gram):
    words, n = text.split(), len(gram)
    return sum(tuple(words[i : i + n]) == gram for i in range(len(words) - n + 1))


def oracle(found, references, picture):
    """CIDEr-D of the caption of one picture."""

    def weights(text, grams):
        values = []
        for gram in grams:
            pictures = sum(any(occurrences(text, gram) for text in row) for row in references)
            values.append(occurrences(text, gram) * math.log(len(references) / max(pictures, 1)))
        return values

    caption, total = found[picture], 0.0
    for n in range(1, 5):
        texts = [caption, *references[picture]]
        grams = sorted(
            {tuple(text.split()[i : i + n]) for text in texts for i in range(len(text.split()))}
        )
        grams = [gram for gram in grams if len(gram) == n]
        of_caption = weights(caption, grams)
        for reference in references[picture]:
            of_reference = weights(reference, grams)
            product = sum(min(c, r) * r for c, r in zip(of_caption, of_reference, strict=True))
            norms = math.hypot(*of_caption) * math.hypot(*of_reference)
            gap = len(caption.split()) - len(reference.split())
            cosine = product / norms if norms else 0.0
            total += 10 * math.exp(-(gap**2) / 72) * cosine / len(references[picture]) / 4
    return total


def test_equals_the_definition():
    chooser = random.Random(7)

    def text():
        words = ["a", "dog", "runs", "on", "the", "red", "sand"]
        return " ".join(chooser.choices(words, k=chooser.randint(3, 9)))

    references = [[text() for _ in range(chooser.randint(1, 4))] for _ in range(11)]
    found = [text() for _ in references]
    mean, scores = cider_d(found, references)
    expected = [oracle(found, references, picture) for picture in range(11)]
    assert max(expected) > 1
    assert scores == pytest.approx(expected, abs=1e-12)
    assert mean == pytest.approx(sum(expected) / 11)


def test_the_only_reference_itself_scores_ten():
    texts = ["a dog runs fast", "two cats sleep in one bed", "people dance under some trees"]
    assert cider_d(texts, [[text] for text in texts])[1] == pytest.approx([10, 10, 10])


@pytest.mark.parametrize("caption", ["", "purple elephants fly away now"])
def test_nothing_in_common_scores_nothing(caption):
    assert cider_d([caption, "a dog"], [["two cats sleep"], ["a dog"]])[1][0] == 0


def test_repeating_a_rare_word_does_not_pay():
    """What the D is for: without clipping the first caption would score more."""
    references = [["a dog runs"], ["a cat sleeps"], ["a man walks"]]
    honest = cider_d(["the dog sits", "x", "x"], references)[1][0]
    repeated = cider_d(["dog dog dog", "x", "x"], references)[1][0]
    assert 0 < repeated < honest
    longer = cider_d(["a dog runs " + "a " * 9, "x", "x"], references)[1][0]
    assert longer < cider_d(["a dog runs a", "x", "x"], references)[1][0] / 2
