"""The command line. What is slow to import is imported inside the commands: `--help` is quick."""

import enum
import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from examples.common.commands import (
    BeamWidth,
    LengthPenalty,
    OneLineErrors,
    option,
    quiet_import,
)
from examples.common.errors import UserError

OUT = Path("out/translation")


app = typer.Typer(
    cls=OneLineErrors,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="""A translator with attention: train it, look at its alignments, export it, use it.

    Without options it learns the French names of emoji from their English ones, on two CPU cores
    in a few minutes: **train**, then **evaluate**, **export** and
    **translate** "a line".""",
)


class Model(enum.StrEnum):
    recurrent = "recurrent"
    transformer = "transformer"


class Attention(enum.StrEnum):
    bahdanau = "bahdanau"
    luong = "luong"


class FoldCase(enum.StrEnum):
    none = "none"
    source = "source"
    both = "both"


class MixedPrecision(enum.StrEnum):
    none = "none"
    float16 = "float16"
    bfloat16 = "bfloat16"


class BleuTokenize(enum.StrEnum):
    auto = "auto"
    v13a = "13a"
    intl = "intl"
    zh = "zh"
    char = "char"
    none = "none"


CORPUS, MODEL, TRAINING = "Corpus", "Model", "Training"


Out = Annotated[Path, typer.Option(help="The run folder.")]


