"""Searches over a step function, one hypothesis at a time, and over every sequence there is.

`step(tokens, state) -> (logits, weights, state)` here takes one token and one example's state.
"""

import itertools
import math

import numpy as np


def log_softmax(logits):
    highest = max(logits)
    total = math.log(sum(math.exp(x - highest) for x in logits)) + highest
    return [x - total for x in logits]


def greedy(step, state, start_id, end_id, max_length):
    """The likeliest token each time; returns tokens, log-probability and weights per step."""
    token, tokens, log_prob, rows = start_id, [], 0.0, []
    for _ in range(max_length):
        logits, weights, state = step(token, state)
        token = int(np.argmax(logits))
        tokens.append(token)
        rows.append(weights)
        log_prob += log_softmax(logits)[token]
        if token == end_id:
            break
    return tokens, log_prob, rows


def length_penalty(length, weight):
    """Wu 2016 (GNMT), eq. 14: ((5 + length) / 6) ^ weight."""
    return ((5.0 + length) / 6.0) ** weight


def coverage_penalty(rows):
    """Wu 2016, eq. 14: sum_s log(min(sum_t a_ts, 1)); a position never attended is padding."""
    total = np.sum(rows, axis=0)
    return sum(math.log(min(x, 1.0)) for x in total if x != 0.0)


def _rank(hypothesis, length_weight, coverage_weight, finished_before):
    score = hypothesis["log_prob"] / length_penalty(hypothesis["length"], length_weight)
    if finished_before and coverage_weight:
        score += coverage_weight * coverage_penalty(hypothesis["rows"])
    return score


def beam(step, state, start_id, end_id, max_length, width, length_weight=0.0, coverage_weight=0.0):
    """Beam search as tfa's: a list of the best `width` hypotheses, best first.

    A hypothesis that ends at this step is ranked with the length before its end; from the next
    step on the length counts the end, and the coverage penalty applies. Each hypothesis is a dict
    of tokens, log_prob, length, rows (the weights of its steps) and score.
    """
    beams = [
        {"tokens": [], "log_prob": 0.0, "length": 0, "rows": [], "state": state, "done": False}
    ]
    for _ in range(max_length):
        candidates = []
        for hypothesis in beams:
            if hypothesis["done"]:
                frozen = dict(hypothesis)
                frozen["score"] = _rank(frozen, length_weight, coverage_weight, True)
                candidates.append(frozen)
                continue
            token = hypothesis["tokens"][-1] if hypothesis["tokens"] else start_id
            logits, weights, following = step(token, hypothesis["state"])
            for word, log_prob in enumerate(log_softmax(logits)):
                candidate = {
                    "tokens": [*hypothesis["tokens"], word],
                    "log_prob": hypothesis["log_prob"] + log_prob,
                    "length": hypothesis["length"] + (word != end_id),
                    "rows": [*hypothesis["rows"], weights],
                    "state": following,
                    "done": word == end_id,
                }
                candidate["score"] = _rank(candidate, length_weight, coverage_weight, False)
                candidates.append(candidate)
        candidates.sort(key=lambda candidate: -candidate["score"])
        beams = candidates[:width]
        for hypothesis in beams:
            if hypothesis["done"] and len(hypothesis["tokens"]) == hypothesis["length"] + 1:
                hypothesis["length"] += 1
    return beams


def every_sequence(step, state, start_id, end_id, max_length, vocabulary):
    """All sequences that end, or that are `max_length` long, with their log-probabilities."""
    found = {}
    for tokens in itertools.product(range(vocabulary), repeat=max_length):
        if end_id in tokens:
            tokens = tokens[: tokens.index(end_id) + 1]
        if tokens in found:
            continue
        log_prob, current, last = 0.0, state, start_id
        for token in tokens:
            logits, _, current = step(last, current)
            log_prob += log_softmax(logits)[token]
            last = token
        found[tokens] = log_prob
    return sorted(found.items(), key=lambda item: -item[1])
