"""The command line. What is slow to import is imported inside the commands: `--help` is quick."""

import dataclasses
import enum
import json
from pathlib import Path
from typing import Annotated

import typer

from examples.captioning.config import SCENES, Config
from examples.common.commands import (
    BeamWidth,
    LengthPenalty,
    OneLineErrors,
    option,
    quiet_import,
)
from examples.common.errors import UserError

OUT = Path("out/captioning")

app = typer.Typer(
    cls=OneLineErrors,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="""A captioner with attention: train it, see where it looks, export it, use it.

    Without options it learns to describe scenes drawn from OpenMoji artwork, on two CPU cores in a
    few minutes: **train**, then **evaluate**, **explain**, **export** and **caption** a picture.
    A study holds a run for each kind of attention.""",
)


class Attention(enum.StrEnum):
    soft = "soft"
    hard = "hard"
    none = "none"


class Estimator(enum.StrEnum):
    reinforce = "reinforce"
    straight_through = "straight_through"


class Encoder(enum.StrEnum):
    cnn = "cnn"
    efficientnet = "efficientnet"


DATA, MODEL, TRAINING = "Data", "Model", "Training"


Out = Annotated[Path, typer.Option(help="The folder of the study.")]
Kind = Annotated[Attention, typer.Option(help="Which of the study's runs.")]


@app.command()
def train(
    images: Annotated[
        Path | None, option(DATA, "Own pictures, JPEG or PNG: a folder, or a tar of one,")
    ] = None,
    captions: Annotated[
        Path | None,
        option(DATA, "and their captions, as Flickr8k, Karpathy's splits or COCO have them."),
    ] = None,
    skip_missing: Annotated[
        bool, option(DATA, "Leave captions without a picture out. Otherwise they are an error.")
    ] = False,
    size: Annotated[
        int, option(DATA, "Side of the pictures in pixels; efficientnet takes 224.")
    ] = 96,
    min_count: Annotated[
        int, option(DATA, "How often a word stands in the training captions, or it is unknown.")
    ] = 1,
    max_length: Annotated[
        int, option(DATA, "Words of a caption; longer ones are cut in training.")
    ] = 20,
    attention: Annotated[
        Attention, option(MODEL, "What each word looks at; none: the mean of the picture.")
    ] = Attention.soft,
    estimator: Annotated[
        Estimator, option(MODEL, "What hard attention learns by.")
    ] = Estimator.reinforce,
    encoder: Annotated[
        Encoder,
        option(MODEL, "A small CNN, trained along, or EfficientNet-Lite0, frozen (ImageNet)."),
    ] = Encoder.cnn,
    units: Annotated[int, option(MODEL, "Width of the decoder's state.")] = 192,
    attention_units: Annotated[int, option(MODEL, "Width of the attention.")] = 128,
    channels: Annotated[int, option(MODEL, "Width of the map that is looked at.")] = 128,
    embedding: Annotated[int, option(MODEL, "Width of the embeddings.")] = 64,
    dropout: Annotated[float, option(MODEL, "Share of features dropped in training.")] = 0.0,
    doubly_stochastic: Annotated[
        float, option(TRAINING, "Weight of the loss that asks to look everywhere in the end.")
    ] = 0.0,
    reward: Annotated[float, option(TRAINING, "Weight of the reward in REINFORCE.")] = 1.0,
    start_from: Annotated[
        Path | None,
        option(TRAINING, "A run to take the first weights from: soft attention's for hard."),
    ] = None,
    entropy: Annotated[float, option(TRAINING, "Weight of the entropy in REINFORCE.")] = 0.01,
    epochs: Annotated[int, option(TRAINING, "Times to go through the captions.")] = 5,
    batch_size: Annotated[int, option(TRAINING, "Captions in a batch.")] = 32,
    learning_rate: Annotated[
        float, option(TRAINING, "Adam's, after half an epoch; a cosine leads it to 0.")
    ] = 2e-3,
    seed: Annotated[int, option(TRAINING, "Of weights, dropout, draws and order.", min=1)] = 1,
    jit: Annotated[bool, option(TRAINING, "Compile the training step with XLA.")] = False,
    out: Out = OUT,
):
    """Train a captioner into a study, as the run of its attention.

    Each epoch ends with the scores on the development pictures and a sample; the best model is
    kept. Ctrl-C, or a kill, loses nothing but the epoch under way: the same command goes on from
    there. A run with other choices or data is refused and left as it is.
    """
    if (images is None) != (captions is None):
        given, lacking = ("images", "captions") if images else ("captions", "images")
        raise UserError(f"--{given} needs --{lacking} too")
    with quiet_import():
        from examples.captioning import data
        from examples.captioning import train as training
        from examples.captioning.images import check, open_images
        from examples.captioning.run import Run

    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: not a folder")
    # Made before the data are looked at, so that a wrong choice is told at once.
    config = Config(
        data=str(captions) if captions else SCENES,
        fingerprint="",
        images="",
        size=size,
        encoder=encoder.value,
        attention=attention.value,
        estimator=estimator.value,
        min_count=min_count,
        max_length=max_length,
        units=units,
        attention_units=attention_units,
        channels=channels,
        embedding=embedding,
        dropout=dropout,
        doubly_stochastic=doubly_stochastic,
        reward=reward,
        entropy=entropy,
        start_from=str(start_from.absolute()) if start_from else "",
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=seed,
        jit=jit,
    )
    if images is None or captions is None:
        images, captions = _scenes(out / "scenes")
    splits = data.load(images, captions, skip_missing)
    pictures = open_images(images)
    bad = check(pictures, [picture.name for split in splits[:3] for picture in split])[1]
    if bad:
        splits = data.without(splits, bad)
    # The scenes move with the study.
    place = images.relative_to(out) if config.data == SCENES else images.absolute()
    config = dataclasses.replace(
        config, fingerprint=data.fingerprint(splits, pictures), images=str(place)
    )
    run = Run(out / attention.value)
    try:
        progress = training.train(run, config, splits, pictures)
    except KeyboardInterrupt:
        kept = f"the best model so far is in {run.weights}; " if run.weights.exists() else ""
        print(f"\nstopped: {kept}the same command goes on from the last whole epoch")
        raise typer.Exit(130) from None
    print(
        f"kept: epoch {progress['best_epoch']}; best BLEU-4 on the development pictures "
        f"{progress['best_bleu']}; {progress['seconds']:.0f} s in all; {run.weights}"
    )


