"""EncoderDecoder and Transformer: what padding does, search over its steps, saving, training."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_attention as ka
from comparing import assert_close, numbers, to_numpy
from marks import more
from oracles import search as oracle

LAYERS = keras.layers
IDS, START, END = 13, 1, 2

DECODERS = {
    "bahdanau_gru": lambda **k: ka.BahdanauDecoder(
        LAYERS.GRUCell(11), ka.BahdanauAttention(7), **k
    ),
    "bahdanau_stacked": lambda **k: ka.BahdanauDecoder(
        LAYERS.StackedRNNCells([LAYERS.GRUCell(11), LAYERS.LSTMCell(7)]),
        ka.BahdanauAttention(5, normalize=True),
        **k,
    ),
    "luong_lstm": lambda **k: ka.LuongDecoder(
        LAYERS.LSTMCell(11), ka.LuongAttention(), attention_layer_size=7, **k
    ),
    "luong_unfed": lambda **k: ka.LuongDecoder(
        LAYERS.GRUCell(11), ka.LuongAttention("concat"), attention_layer_size=7, input_feeding=False
    ),
}
EVERY_DECODER = pytest.mark.parametrize("kind", DECODERS)
TRANSFORMERS = ["transformer", "transformer_norm_first"]
EVERY_MODEL = pytest.mark.parametrize("kind", [*DECODERS, *TRANSFORMERS])

# Sources of length 5, 2 and 0; targets of length 4, 3 and 1.
SOURCE = np.array([[3, 4, 5, 6, 7], [8, 9, 0, 0, 0], [0, 0, 0, 0, 0]], "int32")
TARGET_IN = np.array([[1, 3, 4, 5], [1, 6, 7, 0], [1, 0, 0, 0]], "int32")
TARGET_OUT = np.array([[3, 4, 5, 2], [6, 7, 2, 0], [2, 0, 0, 0]], "int32")


def encoder_decoder(kind, dtype=None):
    encoder = keras.Sequential(
        [
            LAYERS.Embedding(IDS, 5, mask_zero=True),
            LAYERS.Bidirectional(LAYERS.GRU(5, return_sequences=True)),
        ]
    )
    return ka.models.EncoderDecoder(
        encoder,
        LAYERS.Embedding(IDS, 7, mask_zero=True),
        DECODERS[kind](),
        LAYERS.Dense(IDS, dtype="float32"),
        dtype=dtype,
    )


def transformer(kind, dtype=None, width=6, max_length=11, **options):
    options = {"norm_first": kind == "transformer_norm_first", **options}
    encoder = keras.Sequential(
        [
            LAYERS.Embedding(IDS, width, mask_zero=True),
            ka.SinusoidalPositionEncoding(scale_inputs=True),
            ka.TransformerEncoderBlock(2, 2 * width, **options),
        ]
    )
    return ka.models.Transformer(
        encoder,
        LAYERS.Embedding(IDS, width, mask_zero=True),
        [ka.TransformerDecoderBlock(2, 2 * width, **options) for _ in range(2)],
        LAYERS.Dense(IDS, dtype="float32"),
        max_length,
        dtype=dtype,
    )


def make(kind, dtype=None, scale=0.5):
    model = (transformer if kind in TRANSFORMERS else encoder_decoder)(kind, dtype)
    model((SOURCE, TARGET_IN))
    random = np.random.default_rng(3)
    for variable in model.trainable_variables:
        variable.assign(random.normal(scale=scale, size=variable.shape).astype("float32"))
    return model


# ---- Scheduled sampling


def sampling(kind, probability, sharpness=1.0, **options):
    """A model of the same weights as `make(kind)`, which draws with this probability."""
    plain = make(kind)
    plain.head.kernel.assign(sharpness * plain.head.kernel)
    config = {**plain.get_config(), "sampling_probability": probability, **options}
    model = ka.models.EncoderDecoder.from_config(config)
    model((SOURCE, TARGET_IN))
    for variable, value in zip(model.trainable_variables, plain.trainable_variables, strict=True):
        variable.assign(value)
    return plain, model


@EVERY_DECODER
def test_scheduled_sampling_that_never_draws_is_teacher_forcing(kind):
    plain, model = sampling(kind, 0.0)
    written = TARGET_IN != 0
    logits = to_numpy(model((SOURCE, TARGET_IN), training=True))
    np.testing.assert_allclose(
        logits[written], to_numpy(plain((SOURCE, TARGET_IN)))[written], atol=1e-5
    )
    np.testing.assert_array_equal(
        to_numpy(model((SOURCE, TARGET_IN))), to_numpy(plain((SOURCE, TARGET_IN)))
    )


@pytest.mark.parametrize("kind", [*DECODERS, "deep_output"])
def test_scheduled_sampling_that_always_draws_reads_its_own_words(kind, monkeypatch):
    """A sharp head leaves one word to draw, so that the logits are those of greedy search."""
    cell, attention = LAYERS.GRUCell(11), ka.BahdanauAttention(7)
    deep = ka.BahdanauDecoder(cell, attention, readout=ka.DeepOutput(5))
    monkeypatch.setitem(DECODERS, "deep_output", lambda: deep)
    plain, model = sampling(kind, 1.0, sharpness=1e4)
    logits = to_numpy(model((SOURCE, TARGET_IN), training=True))
    tokens, state = TARGET_IN[:, 0], plain.begin(SOURCE)
    for t in range(TARGET_IN.shape[1]):
        expected, _, state = plain.step(keras.ops.convert_to_tensor(tokens), state)
        written = TARGET_IN[:, t] != 0
        np.testing.assert_allclose(
            logits[written, t], to_numpy(expected)[written], rtol=1e-4, atol=1e-2
        )
        tokens = to_numpy(expected).argmax(axis=-1).astype("int32")


def test_scheduled_sampling_draws_in_proportion():
    """Over many examples, the second step reads each word as often as the first one gave it."""
    plain, model = sampling("bahdanau_gru", 1.0, seed=5)
    source, target_in = np.tile(SOURCE[:1], (4000, 1)), np.tile(TARGET_IN[:1, :2], (4000, 1))
    second = to_numpy(model((source, target_in), training=True))[:, 1]
    first, _, state = plain.step(keras.ops.convert_to_tensor([START]), plain.begin(SOURCE[:1]))
    chances = np.exp(oracle.log_softmax(to_numpy(first)[0]))
    state = keras.tree.map_structure(lambda x: keras.ops.repeat(x, IDS, axis=0), state)
    candidates = to_numpy(plain.step(keras.ops.arange(IDS, dtype="int32"), state)[0])
    read = np.abs(second[:, None] - candidates[None]).max(axis=-1).argmin(axis=1)
    shares = np.bincount(read, minlength=IDS) / len(read)
    np.testing.assert_allclose(shares, chances, atol=4 * np.sqrt(0.25 / len(read)))


@pytest.mark.parametrize("jit_compile", [False, *more(True)])
def test_scheduled_sampling_trains_and_leaves_padding_out(jit_compile):
    _, model = sampling("bahdanau_gru", 0.5, seed=3)
    compiled(model, keras.optimizers.Adam(0.01), jit_compile=jit_compile)
    history = model.fit((SOURCE, TARGET_IN), TARGET_OUT, epochs=20, verbose=0).history["loss"]
    assert history[-1] < history[0]
    model.sampling_probability.assign(0.0)
    model.optimizer.learning_rate.assign(0.0)
    loss = model.train_on_batch((SOURCE, TARGET_IN), TARGET_OUT)
    model.reset_metrics()
    padded = [np.pad(x, [(0, 0), (0, 3)]) for x in (TARGET_IN, TARGET_OUT)]
    assert model.train_on_batch((SOURCE, padded[0]), padded[1]) == pytest.approx(loss, rel=1e-4)


def compiled(model, optimizer="sgd", **options):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, metrics=["accuracy"], **options)
    return model


def wider(ids):
    return np.pad(ids, ((0, 0), (0, 3)))


@EVERY_MODEL
def test_target_padding_counts_in_no_loss_and_no_metric(kind):
    """The loss is the mean over real tokens, however much padding there is."""
    model = compiled(make(kind), run_eagerly=True)
    logits = to_numpy(model((SOURCE, TARGET_IN)))
    losses, hits = [], []
    for b, t in zip(*np.nonzero(TARGET_IN), strict=True):
        losses.append(-oracle.log_softmax(logits[b, t])[TARGET_OUT[b, t]])
        hits.append(np.argmax(logits[b, t]) == TARGET_OUT[b, t])
    for pad in (np.asarray, wider):
        model.reset_metrics()
        values = model.test_on_batch((pad(SOURCE), pad(TARGET_IN)), pad(TARGET_OUT))
        assert values == pytest.approx([np.mean(losses), np.mean(hits)], rel=1e-5)


@pytest.mark.parametrize("kind", ["bahdanau_gru", "luong_unfed", "transformer_norm_first"])
def test_training_does_not_see_padding(kind):
    """One step on padded and on wider padded batches moves the weights alike."""
    weights = []
    for pad in (np.asarray, wider):
        model = compiled(make(kind), run_eagerly=True)
        model.train_on_batch((pad(SOURCE), pad(TARGET_IN)), pad(TARGET_OUT))
        weights.append([to_numpy(variable) for variable in model.trainable_variables])
    assert_close(weights[1], weights[0], atol=1e-6)
    start = [to_numpy(variable) for variable in make(kind).trainable_variables]
    for variable, one, other in zip(model.trainable_variables, weights[0], start, strict=True):
        assert np.abs(one - other).max() > 0, variable.path


@EVERY_MODEL
def test_no_example_depends_on_who_shares_its_batch(kind):
    model = make(kind)
    together = to_numpy(model((SOURCE, TARGET_IN)))
    for b in range(3):
        steps = max(np.count_nonzero(TARGET_IN[b]), 1)
        length = max(np.count_nonzero(SOURCE[b]), 1)
        alone = to_numpy(model((SOURCE[b : b + 1, :length], TARGET_IN[b : b + 1, :steps])))
        np.testing.assert_allclose(alone[0], together[b, :steps], atol=1e-5)


@EVERY_MODEL
def test_teacher_forcing_equals_stepping(kind):
    model = make(kind)
    logits = to_numpy(model((SOURCE, TARGET_IN)))
    weights = to_numpy(model.attention_scores((SOURCE, TARGET_IN)))
    state = model.begin(SOURCE)
    for t in range(TARGET_IN.shape[1]):
        step_logits, step_weights, state = model.step(
            keras.ops.convert_to_tensor(TARGET_IN[:, t]), state
        )
        for b in np.nonzero(TARGET_IN[:, t])[0]:
            np.testing.assert_allclose(to_numpy(step_logits)[b], logits[b, t], atol=1e-5)
            np.testing.assert_allclose(to_numpy(step_weights)[b], weights[b, t], atol=1e-5)
    assert (np.moveaxis(weights, 2, 1)[SOURCE == 0] == 0).all(), "source padding"
    assert (weights[TARGET_IN == 0] == 0).all(), "target padding"
    np.testing.assert_allclose(weights[TARGET_IN != 0].sum(-1)[:-1], 1, atol=1e-5)


@EVERY_DECODER
def test_the_first_state_is_the_bridge_over_the_mean_of_the_memory(kind):
    model = make(kind)
    memory = to_numpy(model.encoder(SOURCE))
    kernel, bias = (to_numpy(weight) for weight in model.bridge.trainable_weights)
    mean = [memory[0].mean(0), memory[1, :2].mean(0), np.zeros(memory.shape[2])]
    wanted = np.tanh(np.stack(mean) @ kernel + bias)
    first = np.concatenate(numbers(model.begin(SOURCE)["cell"]), axis=1)
    np.testing.assert_allclose(first, wanted, atol=1e-5)


@EVERY_MODEL
def test_searches_follow_the_model(kind):
    """Beam and greedy over the model's steps equal oracles that step one hypothesis at a time."""
    model = make(kind, scale=0.8)

    def single(token, state):
        logits, weights, state = model.step(keras.ops.convert_to_tensor([token]), state)
        return to_numpy(logits)[0], to_numpy(weights)[0], state

    options = {"length_penalty_weight": 0.6, "coverage_penalty_weight": 0.2}
    sources = SOURCE[:2]
    beam = ka.search.beam(model.step, model.begin(sources), START, END, 5, 3, **options)
    greedy = ka.search.greedy(model.step, model.begin(sources), START, END, 5)
    for b, length in enumerate((5, 2)):
        state = model.begin(sources[b : b + 1, :length])
        tokens, log_prob, _ = oracle.greedy(single, state, START, END, 5)
        assert to_numpy(greedy.tokens)[b, 0, : len(tokens)].tolist() == tokens
        assert float(greedy.log_probs[b, 0]) == pytest.approx(log_prob, abs=1e-4)
        for n, wanted in enumerate(oracle.beam(single, state, START, END, 5, 3, 0.6, 0.2)):
            tokens = wanted["tokens"]
            assert to_numpy(beam.tokens)[b, n, : len(tokens)].tolist() == tokens
            assert float(beam.scores[b, n]) == pytest.approx(wanted["score"], abs=1e-4)
            attention = to_numpy(beam.attention)[b, n, : len(tokens)]
            np.testing.assert_allclose(attention[:, :length], wanted["rows"], atol=1e-5)
            assert (attention[:, length:] == 0).all()


