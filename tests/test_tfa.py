"""TensorFlow Addons' numbers come out of our layers, given tfa's weights.

The fixtures are written by `fixtures/make_tfa.py`, which runs tfa itself.
"""

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

import keras_attention as ka

WEIGHTS = ("memory_layer/", "query_layer/", "attention_", "cell/")


def load(name):
    """Returns a fixture's arrays, and those among them that `set_tfa_weights` takes."""
    arrays = dict(np.load(Path(__file__).parent / "fixtures" / f"tfa_{name}.npz"))
    return arrays, {key: value for key, value in arrays.items() if key.startswith(WEIGHTS)}


def memory_mask(fixture):
    if "memory_length" in fixture:
        return np.arange(fixture["memory"].shape[1]) < fixture["memory_length"][:, None]


def states(fixture, prefix):
    return [fixture[f"{prefix}_{i}"] for i in range(2) if f"{prefix}_{i}" in fixture]


def close(ours, tfa):
    np.testing.assert_allclose(ops.convert_to_numpy(ours), tfa, rtol=0, atol=1e-5)


def general(use_scale=False):
    return ka.LuongAttention(ka.scores.General(use_scale=use_scale))


def monotonic(mode, score=None):
    return ka.MonotonicAttention(score or ka.scores.Additive(19, normalize=True), mode)


def luong_gru(use_scale=False, **options):
    cell = keras.layers.GRUCell(13)
    return ka.LuongDecoder(cell, general(use_scale), attention_layer_size=17, **options)


def bahdanau(cell, **options):
    """tfa's wrapper with BahdanauAttention: the cell first, the context as output."""
    return ka.LuongDecoder(cell, ka.BahdanauAttention(19, normalize=True), **options)


@pytest.mark.parametrize(
    ("name", "attention"),
    [
        ("bahdanau", lambda: ka.BahdanauAttention(19)),
        ("bahdanau_normalized", lambda: ka.BahdanauAttention(19, normalize=True)),
        ("luong", general),
        ("luong_scaled", lambda: general(use_scale=True)),
        ("monotonic_parallel", lambda: monotonic("parallel")),
        ("monotonic_recursive", lambda: monotonic("recursive")),
        ("monotonic_hard", lambda: monotonic("hard")),
        ("monotonic_luong", lambda: monotonic("parallel", ka.scores.General(use_scale=True))),
    ],
)
def test_attention_gives_tfas_alignments_and_contexts(name, attention):
    fixture, weights = load(name)
    layer = attention()
    layer.build(fixture["query"].shape, fixture["memory"].shape)
    ka.tfa.set_tfa_weights(layer, weights)
    context, alignments = layer(
        fixture["query"],
        fixture["memory"],
        value_mask=memory_mask(fixture),
        return_attention_scores=True,
    )
    close(alignments, fixture["alignments"])
    close(context, fixture["context"])


DECODERS = [
    ("decoder_luong_gru", luong_gru),
    ("decoder_bahdanau_lstm", lambda **kwargs: bahdanau(keras.layers.LSTMCell(13), **kwargs)),
]


@pytest.mark.parametrize(("name", "decoder"), DECODERS)
def test_teacher_forced_decoder_gives_the_wrappers_outputs_and_states(name, decoder):
    fixture, weights = load(name)
    layer = decoder(return_state=True, return_attention_scores=True)
    call = {"memory_mask": memory_mask(fixture)}
    call["initial_state"] = states(fixture, "initial_state")
    layer(fixture["inputs"], fixture["memory"], **call)
    ka.tfa.set_tfa_weights(layer, weights)
    output, alignments, *final = layer(fixture["inputs"], fixture["memory"], **call)
    close(output, fixture["output"])
    close(alignments, fixture["alignments"])
    for ours, tfa in zip(final, states(fixture, "final_state"), strict=True):
        close(ours, tfa)


@pytest.mark.parametrize(("name", "decoder"), DECODERS)
def test_decoder_steps_are_the_wrappers_steps(name, decoder):
    fixture, weights = load(name)
    layer = decoder()
    layer(fixture["inputs"], fixture["memory"])
    ka.tfa.set_tfa_weights(layer, weights)
    state = layer.begin(
        ops.convert_to_tensor(fixture["memory"]),
        memory_mask(fixture),
        [ops.convert_to_tensor(value) for value in states(fixture, "initial_state")],
    )
    for t in range(fixture["inputs"].shape[1]):
        output, alignments, state = layer.step(fixture["inputs"][:, t], state)
        close(output, fixture["output"][:, t])
        close(alignments, fixture["alignments"][:, t])


