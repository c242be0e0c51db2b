"""Variables read once before a loop (loop-invariant hoisting)."""

import contextlib
from typing import Any

import keras
from keras import backend, ops


def read_variables_once(layer: keras.layers.Layer) -> contextlib.AbstractContextManager:
    """Returns a scope in which the trainable variables of a built layer are tensors.

    A loop of TensorFlow reads its variables in every iteration, and keeps what it read for the
    gradient: with XLA that is T copies of every kernel, written forward and read again backward. A
    tensor from outside the loop is kept once. The other backends do this by themselves.

    Variables are read inside the loop if a sublayer is third-party (it may capture them in a
    `tf.function`), is rematerialized (whose gradients need variables), or casts them, as in mixed
    precision.
    """
    if backend.backend() != "tensorflow" or not all(map(_is_safe, layer._flatten_layers())):
        return contextlib.nullcontext()
    return _ReadScope(layer)


def _is_safe(layer: keras.layers.Layer) -> bool:
    package = type(layer).__module__.partition(".")[0]
    return package in ("keras", "keras_attention") and layer._remat_mode is None


class _ReadScope(keras.StatelessScope):
    """A scope that replaces reads only: assignments and losses pass through.

    It does nothing inside another stateless scope, where variables are tensors already.
    """

    def __init__(self, layer: keras.layers.Layer) -> None:
        variables = [v for v in layer.trainable_variables if v.dtype == layer.variable_dtype]
        # `copy` reads now; the variable itself would be read in the loop.
        super().__init__([(v, ops.copy(v)) for v in variables], collect_losses=True)
        self.layer = layer

    def __enter__(self) -> "_ReadScope":
        super().__enter__()
        if self.original_scope is not None:
            super().__exit__()
        return self

    def add_update(self, update: tuple) -> None:
        variable, value = update
        self.state_mapping.pop(id(variable), None)
        super().__exit__()
        try:
            variable.assign(value)
        finally:
            super().__enter__()

    def __exit__(self, *error: Any) -> None:
        if self.original_scope is None:
            super().__exit__(*error)
        for layer in self.layer._flatten_layers():
            layer._losses.extend(loss for loss in self.losses if id(loss) in layer._loss_ids)
