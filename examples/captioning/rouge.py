"""ROUGE-L: how much of a caption stands, in the same order, in those that people wrote.

Reference: Lin, "ROUGE: A Package for Automatic Evaluation of Summaries", 2004; for captions Chen et
al., "Microsoft COCO Captions", 2015, https://arxiv.org/abs/1504.00325.
"""

BETA = 1.2


def rouge_l(found: list[str], references: list[list[str]]) -> tuple[float, list[float]]:
    """The mean ROUGE-L of all captions, and that of each, from 0 to 1.

    ROUGE-L(c, S) = (1 + beta^2) P R / (R + beta^2 P)

    with P and R the longest common subsequence of caption and reference as a share of the words of
    the one and of the other, each the largest over all references, and beta = 1.2.

    Args:
        found: One caption a picture, words with single spaces.
        references: The captions of each picture, likewise.
    """
    scores = []
    for text, texts in zip(found, references, strict=True):
        words, rows = text.split(), [reference.split() for reference in texts]
        common = [common_subsequence(words, row) for row in rows]
        precision = max(common) / max(1, len(words))
        recall = max(count / max(1, len(row)) for count, row in zip(common, rows, strict=True))
        bottom = recall + BETA**2 * precision
        scores.append((1 + BETA**2) * precision * recall / bottom if bottom else 0.0)
    return sum(scores) / len(scores), scores


def common_subsequence(one: list[str], other: list[str]) -> int:
    """The length of the longest sequence of words that both have in this order, with gaps."""
    row = [0] * (len(other) + 1)  # for each start of `other`
    for word in one:
        above, row = row, [0]
        for i, match in enumerate(other):
            row.append(above[i] + 1 if word == match else max(row[i], above[i + 1]))
    return row[-1]
