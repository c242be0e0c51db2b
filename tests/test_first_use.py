"""Methods of a layer that was never called: they work, or one line says what to do."""

import numpy as np
import pytest

import keras_attention as ka
from comparing import tensors
from keras_attention.attention.base import AttentionMechanism
from keras_attention.decoders.base import AttentionDecoder
from table import TABLE


def uses(row, fresh, built):
    """The first calls of methods of `fresh`, with states that `built`, its like, has made."""
    inputs = tensors(row.arrays()[0])
    match fresh:
        case AttentionMechanism() if "query" in inputs:
            query = inputs["query"] if len(inputs["query"].shape) == 2 else inputs["query"][:, 0]
            value = inputs.get("value", inputs.get("features"))
            memory = built.prepare(value, inputs.get("key"))
            state = built.initial_state(memory)
            yield lambda: fresh.prepare(value, inputs.get("key"))
            yield lambda: fresh.initial_state(memory)
            yield lambda: fresh.step(query, memory, state)
            yield lambda: fresh.attend_beams(query, memory, state)
            if hasattr(fresh, "score"):
                yield lambda: fresh.score.prepare(value)
                yield lambda: fresh.score(inputs["query"], memory["keys"])
        case AttentionDecoder():
            memory = [x for name, x in inputs.items() if name != "inputs"]
            memory = memory if len(memory) > 1 else memory[0]
            state = built.begin(memory)
            yield lambda: fresh.begin(memory)
            yield lambda: fresh.step(inputs["inputs"][:, 0], state)
        case ka.models.EncoderDecoder() | ka.models.Transformer():
            state, tokens = built.begin(inputs["source"]), inputs["target_in"][:, 0]
            yield lambda: fresh.step(tokens, state)
            yield lambda: fresh.begin(inputs["source"])
            yield lambda: row.make().decode((inputs["source"], inputs["target_in"]))
        case ka.TransformerEncoderBlock():
            x = inputs["inputs"]
            state = built.begin(x.shape[0], 3)
            yield lambda: fresh.begin(x.shape[0], 3)
            yield lambda: fresh.step(x[:, 0], state)
            yield lambda: fresh.prefill(x, state)
        case ka.TransformerDecoderBlock():
            x = inputs["inputs"]
            state = built.begin(inputs["memory"], max_length=3)
            yield lambda: fresh.begin(inputs["memory"], max_length=3)
            yield lambda: fresh.step(x[:, 0], state)
        case ka.SelfAttention() if "value" not in inputs:
            state = built.begin(inputs["query"].shape[0], 3)
            yield lambda: fresh.begin(inputs["query"].shape[0], 3)
            yield lambda: fresh.step(inputs["query"][:, 0], state)
            yield lambda: fresh.prefill(inputs["query"], state)
            yield lambda: fresh.prepare(inputs["query"])
        case ka.PointerAttention():
            memory = built.prepare(inputs["value"])
            yield lambda: fresh.prepare(inputs["value"])
            yield lambda: fresh.step(inputs["query"][:, 0], memory)


def error_of(call):
    """What a ValueError of `call` says, or None."""
    try:
        call()
    except ValueError as error:
        return str(error)


@pytest.mark.parametrize("row", TABLE, ids=str)
def test_a_layer_that_was_never_called_works_or_says_what_to_do(row):
    fresh = row.make()
    layers = [x for x in fresh._flatten_layers() if not type(x).__module__.startswith("keras.")]
    names = {f"'{layer.name}' is not built; " for layer in layers}
    for use in uses(row, fresh, row.new()):
        if said := error_of(use):
            assert "\n" not in said
            assert any(name in said for name in names), said


def test_a_local_predictive_alignment_needs_its_query():
    alignment = ka.alignments.LocalPredictive(units=3, window=2)
    alignment.build((2, 3, 5), (2, 3, 7))
    with pytest.raises(ValueError, match="`query` is missing; expected"):
        alignment(np.zeros((2, 3, 5)))


class Sequential(ka.alignments.Alignment):
    """Takes one step at a time, without a state."""

    sequential = True

    def call(self, scores, mask=None, query=None, state=(), noise=()):
        return ka.masks.masked_softmax(scores, mask), state


def test_a_sequential_alignment_may_have_no_state():
    random = np.random.default_rng(3)
    query, value = (random.normal(size=(2, length, 7)).astype("float32") for length in (3, 5))
    wanted = ka.Attention("dot")(query, value)
    np.testing.assert_allclose(ka.Attention("dot", Sequential())(query, value), wanted, atol=1e-6)
