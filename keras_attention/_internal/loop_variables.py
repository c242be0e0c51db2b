"""The variables of a loop, read once before it: loop-invariant hoisting."""

import contextlib
from typing import Any

import keras
from keras import backend, ops


def read_variables_once(layer: keras.layers.Layer) -> contextlib.AbstractContextManager:
    """Returns a scope in which the trainable variables of a built `layer` are read already.

    A loop of TensorFlow reads its variables in every iteration and keeps them for the gradient:
    with XLA these are T copies of every kernel, written forward and read again backward. A tensor
    from outside of the loop is kept once. The other backends do this by themselves.

    Variables are read inside the loop if a sublayer is third-party (it may capture them in a
    `tf.function`), is rematerialized, or casts them, as in mixed precision.
    """
    if backend.backend() != "tensorflow" or not all(map(_is_safe, layer._flatten_layers())):
        return contextlib.nullcontext()
    return _VariablesScope(layer)


def _is_safe(layer: keras.layers.Layer) -> bool:
    ours = type(layer).__module__.partition(".")[0] in ("keras", "keras_attention")
    return ours and layer._remat_mode is None


class _VariablesScope(keras.StatelessScope):
    """A scope that replaces reads only: assignments and losses have their usual effect.

    Inside another stateless scope, of Keras or of this class, variables are tensors already, and
    this one does nothing.
    """

    def __init__(self, layer: keras.layers.Layer) -> None:
        variables = [v for v in layer.trainable_weights if v.dtype == layer.variable_dtype]
        # `copy` reads now; the variable itself would be read in the loop.
        super().__init__([(v, ops.copy(v)) for v in variables], collect_losses=True)
        self.layer = layer

    def __enter__(self) -> "_VariablesScope":
        super().__enter__()
        if self.original_scope is not None:
            super().__exit__()
        return self

    def add_update(self, update: tuple[Any, Any]) -> None:
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
