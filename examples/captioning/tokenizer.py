"""Captions to ids, of words or of sub-words; ids to text as graph operations, for exports."""

import html
import unicodedata
from collections import Counter
from collections.abc import Iterable
from typing import final

import regex
import tensorflow as tf

from examples.common import tokenizer as subwords
from examples.common.special import SPECIAL, UNK

TAG = regex.compile(r"</?[a-z][^<>]*>|<!--.*?-->")
INVISIBLE = regex.compile(r"(?![\u200b-\u200d])\p{Cf}")  # soft hyphens, marks of direction
HYPHEN = regex.compile(r"(?<=[\p{L}\p{M}\p{N}])['’׳״‐‑-](?=[\p{L}\p{M}\p{N}])")  # noqa: RUF001
# A letter, and its marks and others, with U+200C and U+200D where they join, or shape an end.
WORD = regex.compile(
    r"[\p{L}\p{N}][\p{L}\p{M}\p{N}]*([\u200c\u200d]+[\p{L}\p{M}\p{N}]+)*((?<=\p{M})\u200d)?"
)
HAN = regex.compile(r"\p{Han}")
OTHERS = regex.compile(r"[\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]")


def normalize(text: str) -> str:
    """Lower-cased words and single spaces: "A man's T-shirt, wet." is "a mans tshirt wet".

    A word is made of letters with their marks, in composed form (NFC), and digits.
    """
    text = html.unescape(html.unescape(text))  # what is scraped is often escaped twice
    text = unicodedata.normalize("NFC", text.lower())
    text = text.replace("i\u0307", "i")  # what Python makes of the Turkish capital
    text = HYPHEN.sub("", INVISIBLE.sub("", TAG.sub(" ", text)))
    return " ".join(word.group() for word in WORD.finditer(text))


def bleu_tokenizer(captions: Iterable[str]) -> str:
    """sacrebleu's tokenizer for captions, by the script of most of their characters.

    "none" where spaces divide words; "zh" for Chinese, and "char" for other scripts without spaces.
    """
    text = "".join(captions)
    han, others = (len(script.findall(text)) for script in (HAN, OTHERS))
    if 2 * (han + others) <= len(text):
        return "none"
    return "zh" if 10 * others < han else "char"


@final
class Words:
    """The words of normalized captions: what stands between spaces.

    Args:
        vocabulary: The words; the first four are SPECIAL.
    """

    def __init__(self, vocabulary: list[str]):
        if tuple(vocabulary[: len(SPECIAL)]) != SPECIAL:
            raise ValueError(f"`vocabulary` begins with {vocabulary[:4]}; expected {SPECIAL}.")
        self.vocabulary = tuple(vocabulary)
        self.index = {word: i for i, word in enumerate(vocabulary)}
        self.size = len(self.index)
        if self.size < len(vocabulary):
            raise ValueError("`vocabulary` holds a word twice; expected different words.")

    @property
    def model(self) -> bytes:
        """One word a line."""
        return "".join(f"{word}\n" for word in self.vocabulary).encode()

    def encode(self, texts: list[str]) -> tf.RaggedTensor:
        """(B,) captions to (B, None) ids, without [START] and [END]."""
        rows = [text.split() for text in texts]
        ids = [id for row in rows for id in self.ids(row)]
        return tf.RaggedTensor.from_row_lengths(tf.constant(ids, tf.int32), [*map(len, rows)])

    def ids(self, words: list[str]) -> list[int]:
        return [self.index.get(word, UNK) for word in words]

    def pieces(self, ids: tf.Tensor) -> tf.Tensor:
        """Ids to words, in the same shape; [PAD], [START] and [END] become ""."""
        hidden = ("[PAD]", "[START]", "[END]")
        return tf.gather(tf.constant(["" if w in hidden else w for w in self.vocabulary]), ids)

    def decode(self, ids: tf.Tensor) -> tf.Tensor:
        """(B, T) ids to (B,) captions."""
        return tf.strings.strip(tf.strings.reduce_join(self.pieces(ids), axis=-1, separator=" "))


Tokenizer = Words | subwords.Tokenizer


def learn(captions: list[str], kind: str, min_count: int, size: int) -> Tokenizer:
    """A tokenizer of the `kind` "words", "subwords" or "auto", for training captions.

    Args:
        min_count: How often a word has to occur.
        size: The pieces of sub-words, at most.
    """
    if kind == "auto":
        kind = "words" if bleu_tokenizer(captions) == "none" else "subwords"
    if kind == "subwords":
        return subwords.Tokenizer(subwords.learn(captions, size))
    return Words(learn_vocabulary(captions, min_count))


def learn_vocabulary(captions: Iterable[str], min_count: int) -> list[str]:
    """The words that occur at least `min_count` times in `captions`, the most frequent first."""
    counts = Counter(word for caption in captions for word in caption.split())
    kept = sorted((-count, word) for word, count in counts.items() if count >= min_count)
    return [*SPECIAL, *(word for _, word in kept)]
