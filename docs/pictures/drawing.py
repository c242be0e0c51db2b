"""What the pictures share."""

import numpy as np
from matplotlib import pyplot as plt

import keras_attention as ka

BLUE, ORANGE = "#3f51b5", "#f57c00"


def panels(count, width, height):
    return plt.subplots(1, count, figsize=(width * count, height))


def assign(layer, **weights):
    for name, value in weights.items():
        getattr(layer, name).assign(np.asarray(value, "float32"))


def weights_of(attention, scores):
    """The weights that an attention over the dot score gives to scores (T, S)."""
    scores = np.asarray(scores, "float32")
    keys = np.eye(scores.shape[1], dtype="float32")
    _, weights = attention(scores[None], keys[None], return_attention_scores=True)
    return np.array(weights)[0]


def plain_map(ax, weights, title):
    ka.visualize.plot_alignment(weights, ax=ax, title=title)
    ax.set(xticks=[], yticks=[], xlabel="memory", ylabel="steps")
