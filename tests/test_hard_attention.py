"""Hard attention: its draws, what REINFORCE takes of them, and how right the gradients are.

On a problem of two words and three places all nine ways to look can be enumerated. What that gives,
eq. 10 of Xu 2015 and its gradient, is what the estimators are measured against. `pytest -s -k exact
tests/test_hard_attention.py` prints the figures of docs/mechanisms.md.
"""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_attention as ka
from comparing import assert_close, numbers, to_numpy

LAYERS = keras.layers
Hard, StraightThrough = ka.alignments.Hard, ka.alignments.StraightThrough


def normal(*shape, seed=7):
    return np.random.default_rng(seed + sum(shape)).normal(size=shape).astype("float32")


# ---- Against the exact gradient

STEPS, PLACES, WORDS, BATCH = 2, 3, 4, 2000
TARGET = [1, 3]
# |z| of 56 weights, each of a t distribution with 39 degrees of freedom: an unbiased estimator
# passes the bound by chance in 3 of 1,000 runs, and runs are seeded.
BOUND, BATCHES = 4.5, 40


class Problem:
    """One picture of three places, two words, and a decoder over them in float64."""

    def __init__(self, alignment, loss):
        self.attention = ka.HardSpatialAttention(2, alignment, dtype="float64")
        cell = LAYERS.SimpleRNNCell(3, dtype="float64")
        self.decoder = ka.BahdanauDecoder(cell, self.attention, dtype="float64")
        self.head = LAYERS.Dense(WORDS, dtype="float64")
        self.head(self.decoder(np.zeros((1, STEPS, 2)), np.zeros((1, PLACES, 2))))
        self.weights = self.decoder.trainable_variables + self.head.trainable_variables
        self.loss = loss

    def become(self, seed):
        random = np.random.default_rng(seed)
        self.inputs = random.normal(size=(1, STEPS, 2))
        self.memory = 2 * random.normal(size=(1, PLACES, 2))  # where it looks makes a difference
        for weight in self.weights:
            weight.assign(random.normal(size=weight.shape))

    def of_the_score(self):
        """Where in a flat gradient the score's weights are, which decide where to look."""
        ours = [any(w is part for part in self.attention.score.weights) for w in self.weights]
        return np.repeat(ours, [w.numpy().size for w in self.weights])

    def exact(self):
        """The gradient of L_s = sum_s p(s | a) log p(y | s, a), written out."""
        attention = self.attention
        with tf.GradientTape() as tape:
            keys, total = attention.make_keys(self.memory), 0.0
            for places in itertools.product(range(PLACES), repeat=STEPS):
                hidden, log_prob, log_likelihood = tf.zeros((1, 3), "float64"), 0.0, 0.0
                for t, place in enumerate(places):
                    scores = attention.score(hidden[:, None], keys)
                    log_prob += tf.nn.log_softmax(scores[0, 0])[place]
                    context = attention.gate(hidden) * self.memory[:, place]
                    x = tf.concat([self.inputs[:, t], context], axis=-1)
                    _, (hidden,) = self.decoder.cell(x, [hidden])
                    log_likelihood += tf.nn.log_softmax(self.head(hidden))[0, TARGET[t]]
                total += tf.exp(log_prob) * log_likelihood
        return flat(tape.gradient(total, [weight.value for weight in self.weights]))

    def estimates(self, batches):
        """The gradient that ascends, of `batches` means over `BATCH` draws each."""
        repeated = [tf.repeat(x, BATCH, axis=0) for x in (self.inputs, self.memory)]
        return np.array([flat(self._gradient(*repeated)) for _ in range(batches)])

    @tf.function
    def _gradient(self, inputs, memory):
        with tf.GradientTape() as tape:
            outputs, _, state = self.decoder.decode(inputs, memory, training=True)
            logs = tf.nn.log_softmax(self.head(outputs))  # (B, T, V)
            log_likelihood = sum(logs[:, t, word] for t, word in enumerate(TARGET))
            mean = -tf.reduce_mean(self.loss(log_likelihood, state["attention"]))
        return tape.gradient(mean, [weight.value for weight in self.weights])


def flat(gradients):
    return np.concatenate([to_numpy(tf.convert_to_tensor(g)).ravel() for g in gradients])


def reinforced(log_likelihood, state, reward_weight=1.0):
    options = {"baseline": -2.0, "reward_weight": reward_weight, "entropy_weight": 0.0}
    return -log_likelihood + ka.losses.reinforce(log_likelihood, **state, **options)


def backpropagated(log_likelihood, state):
    return -log_likelihood


