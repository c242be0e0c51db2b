"""The window of Gaussian mixture attention."""

import keras
import numpy as np
from drawing import ORANGE, assign, panels, plain_map

import keras_attention as ka


def windows():
    """Steps and precisions from the query: an even pace, then a pause and a wider window."""
    steps, length = 12, 18
    pace = np.full(steps, 1.5)
    pause = np.where((np.arange(steps) > 3) & (np.arange(steps) < 8), 0.05, 2.2)
    wide = np.linspace(1.0, 0.1, steps)
    figure, axes = panels(3, 2.6, 2.2)
    value = np.zeros((1, length, 1), "float32")
    for ax, title, precision, moves in (
        (axes[0], "an even pace", np.ones(steps), pace),
        (axes[1], "a pause", np.ones(steps), pause),
        (axes[2], "a wider window", wide, pace),
    ):
        query = np.log(np.stack([precision, moves], axis=1))[None].astype("float32")
        attention = ka.GaussianMixtureAttention(num_components=1)
        attention(query, value)
        assign(attention, kernel=[[0, 1, 0], [0, 0, 1]], bias=[0, 0, 0])
        weights = attention(query, value, return_attention_scores=True)[1]
        plain_map(ax, keras.ops.convert_to_numpy(weights)[0], title)
        ax.plot(np.cumsum(moves) - 1, range(steps), ".", color=ORANGE, markersize=4)
        ax.set_xlim(-0.5, length - 0.5)
    axes[1].set_xlabel("memory; dots: kappa_t")
    return figure
