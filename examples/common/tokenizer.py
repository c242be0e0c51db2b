"""Sub-words by SentencePiece: text to ids and back, as graph operations that exports hold."""

import io
import re
import tempfile
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import final

import sentencepiece
import tensorflow as tf
import tensorflow_text as tf_text
from sentencepiece import sentencepiece_model_pb2

from examples.common.errors import UserError
from examples.common.special import END, PAD, SPECIAL, START, UNK

SPACE = "\u2581"  # stands for a space in pieces

# SentencePiece writes a space as U+2581. So that text with a U+2581 of its own comes back exactly,
# models write that with an escape, and the escape twice: hexadecimal, each with what stands for it.
ESCAPES = {"1A": "1A 30", "2581": "1A 31"}

SEEDING = threading.Lock()  # SentencePiece has one seed for all


@final
class Tokenizer:
    """Splits text into pieces, from which it comes back exactly.

    Args:
        model: A SentencePiece model whose ids 0 to 3 are padding, unknown, start and end.
        fold_case: Whether `normalize` folds text to lower case.
    """

    def __init__(self, model: bytes, fold_case: bool = False):
        self.model, self.fold_case = model, fold_case
        read = sentencepiece.SentencePieceProcessor()
        try:
            read.LoadFromSerializedProto(model or b"-")  # nothing would crash
        except RuntimeError:
            raise ValueError("not a SentencePiece model") from None
        ids = [read.pad_id(), read.unk_id(), read.bos_id(), read.eos_id()]
        if ids != [PAD, UNK, START, END]:
            raise ValueError(
                f"its ids of padding, unknown, start and end are {ids}; expected [0, 1, 2, 3]: "
                "learn it with --pad_id=0 --unk_id=1 --bos_id=2 --eos_id=3"
            )
        self.size = read.vocab_size()

    def _processor(self) -> tf_text.SentencepieceTokenizer:
        # One for each use: setting TensorFlow's seed destroys those that exist outside of graphs.
        return tf_text.SentencepieceTokenizer(self.model)

    def normalize(self, texts: tf.Tensor) -> tf.Tensor:
        return normalize(texts, self.fold_case)

    def encode(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """(B,) texts to (B, None) ids, without [START] and [END]."""
        texts = tf.convert_to_tensor(texts)
        # A first word is the same piece as one after a space.
        return self._processor().tokenize(tf.where(texts == "", "", " " + texts))

    def ids(self, pieces: list[str]) -> list[int]:
        return sentencepiece.SentencePieceProcessor(model_proto=self.model).piece_to_id(pieces)

    def pieces(self, ids: tf.Tensor) -> tf.Tensor:
        """Ids to the strings of their pieces, in the same shape; [PAD] and [END] become ""."""
        ids = tf.convert_to_tensor(ids)
        pieces = self._processor().id_to_string(ids)
        return tf.where((ids == PAD) | (ids == END), "", pieces)

    def decode(self, ids: tf.Tensor) -> tf.Tensor:
        """(B, T) ids to (B,) texts; [PAD], [START] and [END] vanish."""
        return tf.strings.regex_replace(self._processor().detokenize(ids), "^ ", "")

    def sampler(self, alpha: float) -> Callable[[list[list[int]], int], list[list[int]]]:
        """A function of sentences of ids, and a seed, that draws other pieces of the same texts.

        By subword regularization (Kudo 2018), or with a BPE model by BPE-dropout (Provilkov et al.
        2020). Special ids vanish.
        """
        read = sentencepiece.SentencePieceProcessor(model_proto=self.model)

        def sample(sentences, seed):
            texts = read.decode(sentences, num_threads=1)
            texts = [text and " " + text.removeprefix(" ") for text in texts]
            # Lists are encoded in a new thread, and only a new thread begins with the seed.
            with SEEDING:
                sentencepiece.set_random_generator_seed(seed % 2**31)
                return read.encode(
                    texts, enable_sampling=True, alpha=alpha, nbest_size=-1, num_threads=1
                )

        if not sample(read.encode(["a"]), 0)[0]:
            raise UserError("--subword-sampling: expected 0 with a model of words or characters")
        return sample


def normalize(texts: tf.Tensor, fold_case: bool) -> tf.Tensor:
    """Valid UTF-8 in composed form (NFC), single spaces, folded case if asked for."""
    texts = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="replace")
    texts = tf_text.normalize_utf8(texts, "NFC")
    if fold_case:
        texts = tf_text.normalize_utf8(tf_text.case_fold_utf8(texts), "NFC")
    return tf.strings.strip(tf.strings.regex_replace(texts, r"[\pZ\p{Cc}]+", " "))


def learn(texts: Iterable[str], size: int, kind: str = "unigram") -> bytes:
    """A SentencePiece model of at most `size` pieces, of as many as `texts` give.

    Args:
        texts: Normalized lines; read once, as a stream.
        size: The special pieces, the bytes and the characters of `texts`, but for the rarest, are
            among them.
        kind: "unigram" or "bpe".
    """
    special = dict(zip(("pad", "unk", "bos", "eos"), SPECIAL, strict=True))
    model = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder:
        there, back = Path(folder, "escape.tsv"), Path(folder, "restore.tsv")
        there.write_text("".join(f"{a}\t{b}\n" for a, b in ESCAPES.items()))
        back.write_text("".join(f"{b}\t{a}\n" for a, b in ESCAPES.items()))
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=(f" {text}" for text in texts),
                model_writer=model,
                vocab_size=size,
                hard_vocab_limit=False,
                model_type=kind,
                byte_fallback=True,
                normalization_rule_tsv=str(there),
                denormalization_rule_tsv=str(back),
                remove_extra_whitespaces=False,
                add_dummy_prefix=False,
                **{f"{name}_id": i for i, name in enumerate(special)},
                **{f"{name}_piece": piece for name, piece in special.items()},
                max_sentence_length=1_000_000,
                num_threads=16,  # not the machine's: rounding of their sums orders the pieces
                minloglevel=2,
            )
        except RuntimeError as error:
            few = re.search(r"\d+ vs (\d+)", str(error))
            if not few:
                raise UserError("no line of the corpus has text for a vocabulary") from None
            raise UserError(
                f"--vocabulary-size {size}: expected at least {few[1]}, for the special pieces, "
                "256 bytes and the characters of the corpus"
            ) from None
    learned = sentencepiece_model_pb2.ModelProto.FromString(model.getvalue())
    # Names of the files that are gone, which would make each model another.
    learned.normalizer_spec.ClearField("normalization_rule_tsv")
    learned.denormalizer_spec.ClearField("normalization_rule_tsv")
    return learned.SerializeToString()
