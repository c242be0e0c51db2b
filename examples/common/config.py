"""The choices of a run: a dataclass whose fields are options of `train`, kept as JSON."""

import abc
import dataclasses
import json
import math
import os
from typing import ClassVar, Literal, Self, get_args, get_origin

from examples.common.errors import UserError
from examples.common.options import option

MODEL, TRAINING = "Model", "Training"
WIDTHS = 1, 2**14


@dataclasses.dataclass(frozen=True)
class Config(abc.ABC):
    """Abstract: everything that decides how a run turns out.

    Attributes:
        data: A name for the data.
        fingerprint: A digest of all data and their splits.
    """

    # Runs that differ only in these are the same run: the fingerprint identifies the data, and how
    # long a run goes on and what it keeps may change.
    not_compared: ClassVar[tuple[str, ...]] = ("data", "epochs", "save_every", "patience", "keep")

    # Fields that are paths.
    paths: ClassVar[tuple[str, ...]]

    data: str = ""
    fingerprint: str = ""
    save_every: int = option(500, TRAINING, "Steps from one checkpoint to the next.")
    patience: int = option(
        0, TRAINING, "Stop after this many epochs without a better score; 0: never.", (0, 10**6)
    )
    keep: int = option(
        3,
        TRAINING,
        "For how many epochs to keep the weights, for averages: the last and the best ones.",
    )
    seed: int = option(
        1, TRAINING, "Seed of the weights, the dropout and the order of the data.", (1, 2**32 - 1)
    )
    jit: bool = option(False, TRAINING, "Compile the training step with XLA.")

    def defaults(self) -> dict:
        """The values of fields that are None."""
        return {}

    @abc.abstractmethod
    def check(self) -> None:
        """Calls `require` for what is not checked for the runs of both examples."""

    def __post_init__(self):
        for name, default in self.defaults().items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, default)
        for field in dataclasses.fields(self):
            value, choices = getattr(self, field.name), get_args(field.type)
            if get_origin(field.type) is Literal:
                self.require(field.name, value in choices, " or ".join(choices))
            if field.type is int:
                low, high = field.metadata["bounds"]
                expected = f"an integer from {low} to {high}"
                self.require(field.name, low <= value <= high, expected)
        self.require("dropout", 0 <= self.dropout < 1, "a number from 0 up to 1")
        self.require("learning_rate", 0 < self.learning_rate < math.inf, "a number above 0")
        self.check()

    def require(self, name: str, valid: bool, expected: str) -> None:
        if not valid:
            option = "--" + name.replace("_", "-")
            raise UserError(f"{option} {getattr(self, name)}: expected {expected}")

    def absolute(self) -> Self:
        """With absolute paths: what a run writes is of use from everywhere."""

        def absolute(path):
            if isinstance(path, list):
                return [absolute(each) for each in path]
            return path and os.path.abspath(path)

        changed = {name: absolute(getattr(self, name)) for name in self.paths}
        return dataclasses.replace(self, **changed)

    def differences(self, other: Self) -> list[str]:
        """The fields in which two runs differ, as `name: mine, not other's`."""
        mine, others = dataclasses.asdict(self), dataclasses.asdict(other)
        return [
            f"{name}: {mine[name]}, not {others[name]}"
            for name in mine
            if name not in self.not_compared and mine[name] != others[name]
        ]

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Raises ValueError, TypeError or UserError if `text` is no config of this program."""
        return cls(**json.loads(text))
