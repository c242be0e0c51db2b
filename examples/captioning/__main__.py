"""Entry point of `python -m examples.captioning`."""

from examples.captioning.cli import app

app(prog_name="python -m examples.captioning")
