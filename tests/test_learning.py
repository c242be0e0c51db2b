"""Scores, alignments and readouts learn what they are for, and the mean of the memory does not.

The task of sequences: place t asks for the symbol that stands at place t of the memory. What a
query and a memory position share is their place alone.
"""

import keras
import numpy as np
import pytest

import keras_attention as ka
from examples import copy_task
from marks import more

LAYERS = keras.layers
SYMBOLS, PLACES, SEEN, UNSEEN = 7, 6, 2048, 256
WIDTH = SYMBOLS + PLACES


def one_hot(places, width=WIDTH):
    return np.eye(width, dtype="float32")[places]


def sequences():
    """Queries, memories and answers; unseen ones at the end."""
    random = np.random.default_rng(5)
    symbols = random.integers(0, SYMBOLS, size=(SEEN + UNSEEN, PLACES))
    places = np.broadcast_to(one_hot(SYMBOLS + np.arange(PLACES)), (*symbols.shape, WIDTH))
    return places, one_hot(symbols) + places, symbols


def accuracy(model, inputs, answers, epochs=4, rate=0.03, jit_compile=False):
    """The share of right answers among the unseen, after training on the others."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"], jit_compile=jit_compile)
    seen = [x[:-UNSEEN] for x in inputs]
    model.fit(seen, answers[:-UNSEEN], batch_size=32, epochs=epochs, verbose=0)
    unseen = [x[-UNSEEN:] for x in inputs]
    return model.evaluate(unseen, answers[-UNSEEN:], verbose=0)[1]


def reader(context_of):
    query, memory = keras.Input((None, WIDTH)), keras.Input((None, WIDTH))
    context = context_of(LAYERS.Dense(WIDTH)(query), memory)
    return keras.Model([query, memory], LAYERS.Dense(SYMBOLS)(context))


MEMBERS = {
    "dot": lambda: ka.Attention("dot"),
    "scaled_dot": lambda: ka.Attention("scaled_dot"),
    "general": lambda: ka.Attention("general"),
    "additive": lambda: ka.BahdanauAttention(16),
    "location": lambda: ka.LuongAttention(ka.scores.Location(max_length=PLACES)),
    "cosine": lambda: ka.Attention("cosine"),
    "sparsemax": lambda: ka.Attention("general", "sparsemax"),
    "entmax15": lambda: ka.Attention("general", "entmax15"),
    "local_m": lambda: ka.LuongAttention("general", ka.alignments.LocalMonotonic(window=1)),
    # What a window does not reach from the first positions, in the middle, has no gradient.
    "local_p": lambda: ka.LuongAttention("general", ka.alignments.LocalPredictive(16, window=6)),
    "monotonic": lambda: ka.MonotonicAttention("general", noise=0.5, seed=3),
}


DEFAULT = ["additive", "location", "sparsemax", "local_p", "monotonic"]


@pytest.mark.parametrize("name", [*DEFAULT, *more(*sorted(MEMBERS.keys() - DEFAULT))])
def test_it_learns_to_read_at_a_place(name):
    layer = MEMBERS[name]()
    queries, memories, symbols = sequences()
    found = accuracy(
        reader(lambda query, memory: layer(query, memory)), [queries, memories], symbols
    )
    assert found > 0.97


def test_the_mean_of_the_memory_does_not():
    def mean(query, memory):
        context = LAYERS.GlobalAveragePooling1D(keepdims=True)(memory)
        return LAYERS.Concatenate()([query, context + keras.ops.zeros_like(query)])

    queries, memories, symbols = sequences()
    assert accuracy(reader(mean), [queries, memories], symbols) < 0.6


def test_what_was_learned_in_parallel_serves_as_hard_monotonic_attention():
    """Raffel 2017, section 2.4: noise in training makes the probabilities near 0 or 1."""
    queries, memories, symbols = sequences()
    layer = ka.MonotonicAttention("general", noise=2.0, seed=3)
    model = reader(lambda query, memory: layer(query, memory))
    assert accuracy(model, [queries, memories], symbols, epochs=6) > 0.97
    hard = ka.MonotonicAttention("general", mode="hard")
    stream = reader(lambda query, memory: hard(query, memory))
    stream.set_weights(model.get_weights())
    found = stream.predict([queries[-UNSEEN:], memories[-UNSEEN:]], verbose=0).argmax(axis=-1)
    assert (found == symbols[-UNSEEN:]).mean() > 0.97


# ---- The Transformer


@pytest.mark.each_value
@pytest.mark.parametrize("lacking", [None, "positions", "block"])
@pytest.mark.parametrize("norm_first", [False, True])
def test_an_encoder_block_learns_to_reverse(lacking, norm_first):
    """Each place says the symbol at the mirrored place, which takes attention and positions."""
    symbols = np.random.default_rng(5).integers(0, SYMBOLS, size=(SEEN + UNSEEN, PLACES))
    sequence = keras.Input((PLACES, SYMBOLS))
    x = LAYERS.Dense(32)(sequence)
    if lacking != "positions":
        x = ka.SinusoidalPositionEncoding(max_wavelength=100)(x)
    if lacking != "block":
        x = ka.TransformerEncoderBlock(2, 64, norm_first=norm_first)(x)
    model = keras.Model(sequence, LAYERS.Dense(SYMBOLS)(x))
    found = accuracy(model, [one_hot(symbols, SYMBOLS)], symbols[:, ::-1], epochs=12, rate=0.005)
    assert found < 0.6 if lacking else found > 0.97


@pytest.mark.parametrize("reads", [True, *more(False)])
def test_a_decoder_block_learns_to_read_at_a_place(reads):
    """Of the mean of a memory it reads all places alike."""
    queries, memories, symbols = sequences()
    query, memory = keras.Input((None, WIDTH)), keras.Input((None, WIDTH))
    read = memory if reads else LAYERS.GlobalAveragePooling1D(keepdims=True)(memory)
    block = ka.TransformerDecoderBlock(2, 64)
    model = keras.Model(
        [query, memory], LAYERS.Dense(SYMBOLS)(block(LAYERS.Dense(32)(query), read))
    )
    found = accuracy(model, [queries, memories], symbols, epochs=8, rate=0.005)
    assert found > 0.97 if reads else found < 0.6


# ---- Pictures


def questions():
    """Which of six places is asked for, pictures with a symbol at each, and the answers."""
    random = np.random.default_rng(7)
    symbols = random.integers(0, SYMBOLS, size=(SEEN + UNSEEN, 2, 3))
    pictures = one_hot(symbols) + one_hot(SYMBOLS + np.arange(6)).reshape(2, 3, WIDTH)
    asked = random.integers(0, 6, size=SEEN + UNSEEN)
    return one_hot(asked, 6), pictures, symbols.reshape(-1, 6)[np.arange(len(asked)), asked]


@pytest.mark.parametrize("attends", [True, False])
def test_soft_spatial_attention_learns_to_look_where_the_query_says(attends):
    asked, pictures, answers = questions()
    query, picture = keras.Input((6,)), keras.Input((2, 3, WIDTH))
    context = (
        ka.SoftSpatialAttention(16)(query, picture)
        if attends
        else LAYERS.Concatenate()([query, LAYERS.GlobalAveragePooling2D()(picture)])
    )
    model = keras.Model([query, picture], LAYERS.Dense(SYMBOLS)(context))
    found = accuracy(model, [asked, pictures], answers, epochs=8)
    assert found > 0.97 if attends else found < 0.6


class Looker(keras.Model):
    """One hard look at a picture, of which the score learns by `reinforce` if that is wanted."""

    def __init__(self, alignment, reinforces):
        super().__init__()
        attention = ka.HardSpatialAttention(16, alignment, gate=False)
        self.decoder = ka.LuongDecoder(LAYERS.SimpleRNNCell(16), attention, input_feeding=False)
        self.head = LAYERS.Dense(SYMBOLS)
        self.reinforces = reinforces
        self.baseline = self.add_weight(name="baseline", initializer="zeros", trainable=False)

    def call(self, inputs, training=None):
        query, picture = inputs
        outputs, _, state = self.decoder.decode(query[:, None], picture, training=training)
        return self.head(outputs[:, 0]), state["attention"]

    def compute_loss(self, x, y, y_pred, sample_weight=None, training=True):
        logits, state = y_pred
        log_likelihood = -keras.losses.sparse_categorical_crossentropy(y, logits, from_logits=True)
        loss = -log_likelihood
        if self.reinforces:
            loss += ka.losses.reinforce(log_likelihood, **state, baseline=self.baseline)
            self.baseline.assign(ka.losses.moving_average(self.baseline, log_likelihood))
        return keras.ops.mean(loss)


# By name: the alignment, and whether the model adds `reinforce`.
ESTIMATORS = {
    "reinforce": (lambda: ka.alignments.Hard(0, seed=3), True),
    "reinforce_with_the_mix": (lambda: ka.alignments.Hard(0.5, seed=3), True),
    "straight_through": (lambda: ka.alignments.StraightThrough(seed=3), False),
    "none": (lambda: ka.alignments.Hard(0, seed=3), False),
}


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_hard_spatial_attention_learns_to_look_where_the_query_says(estimator):
    asked, pictures, answers = questions()
    alignment, reinforces = ESTIMATORS[estimator]
    model = Looker(alignment(), reinforces)
    model.compile(keras.optimizers.Adam(0.03), jit_compile=False)
    seen = [asked[:-UNSEEN], pictures[:-UNSEEN]]
    model.fit(seen, answers[:-UNSEEN], batch_size=64, epochs=8, verbose=0)
    logits, _ = model.predict([asked[-UNSEEN:], pictures[-UNSEEN:]], verbose=0)
    found = (logits.argmax(axis=-1) == answers[-UNSEEN:]).mean()
    assert found > 0.97 if estimator != "none" else found < 0.6


# ---- Decoders


@pytest.mark.parametrize("reads_both", [True, False])
def test_two_memories_are_read_side_by_side(reads_both):
    """The answer at place t stands there in one of the two memories, in turns."""
    random = np.random.default_rng(9)
    first, second = random.integers(0, SYMBOLS, size=(2, SEEN + UNSEEN, PLACES))
    places = sequences()[0]
    memories = [one_hot(symbols) + places for symbols in (first, second)]
    query = keras.Input((None, WIDTH))
    sources = [keras.Input((None, WIDTH)) for _ in memories]
    parts = [ka.BahdanauAttention(16), ka.BahdanauAttention(16)]
    attention, memory = (
        (ka.MultiSourceAttention(parts), sources) if reads_both else (parts[0], sources[0])
    )
    decoder = ka.LuongDecoder(
        LAYERS.GRUCell(16), attention, attention_layer_size=64, input_feeding=False
    )
    outputs = LAYERS.Dense(SYMBOLS)(LAYERS.Dense(64, "relu")(decoder(query, memory)))
    model = keras.Model([query, *sources], outputs)
    answers = np.where(np.arange(PLACES) % 2, first, second)
    found = accuracy(model, [places, *memories], answers, epochs=6, rate=0.01)
    assert found > 0.97 if reads_both else found < 0.65


@pytest.mark.parametrize("attends", [True, *more(False)])
def test_deep_output_learns_with_its_decoder(attends):
    queries, memories, symbols = sequences()
    query, memory = keras.Input((None, WIDTH)), keras.Input((None, WIDTH))
    seen = memory if attends else LAYERS.GlobalAveragePooling1D(keepdims=True)(memory)
    decoder = ka.BahdanauDecoder(
        LAYERS.GRUCell(16), ka.BahdanauAttention(16), readout=ka.DeepOutput(16)
    )
    # The state before the step knows the place before, from which the next one follows.
    model = keras.Model([query, memory], LAYERS.Dense(SYMBOLS)(decoder(query, seen)))
    found = accuracy(model, [queries, memories], symbols, epochs=6)
    assert found > 0.97 if attends else found < 0.6


@pytest.mark.parametrize("guided", [True, False])
def test_guided_alignment_teaches_where_to_look(guided):
    """The memory holds every symbol twice; the aligner says which of the two was meant."""
    queries, memories, symbols = sequences()
    doubled = np.concatenate([memories, memories], axis=1)
    aligned = np.broadcast_to(
        one_hot(PLACES + np.arange(PLACES), 2 * PLACES), (len(symbols), 6, 12)
    )
    query, memory = keras.Input((None, WIDTH)), keras.Input((2 * PLACES, WIDTH))
    placed = LAYERS.Concatenate()([memory, PlaceOf()(memory)])
    context, weights = ka.BahdanauAttention(16)(query, placed, return_attention_scores=True)
    model = keras.Model([query, memory], [LAYERS.Dense(SYMBOLS)(context), weights])
    cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(
        keras.optimizers.Adam(0.03),
        [cross_entropy, ka.losses.guided_alignment],
        loss_weights=[1.0, 0.5 if guided else 0.0],
    )
    model.fit([queries, doubled], [symbols, aligned], batch_size=32, epochs=3, verbose=0)
    _, looked = model.predict([queries[-UNSEEN:], doubled[-UNSEEN:]], verbose=0)
    share = (looked * aligned[-UNSEEN:]).sum(axis=-1).mean()
    assert share > 0.9 if guided else share < 0.7


class PlaceOf(keras.layers.Layer):
    """One-hot numbers of the positions of a memory of 12."""

    def call(self, memory):
        places = keras.ops.eye(2 * PLACES)[None] + keras.ops.zeros_like(memory[:, :, :1])
        return places

    def compute_output_shape(self, memory_shape):
        return (*memory_shape[:2], 2 * PLACES)


# ---- Memory


@pytest.mark.parametrize("remembers", [True, *more(False)])
def test_a_turing_machine_learns_to_copy_and_copies_what_is_longer(remembers):
    """An LSTM gets about the same time, three times as many steps: it copies nothing longer."""
    cell = ka.NTMCell(LAYERS.Dense(100, "tanh"), 12, 20) if remembers else LAYERS.LSTMCell(100)
    recurrent = LAYERS.RNN(cell, return_sequences=True)
    bits = copy_task.BITS
    model = keras.Sequential([keras.Input((None, bits + 1)), recurrent, LAYERS.Dense(bits)])
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(3e-3, global_clipnorm=1.0), loss, jit_compile=True)
    random = np.random.default_rng(5)
    seen = copy_task.draw_sequences(300 * 32, 1, 4, random)
    epochs = 1 if remembers else 3
    model.fit(*seen[:2], sample_weight=seen[2], batch_size=32, epochs=epochs, verbose=0)
    seen_length, longer = (copy_task.wrong_bits(model, length, random) for length in (4, 8))
    print(f"wrong bits: {seen_length:.1%} at 4, {longer:.1%} at 8")
    assert longer < 0.15 if remembers else longer > 0.25
    assert seen_length < (0.1 if remembers else longer)
