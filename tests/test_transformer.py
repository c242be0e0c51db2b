"""Positions and blocks beyond the layer table: masks, steps over a cache, dropout, errors."""

import hypothesis
import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

import keras_attention as ka
from comparing import assert_close, numbers, to_numpy
from oracles import transformer as oracle
from table.transformer import block_oracle

B, T, S, WIDTH, MEMORY, HEADS, INNER = 2, 5, 7, 6, 11, 2, 17
EITHER_ORDER = pytest.mark.parametrize("norm_first", [False, True])
POLICIES = ["float32", "mixed_float16", "mixed_bfloat16"]


def normal(*shape, seed=5):
    return np.random.default_rng(seed + sum(shape)).normal(size=shape).astype("float32")


def encoder_block(**options):
    return randomized(ka.TransformerEncoderBlock(HEADS, INNER, **options), (1, T, WIDTH))


def decoder_block(**options):
    block = ka.TransformerDecoderBlock(HEADS, INNER, **options)
    return randomized(block, (1, T, WIDTH), (1, S, MEMORY))


def randomized(block, *shapes):
    """Biases of zero and gains of 1 would hide errors."""
    block.build(*shapes)
    random = np.random.default_rng(3)
    for weight in block.trainable_weights:
        weight.assign(random.normal(scale=0.4, size=weight.shape))
    return block


# ---- Positions


def test_positions_may_be_given():
    x = normal(B, T, WIDTH)
    encode = ka.SinusoidalPositionEncoding(max_wavelength=50)
    positions = np.array([[3, 1, 4, 1, 5], [0, 2, 7, 1, 8]])
    wanted = [
        oracle.position_encoding(x[b], scale=False, positions=positions[b], max_wavelength=50)
        for b in range(B)
    ]
    np.testing.assert_allclose(to_numpy(encode(x, positions=positions)), wanted, atol=1e-5)
    for late in (np.arange(9, 9 + T), np.tile(np.arange(9, 9 + T), (B, 1))):
        padded = np.pad(x, [(0, 0), (9, 0), (0, 0)])
        np.testing.assert_allclose(
            to_numpy(encode(x, positions=late)), to_numpy(encode(padded))[:, 9:], atol=1e-5
        )


@pytest.mark.parametrize("given", [None, "int32", "float32"])
@pytest.mark.parametrize("policy", POLICIES)
def test_the_encodings_of_many_positions_differ(policy, given):
    """In half precision too, which rounds integers above 2048 or 256."""
    encode = ka.SinusoidalPositionEncoding(dtype=policy)
    positions = None if given is None else np.arange(4000, dtype=given)
    encoded = encode(np.zeros((1, 4000, 32)), positions=positions)
    assert keras.backend.standardize_dtype(encoded.dtype) == encode.compute_dtype
    assert len(np.unique(to_numpy(encoded)[0], axis=0)) == 4000


@pytest.mark.parametrize("max_wavelength", [1e4, 0.5, 7])
def test_any_number_above_zero_is_a_wavelength(max_wavelength):
    x = normal(B, T, WIDTH)
    wanted = [oracle.position_encoding(row, False, max_wavelength=max_wavelength) for row in x]
    encoded = ka.SinusoidalPositionEncoding(max_wavelength=max_wavelength)(x)
    np.testing.assert_allclose(to_numpy(encoded), wanted, atol=1e-5)


def test_the_scale_is_the_root_of_the_width():
    x = normal(B, T, WIDTH)
    plain, scaled = ka.SinusoidalPositionEncoding(), ka.SinusoidalPositionEncoding(True)
    added = to_numpy(scaled(x)) - to_numpy(plain(x))
    np.testing.assert_allclose(added, (WIDTH**0.5 - 1) * x, atol=1e-5)


# ---- Masks


def random_masks(random, names):
    shapes = {
        "mask": (B, T),
        "inputs_mask": (B, T),
        "memory_mask": (B, S),
        "attention_mask": (B, T, T) if random.uniform() < 0.5 else (T, T),
        "memory_attention_mask": (B, T, S) if random.uniform() < 0.5 else (T, S),
    }
    return {name: random.uniform(size=shapes[name]) < 0.6 for name in names}


