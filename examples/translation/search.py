"""How translations are searched."""

import dataclasses
import math
from typing import final

from examples.common.errors import UserError
from examples.common.options import option

PANEL = "Search"


@final
@dataclasses.dataclass(frozen=True)
class Search:
    """The settings of a search, each an option."""

    beam_width: int = option(5, PANEL, "Beams of the search; 1 searches greedily.", min=1)
    length_penalty: float = option(
        0.0, PANEL, "GNMT's length penalty; 0 compares plain log-probabilities.", min=0
    )
    coverage_penalty: float = option(
        0.0, PANEL, "GNMT's coverage penalty; larger favors reading all of the source.", min=0
    )
    min_length: int = option(0, PANEL, "The least number of tokens.", min=0)
    no_repeat_ngram: int = option(0, PANEL, "No sequence of so many tokens comes twice.", min=0)
    prefix: str = option("", PANEL, "What every translation begins with.")
    sample: bool = option(False, PANEL, "Draw as many translations as beams, by chance.")
    temperature: float = option(
        1.0, PANEL, "Of --sample: below 1 is more sure, above 1 more daring.", min=1e-6
    )
    seed: int = option(1, PANEL, "Of --sample.", min=0)

    def __post_init__(self):
        for name in ("length_penalty", "coverage_penalty", "temperature"):
            if not math.isfinite(getattr(self, name)):
                option_name = name.replace("_", "-")
                raise UserError(f"--{option_name}: {getattr(self, name)}; expected a finite number")


GREEDY = Search(beam_width=1)
