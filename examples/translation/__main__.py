"""Entry point of `python -m examples.translation`."""

from examples.translation.cli import app

app(prog_name="python -m examples.translation")
