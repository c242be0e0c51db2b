"""Variables are read before loops; assignments, noise and losses inside them are as without."""

import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_attention as ka
from comparing import assert_close, numbers
from keras_attention._internal import loop_variables
from keras_attention.attention import base as attention_base
from keras_attention.decoders import base as decoder_base
from keras_attention.models import encoder_decoder

SOURCE, TARGET = np.array([[3, 4, 5], [6, 3, 0]]), np.array([[1, 2], [1, 0]])


@pytest.fixture
def read_in_loops(monkeypatch):
    """Returns what puts the reads back into the loops."""

    def restore():
        for module in (decoder_base, attention_base, encoder_decoder):
            monkeypatch.setattr(
                module, "read_variables_once", lambda layer: contextlib.nullcontext()
            )

    return restore


def translator(*encoder_layers, sampling_probability=None):
    layers = keras.layers
    return ka.models.EncoderDecoder(
        keras.Sequential(
            [
                layers.Embedding(11, 8, mask_zero=True),
                layers.Bidirectional(layers.GRU(4, return_sequences=True)),
                *encoder_layers,
            ]
        ),
        layers.Embedding(13, 8, mask_zero=True),
        ka.BahdanauDecoder(layers.GRUCell(8), ka.BahdanauAttention(8)),
        layers.Dense(13, dtype="float32"),
        sampling_probability=sampling_probability,
        seed=3,
    )


def gradient_step(model):
    model((SOURCE, TARGET))

    @tf.function
    def step(source, target):
        with tf.GradientTape() as tape:
            logits = model((source, target), training=True)
            loss = tf.reduce_sum(logits**2)
        return logits, *tape.gradient(loss, [v.value for v in model.trainable_variables])

    return step, (tf.constant(SOURCE), tf.constant(TARGET))


def reads_in_loops(function, inputs):
    graph = function.get_concrete_function(*inputs).graph
    bodies = {
        operation.get_attr(branch).name
        for inner in (graph, *(each.graph for each in graph._functions.values()))
        for operation in inner.get_operations()
        if operation.type in ("While", "StatelessWhile")
        for branch in ("body", "cond")
    }
    assert bodies
    return sum(
        operation.type == "ReadVariableOp"
        for body in bodies
        for operation in graph._get_function(body).graph.get_operations()
    )


@pytest.mark.parametrize("sampling_probability", [None, 0.5])
def test_no_loop_reads_a_weight(sampling_probability, read_in_loops):
    model = translator(sampling_probability=sampling_probability)
    assert reads_in_loops(*gradient_step(model)) == 0
    read_in_loops()
    assert reads_in_loops(*gradient_step(model)) > 0


def test_no_loop_of_an_attention_with_a_state_reads_a_weight(read_in_loops):
    layer = ka.LocationSensitiveAttention(8, filters=3, kernel_size=3)
    inputs = tf.ones((2, 3, 5)), tf.ones((2, 4, 7))
    layer(*inputs)
    assert reads_in_loops(tf.function(lambda *x: layer(*x)), inputs) == 0
    read_in_loops()
    assert reads_in_loops(tf.function(lambda *x: layer(*x)), inputs) > 0


def test_numbers_and_gradients_are_those_of_reads_in_loops(read_in_loops):
    model = translator()
    step, inputs = gradient_step(model)
    hoisted = numbers(step(*inputs))
    read_in_loops()
    step, inputs = gradient_step(model)
    assert_close(hoisted, numbers(step(*inputs)))


def test_what_is_assigned_and_drawn_there_goes_on():
    model = translator(keras.layers.BatchNormalization(), keras.layers.Dropout(0.5, seed=1))
    step, inputs = gradient_step(model)
    average = model.encoder.layers[2].moving_mean
    before = average.numpy()
    first, second = (numbers(step(*inputs))[0] for _ in range(2))
    assert not np.allclose(before, average.numpy())
    assert not np.allclose(first, second)


def test_a_weight_that_is_assigned_is_read_anew():
    layer = keras.layers.Dense(2)
    layer.build((None, 3))
    with loop_variables.read_variables_once(layer):
        layer.kernel.assign(np.full((3, 2), 7.0))
        assert_close(layer.kernel.value.numpy(), np.full((3, 2), 7.0))
        assert_close(layer(np.ones((1, 3))).numpy(), np.full((1, 2), 21.0))
    assert_close(layer.kernel.numpy(), np.full((3, 2), 7.0))


