"""Intra-attention: a recurrent layer that attends to its own past states."""

from typing import Any, final

import keras
from keras import ops

from keras_attention import masks
from keras_attention._internal import rnn, validation
from keras_attention._internal.kernel import (
    add_kernel,
    kernel_config,
    set_kernel_options,
)
from keras_attention._internal.output_spec import output_spec
from keras_attention._internal.typing import Config, Initializer, Shape, Tensor
from keras_attention._ops.dense import dense


@final
@keras.saving.register_keras_serializable("keras_attention")
class IntraAttention(keras.layers.Layer):
    """The long short-term memory-network (LSTMN): an LSTM that attends to its past states.

        a_i^t = v^T tanh(W_h h_i + W_x x_t + W_h~ h~_{t-1})
        s^t = softmax(a^t)                              over i = 1 .. t-1
        [h~_t; c~_t] = sum_i s_i^t [h_i; c_i]
        [i_t; f_t; o_t; c^_t] = [sigm; sigm; sigm; tanh](W [h~_t; x_t] + b)
        c_t = f_t * c~_t + i_t * c^_t
        h_t = o_t * tanh(c_t)                                                    (section 3)

    `*` is the elementwise product. Two tapes hold the hidden states h and the cell states c of all
    past steps. Before the first step they are empty, and h~_1 and c~_1 are zero.

    Variables: `hidden_kernel` (units, units) is W_h^T, `input_kernel` (D, units) is W_x^T,
    `summary_kernel` (units, units) is W_h~^T, `score_vector` (units,) is v and `kernel` (units + D,
    4 units) is W^T. `bias` (4 units,) is b, which the paper leaves out. It starts at 1 for the
    forget gate f and at 0 for the others.

    Memory: the steps run one after the other, and each writes h, c and W_h h to a tape
    (B, T, 3 units). For the gradients, all steps together keep about 3 B T^2 units numbers: h and c
    on each step's tape, and the hidden layer of the scores. Without gradients, there is one tape at
    a time.

    Args:
        units: Size of h, of c and of the hidden layer of the score.
        kernel_initializer: Initializer of the kernels and `score_vector`.
        kernel_regularizer, kernel_constraint: Applied to the variables that `kernel_initializer`
            initializes.

    Call arguments:
        inputs: (B, T, D).
        mask: (B, T).
        return_attention_scores: Whether to return the weights too.

    Returns:
        The hidden states h (B, T, units); with `return_attention_scores` also the weights s
        (B, T, T), which are zero on and above the diagonal.

    Masking: a masked step does not change h~, its output and weights are zero, and no step attends
    to it. The mask is passed on.

    Raises:
        ValueError: If an argument is out of its range, or an input has an unexpected shape.

    Example:

    >>> reader = ka.IntraAttention(11)
    >>> states, weights = reader(np.ones((2, 3, 7)), return_attention_scores=True)
    >>> tuple(states.shape), tuple(weights.shape)
    ((2, 3, 11), (2, 3, 3))

    Reference: Cheng, Dong, Lapata 2016, "Long Short-Term Memory-Networks for Machine Reading",
    arXiv:1601.06733, section 3.
    """

    def __init__(
        self,
        units: int,
        kernel_initializer: Initializer = "glorot_uniform",
        kernel_regularizer: Any = None,
        kernel_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.units = validation.positive_integer("units", units)
        set_kernel_options(self, kernel_initializer, kernel_regularizer, kernel_constraint)
        self.supports_masking = True

    def build(self, inputs_shape: Shape) -> None:
        validation.rank("inputs", inputs_shape, "(batch, steps, width)")
        dim, units = inputs_shape[-1], self.units
        self.hidden_kernel = add_kernel(self, "hidden_kernel", (units, units))
        self.input_kernel = add_kernel(self, "input_kernel", (dim, units))
        self.summary_kernel = add_kernel(self, "summary_kernel", (units, units))
        self.score_vector = add_kernel(self, "score_vector", (units,))
        self.kernel = add_kernel(self, "kernel", (units + dim, 4 * units))
        self.bias = self.add_weight(
            name="bias", shape=(4 * units,), initializer=_forget_bias_initializer
        )

    def call(
        self, inputs: Tensor, mask: Tensor = None, return_attention_scores: bool = False
    ) -> Tensor:
        validation.rank("inputs", inputs.shape, "(batch, steps, width)")
        mask = validation.mask("mask", mask, inputs.shape[:2], "(batch, steps)")
        batch, steps = ops.shape(inputs)[:2]
        step_masks = ops.ones((batch, steps), "bool") if mask is None else ops.cast(mask, "bool")
        cast = {variable.name: ops.cast(variable, self.compute_dtype) for variable in self.weights}
        units = self.units
        # All products with the inputs at once, for all steps.
        row_kernel = ops.concatenate([cast["input_kernel"], cast["kernel"][units:]], axis=1)
        # Sliced here, since in the loop every step would keep a copy.
        summary_kernel = cast["kernel"][:units]
        rows = dense(inputs, row_kernel) + ops.pad(cast["bias"], [[units, 0]])  # (B, T, 5 U)
        step_column = ops.expand_dims(ops.cast(step_masks, rows.dtype), 2)

        def step(row: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
            last_h_tilde, tape, written_mask = state
            row, step_mask = row[:, :-1], row[:, -1:] > 0
            allowed = ops.logical_and(written_mask > 0, step_masks)
            context, weights = _attend_to_tape(row[:, :units], last_h_tilde, tape, allowed, cast)
            h_tilde, c_tilde = context[:, :units], context[:, units:]
            gates = row[:, units:] + ops.matmul(h_tilde, summary_kernel)
            input_gate, forget_gate, output_gate = ops.split(
                ops.sigmoid(gates[:, : 3 * units]), 3, axis=-1
            )
            cell_state = forget_gate * c_tilde + input_gate * ops.tanh(gates[:, 3 * units :])
            hidden = output_gate * ops.tanh(cell_state)  # (B, U)
            entry = [hidden, cell_state, ops.matmul(hidden, cast["hidden_kernel"])]
            tape, written_mask = _append_to_tape(
                tape, written_mask, ops.concatenate(entry, axis=-1)
            )
            output = ops.concatenate([hidden, weights], axis=-1)  # (B, U + T)
            h_tilde = ops.where(step_mask, h_tilde, last_h_tilde)
            return ops.where(step_mask, output, 0), (h_tilde, tape, written_mask)

        shapes = (batch, units), (batch, steps, 3 * units), (batch, steps)
        state = tuple(ops.zeros(shape, rows.dtype) for shape in shapes)
        rows = ops.concatenate([rows, step_column], axis=-1)
        outputs, _ = rnn.scan(step, rows, state, dtype=self.dtype_policy)
        hidden, weights = outputs[:, :, :units], outputs[:, :, units:]
        return (hidden, weights) if return_attention_scores else hidden

    def compute_output_shape(self, inputs_shape: Shape) -> Shape:
        validation.rank("inputs", inputs_shape, "(batch, steps, width)")
        return (*inputs_shape[:2], self.units)

    def compute_output_spec(self, inputs: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        shape = self.compute_output_shape(inputs.shape)
        return output_spec(self, shape, (*shape[:2], shape[1]), inputs, *args, **kwargs)

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "units": self.units,
            **kernel_config(self),
        }


def _attend_to_tape(
    row: Tensor, h_tilde: Tensor, tape: Tensor, allowed: Tensor, cast: dict[str, Tensor]
) -> tuple[Tensor, Tensor]:
    """Returns [h~; c~] (B, 2 U) and the weights (B, T), for a tape of [h; c; W_h h]."""
    units = row.shape[-1]
    projected = ops.expand_dims(row + ops.matmul(h_tilde, cast["summary_kernel"]), 1)
    hidden = ops.tanh(tape[:, :, 2 * units :] + projected)  # (B, T, U)
    weights = masks.masked_softmax(ops.einsum("btu,u->bt", hidden, cast["score_vector"]), allowed)
    return ops.einsum("bt,btu->bu", weights, tape[:, :, : 2 * units]), weights


def _append_to_tape(tape: Tensor, written_mask: Tensor, entry: Tensor) -> tuple[Tensor, Tensor]:
    """Writes `entry` (B, 3 U) to the first step that `written_mask` (B, T) leaves, and marks it.

    A row of ones and zeros counts steps exactly in every dtype. Masked steps are written too, but
    not attended to.
    """
    next_mask = ops.concatenate([ops.ones_like(written_mask[:, :1]), written_mask[:, :-1]], axis=1)
    is_current = ops.expand_dims(next_mask > written_mask, 2)  # (B, T, 1)
    return ops.where(is_current, ops.expand_dims(entry, 1), tape), next_mask


def _forget_bias_initializer(shape: tuple[int], dtype: str | None = None) -> Tensor:
    units = shape[0] // 4
    return ops.cast(
        ops.arange(shape[0]) // units == 1, dtype
    )  # The second gate is the forget gate.
