"""Text in, text out: tokenizers, network and search as one function of the graph."""

import dataclasses
from typing import final

import keras
import numpy as np
import tensorflow as tf

import keras_attention as ka
from examples.common import devices
from examples.common.errors import UserError
from examples.common.run import damaged
from examples.common.special import END, START
from examples.common.tokenizer import Tokenizer
from examples.translation import model as network
from examples.translation.config import Config
from examples.translation.data import Pair
from examples.translation.run import Run
from examples.translation.search import GREEDY, Search

TEXT = tf.TensorSpec([None], tf.string, name="text")


@final
class Ensemble(keras.Model):
    """Several networks as one that can be searched: their probabilities are averaged."""

    def __init__(self, models: list[network.Model]):
        super().__init__()
        self.models, self.built = models, True
        self.step = ka.search.ensemble([model.step for model in models])

    def begin(self, ids):
        return [model.begin(ids) for model in self.models]


@final
class Searcher(keras.Model):
    """The search of a translator, (B, S) ids in, which `predict_on_batch` compiles on any backend.

    Args:
        model: Its network.
        max_length: The maximum number of tokens, with the end.
        search: The settings; K is its beam width.
        prefix: The ids of its prefix.
    """

    def __init__(self, model, max_length: int, search: Search, prefix: list[int]):
        super().__init__()
        self.model, self.search, self.built = model, search, True
        self.seed_generator = keras.random.SeedGenerator(search.seed)  # each batch draws others
        self.options = {"start_id": START, "end_id": END, "max_length": max_length}
        processors = [
            ka.processors.ForcedPrefix([prefix]) if prefix else None,
            ka.processors.MinLength(search.min_length, END) if search.min_length else None,
            ka.processors.NoRepeatNGram(search.no_repeat_ngram) if search.no_repeat_ngram else None,
        ]
        self.options["processors"] = [each for each in processors if each]

    def call(self, ids):
        found = self.draw(ids) if self.search.sample else self.beam(ids)
        scores, attention = (
            keras.ops.cast(each, "float32") for each in (found.scores, found.attention[:, 0])
        )
        return {"tokens": found.tokens, "scores": scores, "attention": attention}

    def beam(self, ids) -> ka.search.SearchResult:
        return ka.search.beam(
            self.model.step,
            self.model.begin(ids),
            beam_width=self.search.beam_width,
            length_penalty_weight=self.search.length_penalty,
            coverage_penalty_weight=self.search.coverage_penalty,
            **self.options,
        )

    def draw(self, ids) -> ka.search.SearchResult:
        """K samples of each sentence, the most probable first."""
        return ka.search.sample(
            self.model.step,
            self.model.begin(ids),
            temperature=self.search.temperature,
            seed=self.seed_generator,
            n=self.search.beam_width,
            **self.options,
        )

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
    search: Search = GREEDY,
):
    """A function of (B,) texts.

    It returns a dict: text (B,), tokens (B, T) and source_tokens (B, S) as strings, "" behind the
    last one, score (B,), the log-probability with its penalty, attention (B, T, S), or (B, T, 1)
    over the one position of a model without it, and all that the search found, the best first:
    n_best_text and n_best_score (B, K).
    An empty text gives an empty text with score 0. Of a text of more than `max_length` tokens the
    rest is not read: source_length (B,) tells how many it has, source_tokens which were read.
    On TensorFlow all of it is one graph; on other backends the search between the tokenizers is.
    """
    if not search.sample:
        search = dataclasses.replace(search, beam_width=min(search.beam_width, target.size))
    beam_width, prefix = search.beam_width, []
    if search.prefix:
        (prefix,) = target.encode(target.normalize([search.prefix])).to_list()
    if len(prefix) > max_length:
        raise UserError(f"--prefix: {len(prefix)} tokens, expected at most {max_length}")
    searcher = Searcher(model, max_length + 1, search, prefix)

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
        found = searcher(ids) if in_graph else searcher.on_any_backend(ids)
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


def load_ensemble(
    runs: list[Run], average: str = "none"
) -> tuple[Config, network.Model | Ensemble, Tokenizer, Tokenizer]:
    """The same of several runs, which must have the tokenizers of the first one."""
    loaded = [load(run, average) for run in runs]
    config, model, *tokenizers = loaded[0]
    for run, (_, _, *others) in zip(runs, loaded, strict=True):
        for name, one, other in zip(("source", "target"), tokenizers, others, strict=True):
            if (one.model, one.fold_case) != (other.model, other.fold_case):
                raise UserError(
                    f"{run.folder}: its {name} tokenizer is not that of {runs[0].folder}; "
                    "expected runs with the same"
                )
    return config, model if len(runs) == 1 else Ensemble([each[1] for each in loaded]), *tokenizers


def score_pairs(
    model, source: Tokenizer, target: Tokenizer, max_length: int, pairs: list[Pair]
) -> list[float]:
    """log p of each target sentence, given its source, of which `max_length` tokens are read."""
    scores = []
    for start in range(0, len(pairs), 64):
        sides = list(zip(*((p.source, p.target) for p in pairs[start : start + 64]), strict=True))
        read, said = (
            tokenizer.encode(tokenizer.normalize(tf.constant(texts)))
            for texts, tokenizer in zip(sides, (source, target), strict=True)
        )
        end = tf.fill((read.nrows(), 1), END)
        ids, targets = (
            tf.concat([each, tf.cast(end, each.dtype)], axis=1).to_tensor()
            for each in (read[:, :max_length], said)
        )
        found = ka.search.score(model.step, model.begin(ids.numpy()), targets.numpy(), START, END)
        scores += keras.ops.convert_to_numpy(found.log_probs[:, 0]).tolist()
    return scores
