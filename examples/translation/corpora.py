"""Own corpora: parallel sentences in files, read line by line."""

from pathlib import Path

from examples.common.errors import UserError
from examples.translation.config import Corpus
from examples.translation.data import Pair, clean

Pairs = list[Pair] | None


def read(corpus: Corpus) -> tuple[Pairs, Pairs, Pairs]:
    """The pairs of the corpus, for development and for the test; None for what is not given."""
    pairs = read_either(corpus.pairs, corpus.source, corpus.target)
    if pairs is not None and corpus.language is not None:
        raise UserError("--language is for the emoji names: not with --pairs, --source, --target")
    return (
        pairs,
        read_either(corpus.dev_pairs, corpus.dev_source, corpus.dev_target, "dev-"),
        read_either(corpus.test_pairs, corpus.test_source, corpus.test_target, "test-"),
    )


def read_either(pairs: Path | None, source: Path | None, target: Path | None, what="") -> Pairs:
    """The pairs that the options `--[what]pairs`, or `--[what]source` and `target`, name."""
    if pairs and (source or target):
        raise UserError(f"--{what}pairs and --{what}source/--{what}target exclude each other")
    if (source is None) != (target is None):
        given, lacking = ("source", "target") if source else ("target", "source")
        raise UserError(f"--{what}{given} needs --{what}{lacking} too")
    if pairs:
        return read_tsv(pairs)
    return read_parallel(source, target) if source and target else None


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
