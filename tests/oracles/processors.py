"""Logits processors from their definitions: of one sequence's logits (V,) and its tokens so far."""

import numpy as np


def min_length(logits, so_far, length, end_id):
    return [-np.inf if w == end_id and len(so_far) < length else x for w, x in enumerate(logits)]


def suppress_tokens(logits, so_far, ids):
    return [-np.inf if w in ids else x for w, x in enumerate(logits)]


def forced_prefix(logits, so_far, prefix):
    if len(so_far) >= len(prefix):
        return list(logits)
    return [x if w == prefix[len(so_far)] else -np.inf for w, x in enumerate(logits)]


def no_repeat_ngram(logits, so_far, n):
    said = {tuple(so_far[i : i + n]) for i in range(len(so_far) - n + 1)}
    start = so_far[len(so_far) - n + 1 :]
    return [-np.inf if (*start, w) in said else x for w, x in enumerate(logits)]


def repetition_penalty(logits, so_far, penalty):
    """Keskar 2019, 4.1, with the sign of the logits as other libraries take it."""
    return [
        (x * penalty if x < 0 else x / penalty) if w in so_far else x for w, x in enumerate(logits)
    ]


def bad_words(logits, so_far, sequences):
    def ends_badly(tokens):
        return any(tokens[-len(bad) :] == list(bad) for bad in sequences)

    return [-np.inf if ends_badly([*so_far, w]) else x for w, x in enumerate(logits)]