@pytest.mark.parametrize("rows", [[0, 1, 2], [0], [1], [2]], ids=str)
@pytest.mark.parametrize(
    ("name", "decoder"),
    [
        ("beam_plain", luong_gru),  # no penalties
        ("beam_penalties", lambda: luong_gru(use_scale=True)),  # some beams end, at different times
        ("beam_all_end_early", lambda: bahdanau(keras.layers.GRUCell(13))),
    ],
)
def test_beam_search_gives_tfas_beams(name, decoder, rows):
    fixture, weights = load(name)
    result = search(fixture, weights, decoder(), rows)
    tfa = {key: fixture[key][rows] for key in (*result._fields[:-1], "predicted_ids")}
    tokens = ops.convert_to_numpy(result.tokens)
    np.testing.assert_array_equal(tokens, tfa["tokens"])
    ended = (tfa["tokens"] == fixture["end_id"]).any(-1)
    lengths = tfa["lengths"] - ended  # tfa counts the end id
    np.testing.assert_array_equal(ops.convert_to_numpy(result.lengths), lengths)
    close(result.log_probs, tfa["log_probs"])
    close(result.scores, tfa["scores"])
    # tfa's own listing holds the same sequences; make_tfa.py says where their order differs, and
    # why it can be shorter.
    length = tfa["predicted_ids"].shape[2]
    for ours, theirs in zip(tokens, tfa["predicted_ids"], strict=True):
        assert sorted(ours[:, :length].tolist()) == sorted(theirs.tolist())


def search(fixture, weights, layer, rows):
    """Beam search over the given rows of a fixture's batch."""
    embedding, kernel, bias = (
        ops.convert_to_tensor(fixture[key]) for key in ("embedding", "output/kernel", "output/bias")
    )
    layer(np.zeros((1, 1, embedding.shape[1]), "float32"), fixture["memory"][:1])
    ka.tfa.set_tfa_weights(layer, weights)

    def step(tokens, state):
        output, alignments, state = layer.step(ops.take(embedding, tokens, axis=0), state)
        return ops.matmul(output, kernel) + bias, alignments, state

    begun = layer.begin(
        ops.convert_to_tensor(fixture["memory"][rows]),
        memory_mask(fixture)[rows],
        [ops.convert_to_tensor(fixture["initial_state_0"][rows])],
    )
    options = ("start_id", "end_id", "max_length", "beam_width")
    options += ("length_penalty_weight", "coverage_penalty_weight")
    return ka.search.beam(step, begun, **{key: fixture[key].item() for key in options})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attention_g": None}, "'attention_g' is missing"),
        ({"gain": np.float32(1)}, "'gain' is unknown"),
        ({"cell/bias": np.zeros((39,))}, r"'cell/bias' has shape \(39,\).*'cell/bias' \(2, 39\)"),
        ({"attention_v": None, "attention_b": np.zeros(3)}, "'attention_v' is .*'attention_b' has"),
    ],
)
def test_wrong_weights_are_named_and_nothing_is_assigned(change, message):
    weights = load("beam_all_end_early")[1] | change
    weights = {name: value for name, value in weights.items() if value is not None}
    layer = bahdanau(keras.layers.GRUCell(13))
    layer(np.zeros((1, 1, 2), "float32"), np.zeros((1, 7, 11), "float32"))
    before = layer.get_weights()
    with pytest.raises(ValueError, match=message):
        ka.tfa.set_tfa_weights(layer, weights)
    for old, new in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_cells_of_a_stack_are_numbered():
    cells = [keras.layers.GRUCell(13), keras.layers.LSTMCell(5)]
    layer = bahdanau(keras.layers.StackedRNNCells(cells))
    layer(np.zeros((1, 1, 2), "float32"), np.zeros((1, 7, 11), "float32"))
    weights = {
        "memory_layer/kernel": np.ones((11, 19)),
        "query_layer/kernel": np.ones((5, 19)),
        "attention_v": np.ones(19),
        "attention_g": np.ones(()),
        "attention_b": np.ones(19),
        "cell/0/kernel": np.ones((13, 39)),
        "cell/0/recurrent_kernel": np.ones((13, 39)),
        "cell/0/bias": np.ones((2, 39)),
        "cell/1/kernel": np.ones((13, 20)),
        "cell/1/recurrent_kernel": np.ones((5, 20)),
        "cell/1/bias": np.full(20, 7.0),
    }
    ka.tfa.set_tfa_weights(layer, weights)
    assert all((weight == 1).all() for weight in cells[0].get_weights())
    assert (cells[1].get_weights()[2] == 7).all()


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (lambda: keras.layers.Dense(2), "`layer` is a Dense; expected"),
        (
            lambda: ka.BahdanauDecoder(keras.layers.GRUCell(3), ka.BahdanauAttention(3)),
            "`layer` is a BahdanauDecoder; .* runs the cell first",
        ),
        (lambda: ka.BahdanauAttention(2), "is not built"),
    ],
)
def test_a_layer_without_counterpart_is_refused(layer, message):
    with pytest.raises(ValueError, match=message):
        ka.tfa.set_tfa_weights(layer(), {})


def test_a_score_without_counterpart_is_refused():
    layer = ka.LuongAttention("dot")
    layer.build((1, 1, 2), (1, 1, 2))
    with pytest.raises(ValueError, match="score Dot, which tfa does not have"):
        ka.tfa.set_tfa_weights(layer, {})
