"""Export: a SavedModel with named signatures, which TensorFlow alone can serve."""

import os
import pathlib
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence

import keras
import tensorflow as tf

Signature = tuple[Callable, Sequence[tf.TensorSpec]]


def saved_model(
    model: keras.Model,
    path: str | os.PathLike,
    signatures: Mapping[str, Signature] | None = None,
    resources: Iterable = (),
) -> None:
    """Writes `model` as a SavedModel that loads without Keras and without this library.

    It is written beside `path` and renamed, so that `path` never holds half a model. A SavedModel
    that was there before is replaced.

    Args:
        model: A built model.
        path: The folder to write.
        signatures: From names to pairs of a function and its input specs, as
            `(function, [tf.TensorSpec([None, None], "int32", name="source")])`. Functions call the
            model and `ka.search`, and return a dict, whose keys name the outputs. The first one is
            also served as "serving_default". Defaults to the call of a functional model, with the
            names of its inputs and outputs; a second output of one layer is `name_1`.
        resources: What the functions use beside the model: tokenizers, lookup tables.

    Raises:
        ValueError: if `path` holds something else than a SavedModel, or if a model that is not
            functional comes without signatures.

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
            f"`path` is {str(path)!r}, which holds something else; expected a new folder or one "
            "that holds a SavedModel."
        )
    archive = keras.export.ExportArchive()
    archive.track(model)
    for resource in resources:
        archive.track(resource)
    for name, (function, specs) in (signatures or _call_signature(model)).items():
        archive.add_endpoint(name, function, input_signature=list(specs))
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as beside:
        archive.write_out(os.path.join(beside, "new"), verbose=False)
        new, old = pathlib.Path(beside, "new"), pathlib.Path(beside, "old")
        try:
            if path.exists():
                path.rename(old)
            new.rename(path)
        except BaseException:
            if old.exists():
                old.rename(path)
            raise


def _call_signature(model):
    if not getattr(model, "inputs", None):
        raise ValueError(
            f"`signatures` is None, but '{model.name}' is not a functional model; expected a "
            "dict from names to (function, input specs)."
        )
    specs = [tf.TensorSpec(tensor.shape, tensor.dtype, tensor.name) for tensor in model.inputs]
    names = _distinct(model.output_names)
    flat = keras.Model(model.inputs, model.outputs)  # the same layers, whatever nest it takes

    def call(*inputs):
        return dict(zip(names, keras.tree.flatten(flat(list(inputs))), strict=True))

    return {"call": (call, specs)}


def _is_saved_model(path):
    # Whatever else lies there is somebody's, and replacing the folder would delete it.
    files = {"saved_model.pb", "fingerprint.pb", "variables", "assets"}
    return (path / "saved_model.pb").is_file() and files.issuperset(os.listdir(path))


def _is_empty_folder(path):
    return path.is_dir() and not any(path.iterdir())


def _distinct(names):
    """A layer with several outputs gives each its own name: the second becomes `name_1`."""
    return [
        f"{name}_{names[:index].count(name)}" if name in names[:index] else name
        for index, name in enumerate(names)
    ]
