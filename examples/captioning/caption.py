"""Captions pictures with an exported model, or with the best model of a run.

An exported model needs TensorFlow alone; neither Keras nor this library is imported for it, nor
anything of this example's that would import them.
"""

from pathlib import Path

import tensorflow as tf

from examples.captioning.images import check_picture
from examples.common.errors import UserError


def open_captioner(path: Path, beam_width: int, length_penalty: float):
    """A function from (B,) encoded pictures to the dict of `inference.captioner`."""
    if (path / "saved_model.pb").exists():
        return _exported(path)
    if (path / "config.json").exists():
        from examples.captioning import export, inference
        from examples.captioning import model as network
        from examples.captioning.run import Run

        config, model, tokenizer = inference.load(Run(path))
        caption = inference.captioner(model, tokenizer, config, beam_width, length_penalty)
        signatures = export.served(caption, network.frozen_encoder(config), config)
        return signatures["serving_default"][0]
    raise UserError(
        f"{path}: neither an exported model (no saved_model.pb) nor a run (no config.json)"
    )


def _exported(path: Path):
    try:
        loaded = tf.saved_model.load(str(path))
        signature = loaded.signatures["serving_default"]
        if "attention" not in signature.structured_outputs:
            raise ValueError("no output named 'attention'")
        signature.structured_input_signature[1]["image"]
    except Exception as error:  # whatever TensorFlow makes of a damaged file
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"{path}: not an exported captioner, or damaged ({reason})") from None

    def caption(image):
        # `loaded` owns the variables: it must live as long as the signature.
        return signature(image=image) if loaded else None

    return caption


def read(paths: list[Path]) -> list[bytes]:
    """The files, each one a picture that can be decoded."""
    pictures = []
    for path in paths:
        try:
            pictures.append(path.read_bytes())
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from None
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
