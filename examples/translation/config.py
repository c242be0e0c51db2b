"""The options of `train`: the corpus, and everything else that decides how a run turns out."""

import dataclasses
from pathlib import Path
from typing import ClassVar, Literal, final

import typer

from examples.common import config
from examples.common.config import MODEL, TRAINING, WIDTHS
from examples.common.options import option

OUT = Path("out/translation")
CORPUS, VOCABULARY = "Corpus", "Vocabulary"
FILES = ("pairs", "source", "target", "dev_pairs", "dev_source", "dev_target")
FILES += ("test_pairs", "test_source", "test_target")

# Defaults that depend on the model.
RECURRENT = {"units": 256, "embedding": 256, "dropout": 0.3, "learning_rate": 3e-3}
TRANSFORMER = {"units": 512, "embedding": 128, "dropout": 0.1, "learning_rate": 1e-3}


def _either(name: str, panel: str, text: str):
    """An option with a default for each model; both are formatted into `text`."""
    return option(None, panel, text.format(RECURRENT[name], TRANSFORMER[name]), WIDTHS)


def inherit(ctx: typer.Context, option: typer.CallbackParam, value):
    """Model and vocabulary are by default those of --start-from, known when --out is known too."""
    from examples.translation.run import Run

    options = {**ctx.params, option.name: value}
    if options.get("start_from") and "out" in options:
        other = vars(Run(options["out"]).start(options["start_from"]).config())
        ctx.default_map = {name: other[name] for name in INHERITED} | (ctx.default_map or {})
    return value


