"""Own corpora: parallel sentences in files, plain or gzip, read as streams, line by line."""

import functools
import gzip
import importlib.metadata
import itertools
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

from examples.common.errors import UserError
from examples.translation.config import FILES, Config
from examples.translation.data import Pair, ParallelCorpus, Read
from examples.translation.emoji_names import emoji_names


def read(corpus: Config) -> tuple[ParallelCorpus, Read | None, Read | None]:
    """The corpus, and what reads the pairs for development and for the test, None if not given.

    Emoji names are split by the emoji, so that a new Unicode release moves none.
    """
    pairs = read_either(corpus.pairs, corpus.source, corpus.target)
    if pairs is not None and corpus.language is not None:
        raise UserError("--language is for the emoji names: not with --pairs, --source, --target")
    names = [] if pairs else emoji_names(corpus.language or "fr")
    return (
        ParallelCorpus(pairs) if pairs else ParallelCorpus(lambda: names, lambda pair: pair.origin),
        read_either(corpus.dev_pairs, corpus.dev_source, corpus.dev_target, "dev-"),
        read_either(corpus.test_pairs, corpus.test_source, corpus.test_target, "test-"),
    )


def read_either(pairs, source, target, what="") -> Read | None:
    """What reads the pairs that `--[what]pairs`, or `--[what]source` and `target`, name."""
    if pairs and (source or target):
        raise UserError(f"--{what}pairs and --{what}source/--{what}target exclude each other")
    if (source is None) != (target is None):
        given, lacking = ("source", "target") if source else ("target", "source")
        raise UserError(f"--{what}{given} needs --{what}{lacking} too")
    if pairs:
        return functools.partial(read_tsv, pairs)
    return functools.partial(read_parallel, source, target) if source else None


def stamp(corpus: Config) -> list:
    """What changes when the corpus does: path, size and time of each file, or the emoji names."""
    files = [path for path in (getattr(corpus, name) for name in FILES) if path]
    if not files:
        return [corpus.language or "fr", importlib.metadata.version("emoji")]
    stats = [(path, os.stat(path)) for path in files if os.path.exists(path)]
    return [[ascii(path), stat.st_size, stat.st_mtime_ns] for path, stat in stats]


def read_lines(path: Path) -> Iterator[str]:
    """The lines of a UTF-8 file. Only a newline ends a line: corpora are aligned by line number."""
    empty = True
    try:
        with path.open("rb") as raw:
            packed = raw.peek(2).startswith(b"\x1f\x8b")
            file = gzip.GzipFile(fileobj=raw) if packed else raw
            start = file.peek(65536)[:65536]
            if start.startswith((b"\xff\xfe", b"\xfe\xff")):
                raise UserError(f"{path}: UTF-16, but UTF-8 is needed: iconv -f UTF-16 -t UTF-8")
            if b"\n" not in start and b"\r" in start.rstrip(b"\r"):
                raise UserError(f"{path}: lines end in CR alone, but LF is needed: tr '\\r' '\\n'")
            for number, line in enumerate(file, 1):
                if number == 1:
                    line = line.removeprefix(b"\xef\xbb\xbf")
                empty = empty and not line.strip()
                yield _decoded(line.removesuffix(b"\n"), f"{path}:{number}")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: cannot be read ({reason})") from None
    if empty:
        raise UserError(f"{path}: the file is empty")


def printable(path: Path) -> str:
    """A file name need not be UTF-8; what the run keeps is."""
    return os.fsencode(path).decode(errors="backslashreplace")


def _decoded(line: bytes, origin: str) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        byte = f"byte 0x{line[error.start]:02x} at position {error.start + 1}"
        raise UserError(f"{origin}: not UTF-8 ({byte})") from None


def read_tsv(path: Path) -> Iterator[Pair]:
    """Tatoeba/Anki: `source TAB target`; further columns are ignored, a blank line is no pair."""
    name = printable(path)
    for number, line in enumerate(read_lines(path), 1):
        source, tab, rest = line.partition("\t")
        if not tab and line.strip():
            raise UserError(f"{path}:{number}: one column, but 'source TAB target' is needed")
        yield Pair(source, rest.partition("\t")[0], f"{name}:{number}")


def read_parallel(source: Path, target: Path) -> Iterator[Pair]:
    """Moses/WMT: two files, line by line translations of each other."""
    name = printable(source)
    both = itertools.zip_longest(read_lines(source), read_lines(target))
    for number, (s, t) in enumerate(both, 1):
        if s is None or t is None:
            shorter = source if s is None else target
            sizes = [f"{path} has {sum(1 for _ in read_lines(path))}" for path in (source, target)]
            raise UserError(f"{shorter}:{number}: line missing: {' lines, '.join(sizes)}")
        yield Pair(s, t, f"{name}:{number}")
