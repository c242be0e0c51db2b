"""How often TensorFlow traces a training step: once, whatever the lengths of its batches."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_attention as ka

LAYERS = keras.layers
LENGTHS = [(5, 4), (3, 7), (8, 2)]


class CountedDense(LAYERS.Dense):
    """Counts the calls, which Python makes while TensorFlow traces."""

    calls = 0

    def call(self, inputs):
        self.calls += 1
        return super().call(inputs)


def recurrent(head):
    encoder = keras.Sequential(
        [LAYERS.Embedding(11, 6, mask_zero=True), LAYERS.GRU(6, return_sequences=True)]
    )
    decoder = ka.BahdanauDecoder(LAYERS.GRUCell(6), ka.BahdanauAttention(5))
    return ka.models.EncoderDecoder(encoder, LAYERS.Embedding(11, 6, mask_zero=True), decoder, head)


def transformer(head):
    embedding = LAYERS.Embedding(11, 6, mask_zero=True)
    encoder = keras.Sequential([embedding, ka.TransformerEncoderBlock(2, 8)])
    target = LAYERS.Embedding(11, 6, mask_zero=True)
    return ka.models.Transformer(encoder, target, [ka.TransformerDecoderBlock(2, 8)], head, 9)


def batches():
    random = np.random.default_rng(3)
    for source, target in LENGTHS:
        tokens = random.integers(1, 11, (2, source + 2 * target), "int32")
        source, target_in, target_out = np.split(tokens, [source, source + target], axis=1)
        yield (source, target_in), target_out


@pytest.mark.parametrize("make", [recurrent, transformer])
def test_a_training_step_is_traced_once_for_all_lengths(make):
    head = CountedDense(11, dtype="float32")
    model = make(head)
    model.build([(None, None), (None, None)])
    tokens = tf.TensorSpec((None, None), "int32")
    data = tf.data.Dataset.from_generator(batches, output_signature=((tokens, tokens), tokens))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    before = head.calls
    model.fit(data, epochs=2, verbose=0)
    assert head.calls - before == 1
