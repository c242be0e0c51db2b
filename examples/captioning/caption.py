"""Captions pictures with an exported model, or with the best model of a run.

An exported model needs only TensorFlow, and with sub-words tensorflow-text.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf
import tensorflow_text  # noqa: F401  registers the operations of sub-words

from examples.captioning.decoding import check_head, not_decoded
from examples.captioning.images import SUFFIXES
from examples.common.commands import quiet_import
from examples.common.errors import UserError, user_errors
from examples.common.serving import open_model

# Pictures that are in memory at a time: so many, or where they are large, so many bytes.
BATCH, BYTES = 4, 32 * 2**20


def open_captioner(path: Path, beam_width: int, length_penalty: float):
    """A function from (B,) encoded pictures to the dict of `inference.captioner`."""

    def open_run():
        from examples.captioning import export, inference
        from examples.captioning.run import Run

        config, frozen, model, tokenizer = inference.load(Run(path))
        caption = inference.captioner(model, tokenizer, config, beam_width, length_penalty)
        signatures = export.make_signatures(caption, frozen, config)
        function, specification = signatures["serving_default"]
        return tf.function(function, specification, autograph=False)

    return open_model(path, open_run, what="captioner", takes="image", gives="attention")


def find(paths: list[Path]) -> tuple[list[Path], list[str]]:
    """The files, in place of a folder the pictures in it and its subfolders; notes on omissions."""
    files, notes = [], []
    for path in paths:
        if not path.is_dir():
            files.append(path)
            continue
        inside = sorted(file for file in path.rglob("*") if file.is_file())
        pictures = [file for file in inside if file.suffix.lower() in SUFFIXES]
        files += pictures
        expected = f"no name in {', '.join(SUFFIXES)}"
        if not pictures:
            raise UserError(f"{path}: holds no picture ({expected})")
        if others := len(inside) - len(pictures):
            notes.append(f"{path}: {others} files left out ({expected})")
    return files, notes


def caption_files(captioner, paths: list[Path]) -> Iterator[tuple[Path, dict | UserError]]:
    """Each file with its text, score and words, or with what is wrong with it, batch by batch."""
    for batch in _batches(paths):
        found: dict[Path, dict | UserError] = {}
        pictures = {}
        with quiet_import():  # the JPEG library prints, too
            for path in batch:
                try:
                    pictures[path] = read(path)
                except UserError as error:
                    found[path] = error
            found |= _caption(captioner, pictures)
        yield from ((path, found[path]) for path in batch)


def _batches(paths: list[Path]) -> Iterator[list[Path]]:
    batch, size = [], 0
    for path in paths:
        batch.append(path)
        size += os.path.getsize(path) if os.path.exists(path) else 0
        if len(batch) == BATCH or size > BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def read(path: Path) -> bytes:
    """A file whose first bytes are those of a picture that can be decoded."""
    with user_errors(path, "read"):
        data = path.read_bytes()
    check_head(data, path)
    return data


def _caption(captioner, pictures: dict[Path, bytes]) -> dict[Path, dict | UserError]:
    """Captions of a batch. Where that fails, its halves are tried: a bad picture fails alone."""
    if not pictures:
        return {}
    try:
        result = captioner(tf.constant(list(pictures.values())))
    except tf.errors.OpError as error:
        items, half = list(pictures.items()), len(pictures) // 2
        if not half:
            return {path: not_decoded(path, error) for path in pictures}
        return _caption(captioner, dict(items[:half])) | _caption(captioner, dict(items[half:]))
    texts, scores, rows = (result[name].numpy() for name in ("text", "score", "words"))
    return {
        path: {
            "text": text.decode(),
            "score": float(score),
            "words": [word.decode() for word in words if word],
        }
        for path, text, score, words in zip(pictures, texts, scores, rows, strict=True)
    }
