"""Bad arguments: a ValueError that names the argument, what came, and what is expected."""

import keras
import numpy as np
import pytest

import keras_attention as ka

LAYERS = keras.layers


def zeros(*shape):
    return np.zeros(shape, "float32")


def gru():
    return LAYERS.GRUCell(5)


def decoder():
    return ka.BahdanauDecoder(gru(), ka.BahdanauAttention(7))


def looking_decoder():
    return ka.LuongDecoder(gru(), ka.HardSpatialAttention(3))


def shared_score():
    score = ka.scores.General()
    ka.Attention(score)
    ka.Attention(score)


def shared_alignment():
    alignment = ka.alignments.Softmax()
    ka.Attention("dot", alignment)
    ka.LuongAttention("dot", alignment)


def shared_draws():
    alignment = ka.alignments.Hard()
    ka.HardSpatialAttention(3, alignment)
    ka.HardSpatialAttention(3, alignment)


def many_steps(layer):
    layer(zeros(2, 3, 5), zeros(2, 7, 5))
    memory = layer.prepare(zeros(2, 7, 5))
    layer.attend(keras.ops.zeros((2, 3, 5)), memory, layer.initial_state(memory), {})


def changed_width(layer):
    layer(zeros(2, 3, 5), zeros(2, 7, 5))
    layer(zeros(2, 3, 7), zeros(2, 7, 5))


def model(**options):
    return ka.models.EncoderDecoder(
        LAYERS.Embedding(7, 5), LAYERS.Embedding(7, 5), head=LAYERS.Dense(7), **options
    )


