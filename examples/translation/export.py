"""The run's best model as a SavedModel: text in; text, tokens, score and attention out."""

from pathlib import Path

import keras

from examples.common.errors import UserError
from examples.common.serving import export_model
from examples.translation import inference
from examples.translation.run import Run
from examples.translation.search import Search


def export(runs: list[Run], path: Path, search: Search, average: str) -> None:
    """Writes the SavedModel to `path`. Tokenizers and search are inside; only TensorFlow and
    tensorflow-text are needed to run it. Of several runs it is the ensemble."""
    if (backend := keras.backend.backend()) != "tensorflow":
        raise UserError(
            f"KERAS_BACKEND is {backend}: expected tensorflow, which reads its runs too"
        )
    config, model, *tokenizers = inference.load_ensemble(runs, average)
    translate = inference.translator(model, *tokenizers, config.max_length, search)
    export_model(
        model,
        path,
        signatures={"serving_default": (translate, [inference.TEXT])},
    )
