"""Hoisting: the weights that a loop reads, read once before it."""

import contextlib

import keras
from keras import backend, ops


def hoisted_weights(layer):
    """Returns a scope in which the trainable weights of `layer`, which is built, are read already.

    A loop of TensorFlow reads its variables in every turn, and keeps what it read for the gradient:
    with XLA that is T copies of every kernel, written forward and fetched again backward. A tensor
    from outside of the loop is kept once. The other backends do that by themselves.

    Layers of others may keep what they read, in a `tf.function` of their own: with one of them
    inside, all is read where it is used. So is what is not read as it is stored, as in mixed
    precision.
    """
    if backend.backend() != "tensorflow" or not all(map(_is_known, layer._flatten_layers())):
        return contextlib.nullcontext()
    return _HoistedWeights(layer)


class _HoistedWeights(keras.StatelessScope):
    """A scope that replaces reads alone: assignments and losses go through."""

    def __init__(self, layer):
        weights = [w for w in layer.trainable_weights if w.dtype == layer.variable_dtype]
        # `copy` reads now; the variable itself would be read in the loop.
        super().__init__([(w, ops.copy(w)) for w in weights], collect_losses=True)
        self.layer = layer

    def add_update(self, update):
        variable, value = update
        self.state_mapping.pop(id(variable), None)
        super().__exit__()
        try:
            variable.assign(value)
        finally:
            self.__enter__()

    def add_loss(self, loss):
        # A scope around this one has its own list, in which layers look for theirs.
        if self.original_scope is None:
            super().add_loss(loss)
        elif self.original_scope.collect_losses:
            self.original_scope.add_loss(loss)

    def __exit__(self, *error):
        super().__exit__(*error)
        if self.losses and not any(error):
            self.layer.add_loss(self.losses)


def _is_known(layer):
    return type(layer).__module__.partition(".")[0] in ("keras", "keras_attention")
