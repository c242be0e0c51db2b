"""Scores of captions: BLEU-1 to 4, ROUGE-L, CIDEr-D, exact match. Of maps: pointing, entropy."""

import itertools
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from sacrebleu.metrics import BLEU
from scipy.special import entr

from examples.captioning import scenes
from examples.captioning.cider import cider_d
from examples.captioning.data import Picture
from examples.captioning.rouge import rouge_l
from examples.captioning.tokenizer import bleu_tokenizer
from examples.common.tokenizer import SPACE


def scores(
    found: Sequence[str], references: Sequence[Sequence[str]], tokenize: str = "auto"
) -> dict:
    """All but CIDEr-D in percent.

    Captions are normalized (lower-cased, without punctuation) and split at spaces, as in Xu 2015,
    or by another tokenizer of sacrebleu; "auto" chooses it by their script. BLEU uses all
    references of a picture, without smoothing.
    """
    exact = np.mean([text in row for text, row in zip(found, references, strict=True)])
    tokenize, split = splitter(references, tokenize)
    found, references = [*map(split, found)], [[*map(split, row)] for row in references]
    most = max(map(len, references))
    columns = [[row[i] if i < len(row) else None for row in references] for i in range(most)]
    bleu = {f"bleu{n}": round(_bleu(n).corpus_score(found, columns).score, 2) for n in range(1, 5)}
    return {
        **bleu,
        "rouge_l": round(100 * rouge_l(found, references)[0], 2),
        "cider": round(cider_d(found, references)[0], 4),
        "exact_match": round(100 * float(exact), 2),
        "tokenize": tokenize,
    }


def splitter(
    references: Sequence[Sequence[str]], tokenize: str = "auto"
) -> tuple[str, Callable[[str], str]]:
    """The name of sacrebleu's tokenizer for captions, and it: to words with single spaces."""
    if tokenize == "auto":
        tokenize = bleu_tokenizer(text for row in references for text in row)
    return tokenize, BLEU(tokenize=tokenize).tokenizer


def _bleu(order: int) -> BLEU:
    return BLEU(tokenize="none", max_ngram_order=order, smooth_method="none", force=True)


def pointing(found: Iterable[Sequence[str]], maps: Iterable, pictures: Iterable[Picture]) -> float:
    """The share of nouns whose map (H, W) has its peak in the box of such an object.

    In percent, over all nouns in the captions; one that is not in the picture counts as missed.
    """
    hits = []
    for words, weights, picture in zip(found, maps, pictures, strict=True):
        for word, map_ in zip(words, weights, strict=False):
            noun = scenes.noun_of(word)
            if noun is not None:
                boxes = [box for name, box in picture.objects if name == noun]
                hits.append(any(_holds(box, *peak(map_)) for box in boxes))
    return round(100 * float(np.mean(hits)), 2) if hits else 0.0


def entropy(found: Iterable[Sequence[str]], maps: Iterable) -> float:
    """The mean entropy of the words' maps (H, W), in percent of that of equal weights."""
    shares = [
        entr(map_).sum() / np.log(max(2, map_.size))
        for words, weights in zip(found, maps, strict=True)
        for map_ in weights[: len(words)]
    ]
    return round(100 * float(np.mean(shares)), 2) if shares else 0.0


def whole_words(pieces: Sequence[str], maps: np.ndarray) -> tuple[list[str], list[np.ndarray]]:
    """The words of which these are pieces, each with the mean map of its pieces."""
    starts = [i for i, piece in enumerate(pieces) if i == 0 or piece.startswith(SPACE)]
    spans = [slice(*each) for each in itertools.pairwise([*starts, len(pieces)])]
    words = ["".join(pieces[span]).removeprefix(SPACE) for span in spans]
    return words, [maps[span].mean(axis=0) for span in spans]


def peak(weights: np.ndarray) -> tuple[float, float]:
    """Where the largest weight of a map (H, W) is, across and down, as shares of the sides."""
    row, column = np.unravel_index(np.argmax(weights), weights.shape)
    return (column + 0.5) / weights.shape[1], (row + 0.5) / weights.shape[0]


def _holds(box, across: float, down: float) -> bool:
    left, top, right, bottom = (side / scenes.SIZE for side in box)
    return left <= across <= right and top <= down <= bottom
