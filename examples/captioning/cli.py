"""The command line. TensorFlow is imported inside each command: help is quick."""

from examples.captioning.train_command import train
from examples.captioning.use_commands import caption, evaluate, explain, export, serve
from examples.common.commands import application

app = application(
    """A captioner with attention: train it, see where it looks, export it, use it.

    Without options it learns to describe scenes drawn from OpenMoji artwork, on two CPU cores in a
    few minutes: **train**, then **evaluate**, **explain**, **export**, **caption** a picture,
    and **serve**, for a browser. A study holds a run for each kind of attention.""",
    train,
    evaluate,
    explain,
    export,
    caption,
    serve,
)