@hypothesis.given(
    given=st.sets(
        st.sampled_from(["inputs_mask", "memory_mask", "attention_mask", "memory_attention_mask"])
    ),
    causal=st.booleans(),
    norm_first=st.booleans(),
    seed=st.integers(0, 100),
)
@hypothesis.settings(max_examples=20)
def test_all_masks_together_equal_the_oracle(given, causal, norm_first, seed):
    """For both blocks, empty rows included."""
    random = np.random.default_rng(seed)
    options = {"use_causal_mask": causal, "return_attention_scores": True}
    inputs = {"inputs": normal(B, T, WIDTH), "memory": normal(B, S, MEMORY)}
    masks = random_masks(random, sorted(given))
    block = decoder_block(norm_first=norm_first)
    results = numbers(block(**inputs, **masks, **options))
    assert_close(results, wanted(block, inputs, masks, causal))
    del inputs["memory"]
    masks = {name: mask for name, mask in masks.items() if "memory" not in name}
    block = encoder_block(norm_first=norm_first)
    results = numbers(block(**inputs, **masks, **options))
    assert_close(results, wanted(block, inputs, masks, causal))


def test_masks_of_heads_are_those_of_the_attention_inside():
    random, inputs, memory = np.random.default_rng(3), normal(B, T, WIDTH), normal(B, S, MEMORY)
    encoder, decoder, scores = encoder_block(), decoder_block(), {"return_attention_scores": True}
    heads = encoder.num_heads
    among, across = (random.uniform(size=(B, heads, T, n)) < 0.6 for n in (T, S))
    masked_weights = [
        (encoder(inputs, attention_mask=among, **scores)[1], among),
        (decoder(inputs, memory, memory_attention_mask=across, **scores)[1], across),
    ]
    for weights, mask in masked_weights:
        assert ((to_numpy(weights) > 0) == mask).all()
    one = np.broadcast_to(among[:, :1], among.shape)
    results = [decoder(inputs, memory, attention_mask=mask) for mask in (one, one[:, 0])]
    assert_close(*(numbers([result]) for result in results))


def wanted(block, inputs, masks, causal):
    masks = dict(masks)
    for name in {"attention_mask", "memory_attention_mask"} & set(masks):
        length = inputs["memory" if "memory" in name else "inputs"].shape[1]
        masks[name] = np.broadcast_to(masks[name], (B, T, length))
    return block_oracle(block, inputs, masks, causal)


@pytest.mark.each_value
@pytest.mark.parametrize("policy", POLICIES)
@EITHER_ORDER
def test_random_masks_give_no_gradient_and_never_nan(policy, norm_first):
    """Padding has weight and gradient exactly 0, for large inputs and empty rows too."""
    random, examples = np.random.default_rng(29), 101
    block = decoder_block(norm_first=norm_first, dtype=policy)
    inputs = tf.constant(30 * normal(examples, T, WIDTH))
    memory = tf.constant(30 * normal(examples, S, MEMORY))
    inputs_mask = random.uniform(size=(examples, T)) < 0.7
    memory_mask = random.uniform(size=(examples, S)) < random.uniform(0.2, 1, size=(examples, 1))
    memory_mask[::5] = False
    with tf.GradientTape() as tape:
        tape.watch([inputs, memory])
        options = {"inputs_mask": inputs_mask, "memory_mask": memory_mask}
        output, weights = block(inputs, memory, **options, return_attention_scores=True)
        read = tf.where(inputs_mask[:, :, None], tf.cast(output, "float32"), 0.0)
        loss = (tf.reduce_sum(read) + tf.reduce_sum(tf.cast(weights, "float32"))) * 1e-3
    gradients = numbers(tape.gradient(loss, [inputs, memory]))
    assert all(np.isfinite(x).all() for x in (*numbers([output, weights]), *gradients))
    assert (gradients[0][~inputs_mask] == 0).all()
    assert (gradients[1][~memory_mask] == 0).all()
    assert (gradients[1][memory_mask & inputs_mask.any(1, keepdims=True)] != 0).any()
    may = inputs_mask[:, :, None] & memory_mask[:, None]
    assert (np.moveaxis(to_numpy(weights), 1, -1)[~may] == 0).all()


