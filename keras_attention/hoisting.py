"""Hoisting: the weights that a loop reads, read once before it."""

import contextlib

import keras
from keras import backend, ops


def hoisted_weights(layer):
    """Returns a scope in which the weights of `layer`, which is built, are read already.

    A loop of TensorFlow reads its variables in every turn, and keeps what it read for the gradient:
    with XLA that is T copies of every kernel, written forward and fetched again backward. A tensor
    from outside of the loop is kept once. The other backends do that by themselves.

    What is assigned in the scope reaches the variables, and losses that are added reach `layer`.
    """
    if backend.backend() != "tensorflow":
        return contextlib.nullcontext()
    return _ReadAlready(layer)


class _ReadAlready(keras.StatelessScope):
    """Keras's scope of values in place of variables, but of their reads alone."""

    def __init__(self, layer):
        # A TensorFlow variable that stands for another is still read where it is used.
        weights = [(weight, ops.copy(weight)) for weight in layer.weights]
        super().__init__(weights, collect_losses=True)
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
