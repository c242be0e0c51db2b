"""The Neural Turing Machine beyond the layer table: addressing, memory, errors, learning."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_attention as ka
from comparing import to_numpy
from keras_attention.ntm import addressing
from marks import eagerly, more

B, T, WIDTH, UNITS, N, M = 3, 7, 5, 11, 13, 4
LAYERS = keras.layers


def normal(*shape, seed=5):
    return np.random.default_rng(seed + sum(shape)).normal(size=shape).astype("float32")


def machine(controller=None, memory_size=N, return_state=True, dtype=None, **options):
    controller = LAYERS.GRUCell(UNITS, dtype=dtype) if controller is None else controller
    cell = ka.NTMCell(controller, memory_size, M, dtype=dtype, **options)
    return LAYERS.RNN(cell, return_sequences=True, return_state=return_state, dtype=dtype)


# ---- Addressing


def weights_of(*rows):
    """Weights (B, H, N) of one head, by example."""
    return tf.constant(np.array(rows, "float32")[:, None])


def test_shifts_move_the_weights_round_the_memory():
    at = weights_of([0, 0, 0, 1], [1, 0, 0, 0])
    for k in range(-1, 2):
        moved = to_numpy(addressing.shift(at, weights_of(*[np.eye(3)[1 + k]] * 2)))[:, 0]
        np.testing.assert_array_equal(moved, np.roll(to_numpy(at)[:, 0], k, axis=1))


def test_sharpening_is_a_power_and_keeps_all_of_the_weight():
    weights = weights_of([0.1, 0.2, 0.7], [0.0, 0.5, 0.5])
    for gamma in (1.0, 2.0, 50.0):
        expected = to_numpy(weights) ** gamma
        expected /= expected.sum(axis=-1, keepdims=True)
        sharpened = to_numpy(addressing.sharpen(weights, tf.fill([2, 1, 1], gamma)))
        np.testing.assert_allclose(sharpened, expected, atol=1e-6)


@pytest.mark.parametrize("gamma", [1.0, 1.5, 30.0, 1000.0])
def test_sharpening_has_a_finite_gradient_where_there_is_no_weight(gamma):
    """A power would have log 0 in its gradient, and a sum of small powers would be 0."""
    weights, gamma = weights_of([0, 1, 0], [0.2, 0.2, 0.2]), tf.fill([2, 1, 1], gamma)
    with tf.GradientTape() as tape:
        tape.watch([weights, gamma])
        sharp = addressing.sharpen(weights, gamma)
        loss = tf.reduce_sum(sharp * [1.0, 2.0, 3.0])
    gradients = tape.gradient(loss, [weights, gamma])
    assert np.isfinite(to_numpy(sharp)).all()
    for gradient in gradients:
        assert np.isfinite(to_numpy(gradient)).all()


def test_a_row_that_is_written_is_read():
    memory = tf.constant(normal(1, N, M))
    at, vector = np.eye(N, dtype="float32")[None, 2:3], normal(1, 1, M)
    written = addressing.write(memory, tf.constant(at), tf.ones((1, 1, M)), tf.constant(vector))
    np.testing.assert_allclose(to_numpy(addressing.read(written, at)), vector, atol=1e-6)
    np.testing.assert_array_equal(to_numpy(written)[0, 3:], to_numpy(memory)[0, 3:])


# ---- The machine


def test_the_initial_state_is_a_constant_memory_with_all_heads_at_location_0():
    cell = machine(num_read_heads=2).cell
    state = cell.unpack(cell.get_initial_state(B))
    first = np.broadcast_to(np.eye(N)[0], (B, 3, N))
    np.testing.assert_array_equal(to_numpy(state.write_weights), first[:, :1])
    np.testing.assert_array_equal(to_numpy(state.read_weights), first[:, 1:])
    np.testing.assert_array_equal(to_numpy(state.memory, "float32"), np.float32(1e-6))
    for part in (state.output, *state.controller):
        assert (to_numpy(part) == 0).all()


def test_steps_equal_the_layer_and_the_state_holds_the_weights_of_the_heads():
    layer, x = machine(num_read_heads=2), normal(B, T, WIDTH)
    outputs, *last = layer(x)
    cell, states = layer.cell, layer.cell.get_initial_state(B)
    for t in range(T):
        output, states = cell(tf.constant(x[:, t]), states)
        np.testing.assert_allclose(to_numpy(output), to_numpy(outputs)[:, t], atol=1e-6)
        state = cell.unpack(states)
        for weights in (state.write_weights, state.read_weights):
            np.testing.assert_allclose(to_numpy(weights).sum(axis=2), 1, atol=1e-5)
        vectors = np.einsum("bhn,bnm->bhm", to_numpy(state.read_weights), to_numpy(state.memory))
        np.testing.assert_allclose(
            to_numpy(output)[:, UNITS:], vectors.reshape(B, 2 * M), atol=1e-6
        )
    for one, other in zip(states, last, strict=True):
        np.testing.assert_allclose(to_numpy(one), to_numpy(other), atol=1e-6)


def test_no_variable_depends_on_the_size_of_the_memory():
    small, large, x = machine(), machine(memory_size=3 * N), normal(B, T, WIDTH)
    before = to_numpy(small(x)[0])
    large(x)
    assert [w.shape for w in small.weights] == [w.shape for w in large.weights]
    large.set_weights(small.get_weights())
    assert np.abs(to_numpy(large(x)[0]) - before).max() > 0


def test_names_and_shapes_of_weights():
    """Checkpoints are converted by these names: they must not change."""
    layer = machine(LAYERS.Dense(UNITS, name="dense"), num_write_heads=2, num_read_heads=3)
    layer(normal(B, T, WIDTH))
    start = len(layer.cell.path) + 1
    shapes = {w.path[start:]: tuple(w.shape) for w in layer.cell.weights}
    reading = M + 1 + 1 + 3 + 1  # key, strength, gate, shifts, gamma
    assert shapes == {
        "dense/kernel": (WIDTH + 3 * M, UNITS),
        "dense/bias": (UNITS,),
        "writer/kernel": (UNITS, 2 * (reading + 2 * M)),
        "writer/bias": (2 * (reading + 2 * M),),
        "reader/kernel": (UNITS, 3 * reading),
        "reader/bias": (3 * reading,),
    }


def test_the_initializer_applies_to_the_heads_and_is_saved():
    cell = machine(kernel_initializer=keras.initializers.Constant(0.5)).cell
    again = ka.NTMCell.from_config(cell.get_config())
    for one in (cell, again):
        one.build((B, WIDTH))
        for heads in (one.writer, one.reader):
            assert (to_numpy(heads.kernel) == 0.5).all()
            assert (to_numpy(heads.bias) == 0).all()
    random = machine(kernel_initializer=keras.initializers.RandomNormal()).cell
    random.build((B, WIDTH))
    reading = random.reader.kernel.shape[1]
    one, other = to_numpy(random.writer.kernel)[:, :reading], to_numpy(random.reader.kernel)
    assert np.abs(one - other).max() > 0


def functional():
    x = keras.Input((WIDTH + M,))
    return keras.Model(x, LAYERS.Concatenate()([LAYERS.Dense(3)(x), LAYERS.Dense(UNITS - 3)(x)]))


CONTROLLERS = {
    "stacked": lambda: LAYERS.StackedRNNCells([LAYERS.GRUCell(3), LAYERS.LSTMCell(UNITS)]),
    "stack_of_one": lambda: LAYERS.StackedRNNCells([LAYERS.LSTMCell(UNITS)]),
    "simple": lambda: LAYERS.SimpleRNNCell(UNITS),
    "functional": functional,
    "sequential": lambda: keras.Sequential(
        [LAYERS.Dense(3, "relu"), LAYERS.Dropout(0), LAYERS.Dense(UNITS)]
    ),
}


@eagerly
@pytest.mark.parametrize(
    "name", ["stacked", *more("stack_of_one", "simple"), "functional", *more("sequential")]
)
def test_controllers_of_any_kind_train_and_load(name, tmp_path):
    inputs = keras.Input((None, WIDTH))
    model = keras.Model(inputs, machine(CONTROLLERS[name](), return_state=False)(inputs))
    model.compile("sgd", "mse", jit_compile=False)
    x = normal(B, T, WIDTH)
    model.fit(x, normal(B, T, UNITS + M), verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(to_numpy(loaded(x)), to_numpy(model(x)))


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_memory_and_weights_stay_float32_in_mixed_precision(policy):
    layer = machine(dtype=policy)
    outputs, *_ = layer(normal(B, T, WIDTH))
    assert keras.backend.standardize_dtype(outputs.dtype) == layer.compute_dtype != "float32"
    assert layer.cell.controller.compute_dtype == layer.compute_dtype
    states = layer.cell.get_initial_state(B)
    output, next_states = layer.cell(tf.constant(normal(B, WIDTH)), states)
    dtypes = {keras.backend.standardize_dtype(x.dtype) for x in [output, *states, *next_states]}
    assert dtypes == {"float32"}


ERRORS = {
    "memory_size": (lambda: machine(memory_size=0), ["`memory_size`", "0", "at least 1"]),
    "memory_dim": (lambda: ka.NTMCell(LAYERS.Dense(3), 5, 2.5), ["`memory_dim`", "2.5"]),
    "num_read_heads": (lambda: machine(num_read_heads=0), ["`num_read_heads`", "0", "at least 1"]),
    "num_write_heads": (
        lambda: machine(num_write_heads=-1),
        ["`num_write_heads`", "-1", "at least 1"],
    ),
    "shift_range_zero": (lambda: machine(shift_range=0), ["`shift_range`", "0", "at least 1"]),
    "shift_range_wide": (
        lambda: machine(memory_size=4, shift_range=2),
        ["`shift_range`", "2", "5", "`memory_size` is 4", "at least 5"],
    ),
    "memory_of_two": (lambda: machine(memory_size=2), ["`memory_size`", "2", "at least 3"]),
    "controller": (lambda: machine("lstm"), ["`controller`", "'lstm'", "RNN cell", "Dense"]),
    "controller_layer": (lambda: machine(LAYERS.LSTM(3)), ["`controller`", "LSTM", "LSTMCell"]),
    "controller_class": (lambda: machine(LAYERS.LSTMCell), ["`controller`", "LSTMCell"]),
    "dropout": (
        lambda: machine(LAYERS.LSTMCell(3, dropout=0.2, name="mine")),
        ["`controller`", "'mine'", "dropout"],
    ),
    "stacked_dropout": (
        lambda: machine(LAYERS.StackedRNNCells([LAYERS.GRUCell(3, recurrent_dropout=0.2)])),
        ["`controller`", "dropout"],
    ),
    "feed_forward_dropout": (
        lambda: machine(
            keras.Sequential([LAYERS.Dense(3), LAYERS.Dropout(0.2), LAYERS.Dense(3)], name="mine")
        ),
        ["`controller`", "'mine'", "dropout"],
    ),
    "noise": (
        lambda: machine(keras.Sequential([LAYERS.Dense(3), LAYERS.GaussianNoise(0.2)])),
        ["`controller`", "dropout"],
    ),
    "rank": (
        lambda: ka.NTMCell(LAYERS.Dense(3), 5, 3).build((2, 3, 5)),
        ["`inputs`", "(2, 3, 5)", "(batch, width)"],
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_name_the_argument_and_what_is_expected(name):
    act, words = ERRORS[name]
    with pytest.raises(ValueError, match="expected") as caught:
        act()
    for word in words:
        assert word in str(caught.value)
