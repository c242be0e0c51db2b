"""Intra-attention: a recurrent reader that looks back at all that it has read."""

from typing import final

import keras
from keras import ops

from keras_attention import masks
from keras_attention._internal import rnn, validation
from keras_attention._internal.output_spec import output_spec
from keras_attention._internal.serialization import add_kernel
from keras_attention._ops.dense import dense


@final
@keras.saving.register_keras_serializable("keras_attention")
class IntraAttention(keras.layers.Layer):
    """The long short-term memory-network (LSTMN): an LSTM with tapes in place of its last state.

        a_i^t = v^T tanh(W_h h_i + W_x x_t + W_h~ h~_{t-1})
        s^t = softmax(a^t)                              over i = 1 .. t-1
        [h~_t; c~_t] = sum_i s_i^t [h_i; c_i]
        [i_t; f_t; o_t; c^_t] = [sigm; sigm; sigm; tanh](W [h~_t; x_t] + b)
        c_t = f_t * c~_t + i_t * c^_t
        h_t = o_t * tanh(c_t)                                                    (section 3)

    The tapes hold the hidden and the memory state of every step. Before the first step they are
    empty: h~_1 and c~_1 are zero. The weights are `hidden_kernel`, `input_kernel`,
    `summary_kernel` and `score_vector` of the score a, `kernel` (units + D, 4 units) and `bias`,
    which the paper leaves out; that of f starts at 1, all else of it at 0.

    Step follows step, and each rewrites its tapes, (B, T, 3 units) with W_h h. For its backward
    pass it keeps of them h and c, and the hidden layer of its scores: over all steps, about
    3 B T^2 units numbers. Without gradients there is one tape at a time.

    Args:
        units: Width of h, c and the hidden layer of the score.
        kernel_initializer: Initializer of the kernels and the score's vector.

    Call arguments:
        inputs: (B, T, D).
        mask: (B, T), the steps that are read.
        return_attention_scores: Whether to return the weights too.

    Returns:
        The hidden states h (B, T, units); with `return_attention_scores` also the weights s
        (B, T, T), zero on the diagonal and above.

    Masking: True means "is read". A masked step leaves tapes and h~ as they were, its output and
    its weights are zero, and no step attends to it. The mask is passed on.

    Example:

    >>> reader = ka.IntraAttention(11)
    >>> states, weights = reader(np.ones((2, 3, 7)), return_attention_scores=True)
    >>> tuple(states.shape), tuple(weights.shape)
    ((2, 3, 11), (2, 3, 3))

    Reference: Cheng, Dong, Lapata 2016, "Long Short-Term Memory-Networks for Machine Reading",
    arXiv:1601.06733, section 3.
    """

    def __init__(self, units, kernel_initializer="glorot_uniform", **kwargs):
        super().__init__(**kwargs)
        self.units = validation.positive_integer("units", units)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.supports_masking = True

    def build(self, inputs_shape):
        validation.rank("inputs", inputs_shape, "(batch, steps, width)")
        width, units = inputs_shape[-1], self.units

        self.hidden_kernel = add_kernel(self, "hidden_kernel", (units, units))
        self.input_kernel = add_kernel(self, "input_kernel", (width, units))
        self.summary_kernel = add_kernel(self, "summary_kernel", (units, units))
        self.score_vector = add_kernel(self, "score_vector", (units,))
        self.kernel = add_kernel(self, "kernel", (units + width, 4 * units))
        self.bias = self.add_weight(name="bias", shape=(4 * units,), initializer=_bias)

    def call(self, inputs, mask=None, return_attention_scores=False):
        validation.rank("inputs", inputs.shape, "(batch, steps, width)")
        validation.mask("mask", mask, inputs.shape[:2], "(batch, steps)")
        batch, steps = ops.shape(inputs)[:2]
        read = ops.ones((batch, steps), "bool") if mask is None else ops.cast(mask, "bool")
        cast = {weight.name: ops.cast(weight, self.compute_dtype) for weight in self.weights}
        # What the steps need of their inputs, for all steps at once.
        of_inputs = ops.concatenate([cast["input_kernel"], cast["kernel"][self.units :]], axis=1)
        of_summary = cast["kernel"][: self.units]  # Cut in the loop, each step would keep a copy.
        bias = ops.pad(cast["bias"], [[self.units, 0]])
        rows = dense(inputs, of_inputs) + bias  # (B, T, 5 U)
        flags = ops.expand_dims(ops.cast(read, rows.dtype), 2)

        def step(row, state):
            (summary, tape, passed), units = state, self.units
            row, flag = row[:, :-1], row[:, -1:] > 0
            context, weights = _look_back(row[:, :units], summary, tape, passed, read, cast)
            summary_now, memory = context[:, :units], context[:, units:]
            gates = row[:, units:] + ops.matmul(summary_now, of_summary)
            enter, forget, leave = ops.split(ops.sigmoid(gates[:, : 3 * units]), 3, axis=-1)
            memory = forget * memory + enter * ops.tanh(gates[:, 3 * units :])  # (B, U)
            hidden = leave * ops.tanh(memory)
            record = ops.concatenate(
                [hidden, memory, ops.matmul(hidden, cast["hidden_kernel"])], axis=-1
            )
            tape, passed = _write(tape, passed, record)
            output = ops.concatenate([hidden, weights], axis=-1)  # (B, U + T)
            return ops.where(flag, output, 0), (
                ops.where(flag, summary_now, summary),
                tape,
                passed,
            )

        zeros = [
            ops.zeros(shape, rows.dtype)
            for shape in ((batch, self.units), (batch, steps, 3 * self.units), (batch, steps))
        ]
        rows = ops.concatenate([rows, flags], axis=-1)
        outputs, _ = rnn.scan(step, rows, tuple(zeros), dtype=self.dtype_policy)
        hidden, weights = outputs[:, :, : self.units], outputs[:, :, self.units :]
        return (hidden, weights) if return_attention_scores else hidden

    def compute_output_shape(self, inputs_shape):
        validation.rank("inputs", inputs_shape, "(batch, steps, width)")
        return (*inputs_shape[:2], self.units)

    def compute_output_spec(self, inputs, mask=None, return_attention_scores=False):
        shape = self.compute_output_shape(inputs.shape)
        return output_spec(self, shape, (*shape[:2], shape[1]), return_attention_scores)

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }


def _look_back(row, summary, tape, passed, read, cast):
    """[h~; c~] (B, 2 U) and the weights (B, T), from a tape of [h; c; W_h h]."""
    units = row.shape[-1]
    now = ops.expand_dims(row + ops.matmul(summary, cast["summary_kernel"]), 1)
    scores = ops.einsum("btu,u->bt", ops.tanh(tape[:, :, 2 * units :] + now), cast["score_vector"])
    weights = masks.masked_softmax(scores, ops.logical_and(passed > 0, read))
    return ops.einsum("bt,btu->bu", weights, tape[:, :, : 2 * units]), weights


def _write(tape, passed, record):
    """Writes `record` (B, 3 U) where `passed` (B, T), ones up to now, ends; and moves that end.

    A row of ones and zeros is a clock that counts exactly in every dtype, however long. A masked
    step is written too, but nobody looks there.
    """
    later = ops.concatenate([ops.ones_like(passed[:, :1]), passed[:, :-1]], axis=1)
    now = ops.expand_dims(later > passed, 2)  # (B, T, 1)
    return ops.where(now, ops.expand_dims(record, 1), tape), later


def _bias(shape, dtype=None):
    units = shape[0] // 4
    return ops.cast(ops.arange(shape[0]) // units == 1, dtype)  # the forget gate's is the second
