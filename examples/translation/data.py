"""Parallel sentences: where they come from, what is checked, how they are split."""

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from examples.common.errors import UserError
from examples.common.splits import hash_share


class Pair(NamedTuple):
    """A sentence and its translation, and where they stand (`file:line`)."""

    source: str
    target: str
    origin: str


class Splits(NamedTuple):
    """Training, development and test pairs, and how many pairs with an empty side were dropped."""

    train: list[Pair]
    dev: list[Pair]
    test: list[Pair]
    dropped: int


# ---------------------------------------------------------------- emoji names


def emoji_pairs(language: str, min_source: int = 3, min_target: int = 2) -> list[Pair]:
    """The English names of all emoji with their names in `language`.

    A pair stays only if each of its words occurs in at least `min_source` English names and
    `min_target` names of the other language: what remains can be learned from examples.
    """
    import emoji

    accepted = [code for code in emoji.LANGUAGES if code != "en"]
    if language not in accepted:
        raise UserError(f"unknown language '{language}': accepted are {', '.join(accepted)}")
    emoji.config.load_language(language)

    def name(code: str) -> str:
        return clean(code.strip(":").replace("_", " "))

    pairs = [
        Pair(name(names["en"]), name(names[language]), symbol)
        for symbol, names in emoji.EMOJI_DATA.items()
        if names["status"] == emoji.STATUS["fully_qualified"] and language in names
    ]
    seen_source = Counter(word for pair in pairs for word in pair.source.split())
    seen_target = Counter(word for pair in pairs for word in pair.target.split())
    return [
        pair
        for pair in pairs
        if all(seen_source[word] >= min_source for word in pair.source.split())
        and all(seen_target[word] >= min_target for word in pair.target.split())
    ]


# ---------------------------------------------------------------- files


def clean(text: str) -> str:
    """One form for one text: white space is a single space, accents are composed (NFC)."""
    return unicodedata.normalize("NFC", " ".join(text.split()))


def read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 file. Only a newline ends a line: corpora are aligned by line number."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    raw = raw.removeprefix(b"\xef\xbb\xbf").removesuffix(b"\n")
    if not raw.strip():
        raise UserError(f"{path}: the file is empty")
    lines = []
    for number, line in enumerate(raw.split(b"\n"), 1):
        try:
            lines.append(line.decode("utf-8"))
        except UnicodeDecodeError as error:
            byte = f"byte 0x{line[error.start]:02x} at position {error.start + 1}"
            raise UserError(f"{path}:{number}: not UTF-8 ({byte})") from None
    return lines


def read_tsv(path: Path) -> list[Pair]:
    """Tatoeba/Anki: `source TAB target`; further columns are ignored, a blank line is no pair."""
    pairs = []
    for number, line in enumerate(read_lines(path), 1):
        columns = line.split("\t")
        if len(columns) < 2 and line.strip():
            raise UserError(f"{path}:{number}: one column, but 'source TAB target' is needed")
        source, target = columns[:2] if len(columns) > 1 else ("", "")
        pairs.append(Pair(clean(source), clean(target), f"{path}:{number}"))
    return pairs


def read_parallel(source: Path, target: Path) -> list[Pair]:
    """Moses/WMT: two files, line by line translations of each other."""
    sources, targets = read_lines(source), read_lines(target)
    if len(sources) != len(targets):
        shorter = source if len(sources) < len(targets) else target
        line = min(len(sources), len(targets)) + 1
        raise UserError(
            f"{shorter}:{line}: line missing: {source} has {len(sources)} lines, "
            f"{target} has {len(targets)}"
        )
    return [
        Pair(clean(s), clean(t), f"{source}:{number}")
        for number, (s, t) in enumerate(zip(sources, targets, strict=True), 1)
    ]


def read_corpus(pairs: Path | None, source: Path | None, target: Path | None, what: str = ""):
    """The corpus that the options `--[what-]pairs` or `--[what-]source/target` name, or None."""
    what = f"--{what}-" if what else "--"
    if pairs and (source or target):
        raise UserError(f"{what}pairs and {what}source/{what}target exclude each other")
    if (source is None) != (target is None):
        given, lacking = ("source", "target") if source else ("target", "source")
        raise UserError(f"{what}{given} needs {what}{lacking} too")
    if pairs:
        return read_tsv(pairs)
    return read_parallel(source, target) if source and target else None


# ---------------------------------------------------------------- splits


def load(
    language: str | None = None,
    corpus: list[Pair] | None = None,
    dev: list[Pair] | None = None,
    test: list[Pair] | None = None,
) -> Splits:
    """Splits `corpus`, or the emoji names in `language`, by a hash; `dev` and `test` stay as given.

    Emoji names are split by a hash of the emoji, so that a new Unicode release moves nothing:
    10 % test, 5 % dev. A corpus is split by a hash of the source sentence, so that no sentence is
    in two splits: 10 % and 5 % too, but of a large corpus no more than about 2,000 and 1,000.
    """
    if corpus is None:
        corpus = emoji_pairs(language or "fr")
        keyed = [(hash_share(pair.origin), pair) for pair in corpus]
        test_share, dev_share = 0.1, 0.05
    else:
        keyed = [(hash_share(pair.source.casefold()), pair) for pair in corpus]
        test_share = min(0.1, 2000 / len(corpus))
        dev_share = min(0.05, 1000 / len(corpus))
    test_end = 0.0 if test is not None else test_share
    dev_end = test_end + (0.0 if dev is not None else dev_share)
    splits = (
        [pair for share, pair in keyed if share >= dev_end],
        [pair for share, pair in keyed if test_end <= share < dev_end] if dev is None else dev,
        [pair for share, pair in keyed if share < test_end] if test is None else test,
    )
    full = [[pair for pair in split if pair.source and pair.target] for split in splits]
    for name, split in zip(("training", "development", "test"), full, strict=True):
        if not split:
            raise UserError(
                f"no {name} pair is left of {len(corpus)} pairs: a larger corpus is needed, "
                "or files of their own (--dev-pairs, --test-pairs)"
            )
    return Splits(*full, dropped=sum(map(len, splits)) - sum(map(len, full)))


def fingerprint(splits: Splits) -> str:
    """A digest of every pair in every split: another text, another order or split shows."""
    digest = hashlib.sha256()
    for split in (splits.train, splits.dev, splits.test):
        for pair in split:
            digest.update(f"{pair.source}\t{pair.target}\n".encode())
        digest.update(b"\n")
    return digest.hexdigest()[:16]


def to_tsv(pairs: Iterable[Pair]) -> str:
    """The pairs in the layout that `read_tsv` reads."""
    return "".join(f"{pair.source}\t{pair.target}\t{pair.origin}\n" for pair in pairs)
