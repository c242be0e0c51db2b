"""What the command lines share: options, errors in one line, and a quiet TensorFlow."""

import os
import sys
from typing import Annotated

import typer
from typer.core import TyperGroup

from examples.common.errors import UserError

# TensorFlow tells about its build at every start otherwise.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


BeamWidth = Annotated[int, typer.Option(min=1, help="Beams of the search; 1 searches greedily.")]
LengthPenalty = Annotated[
    float, typer.Option(min=0, help="GNMT's length penalty; 0 compares plain log-probabilities.")
]


def option(panel: str, text: str, **more):
    """An option under the heading `panel` of the help."""
    return typer.Option(help=text, rich_help_panel=panel, **more)


class OneLineErrors(TyperGroup):
    """Tells a UserError in one line on stderr, and leaves with exit code 2."""

    def invoke(self, ctx):
        try:
            return super().invoke(ctx)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            raise typer.Exit(2) from None


class quiet_import:
    """Holds back what TensorFlow's libraries print to stderr while they load."""

    def __enter__(self):
        sys.stderr.flush()
        self.stderr, self.null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
        os.dup2(self.null, 2)

    def __exit__(self, *_):
        os.dup2(self.stderr, 2)
        os.close(self.stderr)
        os.close(self.null)
