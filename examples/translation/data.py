"""Parallel sentences and their splits; the names of emoji in two languages."""

import dataclasses
import hashlib
import json
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, final

from examples.common.errors import UserError
from examples.common.files import write
from examples.common.splits import split_by_hash


class Pair(NamedTuple):
    """A sentence, its translation, and where they come from: an emoji, or `file:line`."""

    source: str
    target: str
    origin: str


@final
@dataclasses.dataclass(frozen=True)
class Splits:
    """Training, development and test pairs; `dropped` pairs had an empty side.

    `train` is read anew at each pass, `size` is its length. `fingerprint` is a digest of every pair
    in every split: it changes with any text, order or split.
    """

    train: Iterable[Pair]
    dev: list[Pair]
    test: list[Pair]
    size: int
    dropped: int
    fingerprint: str


def clean(text: str) -> str:
    """One form for one text: white space is a single space, accents are composed (NFC)."""
    return unicodedata.normalize("NFC", " ".join(text.split()))


def cleaned(pair: Pair) -> Pair:
    return Pair(clean(pair.source), clean(pair.target), pair.origin)


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


@final
@dataclasses.dataclass(frozen=True)
class ParallelCorpus:
    """Pairs that can be read again and again, each in the split of its hash.

    Args:
        read: Called for each pass.
        key: What is hashed of a pair.
        test: The share of the test, the first hashes.
        dev: That of the development pairs, the next.
    """

    read: Callable[[], Iterable[Pair]]
    key: Callable[[Pair], str]
    test: float = 0.1
    dev: float = 0.05

    def split(self) -> Iterator[tuple[str, Pair]]:
        """Each pair, cleaned, and "train", "dev" or "test"; "dropped" if a side is empty."""
        for pair in map(cleaned, self.read()):
            whole = pair.source and pair.target
            yield split_by_hash(self.key(pair), self.test, self.dev) if whole else "dropped", pair

    def __iter__(self) -> Iterator[Pair]:
        return (pair for name, pair in self.split() if name == "train")


def _corpus(language: str | None, read: Callable[[], Iterable[Pair]] | None) -> ParallelCorpus:
    if read:
        return ParallelCorpus(read, lambda pair: pair.source.casefold())
    names = emoji_pairs(language or "fr")
    return ParallelCorpus(lambda: names, lambda pair: pair.origin)


def load(
    language: str | None = None,
    read: Callable[[], Iterable[Pair]] | None = None,
    dev: Callable[[], Iterable[Pair]] | None = None,
    test: Callable[[], Iterable[Pair]] | None = None,
) -> Splits:
    """Splits what `read` gives, or the emoji names in `language`; `dev` and `test` stay as given.

    Emoji names are split by the emoji, so that a new Unicode release moves none: 10 % test, 5 %
    dev. A corpus is split by the source sentence, so that no sentence is in two splits: 10 % and
    5 % too, but of a large corpus no more than about 2,000 and 1,000.
    """
    corpus = _corpus(language, read)
    lines = sum(1 for _ in read()) if read and not (dev and test) else 0
    corpus = dataclasses.replace(
        corpus,
        test=0.0 if test else min(corpus.test, 2000 / max(1, lines)),
        dev=0.0 if dev else min(corpus.dev, 1000 / max(1, lines)),
    )
    held = {name: list(map(cleaned, own())) for name, own in (("dev", dev), ("test", test)) if own}
    kept = {name: [p for p in pairs if p.source and p.target] for name, pairs in held.items()}
    counts = Counter(dropped=sum(len(held[name]) - len(kept[name]) for name in held))
    kept = {"dev": [], "test": []} | kept
    digest = hashlib.sha256()
    for name, pair in corpus.split():
        counts[name] += 1
        if name == "train":
            digest.update(f"{pair.source}\t{pair.target}\n".encode())
        elif name in kept:
            kept[name].append(pair)
    counts |= {name: len(pairs) for name, pairs in kept.items()}
    for name, what in (("train", "training"), ("dev", "development"), ("test", "test")):
        if not counts[name]:
            raise UserError(
                f"no {what} pair is left of {counts.total()} pairs: a larger corpus is needed, "
                "or files of their own (--dev-pairs, --test-pairs)"
            )
    for pairs in kept.values():
        digest.update(b"\n" + "".join(f"{p.source}\t{p.target}\n" for p in pairs).encode())
    fingerprint = digest.hexdigest()[:16]
    return Splits(corpus, *kept.values(), counts["train"], counts["dropped"], fingerprint)


def to_tsv(pairs: Iterable[Pair]) -> str:
    """The pairs as lines of `source TAB target TAB origin`."""
    return "".join(f"{pair.source}\t{pair.target}\t{pair.origin}\n" for pair in pairs)


def remember(folder: Path, stamp, splits: Splits) -> None:
    """Keeps what `load` found, with the stamp of the corpus, so that `recall` need not read it."""
    for name in ("dev", "test"):
        write(folder / f"{name}.tsv", to_tsv(getattr(splits, name)))
    known = {name: getattr(splits, name) for name in ("size", "dropped", "fingerprint")}
    known |= {"stamp": stamp, "shares": [splits.train.test, splits.train.dev]}
    write(folder / "splits.json", json.dumps(known) + "\n")


def recall(folder: Path, stamp, language, read) -> Splits | None:
    """What was remembered, if the stamp is that of the same corpus."""
    try:
        known = json.loads((folder / "splits.json").read_text("utf-8"))
        if known.pop("stamp") != stamp:
            return None
        test, dev = known.pop("shares")
        corpus = dataclasses.replace(_corpus(language, read), test=test, dev=dev)
        lines = ((folder / f"{name}.tsv").read_text("utf-8") for name in ("dev", "test"))
        held = [[Pair(*line.split("\t")) for line in text.splitlines()] for text in lines]
        return Splits(corpus, *held, **known)
    except (OSError, ValueError, TypeError, KeyError):
        return None