@EITHER_ORDER
def test_every_way_to_mask_is_the_same(norm_first):
    mask = np.array([[1, 1, 0, 1, 0], [1, 1, 1, 1, 1]], bool)
    x, memory = np.where(mask[..., None], normal(B, T, WIDTH), 0), normal(B, T, MEMORY)
    memory = np.where(mask[..., None], memory, 0)
    everything = np.ones((B, T, T), bool)
    carrying, carried = keras.layers.Masking()(x), keras.layers.Masking()(memory)
    encoder, decoder = encoder_block(norm_first=norm_first), decoder_block(norm_first=norm_first)
    encoded = to_numpy(encoder(x, mask=mask))
    for output in (
        encoder(x, inputs_mask=mask),
        encoder(carrying),
        encoder(carrying, attention_mask=everything),
    ):
        np.testing.assert_allclose(to_numpy(output), encoded, atol=1e-6)
    decoded = to_numpy(decoder(x, memory, inputs_mask=mask, memory_mask=mask))
    for output in (
        decoder(carrying, carried),
        decoder(carrying, memory, memory_mask=mask),
        decoder(carrying, carried, memory_attention_mask=everything),
    ):
        np.testing.assert_allclose(to_numpy(output), decoded, atol=1e-6)
    for output in (encoder(carrying), decoder(carrying, carried)):
        np.testing.assert_array_equal(to_numpy(ka.masks.implicit_mask(output), "bool"), mask)
    assert np.abs(to_numpy(encoder(x)) - encoded).max() > 1e-3
    assert np.abs(to_numpy(decoder(x, memory, inputs_mask=mask)) - decoded).max() > 1e-3


@EITHER_ORDER
def test_no_step_depends_on_later_ones(norm_first):
    x, memory = normal(1, T, WIDTH), normal(1, S, MEMORY)
    changed = x.copy()
    changed[:, 3:] = normal(1, 2, WIDTH)
    encoder, decoder = encoder_block(norm_first=norm_first), decoder_block(norm_first=norm_first)
    for block in (
        lambda x: encoder(x, use_causal_mask=True),
        lambda x: decoder(x, memory),
    ):
        before, after = to_numpy(block(x)), to_numpy(block(changed))
        np.testing.assert_array_equal(after[:, :3], before[:, :3])
        assert (np.abs(after - before).max(axis=(0, 2))[3:] > 1e-4).all()
    for block in (encoder, lambda x: decoder(x, memory, use_causal_mask=False)):
        assert (np.abs(to_numpy(block(changed)) - to_numpy(block(x))).max(axis=(0, 2)) > 1e-4).all()


# ---- Steps


def run_steps(block, inputs, state, mask=None):
    """Outputs and weights of single steps, stacked along the time axis."""
    outputs, weights = [], []
    for t in range(inputs.shape[1]):
        step_mask = None if mask is None else mask[:, t]
        output, step_weights, state = block.step(inputs[:, t], state, step_mask)
        outputs.append(to_numpy(output))
        weights.append(to_numpy(step_weights))
    return np.stack(outputs, 1), np.stack(weights, 2)