@final
@dataclasses.dataclass(frozen=True)
class Config(config.Config):
    """The choices of `train`, kept in the run folder as config.json."""

    # A start may move: the fingerprint tells of its data too.
    not_compared: ClassVar = (*config.Config.not_compared, "language", *FILES, "start_from")
    paths: ClassVar = (*FILES, "source_model", "target_model", "start_from")

    language: str | None = option(
        None,
        CORPUS,
        "Learn the emoji names of this language: es ja ko pt it fr de fa id zh ru tr ar. With "
        "fr, this is the default corpus.",
    )
    pairs: Path | None = option(
        None,
        CORPUS,
        "Your own corpus, in the format of Tatoeba/Anki: source TAB target; further columns "
        "are ignored.",
    )
    source: Path | None = option(
        None, CORPUS, "Your own corpus, in the format of Moses/WMT: the file of source lines."
    )
    target: Path | None = option(None, CORPUS, "The file of target lines that goes with --source.")
    dev_pairs: Path | None = option(
        None,
        CORPUS,
        "Your own development pairs. By default, 5 % of the pairs, chosen by a hash of the source.",
    )
    dev_source: Path | None = option(
        None, CORPUS, "The source lines of the development pairs, if these are in two files."
    )
    dev_target: Path | None = option(
        None, CORPUS, "The target lines of the development pairs, if these are in two files."
    )
    test_pairs: Path | None = option(
        None,
        CORPUS,
        "Your own test pairs. By default, 10 % of the pairs, chosen by a hash of the source.",
    )
    test_source: Path | None = option(
        None, CORPUS, "The source lines of the test pairs, if these are in two files."
    )
    test_target: Path | None = option(
        None, CORPUS, "The target lines of the test pairs, if these are in two files."
    )
    max_length: int = option(
        40, CORPUS, "Largest number of tokens in a sentence, on either side.", (1, 4096)
    )
    skip_long: bool = option(False, CORPUS, "Leave out longer pairs. Otherwise they are an error.")
    vocabulary_size: int = option(
        8000, VOCABULARY, "Largest number of sub-word pieces per language, including special ones."
    )
    vocabulary_type: Literal["unigram", "bpe"] = option(
        "unigram", VOCABULARY, "What SentencePiece learns: a unigram model, or byte-pair encoding."
    )
    joint_vocabulary: bool = option(False, VOCABULARY, "One vocabulary for both languages.")
    source_model: str = option(
        "",
        VOCABULARY,
        "Your own SentencePiece model of the source, with ids 0 to 3 for padding, unknown, "
        "start, end.",
    )
    target_model: str = option("", VOCABULARY, "Your own SentencePiece model of the target.")
    fold_case: Literal["none", "source", "both"] = option(
        "source", VOCABULARY, "Which sides to lowercase."
    )
    subword_sampling: float = option(
        0.0,
        CORPUS,
        "Sample the pieces of training pairs anew in each epoch; 0: never. Unigram: try 0.2; "
        "lower values give shorter pieces. BPE: the share of merges that are left out; try 0.1.",
    )
    bleu_tokenize: Literal["auto", "13a", "intl", "zh", "char", "none"] = option(
        "auto",
        CORPUS,
        "sacrebleu's tokenizer; auto: 13a, but zh or char for Chinese or Japanese emoji names.",
    )
    model: Literal["recurrent", "transformer"] = option(
        "recurrent",
        MODEL,
        "GRUs or a Transformer. Where two defaults are given below, the second is the "
        "Transformer's.",
    )
    attention: Literal["bahdanau", "luong", "none"] = option(
        "bahdanau",
        MODEL,
        "Decoder and score: Bahdanau's, or Luong's (general); none: Luong's decoder reads only "
        "the encoder's last state, which needs more --encoder-units.",
    )
    units: int = _either(
        "units", MODEL, "Width of the decoder's state ({}), or of the feed-forward networks ({})."
    )
    encoder_units: int = option(
        64, MODEL, "Width of the GRU encoder's states; larger corpora can use more.", (2, 2**14)
    )
    embedding: int = _either(
        "embedding", MODEL, "Width of the embeddings ({}), or of a Transformer ({})."
    )
    heads: int = option(
        4, MODEL, "Number of heads in each attention layer of a Transformer.", WIDTHS
    )
    layers: int = option(2, MODEL, "Number of blocks of a Transformer, on each side.", (1, 100))
    tie_embeddings: bool = option(
        False, MODEL, "One matrix for both embeddings and the output; needs --joint-vocabulary."
    )
    dropout: float = _either(
        "dropout", MODEL, "Share of features that are dropped in training ({} or {})."
    )
    label_smoothing: float = option(
        0.1, TRAINING, "Share of a target that is spread over the vocabulary."
    )
    start_from: str = option(
        "",
        TRAINING,
        "A run whose weights, model and vocabulary this one starts from, for fine-tuning.",
        metavar="<path>",
        show_default=False,
        is_eager=True,
        callback=inherit,
    )
    epochs: int = option(30, TRAINING, "Number of passes through the pairs; can be raised later.")
    batch_tokens: int = option(
        256, TRAINING, "Tokens per batch, counted on its longer side and with padding."
    )
    learning_rate: float = _either(
        "learning_rate",
        TRAINING,
        "Its peak after half an epoch ({} or {}), from which a cosine leads it to 0.",
    )
    mixed_precision: Literal["none", "float16", "bfloat16"] = option(
        "none", TRAINING, "Compute in this type. Weights stay float32."
    )

    def defaults(self):
        return TRANSFORMER if self.model == "transformer" else RECURRENT

    def check(self):
        if self.model == "transformer":
            fits = self.embedding % self.heads == 0 and self.embedding % 2 == 0
            self.require("embedding", fits, f"an even multiple of --heads, {self.heads}")
            attends = self.attention != "none"
            self.require("attention", attends, "another choice with --model transformer")
        self.require("encoder_units", self.encoder_units % 2 == 0, "an even number")
        own = self.source_model or self.target_model
        self.require("joint_vocabulary", not (self.joint_vocabulary and own), "no own models")
        self.require("subword_sampling", 0 <= self.subword_sampling <= 1, "a number from 0 to 1")
        joint = self.joint_vocabulary or not self.tie_embeddings
        self.require("tie_embeddings", joint, "--joint-vocabulary beside it")
        if self.tie_embeddings and self.model == "recurrent" and self.attention == "bahdanau":
            fits = self.units == self.embedding
            self.require("units", fits, f"--embedding, {self.embedding}, with --tie-embeddings")
        self.require("label_smoothing", 0 <= self.label_smoothing < 1, "a number from 0 up to 1")

    def folds(self, side: str) -> bool:
        """Whether "source" or "target" is lower-cased."""
        return self.fold_case in (side, "both")


# What a run has from the one that it starts from.
INHERITED = [
    field.name
    for field in dataclasses.fields(Config)
    if field.metadata and field.metadata["panel"] in (MODEL, VOCABULARY)
]
