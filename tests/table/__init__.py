"""The layer table: one row or more per public layer, over which the conformance suite runs.

Rows stand in the modules of this package, each in a list `ROWS`; a new module is found by itself.
"""

import importlib
import inspect
import pkgutil

import keras

import keras_attention as ka
from marks import more
from table.row import OTHER_SIZES, SIZES, SMALLEST_SIZES, shaped

__all__ = [
    "OTHER_SIZES",
    "SIZES",
    "SMALLEST_SIZES",
    "TABLE",
    "one_per_layer",
    "public_layers",
    "shaped",
]

MODULES = [
    importlib.import_module(f"table.{found.name}") for found in pkgutil.iter_modules(__path__)
]
TABLE = [row for module in MODULES for row in getattr(module, "ROWS", ())]


def one_per_layer(rows=TABLE, part=0, parts=1):
    """These rows for `parametrize`; by default those run that hold a layer which none before does.

    For checks that compile, which all rows together spend most of an hour on. `parts` checks of one
    kind, such as formats, may share the layers: by default each of them runs for a `part`.
    """
    seen, result, first = set(), [], 0
    for row in rows:
        again = set(row.holds) <= seen
        first += not again
        left_out = again or first % parts != part
        result += more(row) if left_out else [row]
        seen.update(row.holds)
    return result


def public_layers():
    """Every layer class that the packages export, without those that others extend."""
    found, visited = set(), set()

    def visit(module):
        visited.add(module)
        for name, value in vars(module).items():
            if name.startswith("_") or not _ours(value):
                continue
            if inspect.ismodule(value) and hasattr(value, "__path__") and value not in visited:
                visit(value)
            elif inspect.isclass(value) and issubclass(value, keras.layers.Layer):
                found.add(value)

    visit(ka)
    return found - {base for layer in found for base in layer.__mro__[1:]}


def _ours(value):
    name = value.__name__ if inspect.ismodule(value) else getattr(value, "__module__", None)
    return str(name).startswith("keras_attention")
