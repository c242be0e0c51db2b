"""The decoder that all contenders have: Xu's soft attention before an LSTM, teacher-forced.

    e_ti = v^T tanh(W h_{t-1} + U a_i);  c_t = sum_i softmax(e_t)_i a_i
    h_t = LSTM([y_t; c_t], h_{t-1})

over regions a (B, L, D); embedded words y (B, T, E); U, W and the state are `units` wide. The
states start at zero; the loss is the sum of all h times a fixed draw.
"""

import numpy as np

WEIGHTS = ("query_kernel", "key_kernel", "score_vector", "kernel", "recurrent", "bias")


def arrays(sizes):
    """Returns words, regions, the draw, and the weights by name, float32."""
    random = np.random.default_rng(0)
    batch, steps, regions = sizes["batch"], sizes["steps"], sizes["regions"]
    width, words, units = sizes["region_width"], sizes["word_width"], sizes["units"]

    def draw(*shape, scale=1.0):
        return (random.standard_normal(shape) * scale).astype("float32")

    weights = {
        "query_kernel": draw(units, units, scale=units**-0.5),
        "key_kernel": draw(width, units, scale=width**-0.5),
        "score_vector": draw(units, scale=units**-0.5),
        "kernel": draw(words + width, 4 * units, scale=(words + width) ** -0.5),
        "recurrent": draw(units, 4 * units, scale=units**-0.5),
        "bias": draw(4 * units, scale=0.1),
    }
    return (
        draw(batch, steps, words),
        draw(batch, regions, width),
        draw(batch, steps, units),
        weights,
    )
