"""The translator of the cases that train one or search with one, in three libraries.

Embedding -> bidirectional GRU, H per direction -> memory (B, S, 2H); attention; GRU decoder of H;
softmax over V tokens. Masks or lengths are used, as real batches need them. The decoders:

    bahdanau:   c_t from s_{t-1};  s_t = GRU([y_t; c_t], s_{t-1});          logits of s_t
    luong:      s_t = GRU(y_t, s_{t-1});  c_t from s_t;
                a_t = tanh(W_c [s_t; c_t]);                                 logits of a_t
    luong with input feeding:     the same with s_t = GRU([y_t; a_{t-1}], s_{t-1})
    bahdanau with input feeding:  that with additive attention in place of "general"

In joeynmt the last one, which needs the same multiplications, stands in for the first, and the
first state is made of other states of the encoder: the kernel which makes it is zero here.
"""

import types

import numpy as np

START, END, _FIRST_WORD = 2, 3, 4
FEEDING, STAND_IN = "luong with input feeding", "bahdanau with input feeding"


def draw_batch(sizes):
    """Returns source (B, S), target_in (B, T) and target_out (B, T), full of words."""
    random = np.random.default_rng(1)
    batch, words = sizes["batch"], (_FIRST_WORD, sizes["vocabulary"])
    source = random.integers(*words, (batch, sizes["source_steps"]), "int32")
    target = random.integers(*words, (batch, sizes["target_steps"] + 1), "int32")
    target[:, 0], target[:, -1] = START, END
    return source, target[:, :-1], target[:, 1:]


def draw_weights(sizes):
    """Returns the first weights, in Keras's layout.

    With them every search takes all its steps: special tokens have logits of 0, too low for a beam.
    """
    random = np.random.default_rng(0)
    words, width = sizes["vocabulary"], sizes["width"]

    def draw(*shape, scale=0.05):
        return (random.standard_normal(shape) * scale).astype("float32")

    def gru(inputs):
        return [draw(inputs * width, 3 * width), draw(width, 3 * width), draw(2, 3 * width)]

    weights = {
        **{name: [draw(words, width, scale=0.5)] for name in ("source", "target")},
        "encoder": [*gru(1), *gru(1)],
        "bridge": [np.zeros((2 * width, width), "float32"), draw(width)],
        "query": [draw(width, width)],
        "key": [draw(2 * width, width)],
        "score": draw(width, scale=0.1),
        "vector": [draw(3 * width, width)],  # of [s_t; c_t]
        "head": [draw(width, words, scale=1.0)],
        "cell": gru({"bahdanau": 3, "luong": 1}.get(sizes["decoder"], 2)),  # of [y_t; c_t or a_t]
    }
    weights["head"][0][:, :_FIRST_WORD] = 0
    return weights


def keras_attention(sizes):
    """Returns this library's translator."""
    import keras
    from keras import layers

    import keras_attention as ka

    words, width, decoder = sizes["vocabulary"], sizes["width"], sizes["decoder"]
    source, target = (layers.Embedding(words, width, mask_zero=True) for _ in range(2))
    encoder = layers.Bidirectional(layers.GRU(width, return_sequences=True))
    cell, luong = layers.GRUCell(width), decoder.startswith("luong")
    attention = ka.LuongAttention("general") if luong else ka.BahdanauAttention(width)
    if decoder == "bahdanau":
        network = ka.BahdanauDecoder(cell, attention)
    else:
        options = {"attention_layer_size": width, "input_feeding": decoder != "luong"}
        network = ka.LuongDecoder(cell, attention, **options)
    head = layers.Dense(words, use_bias=False, dtype="float32")
    model = ka.models.EncoderDecoder(keras.Sequential([source, encoder]), target, network, head)
    model.build([(None, None), (None, None)])
    weights = draw_weights(sizes)
    names = {"source": source, "encoder": encoder, "target": target, "cell": cell, "head": head}
    for name, layer in {**names, "bridge": model.bridge}.items():
        layer.set_weights(weights[name])
    if decoder != "bahdanau":  # Its attention layer takes [c_t; s_t].
        network.attention_layer.kernel.assign(np.roll(weights["vector"][0], -width, axis=0))
    additive = [*weights["query"], *weights["key"], weights["score"]]
    attention.score.set_weights(weights["key"] if luong else additive)
    return model


