"""Text to sub-word ids and back, as graph operations, so that an export includes them."""

from collections import Counter
from collections.abc import Iterable

import tensorflow as tf
import tensorflow_text as tf_text
from tensorflow_text.tools.wordpiece_vocab import wordpiece_tokenizer_learner_lib as learner

from examples.common.errors import UserError

SPECIAL = ("[PAD]", "[UNK]", "[START]", "[END]")
PAD, UNK, START, END = range(len(SPECIAL))
SPACE = "\u2581"  # begins a piece that follows a space, as in SentencePiece


class Tokenizer(tf.Module):
    """Splits text into pieces of a fixed vocabulary: words first, then WordPiece inside them.

    A word is a run of letters, a run of digits, one Chinese character or one other sign. A word
    that follows a space begins with U+2581, so that decoding restores the text without rules
    about punctuation. A word with a character that the vocabulary lacks becomes one [UNK].

    Args:
        vocabulary: The pieces; the first four are SPECIAL, a piece inside a word begins with "##".
        fold_case: Whether text is folded to lower case.
    """

    def __init__(self, vocabulary: list[str], fold_case: bool = False):
        super().__init__()
        if tuple(vocabulary[: len(SPECIAL)]) != SPECIAL:
            raise ValueError(f"`vocabulary` begins with {vocabulary[:4]}; expected {SPECIAL}.")
        if len(set(vocabulary)) < len(vocabulary):
            raise ValueError("`vocabulary` holds a piece twice; expected different pieces.")
        self.vocabulary = tuple(vocabulary)
        self.fold_case = fold_case
        ids = tf.range(len(vocabulary), dtype=tf.int64)
        self.table = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(vocabulary, ids), default_value=UNK
        )
        self.wordpiece = tf_text.WordpieceTokenizer(
            self.table, token_out_type=tf.int32, max_bytes_per_word=1000
        )

    def normalize(self, texts: tf.Tensor) -> tf.Tensor:
        """Valid UTF-8 in composed form (NFC), single spaces, folded case if asked for."""
        texts = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="replace")
        texts = tf_text.normalize_utf8(texts, "NFC")
        if self.fold_case:
            texts = tf_text.normalize_utf8(tf_text.case_fold_utf8(texts), "NFC")
        return tf.strings.strip(tf.strings.regex_replace(texts, r"[\pZ\p{Cc}]+", " "))

    def words(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """(B,) texts to (B, None) words."""
        texts = tf.strings.regex_replace(self.normalize(texts), SPACE, "_")
        texts = tf.strings.regex_replace(texts, r"(^| )(.)", SPACE + r"\2")
        # From here on spaces only separate words.
        texts = tf.strings.regex_replace(texts, rf"({SPACE}?\p{{Han}})", r" \1 ")
        texts = tf.strings.regex_replace(
            texts, rf"({SPACE}?[\pL\pM]+|{SPACE}?\pN+|{SPACE}?[^ {SPACE}])", r" \1 "
        )
        return tf.strings.split(texts)

    def encode(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """(B,) texts to (B, None) ids, without [START] and [END]."""
        return self.wordpiece.tokenize(self.words(texts)).merge_dims(1, 2)

    def pieces(self, ids: tf.Tensor) -> tf.Tensor:
        """Ids to the strings of their pieces, in the same shape; [PAD] and [END] become ""."""
        names = ["" if piece in ("[PAD]", "[END]") else piece for piece in self.vocabulary]
        return tf.gather(tf.constant(names), ids)

    def decode(self, ids: tf.Tensor) -> tf.Tensor:
        """(B, T) ids to (B,) texts; [PAD], [START] and [END] vanish, [UNK] stays visible."""
        pieces = tf.where(ids == START, "", self.pieces(ids))
        pieces = tf.strings.regex_replace(pieces, r"^##(.)", r"\1")
        texts = tf.strings.reduce_join(pieces, axis=-1)
        return tf.strings.strip(tf.strings.regex_replace(texts, SPACE, " "))


def learn_vocabulary(texts: Iterable[str], size: int, fold_case: bool) -> list[str]:
    """A WordPiece vocabulary of at most `size` pieces, the special ones among them."""
    if size <= len(SPECIAL):
        raise UserError(
            f"--vocabulary-size {size}: must be larger than {len(SPECIAL)}, "
            f"the number of special tokens ({' '.join(SPECIAL)})"
        )
    splitter = Tokenizer(list(SPECIAL), fold_case)
    counts: Counter[str] = Counter()
    for batch in tf.data.Dataset.from_tensor_slices(list(texts)).batch(4096):
        words = splitter.words(batch).flat_values.numpy()
        counts.update(word.decode() for word in words)
    vocabulary = learner.learn(
        sorted(counts.items()),
        vocab_size=size,
        reserved_tokens=list(SPECIAL),
        lower_thresh=1,
        # Each character needs two pieces: one at the start of a word, one inside words.
        max_unique_chars=max(1, (size - len(SPECIAL)) // 2),
    )
    return vocabulary[:size]