@pytest.mark.each_value
@pytest.mark.parametrize(("policy", "atol"), [("float32", 1e-5), ("mixed_bfloat16", 0.1)])
@pytest.mark.parametrize("padding", ["none", "at_the_end", "anywhere"])
@pytest.mark.parametrize("max_length", [T, T + 3])
@EITHER_ORDER
def test_steps_equal_the_full_pass(policy, atol, padding, max_length, norm_first):
    """Padding of inputs and memory included, and a memory that is all padding."""
    x, memory = normal(B, T, WIDTH), normal(B, S, MEMORY)
    masks = {"inputs_mask": None, "memory_mask": None}
    if padding != "none":
        lengths = np.array([[T], [3]])
        at_the_end = np.arange(T) < lengths
        anywhere = np.array([[0, 1, 1, 0, 1], [1, 0, 0, 1, 1]], bool)
        masks["inputs_mask"] = at_the_end if padding == "at_the_end" else anywhere
        masks["memory_mask"] = np.arange(S) < np.array([[4], [0]])
    block = decoder_block(norm_first=norm_first, dtype=policy)
    wanted = numbers(block(x, memory, **masks, return_attention_scores=True))
    state = block.begin(memory, masks["memory_mask"], max_length=max_length)
    assert_close(run_steps(block, x, state, masks["inputs_mask"]), wanted, atol)

    block, mask = encoder_block(norm_first=norm_first, dtype=policy), masks["inputs_mask"]
    options = {"use_causal_mask": True, "return_attention_scores": True}
    output, weights = numbers(block(x, inputs_mask=mask, **options))
    outputs, step_weights = run_steps(block, x, block.begin(B, max_length), mask)
    assert_close([outputs, step_weights[..., :T]], [output, weights], atol)
    assert (step_weights[..., T:] == 0).all()


def rows_of(state, beams):
    """The state of a cache with `beams` rows per example, which share the memory."""
    repeated = {
        name: keras.ops.repeat(part, beams, axis=0)
        for name, part in state.items()
        if name != "memory"
    }
    return {**state, **repeated}


@pytest.mark.each_value
@pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
@pytest.mark.parametrize("padding", ["none", "at_the_end", "anywhere"])
@EITHER_ORDER
def test_a_prefill_equals_steps(mode, padding, norm_first):
    """Outputs and the state, also after a first step, in a cache with room, and for beams."""
    beams, x, memory = 3, normal(B * 3, T, WIDTH), normal(B, S, MEMORY)
    mask = None
    if padding != "none":
        anywhere = np.random.default_rng(3).uniform(size=(B * beams, T)) < 0.6
        mask = np.arange(T) < [[3], [5], [1], [2], [4], [5]] if "end" in padding else anywhere
    decoder, encoder = decoder_block(norm_first=norm_first), encoder_block(norm_first=norm_first)
    for block, state in (
        (decoder, rows_of(decoder.begin(memory, max_length=T + 3), beams)),
        (encoder, encoder.begin(B * beams, T + 3)),
        (attention_alone(), attention_alone().begin(B * beams, T + 3)),
    ):
        _, _, state = block.step(x[:, 0], state, None if mask is None else mask[:, 0])
        outputs, after = [], state
        for t in range(1, T):
            output, _, after = block.step(x[:, t], after, None if mask is None else mask[:, t])
            outputs.append(to_numpy(output))
        prefill = block.prefill
        if mode != "eager":
            prefill = tf.function(prefill, jit_compile=mode == "xla")
        results = prefill(x[:, 1:], state, None if mask is None else mask[:, 1:])
        assert_close(numbers(results), numbers([np.stack(outputs, 1), after]))


@pytest.mark.parametrize("in_graph", [True, False])
def test_an_empty_prompt_changes_nothing(in_graph):
    block = encoder_block()
    state = block.begin(B, T)
    prefill = tf.function(block.prefill, reduce_retracing=True) if in_graph else block.prefill
    outputs, after = prefill(tf.zeros((B, 0, WIDTH)), state)
    assert tuple(outputs.shape) == (B, 0, WIDTH)
    assert_close(numbers(after), numbers(state), atol=0)


def attention_alone():
    keras.utils.set_random_seed(3)
    layer = ka.SelfAttention(2, 5, window=2)
    layer.build((None, None, WIDTH))
    return layer


