"""Scheduled sampling: a decoder that reads, now and then, what it would have written itself."""

import keras
from keras import ops

from keras_attention._internal import rnn


def decode(
    decoder,
    embed,
    head,
    inputs,
    memory,
    own,
    draws,
    inputs_mask=None,
    memory_mask=None,
    initial_state=None,
    training=None,
):
    """Teacher forcing, but for the steps that `own` marks.

        y_t-1 of the truth                      where own_t is 0
        y_t-1 ~ softmax(logits_t-1)             where own_t is 1

    The draw takes the first word whose cumulated probability passes `draws`. No gradient passes it.

    Args:
        decoder: An `AttentionDecoder`.
        embed: Function of tokens (B,) to vectors (B, Din).
        head: Layer of outputs to logits (B, V).
        inputs: (B, T, Din), the embedded truth.
        memory: As decoders take it.
        own: (B, T, 1), 1 where the step reads what the one before it would have written.
        draws: (B, T, 1), uniform in [0, 1), in float32.
        inputs_mask, memory_mask, initial_state, training: As decoders take them.

    Returns:
        Logits (B, T, V), weights and last state, as `AttentionDecoder.decode` returns them.

    Reference: Bengio, Vinyals, Jaitly, Shazeer 2015, "Scheduled Sampling for Sequence Prediction
    with Recurrent Neural Networks", arXiv:1506.03099, section 2.4.
    """
    state = decoder.begin(memory, memory_mask, initial_state)
    memory_state = state.pop("memory")
    noise = decoder.attention.sample_noise(ops.shape(inputs)[1], memory_state, training)
    state["own"] = ops.zeros_like(inputs[:, 0])

    def cast(tensor):
        return ops.cast(tensor, decoder.compute_dtype)

    def step(step_inputs, state):
        x = ops.where(step_inputs["own"] > 0, state["own"], cast(step_inputs["inputs"]))
        noise = keras.tree.map_structure(cast, step_inputs["noise"])
        emitted, weights, following = decoder.move(x, {**state, "memory": memory_state}, noise)
        logits = head(decoder.read(emitted, x))
        drawn = embed(_draw(logits, step_inputs["draws"]))
        following = {name: following[name] for name in state if name != "own"}
        row = ops.concatenate([logits, ops.cast(weights, logits.dtype)], axis=-1)
        return row, {**following, "own": ops.cast(drawn, x.dtype)}

    walked = {"inputs": inputs, "own": own, "draws": draws, "noise": noise}
    with decoder.dropout_drawn(inputs, memory, training):
        # The loop has the precision of the head, which may be above that of the decoder.
        rows, state = rnn.scan(step, walked, state, inputs_mask, head.dtype_policy)
    vocabulary = head.compute_output_shape((None, decoder.output_width(memory)))[-1]
    weights = ops.cast(rows[:, :, vocabulary:], decoder.compute_dtype)
    state = {name: part for name, part in state.items() if name != "own"}
    return (
        rows[:, :, :vocabulary],
        decoder.laid_out(weights, memory),
        {**state, "memory": memory_state},
    )


def _draw(logits, draws):
    """(B,): the first word whose cumulated probability passes `draws` (B, 1)."""
    passed = ops.cumsum(ops.softmax(ops.cast(logits, "float32")), axis=-1)
    words = ops.sum(ops.cast(passed <= ops.cast(draws, "float32"), "int32"), axis=-1)
    return ops.minimum(words, logits.shape[-1] - 1)