@pytest.mark.parametrize("kind", [*DECODERS, *TRANSFORMERS, "several", "coverage"])
def test_beams_share_the_memory_unless_the_attention_has_a_state(kind, monkeypatch):
    """The result is that of a repeated memory, which a function around the step gets."""
    attentions = {
        "several": lambda: ka.MultiSourceAttention([ka.BahdanauAttention(7), ka.LuongAttention()]),
        "coverage": lambda: ka.CoverageAttention(7),
    }
    if kind in attentions:
        new = ka.BahdanauDecoder(LAYERS.GRUCell(11), attentions[kind]())
        monkeypatch.setitem(DECODERS, kind, lambda: new)
    model, rows = make(kind, scale=0.8), []
    options = (model.begin(SOURCE), START, END, 5, 3, 0.6, 0.2)

    def step(tokens, state):
        memory = [block["memory"] for block in state] if kind in TRANSFORMERS else state["memory"]
        (height,) = {part.shape[0] for part in keras.tree.flatten(memory)}
        rows.append((tokens.shape[0], height))
        return model.step(tokens, state)

    repeated = ka.search.beam(step, *options)
    assert rows[-1] == (9, 9)
    shared = ka.search.beam(ka.search.shares_state(model.step)(step), *options)
    assert rows[-1] == (9, 9 if kind == "coverage" else 3)
    assert_close(numbers(shared), numbers(repeated), atol=1e-5)