# What is done, and the words that its message must contain, the argument in backticks first.
CASES = {
    # identifiers
    "score": (lambda: ka.Attention("dott"), ["`score`", "'dott'", "'dot'", "'additive'"]),
    "score_type": (lambda: ka.Attention(7), ["`score`", "7", "'dot'"]),
    "score_none": (lambda: ka.LuongAttention(None), ["`score`", "None", "'general'"]),
    "scores_get": (lambda: ka.scores.get("x"), ["`score`", "'x'", "'general'"]),
    "score_other_layer": (lambda: ka.Attention(LAYERS.Dense(3)), ["`score`", "Dense", "'dot'"]),
    "alignment": (lambda: ka.Attention("dot", "sofmax"), ["`alignment`", "'sofmax'", "'softmax'"]),
    "alignments_get": (lambda: ka.alignments.get(3), ["`alignment`", "3", "'softmax'"]),
    "score_class": (lambda: ka.Attention(ka.scores.Dot), ["`score`", "Dot"]),
    # numbers
    "units_negative": (lambda: ka.BahdanauAttention(-3), ["`units`", "-3", "at least 1"]),
    "units_zero": (lambda: ka.BahdanauAttention(0), ["`units`", "0", "at least 1"]),
    "units_float": (lambda: ka.scores.Additive(2.5), ["`units`", "2.5", "integer"]),
    "units_none": (lambda: ka.BahdanauAttention(None), ["`units`", "None", "integer"]),
    "units_bool": (lambda: ka.BahdanauAttention(True), ["`units`", "True", "integer"]),
    "dropout_one": (lambda: ka.Attention(dropout=1.0), ["`dropout`", "1.0", "[0, 1)"]),
    "dropout_negative": (lambda: ka.LuongAttention(dropout=-0.1), ["`dropout`", "-0.1", "[0, 1)"]),
    "dropout_text": (lambda: ka.Attention(dropout="x"), ["`dropout`", "'x'", "[0, 1)"]),
    "attention_layer_size": (
        lambda: ka.LuongDecoder(gru(), ka.LuongAttention(), attention_layer_size=-1),
        ["`attention_layer_size`", "-1", "at least 1"],
    ),
    "bridge_width": (lambda: ka.models.Bridge([3, 0]), ["`widths`", "0", "at least 1"]),
    # ranks
    "query_rank": (
        lambda: ka.Attention()(zeros(3), zeros(2, 5, 3)),
        ["`query`", "(3,)", "(batch, queries, width)", "(batch, width)"],
    ),
    "single_query_causal": (
        lambda: ka.Attention()(zeros(2, 3), zeros(2, 5, 3), use_causal_mask=True),
        ["`use_causal_mask`", "True", "(2, 3)", "(batch, queries, width)"],
    ),
    "single_query_attention_mask": (
        lambda: ka.PointerAttention(3)(
            zeros(2, 3), zeros(2, 5, 3), attention_mask=np.ones((2, 1, 5))
        ),
        ["`attention_mask`", "(2, 1, 5)", "(2, 5)", "(batch, memory)"],
    ),
    "single_query_among_itself": (
        lambda: ka.SelfAttention(2, 3)(zeros(2, 3)),
        ["`query`", "(2, 3)", "(batch, queries, width)"],
    ),
    "value_rank": (
        lambda: ka.BahdanauAttention(3)(zeros(2, 3, 5), zeros(2, 5)),
        ["`value`", "(2, 5)", "(batch, memory, width)"],
    ),
    "key_rank": (
        lambda: ka.Attention()(zeros(2, 3, 5), zeros(2, 7, 5), zeros(2, 7)),
        ["`key`", "(2, 7)", "(batch, memory, width)"],
    ),
    "inputs_rank": (
        lambda: decoder()(zeros(2, 3), zeros(2, 5, 7)),
        ["`inputs`", "(2, 3)", "(batch, steps, width)"],
    ),
    "memory_rank": (
        lambda: decoder()(zeros(2, 3, 5), zeros(2, 5)),
        ["`memory`", "(2, 5)", "(batch, memory, width)"],
    ),
    "symbolic_rank": (
        lambda: ka.Attention()(keras.Input((2, 5, 3)), keras.Input((5, 3))),
        ["`query`", "(None, 2, 5, 3)", "(batch, queries, width)"],
    ),
    "bridge_rank": (
        lambda: ka.models.Bridge([3])(zeros(2, 3)),
        ["`memory`", "(2, 3)", "(batch, memory, width)"],
    ),
    "bridge_map_rank": (
        lambda: ka.models.Bridge([3])(zeros(2, 3, 5, 7, 11)),
        ["`memory`", "(2, 3, 5, 7, 11)", "(batch, height, width, channels)"],
    ),
    "memory_map": (
        lambda: decoder()(zeros(2, 3, 5), zeros(2, 5, 7, 11)),
        ["`memory`", "(2, 5, 7, 11)", "(batch, memory, width)"],
    ),
    "begin_map": (
        lambda: decoder().begin(zeros(2, 5, 7, 11)),
        ["`memory`", "(2, 5, 7, 11)", "(batch, memory, width)"],
    ),
    "symbolic_map": (
        lambda: decoder()(keras.Input((3, 5)), keras.Input((None, None, 11))),
        ["`memory`", "(None, None, None, 11)", "(batch, memory, width)"],
    ),
    "map_rank": (
        lambda: looking_decoder()(zeros(2, 3, 5), zeros(2, 7)),
        ["`memory`", "(2, 7)", "(batch, memory, width)", "(batch, height, width, channels)"],
    ),
    "several_memories": (
        lambda: decoder()(zeros(2, 3, 5), [zeros(2, 7, 5), zeros(2, 7, 5)]),
        ["`memory`", "(2, 7, 5)", "(batch, memory, width)"],
    ),
    # widths, lengths and batches that do not go together
    "dot_widths": (
        lambda: ka.Attention("dot")(zeros(2, 3, 5), zeros(2, 7, 11)),
        ["`query`", "5", "11", "general"],
    ),
    "scaled_dot_widths": (
        lambda: ka.Attention()(zeros(2, 3, 5), zeros(2, 7, 11)),
        ["`query`", "5", "11", "general"],
    ),
    "dot_key_width": (
        lambda: ka.LuongAttention("dot")(zeros(2, 3, 5), zeros(2, 7, 5), zeros(2, 7, 11)),
        ["`query`", "5", "11", "general"],
    ),
    "batches": (
        lambda: ka.BahdanauAttention(3)(zeros(2, 3, 5), zeros(3, 7, 5)),
        ["`query`", "2", "`value`", "3", "batch size"],
    ),
    "key_batch": (
        lambda: ka.Attention()(zeros(2, 3, 5), zeros(2, 7, 5), zeros(3, 7, 5)),
        ["`key`", "3", "`value`", "2", "batch size"],
    ),
    "key_length": (
        lambda: ka.Attention()(zeros(2, 3, 5), zeros(2, 7, 5), zeros(2, 11, 5)),
        ["`key`", "11", "`value`", "7", "length"],
    ),
    "decoder_batches": (
        lambda: decoder()(zeros(2, 3, 5), zeros(3, 7, 5)),
        ["`inputs`", "2", "`memory`", "3", "batch size"],
    ),
    "list_of_one": (
        lambda: ka.Attention()([zeros(2, 3, 5)]),
        ["`query`", "list of 1", "[query, value]"],
    ),
    "list_mask": (
        lambda: ka.Attention()([zeros(2, 3, 5), zeros(2, 7, 5)], mask=np.ones((2, 7))),
        ["`mask`", "ndarray", "list", "query_mask, value_mask"],
    ),
    "query_mask": (
        lambda: ka.Attention()(zeros(2, 3, 5), zeros(2, 7, 5), query_mask=np.ones((2, 4))),
        ["`query_mask`", "(2, 4)", "(2, 3)"],
    ),
    "value_mask": (
        lambda: ka.Attention()(zeros(2, 3, 5), zeros(2, 7, 5), value_mask=np.ones((2, 3))),
        ["`value_mask`", "(2, 3)", "(2, 7)"],
    ),
    "value_mask_list": (
        lambda: ka.Attention()(zeros(2, 3, 5), zeros(2, 2, 5), value_mask=[[True], [True]]),
        ["`value_mask`", "(2, 1)", "(2, 2)"],
    ),
    "value_mask_uneven": (
        lambda: ka.Attention()(zeros(2, 3, 5), zeros(2, 2, 5), value_mask=[[True], [True, False]]),
        ["`value_mask`", "[[True], [True, False]]", "equal lengths"],
    ),
    "value_mask_rank": (
        lambda: ka.Attention()(zeros(2, 3, 5), zeros(2, 7, 5), value_mask=np.ones((2, 3, 7))),
        ["`value_mask`", "(2, 3, 7)", "(2, 7)"],
    ),
    "attention_mask": (
        lambda: ka.Attention()(zeros(2, 3, 5), zeros(2, 7, 5), attention_mask=np.ones((2, 7))),
        ["`attention_mask`", "(2, 7)", "(2, 3, 7)"],
    ),
    "memory_mask": (
        lambda: decoder()(zeros(2, 3, 5), zeros(2, 7, 5), memory_mask=np.ones((2, 3), bool)),
        ["`memory_mask`", "(2, 3)", "(2, 7)"],
    ),
    "memory_map_mask": (
        lambda: looking_decoder()(
            zeros(2, 3, 5), zeros(2, 7, 5, 3), memory_mask=np.ones((2, 35), bool)
        ),
        ["`memory_mask`", "(2, 35)", "(2, 7, 5)", "(batch, height, width)"],
    ),
    "inputs_mask": (
        lambda: decoder()(zeros(2, 3, 5), zeros(2, 7, 5), inputs_mask=np.ones((2, 7), bool)),
        ["`inputs_mask`", "(2, 7)", "(2, 3)"],
    ),
    "unknown_width": (
        lambda: ka.BahdanauAttention(3)(keras.Input((None, None)), keras.Input((None, 5))),
        ["`query`", "None", "known"],
    ),
    # decoders
    "cell": (lambda: ka.BahdanauDecoder("gru", ka.BahdanauAttention(7)), ["`cell`", "'gru'"]),
    "cell_layer": (
        lambda: ka.LuongDecoder(LAYERS.GRU(5), ka.LuongAttention()),
        ["`cell`", "GRU", "GRUCell"],
    ),
    "attention": (
        lambda: ka.BahdanauDecoder(gru(), LAYERS.Attention()),
        ["`attention`", "Attention", "ka.BahdanauAttention"],
    ),
    "attention_name": (lambda: ka.LuongDecoder(gru(), "dot"), ["`attention`", "'dot'"]),
    "initial_state_width": (
        lambda: decoder()(zeros(2, 3, 5), zeros(2, 7, 5), initial_state=zeros(2, 7)),
        ["`initial_state`", "(2, 7)", "5"],
    ),
    "initial_state_number": (
        lambda: decoder()(zeros(2, 3, 5), zeros(2, 7, 5), initial_state=[zeros(2, 5)] * 2),
        ["`initial_state`", "(2, 5)", "1"],
    ),
    # scores and alignments
    "max_length": (lambda: ka.scores.Location(0), ["`max_length`", "0", "at least 1"]),
    "longer_memory": (
        lambda: ka.LuongAttention(ka.scores.Location(3))(zeros(2, 3, 5), zeros(2, 7, 5)),
        ["memory", "7", "`max_length`", "3"],
    ),
    "cosine_widths": (
        lambda: ka.Attention("cosine")(zeros(2, 3, 5), zeros(2, 7, 11)),
        ["`query`", "5", "11", "Cosine"],
    ),
    "window_negative": (
        lambda: ka.alignments.LocalMonotonic(-1),
        ["`window`", "-1", "at least 0"],
    ),
    "window_text": (lambda: ka.alignments.LocalMonotonic("3"), ["`window`", "'3'", "number"]),
    "window_zero": (lambda: ka.alignments.LocalPredictive(3, 0), ["`window`", "0", "above 0"]),
    "position_units": (lambda: ka.alignments.LocalPredictive(0, 3), ["`units`", "0"]),
    "no_query": (
        lambda: ka.alignments.LocalPredictive(3, 2)(zeros(2, 3, 5)),
        ["`query`", "missing"],
    ),
    "mode": (
        lambda: ka.MonotonicAttention(mode="soft"),
        ["`mode`", "'soft'", "'parallel'", "'recursive'", "'hard'"],
    ),
    "noise": (lambda: ka.alignments.Monotonic(noise=-1.0), ["`noise`", "-1.0", "at least 0"]),
    "many_steps": (
        lambda: ka.alignments.Monotonic()(zeros(2, 3, 5), state=(zeros(2, 5),)),
        ["`scores`", "(2, 3, 5)", "(batch, 1, memory)"],
    ),
    "many_steps_of_coverage": (
        lambda: many_steps(ka.CoverageAttention(3)),
        ["`query`", "(2, 3, 5)", "(batch, 1, width)"],
    ),
    "expected_probability": (
        lambda: ka.alignments.Hard(1.5),
        ["`expected_probability`", "1.5", "[0, 1]"],
    ),
    "temperature": (
        lambda: ka.alignments.StraightThrough(0.0),
        ["`temperature`", "0", "above 0"],
    ),
    "temperature_negative": (
        lambda: ka.alignments.StraightThrough(-1.0),
        ["`temperature`", "-1.0", "above 0"],
    ),
    "changed_width": (
        lambda: changed_width(ka.BahdanauAttention(3)),
        ["width 7", "5", "built"],
    ),
    "no_state": (lambda: ka.alignments.Monotonic()(zeros(2, 1, 5)), ["`state`", "0 parts"]),
    # pictures
    "picture_rank": (
        lambda: ka.SoftSpatialAttention(3)(zeros(2, 3, 5), zeros(2, 7)),
        ["`value`", "(2, 7)", "(batch, height, width, channels)"],
    ),
    "picture_query_rank": (
        lambda: ka.HardSpatialAttention(3)(zeros(2, 3, 5, 7), zeros(2, 7, 5, 3)),
        ["`query`", "(2, 3, 5, 7)", "(batch, queries, width)"],
    ),
    "picture_mask": (
        lambda: ka.SoftSpatialAttention(3)(
            zeros(2, 3, 5), zeros(2, 7, 5, 3), value_mask=np.ones((2, 7), bool)
        ),
        ["`value_mask`", "(2, 7)", "(2, 7, 5)"],
    ),
    "picture_alignment": (
        lambda: ka.HardSpatialAttention(3, "softmax"),
        ["`alignment`", "'softmax'", "'hard'", "'straight_through'"],
    ),
    "picture_alignment_layer": (
        lambda: ka.HardSpatialAttention(3, ka.alignments.Softmax()),
        ["`alignment`", "Softmax", "'hard'"],
    ),
    # models
    "sampling_probability": (
        lambda: model(decoder=decoder(), sampling_probability=1.5),
        ["`sampling_probability`", "1.5", "[0, 1]"],
    ),
    "pieces": (lambda: ka.DeepOutput(3, pieces=0), ["`pieces`", "0", "at least 1"]),
    "model_decoder": (
        lambda: model(decoder=LAYERS.GRU(5)),
        ["`decoder`", "GRU", "ka.BahdanauDecoder"],
    ),
    "model_decoder_state": (
        lambda: model(
            decoder=ka.BahdanauDecoder(gru(), ka.BahdanauAttention(7), return_state=True)
        ),
        ["`decoder`", "return_state=False"],
    ),
    # owners
    "shared_score": (shared_score, ["`score`", "General", "already owns"]),
    "shared_alignment": (shared_alignment, ["`alignment`", "Softmax", "already owns"]),
    "shared_draws": (shared_draws, ["`alignment`", "Hard", "already owns"]),
}


@pytest.mark.parametrize("case", CASES)
def test_errors(case):
    do, words = CASES[case]
    with pytest.raises(ValueError, match=words[0]) as error:
        do()
    message = str(error.value)
    assert all(word in message for word in [*words, "expected"]), message


@pytest.mark.parametrize(
    "base",
    [
        ka.scores.Score,
        ka.alignments.Alignment,
        ka.alignments.sampling.SampledAlignment,
        ka.attention.AttentionMechanism,
        ka.attention.SequenceAttention,
        ka.attention.MemoryAttention,
        ka.attention.ScoredAttention,
        ka.attention.SpatialAttention,
        ka.decoders.AttentionDecoder,
    ],
)
def test_bases_are_never_instantiated(base):
    with pytest.raises(TypeError, match="abstract"):
        base()


def test_unknown_keyword_arguments_are_refused():
    for layer in (ka.Attention, ka.LuongAttention, ka.scores.Dot, ka.alignments.Softmax):
        with pytest.raises((ValueError, TypeError), match="unit"):
            layer(unit=3)
