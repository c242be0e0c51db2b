"""Random cases of each logits processor: a processor, and its oracle for row n of the logits."""

import numpy as np

import keras_attention as ka
from oracles import processors as oracle

VOCABULARY, STEPS, ENTRIES, BEAMS = 7, 9, 5, 5
ROWS = ENTRIES * BEAMS


def cases(name, count):
    """Yields processor, oracle(logits, so_far, row), logits, tokens and time; 25 rows in each."""
    for seed in range(count):
        random = np.random.default_rng(seed)
        logits = random.normal(size=(ROWS, VOCABULARY)).astype("float32")
        logits -= np.log(np.exp(logits).sum(-1, keepdims=True))
        logits[random.random(logits.shape) < 0.1] = -np.inf  # of a processor before
        tokens = random.integers(VOCABULARY, size=(ROWS, STEPS)).astype("int32")
        time = int(random.integers(STEPS))
        yield *MAKE[name](random), logits, tokens, np.int32(time)


def _min_length(random):
    length, end = (int(x) for x in random.integers([STEPS, VOCABULARY]))
    return ka.processors.MinLength(length, end), _each(oracle.min_length, length, end)


def _suppress_tokens(random):
    ids = [int(x) for x in random.integers(VOCABULARY, size=random.integers(4))]
    return ka.processors.SuppressTokens(ids), _each(oracle.suppress_tokens, ids)


def _forced_prefix(random):
    prefix = random.integers(VOCABULARY, size=(ENTRIES, random.integers(1, STEPS)))
    lengths = random.integers(prefix.shape[1] + 1, size=ENTRIES)

    def of_row(logits, so_far, row):
        b = row // BEAMS
        return oracle.forced_prefix(logits, so_far, prefix[b, : lengths[b]].tolist())

    return ka.processors.ForcedPrefix(prefix, lengths), of_row


def _no_repeat_ngram(random):
    n = int(random.integers(1, 5))
    return ka.processors.NoRepeatNGram(n), _each(oracle.no_repeat_ngram, n)


def _repetition_penalty(random):
    penalty = float(random.uniform(1, 3))
    return ka.processors.RepetitionPenalty(penalty), _each(oracle.repetition_penalty, penalty)


def _bad_words(random):
    sequences = [
        random.integers(VOCABULARY, size=random.integers(1, 4)).tolist()
        for _ in range(random.integers(1, 20))
    ]
    return ka.processors.BadWords(sequences), _each(oracle.bad_words, sequences)


def _each(function, *options):
    return lambda logits, so_far, row: function(logits, so_far, *options)


MAKE = {
    "MinLength": _min_length,
    "SuppressTokens": _suppress_tokens,
    "ForcedPrefix": _forced_prefix,
    "NoRepeatNGram": _no_repeat_ngram,
    "RepetitionPenalty": _repetition_penalty,
    "BadWords": _bad_words,
}


def expected(of_row, logits, tokens, time):
    rows = zip(logits, tokens[:, :time].tolist(), strict=True)
    return np.array([of_row(row, so_far, n) for n, (row, so_far) in enumerate(rows)])