def test_prompts_of_different_lengths_continue_at_their_own_ends():
    """Padding at the end of a prompt makes room for the row's own next steps."""
    block, x, lengths = encoder_block(), normal(B, T, WIDTH), [2, 4]
    mask = np.arange(4) < np.array(lengths)[:, None]
    _, state = block.prefill(x[:, :4], block.begin(B, T), mask)
    state["position"] = keras.ops.convert_to_tensor(lengths, "int32")
    following = np.stack([x[row, length] for row, length in enumerate(lengths)])
    output, _, state = block.step(following, state)
    full = to_numpy(block(x, use_causal_mask=True))
    wanted = [full[row, length] for row, length in enumerate(lengths)]
    np.testing.assert_allclose(to_numpy(output), wanted, atol=1e-5)
    assert to_numpy(state["position"]).tolist() == [3, 5]


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_prefill_beyond_the_capacity_is_an_error(jit_compile):
    block, x = encoder_block(), normal(B, T, WIDTH)
    full = to_numpy(block(x, use_causal_mask=True))
    with pytest.raises(ValueError, match=r"`state` holds 0 steps and 5 come; .*`max_length`, 3"):
        block.prefill(x, block.begin(B, 3))
    prefill = tf.function(lambda x, state: block.prefill(x, state)[0], jit_compile=jit_compile)
    output = to_numpy(prefill(x, block.begin(B, 3)))
    assert np.isnan(output[:, 3:]).all()
    np.testing.assert_allclose(output[:, :3], full[:, :3], atol=1e-5)


def test_steps_return_the_same_memory_object():
    """A search keeps unchanged objects out of its loop."""
    block = decoder_block()
    state = block.begin(normal(B, S, MEMORY), np.ones((B, S), bool), max_length=T)
    _, _, following = block.step(normal(B, WIDTH), state)
    leaves = zip(*(keras.tree.flatten(s["memory"]) for s in (state, following)), strict=True)
    assert all(one is other for one, other in leaves)
    assert len(keras.tree.flatten(state["memory"])) == 3


def test_rows_of_a_batch_may_have_different_positions():
    """Each row has its own position in the cache."""
    block, x = encoder_block(), normal(1, T, WIDTH)
    states = [block.begin(1, T)]
    for t in range(T):
        states.append(block.step(x[:, t], states[-1])[2])
    early, late = states[1], states[4]
    together = keras.tree.map_structure(
        lambda one, other: keras.ops.concatenate([one, other]), early, late
    )
    output, _, _ = block.step(np.concatenate([x[:, 1], x[:, 4]]), together)
    full = to_numpy(block(x, use_causal_mask=True))
    np.testing.assert_allclose(to_numpy(output), full[0, [1, 4]], atol=1e-5)


@pytest.mark.each_value
@EITHER_ORDER
@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_step_beyond_the_capacity_is_an_error(norm_first, jit_compile):
    """Or NaN in a graph, which cannot raise errors."""
    block, x = encoder_block(norm_first=norm_first), normal(B, WIDTH)
    step = tf.function(lambda x, state: block.step(x, state)[::2], jit_compile=jit_compile)
    state = block.begin(B, max_length=2)
    for _ in range(2):
        output, state = step(x, state)
        assert np.isfinite(to_numpy(output)).all()
    output, _ = step(x, state)
    assert np.isnan(to_numpy(output)).all()
    with pytest.raises(ValueError, match=r"`state` holds 2 steps; expected .*`max_length`, 2"):
        block.step(x, state)


# ---- Options


def test_names_and_shapes_of_weights():
    """Old checkpoints are converted by these names: they must not change."""
    block = decoder_block(key_dim=5)
    inner = HEADS * 5
    attention = {
        "query_kernel": (WIDTH, inner),
        "query_bias": (inner,),
        "key_kernel": (WIDTH, inner),
        "value_kernel": (WIDTH, inner),
        "value_bias": (inner,),
        "output_kernel": (inner, WIDTH),
        "output_bias": (WIDTH,),
    }
    across = {**attention, "key_kernel": (MEMORY, inner), "value_kernel": (MEMORY, inner)}
    norm = {"gamma": (WIDTH,), "beta": (WIDTH,)}
    parts = {
        "self_attention": attention,
        "self_attention_norm": norm,
        "cross_attention": across,
        "cross_attention_norm": norm,
        "hidden": {"kernel": (WIDTH, INNER), "bias": (INNER,)},
        "output_projection": {"kernel": (INNER, WIDTH), "bias": (WIDTH,)},
        "feed_forward_norm": norm,
    }
    assert {
        "/".join(weight.path.split("/")[-2:]): tuple(weight.shape) for weight in block.weights
    } == {
        f"{part}/{name}": shape
        for part, weights in parts.items()
        for name, shape in weights.items()
    }


