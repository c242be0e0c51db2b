"""The commands that use a run: `evaluate`, `export` and `translate`."""

import io
import itertools
import json
import os
import sys
from pathlib import Path
from typing import Annotated, Literal

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

    Tokenizers and beam search are inside; TensorFlow and tensorflow-text are all it needs.
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
    shown = sys.stderr.isatty() and not (texts or (sys.stdout.isatty() and output is None))
    batches = _with_progress(translating.read_batches(stream), shown and os.fstat(0).st_size)

    def write_to(sink):
        number = itertools.count()
        for rows in translating.translate(translator, batches, long, n_best):
            sink.writelines(_line(next(number), row, as_json) + "\n" for row in rows)
            sink.flush()

    def write_file(path):
        with path.open("w", encoding="utf-8") as file:
            write_to(file)

    if output is None:
        write_to(sys.stdout)
    else:
        write_with(output, write_file)


def _line(number: int, row: dict, as_json: bool) -> str:
    if as_json:
        return json.dumps(row, ensure_ascii=False)
    if "n_best" not in row:
        return row["text"]
    return "\n".join(f"{number} ||| {one['text']} ||| {one['score']:.4f}" for one in row["n_best"])


def _with_progress(batches, size: int):
    """Shows how much of a file of `size` bytes is translated; nothing if there is no size."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True, disable=not size) as progress:
        task = progress.add_task("translating", total=size)
        for lines in batches:
            yield lines
            progress.advance(task, sum(map(len, lines)) + len(lines))
