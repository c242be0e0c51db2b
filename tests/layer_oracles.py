"""The oracles of whole layers: the equations of `oracles` with a layer's own weights.

Each takes a layer, its inputs and its masks, as the layer table's rows do.
"""

import keras
import numpy as np

import keras_attention as ka
from comparing import to_numpy
from oracles import attention, decoder


def score_oracle(score):
    """The oracle of a score layer, with its weights."""
    weights = {weight.name: to_numpy(weight) for weight in score.weights}
    match score:
        case ka.scores.Dot():
            return attention.dot
        case ka.scores.ScaledDot():
            return attention.scaled_dot
        case ka.scores.General():
            return attention.general(**weights)
        case ka.scores.Additive():
            return attention.additive(**weights)


def cell_oracle(cell):
    """The oracle of a Keras cell, with its weights."""
    weights = [to_numpy(weight) for weight in getattr(cell, "trainable_weights", [])]
    match cell:
        case keras.layers.StackedRNNCells():
            return decoder.stacked(*map(cell_oracle, cell.cells))
        case keras.layers.GRUCell():
            return decoder.gru(*weights, cell.reset_after)
        case keras.layers.LSTMCell():
            return decoder.lstm(*weights)
        case keras.layers.SimpleRNNCell():
            return decoder.simple_rnn(*weights)


def attention_oracle(layer, inputs, masks):
    query, value = inputs["query"], inputs["value"]
    shape = (*query.shape[:2], value.shape[1])
    allowed = attention.combine(shape, **masks)
    return attention.attend(score_oracle(layer.score), query, value, inputs.get("key"), allowed)


def _zero_states(cell):
    """A list of vectors per cell, of lists of vectors for stacked cells."""
    if isinstance(cell, keras.layers.StackedRNNCells):
        return [_zero_states(inner) for inner in cell.cells]
    return [np.zeros(size) for size in keras.tree.flatten(cell.state_size)]


def decode(layer, x, memory, inputs_mask=None, memory_mask=None, states=None):
    """The oracle of a decoder with its weights: outputs, weights, and the last states."""
    score, cell = score_oracle(layer.attention.score), cell_oracle(layer.cell)
    inputs_mask = np.ones(x.shape[:2], bool) if inputs_mask is None else inputs_mask
    memory_mask = np.ones(memory.shape[:2], bool) if memory_mask is None else memory_mask
    results = []
    for b in range(len(x)):
        first = _zero_states(layer.cell)
        if states is not None:
            first = keras.tree.pack_sequence_as(first, [state[b] for state in states])
        arguments = (cell, score, x[b], memory[b], first, inputs_mask[b], memory_mask[b])
        if isinstance(layer, ka.BahdanauDecoder):
            outputs, weights, last = decoder.bahdanau(*arguments)
        else:
            sized = layer.attention_layer_size is not None
            kernel = to_numpy(layer.attention_layer.kernel) if sized else None
            outputs, weights, last = decoder.luong(*arguments, kernel, layer.input_feeding)
        results.append([outputs, weights, *keras.tree.flatten(last)])
    return [np.stack(parts) for parts in zip(*results, strict=True)]


def decoder_oracle(layer, inputs, masks):
    return decode(layer, inputs["inputs"].astype(float), inputs["memory"].astype(float), **masks)


def bridge_oracle(layer, inputs, masks):
    """Sennrich 2017, eq. 1: tanh(W mean + b), for each state."""
    memory = inputs["memory"].astype(float)
    mask = masks.get("mask", np.ones(memory.shape[:2], bool))
    kernel, bias = (to_numpy(weight) for weight in layer.trainable_weights)
    states = np.zeros((len(memory), sum(layer.widths)))
    for b in range(len(memory)):
        total, count = np.zeros(memory.shape[2]), 0
        for s in range(memory.shape[1]):
            if mask[b, s]:
                total, count = total + memory[b, s], count + 1
        states[b] = np.tanh(total / max(count, 1) @ kernel + bias)
    return np.split(states, np.cumsum(layer.widths)[:-1], axis=1)


def model_oracle(model, inputs, masks):
    embedding, dense = model.encoder.layers
    embedded = to_numpy(embedding.embeddings)[inputs["source"]]
    memory = np.tanh(embedded @ to_numpy(dense.kernel) + to_numpy(dense.bias))
    memory_mask, inputs_mask = inputs["source"] != 0, inputs["target_in"] != 0
    states = bridge_oracle(model.bridge, {"memory": memory}, {"mask": memory_mask})
    x = to_numpy(model.target_embedding.embeddings)[inputs["target_in"]]
    outputs, *_ = decode(model.decoder, x, memory, inputs_mask, memory_mask, states)
    return [outputs @ to_numpy(model.head.kernel) + to_numpy(model.head.bias)]
