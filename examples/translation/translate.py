"""Translates lines with an exported model, or with the best model of a run.

An exported model needs only TensorFlow and tensorflow-text.
"""

import codecs
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import tensorflow as tf
import tensorflow_text  # noqa: F401  registers the operations of the tokenizers

from examples.common.errors import UserError
from examples.common.serving import open_model
from examples.translation.search import Search


def open_translator(paths: list[Path], search: Search):
    """A function from (B,) texts to the dict of `inference.translator`.

    Args:
        paths: An exported model; or a run, or the runs of an ensemble.
        search: The settings, for runs.
    """

    def open_runs():
        from examples.translation import inference
        from examples.translation.run import Run

        config, *parts = inference.load_ensemble([Run(path) for path in paths])
        return inference.translator(*parts, config.max_length, search)

    for path in paths if len(paths) > 1 else ():
        if (path / "saved_model.pb").exists():
            raise UserError(f"{path}: an exported model; expected a run folder for an ensemble")
    return open_model(paths[0], open_runs, what="translator", takes="text", gives="source_length")


def read_batches(stream: BinaryIO, size: int = 64) -> Iterator[list[bytes]]:
    """The lines of a stream, up to `size` at a time, or fewer where no more are there as yet.

    Only a newline ends a line, so that there is one result for each.
    """
    rest = b""
    while block := stream.read1(1 << 20):  # waits for the first byte, and for no other
        *lines, rest = (rest + block).split(b"\n")
        for start in range(0, len(lines), size):
            yield lines[start : start + size]
    if rest:
        yield [rest]


def translate(
    translator, batches: Iterable[list[bytes]], long: str = "cut", n_best: int | None = None
) -> Iterator[dict]:
    """For each line a dict: text, score, tokens, source_tokens, and n_best if that is asked for.

    A line of more tokens than the model reads is cut, skipped, which leaves its text empty, or an
    error, as `long` says. A note on stderr names what is cut or skipped.
    """
    number = 0
    for lines in batches:
        lines = [line.removeprefix(codecs.BOM_UTF8) for line in lines]
        values = {name: value.numpy() for name, value in translator(tf.constant(lines)).items()}
        held = values["n_best_text"].shape[1]
        if n_best and n_best > held:
            raise UserError(f"--n-best {n_best}: expected at most {held}, the beams of the search")
        for i, size in enumerate(values["source_length"]):
            number += 1
            source_tokens = _strings(filter(None, values["source_tokens"][i]))
            is_long = size > len(source_tokens)
            if is_long:
                told = f"line {number} has {size} tokens, the limit is {len(source_tokens)}"
                if long == "error":
                    raise UserError(told)
                print(f"{told}: {'cut' if long == 'cut' else 'left empty'}", file=sys.stderr)
            found = _strings(values["n_best_text"][i])
            best = [
                {"text": text, "score": float(score)}
                for text, score in zip(found, values["n_best_score"][i], strict=True)
            ]
            tokens = _strings(filter(None, values["tokens"][i]))
            if is_long and long == "skip":
                best, tokens, source_tokens = [{"text": "", "score": 0.0}], [], []
            row = {**best[0], "tokens": tokens, "source_tokens": source_tokens}
            # An empty line has one translation.
            yield {**row, "n_best": best[: n_best if source_tokens else 1]} if n_best else row


def _strings(values: Iterable[bytes]) -> list[str]:
    # From pieces of one byte each anything can be made, a newline too.
    return [value.decode("utf-8", "replace").replace("\n", " ") for value in values]
