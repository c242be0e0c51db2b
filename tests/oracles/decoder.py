"""Recurrent cells and attention decoders, step by step for one sequence at a time.

A cell is a function (x, states) -> (output, states) of vectors; `states` is a list.
"""

import math

import numpy as np


def _sigmoid(x):
    return np.array([1.0 / (1.0 + math.exp(-value)) for value in x])


def simple_rnn(kernel, recurrent_kernel, bias):
    """Elman: h' = tanh(W x + U h + b)."""

    def cell(x, states):
        output = np.tanh(x @ kernel + states[0] @ recurrent_kernel + bias)
        return output, [output]

    return cell


def gru(kernel, recurrent_kernel, bias, reset_after):
    """Cho 2014, eq. 5-8; gates in Keras's order z, r, h.

    `reset_after` applies the reset gate after the matrix product, as cuDNN does, with two biases.
    """
    units = recurrent_kernel.shape[0]
    input_bias, recurrent_bias = bias if reset_after else (bias, np.zeros(3 * units))
    gates = [slice(i * units, (i + 1) * units) for i in range(3)]

    def cell(x, states):
        (h,) = states
        inner = [x @ kernel[:, gate] + input_bias[gate] for gate in gates]
        update = _sigmoid(inner[0] + h @ recurrent_kernel[:, gates[0]] + recurrent_bias[gates[0]])
        reset = _sigmoid(inner[1] + h @ recurrent_kernel[:, gates[1]] + recurrent_bias[gates[1]])
        if reset_after:
            past = reset * (h @ recurrent_kernel[:, gates[2]] + recurrent_bias[gates[2]])
        else:
            past = (reset * h) @ recurrent_kernel[:, gates[2]]
        output = update * h + (1 - update) * np.tanh(inner[2] + past)
        return output, [output]

    return cell


def lstm(kernel, recurrent_kernel, bias):
    """Hochreiter 1997 with forget gate; gates in Keras's order i, f, c, o."""
    units = recurrent_kernel.shape[0]

    def cell(x, states):
        h, c = states
        before = x @ kernel + h @ recurrent_kernel + bias
        i, f, candidate, o = (before[k * units : (k + 1) * units] for k in range(4))
        c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(candidate)
        h = _sigmoid(o) * np.tanh(c)
        return h, [h, c]

    return cell


def stacked(*cells):
    """One cell on top of the other; `states` is a list of lists."""

    def cell(x, states):
        following = []
        for inner, state in zip(cells, states, strict=True):
            x, state = inner(x, state)
            following.append(state)
        return x, following

    return cell


def _top(states):
    """The output part of the last cell's state: what Bahdanau's decoder queries with."""
    return _top(states[-1]) if isinstance(states[-1], list) else states[0]


def deep_output(kernel, bias, units, pieces):
    """Bahdanau 2015, A.2.2: the largest of each `pieces` sums of state, word and context."""

    def emit(state, word, context):
        joined = np.concatenate([state, word, context])
        sums = [bias[u] + sum(joined * kernel[:, u]) for u in range(units * pieces)]
        return np.array([max(sums[j * pieces : (j + 1) * pieces]) for j in range(units)])

    return emit


def bahdanau(cell, look, inputs, states, inputs_mask, emit=None):
    """Bahdanau 2015, A.2: c_t from s_{t-1}, then s_t = f([y_{t-1}; c_t], s_{t-1}).

    One sequence: `inputs` (T, Din). A masked step keeps the state and gives zeros. `look(query,
    remembered)` gives context, weights and what to remember, which at first is None; `emit` makes
    the output of state, word and context. Returns outputs (T, H), weights (T, S), last states.
    """
    outputs, all_weights, remembered = [], [], None
    for x, real in zip(inputs, inputs_mask, strict=True):
        context, weights, following_memory = look(_top(states), remembered)
        output, following = cell(np.concatenate([x, context]), states)
        output = output if emit is None else emit(output, x, context)
        if real:
            states, remembered = following, following_memory
        outputs.append(output if real else np.zeros_like(output))
        all_weights.append(weights if real else np.zeros_like(weights))
    return np.stack(outputs), np.stack(all_weights), states


def attention_layer(kernel):
    """Luong 2015, eq. 5: h~_t = tanh(W_c [c_t; h_t]); `kernel` (D + H, A) is W_c transposed."""
    return lambda state, word, context: np.tanh(np.concatenate([context, state]) @ kernel)


def luong(cell, look, inputs, states, inputs_mask, width, emit=None, input_feeding=True):
    """Luong 2015, 3 and 3.3: h_t = f([y; h~_{t-1}] or y), c_t from h_t, then h~_t.

    `emit` makes h~_t, of this width, of state, word and context; None: h~_t = c_t. Otherwise as
    `bahdanau`.
    """
    fed = np.zeros(width)
    outputs, all_weights, remembered = [], [], None
    for x, real in zip(inputs, inputs_mask, strict=True):
        hidden, following = cell(np.concatenate([x, fed]) if input_feeding else x, states)
        context, weights, following_memory = look(hidden, remembered)
        output = context if emit is None else emit(hidden, x, context)
        if real:
            states, fed, remembered = following, output, following_memory
        outputs.append(output if real else np.zeros_like(output))
        all_weights.append(weights if real else np.zeros_like(weights))
    return np.stack(outputs), np.stack(all_weights), states
