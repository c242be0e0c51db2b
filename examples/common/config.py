"""The choices of a run, as a dataclass that is kept as JSON."""

import dataclasses
import json
from typing import ClassVar, Self

from examples.common.errors import UserError


@dataclasses.dataclass(frozen=True)
class Config:
    """Abstract: what decides how a run turns out.

    Attributes:
        data: What the data are called.
        fingerprint: A digest of all data and their splits.
    """

    # Runs that differ in these alone are the same run: the fingerprint tells the data.
    not_compared: ClassVar[tuple[str, ...]] = ("data",)

    data: str
    fingerprint: str

    def require(self, name: str, fine: bool, accepted: str):
        if not fine:
            option = "--" + name.replace("_", "-")
            raise UserError(f"{option} {getattr(self, name)}: accepted is {accepted}")

    def differences(self, other: Self) -> list[str]:
        """The fields in which two runs differ, told as `name: mine, not other's`."""
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
        """Raises ValueError or TypeError where `text` is no config of this program."""
        return cls(**json.loads(text))