def _scenes(folder: Path) -> tuple[Path, Path]:
    """The default data, drawn once. Its captions are written last."""
    from examples.captioning import scenes

    images, captions = folder / "images.tar", folder / "captions.json"
    if not (images.exists() and captions.exists()):
        scenes.write(folder, scenes.SIZES)
    return images, captions


@app.command()
def evaluate(
    out: Out = OUT,
    beam_width: BeamWidth = 3,
    length_penalty: LengthPenalty = 0.0,
    pictures: Annotated[int, typer.Option(min=1, help="Pictures to draw for each run.")] = 3,
):
    """Score the best model of each run of a study on the test pictures.

    BLEU-1 to 4, CIDEr, exact match and pointing, greedy and beam search, into metrics.json;
    attention.png and attention.html show where they look; captions.tsv of a run lists its captions.
    """
    with quiet_import():
        from examples.captioning.evaluate import evaluate

    metrics = evaluate(out, beam_width, length_penalty, pictures)
    from rich.console import Console
    from rich.table import Table

    columns = ("exact_match", "bleu1", "bleu2", "bleu3", "bleu4", "cider")
    table = Table("attention", "search", *columns, "pointing", "train s")
    for kind, row in metrics.items():
        for search in ("greedy", "beam"):
            last = search == "beam"
            table.add_row(
                kind,
                search,
                *(f"{row[search][name]:.2f}" for name in columns),
                f"{row['pointing']:.2f}" if last and "pointing" in row else "",
                f"{row['train_seconds']:.0f}" if last else "",
            )
    Console(width=110).print(table)
    print(f"{out / 'metrics.json'}, attention.png and attention.html written")


@app.command()
def explain(
    picture: Annotated[Path, typer.Argument(help="A JPEG or PNG file.")],
    out: Out = OUT,
    attention: Kind = Attention.soft,
    to: Annotated[
        Path | None,
        typer.Option(help="Where to, a PNG file; without it, explained.png in the study."),
    ] = None,
):
    """Draw, for each word of a picture's caption, its attention beside saliency and Grad-CAM."""
    path = to or out / "explained.png"
    if path.suffix != ".png":
        raise UserError(f"--to {path}: accepted is a name that ends in .png")
    with quiet_import():
        from examples.captioning.caption import read
        from examples.captioning.explain import explain
        from examples.captioning.run import Run

        (encoded,) = read([picture])  # the JPEG library prints, too
    words = explain(Run(out / attention.value), encoded, path)
    print(f"{' '.join(words)}\n{path} written")


@app.command()
def export(
    out: Out = OUT,
    attention: Kind = Attention.soft,
    to: Annotated[
        Path | None, typer.Option(help="Where to; without it, saved_model in the study.")
    ] = None,
    beam_width: BeamWidth = 3,
    length_penalty: LengthPenalty = 0.0,
):
    """Export a run's best model as a SavedModel: pictures in; text, words, score, attention out.

    Decoding and beam search are inside; TensorFlow is all it needs.
    """
    with quiet_import():
        from examples.captioning.export import export
        from examples.captioning.run import Run

    path = to or out / "saved_model"
    export(Run(out / attention.value), path, beam_width, length_penalty)
    print(f"{path} written")


@app.command()
def caption(
    pictures: Annotated[list[Path], typer.Argument(help="JPEG or PNG files.")],
    model: Annotated[
        Path, typer.Option(help="A run folder, or an exported model (a SavedModel folder).")
    ] = OUT / "saved_model",
    beam_width: BeamWidth = 3,
    length_penalty: LengthPenalty = 0.0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object a line: text, score, words.")
    ] = False,
):
    """Caption pictures, one result a line.

    With an exported model neither Keras nor this library is loaded, and the search is the one it
    was exported with: the two search options count for a run folder only.
    """
    if not model.exists():
        raise UserError(f"{model}: no such folder")
    with quiet_import():
        from examples.captioning import caption as captioning

        encoded = captioning.read(pictures)  # the JPEG library prints, too
    captioner = captioning.open_captioner(model, beam_width, length_penalty)
    for row in captioning.caption(captioner, encoded):
        print(json.dumps(row, ensure_ascii=False) if as_json else row["text"])