@EVERY_MODEL
def test_the_model_itself_saves(kind, tmp_path):
    model = make(kind)
    wanted = to_numpy(model((SOURCE, TARGET_IN)))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(to_numpy(loaded((SOURCE, TARGET_IN))), wanted)
    results = [ka.search.beam(m.step, m.begin(SOURCE), START, END, 4, 2) for m in (model, loaded)]
    assert_close(numbers(results[1]), numbers(results[0]), atol=0)
    model.save_weights(tmp_path / "model.weights.h5")
    fresh = make(kind, scale=0.1)
    fresh.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(to_numpy(fresh((SOURCE, TARGET_IN))), wanted)


@pytest.mark.parametrize("kind", ["bahdanau_gru", "transformer"])
def test_training_goes_on_after_loading(kind, tmp_path):
    """The optimizer comes along: one more step is the same with and without a stop between."""
    model = compiled(make(kind), "adam", run_eagerly=True)
    model.train_on_batch((SOURCE, TARGET_IN), TARGET_OUT)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for each in (model, loaded):
        each.train_on_batch((SOURCE, TARGET_IN), TARGET_OUT)
    assert_close(
        [to_numpy(v) for v in loaded.trainable_variables],
        [to_numpy(v) for v in model.trainable_variables],
        atol=1e-6,
    )


