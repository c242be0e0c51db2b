"""The picture of SNAIL's blocks."""

import keras
import numpy as np
from drawing import assign, panels, plain_map

import keras_attention as ka


def few_shot():
    """What the last step depends on after each dense block, and attention to items of one class."""
    figure, axes = panels(3, 3, 2.2)
    for ax, rates in ((axes[0], [1, 2, 4, 8]), (axes[1], [2, 4, 8, 16])):
        layers = [ka.CausalConvBlock(4, rate, dtype="float64") for rate in rates]
        plain_map(ax, seen_at_last(layers, 16), f"dilations {', '.join(map(str, rates))}")
        ax.set_yticks(range(4), ["1 block", "2 blocks", "3 blocks", "4 blocks"])
        ax.set(xlabel="steps of the inputs", ylabel="")

    random = np.random.default_rng(5)
    labels = np.array([1, 0, 2, 0, 2, 1, 2])
    items = 4 * np.eye(3)[labels] + random.normal(scale=0.3, size=(7, 3))
    episode = np.concatenate([items, np.eye(3)[labels]], axis=1)[None].astype("float32")
    episode[0, -1, 3:] = 0  # Its label is asked for.
    block = ka.SnailAttentionBlock(3, 3)
    block(episode)
    like = np.eye(6, 3)  # Items are compared, and their labels read.
    assign(block, query_kernel=like, key_kernel=like, value_kernel=np.eye(6, 3, k=-3))
    _, weights = block(episode, return_attention_scores=True)
    names = ["ABC"[label] for label in labels]
    ka.visualize.plot_alignment(weights[0], names, [*names[:-1], "?"], ax=axes[2])
    axes[2].tick_params(axis="x", rotation=0)
    axes[2].set(title="SnailAttentionBlock", xlabel="items", ylabel="")
    return figure


def seen_at_last(layers, length):
    """(blocks, T): whether a change at each step changes the last step, block after block."""
    # One step more in front, as a dilation of 16 is refused for 16 steps.
    x = np.random.default_rng(2).normal(size=(1, length + 1, 3))
    changed = x + np.eye(length + 1)[1:, :, None]  # (T, T + 1, 3): example s has step s changed
    inputs, rows = np.concatenate([x, changed]), []
    for layer in layers:
        inputs = layer(inputs)
        last = keras.ops.convert_to_numpy(inputs)[:, -1]
        rows.append(np.any(last[1:] != last[:1], axis=1))
    return np.array(rows, "float32")
