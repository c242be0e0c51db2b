"""The cross-entropy of a softmax over a linear layer, and its gradients, word by word."""

import math

import numpy as np


def linear_crossentropy(targets, features, kernel, bias, weights, label_smoothing):
    """Returns the weighted sum, and its gradients with respect to features, kernel and bias."""
    total, vocabulary = 0.0, len(bias)
    d_features, d_kernel, d_bias = (np.zeros_like(x) for x in (features, kernel, bias))
    for n, target in enumerate(targets):
        logits = [
            bias[v] + sum(features[n, d] * kernel[d, v] for d in range(len(kernel)))
            for v in range(vocabulary)
        ]
        partition = sum(math.exp(logit) for logit in logits)
        for v, logit in enumerate(logits):
            target_prob = label_smoothing / vocabulary + (1 - label_smoothing) * (v == target)
            probability = math.exp(logit) / partition
            total -= weights[n] * target_prob * math.log(probability)
            d_logit = weights[n] * (probability - target_prob)
            d_bias[v] += d_logit
            for d in range(len(kernel)):
                d_features[n, d] += d_logit * kernel[d, v]
                d_kernel[d, v] += d_logit * features[n, d]
    return total, d_features, d_kernel, d_bias
