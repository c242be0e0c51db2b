"""JSON to tensors and back, by the rules of TF Serving's REST interface.

In row format `{"instances": [...]}` has a value for each row, or an object of named values, and
gets `{"predictions": [...]}`. In column format `{"inputs": ...}` has whole tensors, and gets
`{"outputs": ...}`. A single output comes without its name. Bytes are `{"b64": "..."}`.
"""

import base64
import json
from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from examples.serving.limits import Limits, RequestError

Tensors = dict[str, np.ndarray]
Specs = dict[str, tf.TensorSpec]

INTEGERS = ("int8", "uint8", "int16", "int32", "uint32", "int64", "uint64")
KINDS = {
    "bool": ((bool,), "true or false"),
    **dict.fromkeys(INTEGERS, ((int,), "an integer")),
    **dict.fromkeys(("float32", "float64"), ((int, float), "a number")),
}


def from_rows(instances: Any, specs: Specs, limits: Limits) -> Tensors:
    """The inputs of a request in row format."""
    if not isinstance(instances, list) or not instances:
        raise RequestError("'instances': expected a list with at least one row")
    limits.check_rows(len(instances))
    named = _is_object(instances[0])
    if not named and len(specs) > 1:
        raise RequestError(f"'instances': expected objects with the keys {_list(specs)}")
    columns: dict[str, list] = {name: [] for name in specs}
    for number, row in enumerate(instances):
        if _is_object(row) != named:
            raise RequestError(f"'instances', row {number}: objects and plain values are mixed")
        row = row if named else dict.fromkeys(specs, row)
        if row.keys() != specs.keys():
            raise RequestError(f"'instances', row {number}: expected the keys {_list(specs)}")
        for name, value in row.items():
            columns[name].append(value)
    return {name: _to_array(name, columns[name], spec, limits) for name, spec in specs.items()}


def from_columns(inputs: Any, specs: Specs, limits: Limits) -> Tensors:
    """The inputs of a request in column format."""
    if not _is_object(inputs):
        if len(specs) > 1:
            raise RequestError(f"'inputs': expected an object with the keys {_list(specs)}")
        inputs = dict.fromkeys(specs, inputs)
    if inputs.keys() != specs.keys():
        raise RequestError(f"'inputs': expected the keys {_list(specs)}")
    return {name: _to_array(name, inputs[name], spec, limits) for name, spec in specs.items()}


def to_rows(outputs: Tensors) -> list:
    """The predictions: for each row its value, or an object of its values by their names."""
    rows = {value.shape[:1] for value in outputs.values()}
    if len(rows) != 1 or () in rows:
        raise RequestError("the outputs do not have equal rows: expected column format, 'inputs'")
    columns = {name: _to_json(name, value) for name, value in outputs.items()}
    if len(columns) == 1:
        return next(iter(columns.values()))
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def to_columns(outputs: Tensors) -> Any:
    """The outputs: an object of tensors by their names, or the only one."""
    columns = {name: _to_json(name, value) for name, value in outputs.items()}
    return columns if len(columns) > 1 else next(iter(columns.values()))


# ---------------------------------------------------------------- values


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) and not _is_encoded(value)


def _is_encoded(value: Any) -> bool:
    """Whether a value is bytes as JSON has them."""
    return isinstance(value, dict) and list(value) == ["b64"] and isinstance(value["b64"], str)


def _list(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in sorted(names))


def _to_array(name: str, value: Any, spec: tf.TensorSpec, limits: Limits) -> np.ndarray:
    """A value, or nested lists of values, as an array of the type and shape of an input."""
    shape, inner = [], value
    while isinstance(inner, list):
        shape.append(len(inner))
        inner = inner[0] if inner else None
    if not spec.shape.is_compatible_with(shape):
        expected = str(spec.shape).replace("None", "any number")
        raise RequestError(f"'{name}': a value of shape {tuple(shape)}; expected {expected}")
    if shape:
        limits.check_rows(shape[0])
    flat = [value]
    for size in shape:
        if not all(isinstance(each, list) and len(each) == size for each in flat):
            raise RequestError(f"'{name}': lists of unequal lengths or depths")
        flat = [inner for each in flat for inner in each]
    if spec.dtype.name == "string":
        array = np.empty(len(flat), object)
        array[:] = [_to_bytes(name, each, limits) for each in flat]
    else:
        array = _to_numbers(name, flat, spec.dtype.name)
    return array.reshape(shape)


def _to_bytes(name: str, value: Any, limits: Limits) -> bytes:
    try:
        data = base64.b64decode(value["b64"], validate=True) if _is_encoded(value) else value
        data = data.encode() if isinstance(data, str) else data
    except ValueError as error:  # of Base64, or half of a surrogate pair
        raise RequestError(f"'{name}': cannot be decoded ({error})") from None
    if not isinstance(data, bytes):
        raise RequestError(f"'{name}': {_shown(value)}; expected a string")
    limits.check_string(name, len(data))
    return data


def _to_numbers(name: str, values: list, dtype: str) -> np.ndarray:
    kinds, expected = KINDS.get(dtype, ((), "a type that JSON has"))
    for value in values:
        if type(value) not in kinds:
            raise RequestError(f"'{name}': {_shown(value)}; expected {expected}")
    try:
        with np.errstate(over="raise"):
            return np.array(values, "float64" if dtype == "float32" else dtype).astype(dtype)
    except (OverflowError, FloatingPointError):
        raise RequestError(f"'{name}': a number outside of {dtype}") from None


def _shown(value: Any) -> str:
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:40] + "..."


def _to_json(name: str, value: np.ndarray) -> Any:
    nested = value.tolist()
    return _to_text(nested, name.endswith("_bytes")) if value.dtype == object else nested


def _to_text(value: Any, is_binary: bool) -> Any:
    if isinstance(value, list):
        return [_to_text(each, is_binary) for each in value]
    if is_binary:
        return {"b64": base64.b64encode(value).decode()}
    return value.decode("utf-8", "replace")
