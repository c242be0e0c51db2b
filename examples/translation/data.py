"""Parallel sentences and their splits; the names of emoji in two languages."""

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from examples.common.errors import UserError
from examples.common.splits import split_by_hash


class Pair(NamedTuple):
    """A sentence, its translation, and where they come from: an emoji, or `file:line`."""

    source: str
    target: str
    origin: str


class Splits(NamedTuple):
    """Training, development and test pairs; `dropped` had an empty side."""

    train: list[Pair]
    dev: list[Pair]
    test: list[Pair]
    dropped: int


def clean(text: str) -> str:
    """One form for one text: white space is a single space, accents are composed (NFC)."""
    return unicodedata.normalize("NFC", " ".join(text.split()))


def emoji_pairs(language: str, min_source: int = 3, min_target: int = 2) -> list[Pair]:
    """The English names of all emoji with their names in `language`.

    A pair is kept only if each of its words occurs in at least `min_source` English names and
    `min_target` names of the other language: what remains can be learned from examples.
    """
    import emoji

    languages = [code for code in emoji.LANGUAGES if code != "en"]
    if language not in languages:
        raise UserError(f"unknown language '{language}': expected one of {', '.join(languages)}")
    emoji.config.load_language(language)

    def name(code: str) -> str:
        return clean(code.strip(":").replace("_", " "))

    pairs = [
        Pair(name(names["en"]), name(names[language]), symbol)
        for symbol, names in emoji.EMOJI_DATA.items()
        if names["status"] == emoji.STATUS["fully_qualified"] and language in names
    ]
    source_counts = Counter(word for pair in pairs for word in pair.source.split())
    target_counts = Counter(word for pair in pairs for word in pair.target.split())
    return [
        pair
        for pair in pairs
        if all(source_counts[word] >= min_source for word in pair.source.split())
        and all(target_counts[word] >= min_target for word in pair.target.split())
    ]


def load(
    language: str | None = None,
    corpus: list[Pair] | None = None,
    dev: list[Pair] | None = None,
    test: list[Pair] | None = None,
) -> Splits:
    """Splits `corpus`, or the emoji names in `language`; `dev` and `test` stay as given.

    Emoji names are split by the emoji, so that a new Unicode release moves none: 10 % test, 5 %
    dev. A corpus is split by the source sentence, so that no sentence is in two splits: 10 % and
    5 % too, but of a large corpus no more than about 2,000 and 1,000.
    """
    if corpus is None:
        corpus = emoji_pairs(language or "fr")
        split = split_by_hash(corpus, lambda pair: pair.origin, dev, test)
    else:
        shares = min(0.05, 1000 / len(corpus)), min(0.1, 2000 / len(corpus))
        split = split_by_hash(corpus, lambda pair: pair.source.casefold(), dev, test, *shares)
    full = [[pair for pair in pairs if pair.source and pair.target] for pairs in split]
    for name, pairs in zip(("training", "development", "test"), full, strict=True):
        if not pairs:
            raise UserError(
                f"no {name} pair is left of {len(corpus)} pairs: a larger corpus is needed, "
                "or files of their own (--dev-pairs, --test-pairs)"
            )
    return Splits(*full, dropped=sum(map(len, split)) - sum(map(len, full)))


def fingerprint(splits: Splits) -> str:
    """A digest of every pair in every split: changes with any text, order or split."""
    digest = hashlib.sha256()
    for pairs in splits[:3]:
        digest.update("".join(f"{pair.source}\t{pair.target}\n" for pair in pairs).encode())
        digest.update(b"\n")
    return digest.hexdigest()[:16]


def to_tsv(pairs: Iterable[Pair]) -> str:
    """The pairs as lines of `source TAB target TAB origin`."""
    return "".join(f"{pair.source}\t{pair.target}\t{pair.origin}\n" for pair in pairs)
