"""The Neural Turing Machine: a recurrent cell whose controller reads and writes a memory."""

import itertools
from typing import Any, NamedTuple, final

import keras
from keras import ops

from keras_attention._internal import rnn, validation
from keras_attention._internal.serialization import clone_initializer, deserialize
from keras_attention.ntm import addressing
from keras_attention.scores.cosine import cosine, unit

INITIAL_MEMORY = 1e-6


class NTMState(NamedTuple):
    """The parts of a state of `NTMCell`.

    Attributes:
        output: (B, C + R M), the last output: what the controller gave, and the vectors read.
        controller: The controller's state, in its structure; empty for one that has none.
        write_weights: (B, W, N), where each write head is.
        read_weights: (B, R, N), where each read head is.
        memory: (B, N, M).
    """

    output: Any
    controller: Any
    write_weights: Any
    read_weights: Any
    memory: Any


@final
class _Heads(keras.layers.Layer):
    """Heads of one kind, H of them: what they emit, and where that moves them.

    Call arguments:
        hidden: (B, C), what the controller gave.
        previous: (B, H, N), where they were.
        memory: (B, N, M).

    Returns:
        Where they are, (B, H, N), and of heads that write e and a, (B, H, M) both, as emitted.
    """

    def __init__(self, count, memory_dim, shifts, writes, kernel_initializer, **kwargs):
        super().__init__(**kwargs)
        self.count = count
        self.kernel_initializer = kernel_initializer
        # Key, strength, gate, shifts, power; erase, add.
        self.widths = [memory_dim, 1, 1, shifts, 1, *[memory_dim, memory_dim][: 2 * writes]]

    def build(self, hidden_shape):
        width = self.count * sum(self.widths)
        self.kernel = self.add_weight(
            name="kernel",
            shape=(hidden_shape[-1], width),
            initializer=clone_initializer(self.kernel_initializer),
        )
        self.bias = self.add_weight(name="bias", shape=(width,), initializer="zeros")

    def call(self, hidden, previous, memory):
        emitted = ops.matmul(hidden, self.kernel) + self.bias
        emitted = ops.reshape(emitted, (-1, self.count, sum(self.widths)))
        ends = list(itertools.accumulate(self.widths[:-1]))
        keys, strength, gate, shifts, power, *changes = ops.split(emitted, ends, axis=-1)
        scores = ops.softplus(strength) * cosine(keys, unit(memory))  # (B, H, N)
        weights = ops.softmax(scores, axis=-1)
        weights = addressing.interpolate(weights, previous, ops.sigmoid(gate))
        weights = addressing.shift(weights, ops.softmax(shifts, axis=-1))
        weights = addressing.sharpen(weights, 1 + ops.softplus(power))
        return weights, *changes


