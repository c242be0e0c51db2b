"""A decoder with soft spatial attention, teacher-forced, against the usual way to write one.

    e_ti = v^T tanh(W h_{t-1} + U a_i);  c_t = sum_i softmax(e_t)_i a_i
    h_t = LSTM([y_t; c_t], h_{t-1})

over regions a (B, L, D) and embedded words y (B, T, E), from zero states. Contenders keep weights
in different forms: their gradients are computed but not compared.
"""

import numpy as np

from benchmarks.bars import Bar, speedup
from benchmarks.case import Case, with_and_without_xla
from benchmarks.steps import Problem, gradient_work

_SIZES = {"batch": 32, "steps": 20, "regions": 196}
_SIZES |= {"region_width": 512, "word_width": 256, "units": 512}
_TRAINING, _FORWARD = {"backward": True}, {"backward": False}


def _problem(options):
    batch, steps, units = options["batch"], options["steps"], options["units"]
    words, regions = options["word_width"], options["region_width"]
    inputs = {"words": (batch, steps, words), "regions": (batch, options["regions"], regions)}
    score = {"W": (units, units), "U": (regions, units), "v": (units,)}
    lstm = {"kernel": (words + regions, 4 * units), "recurrent": (units, 4 * units)}
    return Problem(inputs, (batch, steps, units), {**score, **lstm, "bias": (4 * units,)})


def _keras_attention(options):
    import keras

    import keras_attention as ka

    problem = _problem(options)
    attention = ka.SoftSpatialAttention(options["units"], gate=False)
    decoder = ka.BahdanauDecoder(keras.layers.LSTMCell(options["units"]), attention)
    decoder.build(*problem.shapes)
    score = attention.score
    variables = [score.query_kernel, score.key_kernel, score.score_vector, *decoder.cell.weights]
    return gradient_work(decoder, variables, problem, options, compared=2)


def _usual(options):
    """Two Dense layers after tiling and concatenating the state; no biases, as in the paper."""
    import keras
    from keras import ops

    class Cell(keras.layers.Layer):
        def __init__(self, units):
            super().__init__()
            self.state_size, self.output_size = [units, units], units
            self.hidden = keras.layers.Dense(units, activation="tanh", use_bias=False)
            self.score = keras.layers.Dense(1, use_bias=False)
            self.lstm = keras.layers.LSTMCell(units)
            self.regions, self.built = None, True  # The regions are set before the loop.

        def call(self, inputs, states, training=None):
            regions = self.regions
            state = ops.repeat(states[0][:, None], regions.shape[1], axis=1)  # (B, L, units)
            hidden = self.hidden(ops.concatenate([regions, state], axis=-1))
            weights = ops.softmax(self.score(hidden), axis=1)  # (B, L, 1)
            context = ops.sum(weights * regions, axis=1)  # (B, D)
            return self.lstm(ops.concatenate([inputs, context], axis=-1), states)

    problem, units = _problem(options), options["units"]
    state_kernel, region_kernel, score_vector, *lstm = problem.weights.values()
    cell = Cell(units)
    both = np.concatenate([region_kernel, state_kernel])
    problem.weights = dict(enumerate([both, score_vector, *lstm]))
    for part, inputs in ((cell.hidden, len(both)), (cell.score, units), (cell.lstm, len(lstm[0]))):
        part.build((None, inputs))
    layer = keras.layers.RNN(cell, return_sequences=True)

    def decode(words, regions):
        cell.regions = regions
        if options["loop"] == "rnn":
            return layer(words)
        states = [ops.zeros((words.shape[0], units)) for _ in range(2)]
        outputs = []
        for step in range(words.shape[1]):
            output, states = cell(words[:, step], states)
            outputs.append(output)
        return ops.stack(outputs, axis=1)

    return gradient_work(decode, cell.trainable_weights, problem, options, compared=2)


_TILE, _TIMES = "tile and concatenate", "times as fast as tile and concatenate"

CASE = Case(
    title="Soft spatial attention decoder",
    points=[{**_TRAINING, **_SIZES}, {**_FORWARD, **_SIZES}],
    contenders=[
        *with_and_without_xla(
            f"{_TILE}, keras.layers.RNN", "usual", _usual, options={"loop": "rnn"}
        ),
        *with_and_without_xla(f"{_TILE}, Python loop", "usual", _usual, options={"loop": "python"}),
        *with_and_without_xla("keras_attention", "keras_attention", _keras_attention),
    ],
    unit=("words", lambda sizes: sizes["batch"] * sizes["steps"]),
    bars=[
        Bar(f"forward and backward: {_TIMES}", speedup("usual", _TRAINING), at_least=2),
        Bar(f"forward: {_TIMES}", speedup("usual", _FORWARD), at_least=2),
    ],
    extra_memory=True,
    trial={"batch": 3, "steps": 5, "regions": 7, "region_width": 11, "word_width": 5, "units": 13},
    on_gpu=True,
)
