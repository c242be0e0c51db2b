"""What pictures are made of, checked and as plain arrays."""

import numpy as np
from keras import ops

from keras_attention._internal import validation


def weights(argument, value, axes):
    """float32 with the axes named in `axes`, such as "(queries, memory)"."""
    array = np.asarray(ops.convert_to_numpy(value), dtype="float32")
    validation.rank(argument, array.shape, axes)
    return array


def not_negative(argument, array):
    """Checks that all weights are finite and at least 0."""
    wrong = array[~((array >= 0) & (array < np.inf))]
    if wrong.size:
        raise ValueError(f"`{argument}` holds {wrong[0]}; expected numbers of at least 0.")


def maps(value, words):
    """(T, H, W), a map for each word."""
    array = weights("maps", value, "(words, rows, columns)")
    if 0 in array.shape[1:]:
        raise ValueError(f"`maps` has shape {array.shape}; expected at least 1 row and column.")
    labels("words", words, array.shape[0], "maps", array.shape)
    not_negative("maps", array)
    return array


def labels(argument, labels, size, other, shape):
    """Checks that there is a label for each of `size` steps of `other`."""
    if len(labels) != size:
        raise ValueError(
            f"`{argument}` has {len(labels)} labels; expected {size}, one for each of "
            f"{other} {shape}."
        )


def image(value):
    """(H, W, 3) in uint8, of grey, RGB and RGBA; what is transparent becomes white."""
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
    # Resizing leaves floats that are 1 but for rounding.
    elif "float" not in array.dtype.name or not np.all(np.abs(array - 0.5) <= 0.501):
        raise ValueError(
            f"`image` holds {array.dtype.name} from {array.min()} to {array.max()}; expected "
            "uint8 from 0 to 255, or floats from 0 to 1."
        )
    colours, alpha = array[..., :3], array[..., 3:]
    if alpha.size:
        colours = alpha * colours + (1 - alpha)
    colours = np.rint(255 * np.clip(colours, 0, 1)).astype("uint8")
    return np.broadcast_to(colours, (*shape[:2], 3))
