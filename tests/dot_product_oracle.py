"""Dot-product attention by its equation, in TensorFlow's own operations, and inputs for it."""

import numpy as np
import tensorflow as tf

B, N, T, S, K, V = 2, 3, 13, 11, 5, 7


def by_equation(query, key, value, value_mask, attention_mask, causal, window):
    """softmax(Q K^T) V with all weights."""
    allowed = np.ones((*query.shape[:3], key.shape[2]), bool)
    t, s = np.ogrid[: query.shape[2], : key.shape[2]]
    allowed &= True if value_mask is None else value_mask[:, None, None]
    allowed &= True if attention_mask is None else attention_mask
    allowed &= t >= s if causal else True
    allowed &= True if window is None else abs(t - s) <= window
    allowed = tf.constant(allowed)
    scores = tf.where(allowed, tf.matmul(query, key, transpose_b=True), -1e30)
    scores -= tf.stop_gradient(tf.reduce_max(scores, -1, keepdims=True))
    weights = tf.where(allowed, tf.exp(scores), 0)
    total = tf.reduce_sum(weights, -1, keepdims=True)
    return tf.matmul(weights / tf.where(total > 0, total, 1), value)


def drawn(dtype="float32", queries=T, memory=S, scale=1.0):
    random = np.random.default_rng(3)
    shapes = (B, N, queries, K), (B, N, memory, K), (B, N, memory, V), (B, N, queries, V)
    return [tf.constant(scale * random.normal(size=shape), dtype) for shape in shapes]


def with_gradients(attend, mode="eager", known=True):
    """A function of query, key, value and a tensor of coefficients: context and gradients."""

    def run(query, key, value, coefficients):
        with tf.GradientTape() as tape:
            tape.watch((query, key, value))
            context = attend(query, key, value)
            loss = tf.reduce_sum(context * coefficients)
        return context, *tape.gradient(loss, (query, key, value))

    if mode == "eager":
        return run
    # Batch and lengths are unknown, as for data of many lengths.
    specification = [tf.TensorSpec([None, N, None, width]) for width in (K, K, V, V)]
    return tf.function(run, None if known else specification, jit_compile=mode == "xla")


def second_gradients(attend, mode="eager"):
    """A function of what `with_gradients` takes: the gradients of all its results, squared."""

    def run(*tensors):
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            loss = sum(tf.reduce_sum(x**2) for x in with_gradients(attend)(*tensors))
        return tape.gradient(loss, tensors)

    return run if mode == "eager" else tf.function(run)


def masks_of(names, queries=T, memory=S):
    random = np.random.default_rng(5)
    value_mask, attention_mask = (
        random.uniform(size=shape) < 0.6
        for shape in ((B, memory), (B, N if "heads" in names else 1, queries, memory))
    )
    value_mask[0] = False  # nothing to see in the first example
    return {
        "value_mask": value_mask if "value" in names else None,
        "attention_mask": attention_mask if "pairs" in names else None,
    }


CASES = [  # masks, causal, window
    ("", False, None),
    ("", True, None),
    ("", False, 2),
    ("value", True, 3),
    ("value pairs", False, None),
    ("value pairs", True, 6),
    ("value pairs of heads", True, None),
]
