"""A run's best model as a SavedModel: pictures in; text, words, score and attention out."""

from pathlib import Path

import keras
import tensorflow as tf

from examples.captioning import inference
from examples.captioning import model as network
from examples.captioning.config import Config
from examples.captioning.images import decode
from examples.captioning.run import Run
from examples.common.serving import export_model


def export(run: Run, path: Path, beam_width: int, length_penalty: float) -> None:
    """Writes the SavedModel to `path`. Only TensorFlow is needed to run it.

    Two signatures: "serving_default" takes `image`, encoded JPEG or PNG pictures (B,), "pixels"
    takes `pixels`, (B, size, size, 3) from 0 to 255.
    """
    config, model, tokenizer = inference.load(run)
    caption = inference.captioner(model, tokenizer, config, beam_width, length_penalty)
    frozen = network.frozen_encoder(config)
    signatures = served(caption, frozen, config)
    export_model(
        model.network,
        path,
        signatures=signatures,
        resources=[] if isinstance(frozen, int) else [frozen],
    )


def served(caption, frozen: keras.Model | int, config: Config) -> dict:
    """The signatures: from pictures to what `caption` gives."""
    pixels_spec = tf.TensorSpec([None, config.size, config.size, 3], tf.float32, name="pixels")

    def of_pixels(pixels):
        # On a CPU, TensorFlow's convolution of no picture has a wrong shape: there is always one.
        count = tf.shape(pixels)[0]
        some = tf.pad(pixels, [[0, tf.maximum(1 - count, 0)], [0, 0], [0, 0], [0, 0]])
        found = caption(some if isinstance(frozen, int) else frozen(some, training=False))
        return {name: value[:count] for name, value in found.items()}

    def of_image(image):
        return of_pixels(
            tf.map_fn(
                lambda data: decode(data, config.size),
                image,
                fn_output_signature=tf.TensorSpec(pixels_spec.shape[1:], tf.float32),
            )
        )

    image_spec = tf.TensorSpec([None], tf.string, name="image")
    return {"serving_default": (of_image, [image_spec]), "pixels": (of_pixels, [pixels_spec])}
