"""The translator that all contenders train: its sizes, weights, batch, and what it must answer.

Embedding E -> bidirectional GRU, H per direction -> memory (B, S, 2H); additive attention with H
units; GRU decoder of H; softmax over V tokens. Weights are drawn here once and loaded by everyone;
kernels are (in, out), GRU gates in Keras's order z, r, h with two biases (`reset_after`).
The batch has no padding, but everyone gets its masks or lengths, as real batches need them.

There are two decoders, because joeynmt's is not Bahdanau's. Both are written out in NumPy below:

    bahdanau:   c_t from s_{t-1};  s_t = GRU([y_t; c_t], s_{t-1});          logits of s_t
    attentional vector (joeynmt):
                s_t = GRU([y_t; a_{t-1}], s_{t-1});  c_t from s_t;
                a_t = tanh(W_c [s_t; c_t] + b_c);                           logits of a_t

With H = E they need the same multiplications: the attentional vector moves H (E + 2H + H) of the
3H (E + 2H) of the cell's input into W_c.
"""

import numpy as np

END = 3
_FIRST_WORD = 4


def batch(sizes):
    """Returns source (B, S), target_in (B, T) and target_out (B, T), full of words."""
    random = np.random.default_rng(1)
    words = (_FIRST_WORD, sizes["vocabulary"])
    source = random.integers(*words, (sizes["batch"], sizes["source_steps"]))
    target = random.integers(*words, (sizes["batch"], sizes["target_steps"] + 1))
    target[:, 0], target[:, -1] = 2, END
    return source.astype("int32"), target[:, :-1].astype("int32"), target[:, 1:].astype("int32")


def weights(sizes):
    """Returns the first weights, float32, by name."""
    random = np.random.default_rng(0)
    vocabulary, width = sizes["vocabulary"], sizes["width"]
    shapes = {
        "source_embedding": (vocabulary, width),
        "target_embedding": (vocabulary, width),
        "head_kernel": (width, vocabulary),
        "query_kernel": (width, width),
        "key_kernel": (2 * width, width),
        "score_vector": (width,),
        "bridge_kernel": (2 * width, width),
        "bridge_bias": (width,),
        **_gru("forward", width, width),
        **_gru("backward", width, width),
        # The context or the attentional vector comes after the embedded token.
        **_gru("cell", width + 2 * width, width),
        **_gru("vector_cell", width + width, width),
        "vector_kernel": (width + 2 * width, width),
        "vector_bias": (width,),
    }
    return {name: _draw(random, shape) for name, shape in shapes.items()}


def gemms(sizes):
    """Returns the step's matrix products forward: (rows, inner, columns, steps, weights).

    Each is done `steps` times, because a step needs the one before, for each of so many weights.
    What needs no earlier step is one product for all. Backward, the gradient of the rows is as many
    products again, and that of a weight one, over the rows of all steps.
    """
    vocabulary, width = sizes["vocabulary"], sizes["width"]
    rows, source, target = sizes["batch"], sizes["source_steps"], sizes["target_steps"]
    return (
        (rows * source, width, 3 * width, 1, 2),  # encoder, tokens, both directions
        (rows, width, 3 * width, source, 2),  # encoder, states
        (rows * source, 2 * width, width, 1, 1),  # keys
        (rows, width, width, target, 1),  # queries
        (rows * target, width, 3 * width, 1, 1),  # decoder, tokens
        (rows, 2 * width, 3 * width, target, 1),  # decoder, contexts
        (rows, width, 3 * width, target, 1),  # decoder, states
        (rows * target, width, vocabulary, 1, 1),  # head
    )


def reference(sizes, decoder):
    """Returns the loss of the first batch and the logits of its first sentence, in float64."""
    w = {name: value.astype("float64") for name, value in weights(sizes).items()}
    source, target_in, target_out = batch(sizes)
    embedded = w["source_embedding"][source]
    forward = _unroll(w, "forward", embedded)
    backward = _unroll(w, "backward", embedded[:, ::-1])[:, ::-1]
    memory = np.concatenate([forward, backward], axis=2)
    tokens = w["target_embedding"][target_in]
    logits = {"bahdanau": _bahdanau, "attentional_vector": _attentional_vector}[decoder](
        w, tokens, memory
    )
    shifted = logits - logits.max(axis=2, keepdims=True)
    log_probs = shifted - np.log(np.exp(shifted).sum(axis=2, keepdims=True))
    loss = -np.take_along_axis(log_probs, target_out[..., None], axis=2).mean()
    return {"loss": loss, "logits": logits[0]}


def _bahdanau(w, tokens, memory):
    state = np.tanh(memory.mean(axis=1) @ w["bridge_kernel"] + w["bridge_bias"])
    states = []
    for step in range(tokens.shape[1]):
        context = _attend(w, state, memory)
        state = _gru_step(w, "cell", np.concatenate([tokens[:, step], context], 1), state)
        states.append(state)
    return np.stack(states, axis=1) @ w["head_kernel"]


def _attentional_vector(w, tokens, memory):
    width = memory.shape[2] // 2
    last = np.concatenate([memory[:, -1, :width], memory[:, 0, width:]], axis=1)
    state = np.tanh(last @ w["bridge_kernel"] + w["bridge_bias"])
    vector, vectors = np.zeros_like(state), []
    for step in range(tokens.shape[1]):
        inputs = np.concatenate([tokens[:, step], vector], axis=1)
        state = _gru_step(w, "vector_cell", inputs, state)
        both = np.concatenate([state, _attend(w, state, memory)], axis=1)
        vector = np.tanh(both @ w["vector_kernel"] + w["vector_bias"])
        vectors.append(vector)
    return np.stack(vectors, axis=1) @ w["head_kernel"]


def _attend(w, query, memory):
    hidden = np.tanh((query @ w["query_kernel"])[:, None] + memory @ w["key_kernel"])
    scores = hidden @ w["score_vector"]
    exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
    alignment = exponentials / exponentials.sum(axis=1, keepdims=True)
    return np.einsum("bs,bsd->bd", alignment, memory)


def _unroll(w, name, inputs):
    state = np.zeros((inputs.shape[0], w[f"{name}_recurrent"].shape[0]))
    states = []
    for step in range(inputs.shape[1]):
        state = _gru_step(w, name, inputs[:, step], state)
        states.append(state)
    return np.stack(states, axis=1)


def _gru_step(w, name, inputs, state):
    from_inputs = np.split(inputs @ w[f"{name}_kernel"] + w[f"{name}_bias"][0], 3, axis=1)
    from_state = np.split(state @ w[f"{name}_recurrent"] + w[f"{name}_bias"][1], 3, axis=1)
    update, reset = (_sigmoid(from_inputs[gate] + from_state[gate]) for gate in (0, 1))
    candidate = np.tanh(from_inputs[2] + reset * from_state[2])
    return update * state + (1 - update) * candidate


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _gru(name, inputs, width):
    return {
        f"{name}_kernel": (inputs, 3 * width),
        f"{name}_recurrent": (width, 3 * width),
        f"{name}_bias": (2, 3 * width),
    }


def _draw(random, shape):
    scale = 1.0 if len(shape) == 1 else shape[0] ** -0.5
    return (random.standard_normal(shape) * min(scale, 0.1)).astype("float32")