ESTIMATORS = {
    "REINFORCE": (lambda: Hard(0.0, seed=5), reinforced),
    "REINFORCE with the mix": (lambda: Hard(0.5, seed=5), reinforced),
    "straight-through": (lambda: StraightThrough(seed=5), backpropagated),
    # What is wrong, the test must see.
    "no reward": (lambda: Hard(0.0, seed=5), backpropagated),
    "reward of the wrong sign": (
        lambda: Hard(0.0, seed=5),
        lambda *parts: reinforced(*parts, reward_weight=-1.0),
    ),
}


def problem(name):
    make, loss = ESTIMATORS[name]
    return Problem(make(), loss)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_reinforce_alone_is_unbiased_against_the_exact_gradient(name):
    """The mean of 80,000 draws lies within `BOUND` standard errors of it, weight by weight."""
    tiny = problem(name)
    tiny.become(seed=3)
    exact, batches = tiny.exact(), tiny.estimates(BATCHES)
    assert len(exact) == 56
    mean, error = batches.mean(axis=0), batches.std(axis=0, ddof=1) / np.sqrt(BATCHES)
    # A weight that nothing was drawn for has no error, only rounding.
    largest = (np.abs(mean - exact) / np.maximum(error, 1e-12)).max()
    print(f"{name}: |z| <= {largest:.1f}")
    assert (largest < BOUND) == (name == "REINFORCE")


@pytest.mark.parametrize("name", list(ESTIMATORS)[:3])
def test_how_far_from_the_exact_gradient_the_estimators_are(name):
    """Ten random problems, 20,000 draws each; of all weights, and of those of the score alone.

    The problems are those where it matters where to look: 5 % of the gradient are the score's.
    """
    tiny, figures, seeds = problem(name), [], itertools.count()
    score = tiny.of_the_score()
    while len(figures) < 20:
        tiny.become(next(seeds))
        exact = tiny.exact()
        if np.linalg.norm(exact[score]) < 0.05 * np.linalg.norm(exact):
            continue
        batches = tiny.estimates(10)
        mean, deviation = batches.mean(axis=0), batches.std(axis=0, ddof=1) * np.sqrt(BATCH)
        for part in (slice(None), score):
            length = np.linalg.norm(exact[part])
            cosine = mean[part] @ exact[part] / np.linalg.norm(mean[part]) / length
            bias = np.linalg.norm((mean - exact)[part]) / length
            figures.append([bias, cosine, np.linalg.norm(deviation[part]) / length])
    figures = np.array(figures).reshape(10, 2, 3)
    bias, cosine, spread = np.moveaxis(np.median(figures, axis=0), -1, 0)
    least = figures[:, :, 1].min(axis=0)
    for i, part in enumerate(("all weights", "the score's")):
        print(
            f"{name}, {part}: bias {bias[i]:.2f}, cosine {cosine[i]:.3f}, at worst {least[i]:.2f}, "
            f"spread of one draw {spread[i]:.1f}"
        )
    assert (cosine > 0.9).all()
    assert (least[1] < 0) == (name == "straight-through")  # it may point the wrong way


# ---- What is drawn, and what is kept of it


def oracle(scores, places, allowed):
    """The sums of log alpha at the drawn places and of H[alpha], step by step, of one example."""
    log_prob = entropy = 0.0
    for row, place, may in zip(scores, places, allowed, strict=True):
        if not may.any():
            continue
        alpha = np.exp(row[may]) / np.exp(row[may]).sum()
        log_prob += np.log(alpha[list(np.flatnonzero(may)).index(place)])
        entropy -= (alpha * np.log(alpha)).sum()
    return log_prob, entropy


@pytest.mark.parametrize("masked", [True, False])
def test_log_prob_and_entropy_equal_the_oracle(masked):
    shape = (101, 5, 7)
    scores, mask = 3 * normal(*shape), None
    if masked:
        mask = np.random.default_rng(11).uniform(size=shape) < 0.6
        mask[::5, 2] = False
    alignment = Hard(seed=3)
    noise = alignment.sample_noise(shape, training=True)
    weights, state = alignment(
        scores, mask=mask, state=alignment.initial_state(np.zeros((101, 7, 2))), noise=noise
    )
    weights, state = to_numpy(weights), {name: to_numpy(x)[:, 0] for name, x in state.items()}
    allowed = np.ones(shape, bool) if mask is None else mask
    expected = to_numpy(noise[1])[:, 0, 0] > 0
    for b in range(101):
        log_prob, entropy = oracle(scores[b].astype(float), weights[b].argmax(-1), allowed[b])
        assert state["entropy"][b] == pytest.approx(entropy, abs=1e-4)
        assert state["log_prob"][b] == pytest.approx(0 if expected[b] else log_prob, abs=1e-4)
        if expected[b]:
            exponentials = np.where(allowed[b], np.exp(scores[b].astype(float)), 0)
            total = np.maximum(exponentials.sum(axis=-1, keepdims=True), 1e-30)
            np.testing.assert_allclose(weights[b], exponentials / total, atol=1e-5)
        else:
            np.testing.assert_array_equal(weights[b].sum(axis=-1), allowed[b].any(axis=-1))
    # All steps at once are the steps one by one.
    stepped = alignment.initial_state(np.zeros((101, 7, 2)))
    for t in range(5):
        now = slice(t, t + 1)
        step_mask = None if mask is None else mask[:, now]
        _, stepped = alignment(
            scores[:, now], mask=step_mask, state=stepped, noise=[n[:, now] for n in noise]
        )
    assert_close([to_numpy(stepped[name])[:, 0] for name in state], state.values(), atol=1e-4)


