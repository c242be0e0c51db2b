"""The cross-entropy of a softmax over a linear layer, and its gradients, word by word."""

import math

import numpy as np


def linear_crossentropy(targets, features, kernel, bias, weights, label_smoothing):
    """Returns the weighted sum, and its gradients by features, kernel and bias."""
    total, vocabulary = 0.0, len(bias)
    of_features, of_kernel, of_bias = (np.zeros_like(x) for x in (features, kernel, bias))
    for n, target in enumerate(targets):
        logits = [
            bias[v] + sum(features[n, d] * kernel[d, v] for d in range(len(kernel)))
            for v in range(vocabulary)
        ]
        partition = sum(math.exp(logit) for logit in logits)
        for v, logit in enumerate(logits):
            wanted = label_smoothing / vocabulary + (1 - label_smoothing) * (v == target)
            probability = math.exp(logit) / partition
            total -= weights[n] * wanted * math.log(probability)
            slope = weights[n] * (probability - wanted)
            of_bias[v] += slope
            for d in range(len(kernel)):
                of_features[n, d] += slope * kernel[d, v]
                of_kernel[d, v] += slope * features[n, d]
    return total, of_features, of_kernel, of_bias
