"""Maps for each word of a caption: attention, and what the word's probability depends on.

Attention is part of the model; saliency and Grad-CAM are computed from its gradients. They answer
different questions and may disagree.
"""

from pathlib import Path
from typing import final

import keras
import matplotlib

matplotlib.use("Agg")  # before pyplot: pictures go to files, without a display

import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
from rich.progress import track
from tf_keras_vis.gradcam import Gradcam
from tf_keras_vis.saliency import Saliency

from examples.captioning import inference
from examples.captioning.decoding import decode
from examples.captioning.run import Run
from examples.common.errors import UserError
from examples.common.files import write_with
from examples.common.fonts import any_script
from examples.common.special import START

ROWS = ("attention", "saliency", "Grad-CAM")
AT_ONCE = 4  # words; each takes 130 MB with EfficientNet


def explain(run: Run, picture: bytes, path: Path) -> list[str]:
    """Draws `path`: the picture, and for each word of its caption three maps; returns the words."""
    pixels, words, maps = compute_maps(run, picture)
    with any_script("".join(words), path):
        write_with(path, lambda beside: _draw(pixels, words, maps, beside))
    return words


def compute_maps(
    run: Run, picture: bytes
) -> tuple[np.ndarray, list[str], dict[str, list[np.ndarray]]]:
    """The pixels, the words of the caption, and under each name of ROWS a map for each word."""
    if run.config().attention == "none":
        raise UserError(f"{run.folder}: a model without attention has no map to draw")
    config, frozen, model, tokenizer = inference.load(run)
    pixels = decode(tf.constant(picture), config.size)[None].numpy()
    found = inference.captioner(model, tokenizer, config)(
        tf.constant(pixels) if isinstance(frozen, int) else frozen(pixels)
    )
    words = [word.decode() for word in found["words"].numpy()[0] if word]
    if not words:
        raise UserError("the model has no words for this picture")
    ids = tokenizer.ids(words)
    whole = _build_model(model.network, frozen, config.size)
    gradcam = Gradcam(whole)
    maps: dict[str, list[np.ndarray]] = {name: [] for name in ROWS}
    maps["saliency"] = list(_saliency(whole, pixels, ids))
    for step, word in track(list(enumerate(ids)), "explaining words"):

        def score(logits, step=step, word=word):
            return logits[:, step, word]

        maps["attention"].append(found["attention"][0, step].numpy())
        # Without `expand_cam` it stays a map: to be as large as each input would be an error.
        cam = gradcam(score, pixels, "map", seek_penultimate_conv_layer=False, expand_cam=False)
        maps["Grad-CAM"].append(cam[0])
    return pixels[0], words, maps


def saliency_of(loaded: inference.Loaded):
    """A function of an encoded picture and its words (T): how each depends on pixels, (T, H, W)."""
    config, frozen, model, tokenizer = loaded
    whole = _build_model(model.network, frozen, config.size)

    def compute(picture: bytes, words: list[str]) -> np.ndarray:
        pixels = decode(tf.constant(picture), config.size)[None].numpy()
        return _saliency(whole, pixels, tokenizer.ids(words))

    return compute


def _saliency(whole: keras.Model, pixels: np.ndarray, ids: list[int]) -> np.ndarray:
    """For several words at once, with a copy of the picture for each."""
    whole.layers[-1].force(ids)
    saliency = Saliency(whole)
    steps = np.arange(len(ids))
    maps = []
    for part in np.split(steps, steps[AT_ONCE::AT_ONCE]):
        scored = np.stack([np.arange(len(part)), part, np.take(ids, part)], axis=1)
        copies = np.repeat(pixels, len(part), axis=0)
        maps.append(saliency(lambda logits, scored=scored: tf.gather_nd(logits, scored), copies))
    return np.concatenate(maps)


def _build_model(network, frozen, size: int) -> keras.Model:
    """From pixels to the logits of each step; a layer is named "map", the last one is forced."""
    pixels = keras.Input((size, size, 3))
    features = pixels if isinstance(frozen, int) else frozen(pixels)
    map_ = keras.layers.Identity(name="map")(network.encoder(features))
    # In a list, as tf-keras-vis calls it.
    return keras.Model([pixels], _TeacherForcing(network)(map_))


@final
class _TeacherForcing(keras.layers.Layer):
    """The logits (B, T, V) of the words that are forced, of a map (B, H, W, C)."""

    def __init__(self, network):
        super().__init__()
        self.network = network
        # Not in the graph, which then serves any words of any picture.
        self.ids = tf.Variable([START], shape=[None], trainable=False)

    def force(self, ids: list[int]) -> None:
        self.ids.assign([START, *ids[:-1]])

    def build(self, map_shape):
        # tf-keras-vis calls eagerly, many times: one graph for any number of copies.
        copies = tf.TensorSpec((None, *map_shape[1:]))
        self.graph = tf.function(self._compute_logits, [copies], autograph=False)

    def call(self, map_):
        return self.graph(map_)

    def _compute_logits(self, map_):
        network = self.network
        ids = tf.tile(self.ids[None], [tf.shape(map_)[0], 1])
        words = network.target_embedding(ids)
        return network.head(network.decoder(words, map_, initial_state=network.bridge(map_)))

    def compute_output_shape(self, map_shape):
        return self.network.head.compute_output_shape((map_shape[0], None, None))


def _draw(pixels: np.ndarray, words: list[str], maps: dict, path: Path) -> None:
    """A row for each kind of map, the picture itself before it."""
    height, width = pixels.shape[:2]
    whole = {"extent": (0, width, height, 0)}
    figure, axes = plt.subplots(
        len(ROWS), len(words) + 1, figsize=(1.5 * len(words) + 1.5, 5), layout="constrained"
    )
    for ax, word in zip(axes[0, 1:], words, strict=True):
        ax.set_title(word, parse_math=False)
    for row, name in zip(axes, ROWS, strict=True):
        row[0].set_ylabel(name)
        for ax in row:
            ax.imshow(pixels / 255, **whole)
            ax.set(xticks=[], yticks=[])
        for ax, map_ in zip(row[1:], maps[name], strict=True):
            ax.imshow(map_, cmap="magma", alpha=0.6, **whole)
    figure.savefig(path, dpi=100)
    plt.close(figure)
