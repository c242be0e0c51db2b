"""The Neural Turing Machine: a recurrent cell whose controller reads and writes a memory."""

from typing import Any, NamedTuple, final

import keras
from keras import ops

from keras_attention._internal import validation
from keras_attention._internal.kernel import kernel_config, kernel_options, set_kernel_options
from keras_attention._internal.precision import at_least_float32
from keras_attention._internal.serialization import build_once, deserialize, serialize
from keras_attention._internal.sublayers import SavedSublayers
from keras_attention._internal.typing import Config, Initializer, Shape, Tensor
from keras_attention.ntm import addressing
from keras_attention.ntm.controller import (
    call_controller,
    controller_output_dim,
    controller_state_size,
    initial_controller_state,
    validate_controller,
)
from keras_attention.ntm.heads import Heads

INITIAL_MEMORY = 1e-6


class NTMState(NamedTuple):
    """The parts of the state of an `NTMCell`.

    Attributes:
        output: (B, C + R M), the last output: that of the controller and the vectors that were
            read.
        controller: The controller's state, in its structure; empty if it has none.
        write_weights: (B, W, N), the attention weights of the write heads.
        read_weights: (B, R, N), the attention weights of the read heads.
        memory: (B, N, M), the memory.
    """

    output: Tensor
    controller: list[Any]
    write_weights: Tensor
    read_weights: Tensor
    memory: Tensor


