"""A run's best model as a SavedModel: pictures in; text, words, score and attention out."""

from pathlib import Path

import keras
import tensorflow as tf

from examples.captioning import inference
from examples.captioning.config import Config
from examples.captioning.decoding import decode
from examples.captioning.run import Run
from examples.common.serving import export_model


def export(run: Run, path: Path, beam_width: int, length_penalty: float, average: str) -> None:
    """Writes the SavedModel to `path`. Only TensorFlow is needed to run it, and tensorflow-text
    where the captions are of sub-words.

    Two signatures: "serving_default" takes `image`, pictures (B,) encoded as JPEG, PNG, GIF
    or WebP, "pixels" takes `pixels`, (B, size, size, 3) from 0 to 255.
    """
    config, frozen, model, tokenizer = inference.load(run, average)
    caption = inference.captioner(model, tokenizer, config, beam_width, length_penalty)
    signatures = make_signatures(caption, frozen, config)
    export_model(
        model.network,
        path,
        signatures=signatures,
        resources=[] if isinstance(frozen, int) else [frozen],
    )


def make_signatures(caption, frozen: keras.Model | int, config: Config) -> dict:
    """The signatures of an export: from pictures to the outputs of `caption`."""
    pixels_spec = tf.TensorSpec([None, config.size, config.size, 3], tf.float32, name="pixels")

    def caption_pixels(pixels):
        # TensorFlow's convolution of an empty batch has a wrong shape on a CPU: so one is added.
        count = tf.shape(pixels)[0]
        some = tf.pad(pixels, [[0, tf.maximum(1 - count, 0)], [0, 0], [0, 0], [0, 0]])
        found = caption(some if isinstance(frozen, int) else frozen(some, training=False))
        return {name: value[:count] for name, value in found.items()}

    def caption_images(image):
        return caption_pixels(
            tf.map_fn(
                lambda data: decode(data, config.size),
                image,
                parallel_iterations=2,  # large pictures side by side need much memory
                fn_output_signature=tf.TensorSpec(pixels_spec.shape[1:], tf.float32),
            )
        )

    image_spec = tf.TensorSpec([None], tf.string, name="image")
    return {
        "serving_default": (caption_images, [image_spec]),
        "pixels": (caption_pixels, [pixels_spec]),
    }