def test_kernels_of_one_initializer_differ():
    block = ka.TransformerDecoderBlock(
        1, WIDTH, kernel_initializer=keras.initializers.GlorotUniform()
    )
    block.build((1, T, WIDTH), (1, S, WIDTH))
    kernels = [to_numpy(weight) for weight in block.weights if "kernel" in weight.name]
    assert len({kernel.tobytes() for kernel in kernels}) == 10


@pytest.mark.parametrize("rates", [{"dropout": 0.5}, {"attention_dropout": 0.5}])
@EITHER_ORDER
def test_dropouts_are_in_training_only_and_follow_the_seed(rates, norm_first):
    x, memory = normal(1, 40, WIDTH), normal(1, 40, MEMORY)
    for make, inputs in ((encoder_block, (x,)), (decoder_block, (x, memory))):
        options = {"norm_first": norm_first, "seed": 3, **rates}
        block, twin = make(**options), make(**options)
        calm = to_numpy(make(norm_first=norm_first)(*inputs))
        np.testing.assert_array_equal(to_numpy(block(*inputs)), calm)
        first, second = (to_numpy(block(*inputs, training=True)) for _ in "ab")
        assert np.abs(first - calm).max() > 1e-2
        assert np.abs(first - second).max() > 1e-2
        np.testing.assert_array_equal(to_numpy(twin(*inputs, training=True)), first)


def test_every_dropout_has_its_own_seed():
    """Layers with equal seeds and shapes would drop the same features."""
    block = decoder_block(seed=3, dropout=0.5, attention_dropout=0.5)
    layers = block.residual_dropout, block.self_attention, block.cross_attention
    states = [to_numpy(layer.seed_generator.state).tolist() for layer in layers]
    assert len(set(map(tuple, states))) == 3


def test_dropout_applies_to_the_output_of_a_sublayer_only():
    """With the norm first and nearly everything dropped, the output is the input."""
    x, memory = normal(1, 40, WIDTH), normal(1, 40, MEMORY)
    block = decoder_block(norm_first=True, dropout=0.999, seed=3)
    through = to_numpy(block(x, memory, training=True)) == x
    assert through.mean() > 0.97


def zeros(*shape):
    return np.zeros(shape, "float32")


def encoder(**options):
    return ka.TransformerEncoderBlock(**{"num_heads": 2, "intermediate_dim": 3, **options})


def decoder(**options):
    return ka.TransformerDecoderBlock(**{"num_heads": 2, "intermediate_dim": 3, **options})


def begun(**options):
    return decoder_block().begin(**{"memory": zeros(2, S, MEMORY), "max_length": 3, **options})


