"""Pictures of scores and of alignments, each of them on the same numbers."""

import numpy as np
from drawing import BLUE, ORANGE, assign, panels, plain_map, weights_of

import keras_attention as ka


def scores():
    """How high a memory vector of the plane scores for one query."""
    side = np.linspace(-2, 2, 21, dtype="float32")
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(1, -1, 2)
    query = np.array([[[1.2, 0.5]]], "float32")
    named = {
        "Dot, ScaledDot": ka.scores.Dot(),
        "General": ka.scores.General(),
        "Additive": ka.scores.Additive(3),
        "Cosine": ka.scores.Cosine(),
        "Location": ka.scores.Location(9),
    }
    figure, axes = panels(5, 1.9, 2.2)
    for ax, (name, score) in zip(axes, named.items(), strict=True):
        score.build((1, 1, 2), (1, 9 if name == "Location" else None, 2))
        if name == "General":
            assign(score, kernel=[[0.3, -1.2], [1.0, 0.4]])
        if name == "Additive":
            assign(
                score,
                query_kernel=np.zeros((2, 3)),
                key_kernel=[[2.0, -1.0, 0.3], [0.2, 1.5, -2.0]],
                score_vector=[1.0, 0.8, 0.6],
            )
        ax.set_title(name)
        ax.set(xticks=[], yticks=[])
        if name == "Location":
            assign(score, kernel=np.random.default_rng(3).normal(size=(2, 9)))
            values = score(query, score.prepare(np.zeros((1, 9, 2), "float32")))
            ax.bar(range(9), np.array(values)[0, 0], color=BLUE)
            ax.set_xlabel("position")
            continue
        values = np.array(score(query, score.prepare(grid)))[0, 0].reshape(21, 21)
        ax.contourf(side, side, values, levels=11, cmap="Blues")
        ax.annotate("", query[0, 0], (0, 0), arrowprops={"arrowstyle": "-|>", "color": ORANGE})
        ax.set_aspect("equal")
    axes[0].set_xlabel("arrow: the query")
    return figure


def alignments():
    """The same scores, made weights by four alignments."""
    given = np.array([[0.3, 1.1, 2.0, 1.6, -0.4, 0.6, 1.9, 0.1, -1.0, 0.8]])
    figure, axes = panels(5, 1.8, 1.7)
    axes[0].bar(range(10), given[0], color="gray")
    axes[0].axhline(0, color="black", linewidth=0.5)
    axes[0].set(title="scores", xticks=[], yticks=[])
    for ax, name in zip(axes[1:], ["Softmax", "Entmax15", "Sparsemax", "Hard"], strict=True):
        weights = weights_of(ka.Attention("dot", getattr(ka.alignments, name)()), given)[0]
        ax.bar(range(10), weights, color=BLUE)
        ax.plot(np.flatnonzero(weights == 0), np.zeros((weights == 0).sum()), "x", color=ORANGE)
        ax.set(title=name, xticks=[], yticks=[0, 1], ylim=(-0.08, 1.08))
    axes[1].set_xlabel("softmax has no zeros")
    axes[2].set_xlabel("x: exactly 0")
    return figure


def local():
    """The same scores in windows."""
    steps, length = 12, 18
    random = np.random.default_rng(7)
    given = 1.2 * random.normal(size=(steps, length))
    figure, axes = panels(3, 2.6, 2.2)
    monotonic = ka.alignments.LocalMonotonic(window=2)
    plain_map(axes[0], weights_of(ka.Attention("dot"), given), "Softmax")
    plain_map(axes[1], weights_of(ka.Attention("dot", monotonic), given), "LocalMonotonic(2)")
    # A further input that scores nothing, from which the position is predicted.
    clock = np.linspace(-1.2, 1.2, steps)[:, None]
    predictive = ka.alignments.LocalPredictive(units=1, window=4)
    attention = ka.Attention("dot", predictive)
    query = np.concatenate([given, clock], axis=1)[None].astype("float32")
    keys = np.eye(length, length + 1, dtype="float32")[None]
    attention(query, keys)
    assign(predictive, position_kernel=np.eye(length + 1)[:, -1:], position_vector=[3.0])
    weights = attention(query, keys, return_attention_scores=True)[1]
    plain_map(axes[2], weights[0], "LocalPredictive(window=4)")
    position = length / (1 + np.exp(-3 * np.tanh(clock[:, 0])))
    for ax, centre in ((axes[1], np.arange(steps)), (axes[2], position)):
        ax.plot(centre, range(steps), ".", color=ORANGE, markersize=4)
        ax.set_xlim(-0.5, length - 0.5)
    axes[1].set_xlabel("memory; dots: p_t")
    return figure


def monotonic():
    """Scores that rise along a path, and a word that comes again."""
    length = 18
    path = np.array([0, 1, 3, 4, 6, 7, 9, 11, 12, 14, 15, 17])
    given = 5 * np.exp(-((np.arange(length) - path[:, None]) ** 2) / 1.5) - 2.5
    given += 0.7 * np.random.default_rng(5).normal(size=given.shape)
    given[8, 2] = given[5, 15] = 4.0
    figure, axes = panels(3, 2.6, 2.2)
    plain_map(axes[0], weights_of(ka.Attention("dot"), given), "Softmax")
    for ax, mode in zip(axes[1:], ["recursive", "hard"], strict=True):
        plain_map(ax, weights_of(ka.MonotonicAttention("dot", mode), given), f'Monotonic("{mode}")')
    return figure
