"""Translates lines with an exported model, or with the best model of a run.

An exported model needs only TensorFlow and tensorflow-text.
"""

import re
from pathlib import Path

import tensorflow as tf
import tensorflow_text  # noqa: F401  registers the operations of the tokenizers

from examples.common.errors import UserError
from examples.common.serving import open_model


def open_translator(path: Path, beam_width: int, length_penalty: float):
    """A function from (B,) texts to the dict of `inference.translator`."""

    def open_run():
        from examples.translation import inference
        from examples.translation.run import Run

        config, *parts = inference.load(Run(path))
        return inference.translator(*parts, config.max_length, beam_width, length_penalty)

    return open_model(path, open_run, what="translator", takes="text", gives="text")


def translate(translator, texts: list[str], batch_size: int = 64) -> list[dict]:
    """One dict for each text: text, score, tokens and source_tokens."""
    rows = []
    for start in range(0, len(texts), batch_size):
        part = [_utf8(text) for text in texts[start : start + batch_size]]
        try:
            result = translator(tf.constant(part))
        except tf.errors.InvalidArgumentError as error:
            match = re.search(r"text (\d+) has (\d+) tokens, the limit is (\d+)", str(error))
            if not match:
                raise
            number, size, limit = (int(group) for group in match.groups())
            raise UserError(
                f"text {start + number} has {size} tokens, the limit is {limit}"
            ) from None
        values = {name: value.numpy() for name, value in result.items()}
        rows += [
            {
                "text": values["text"][i].decode(),
                "score": float(values["score"][i]),
                "tokens": [token.decode() for token in values["tokens"][i] if token],
                "source_tokens": [token.decode() for token in values["source_tokens"][i] if token],
            }
            for i in range(len(part))
        ]
    return rows


def _utf8(text: str) -> bytes:
    # An argument of the command line that is not UTF-8 arrives with surrogates.
    return text.encode("utf-8", "surrogateescape")
