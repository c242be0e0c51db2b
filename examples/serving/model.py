"""An exported model as a server has it: its signatures, and what describes it to clients."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np
import tensorflow as tf
import tensorflow_text  # noqa: F401  registers the operations of tokenizers
from google.protobuf import json_format
from tensorflow.core.protobuf import saved_model_pb2

from examples.common.errors import UserError, line_of
from examples.common.serving import load_exported
from examples.serving.limits import RequestError
from examples.serving.tensors import Specs, Tensors

VERSION = 1  # a folder holds one


class Signature(NamedTuple):
    """A function of an exported model.

    Attributes:
        has_rows: Whether all its inputs and outputs have any number of rows: then those of several
            requests can be joined.
    """

    function: Any
    inputs: Specs
    has_rows: bool

    def rows(self, inputs: Tensors) -> int | None:
        """How many rows the inputs have; None if they cannot be joined with others."""
        sizes = {len(value) for value in inputs.values()} if self.has_rows else set()
        return sizes.pop() if len(sizes) == 1 else None


@final
class Model:
    """A SavedModel; Keras is not needed for it.

    Args:
        path: Its folder.
        what, takes, gives: As in `examples.common.serving.open_model`.
        example: An input, for a first call, which takes longer than others.
    """

    def __init__(self, path: Path, what: str, takes: str, gives: str, example: bytes):
        self.loaded = load_exported(path, what, takes, gives)
        self.signatures = {
            name: _signature(function) for name, function in self.loaded.signatures.items()
        }
        saved = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
        self.definitions = {
            name: json_format.MessageToDict(
                definition,
                preserving_proto_field_name=True,
                always_print_fields_with_no_presence=True,
            )
            for name, definition in saved.meta_graphs[0].signature_def.items()
            if name in self.signatures
        }
        try:
            self.run(("serving_default",), {takes: np.array([example], object)})
        except Exception as error:  # of many kinds: another model has inputs of that name
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise UserError(f"{path}: not an exported {what}: it fails ({reason})") from None

    def signature(self, name: str) -> Signature:
        if name not in self.signatures:
            expected = " or ".join(sorted(self.signatures))
            raise RequestError(f"no signature named '{name}'; expected {expected}")
        return self.signatures[name]

    def run(self, key: Hashable, inputs: Tensors) -> Tensors:
        """The outputs of a signature; `key` begins with its name."""
        signature = self.signatures[key[0]]
        tensors = {
            name: tf.constant(inputs[name], spec.dtype) for name, spec in signature.inputs.items()
        }
        try:
            return {name: value.numpy() for name, value in signature.function(**tensors).items()}
        except tf.errors.ResourceExhaustedError:
            raise RequestError("not enough memory for this request", 503) from None
        except tf.errors.OpError as error:
            raise RequestError(line_of(error)) from None

    def status(self) -> dict:
        """As TF Serving's GetModelStatusResponse."""
        available = {"error_code": "OK", "error_message": ""}
        versions = [{"version": str(VERSION), "state": "AVAILABLE", "status": available}]
        return {"model_version_status": versions}

    def metadata(self, name: str) -> dict:
        """As TF Serving's GetModelMetadataResponse."""
        return {
            "model_spec": {"name": name, "signature_name": "", "version": str(VERSION)},
            "metadata": {"signature_def": {"signature_def": self.definitions}},
        }


def _signature(function) -> Signature:
    inputs = function.structured_input_signature[1]
    specs = [*inputs.values(), *function.structured_outputs.values()]
    has_rows = all(spec.shape.rank and spec.shape[0] is None for spec in specs)
    return Signature(function, inputs, has_rows)


def key_of(name: str, inputs: Tensors) -> Hashable:
    """Inputs with equal keys can be joined: those of a signature, of one shape but for the rows."""
    return name, *((input_name, np.shape(value)[1:]) for input_name, value in inputs.items())
