"""A pointer-generator from data to beam search: it copies names that no training has seen."""

import keras
import numpy as np
from keras import ops

import keras_attention as ka
from comparing import to_numpy

PAD, START, END, UNKNOWN = range(4)
COMMON, EXTRA, LENGTH = 12, 3, 7  # words of the vocabulary, names per example, words per source


class Summarizer(keras.Model):
    """Repeats the names of a text: words that have no embedding and must be copied."""

    def __init__(self):
        super().__init__()
        layers = keras.layers
        self.embedding = layers.Embedding(COMMON, 16)
        self.encoder = layers.Bidirectional(layers.GRU(16, return_sequences=True))
        self.decoder = ka.BahdanauDecoder(
            layers.GRUCell(32), ka.BahdanauAttention(32), return_attention_scores=True
        )
        self.head = layers.Dense(COMMON, activation="softmax")
        self.mixture = ka.PointerGenerator(EXTRA)

    def embed(self, ids):
        return self.embedding(ops.where(ids < COMMON, ids, UNKNOWN))

    def call(self, arguments):
        source, target_in = arguments
        memory, inputs = self.encoder(self.embed(source)), self.embed(target_in)
        outputs, weights = self.decoder(inputs, memory, memory_mask=source != PAD)
        return self.mixture(self.head(outputs), weights, source, weights @ memory, outputs, inputs)

    def begin(self, source):
        memory = self.encoder(self.embed(source))
        state = self.decoder.begin(memory, source != PAD)
        return {"decoder": state, "memory": memory, "source": source}

    def step(self, tokens, state):
        inputs = self.embed(tokens)
        output, weights, following = self.decoder.step(inputs, state["decoder"])
        context = ops.einsum("ns,nsd->nd", weights, state["memory"])
        features = (x[:, None] for x in (context, output, inputs))
        mixed = self.mixture(
            self.head(output)[:, None], weights[:, None], state["source"], *features
        )
        logits = ops.log(ops.maximum(mixed[:, 0], 1e-20))
        return logits, weights, {**state, "decoder": following}


def texts(random, count):
    """Sources of common words among which stand two names, and the names with an end."""
    source = random.integers(UNKNOWN + 1, COMMON, size=(count, LENGTH))
    names = np.array([random.permutation(EXTRA)[:2] for _ in range(count)]) + COMMON
    places = np.sort([random.permutation(LENGTH)[:2] for _ in range(count)], axis=1)
    np.put_along_axis(source, places, names, axis=1)
    return source, np.pad(names, [(0, 0), (0, 1)], constant_values=END)


def test_names_are_copied_by_a_beam_search():
    random, model = np.random.default_rng(1), Summarizer()
    source, target = texts(random, 4096)
    target_in = np.pad(target[:, :-1], [(0, 0), (1, 0)], constant_values=START)
    model.compile(keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy())
    model.fit((source, target_in), target, batch_size=64, epochs=6, verbose=0)
    source, target = texts(random, 200)
    found = ka.search.beam(
        model.step, model.begin(ops.convert_to_tensor(source)), START, END, 3, 4, n_best=1
    )
    right = (to_numpy(found.tokens, "int32")[:, 0] == target).all(axis=1)
    assert right.mean() > 0.95
    # The same by teacher forcing.
    scored = ka.search.score(
        model.step, model.begin(ops.convert_to_tensor(source)), target, START, END
    )
    assert float(ops.mean(ops.exp(scored.log_probs))) > 0.9