@final
@keras.saving.register_keras_serializable("keras_attention")
class NTMCell(keras.layers.Layer):
    """A cell for `keras.layers.RNN` whose controller has a memory M of N locations.

        h_t = controller([x_t; r_{t-1}])
        w^c_t(i) = softmax_i(beta_t K[k_t, M(i)])                    (eq. 5-6)
        w^g_t = g_t w^c_t + (1 - g_t) w_{t-1}                        (eq. 7)
        w~_t(i) = sum_j w^g_t(j) s_t(i - j)                          (eq. 8, modulo N)
        w_t(i) = w~_t(i)^gamma_t / sum_j w~_t(j)^gamma_t             (eq. 9)
        M_t(i) = M_{t-1}(i) [1 - w_t(i) e_t] + w_t(i) a_t            (eq. 3-4)
        r_t = sum_i w_t(i) M_t(i)                                    (eq. 2)
        output_t = [h_t; r_t]

    K is the cosine, as in `ka.scores.Cosine`. Each head has its own k, beta, g, s, gamma and
    weights w; e and a are those of write heads. They are linear in h_t, then beta = softplus,
    g = sigmoid, s = softmax, gamma = 1 + softplus, e = sigmoid and a = tanh. Write heads look for
    k_t in M_{t-1}, read heads in the M_t that the write heads leave, which they then read. Several
    write heads all erase before one adds.

    The paper leaves the beginning open. Here the memory starts at 1e-6 everywhere, which learns
    fastest (Collier & Beel 2018), each head at location 0, and the rest at zero. No weight depends
    on N, so that what was trained with one `memory_size` runs with another.

    Addressing and memory are at least float32, whatever the dtype policy; the controller keeps its
    own. What follows the outputs, such as a Dense layer, follows the loop, for all steps at once.

    Args:
        controller: Any Keras RNN cell or `StackedRNNCells`, or for a controller without a state of
            its own a layer such as Dense, from (B, D) to (B, C). Neither has dropout.
        memory_size: Number of locations N.
        memory_dim: Width of each, M.
        num_read_heads: Number of read heads R.
        num_write_heads: Number of write heads W.
        shift_range: How far a head may move in one step, either way.
        kernel_initializer: Initializer of the heads' kernels; their biases start at zero.

    Call arguments:
        inputs: (B, D), x_t.
        states: What `get_initial_state` or the last step gave: a list of (B, any). `unpack` names
            its parts.

    Returns:
        The output (B, C + R M), and the next states.

    Masking: that of `keras.layers.RNN`: a masked step leaves the whole state as it was.
    `reset_state` of a stateful RNN is Keras's and makes zeros of it all, not this beginning.

    Example:

    >>> cell = ka.NTMCell(keras.layers.LSTMCell(11), memory_size=17, memory_dim=5)
    >>> layer = keras.layers.RNN(cell, return_sequences=True, return_state=True)
    >>> outputs, *states = layer(np.ones((2, 3, 7)))
    >>> tuple(outputs.shape), tuple(cell.unpack(states).read_weights.shape)
    ((2, 3, 16), (2, 1, 17))

    References: Graves, Wayne, Danihelka 2014, "Neural Turing Machines", arXiv:1410.5401, section 3;
    Collier & Beel 2018, "Implementing Neural Turing Machines", arXiv:1807.08518.
    """

    def __init__(
        self,
        controller,
        memory_size,
        memory_dim,
        num_read_heads=1,
        num_write_heads=1,
        shift_range=1,
        kernel_initializer="glorot_uniform",
        **kwargs,
    ):
        super().__init__(**kwargs)
        wide = keras.backend.result_type(self.compute_dtype, "float32")
        if wide != self.compute_dtype:
            self.dtype_policy = keras.DTypePolicy(wide)
        self.controller = _checked(deserialize(controller))
        self.memory_size = validation.positive_integer("memory_size", memory_size)
        self.memory_dim = validation.positive_integer("memory_dim", memory_dim)
        self.num_read_heads = validation.positive_integer("num_read_heads", num_read_heads)
        self.num_write_heads = validation.positive_integer("num_write_heads", num_write_heads)
        self.shift_range = validation.positive_integer("shift_range", shift_range)
        shifts = 2 * self.shift_range + 1
        if shifts > self.memory_size:
            raise ValueError(
                f"`shift_range` is {shift_range}, which is {shifts} shifts, but `memory_size` is "
                f"{memory_size}; expected a memory of at least {shifts} locations, in which no "
                "two shifts are the same."
            )
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        options = {
            "memory_dim": self.memory_dim,
            "shifts": shifts,
            "kernel_initializer": self.kernel_initializer,
            "dtype": self.dtype_policy,
        }
        self.writer = _Heads(self.num_write_heads, writes=True, name="writer", **options)
        self.reader = _Heads(self.num_read_heads, writes=False, name="reader", **options)
        self._control_width = _width(self.controller)

    @property
    def output_size(self):
        return self._control_width + self.num_read_heads * self.memory_dim

    @property
    def state_size(self):
        heads = self.num_write_heads + self.num_read_heads
        return [
            self.output_size,  # First, since on JAX a masked step gives the first state back.
            *keras.tree.flatten(_state_size(self.controller)),
            heads * self.memory_size,
            self.memory_size * self.memory_dim,
        ]

    def build(self, inputs_shape):
        validation.rank("inputs", inputs_shape, "(batch, width)")
        width = inputs_shape[-1] + self.num_read_heads * self.memory_dim
        # Loading a `.keras` file builds the sublayers first; building them again would fail.
        if not self.controller.built:
            self.controller.build((None, width))
            self.controller.built = True
        for heads in (self.writer, self.reader):
            if not heads.built:
                heads.build((None, self._control_width))

    def get_initial_state(self, batch_size=None):
        heads = self.num_write_heads + self.num_read_heads
        control = []
        if not _is_feed_forward(self.controller):
            control = rnn.initial_cell_state(self.controller, batch_size)
        first = ops.one_hot(ops.zeros((batch_size, heads), "int32"), self.memory_size)
        return self._packed(
            ops.zeros((batch_size, self.output_size)),
            control,
            [first],
            ops.full((batch_size, self.memory_size, self.memory_dim), INITIAL_MEMORY),
        )

    def call(self, inputs, states):
        state = self.unpack(states)
        inputs = ops.concatenate([inputs, state.output[:, self._control_width :]], axis=-1)
        if _is_feed_forward(self.controller):
            hidden, control = self.controller(inputs), []
        else:
            hidden, control = rnn.call_cell(self.controller, inputs, state.controller)
        hidden = ops.cast(hidden, self.compute_dtype)  # (B, C)

        written, erase, add = self.writer(hidden, state.write_weights, state.memory)
        memory = addressing.write(state.memory, written, ops.sigmoid(erase), ops.tanh(add))
        looked, *_ = self.reader(hidden, state.read_weights, memory)
        vectors = addressing.read(memory, looked)  # (B, R, M)
        vectors = ops.reshape(vectors, (-1, self.num_read_heads * self.memory_dim))
        output = ops.concatenate([hidden, vectors], axis=-1)  # (B, C + R M)
        return output, self._packed(output, control, [written, looked], memory)

    def unpack(self, states):
        """Returns the `NTMState` that a flat list of states stands for."""
        output, *control, weights, memory = states
        heads = self.num_write_heads + self.num_read_heads
        weights = ops.reshape(weights, (-1, heads, self.memory_size))
        return NTMState(
            output,
            keras.tree.pack_sequence_as(_state_size(self.controller), control),
            weights[:, : self.num_write_heads],
            weights[:, self.num_write_heads :],
            ops.reshape(memory, (-1, self.memory_size, self.memory_dim)),
        )

    def _packed(self, output, control, weights, memory):
        """The flat list of states, all (B, any), that `keras.layers.RNN` asks for."""
        weights = ops.concatenate(weights, axis=1)  # (B, W + R, N)
        parts = [output, *keras.tree.flatten(control), weights, memory]
        return [
            ops.cast(ops.reshape(part, (-1, size)), self.compute_dtype)
            for part, size in zip(parts, self.state_size, strict=True)
        ]

    def get_config(self):
        return {
            **super().get_config(),
            "controller": keras.saving.serialize_keras_object(self.controller),
            "memory_size": self.memory_size,
            "memory_dim": self.memory_dim,
            "num_read_heads": self.num_read_heads,
            "num_write_heads": self.num_write_heads,
            "shift_range": self.shift_range,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }


