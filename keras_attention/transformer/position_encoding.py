"""Sinusoidal position encodings, added to the inputs, since attention by itself ignores order."""

from typing import Any, final

import keras
from keras import ops

from keras_attention._internal import validation
from keras_attention._internal.precision import at_least_float32
from keras_attention._internal.typing import Config, Shape, Tensor


def sinusoids(
    positions: Tensor, dim: int, max_wavelength: float = 10000, dtype: str = "float32"
) -> Tensor:
    """Returns the encodings (..., dim) of `positions` (...). `dim` must be even."""
    # Python's powers are exact to the last digit of float64, at no cost in the graph.
    frequencies = [max_wavelength ** (-2 * i / dim) for i in range(dim // 2)]
    positions = ops.expand_dims(ops.cast(positions, dtype), -1)
    angles = positions * ops.convert_to_tensor(frequencies, dtype=dtype)  # (..., dim / 2)
    pairs = ops.stack([ops.sin(angles), ops.cos(angles)], axis=-1)  # (..., dim / 2, 2)
    return ops.reshape(pairs, (*ops.shape(angles)[:-1], dim))


@final
@keras.saving.register_keras_serializable("keras_attention")
class SinusoidalPositionEncoding(keras.layers.Layer):
    """Adds sines and cosines of many wavelengths, so that attention can tell positions apart.

        PE(pos, 2i)     = sin(pos / 10000^(2i / d_model))                       (section 3.5)
        PE(pos, 2i + 1) = cos(pos / 10000^(2i / d_model))
        output = inputs + PE, or sqrt(d_model) inputs + PE                      (section 3.4)

    For a fixed offset k, PE(pos + k) is a linear function of PE(pos). d_model is the size D of the
    inputs. Sequences may have any length, and the layer has no variables.

    Args:
        scale_inputs: Whether the inputs are first multiplied by sqrt(d_model), as the paper does
            with its embeddings. Without this, the encodings are much larger than the initial
            vectors of `keras.layers.Embedding`.
        max_wavelength: The number 10000 in the equation. The wavelengths grow from 2 pi toward 2 pi
            times this number.

    Call arguments:
        inputs: (B, T, D), with an even D.
        positions: (T,) or (B, T), the positions of the steps. Defaults to 0, 1, ..., T - 1.

    Returns:
        The encoded inputs (B, T, D).

    Masking: the mask of the inputs is passed on.

    Raises:
        ValueError: If D is odd or unknown, the shape of `positions` does not fit the inputs, or
            `max_wavelength` is not above 0.

    Example:

    >>> encoded = ka.SinusoidalPositionEncoding()(np.zeros((1, 3, 2)))
    >>> np.round(encoded[0], 2)
    array([[ 0.  ,  1.  ],
           [ 0.84,  0.54],
           [ 0.91, -0.42]], dtype=float32)

    Reference: Vaswani et al. 2017, "Attention Is All You Need", arXiv:1706.03762, section 3.5.
    """

    def __init__(
        self, scale_inputs: bool = False, max_wavelength: float = 10000, **kwargs: Any
    ) -> None:
        # Keras would round positions that are not integers to the compute dtype.
        super().__init__(autocast=False, **kwargs)
        self.scale_inputs = scale_inputs
        self.max_wavelength = validation.positive("max_wavelength", max_wavelength)
        self.supports_masking = True

    def build(self, inputs_shape: Shape, positions_shape: Shape | None = None) -> None:
        _validate_shape(inputs_shape)

    def call(self, inputs: Tensor, positions: Tensor = None) -> Tensor:
        _validate_shape(inputs.shape)
        dim = inputs.shape[-1]
        inputs = ops.cast(inputs, self.compute_dtype)
        if positions is None:
            positions = ops.arange(ops.shape(inputs)[1], dtype="int32")
        actual, steps = tuple(positions.shape), tuple(inputs.shape[:2])
        if not any(validation.shapes_match(actual, expected) for expected in (steps, steps[1:])):
            raise ValueError(
                f"`positions` has shape {actual}; expected {steps}, (batch, steps), or (steps,)."
            )
        # Half precision would round the positions of a long sequence to the same numbers.
        dtype = at_least_float32(self.compute_dtype)
        encodings = ops.cast(
            sinusoids(positions, dim, self.max_wavelength, dtype), self.compute_dtype
        )  # (T, D) or (B, T, D)
        return (inputs * dim**0.5 if self.scale_inputs else inputs) + encodings

    def compute_output_shape(
        self, inputs_shape: Shape, positions_shape: Shape | None = None
    ) -> Shape:
        _validate_shape(inputs_shape)
        return tuple(inputs_shape)

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "scale_inputs": self.scale_inputs,
            "max_wavelength": self.max_wavelength,
        }


def _validate_shape(inputs_shape: Shape) -> None:
    validation.rank("inputs", inputs_shape, "(batch, steps, width)")
    if inputs_shape[-1] is None or inputs_shape[-1] % 2:
        raise ValueError(
            f"`inputs` has shape {tuple(inputs_shape)}; expected an even width, for a sine and "
            "a cosine of each wavelength."
        )
