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

    beam_width: int = option(5, PANEL, "Number of beams; 1 searches greedily.", min=1)
    length_penalty: float = option(
        0.0, PANEL, "GNMT's length penalty; 0 compares plain log-probabilities.", min=0
    )
    coverage_penalty: float = option(
        0.0, PANEL, "GNMT's coverage penalty; a larger one favors reading all of the source.", min=0
    )
    min_length: int = option(0, PANEL, "Smallest number of tokens in a translation.", min=0)
    no_repeat_ngram: int = option(
        0, PANEL, "No sequence of this many tokens occurs twice; 0: no limit.", min=0
    )
    prefix: str = option("", PANEL, "Text with which every translation begins.")
    sample: bool = option(
        False, PANEL, "Sample as many translations as there are beams, instead of a search."
    )
    temperature: float = option(
        1.0,
        PANEL,
        "Temperature of --sample: below 1, likely tokens become likelier, above 1 less likely.",
        min=1e-6,
    )
    seed: int = option(1, PANEL, "Seed of --sample.", min=0)

    def __post_init__(self):
        for name in ("length_penalty", "coverage_penalty", "temperature"):
            if not math.isfinite(getattr(self, name)):
                option_name = name.replace("_", "-")
                raise UserError(f"--{option_name}: {getattr(self, name)}; expected a finite number")


GREEDY = Search(beam_width=1)
