"""Text in, text out: tokenizers, network and search as one function of the graph."""

import tensorflow as tf

import keras_attention as ka
from examples.common.errors import UserError
from examples.translation import model as network
from examples.translation.config import Config
from examples.translation.data import Pair
from examples.translation.run import Run
from examples.translation.tokenizer import END, START, Tokenizer

TEXT = tf.TensorSpec([None], tf.string, name="text")


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
    last one, score (B,), the log-probability with its penalty, and attention (B, T, S).
    An empty text gives an empty text with score 0. One longer than `max_length` is an error.
    """
    size = len(target.vocabulary)
    if beam_width > size:
        raise UserError(f"--beam-width {beam_width}: expected at most {size}, the vocabulary")

    @tf.function(input_signature=[TEXT], autograph=False)
    def translate(text):
        count = tf.size(text)
        # Recurrent layers need a batch of at least one: without any text an empty one is searched.
        text = tf.pad(text, [[0, tf.cast(count == 0, tf.int32)]])
        pieces = source.encode(text)  # (B, None)
        sizes = pieces.row_lengths()
        longest = tf.argmax(tf.pad(sizes, [[0, 1]]))
        message = f"text {{}} has {{}} tokens, the limit is {max_length}"
        message = tf.strings.format(message, (longest + 1, tf.reduce_max(sizes)))
        tf.debugging.Assert(tf.reduce_all(sizes <= max_length), [message])
        ids = tf.concat([pieces, tf.fill((tf.size(text), 1), END)], axis=1).to_tensor()  # (B, S)
        result = ka.search.beam(
            model.step,
            model.begin(ids),
            START,
            END,
            max_length + 1,
            beam_width,
            length_penalty_weight=length_penalty,
            n_best=1,
        )
        filled = sizes > 0
        tokens = tf.where(filled[:, None], result.tokens[:, 0], END)
        score = tf.cast(result.scores[:, 0], tf.float32)
        attention = tf.cast(result.attention[:, 0], tf.float32)
        outputs = {
            "text": target.decode(tokens),
            "tokens": target.pieces(tokens),
            "source_tokens": source.pieces(ids),
            "score": tf.where(filled, score, 0.0),
            "attention": tf.where(filled[:, None, None], attention, 0.0),
        }
        return {name: output[:count] for name, output in outputs.items()}

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
    name = f"{side}.vocabulary.txt"
    try:
        return Tokenizer(run.read_lines(name), config.folds(side))
    except ValueError as error:
        raise UserError(f"{run.folder / name}: damaged ({error})") from None


def load(run: Run, average: str = "none") -> tuple[Config, network.Model, Tokenizer, Tokenizer]:
    """The config, the best model (or a mean of such) and both tokenizers of a run."""
    config = run.config()
    source, target = (load_tokenizer(run, config, side) for side in ("source", "target"))
    model = network.build(config, len(source.vocabulary), len(target.vocabulary))
    run.load_weights(model, average)
    return config, model, source, target