# An action, and the words that its error must contain, the argument in backticks first.
ERRORS = {
    "num_heads": (lambda: encoder(num_heads=0), ["`num_heads`", "0", "at least 1"]),
    "num_heads_divide": (
        lambda: encoder(num_heads=3)(zeros(2, 5, 8)),
        ["`num_heads`", "3", "8", "divides"],
    ),
    "num_heads_divide_decoder": (
        lambda: decoder(num_heads=3)(zeros(2, 5, 8), zeros(2, 7, 9)),
        ["`num_heads`", "3", "8", "`key_dim`"],
    ),
    "intermediate_dim": (
        lambda: encoder(intermediate_dim=2.5),
        ["`intermediate_dim`", "2.5", "integer"],
    ),
    "key_dim": (lambda: decoder(key_dim=0), ["`key_dim`", "0", "at least 1"]),
    "dropout": (lambda: encoder(dropout=1.0), ["`dropout`", "1.0", "[0, 1)"]),
    "attention_dropout": (
        lambda: encoder(attention_dropout=-0.1),
        ["`attention_dropout`", "-0.1", "[0, 1)"],
    ),
    "epsilon": (lambda: encoder(epsilon=-1.0), ["`epsilon`", "-1.0", "at least 0"]),
    "rank": (lambda: encoder()(zeros(2, 4)), ["`inputs`", "(2, 4)", "(batch, steps, width)"]),
    "symbolic_rank": (
        lambda: encoder()(keras.Input((4,))),
        ["`inputs`", "(None, 4)", "(batch, steps, width)"],
    ),
    "width": (lambda: encoder().build((2, 3, None)), ["`inputs`", "None", "last axis"]),
    "memory_rank": (
        lambda: decoder()(zeros(2, 3, 4), zeros(2, 5)),
        ["`memory`", "(2, 5)", "(batch, memory, width)"],
    ),
    "batches": (
        lambda: decoder()(zeros(2, 3, 4), zeros(3, 5, 4)),
        ["`inputs`", "2", "`memory`", "3", "batch size"],
    ),
    "mask": (
        lambda: encoder()(zeros(2, 3, 4), mask=np.ones((2, 4), bool)),
        ["`mask`", "(2, 4)", "(2, 3)"],
    ),
    "inputs_mask": (
        lambda: encoder()(zeros(2, 3, 4), inputs_mask=np.ones((2, 4), bool)),
        ["`inputs_mask`", "(2, 4)", "(2, 3)"],
    ),
    "mask_beside_inputs_mask": (
        lambda: encoder()(zeros(2, 3, 4), np.ones((2, 3), bool), mask=np.ones((2, 4), bool)),
        ["`mask`", "(2, 4)", "(2, 3)"],
    ),
    "inputs_mask_decoder": (
        lambda: decoder()(zeros(2, 3, 4), zeros(2, 5, 4), inputs_mask=np.ones((2, 4), bool)),
        ["`inputs_mask`", "(2, 4)", "(2, 3)"],
    ),
    "memory_attention_mask": (
        lambda: decoder()(zeros(2, 3, 4), zeros(2, 5, 4), memory_attention_mask=zeros(3, 4)),
        ["`memory_attention_mask`", "(3, 4)", "(2, 3, 5)"],
    ),
    "memory_mask": (
        lambda: decoder()(zeros(2, 3, 4), zeros(2, 5, 4), memory_mask=np.ones((2, 3), bool)),
        ["`memory_mask`", "(2, 3)", "(2, 5)"],
    ),
    "begin_unbuilt": (lambda: encoder().begin(2, 3), ["not built"]),
    "begin_unbuilt_decoder": (lambda: decoder().begin(zeros(2, 5, 4), max_length=3), ["not built"]),
    "begin_max_length": (lambda: begun(max_length=0), ["`max_length`", "0", "at least 1"]),
    "begin_memory": (lambda: begun(memory=zeros(2, 5)), ["`memory`", "(2, 5)", "(batch,"]),
    "begin_memory_mask": (
        lambda: begun(memory_mask=np.ones((2, 3), bool)),
        ["`memory_mask`", "(2, 3)", "(2, 7)"],
    ),
    "odd_width": (
        lambda: ka.SinusoidalPositionEncoding()(zeros(2, 3, 7)),
        ["`inputs`", "(2, 3, 7)", "even"],
    ),
    "odd_symbolic_width": (
        lambda: ka.SinusoidalPositionEncoding()(keras.Input((None, 7))),
        ["`inputs`", "7)", "even"],
    ),
    "position_rank": (
        lambda: ka.SinusoidalPositionEncoding()(zeros(2, 4)),
        ["`inputs`", "(2, 4)", "(batch, steps, width)"],
    ),
    "positions": (
        lambda: ka.SinusoidalPositionEncoding()(zeros(2, 3, 4), positions=np.arange(4)),
        ["`positions`", "(4,)", "(2, 3)"],
    ),
    "max_wavelength": (
        lambda: ka.SinusoidalPositionEncoding(max_wavelength=0),
        ["`max_wavelength`", "0", "above 0"],
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_name_the_argument_and_what_is_expected(name):
    act, words = ERRORS[name]
    with pytest.raises(ValueError, match="expected") as caught:
        act()
    for word in words:
        assert word in str(caught.value)
