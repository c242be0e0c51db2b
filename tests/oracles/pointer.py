"""Pointers and the mixture of writing and copying, one number at a time."""

import math

import numpy as np

from oracles.attention import softmax_row


def point(score, query, value, allowed):
    """Vinyals 2015, section 2.3: a softmax over memory positions, (B, T, S)."""
    probabilities = np.zeros(allowed.shape)
    for b, t in np.ndindex(allowed.shape[:2]):
        row = [score(query[b, t].astype(float), element.astype(float)) for element in value[b]]
        probabilities[b, t] = softmax_row(row, allowed[b, t])
    return probabilities


def mixture(
    vocabulary, weights, source_ids, context, state, inputs,
    extra_ids, context_kernel, state_kernel, input_kernel, bias,
):  # fmt: skip
    """See 2017, section 2.2: a step's (V,), (S,), (S,), (D,), (H,), (X,) to (V + extra_ids,)."""
    total = float(bias[0])
    total += sum(float(x) * w[0] for x, w in zip(context, context_kernel, strict=True))
    total += sum(float(x) * w[0] for x, w in zip(state, state_kernel, strict=True))
    total += sum(float(x) * w[0] for x, w in zip(inputs, input_kernel, strict=True))
    p_gen = 1 / (1 + math.exp(-total))
    result = np.zeros(len(vocabulary) + extra_ids)
    for word in range(len(result)):
        if word < len(vocabulary):
            result[word] = p_gen * vocabulary[word]
        for i, source_id in enumerate(source_ids):
            if source_id == word:
                result[word] += (1 - p_gen) * weights[i]
    return result
