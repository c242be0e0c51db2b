"""Checks the arguments of the pictures, and converts them to NumPy arrays."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from keras_attention._internal import validation


def as_attention(argument: str, value: Any, axes: str) -> np.ndarray:
    """Returns float32 weights with the axes named in `axes`, such as "(queries, memory)"."""
    array = np.asarray(ops.convert_to_numpy(value), dtype="float32")
    validation.rank(argument, array.shape, axes)
    return array


def check_not_negative(argument: str, array: np.ndarray) -> None:
    """Checks that all weights are finite and at least 0."""
    wrong = array[~((array >= 0) & (array < np.inf))]
    if wrong.size:
        raise ValueError(f"`{argument}` holds {wrong[0]}; expected finite numbers of at least 0.")


def as_maps(value: Any, words: Sequence[str]) -> np.ndarray:
    """Returns the maps (T, H, W), one for each word."""
    array = as_attention("maps", value, "(words, rows, columns)")
    if 0 in array.shape[1:]:
        raise ValueError(f"`maps` has shape {array.shape}; expected at least 1 row and column.")
    check_labels("words", words, array.shape[0], "maps", array.shape)
    check_not_negative("maps", array)
    return array


def check_labels(
    argument: str, labels: Sequence[str], size: int, other: str, shape: tuple[int, ...]
) -> None:
    """Checks that there is a label for each of the `size` steps of `other`."""
    if len(labels) != size:
        raise ValueError(
            f"`{argument}` has {len(labels)} labels; expected {size}, one for each of "
            f"{other} {shape}."
        )


def as_image(value: Any) -> np.ndarray:
    """Returns (H, W, 3) in uint8, from gray, RGB or RGBA. Transparent pixels become white."""
    array = ops.convert_to_numpy(value)
    shape = array.shape
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or not array.size:
        raise ValueError(
            f"`image` has shape {shape}; expected (height, width), or (height, width, channels) "
            "with 1, 3 or 4 channels."
        )
    if array.dtype == "uint8":
        array = array / np.float32(255)
    # Resized images may exceed 0 and 1 by a rounding error.
    elif "float" not in array.dtype.name or not np.all(np.abs(array - 0.5) <= 0.501):
        raise ValueError(
            f"`image` holds {array.dtype.name} from {array.min()} to {array.max()}; expected "
            "uint8 from 0 to 255, or floats from 0 to 1."
        )
    colors, alpha = array[..., :3], array[..., 3:]
    if alpha.size:
        colors = alpha * colors + (1 - alpha)
    colors = np.rint(255 * np.clip(colors, 0, 1)).astype("uint8")
    return np.broadcast_to(colors, (*shape[:2], 3))
