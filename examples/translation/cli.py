"""The command line. Each command is imported on use, and TensorFlow inside it: help is quick."""

from examples.common.commands import application

app = application(
    {
        "train": "examples.translation.train_command",
        "evaluate": "examples.translation.use_commands",
        "export": "examples.translation.use_commands",
        "translate": "examples.translation.use_commands",
    },
    """A translator with attention: train it, look at its alignments, export it, use it.

    Without options it learns the French names of emoji from their English ones, on two CPU cores
    in a few minutes: **train**, then **evaluate**, **export** and
    **translate** "a line".""",
)