@pytest.mark.each_value
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("kind", ["bahdanau_gru", "transformer"])
def test_mixed_precision(kind, policy):
    keras.config.set_dtype_policy(policy)
    model = compiled(make(kind))
    decoder = model.decoder_blocks[0] if kind in TRANSFORMERS else model.decoder
    assert decoder.compute_dtype == keras.dtype_policies.get(policy).compute_dtype
    logits = model((SOURCE, TARGET_IN))
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"
    history = model.fit((SOURCE, TARGET_IN), TARGET_OUT, epochs=2, verbose=0).history["loss"]
    assert np.isfinite(history).all()
    result = ka.search.beam(model.step, model.begin(SOURCE), START, END, 4, 2)
    assert np.isfinite(to_numpy(result.log_probs)).all()


def test_dropout_in_the_encoder_knows_that_it_trains():
    encoder = keras.Sequential([LAYERS.Embedding(IDS, 5, mask_zero=True), LAYERS.Dropout(0.5)])
    model = ka.models.EncoderDecoder(
        encoder, LAYERS.Embedding(IDS, 7), DECODERS["bahdanau_gru"](), LAYERS.Dense(IDS)
    )
    inputs = (SOURCE, TARGET_IN)
    assert_close(numbers(model(inputs)), numbers(model(inputs)), atol=0)
    assert np.abs(to_numpy(model(inputs, training=True)) - to_numpy(model(inputs))).max() > 0