@pytest.mark.parametrize("functional", [True, False])
def test_losses_of_the_encoder_count_once(functional):
    model = translator(keras.layers.ActivityRegularization(l2=0.1))
    if functional:
        tokens = keras.Input((None,), dtype="int32")
        model.encoder = keras.Model(tokens, model.encoder(tokens))
    logits = model((SOURCE, TARGET))
    memory = model.encoder(SOURCE).numpy()
    wanted = [0.1 * (memory**2).sum() / len(memory)]
    model((SOURCE, TARGET))
    assert_close([loss.numpy() for loss in model.losses], wanted)
    assert_close([loss.numpy() for loss in model.encoder.losses], wanted)
    state = [
        [v.value for v in values]
        for values in (model.trainable_variables, model.non_trainable_variables)
    ]
    again, _, losses = model.stateless_call(*state, (SOURCE, TARGET), return_losses=True)
    assert_close(numbers(again), numbers(logits))
    assert_close([loss.numpy() for loss in losses], wanted)


def test_a_stateless_call_has_the_state_that_it_is_given():
    model = translator(keras.layers.Dropout(0.5, seed=1))
    model((SOURCE, TARGET))
    weights = [v.value for v in model.trainable_variables]
    state = [v.value for v in model.non_trainable_variables]
    results = []
    for _ in range(2):
        logits, state = model.stateless_call(weights, state, (SOURCE, TARGET), training=True)
        results.append(numbers([logits])[0])
    assert not np.allclose(*results)


def test_a_rematerialized_layer_has_gradients():
    model = translator()
    with keras.RematScope(mode="full"):
        model.encoder.add(keras.layers.Dense(8))
    model((SOURCE, TARGET))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model((SOURCE, TARGET)) ** 2)
    gradient = tape.gradient(loss, model.encoder.layers[2].kernel.value)
    assert np.abs(gradient.numpy()).max() > 0


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_a_float32_head_of_a_mixed_model_keeps_its_weights(policy, read_in_loops):
    keras.config.set_dtype_policy(policy)
    try:
        model = translator(sampling_probability=1.0)
    finally:
        keras.config.set_dtype_policy("float32")
    model((SOURCE, TARGET))
    kernel = model.head.kernel
    kernel.assign(kernel + 2.0**-14)  # what half precision rounds off
    model.seed_generator.state.assign([3, 0])
    hoisted = numbers(model((SOURCE, TARGET), training=True)[None])
    model.seed_generator.state.assign([3, 0])
    read_in_loops()
    assert_close(hoisted, numbers(model((SOURCE, TARGET), training=True)[None]), 1e-6)


def test_what_a_loop_reads_and_assigns_compounds(read_in_loops):
    """The moving averages of a head that scheduled sampling calls once a step."""

    def averages():
        outputs = keras.Input((None, 8))
        logits = keras.layers.BatchNormalization()(keras.layers.Dense(13)(outputs))
        model = translator(sampling_probability=0.0)
        model.head = keras.Model(outputs, logits)
        model.build([(None, None), (None, None)])
        for weight in model.trainable_weights:
            weight.assign(np.full(weight.shape, 0.1))
        tf.function(lambda *inputs: model(inputs, training=True))(
            tf.constant(SOURCE), tf.constant(TARGET)
        )
        return [model.head.layers[2].moving_mean.numpy()]

    hoisted = averages()
    read_in_loops()
    assert_close(hoisted, averages(), 1e-7)


class ThirdPartyLayer(keras.layers.Layer):
    """A layer that keeps what it read: its `tf.function` is traced once."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.projection = keras.layers.Dense(8)
        self.traced = tf.function(self.projection)

    def build(self, shape):
        self.projection.build(shape)

    def call(self, sequence):
        return self.traced(sequence)

    def compute_output_shape(self, shape):
        return (*shape[:-1], 8)


def test_a_third_party_tf_function_sees_new_weights():
    model = translator(ThirdPartyLayer())
    model((SOURCE, TARGET))
    projection = model.encoder.layers[2].projection
    run = [tf.function(lambda *inputs: model(inputs)) for _ in range(2)]  # as fit and evaluate
    for call in (lambda *inputs: model(inputs), *run):
        projection.kernel.assign(np.zeros(projection.kernel.shape))
        zero = numbers([call(SOURCE, TARGET)])
        projection.kernel.assign(np.ones(projection.kernel.shape))
        assert np.abs(zero[0] - numbers([call(SOURCE, TARGET)])[0]).max() > 1e-4


def test_an_error_inside_leaves_no_scope_behind():
    layer = keras.layers.Dense(2)
    layer.build((None, 3))
    with pytest.raises(RuntimeError, match="inside"), loop_variables.read_variables_once(layer):
        raise RuntimeError("inside")
    layer.kernel.assign(np.ones((3, 2)))
    assert_close(layer.kernel.numpy(), np.ones((3, 2)))