def _is_feed_forward(controller):
    return not hasattr(controller, "state_size")


def _state_size(controller):
    """The widths of the controller's states, in the structure of what it is called with."""
    if _is_feed_forward(controller):
        return []
    size = controller.state_size
    return list(size) if keras.tree.is_nested(size) else [size]


def _width(controller):
    """The width of what the controller gives."""
    if _is_feed_forward(controller):
        return controller.compute_output_shape((None, 1))[-1]
    return rnn.output_size(controller)


def _checked(controller):
    """Returns `controller` if it is one."""
    if not isinstance(controller, keras.layers.Layer) or isinstance(controller, keras.layers.RNN):
        raise ValueError(
            f"`controller` is {controller!r}; expected a Keras RNN cell, such as "
            "keras.layers.LSTMCell(100), or a layer of single steps, such as keras.layers.Dense."
        )
    if any(_drops(layer) for layer in controller._flatten_layers()):
        raise ValueError(
            f"`controller` is '{controller.name}', which has dropout; expected one without it, "
            "since keras.layers.RNN draws for its own cell only, not for what is inside."
        )
    return controller


def _drops(layer):
    """Whether the layer draws in training: a cell or layer with dropout, or GaussianNoise."""
    rates = [getattr(layer, name, 0) for name in ("rate", "dropout", "recurrent_dropout", "stddev")]
    return any(isinstance(rate, (int, float)) and rate > 0 for rate in rates)