def copier(kind):
    encoder = keras.Sequential(
        [
            LAYERS.Embedding(IDS, 24, "orthogonal", mask_zero=True),
            LAYERS.Bidirectional(LAYERS.GRU(16, return_sequences=True)),
        ]
    )
    decoder = {
        "bahdanau_gru": lambda: ka.BahdanauDecoder(LAYERS.GRUCell(32), ka.BahdanauAttention(32)),
        "luong_lstm": lambda: ka.LuongDecoder(LAYERS.LSTMCell(32), ka.LuongAttention(), 32),
    }[kind]()
    return ka.models.EncoderDecoder(
        encoder, LAYERS.Embedding(IDS, 24, "orthogonal", mask_zero=True), decoder, LAYERS.Dense(IDS)
    )


@pytest.mark.parametrize("kind", ["bahdanau_gru", *more("luong_lstm", "transformer")])
def test_a_model_learns_to_copy_what_it_translates_then(kind):
    """fit, greedy search and beam search, end to end, on words of 2 to 4 letters."""
    random = np.random.default_rng(5)
    letters = random.integers(3, IDS, size=(2176, 4))
    words = np.where(np.arange(4) < random.integers(2, 5, size=(2176, 1)), letters, 0)
    ends = np.count_nonzero(words, axis=1)
    target_in = np.pad(words, ((0, 0), (1, 0)), constant_values=START)
    target_out = np.pad(words, ((0, 0), (0, 1)))
    target_out[np.arange(2176), ends] = END
    if kind == "transformer":
        model, rate = transformer(kind, width=32, max_length=5), 0.005
    else:
        model, rate = copier(kind), 0.02
    compiled(model, keras.optimizers.Adam(rate))
    model.fit((words[:2048], target_in[:2048]), target_out[:2048], 64, epochs=8, verbose=0)
    unseen, wanted = words[2048:], np.where(target_out[2048:] == 0, END, target_out[2048:])
    greedy = ka.search.greedy(model.step, model.begin(unseen), START, END, 5)
    beam = ka.search.beam(model.step, model.begin(unseen), START, END, 5, 3)
    for result in (greedy, beam):
        exact = (to_numpy(result.tokens, "int32")[:, 0] == wanted).all(axis=1).mean()
        assert exact > 0.9
        np.testing.assert_array_equal(to_numpy(result.lengths)[:, 0] <= 5, True)


# ---- What is the Transformer's own


def test_dropout_of_the_embedded_target_knows_that_it_trains():
    model = make("transformer")
    dropping = ka.models.Transformer.from_config({**model.get_config(), "dropout": 0.5, "seed": 3})
    inputs = (SOURCE, TARGET_IN)
    dropping(inputs)
    dropping.set_weights(model.get_weights())
    assert_close(numbers(dropping(inputs)), numbers(model(inputs)), atol=0)
    assert np.abs(to_numpy(dropping(inputs, training=True)) - to_numpy(model(inputs))).max() > 1e-3