@pytest.mark.parametrize("probability", [0.0, 0.25, 1.0])
def test_the_share_of_the_mix_is_that_of_whole_sequences(probability):
    alignment = Hard(probability, seed=3)
    shape = (4000, 3, 5)
    noise = alignment.sample_noise(shape, training=True)
    weights = to_numpy(alignment(np.zeros(shape, "float32"), noise=noise)[0])
    expected = (weights < 1).all(axis=-1)  # (B, T)
    np.testing.assert_array_equal(expected.any(axis=1), expected.all(axis=1))
    assert expected[:, 0].mean() == pytest.approx(probability, abs=4 * 0.5 / np.sqrt(4000))
    np.testing.assert_allclose(weights[expected], 0.2, atol=1e-6)


def test_straight_through_draws_as_hard_does_and_passes_the_gradient_of_the_softmax():
    shape, temperature = (11, 3, 5), 0.7
    scores, upstream = tf.constant(normal(*shape)), normal(*shape, seed=9)
    mask = np.random.default_rng(11).uniform(size=shape) < 0.7
    alignment = StraightThrough(temperature, seed=3)
    (noise,) = alignment.sample_noise(shape, training=True)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(scores)
        weights, state = alignment(scores, mask=mask, noise=(noise,))
        soft = ka.masks.masked_softmax((scores + noise) / temperature, mask)
        loss, soft_loss = (tf.reduce_sum(x * upstream) for x in (weights, soft))
    assert state == ()
    hard, _ = Hard(0.0)(scores, mask=mask, noise=(noise,))
    np.testing.assert_array_equal(to_numpy(weights), to_numpy(hard))
    gradients = [to_numpy(tape.gradient(part, scores)) for part in (loss, soft_loss)]
    assert np.abs(gradients[0]).max() > 0.1
    np.testing.assert_allclose(*gradients, atol=1e-6)


DECODERS = {
    "bahdanau": lambda attention, **k: ka.BahdanauDecoder(LAYERS.LSTMCell(5), attention, **k),
    "luong": lambda attention, **k: ka.LuongDecoder(LAYERS.GRUCell(5), attention, **k),
    "luong_unfed": lambda attention, **k: ka.LuongDecoder(
        LAYERS.GRUCell(5), attention, input_feeding=False, **k
    ),
}
EVERY_DECODER = pytest.mark.parametrize("kind", DECODERS)
INPUTS, MAPS = normal(3, 4, 7), normal(3, 2, 5, 11)
INPUTS_MASK = np.arange(4) < np.array([[4], [2], [0]])
MAPS_MASK = np.random.default_rng(5).uniform(size=(3, 2, 5)) < 0.6


@pytest.mark.each_value
@EVERY_DECODER
@pytest.mark.parametrize("empty", [True, False])
def test_a_decoder_keeps_the_sums_of_the_steps_that_count(kind, empty):
    """With no score to tell places apart, each step adds the logarithm of how many there are."""
    decoder = DECODERS[kind](ka.HardSpatialAttention(3, Hard(0.0, seed=3)))
    decoder(INPUTS, MAPS)
    vector = decoder.attention.score.score_vector
    vector.assign(keras.ops.zeros_like(vector))
    maps_mask = MAPS_MASK & (not empty)
    with tf.GradientTape() as tape:
        _, weights, state = decoder.decode(INPUTS, MAPS, INPUTS_MASK, maps_mask, training=True)
        total = sum(tf.reduce_sum(part) for part in state["attention"].values())
    places, steps = maps_mask.sum(axis=(1, 2)), INPUTS_MASK.sum(axis=1)
    wanted = steps * np.log(np.maximum(places, 1))
    np.testing.assert_allclose(to_numpy(state["attention"]["entropy"])[:, 0], wanted, atol=1e-5)
    np.testing.assert_allclose(to_numpy(state["attention"]["log_prob"])[:, 0], -wanted, atol=1e-5)
    written = INPUTS_MASK & (not empty)
    np.testing.assert_array_equal(to_numpy(weights).sum(axis=(2, 3)), written)
    gradient = to_numpy(tf.convert_to_tensor(tape.gradient(total, vector.value)))
    assert np.isfinite(gradient).all()
    assert (np.abs(gradient).max() > 0) == (not empty)


