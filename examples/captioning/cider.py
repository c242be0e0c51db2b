"""CIDEr-D: the similarity of a caption to those that people wrote for the same picture.

Reference: Vedantam, Zitnick and Parikh, "CIDEr: Consensus-based Image Description Evaluation",
2015, https://arxiv.org/abs/1411.5726.
"""

import functools
import math
from collections import Counter
from collections.abc import Callable, Sequence

N = 4
SIGMA = 6.0

Vectors = list[dict[tuple[str, ...], float]]


def cider_d(found: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[float, list[float]]:
    """The mean CIDEr-D of all captions, one a picture, and that of each; see `scorer`."""
    score, pictures = scorer(references), range(len(references))
    scores = [score(picture, text) for picture, text in zip(pictures, found, strict=True)]
    return sum(scores) / len(scores), scores


def scorer(references: Sequence[Sequence[str]]) -> Callable[[int, str], float]:
    """A function of a picture's number and a caption, to CIDEr-D; about 0 to 10, not in percent.

    CIDEr-D_n(c, S) = 10 / |S| * sum_s exp(-(l(c) - l(s))^2 / (2 sigma^2))
                      * min(g_n(c), g_n(s)) . g_n(s) / (|g_n(c)| |g_n(s)|)

    with g_n the tf-idf weights of a text's n-grams, l its length in words, sigma = 6, and the mean
    over n = 1..4. An n-gram's document frequency is the number of pictures that have it in one of
    their references.

    Args:
        references: The captions of each picture, words with single spaces.
    """
    frequency = Counter(
        gram for texts in references for gram in set().union(*(ngrams(text) for text in texts))
    )
    log_pictures = math.log(len(references))

    def weigh(counts: Counter) -> Vectors:
        vectors: Vectors = [{} for _ in range(N)]
        for gram, count in counts.items():
            idf = log_pictures - math.log(max(1, frequency[gram]))
            vectors[len(gram) - 1][gram] = count * idf
        return vectors

    # Of a few pictures: self-critical training scores two captions of each of a batch.
    @functools.lru_cache(maxsize=256)
    def weighed(picture: int) -> list[tuple[Vectors, int]]:
        return [(weigh(ngrams(text)), len(text.split())) for text in references[picture]]

    def score(picture: int, text: str) -> float:
        vectors, length = weigh(ngrams(text)), len(text.split())
        total = 0.0
        for others, other_length in weighed(picture):
            penalty = math.exp(-((length - other_length) ** 2) / (2 * SIGMA**2))
            total += penalty * sum(map(similarity, vectors, others)) / N
        return 10 * total / len(references[picture])

    return score


def ngrams(text: str) -> Counter:
    """How often each n-gram of words, n = 1..4, is in the text."""
    words = text.split()
    return Counter(
        tuple(words[start : start + n])
        for n in range(1, N + 1)
        for start in range(len(words) - n + 1)
    )


def similarity(found: dict, reference: dict) -> float:
    """The cosine, with the weights of `found` clipped to those of `reference` in the product."""
    product = sum(
        min(weight, reference[gram]) * reference[gram]
        for gram, weight in found.items()
        if gram in reference
    )
    norms = _norm(found) * _norm(reference)
    return product / norms if norms else 0.0


def _norm(vector: dict) -> float:
    return math.sqrt(sum(weight**2 for weight in vector.values()))
