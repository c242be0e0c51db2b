"""The command line. Each command is imported on use, and TensorFlow inside it: help is quick."""

from examples.common.commands import application

USE = "examples.captioning.use_commands"

app = application(
    {
        "train": "examples.captioning.train_command",
        "evaluate": USE,
        "explain": USE,
        "export": USE,
        "caption": USE,
    },
    """A captioner with attention: train it, see where it looks, export it, use it.

    Without options it learns to describe scenes drawn from OpenMoji artwork, on two CPU cores in a
    few minutes: **train**, then **evaluate**, **explain**, **export** and **caption** a picture.
    A study holds a run for each kind of attention.""",
)
