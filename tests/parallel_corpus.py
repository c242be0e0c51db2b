"""Writes a parallel corpus of any size, for measurements that need a large one.

    python tests/parallel_corpus.py 5000000 big.tsv

A made-up language of 20,000 words, as frequent as by Zipf's law, and one that writes each word
backwards, in the same order. The same number of pairs gives the same file.
"""

import pathlib
import sys

import numpy as np

WORDS, CHUNK = 20_000, 10_000


def chunks(count):
    """Lines `source TAB target` of `count` pairs, up to 10,000 at a time as one text."""
    random = np.random.default_rng(count)
    letters = random.choice(list("etaoinshrdlu"), (WORDS, 7))
    sizes = random.integers(2, 8, WORDS)
    words = ["".join(row[:size]) for row, size in zip(letters, sizes, strict=True)]
    shares = 1 / np.arange(1, WORDS + 1)
    shares /= shares.sum()
    for start in range(0, count, CHUNK):
        lengths = random.integers(3, 25, min(CHUNK, count - start))
        drawn = iter(random.choice(WORDS, lengths.sum(), p=shares).tolist())
        sources = [[words[next(drawn)] for _ in range(length)] for length in lengths]
        yield "".join(
            f"{' '.join(source)}\t{' '.join(word[::-1] for word in source)}\n" for source in sources
        )


if __name__ == "__main__":
    with pathlib.Path(sys.argv[2]).open("w") as file:
        file.writelines(chunks(int(sys.argv[1])))