def test_the_weights_of_the_last_block_are_the_mean_of_its_heads():
    model = make("transformer")
    memory = model.encoder(SOURCE)
    x = model.position_encoding(model.target_embedding(TARGET_IN))
    first, last = model.decoder_blocks
    _, weights = last(first(x, memory), memory, return_attention_scores=True)
    logits, scores, state = model.decode((SOURCE, TARGET_IN))
    np.testing.assert_allclose(to_numpy(scores), to_numpy(weights).mean(axis=1), atol=1e-6)
    np.testing.assert_allclose(to_numpy(logits), to_numpy(model((SOURCE, TARGET_IN))), atol=1e-5)
    assert state == {}


@pytest.mark.parametrize("in_graph", [False, True])
def test_a_search_longer_than_the_caches_is_told(in_graph):
    """By an error, or in a graph, where none can be raised, by log-probabilities that are none."""
    model = make("transformer")

    def log_probs(steps):
        never = IDS - 1  # an end id that the head does not give
        return ka.search.greedy(model.step, model.begin(SOURCE), START, never, steps).log_probs

    model.head.bias.assign(np.where(np.arange(IDS) == IDS - 1, -1e4, to_numpy(model.head.bias)))
    if in_graph:
        search = tf.function(log_probs)
        assert np.isfinite(to_numpy(search(model.max_length))).all()
        assert np.isnan(to_numpy(search(model.max_length + 1))).all()
    else:
        assert np.isfinite(to_numpy(log_probs(model.max_length))).all()
        with pytest.raises(ValueError, match="`max_length`, 11"):
            log_probs(model.max_length + 1)


def test_cached_steps_equal_recomputing_the_prefix():
    batch, steps = 8, 128
    random = np.random.default_rng(5)
    model = transformer("transformer", width=128, max_length=steps)
    source, target = (random.integers(3, IDS, (batch, n)).astype("int32") for n in (16, steps))
    wanted = to_numpy(model((source, target)))

    @tf.function
    def cached():
        def step(t, state, logits):
            now, _, state = model.step(tf.gather(target, t, axis=1), state)
            return t + 1, state, logits.write(t, now)

        started = 0, model.begin(source), tf.TensorArray("float32", steps)
        return tf.while_loop(lambda t, *_: t < steps, step, started)[2].stack()

    @tf.function
    def recomputed():
        memory = model.encoder(source)

        def step(t, logits):
            x = model.target_embedding(tf.slice(target, (0, 0), (batch, t + 1)))
            x = model.position_encoding(x)
            for block in model.decoder_blocks:
                x = block(x, memory)
            return t + 1, logits.write(t, model.head(x[:, -1:])[:, 0])

        started = 0, tf.TensorArray("float32", steps)
        return tf.while_loop(lambda t, *_: t < steps, step, started)[1].stack()

    for run in (cached, recomputed):
        np.testing.assert_allclose(np.moveaxis(to_numpy(run()), 0, 1), wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"decoder_blocks": []}, ["`decoder_blocks`", "TransformerDecoderBlock"]),
        ({"decoder_blocks": [LAYERS.Dense(3)]}, ["`decoder_blocks`", "Dense"]),
        ({"decoder_blocks": [ka.TransformerDecoderBlock(2, 3)] * 2}, ["`decoder_blocks`", "all"]),
        ({"max_length": 0}, ["`max_length`", "0", "at least 1"]),
        ({"dropout": 1}, ["`dropout`", "1", "[0, 1)"]),
    ],
)
def test_errors_of_the_transformer(options, words):
    config = {**transformer("transformer").get_config(), **options}
    with pytest.raises(ValueError, match="expected") as caught:
        ka.models.Transformer(**config)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_reads_every_token(policy):
    """A Sequential without an Input would cast the tokens: half of them have no float16."""
    ids = 4999
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        embedding = LAYERS.Embedding(ids, 5)
        model = ka.models.EncoderDecoder(
            keras.Sequential([embedding]),
            keras.Sequential([LAYERS.Embedding(ids, 7)]),
            DECODERS["bahdanau_gru"](),
            LAYERS.Dense(3),
        )
        tokens = np.array([[2049, 4998, 259]])
        model((tokens, tokens))
        assert_close(numbers(model.encoder(tokens)), numbers(embedding(tokens)), atol=0)
        wanted = model.target_embedding.layers[-1](tokens)
        assert_close(numbers(model.target_embedding(tokens)), numbers(wanted), atol=0)
    finally:
        keras.config.set_dtype_policy(before)
