"""The command line. TensorFlow is imported inside each command: help is quick."""

from examples.common.commands import application
from examples.translation.train_command import train
from examples.translation.use_commands import evaluate, export, serve, translate

app = application(
    """A translator with attention: train it, look at its alignments, export it, use it.

    Without options it learns the French names of emoji from their English ones, on two CPU cores
    in a few minutes: **train**, then **evaluate**, **export**,
    **translate** "a line", and **serve**, for a browser.""",
    train,
    evaluate,
    export,
    translate,
    serve,
)
