"""The commands that use a run: `evaluate`, `export` and `translate`."""

import contextlib
import io
import json
import os
import sys
from pathlib import Path
from typing import Annotated, BinaryIO, Literal

import typer

from examples.common.commands import quiet_import
from examples.common.errors import UserError
from examples.common.files import write_with
from examples.common.serving import BeamWidth, LengthPenalty
from examples.translation.config import OUT

Out = Annotated[Path, typer.Option(help="The run folder.")]


def evaluate(
    out: Out = OUT,
    beam_width: BeamWidth = 5,
    length_penalty: LengthPenalty = 0.0,
    worst: Annotated[int, typer.Option(min=0, help="How many of the worst to list.")] = 5,
    pictures: Annotated[int, typer.Option(min=1, help="Alignments to draw.")] = 4,
):
    """Score a run's best model on the held-out test pairs.

    BLEU (sacrebleu, with its signature) and exact match, greedy and beam search side by side, into
    metrics.json; every translation, the worst first, into translations.tsv; and alignment.png.
    """
    from examples.translation.run import Run

    run = Run(out)
    attends = run.config().attention != "none"
    with quiet_import():
        from examples.translation.evaluate import evaluate

    result = evaluate(run, beam_width, length_penalty, pictures)
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table("search", "BLEU", "exact match", "seconds")
    for search, label in (("greedy", "greedy"), ("beam", f"beam {beam_width}")):
        row = result[search]
        table.add_row(
            label, f"{row['bleu']:.2f}", f"{row['exact_match']:.2f} %", str(row["seconds"])
        )
    console.print(table)
    print(f"{result['test_pairs']} test pairs, {result['signature']}")
    wrong = [row for row in result["rows"] if row[3] != row[1]][:worst]
    for text, reference, _, found in wrong:
        print(f"  {text}\n    found:     {found}\n    reference: {reference}")
    picture = "and alignment.png written" if attends else "written; without attention no picture"
    print(f"{run.folder / 'metrics.json'}, translations.tsv {picture}")


def export(
    out: Out = OUT,
    to: Annotated[
        Path | None, typer.Option(help="Where to; without it, saved_model in the run folder.")
    ] = None,
    beam_width: BeamWidth = 5,
    length_penalty: LengthPenalty = 0.0,
):
    """Export a run's best model as a SavedModel: text in; text, tokens, score, attention out.

    Tokenizers and beam search are inside, and all beams come out, for **translate** --n-best.
    TensorFlow and tensorflow-text are all it needs.
    """
    from examples.translation.run import Run

    run = Run(out)
    run.config()
    with quiet_import():
        from examples.translation.export import export

    path = to or run.folder / "saved_model"
    export(run, path, beam_width, length_penalty)
    print(f"{path} written")


def translate(
    texts: Annotated[
        list[str] | None, typer.Argument(help="Lines to translate. Without any: standard input.")
    ] = None,
    model: Annotated[
        Path, typer.Option(help="A run folder, or an exported model (a SavedModel folder).")
    ] = OUT,
    beam_width: BeamWidth = 5,
    length_penalty: LengthPenalty = 0.0,
    n_best: Annotated[
        int | None,
        typer.Option(min=1, help="Print so many of each: number ||| translation ||| score."),
    ] = None,
    long: Annotated[
        Literal["cut", "skip", "error"],
        typer.Option(help="What to do with a line of too many tokens; skip leaves it empty."),
    ] = "cut",
    output: Annotated[
        Path | None, typer.Option(help="A file to write, which appears when it is complete.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object a line: text, score, tokens.")
    ] = False,
):
    """Translate lines, one result a line, as they come.

    With an exported model neither Keras nor this library is loaded, and the search is the one it
    was exported with: the two search options count for a run folder only.
    """
    if not model.exists():
        raise UserError(f"{model}: no such folder")
    with quiet_import():
        from examples.translation import translate as translating

    translator = translating.open_translator(model, beam_width, length_penalty)
    given = "".join(text.replace("\n", " ") + "\n" for text in texts or ())
    stream = io.BytesIO(given.encode("utf-8", "surrogateescape")) if texts else sys.stdin.buffer

    def write_to(sink):
        with _with_progress(stream, shown=not (texts or sink.isatty())) as lines:
            batches = translating.read_batches(lines)
            for number, row in enumerate(translating.translate(translator, batches, long, n_best)):
                print(_line(number, row, as_json), file=sink, flush=True)

    def write_file(path):
        with path.open("w", encoding="utf-8") as file:
            write_to(file)

    try:
        if output:
            write_with(output, write_file)
        else:
            write_to(sys.stdout)
    except BrokenPipeError:  # the reader has enough
        raise
    except OSError as error:
        raise UserError(f"standard output: cannot be written ({error.strerror})") from None


def _line(number: int, row: dict, as_json: bool) -> str:
    if as_json:
        return json.dumps(row, ensure_ascii=False)
    if "n_best" not in row:
        return row["text"]
    return "\n".join(f"{number} ||| {one['text']} ||| {one['score']:.4f}" for one in row["n_best"])


def _with_progress(stream: BinaryIO, shown: bool):
    """Standard input, with what is read of it on stderr if it is a file and stderr a terminal."""
    size = os.fstat(0).st_size if shown and sys.stderr.isatty() else 0
    if not size:  # of a pipe or a terminal too
        return contextlib.nullcontext(stream)
    from rich.console import Console
    from rich.progress import wrap_file

    console = Console(stderr=True)
    return wrap_file(stream, size, description="translated", console=console, transient=True)
