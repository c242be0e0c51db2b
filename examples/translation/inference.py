"""Text in, text out: tokenizers, network and search as one function of the graph."""

from typing import final

import keras
import numpy as np
import tensorflow as tf

import keras_attention as ka
from examples.common import devices
from examples.common.run import damaged
from examples.common.special import END, START
from examples.common.tokenizer import Tokenizer
from examples.translation import model as network
from examples.translation.config import Config
from examples.translation.data import Pair
from examples.translation.run import Run

TEXT = tf.TensorSpec([None], tf.string, name="text")


@final
class BeamSearch(keras.Model):
    """The search of a translator, (B, S) ids in, which `predict_on_batch` compiles on any backend.

    Args:
        model: Its network.
        options: Those of `ka.search.beam`, from `max_length` on.
    """

    def __init__(self, model: network.Model, *options):
        super().__init__()
        self.model, self.options, self.built = model, options, True

    def call(self, ids):
        result = ka.search.beam(self.model.step, self.model.begin(ids), START, END, *self.options)
        scores, attention = (
            keras.ops.cast(each, "float32") for each in (result.scores, result.attention[:, 0])
        )
        return {"tokens": result.tokens, "scores": scores, "attention": attention}

    def on_any_backend(self, ids: tf.Tensor) -> dict:
        """The same eagerly. Few shapes are compiled: others are filled up to one of them."""
        rows, width = ids.shape
        more_rows, more = (1 << (rows - 1).bit_length()) - rows, -width % 16
        found = self.predict_on_batch(np.pad(ids, [[0, more_rows], [0, more]]))
        found["attention"] = found["attention"][:, :, :width]
        return {name: tf.constant(value[:rows]) for name, value in found.items()}


def translator(
    model: network.Model,
    source: Tokenizer,
    target: Tokenizer,
    max_length: int,
    beam_width: int = 1,
    length_penalty: float = 0.0,
):
    """A function of (B,) texts; beam width 1 is the greedy search.

    It returns a dict: text (B,), tokens (B, T) and source_tokens (B, S) as strings, "" behind the
    last one, score (B,), the log-probability with its penalty, attention (B, T, S), or (B, T, 1)
    over the one position of a model without it, and all that the search found, the best first:
    n_best_text and n_best_score (B, K).
    An empty text gives an empty text with score 0. Of a text of more than `max_length` tokens the
    rest is not read: source_length (B,) tells how many it has, source_tokens which were read.
    On TensorFlow all of it is one graph; on other backends the search between the tokenizers is.
    """
    beam_width = min(beam_width, target.size)
    search = BeamSearch(model, max_length + 1, beam_width, length_penalty)

    def encode(text):
        # Recurrent layers need a batch of at least one: without any text an empty one is searched.
        text = tf.pad(text, [[0, tf.cast(tf.size(text) == 0, tf.int32)]])
        pieces = source.encode(source.normalize(text))  # (B, None)
        read = pieces[:, :max_length]
        ids = tf.concat([read, tf.fill((tf.size(text), 1), END)], axis=1).to_tensor()  # (B, S)
        return ids, pieces.row_lengths()

    def decode(ids, sizes, found):
        filled = sizes > 0
        tokens = tf.where(filled[:, None, None], found["tokens"], END)  # (B, K, T)
        texts = target.decode(tf.reshape(tokens, (-1, max_length + 1)))
        texts = tf.reshape(texts, (-1, beam_width))
        scores = tf.where(filled[:, None], found["scores"], 0.0)
        return {
            "text": texts[:, 0],
            "tokens": target.pieces(tokens[:, 0]),
            "source_tokens": source.pieces(ids),
            "source_length": sizes,
            "score": scores[:, 0],
            "n_best_text": texts,
            "n_best_score": scores,
            "attention": tf.where(filled[:, None, None], found["attention"], 0.0),
        }

    def translate(text):
        ids, sizes = encode(text)
        in_graph = keras.backend.backend() == "tensorflow"
        found = search(ids) if in_graph else search.on_any_backend(ids)
        outputs = decode(ids, sizes, found)
        return {name: output[: tf.size(text)] for name, output in outputs.items()}

    if keras.backend.backend() == "tensorflow":
        return tf.function(translate, input_signature=[TEXT], autograph=False)
    encode, decode = (
        tf.function(f, autograph=False, reduce_retracing=True) for f in (encode, decode)
    )
    return translate


def translate_all(translate, texts: list[str], batch_size: int = 128) -> list[str]:
    """The translations of many sentences, searched in batches of similar length."""
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    found = [""] * len(texts)
    for start in range(0, len(order), batch_size):
        part = order[start : start + batch_size]
        result = translate(tf.constant([texts[i] for i in part]))
        for i, text in zip(part, result["text"].numpy(), strict=True):
            found[i] = text.decode()
    return found


def references(target: Tokenizer, pairs: list[Pair]) -> list[str]:
    """The target sentences, normalized like those that the translator writes."""
    texts = target.normalize(tf.constant([pair.target for pair in pairs]))
    return [text.decode() for text in texts.numpy()]


def load_tokenizer(run: Run, config: Config, side: str) -> Tokenizer:
    """The tokenizer of a run for its "source" or "target"."""
    path = run.folder / f"{side}.model"
    try:
        return Tokenizer(path.read_bytes(), config.folds(side))
    except (OSError, ValueError) as error:
        raise damaged(path, error) from None


def load(run: Run, average: str = "none") -> tuple[Config, network.Model, Tokenizer, Tokenizer]:
    """The config, the best model (or a mean of such) and both tokenizers of a run."""
    devices.leave_gpus_to_keras()
    config = run.config()
    source, target = (load_tokenizer(run, config, side) for side in ("source", "target"))
    model = network.build(config, source.size, target.size)
    run.load_weights(model, average)
    return config, model, source, target
