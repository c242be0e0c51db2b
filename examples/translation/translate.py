"""Translates lines with an exported model, or with the best model of a run.

An exported model needs TensorFlow and tensorflow-text; neither Keras nor this library is imported
for it, nor anything of this example's that would import them.
"""

import re
from pathlib import Path

import tensorflow as tf
import tensorflow_text  # noqa: F401  registers the operations of the tokenizers

from examples.common.errors import UserError


def open_translator(path: Path, beam_width: int, length_penalty: float):
    """A function from (B,) texts to the dict of `inference.translator`."""
    if (path / "saved_model.pb").exists():
        return _exported(path)
    if (path / "config.json").exists():
        from examples.translation import inference
        from examples.translation.run import Run

        config, model, source, target = inference.load(Run(path))
        return inference.translator(
            model, source, target, config.max_length, beam_width, length_penalty
        )
    raise UserError(
        f"{path}: neither an exported model (no saved_model.pb) nor a run (no config.json)"
    )


def _exported(path: Path):
    try:
        loaded = tf.saved_model.load(str(path))
        signature = loaded.signatures["serving_default"]
        if "text" not in signature.structured_outputs:
            raise ValueError("no output named 'text'")
    except Exception as error:  # whatever TensorFlow makes of a damaged file
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"{path}: not an exported translator, or damaged ({reason})") from None

    def translate(text):
        # `loaded` owns the variables: it must live as long as the signature.
        return signature(text=text) if loaded else None

    return translate


def translate(translator, texts: list[str], batch_size: int = 64) -> list[dict]:
    """One dict for each text: text, score, tokens and source_tokens."""
    rows = []
    for start in range(0, len(texts), batch_size):
        part = [_utf8(text) for text in texts[start : start + batch_size]]
        try:
            result = translator(tf.constant(part))
        except tf.errors.InvalidArgumentError as error:
            told = re.search(r"text (\d+) has (\d+) tokens, the limit is (\d+)", str(error))
            if not told:
                raise
            number, size, limit = (int(group) for group in told.groups())
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
