"""Hoisting: the weights that a loop reads, read once before it."""

import contextlib

import keras
from keras import backend, ops


def read_variables_once(layer):
    """Returns a scope in which the trainable weights of `layer`, which is built, are read already.

    A loop of TensorFlow reads its variables in every turn, and keeps what it read for the gradient:
    with XLA that is T copies of every kernel, written forward and fetched again backward. A tensor
    from outside of the loop is kept once. The other backends do that by themselves.

    All is read where it is used if a layer inside is not of Keras or of this library, which may
    keep what it read in a `tf.function` of its own, or is rematerialised, which takes gradients of
    variables only. So is what is not read as it is stored, as in mixed precision.
    """
    if backend.backend() != "tensorflow" or not all(map(_can_hoist, layer._flatten_layers())):
        return contextlib.nullcontext()
    return _HoistedWeights(layer)


def _can_hoist(layer):
    ours = type(layer).__module__.partition(".")[0] in ("keras", "keras_attention")
    return ours and layer._remat_mode is None


class _HoistedWeights(keras.StatelessScope):
    """A scope that replaces reads alone: assignments and losses go through.

    In a stateless scope of others, and in another one of these, weights are tensors already, and
    nothing is left to do.
    """

    def __init__(self, layer):
        weights = [w for w in layer.trainable_weights if w.dtype == layer.variable_dtype]
        # `copy` reads now; the variable itself would be read in the loop.
        super().__init__([(w, ops.copy(w)) for w in weights], collect_losses=True)
        self.layer = layer

    def __enter__(self):
        super().__enter__()
        if self.original_scope is not None:
            super().__exit__()
        return self

    def add_update(self, update):
        variable, value = update
        self.state_mapping.pop(id(variable), None)
        super().__exit__()
        try:
            variable.assign(value)
        finally:
            super().__enter__()

    def __exit__(self, *error):
        if self.original_scope is None:
            super().__exit__(*error)
        for layer in self.layer._flatten_layers():
            layer._losses.extend(loss for loss in self.losses if id(loss) in layer._loss_ids)
