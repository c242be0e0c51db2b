"""The commands that use a study: `evaluate`, `explain`, `export`, `caption` and `serve`."""

import base64
import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from examples.captioning.config import OUT, Attention
from examples.common.commands import quiet_import
from examples.common.errors import UserError
from examples.common.serving import Average, BeamWidth, LengthPenalty
from examples.serving import command

Out = Annotated[Path, typer.Option(help="The folder of the study.")]
PIXEL = base64.b64decode("R0lGODlhAQABAIAAAP///wAAACwAAAAAAQABAAACAkQBADs=")  # a GIF
Kind = Annotated[Attention, typer.Option(help="Which of the study's runs.")]


def evaluate(
    out: Out = OUT,
    beam_width: BeamWidth = 3,
    length_penalty: LengthPenalty = 0.0,
    average: Average = "none",
    pictures: Annotated[
        int,
        typer.Option(min=1, help="How many pictures to draw; the page has 12 times as many."),
    ] = 3,
    saliency: Annotated[
        int, typer.Option(min=0, help="How many pictures on the page also show saliency.")
    ] = 6,
    meteor: Annotated[
        bool,
        typer.Option(
            "--meteor", help="Also compute METEOR, which is for English and needs its packages."
        ),
    ] = False,
    pairs: Annotated[
        bool,
        typer.Option(
            "--pairs",
            help="Also measure whether attention tells two pictures in one frame apart, by "
            "English nouns.",
        ),
    ] = False,
):
    """Score the best model of each run of a study on the test pictures.

    Writes to metrics.json BLEU-1 to 4, ROUGE-L, CIDEr-D and exact match of greedy and beam search,
    and pointing and entropy of attention; the entropy is in percent of the largest. attention.html
    and attention.png show side by side where the models look; captions.tsv of a run lists its
    captions.
    """
    with quiet_import():
        from examples.captioning.evaluate import evaluate

    metrics = evaluate(out, beam_width, length_penalty, pictures, average, meteor, pairs, saliency)
    from rich.console import Console
    from rich.table import Table

    columns = ["exact_match", "bleu1", "bleu2", "bleu3", "bleu4", "rouge_l", "cider"]
    columns += ["meteor"] * meteor
    table = Table("attention", "search", *columns, "pointing", "entropy", "train s")
    for kind, row in metrics.items():
        for search in ("greedy", "beam"):
            last = search == "beam"
            table.add_row(
                kind,
                search,
                *(f"{row[search][name]:.2f}" for name in columns),
                *(
                    f"{row[name]:.2f}" if last and name in row else ""
                    for name in ("pointing", "entropy")
                ),
                f"{row['train_seconds']:.0f}" if last else "",
            )
    Console(width=120).print(table)
    for kind, row in metrics.items() if pairs else ():
        for what, (mean, low, high) in row.get("pairs", {}).items():
            print(f"{kind}: {what} in their own picture of two: {mean} % ({low} to {high})")
    png = ", attention.png" if set(metrics) - {"none"} else ""
    print(f"{out / 'metrics.json'}{png} and attention.html written")


def explain(
    picture: Annotated[Path, typer.Argument(help="A JPEG, PNG, GIF or WebP file.")],
    out: Out = OUT,
    attention: Kind = "soft",
    to: Annotated[
        Path | None,
        typer.Option(help="The PNG file to write. By default, explained.png in the study."),
    ] = None,
):
    """Draw, for each word of a picture's caption, its attention beside saliency and Grad-CAM."""
    path = to or out / "explained.png"
    if path.suffix != ".png":
        raise UserError(f"--to {path}: expected a name that ends in .png")
    with quiet_import():
        from examples.captioning.caption import read
        from examples.captioning.decoding import check_picture
        from examples.captioning.explain import explain
        from examples.captioning.run import Run

        encoded = read(picture)  # the JPEG library prints, too
        check_picture(encoded, picture)
    words = explain(Run(out / attention), encoded, path)
    print(f"{' '.join(words)}\n{path} written")


def export(
    out: Out = OUT,
    attention: Kind = "soft",
    to: Annotated[
        Path | None, typer.Option(help="The folder to write. By default, saved_model in the study.")
    ] = None,
    beam_width: BeamWidth = 3,
    length_penalty: LengthPenalty = 0.0,
    average: Average = "none",
):
    """Export a run's best model as a SavedModel: pictures in; text, words, score, attention out.

    The export contains the decoding of pictures and the beam search. It needs only TensorFlow, and
    for sub-words tensorflow-text too; its words are then pieces.
    """
    with quiet_import():
        from examples.captioning.export import export
        from examples.captioning.run import Run

    path = to or out / "saved_model"
    export(Run(out / attention), path, beam_width, length_penalty, average)
    print(f"{path} written")


def caption(
    pictures: Annotated[
        list[Path], typer.Argument(help="JPEG, PNG, GIF or WebP files, or folders of them.")
    ],
    model: Annotated[
        Path, typer.Option(help="A run folder, or an exported model (a SavedModel folder).")
    ] = OUT / "saved_model",
    beam_width: BeamWidth = 3,
    length_penalty: LengthPenalty = 0.0,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print one JSON object per line: file, text, score, words."),
    ] = False,
):
    """Caption pictures as they come, one result per line.

    For a picture that cannot be read, a line goes to standard error; the others get their captions,
    and the exit code is 1. With an exported model, neither Keras nor this library is loaded, and
    the search is the one that it was exported with. The two search options apply only to a run
    folder.
    """
    if not model.exists():
        raise UserError(f"{model}: no such folder")
    with quiet_import():
        from examples.captioning import caption as captioning

    files, notes = captioning.find(pictures)
    captioner = captioning.open_captioner(model, beam_width, length_penalty)
    for note in notes:
        print(note, file=sys.stderr)
    failed = False
    for file, row in captioning.caption_files(captioner, files):
        if isinstance(row, UserError):
            failed = True
            print(f"error: {row}", file=sys.stderr, flush=True)
        elif as_json:
            print(json.dumps({"file": str(file), **row}, ensure_ascii=False), flush=True)
        else:
            print(row["text"], flush=True)
    if failed:
        raise typer.Exit(1)


def serve(
    model: command.Exported = OUT / "saved_model",
    port: command.Port = 8501,
    name: command.Name = "captioner",
):
    """Serve an exported model on this machine: a page for your own pictures, and REST.

    The REST interface is that of TF Serving. Neither Keras nor this library is loaded.
    """
    command.serve(
        model,
        port,
        name,
        kind="captioning",
        what="captioner",
        takes="image",
        gives="attention",
        example=PIXEL,
        body=32 * 2**20,
        rows=16,
        string=16 * 2**20,
        waiting=32,
    )