@pytest.mark.each_value
@EVERY_DECODER
@pytest.mark.parametrize("alignment", ["hard", "straight_through"])
def test_nothing_is_drawn_at_inference(kind, alignment):
    decoder = DECODERS[kind](ka.HardSpatialAttention(3, alignment, seed=3))
    results = [decoder.decode(INPUTS, MAPS)[:2] for _ in range(2)]
    assert_close(numbers(results[0]), numbers(results[1]), atol=0)
    state = decoder.decode(INPUTS, MAPS)[2]["attention"]
    assert all((part == 0).all() for part in numbers(state))
    drawn = [to_numpy(decoder.decode(INPUTS, MAPS, training=True)[1]) for _ in range(2)]
    assert (drawn[0] != drawn[1]).any()


# ---- Maps in decoders


@pytest.mark.each_value
@EVERY_DECODER
@pytest.mark.parametrize("alignment", [None, "hard", "straight_through"])
@pytest.mark.parametrize("masked", [True, False])
def test_a_decoder_on_maps_is_the_decoder_on_their_places(kind, alignment, masked):
    attention = (
        ka.SoftSpatialAttention(3) if alignment is None else ka.HardSpatialAttention(3, alignment)
    )
    decoder = DECODERS[kind](attention, return_attention_scores=True, return_state=True)
    places, masks = MAPS.reshape(3, 10, 11), [INPUTS_MASK, MAPS_MASK] if masked else []
    outputs, weights, *last = numbers(decoder(INPUTS, MAPS, *masks))
    assert weights.shape == (3, 4, 2, 5)
    flat_masks = [INPUTS_MASK, MAPS_MASK.reshape(3, 10)] if masked else []
    wanted, flat_weights, *flat_last = numbers(decoder(INPUTS, places, *flat_masks))
    assert flat_weights.shape == (3, 4, 10)
    assert_close([outputs, *last], [wanted, *flat_last], atol=1e-6)
    np.testing.assert_allclose(weights, flat_weights.reshape(weights.shape), atol=1e-6)
    state = decoder.begin(MAPS, MAPS_MASK if masked else None)
    for t in range(2):  # two examples have as many steps
        output, row, state = decoder.step(keras.ops.convert_to_tensor(INPUTS[:, t]), state)
        stepped = [to_numpy(output)[:2], to_numpy(row)[:2]]
        assert_close(stepped, [outputs[:2, t], weights[:2, t]], atol=1e-5)


def test_maps_and_a_text_side_by_side():
    attentions = [ka.SoftSpatialAttention(3), ka.BahdanauAttention(3)]
    decoder = ka.BahdanauDecoder(
        LAYERS.GRUCell(5), ka.MultiSourceAttention(attentions), return_attention_scores=True
    )
    _, weights = decoder(INPUTS, [MAPS, normal(3, 6, 13)], memory_mask=[MAPS_MASK, None])
    assert tuple(weights.shape) == (3, 4, 16)
    assert (to_numpy(weights)[:, :, :10][:, :, ~MAPS_MASK[0].ravel()][0] == 0).all()
    symbols = decoder(keras.Input((None, 7)), [keras.Input((2, 5, 11)), keras.Input((6, 13))])
    assert [part.shape for part in symbols] == [(None, None, 5), (None, None, 16)]


# ---- Captioning models


class Captioner(keras.Model):
    """An `EncoderDecoder` trained with the losses of the paper."""

    def __init__(self, model, **kwargs):
        super().__init__(**kwargs)
        self.model = model
        self.baseline = self.add_weight(name="baseline", initializer="zeros", trainable=False)

    def call(self, inputs, training=None):
        logits, weights, state = self.model.decode(inputs, training)
        return {"logits": logits, "weights": weights, **dict(state["attention"])}

    def compute_loss(self, x, y, y_pred, sample_weight=None, training=True):
        written = keras.ops.cast(y > 0, "float32")  # (B, T)
        logs = keras.ops.log_softmax(keras.ops.cast(y_pred["logits"], "float32"))
        words = keras.ops.take_along_axis(logs, keras.ops.cast(y, "int32")[..., None], axis=2)
        log_likelihood = keras.ops.sum(words[..., 0] * written, axis=1)
        if not training:
            return -keras.ops.mean(log_likelihood)
        losses = 0.1 * ka.losses.doubly_stochastic(y_pred["weights"]) - log_likelihood
        if "log_prob" in y_pred:
            draws = {name: y_pred[name] for name in ("log_prob", "entropy")}
            losses += ka.losses.reinforce(log_likelihood, **draws, baseline=self.baseline)
            self.baseline.assign(ka.losses.moving_average(self.baseline, log_likelihood))
        return keras.ops.mean(losses)


