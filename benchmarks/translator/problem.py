"""The translator that all contenders have: its sizes, weights, batch, and what it must answer.

Embedding E -> bidirectional GRU, H per direction -> memory (B, S, 2H); attention; GRU decoder of H;
softmax over V tokens. Weights are drawn here once and loaded by everyone; kernels are (in, out),
GRU gates in Keras's order z, r, h with two biases (`reset_after`).
The batch has no padding, but everyone gets its masks or lengths, as real batches need them.

There are these decoders, all written out in NumPy below:

    bahdanau:   c_t from s_{t-1};  s_t = GRU([y_t; c_t], s_{t-1});          logits of s_t
    luong:      s_t = GRU(y_t, s_{t-1});  c_t from s_t;
                a_t = tanh(W_c [s_t; c_t]);                                 logits of a_t
    luong with input feeding:
                the same with s_t = GRU([y_t; a_{t-1}], s_{t-1})
    joeynmt's with additive attention:
                as with input feeding, with c_t from additive attention, and a bias in a_t

Attention is additive in the first and the last, and "general" in Luong's. joeynmt has no decoder
like Bahdanau's: its last one stands in. With H = E both need the same multiplications: the
attentional vector moves H (E + 2H + H) of the 3H (E + 2H) of the cell's input into W_c.

The first state is tanh(W_b m + b_b) of the memory's mean m; in joeynmt, of the last states of the
encoder.
"""

import numpy as np

START, END = 2, 3
DECODERS = ("bahdanau", "luong with input feeding", "luong", "joeynmt's")
_FIRST_WORD = 4


def batch(sizes):
    """Returns source (B, S), target_in (B, T) and target_out (B, T), full of words."""
    random = np.random.default_rng(1)
    words = (_FIRST_WORD, sizes["vocabulary"])
    source = random.integers(*words, (sizes["batch"], sizes["source_steps"]))
    target = random.integers(*words, (sizes["batch"], sizes["target_steps"] + 1))
    target[:, 0], target[:, -1] = START, END
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
        **_gru("plain_cell", width, width),
    }
    return {name: _draw(random, shape) for name, shape in shapes.items()}


def for_search(weights):
    """Returns weights with which every search takes all its steps, and starts from the same state.

    The special tokens have logits of 0, too low for a beam; the first state is zero whatever it is
    made from; words differ and logits are far apart, so that the best words are the same ones for
    everyone. The recurrent weights stay small: large ones would make float32's rounding grow.
    """
    weights = dict(weights)
    for name in ("source_embedding", "target_embedding"):
        weights[name] = weights[name] * (0.5 / weights[name].std())
    weights["head_kernel"] = weights["head_kernel"] * 16
    weights["head_kernel"][:, :_FIRST_WORD] = 0
    for name in ("bridge_kernel", "bridge_bias", "vector_bias"):
        weights[name] = np.zeros_like(weights[name])
    return weights


def cell(decoder):
    """Returns the name of a decoder's cell among the weights."""
    return {"bahdanau": "cell", "luong": "plain_cell"}.get(decoder, "vector_cell")


def is_luong(decoder):
    """Returns whether a decoder's attention is "general", and its attention layer has no bias."""
    return decoder.startswith("luong")


def gemms(sizes):
    """Returns the step's matrix products forward: (rows, inner, columns, steps, weights).

    Each is done `steps` times, because a step needs the one before, for each of so many weights.
    What needs no earlier step is one product for all. Backward, the gradient of the rows is as many
    products again, and that of a weight one, over the rows of all steps.
    """
    vocabulary, width = sizes["vocabulary"], sizes["width"]
    rows, source, target = sizes["batch"], sizes["source_steps"], sizes["target_steps"]
    shared = (
        (rows * source, width, 3 * width, 1, 2),  # encoder, tokens, both directions
        (rows, width, 3 * width, source, 2),  # encoder, states
        (rows * source, 2 * width, width, 1, 1),  # keys
        (rows * target, width, 3 * width, 1, 1),  # decoder, tokens
        (rows, width, 3 * width, target, 1),  # decoder, states
        (rows * target, width, vocabulary, 1, 1),  # head
    )
    of_decoder = {
        "bahdanau": (
            (rows, width, width, target, 1),  # queries
            (rows, 2 * width, 3 * width, target, 1),  # contexts
        ),
        "luong with input feeding": (
            (rows, width, 3 * width, target, 1),  # attentional vectors, fed back
            (rows, 3 * width, width, target, 1),  # attentional vectors, made
        ),
        "luong": ((rows * target, 3 * width, width, 1, 1),),  # attentional vectors
    }
    return (*shared, *of_decoder[sizes["decoder"]])


def reference(sizes, decoder, start):
    """Returns the loss of the first batch and the logits of its first sentence, in float64.

    `start` is what the first state is made from: "mean", or "last states".
    """
    w = {name: value.astype("float64") for name, value in weights(sizes).items()}
    source, target_in, target_out = batch(sizes)
    embedded = w["source_embedding"][source]
    forward = _unroll(w, "forward", embedded)
    backward = _unroll(w, "backward", embedded[:, ::-1])[:, ::-1]
    memory = np.concatenate([forward, backward], axis=2)
    tokens = w["target_embedding"][target_in]
    summary = {
        "mean": memory.mean(axis=1),
        "last states": np.concatenate([forward[:, -1], backward[:, 0]], axis=1),
    }[start]
    first = np.tanh(summary @ w["bridge_kernel"] + w["bridge_bias"])
    if decoder == "bahdanau":
        logits = _bahdanau(w, tokens, memory, first)
    else:
        logits = _attentional_vector(w, tokens, memory, first, decoder)
    shifted = logits - logits.max(axis=2, keepdims=True)
    log_probs = shifted - np.log(np.exp(shifted).sum(axis=2, keepdims=True))
    loss = -np.take_along_axis(log_probs, target_out[..., None], axis=2).mean()
    return {"loss": loss, "logits": logits[0]}


def _bahdanau(w, tokens, memory, state):
    states = []
    for step in range(tokens.shape[1]):
        context = _attend(w, state, memory, additive=True)
        state = _gru_step(w, "cell", np.concatenate([tokens[:, step], context], 1), state)
        states.append(state)
    return np.stack(states, axis=1) @ w["head_kernel"]


def _attentional_vector(w, tokens, memory, state, decoder):
    vector, vectors = np.zeros_like(state), []
    bias = 0 if is_luong(decoder) else w["vector_bias"]
    for step in range(tokens.shape[1]):
        inputs = tokens[:, step]
        if decoder != "luong":
            inputs = np.concatenate([inputs, vector], axis=1)
        state = _gru_step(w, cell(decoder), inputs, state)
        context = _attend(w, state, memory, additive=not is_luong(decoder))
        both = np.concatenate([state, context], axis=1)
        vector = np.tanh(both @ w["vector_kernel"] + bias)
        vectors.append(vector)
    return np.stack(vectors, axis=1) @ w["head_kernel"]


def _attend(w, query, memory, additive):
    keys = memory @ w["key_kernel"]
    if additive:
        scores = np.tanh((query @ w["query_kernel"])[:, None] + keys) @ w["score_vector"]
    else:
        scores = np.einsum("bh,bsh->bs", query, keys)
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
