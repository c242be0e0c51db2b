"""Export: a SavedModel with named signatures, which needs only TensorFlow to be served."""

import os
import pathlib
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_attention._internal import files

Signature = tuple[Callable, Sequence[tf.TensorSpec]]


def saved_model(
    model: keras.Model,
    path: str | os.PathLike,
    signatures: Mapping[str, Signature] | None = None,
    resources: Iterable = (),
) -> None:
    """Writes `model` as a SavedModel that loads without Keras and without this library.

    The model is written to a temporary folder beside `path`, which is then renamed, so `path` never
    holds half a model. An earlier SavedModel at `path` is replaced, except for its folder
    `assets.extra`, where TF Serving finds requests to warm up with.

    Args:
        model: A built model.
        path: The folder to write.
        signatures: A dict from names to pairs of a function and its input specs, such as
            `(function, [tf.TensorSpec([None, None], "int32", name="source")])`. A function calls
            the model or `ka.search`, and returns a dict whose keys name the outputs. The first
            signature is also served as "serving_default". The default is the call of a functional
            model. Its inputs keep their names, and its outputs have the names of their layers, with
            `name_1` for the second output of a layer. Inputs and outputs in dicts are named by
            their keys: {"maps": {"left": ...}} becomes "maps_left".
        resources: Other objects that the functions use, such as tokenizers and lookup tables.

    Raises:
        ValueError: If `path` holds anything but a SavedModel; or if `signatures` is missing and the
            model is not functional, or has two inputs or two outputs of the same name.

    Example:

    >>> inputs = keras.Input((None, 7), name="query")
    >>> model = keras.Model(inputs, ka.Attention(name="context")(inputs, inputs))
    >>> ka.export.saved_model(model, "exported")
    >>> served = tf.saved_model.load("exported")
    >>> outputs = served.signatures["serving_default"](query=tf.ones((1, 3, 7)))
    >>> outputs["context"].shape.as_list()
    [1, 3, 7]
    """
    path = pathlib.Path(os.path.realpath(path))
    if path.exists() and not _is_saved_model(path) and not _is_empty_folder(path):
        raise ValueError(
            f"`path` is {str(path)!r}, which holds something else; expected a new folder, an empty "
            "one, or one that holds a SavedModel."
        )
    archive = keras.export.ExportArchive()
    archive.track(model)
    for resource in resources:
        archive.track(resource)
    for name, (function, specs) in (signatures or _call_signature(model)).items():
        archive.add_endpoint(name, function, input_signature=list(specs))
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.replace(path) as new:
        archive.write_out(str(new), verbose=False)
        extra = path / "assets.extra"
        if extra.is_dir():
            shutil.copytree(extra, new / extra.name)


def _call_signature(model: keras.Model) -> dict[str, Signature]:
    if not getattr(model, "inputs", None):
        raise ValueError(
            f"`signatures` is None, but '{model.name}' is not a functional model; expected a "
            "dict from names to (function, input specs)."
        )
    flat = keras.Model(model.inputs, model.outputs)  # the same layers, with flat inputs and outputs
    nested = flat if isinstance(model, keras.Sequential) else model
    input_names = _names("inputs", nested.input, [tensor.name for tensor in model.inputs])
    output_names = _names("outputs", nested.output, _unique_names(flat.output_names))
    specs = [
        tf.TensorSpec(tensor.shape, tensor.dtype, name)
        for tensor, name in zip(model.inputs, input_names, strict=True)
    ]

    def call(*inputs: Any) -> dict[str, Any]:
        return dict(zip(output_names, keras.tree.flatten(flat(list(inputs))), strict=True))

    return {"call": (call, specs)}


def _is_saved_model(path: pathlib.Path) -> bool:
    # A folder with other files is not replaced, since that would delete them.
    names = {"saved_model.pb", "fingerprint.pb", "variables", "assets", "assets.extra"}
    return (path / "saved_model.pb").is_file() and names.issuperset(os.listdir(path))


def _is_empty_folder(path: pathlib.Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _unique_names(names: list[str]) -> list[str]:
    """Renames the second output of a layer to `name_1`: Keras names all of them like the layer."""
    return [
        f"{name}_{names[:index].count(name)}" if name in names[:index] else name
        for index, name in enumerate(names)
    ]


def _names(argument: str, nest: Any, layer_names: list[str]) -> list[str]:
    """Returns a name for each tensor of a nest: its path, or without keys of dicts its layer's.

    TensorFlow makes "maps_weights" of an input named "maps/weights", thus paths are joined by "_".
    """
    paths = [path for path, _ in keras.tree.flatten_with_path(nest)]
    names = [
        "_".join(map(str, path)) if any(isinstance(key, str) for key in path) else name
        for path, name in zip(paths, layer_names, strict=True)
    ]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(
            f"`model` has {argument} of equal names: {repeated}; expected paths in its nest that "
            'differ once their keys are joined by "_".'
        )
    return names
