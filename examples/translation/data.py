"""Parallel sentences and their splits."""

import dataclasses
import hashlib
import itertools
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


Read = Callable[[], Iterable[Pair]]


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


@final
@dataclasses.dataclass(frozen=True)
class ParallelCorpus:
    """Pairs that can be read again and again, each in the split of its hash.

    Args:
        read: Called for each pass.
        key: What is hashed of a pair; by default the source, so that none is in two splits.
        test: The share of the test, the first hashes.
        dev: That of the development pairs, the next.
    """

    read: Read
    key: Callable[[Pair], str] = lambda pair: pair.source.casefold()
    test: float = 0.1
    dev: float = 0.05

    def split(self) -> Iterator[tuple[str, Pair]]:
        """Each pair, cleaned, and "train", "dev" or "test"; "dropped" if a side is empty."""
        for pair in map(cleaned, self.read()):
            whole = pair.source and pair.target
            yield split_by_hash(self.key(pair), self.test, self.dev) if whole else "dropped", pair

    def __iter__(self) -> Iterator[Pair]:
        return (pair for name, pair in self.split() if name == "train")


def load(corpus: ParallelCorpus, dev: Read | None = None, test: Read | None = None) -> Splits:
    """Splits a corpus; `dev` and `test` stay as given.

    Otherwise they are as large as their shares, but of a large corpus no more than about 1,000 and
    2,000 pairs.
    """
    lines = 0 if dev and test else sum(1 for _ in corpus.read())
    corpus = dataclasses.replace(
        corpus,
        test=0.0 if test else min(corpus.test, 2000 / max(1, lines)),
        dev=0.0 if dev else min(corpus.dev, 1000 / max(1, lines)),
    )
    given = [ParallelCorpus(dev, test=0.0, dev=1.0)] if dev else []
    given += [ParallelCorpus(test, test=1.0)] if test else []
    counts: Counter[str] = Counter()
    held: dict[str, list[Pair]] = {"dev": [], "test": []}
    digest = hashlib.sha256()
    for name, pair in itertools.chain(*(part.split() for part in (*given, corpus))):
        counts[name] += 1
        if name == "train":
            digest.update(f"{pair.source}\t{pair.target}\n".encode())
        elif name in held:
            held[name].append(pair)
    for name, what in (("train", "training"), ("dev", "development"), ("test", "test")):
        if not counts[name]:
            raise UserError(
                f"no {what} pair is left of {counts.total()} pairs: a larger corpus is needed, "
                "or files of their own (--dev-pairs, --test-pairs)"
            )
    for pairs in held.values():
        digest.update(b"\n" + "".join(f"{p.source}\t{p.target}\n" for p in pairs).encode())
    fingerprint = digest.hexdigest()[:16]
    return Splits(corpus, *held.values(), counts["train"], counts["dropped"], fingerprint)


def remember(folder: Path, stamp, splits: Splits) -> None:
    """Keeps what `load` found, with the stamp of the corpus, so that `recall` need not read it."""
    for name in ("dev", "test"):
        lines = "".join("\t".join(pair) + "\n" for pair in getattr(splits, name))
        write(folder / f"{name}.tsv", lines)
    known = {name: getattr(splits, name) for name in ("size", "dropped", "fingerprint")}
    known |= {"stamp": stamp, "shares": [splits.train.test, splits.train.dev]}
    write(folder / "splits.json", json.dumps(known) + "\n")


def recall(folder: Path, stamp, corpus: ParallelCorpus) -> Splits | None:
    """What was remembered, if the stamp is that of the same corpus."""
    try:
        known = json.loads((folder / "splits.json").read_text("utf-8"))
        if known.pop("stamp") != stamp:
            return None
        test, dev = known.pop("shares")
        corpus = dataclasses.replace(corpus, test=test, dev=dev)
        lines = ((folder / f"{name}.tsv").read_text("utf-8") for name in ("dev", "test"))
        held = [[Pair(*line.split("\t")) for line in text.splitlines()] for text in lines]
        return Splits(corpus, *held, **known)
    except (OSError, ValueError, TypeError, KeyError):
        return None
