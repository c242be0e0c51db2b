"""The commands that use a run: `evaluate`, `export`, `translate` and `serve`."""

import io
import json
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from examples.common.commands import quiet_import
from examples.common.errors import UserError
from examples.common.files import write_with
from examples.common.options import with_options
from examples.common.serving import Average
from examples.serving import command
from examples.translation.config import OUT
from examples.translation.search import Search

Out = Annotated[Path, typer.Option(help="The run folder.")]
Ensemble = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="<path>",
        help="Another run, whose probabilities are averaged in. Can be given several times.",
    ),
]


@with_options
def evaluate(
    config: Search,
    out: Out = OUT,
    average: Average = "none",
    worst: Annotated[
        int, typer.Option(min=0, help="How many of the worst translations to list.")
    ] = 5,
    pictures: Annotated[int, typer.Option(min=1, help="How many alignments to draw.")] = 4,
):
    """Score a run's best model on the held-out test pairs.

    Writes BLEU (sacrebleu, with its signature) and exact match of greedy and beam search to
    metrics.json, all translations, the worst first, to translations.tsv, and alignment.png.
    """
    from examples.translation.run import Run

    if config.sample:
        raise UserError("--sample: expected a search, whose translations are not of chance")
    run = Run(out)
    attends = run.config().attention != "none"
    with quiet_import():
        from examples.translation.evaluate import evaluate

    result = evaluate(run, config, pictures, average)
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table("search", "BLEU", "exact match", "seconds")
    for search, label in (("greedy", "greedy"), ("beam", f"beam {config.beam_width}")):
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


@with_options
def export(
    config: Search,
    out: Out = OUT,
    ensemble: Ensemble = None,
    to: Annotated[
        Path | None,
        typer.Option(help="The folder to write. By default, saved_model in the run folder."),
    ] = None,
    average: Average = "none",
):
    """Export a run's best model as a SavedModel: text in; text, tokens, score, attention out.

    The export contains the tokenizers and the beam search, and returns all beams, for **translate**
    --n-best. It needs only TensorFlow and tensorflow-text.
    """
    from examples.translation.run import Run

    runs = [Run(folder) for folder in (out, *(ensemble or ()))]
    for run in runs:
        run.config()
    with quiet_import():
        from examples.translation.export import export

    path = to or runs[0].folder / "saved_model"
    export(runs, path, config, average)
    print(f"{path} written")


@with_options
def translate(
    config: Search,
    texts: Annotated[
        list[str] | None,
        typer.Argument(help="Lines to translate. By default, those of standard input."),
    ] = None,
    model: Annotated[
        Path, typer.Option(help="A run folder, or an exported model (a SavedModel folder).")
    ] = OUT,
    ensemble: Ensemble = None,
    score: Annotated[
        Path | None,
        typer.Option(
            help="Instead, score pairs (source, tab, target) with a run: print log p of each."
        ),
    ] = None,
    n_best: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Print this many translations of each line: number ||| translation ||| score.",
        ),
    ] = None,
    long: Annotated[
        Literal["cut", "skip", "error"],
        typer.Option(
            help="What to do with a line of too many tokens; skip leaves its result empty."
        ),
    ] = "cut",
    output: Annotated[
        Path | None, typer.Option(help="A file to write, which appears when it is complete.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per line: text, score, tokens.")
    ] = False,
):
    """Translate lines as they come, one result per line.

    With an exported model, neither Keras nor this library is loaded, and the search is the one that
    it was exported with. The search options apply only to a run folder.
    """
    models = [model, *(ensemble or ())]
    for path in models:
        if not path.exists():
            raise UserError(f"{path}: no such folder")
    if score:
        if texts or n_best or output or as_json:
            raise UserError("--score: expected no lines, --n-best, --output or --json beside it")
        _print_scores(models, score)
        return
    from rich.console import Console
    from rich.progress import track

    with quiet_import():
        from examples.translation import translate as translating

    translator = translating.open_translator(models, config)
    given = "".join(text.replace("\n", " ") + "\n" for text in texts or ())
    stream = io.BytesIO(given.encode("utf-8", "surrogateescape")) if texts else sys.stdin.buffer

    total = sum(1 for _ in stream) if stream.seekable() else None  # of a pipe nobody knows
    if total:
        stream.seek(0)

    def write_to(sink):
        rows = track(
            translating.translate(translator, translating.read_batches(stream), long, n_best),
            total=total,
            description="translating",
            console=Console(stderr=True),
            transient=True,
            disable=total is None or sink.isatty() or not sys.stderr.isatty(),
        )
        for number, row in enumerate(rows):
            print(_line(number, row, as_json), file=sink, flush=True)

    def write_file(path):
        with path.open("w", encoding="utf-8") as file:
            write_to(file)

    if output:
        write_with(output, write_file)
    else:
        write_to(sys.stdout)


def serve(
    model: command.Exported = OUT / "saved_model",
    port: command.Port = 8501,
    name: command.Name = "translator",
):
    """Serve an exported model on this machine: a page that translates as you type, and REST.

    The REST interface is that of TF Serving. Neither Keras nor this library is loaded.
    """
    command.serve(
        model,
        port,
        name,
        kind="translation",
        what="translator",
        takes="text",
        gives="source_length",
        example=b"a",
        body=2**20,
        rows=64,
        string=4096,
    )


def _print_scores(models: list[Path], path: Path) -> None:
    """Prints log p of each target sentence of a file of pairs, given its source."""
    from examples.translation.corpora import read_tsv
    from examples.translation.run import Run

    runs = [Run(model) for model in models]
    for run in runs:
        run.config()
    with quiet_import():
        from examples.translation import inference
    pairs = list(read_tsv(path))
    config, *parts = inference.load_ensemble(runs)
    for log_prob in inference.score_pairs(*parts, config.max_length, pairs):
        print(f"{log_prob:.4f}")


def _line(number: int, row: dict, as_json: bool) -> str:
    if as_json:
        return json.dumps(row, ensure_ascii=False)
    if "n_best" not in row:
        return row["text"]
    return "\n".join(f"{number} ||| {one['text']} ||| {one['score']:.4f}" for one in row["n_best"])
