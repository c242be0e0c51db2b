"""Words to ids in Python; ids to text as graph operations, so that an export includes them."""

import html
import unicodedata
from collections import Counter
from collections.abc import Iterable

import regex
import tensorflow as tf

from examples.common.special import END, SPECIAL, START, UNK

TAG = regex.compile(r"</?[a-z][^<>]*>|<!--.*?-->")
INVISIBLE = regex.compile(r"(?![\u200b-\u200d])\p{Cf}")  # soft hyphens, marks of direction
HYPHEN = regex.compile(r"(?<=[\p{L}\p{M}\p{N}])['’׳״‐‑-](?=[\p{L}\p{M}\p{N}])")  # noqa: RUF001
# A letter, and its marks and others, with U+200C and U+200D where they join, or shape an end.
WORD = regex.compile(
    r"[\p{L}\p{N}][\p{L}\p{M}\p{N}]*([\u200c\u200d]+[\p{L}\p{M}\p{N}]+)*((?<=\p{M})\u200d)?"
)


def normalize(text: str) -> str:
    """Lower-cased words and single spaces: "A man's T-shirt, wet." is "a mans tshirt wet".

    A word is made of letters with their marks, in composed form (NFC), and digits.
    """
    text = html.unescape(html.unescape(text))  # what is scraped is often escaped twice
    text = unicodedata.normalize("NFC", text.lower())
    text = text.replace("i\u0307", "i")  # what Python makes of the Turkish capital
    text = HYPHEN.sub("", INVISIBLE.sub("", TAG.sub(" ", text)))
    return " ".join(word.group() for word in WORD.finditer(text))


class Tokenizer:
    """The words of normalized captions: lower-cased, separated by single spaces.

    Args:
        vocabulary: The words; the first four are SPECIAL.
    """

    def __init__(self, vocabulary: list[str]):
        if tuple(vocabulary[: len(SPECIAL)]) != SPECIAL:
            raise ValueError(f"`vocabulary` begins with {vocabulary[:4]}; expected {SPECIAL}.")
        self.vocabulary = tuple(vocabulary)
        self.ids = {word: i for i, word in enumerate(vocabulary)}
        if len(self.ids) < len(vocabulary):
            raise ValueError("`vocabulary` holds a word twice; expected different words.")

    def encode(self, caption: str, limit: int) -> list[int]:
        """[START], the ids of at most `limit` words, [END]."""
        words = caption.split()[:limit]
        return [START, *(self.ids.get(word, UNK) for word in words), END]

    def words(self, ids: tf.Tensor) -> tf.Tensor:
        """Ids to words, in the same shape; [PAD], [START] and [END] become ""."""
        hidden = ("[PAD]", "[START]", "[END]")
        return tf.gather(tf.constant(["" if w in hidden else w for w in self.vocabulary]), ids)

    def decode(self, ids: tf.Tensor) -> tf.Tensor:
        """(B, T) ids to (B,) captions."""
        return tf.strings.strip(tf.strings.reduce_join(self.words(ids), axis=-1, separator=" "))


def learn_vocabulary(captions: Iterable[str], min_count: int) -> list[str]:
    """The words that occur at least `min_count` times in `captions`, the most frequent first."""
    counts = Counter(word for caption in captions for word in caption.split())
    kept = sorted((-count, word) for word, count in counts.items() if count >= min_count)
    return [*SPECIAL, *(word for _, word in kept)]