def tfa(sizes, head_in_loop=False):
    """Returns TensorFlow Addons' translator: AttentionWrapper, its mechanisms, BasicDecoder.

    The wrapper runs the cell first and feeds the context to the next step: started at the context
    of the first state it is Bahdanau's decoder exactly. Timed steps start at zeros, as is usual.
    """
    import tensorflow as tf
    from tensorflow_addons import seq2seq

    layers, decoder = tf.keras.layers, sizes["decoder"]
    words, width, steps = sizes["vocabulary"], sizes["width"], sizes["target_steps"]
    luong = decoder.startswith("luong")
    target, source = layers.Embedding(words, width), layers.Embedding(words, width, mask_zero=True)
    encoder = layers.Bidirectional(layers.GRU(width, return_sequences=True))
    bridge, vector = (layers.Dense(width, "tanh", use_bias=bias) for bias in (True, False))
    cell, head = layers.GRUCell(width), layers.Dense(words, use_bias=False)
    attention = (seq2seq.LuongAttention if luong else seq2seq.BahdanauAttention)(width)
    options = {"output_attention": luong, "attention_layer": vector if luong else None}
    if decoder == "luong":
        options["cell_input_fn"] = lambda inputs, attention: inputs
    wrapper = seq2seq.AttentionWrapper(cell, attention, **options)
    output = {"output_layer": head if head_in_loop else None, "maximum_iterations": steps}
    unroll = seq2seq.BasicDecoder(wrapper, seq2seq.TrainingSampler(), **output)

    def encode(tokens):
        mask = source.compute_mask(tokens)
        memory = encoder(source(tokens), mask=mask)
        counted = tf.cast(mask, memory.dtype)[..., None]
        mean = tf.reduce_sum(memory * counted, axis=1) / tf.reduce_sum(counted, axis=1)
        return memory, bridge(mean), tf.reduce_sum(tf.cast(mask, tf.int32), axis=1)

    def begin(memory, first, lengths):
        attention.setup_memory(memory, memory_sequence_length=lengths)
        state = wrapper.get_initial_state(batch_size=tf.shape(memory)[0], dtype=memory.dtype)
        return state.clone(cell_state=first)

    def call(tokens, target_in, start_at_context=False):
        memory, first, lengths = encode(tokens)
        state = begin(memory, first, lengths)
        if start_at_context:
            alignment, _ = attention([first, state.attention_state])
            state = state.clone(attention=tf.einsum("bs,bsd->bd", alignment, memory))
        lengths = tf.fill(tf.shape(target_in)[:1], target_in.shape[1])
        inputs = target(target_in)
        outputs, _, _ = unroll(inputs, initial_state=state, sequence_length=lengths, training=True)
        return outputs.rnn_output if head_in_loop else head(outputs.rnn_output)

    call(*map(tf.constant, draw_batch(sizes)[:2]))
    weights = draw_weights(sizes)
    named = {"source": source, "target": target, "encoder": encoder, "bridge": bridge}
    named |= {"cell": cell, "head": head, "key": attention.memory_layer}
    named |= {"vector": vector} if luong else {"query": attention.query_layer}
    for name, layer in named.items():
        layer.set_weights(weights[name])
    variables = [variable for layer in named.values() for variable in layer.trainable_variables]
    if not luong:
        attention.attention_v.assign(weights["score"])
        variables.append(attention.attention_v)
    parts = {"encode": encode, "begin": begin, "call": call, "wrapper": wrapper, "head": head}
    return types.SimpleNamespace(target=target, variables=variables, **parts)


def joeynmt(sizes):
    """Returns joeynmt's recurrent model."""
    import torch
    from joeynmt.model import build_model
    from joeynmt.vocabulary import Vocabulary

    name = STAND_IN if sizes["decoder"] == "bahdanau" else sizes["decoder"]
    special = {"unk_token": "<unk>", "pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
    special |= {"unk_id": 0, "pad_id": 1, "bos_id": START, "eos_id": END, "sep_token": None}
    special = types.SimpleNamespace(**special, lang_tags=[])
    words = [str(word) for word in range(sizes["vocabulary"] - _FIRST_WORD)]
    settings = {"rnn_type": "gru", "type": "recurrent", "hidden_size": sizes["width"]}
    settings["embeddings"] = {"embedding_dim": sizes["width"]}
    luong, feeding = name.startswith("luong"), name != "luong"
    attention = {"attention": "luong" if luong else "bahdanau", "input_feeding": feeding}
    decoder = {**settings, **attention, "init_hidden": "bridge"}
    parts = {"encoder": {**settings, "bidirectional": True}, "decoder": decoder}
    model = build_model(parts, Vocabulary(words, special), Vocabulary(words, special))
    model.loss_function = ("crossentropy", 0.0)
    weights, decoder = draw_weights({**sizes, "decoder": name}), model.decoder

    def put(parameter, values):
        with torch.no_grad():
            parameter.copy_(torch.tensor(values))

    def put_dense(layer, kernel, bias=0.0):
        put(layer.weight, kernel.T)
        if layer.bias is not None:
            put(layer.bias, bias)

    def put_gru(gru, values, suffix="l0"):
        # Keras's gates are z, r, h; torch's are r, z, n.
        gates = (np.split(each, 3, axis=-1) for each in values)
        values = [np.concatenate([r, z, n], axis=-1) for z, r, n in gates]
        parts = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        for part, value in zip(parts, (values[0].T, values[1].T, *values[2]), strict=True):
            put(getattr(gru, f"{part}_{suffix}"), value)

    put(model.src_embed.lut.weight, *weights["source"])
    put(model.trg_embed.lut.weight, *weights["target"])
    put_gru(model.encoder.rnn, weights["encoder"][:3])
    put_gru(model.encoder.rnn, weights["encoder"][3:], "l0_reverse")
    put_gru(decoder.rnn, weights["cell"])
    put_dense(decoder.bridge_layer, *weights["bridge"])
    put_dense(decoder.attention.key_layer, *weights["key"])
    put_dense(decoder.att_vector_layer, *weights["vector"])
    put_dense(decoder.output_layer, *weights["head"])
    if not luong:
        put_dense(decoder.attention.query_layer, *weights["query"])
        put_dense(decoder.attention.energy_layer, weights["score"][:, None])
    return model
