"""Opening a model to use it: an exported one, or the best one of a run.

An exported model needs neither Keras nor this library, and neither is imported for it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import typer

from examples.common.errors import UserError

BeamWidth = Annotated[int, typer.Option(min=1, help="Number of beams; 1 searches greedily.")]
LengthPenalty = Annotated[
    float, typer.Option(min=0, help="GNMT's length penalty; 0 compares plain log-probabilities.")
]
Average = Annotated[
    Literal["best", "last", "none"],
    typer.Option(help="Use the mean of the best or last epochs' weights; none: the best epoch's."),
]


def open_model(path: Path, open_run: Callable, what: str, takes: str, gives: str) -> Callable:
    """A function from a batch to a dict: an exported model's, or what `open_run` returns.

    Args:
        path: The folder of an exported model, or of a run.
        open_run: Called without arguments if it is that of a run.
        what: A name for such a model, for errors.
        takes: The input of its signature "serving_default".
        gives: An output by which such a model is known.
    """
    if (path / "saved_model.pb").exists():
        return _open_exported(path, what, takes, gives)
    if (path / "config.json").exists():
        return open_run()
    raise UserError(
        f"{path}: neither an exported model (no saved_model.pb) nor a run (no config.json)"
    )


def _open_exported(path: Path, what: str, takes: str, gives: str) -> Callable:
    loaded = load_exported(path, what, takes, gives)
    signature = loaded.signatures["serving_default"]

    def call(batch):
        # The signature does not keep the variables alive, `loaded` does.
        return signature(**{takes: batch}) if loaded else None

    return call


def load_exported(path: Path, what: str, takes: str, gives: str):
    """What `tf.saved_model.load` gives for an exported model; the arguments as of `open_model`."""
    import tensorflow as tf

    try:
        loaded = tf.saved_model.load(str(path))
        signature = loaded.signatures["serving_default"]
        if gives not in signature.structured_outputs:
            raise ValueError(f"no output named '{gives}'")
        if takes not in signature.structured_input_signature[1]:
            raise ValueError(f"no input named '{takes}'")
    except Exception as error:  # TensorFlow raises many kinds for a damaged file
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"{path}: not an exported {what}, or damaged ({reason})") from None
    return loaded


def export_model(model, path: Path, **options) -> None:
    """`ka.export.saved_model`, with an error in one line if nothing can be written to `path`."""
    import keras_attention as ka

    try:
        ka.export.saved_model(model, path, **options)
    except (ValueError, OSError) as error:
        raise UserError(f"{path}: cannot be exported to ({str(error).splitlines()[0]})") from None
