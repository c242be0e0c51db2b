"""Captions pictures with an exported model, or with the best model of a run.

An exported model needs only TensorFlow.
"""

from pathlib import Path

import tensorflow as tf

from examples.captioning.decoding import check_picture
from examples.common.errors import user_errors
from examples.common.serving import open_model


def open_captioner(path: Path, beam_width: int, length_penalty: float):
    """A function from (B,) encoded pictures to the dict of `inference.captioner`."""

    def open_run():
        from examples.captioning import export, inference
        from examples.captioning import model as network
        from examples.captioning.run import Run

        config, model, tokenizer = inference.load(Run(path))
        caption = inference.captioner(model, tokenizer, config, beam_width, length_penalty)
        signatures = export.make_signatures(caption, network.frozen_encoder(config), config)
        return signatures["serving_default"][0]

    return open_model(path, open_run, what="captioner", takes="image", gives="attention")


def read(paths: list[Path]) -> list[bytes]:
    """The files, each one a picture that can be decoded."""
    pictures = []
    for path in paths:
        with user_errors(path, "read"):
            pictures.append(path.read_bytes())
        check_picture(pictures[-1], path)
    return pictures


def caption(captioner, pictures: list[bytes]) -> list[dict]:
    """One dict for each picture: text, score, words."""
    result = captioner(tf.constant(pictures))
    values = {name: value.numpy() for name, value in result.items()}
    return [
        {
            "text": values["text"][i].decode(),
            "score": float(values["score"][i]),
            "words": [word.decode() for word in values["words"][i] if word],
        }
        for i in range(len(pictures))
    ]
