"""Picture in, caption out: decoding, network and search as one function of the graph."""

from typing import NamedTuple

import keras
import tensorflow as tf

import keras_attention as ka
from examples.captioning import encoders, features
from examples.captioning import model as network
from examples.captioning.config import Config
from examples.captioning.run import Run
from examples.captioning.tokenizer import Tokenizer, Words
from examples.common import tokenizer as subwords
from examples.common.errors import UserError
from examples.common.special import END, START


def captioner(
    model: network.Captioner,
    tokenizer: Tokenizer,
    config: Config,
    beam_width: int = 1,
    length_penalty: float = 0.0,
):
    """A function of pixels or features (B, H, W, C); beam width 1 is the greedy search.

    It returns a dict: text (B,), words (B, T) as strings, or pieces of words, "" behind the last
    one, score (B,), the log-probability with its penalty, and attention (B, T, H, W).
    """
    size = tokenizer.size
    if beam_width > size:
        raise UserError(f"--beam-width {beam_width}: expected at most {size}, the vocabulary")
    step = step_of(model)

    @tf.function(autograph=False, reduce_retracing=True)
    def caption(source):
        result = ka.search.beam(
            step,
            model.network.begin(source),
            START,
            END,
            config.max_length + 1,
            beam_width,
            length_penalty_weight=length_penalty,
            n_best=1,
        )
        tokens = result.tokens[:, 0]
        return {
            "text": tokenizer.decode(tokens),
            "words": tokenizer.pieces(tokens),
            "score": result.scores[:, 0],
            "attention": result.attention[:, 0],
        }

    return caption


def step_of(model: network.Captioner):
    """The step of a search, in whose captions there is neither [UNK] nor [PAD] nor [START]."""

    @ka.search.shares_state(model.network.step)
    def step(tokens, state):
        logits, weights, state = model.network.step(tokens, state)
        return network.of_captions(logits), weights, state

    return step


def caption_all(caption, source, batch_size: int = 100) -> dict:
    """What `caption` gives for the rows of `source`, as lists."""
    found: dict = {"text": [], "words": [], "score": [], "attention": []}
    for start in range(0, len(source), batch_size):
        rows = source.take(range(start, min(start + batch_size, len(source))))
        result = caption(tf.cast(rows, tf.float32))
        for name, value in result.items():
            found[name] += list(value.numpy())
    found["text"] = [text.decode() for text in found["text"]]
    found["words"] = [[word.decode() for word in row if word] for row in found["words"]]
    return found


class Loaded(NamedTuple):
    """What is kept of a run: its best model, or a mean of such, and all that it needs."""

    config: Config
    frozen: keras.Model | int
    model: network.Captioner
    tokenizer: Tokenizer


def load(run: Run, average: str = "none") -> Loaded:
    config, tokenizer = run.config(), load_tokenizer(run)
    frozen = encoders.frozen(config)
    model = network.build(config, tokenizer.size, features.layout(frozen)[0])
    run.load_weights(model, average)
    return Loaded(config, frozen, model, tokenizer)


def load_tokenizer(run: Run) -> Tokenizer:
    path = run.vocabulary or run.folder / "vocabulary.txt"
    try:
        if path.suffix == ".model":
            return subwords.Tokenizer(path.read_bytes())
        return Words(run.read_lines(path.name))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: damaged ({error})") from None
