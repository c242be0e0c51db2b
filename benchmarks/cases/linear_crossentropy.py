"""A head over many words with its loss, forward and backward, against Keras's.

    loss = mean_n -log softmax(x_n W + b)_(y_n)

Ours is the function by which `LinearCrossentropy` computes the loss of a model, without its logits.
"""

import numpy as np

from benchmarks.bars import Bar, memory_ratio, time_ratio
from benchmarks.case import Case, with_and_without_xla
from benchmarks.steps import Problem, gradient_work

_SMALL = {"tokens": 1280, "width": 256, "vocabulary": 32000}
_LARGE = {"tokens": 4096, "width": 512, "vocabulary": 32000}


def _problem(options):
    features, words = (options["tokens"], options["width"]), options["vocabulary"]
    weights = {"W": (options["width"], words), "b": (words,)}
    problem = Problem({"features": features}, (), weights)
    return problem, np.random.default_rng(1).integers(0, words, options["tokens"], "int32")


def _head(problem):
    import keras

    head = keras.layers.Dense(problem.weights["b"].size)
    head.build(problem.shapes[0])
    return head


def _keras_attention(options):
    from keras import ops

    import keras_attention as ka

    problem, targets = _problem(options)
    head, targets = _head(problem), ops.convert_to_tensor(targets)
    weights = ops.full(targets.shape, 1 / options["tokens"])

    def loss(features):
        return ka.losses.linear_crossentropy(targets, features, head.kernel, head.bias, weights)

    return gradient_work(loss, [head.kernel, head.bias], problem, options)


def _keras_layers(options):
    import keras

    problem, targets = _problem(options)
    head, targets = _head(problem), keras.ops.convert_to_tensor(targets)
    cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def loss(features):
        return cross_entropy(targets, head(features))

    return gradient_work(loss, [head.kernel, head.bias], problem, options)


def _bars(sizes, memory=(None, None)):
    """Returns what is asked without XLA and with it."""
    bars, at = [], {"tokens": sizes["tokens"]}
    for jit_compile, at_most in zip((False, True), memory, strict=True):
        what = f"{sizes['tokens']} tokens, both {'with' if jit_compile else 'without'} XLA"
        alike = ("keras.layers", at)
        extra = memory_ratio(*alike, jit_compile=jit_compile)
        bars.append(Bar(f"{what}: share of the extra memory of Keras's", extra, at_most=at_most))
        time = time_ratio(*alike, jit_compile=jit_compile)
        bars.append(Bar(f"{what}: share of the time of Keras's", time))
    return bars


_OURS, _KERAS = "keras_attention", "Dense, SparseCategoricalCrossentropy"

CASE = Case(
    title="A head over 32,000 words with its cross-entropy, forward and backward",
    points=[_SMALL, _LARGE],
    contenders=[
        *with_and_without_xla(_KERAS, "keras.layers", _keras_layers),
        *with_and_without_xla(_OURS, _OURS, _keras_attention),
    ],
    unit=("tokens", lambda sizes: sizes["tokens"]),
    bars=[*_bars(_SMALL), *_bars(_LARGE, memory=(0.5, 0.25))],
    extra_memory=True,
    trial={"tokens": 1400, "width": 16, "vocabulary": 500},  # In tiles, as at the points.
    on_gpu=True,
)