@final
@keras.saving.register_keras_serializable("keras_attention")
class NTMCell(SavedSublayers):
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
    weights w, and each write head also has its own e and a. All but w are linear functions of h_t,
    followed by an activation: softplus for beta, sigmoid for g and e, softmax for s, 1 + softplus
    for gamma, tanh for a, and none for k. Write heads compare their k_t with M_{t-1}. Read heads
    compare theirs with M_t, from which they also read. If there are several write heads, all of
    them erase before any of them adds.

    The paper leaves the initial state open. Here the memory starts at 1e-6 everywhere, with which
    training is fastest (Collier & Beel 2018). Each head starts at location 0, and all else at zero.
    The shapes of the variables do not depend on N, so a model that was trained with one
    `memory_size` runs with another.

    Addressing and memory use at least float32, whatever the dtype policy is. The controller keeps
    its own policy. Place output layers, such as a Dense layer, after the RNN, so that they process
    all steps at once.

    Args:
        controller: Any Keras RNN cell or `StackedRNNCells`, or a layer without a state, such as
            Dense, that maps (B, D) to (B, C). It must not contain dropout.
        memory_size: Number of locations, N.
        memory_dim: Size of each location, M.
        num_read_heads: Number of read heads, R.
        num_write_heads: Number of write heads, W.
        shift_range: Number of locations that a head can move in one step, in either direction.
        kernel_initializer: Initializer of the heads' kernels. Their biases start at zero.
        kernel_regularizer, kernel_constraint: Applied to the variables that `kernel_initializer`
            initializes.

    Call arguments:
        inputs: (B, D), x_t.
        states: A list of tensors (B, any), from `get_initial_state` or the last step. `unpack`
            returns its parts by name.

    Returns:
        The output (B, C + R M) and the next states.

    Masking: `keras.layers.RNN` applies masks, so a masked step does not change the state.

    In a stateful RNN, `reset_state()` sets every state to zero instead of calling
    `get_initial_state`.

    Raises:
        ValueError: If `controller` is neither a cell nor a layer, or has dropout; if a size is not
            positive; or if the memory has fewer locations than there are shifts.

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
        controller: keras.layers.Layer | Config,
        memory_size: int,
        memory_dim: int,
        num_read_heads: int = 1,
        num_write_heads: int = 1,
        shift_range: int = 1,
        kernel_initializer: Initializer = "glorot_uniform",
        kernel_regularizer: Any = None,
        kernel_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        accumulation_dtype = at_least_float32(self.compute_dtype)
        if accumulation_dtype != self.compute_dtype:
            self.dtype_policy = keras.DTypePolicy(accumulation_dtype)
        self.controller = validate_controller(deserialize(controller))
        self.memory_size = validation.positive_integer("memory_size", memory_size)
        self.memory_dim = validation.positive_integer("memory_dim", memory_dim)
        self.num_read_heads = validation.positive_integer("num_read_heads", num_read_heads)
        self.num_write_heads = validation.positive_integer("num_write_heads", num_write_heads)
        self.shift_range = validation.positive_integer("shift_range", shift_range)
        num_shifts = 2 * self.shift_range + 1
        if num_shifts > self.memory_size:
            raise ValueError(
                f"`shift_range` is {shift_range}, which is {num_shifts} shifts, but `memory_size` "
                f"is {memory_size}; expected a memory of at least {num_shifts} locations, so that "
                "no two shifts are the same."
            )
        set_kernel_options(self, kernel_initializer, kernel_regularizer, kernel_constraint)
        options = {
            "memory_dim": self.memory_dim,
            "num_shifts": num_shifts,
            **kernel_options(self),
            "dtype": self.dtype_policy,
        }
        self.writer = Heads(self.num_write_heads, is_write=True, name="writer", **options)
        self.reader = Heads(self.num_read_heads, is_write=False, name="reader", **options)
        self._controller_dim = controller_output_dim(self.controller)

    @property
    def output_size(self) -> int:
        return self._controller_dim + self.num_read_heads * self.memory_dim

    @property
    def state_size(self) -> list[int]:
        return [
            self.output_size,  # First, since on JAX a masked step returns the first state.
            *keras.tree.flatten(controller_state_size(self.controller)),
            (self.num_write_heads + self.num_read_heads) * self.memory_size,
            self.memory_size * self.memory_dim,
        ]

    def build(self, inputs_shape: Shape) -> None:
        validation.rank("inputs", inputs_shape, "(batch, width)")
        input_dim = inputs_shape[-1] + self.num_read_heads * self.memory_dim
        build_once(self.controller, (None, input_dim))
        build_once(self.writer, (None, self._controller_dim))
        build_once(self.reader, (None, self._controller_dim))

    def get_initial_state(self, batch_size: Any = None) -> list[Tensor]:
        num_heads = self.num_write_heads + self.num_read_heads
        first_location = ops.zeros((batch_size, num_heads), "int32")
        return self._pack(
            ops.zeros((batch_size, self.output_size)),
            initial_controller_state(self.controller, batch_size),
            [ops.one_hot(first_location, self.memory_size)],
            ops.full((batch_size, self.memory_size, self.memory_dim), INITIAL_MEMORY),
        )

    def call(self, inputs: Tensor, states: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        state = self.unpack(states)
        inputs = ops.concatenate([inputs, state.output[:, self._controller_dim :]], axis=-1)
        hidden, controller_state = call_controller(self.controller, inputs, state.controller)
        hidden = ops.cast(hidden, self.compute_dtype)  # (B, C)

        write_weights, erase, add = self.writer(hidden, state.write_weights, state.memory)
        memory = addressing.write(state.memory, write_weights, ops.sigmoid(erase), ops.tanh(add))
        (read_weights,) = self.reader(hidden, state.read_weights, memory)
        vectors = addressing.read(memory, read_weights)  # (B, R, M)
        vectors = ops.reshape(vectors, (-1, self.num_read_heads * self.memory_dim))
        output = ops.concatenate([hidden, vectors], axis=-1)  # (B, C + R M)
        return output, self._pack(output, controller_state, [write_weights, read_weights], memory)

    def unpack(self, states: list[Tensor]) -> NTMState:
        """Returns a flat list of states as an `NTMState`, whose parts have names."""
        output, *controller_state, weights, memory = states
        num_heads = self.num_write_heads + self.num_read_heads
        weights = ops.reshape(weights, (-1, num_heads, self.memory_size))
        return NTMState(
            output,
            keras.tree.pack_sequence_as(controller_state_size(self.controller), controller_state),
            weights[:, : self.num_write_heads],
            weights[:, self.num_write_heads :],
            ops.reshape(memory, (-1, self.memory_size, self.memory_dim)),
        )

    def _pack(
        self, output: Tensor, controller_state: list[Any], weights: list[Tensor], memory: Tensor
    ) -> list[Tensor]:
        """Returns the flat list of states, all (B, any), that `keras.layers.RNN` expects."""
        weights = ops.concatenate(weights, axis=1)  # (B, W + R, N)
        parts = [output, *keras.tree.flatten(controller_state), weights, memory]
        return [
            ops.cast(ops.reshape(part, (-1, size)), self.compute_dtype)
            for part, size in zip(parts, self.state_size, strict=True)
        ]

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "controller": serialize(self.controller),
            "memory_size": self.memory_size,
            "memory_dim": self.memory_dim,
            "num_read_heads": self.num_read_heads,
            "num_write_heads": self.num_write_heads,
            "shift_range": self.shift_range,
            **kernel_config(self),
        }
