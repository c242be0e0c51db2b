"""Teacher forcing: a decoder that reads the true words, one step after the other."""

from keras import ops

from keras_attention._internal import rnn


def move_along(decoder, inputs, state, noise, inputs_mask, widths):
    """Walks `decoder.move` over the inputs (B, T, Din); takes and returns what `move_all` does."""
    carried = {name: part for name, part in state.items() if name != "memory"}
    memory = state["memory"]

    def step(step_inputs, step_state):
        emitted, weights, step_state = decoder.move(
            step_inputs["inputs"], {**step_state, "memory": memory}, step_inputs["noise"]
        )
        step_state = {name: step_state[name] for name in carried}
        return ops.concatenate([emitted, weights], axis=-1), step_state

    inputs = {"inputs": inputs, "noise": noise}
    outputs, carried = rnn.scan(step, inputs, carried, inputs_mask, decoder.dtype_policy)
    emitted, weights = outputs[:, :, : widths.emitted], outputs[:, :, widths.emitted :]
    return emitted, weights, {**carried, "memory": memory}
