"""Where a step stands, added to what it is: attention alone does not know."""

from typing import final

import keras
from keras import backend, ops

from keras_attention._internal import validation


def sinusoids(positions, width, max_wavelength=10000, dtype="float32"):
    """Returns the encodings (..., width) of `positions` (...), of an even width."""
    # Powers of Python are exact to the last digit of float64, at no cost in the graph.
    frequencies = [max_wavelength ** (-2 * i / width) for i in range(width // 2)]
    positions = ops.expand_dims(ops.cast(positions, dtype), -1)
    angles = positions * ops.convert_to_tensor(frequencies, dtype=dtype)  # (..., width / 2)
    pairs = ops.stack([ops.sin(angles), ops.cos(angles)], axis=-1)  # (..., width / 2, 2)
    return ops.reshape(pairs, (*ops.shape(angles)[:-1], width))


@final
@keras.saving.register_keras_serializable("keras_attention")
class SinusoidalPositionEncoding(keras.layers.Layer):
    """Adds waves of many lengths to a sequence, from which attention can tell places.

        PE(pos, 2i)     = sin(pos / 10000^(2i / d_model))                       (section 3.5)
        PE(pos, 2i + 1) = cos(pos / 10000^(2i / d_model))
        output = inputs + PE, or sqrt(d_model) inputs + PE                      (section 3.4)

    For a fixed offset k, PE(pos + k) is a linear function of PE(pos), and there is no longest
    sequence. There are no weights.

    Args:
        scale_inputs: Whether the inputs are multiplied by sqrt(d_model) first, as the paper does
            with its embeddings. The small vectors that `keras.layers.Embedding` starts from are
            drowned out by the waves otherwise.
        max_wavelength: The 10000 of the equation. Wavelengths grow from 2 pi towards 2 pi times
            this.

    Call arguments:
        inputs: (B, T, D), D even.
        positions: (T,) or (B, T), where the steps stand. Defaults to 0, 1, ..., T - 1.

    Returns:
        (B, T, D).

    Masking: no mask is read; that of the inputs is passed on.

    Example:

    >>> encoded = ka.SinusoidalPositionEncoding()(np.zeros((1, 3, 2)))
    >>> np.round(encoded[0], 2)
    array([[ 0.  ,  1.  ],
           [ 0.84,  0.54],
           [ 0.91, -0.42]], dtype=float32)

    Reference: Vaswani et al. 2017, "Attention Is All You Need", arXiv:1706.03762, section 3.5.
    """

    def __init__(self, scale_inputs=False, max_wavelength=10000, **kwargs):
        # Keras would round positions that are not integers to the compute dtype.
        super().__init__(autocast=False, **kwargs)
        self.scale_inputs = scale_inputs
        self.max_wavelength = validation.positive("max_wavelength", max_wavelength)
        self.supports_masking = True

    def build(self, inputs_shape, positions_shape=None):
        _check_shape(inputs_shape)

    def call(self, inputs, positions=None):
        _check_shape(inputs.shape)
        width = inputs.shape[-1]
        inputs = ops.cast(inputs, self.compute_dtype)
        if positions is None:
            positions = ops.arange(ops.shape(inputs)[1], dtype="int32")
        came, steps = tuple(positions.shape), tuple(inputs.shape[:2])
        if not (validation.shapes_match(came, steps) or validation.shapes_match(came, steps[1:])):
            raise ValueError(
                f"`positions` has shape {came}; expected {steps}, (batch, steps), or (steps,)."
            )
        # In half precision the places of a long sequence would be rounded to each other.
        dtype = backend.result_type(self.compute_dtype, "float32")
        encodings = ops.cast(
            sinusoids(positions, width, self.max_wavelength, dtype), self.compute_dtype
        )  # (T, D) or (B, T, D)
        return (inputs * width**0.5 if self.scale_inputs else inputs) + encodings

    def compute_output_shape(self, inputs_shape, positions_shape=None):
        _check_shape(inputs_shape)
        return tuple(inputs_shape)

    def get_config(self):
        return {
            **super().get_config(),
            "scale_inputs": self.scale_inputs,
            "max_wavelength": self.max_wavelength,
        }


def _check_shape(inputs_shape):
    validation.rank("inputs", inputs_shape, "(batch, steps, width)")
    if inputs_shape[-1] is None or inputs_shape[-1] % 2:
        raise ValueError(
            f"`inputs` has shape {tuple(inputs_shape)}; expected an even width, for a sine and "
            "a cosine of each wavelength."
        )
