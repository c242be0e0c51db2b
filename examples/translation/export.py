"""The run's best model as a SavedModel: text in; text, tokens, score and attention out."""

from pathlib import Path

import keras

from examples.common.errors import UserError
from examples.common.serving import export_model
from examples.translation import inference
from examples.translation.run import Run


def export(run: Run, path: Path, beam_width: int, length_penalty: float, average: str) -> None:
    """Writes the SavedModel to `path`. Tokenizers and beam search are inside; only TensorFlow and
    tensorflow-text are needed to run it."""
    if (backend := keras.backend.backend()) != "tensorflow":
        raise UserError(
            f"KERAS_BACKEND is {backend}: expected tensorflow, which reads its runs too"
        )
    config, model, source, target = inference.load(run, average)
    translate = inference.translator(
        model, source, target, config.max_length, beam_width, length_penalty
    )
    export_model(
        model,
        path,
        signatures={"serving_default": (translate, [inference.TEXT])},
    )