@app.command()
def train(
    language: Annotated[
        str | None,
        option(
            CORPUS,
            "Learn the emoji names of this language: es ja ko pt it fr de fa id zh ru tr ar. "
            "The default corpus, with fr.",
        ),
    ] = None,
    pairs: Annotated[
        Path | None,
        option(CORPUS, "Own corpus, as Tatoeba/Anki have it: source TAB target, more is ignored."),
    ] = None,
    source: Annotated[
        Path | None, option(CORPUS, "Own corpus, as Moses/WMT have it: the source lines,")
    ] = None,
    target: Annotated[Path | None, option(CORPUS, "and the target lines.")] = None,
    dev_pairs: Annotated[
        Path | None,
        option(CORPUS, "Own development pairs. Otherwise 5 % by a hash of the source sentence."),
    ] = None,
    dev_source: Annotated[Path | None, option(CORPUS, "The same as two files.")] = None,
    dev_target: Annotated[Path | None, option(CORPUS, "The same as two files.")] = None,
    test_pairs: Annotated[
        Path | None,
        option(CORPUS, "Own test pairs. Otherwise 10 % by a hash of the source sentence."),
    ] = None,
    test_source: Annotated[Path | None, option(CORPUS, "The same as two files.")] = None,
    test_target: Annotated[Path | None, option(CORPUS, "The same as two files.")] = None,
    max_length: Annotated[
        int, option(CORPUS, "Tokens that a sentence may have, on either side.")
    ] = 40,
    skip_long: Annotated[
        bool, option(CORPUS, "Leave longer pairs out. Otherwise they are an error.")
    ] = False,
    vocabulary_size: Annotated[
        int, option(CORPUS, "Sub-word pieces for each language, at most; special ones included.")
    ] = 8000,
    fold_case: Annotated[FoldCase, option(CORPUS, "What to lower-case.")] = FoldCase.source,
    bleu_tokenize: Annotated[
        BleuTokenize,
        option(CORPUS, "sacrebleu's tokenizer; auto: zh or char for Chinese or Japanese emoji."),
    ] = BleuTokenize.auto,
    model: Annotated[
        Model, option(MODEL, "GRUs, or a Transformer, for which the second defaults below are.")
    ] = Model.recurrent,
    attention: Annotated[
        Attention, option(MODEL, "Decoder and score: Luong's (general), or Bahdanau's.")
    ] = Attention.luong,
    units: Annotated[
        int | None,
        option(MODEL, "Width of the decoder's state, 256; or of feed-forward nets, 512."),
    ] = None,
    encoder_units: Annotated[
        int, option(MODEL, "Width of the GRU encoder's states; larger corpora can use more.")
    ] = 64,
    embedding: Annotated[
        int | None, option(MODEL, "Width of the embeddings, 256; or of a Transformer, 128.")
    ] = None,
    heads: Annotated[int, option(MODEL, "Heads of each attention of a Transformer.")] = 4,
    layers: Annotated[int, option(MODEL, "Blocks of a Transformer, on each side.")] = 2,
    dropout: Annotated[
        float | None, option(MODEL, "Share of features dropped in training, 0.3 or 0.1.")
    ] = None,
    label_smoothing: Annotated[
        float, option(TRAINING, "Share of a target that is spread over the vocabulary.")
    ] = 0.1,
    epochs: Annotated[int, option(TRAINING, "Times to go through the pairs.")] = 30,
    batch_size: Annotated[int, option(TRAINING, "Pairs in a batch.")] = 32,
    learning_rate: Annotated[
        float | None,
        option(TRAINING, "At the end of the first epoch, 3e-3 or 1e-3; a cosine leads it to 0."),
    ] = None,
    seed: Annotated[int, option(TRAINING, "Of weights, dropout and order.", min=1)] = 1,
    jit: Annotated[bool, option(TRAINING, "Compile the training step with XLA.")] = False,
    mixed_precision: Annotated[
        MixedPrecision, option(TRAINING, "Compute in this type; weights stay float32.")
    ] = MixedPrecision.none,
    out: Out = OUT,
):
    """Train a translator into a run folder.

    Each epoch ends with the BLEU on the development pairs and a sample; the best model is kept.
    Ctrl-C, or a kill, loses nothing but the epoch under way: the same command goes on from there.
    A folder that holds a run with other choices or data is refused and left as it is.
    """
    from examples.translation import data
    from examples.translation.config import Config
    from examples.translation.run import Run

    corpus = data.read_corpus(pairs, source, target)
    if corpus is not None and language is not None:
        raise UserError("--language is for the emoji names: not with --pairs, --source, --target")
    splits = data.load(
        language,
        corpus,
        data.read_corpus(dev_pairs, dev_source, dev_target, "dev"),
        data.read_corpus(test_pairs, test_source, test_target, "test"),
    )
    # A file name need not be UTF-8, the config is.
    path = os.fsencode(pairs or source or "").decode(errors="backslashreplace")
    name = path or f"emoji names, en-{language or 'fr'}"
    if bleu_tokenize is BleuTokenize.auto:
        by_language = {"zh": BleuTokenize.zh, "ja": BleuTokenize.char}
        bleu_tokenize = by_language.get(language or "", BleuTokenize.v13a)
    config = Config.of(
        data=name,
        fingerprint=data.fingerprint(splits),
        bleu_tokenize=bleu_tokenize.value,
        vocabulary_size=vocabulary_size,
        max_length=max_length,
        skip_long=skip_long,
        fold_case=fold_case.value,
        model=model.value,
        attention=attention.value,
        units=units,
        encoder_units=encoder_units,
        embedding=embedding,
        heads=heads,
        layers=layers,
        dropout=dropout,
        label_smoothing=label_smoothing,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=seed,
        jit=jit,
        mixed_precision=mixed_precision.value,
    )
    run = Run(out)
    run.check(config)
    with quiet_import():
        from examples.translation import train as training

    try:
        progress = training.train(run, config, splits)
    except KeyboardInterrupt:
        kept = f"the best model so far is in {run.weights}; " if run.weights.exists() else ""
        print(f"\nstopped: {kept}the same command goes on from the last whole epoch")
        raise typer.Exit(130) from None
    print(
        f"kept: epoch {progress['best_epoch']}; best BLEU on the development pairs "
        f"{progress['best_bleu']}; {progress['seconds']:.0f} s in all; {run.weights}"
    )


@app.command()
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
    run.config()
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
    print(f"{run.folder / 'metrics.json'}, translations.tsv and alignment.png written")


@app.command()
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


@app.command()
def translate(
    texts: Annotated[
        list[str] | None, typer.Argument(help="Lines to translate. Without any: standard input.")
    ] = None,
    model: Annotated[
        Path, typer.Option(help="A run folder, or an exported model (a SavedModel folder).")
    ] = OUT,
    beam_width: BeamWidth = 5,
    length_penalty: LengthPenalty = 0.0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object a line: text, score, tokens.")
    ] = False,
):
    """Translate lines, one result a line.

    With an exported model neither Keras nor this library is loaded, and the search is the one it
    was exported with: the two search options count for a run folder only.
    """
    if not model.exists():
        raise UserError(f"{model}: no such folder")
    with quiet_import():
        from examples.translation import translate as translating

    translator = translating.open_translator(model, beam_width, length_penalty)
    lines = texts or _lines(sys.stdin.buffer.read().decode("utf-8", "surrogateescape"))
    for row in translating.translate(translator, lines):
        print(json.dumps(row, ensure_ascii=False) if as_json else row["text"])


def _lines(text: str) -> list[str]:
    """Only a newline ends a line, so that there is one result for each."""
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")] if text else []
