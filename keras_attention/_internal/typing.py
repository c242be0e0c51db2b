"""Aliases for annotations: Keras is untyped for mypy, so tensors are `Any`."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

Tensor: TypeAlias = Any
Shape: TypeAlias = Sequence[Any]  # of int | None; `_internal.validation` checks which are known
Initializer: TypeAlias = str | dict[str, Any] | Callable[..., Any]
Config: TypeAlias = dict[str, Any]
