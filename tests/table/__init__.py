"""The layer table: one row or more per public layer, which the conformance suite walks.

A new layer is a new row in the module of its kin, with its oracle.
"""

import inspect

import keras

import keras_attention as ka
from table import (
    attention,
    decoders,
    history,
    models,
    multi_source,
    ntm,
    pointer,
    self_attention,
    snail,
    spatial,
    transformer,
)
from table.row import OTHER_SIZES, SIZES, SMALLEST_SIZES, shaped

__all__ = ["OTHER_SIZES", "SIZES", "SMALLEST_SIZES", "TABLE", "public_layers", "shaped"]

KINS = (
    attention,
    decoders,
    history,
    models,
    multi_source,
    ntm,
    pointer,
    self_attention,
    snail,
    spatial,
    transformer,
)
TABLE = [row for kin in KINS for row in kin.ROWS]


def public_layers():
    """Every layer class that the package's public names reach, without those that others extend."""
    found, visited = set(), set()

    def visit(module):
        visited.add(module)
        for name, value in vars(module).items():
            if name.startswith("_") or not _ours(value):
                continue
            if inspect.ismodule(value) and value not in visited:
                visit(value)
            elif inspect.isclass(value) and issubclass(value, keras.layers.Layer):
                found.add(value)

    visit(ka)
    return found - {base for layer in found for base in layer.__mro__[1:]}


def _ours(value):
    name = value.__name__ if inspect.ismodule(value) else getattr(value, "__module__", None)
    return str(name).startswith("keras_attention")