IDS, START, END = 13, 1, 2
PICTURES = normal(6, 4, 6, 3)
TARGET_IN = np.array([[1, 3, 4, 5], [1, 6, 7, 0], [1, 8, 0, 0]] * 2)
TARGET_OUT = np.array([[3, 4, 5, 2], [6, 7, 2, 0], [8, 2, 0, 0]] * 2)


def captioner(alignment, decoder_class=ka.BahdanauDecoder, **options):
    decoder = decoder_class(LAYERS.LSTMCell(8), ka.HardSpatialAttention(5, alignment, seed=3))
    encoder = keras.Sequential([LAYERS.Conv2D(7, 3, strides=2, padding="same")])
    embedding, head = LAYERS.Embedding(IDS, 5, mask_zero=True), LAYERS.Dense(IDS, dtype="float32")
    return ka.models.EncoderDecoder(encoder, embedding, decoder, head, **options)


@pytest.mark.each_value
@pytest.mark.parametrize("alignment", ["hard", "straight_through"])
@pytest.mark.parametrize(
    ("policy", "jit_compile", "sampling"),
    [
        ("float32", True, None),
        ("float32", False, 0.5),
        ("mixed_float16", False, None),
        ("mixed_bfloat16", False, None),
    ],
)
def test_models_train(alignment, policy, jit_compile, sampling):
    keras.config.set_dtype_policy(policy)
    model = Captioner(captioner(alignment, sampling_probability=sampling))
    model.compile(keras.optimizers.Adam(0.05), jit_compile=jit_compile)
    batch = ((PICTURES, TARGET_IN), TARGET_OUT)
    before = model.test_on_batch(*batch)
    for _ in range(15):
        assert np.isfinite(model.train_on_batch(*batch))
    model.reset_metrics()
    assert model.test_on_batch(*batch) < 0.7 * before
    assert (float(model.baseline) < 0) == (alignment == "hard")


def test_a_model_over_maps_searches_saves_and_loads(tmp_path):
    model = captioner("hard")
    logits = to_numpy(model((PICTURES, TARGET_IN)))
    logits_again, weights, state = model.decode((PICTURES, TARGET_IN))
    np.testing.assert_array_equal(to_numpy(logits_again), logits)
    assert tuple(weights.shape) == (6, 4, 2, 3)
    assert (to_numpy(weights).sum(axis=(2, 3)) == (TARGET_IN > 0)).all()
    np.testing.assert_array_equal(to_numpy(model.attention_scores((PICTURES, TARGET_IN))), weights)
    assert set(state) == {"cell", "attention", "memory", "map"}
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(to_numpy(loaded((PICTURES, TARGET_IN))), logits)
    found = [
        ka.search.beam(m.step, m.begin(PICTURES), START, END, max_length=5, beam_width=3)
        for m in (model, loaded)
    ]
    assert_close(numbers(found[0]), numbers(found[1]), atol=0)
    attention = to_numpy(found[0].attention)
    assert attention.shape == (6, 3, 5, 2, 3)
    assert set(np.unique(attention)) == {0.0, 1.0}
    one = ka.search.beam(model.step, model.begin(PICTURES), START, END, 5, 1)
    greedy = ka.search.greedy(model.step, model.begin(PICTURES), START, END, 5)
    assert_close(numbers(one.tokens), numbers(greedy.tokens), atol=0)


@pytest.mark.parametrize("sampling_probability", [None, 0.5])
def test_decode_builds_the_model_and_counts_the_steps_that_are_written(sampling_probability):
    model = captioner("hard", ka.LuongDecoder, sampling_probability=sampling_probability)
    _, weights, state = model.decode((PICTURES, TARGET_IN), training=True)
    assert tuple(weights.shape) == (6, 4, 2, 3)
    sums = to_numpy(state["attention"]["entropy"])[:, 0]
    assert (sums > 0.5).all()
    assert (sums <= (TARGET_IN > 0).sum(axis=1) * np.log(6) + 1e-4).all()
