"""Everything that decides how a run turns out."""

import dataclasses
from typing import Any, Self, final

from examples.common import config

# What a model has in place of the defaults of `Config`.
DEFAULTS: dict[str, dict[str, Any]] = {
    "recurrent": {},
    "transformer": {"units": 512, "embedding": 128, "dropout": 0.1, "learning_rate": 1e-3},
}


@final
@dataclasses.dataclass(frozen=True)
class Config(config.Config):
    """The choices of `train`, kept in the run folder as config.json.

    Attributes:
        bleu_tokenize: sacrebleu's tokenizer for the target language.
        max_length: The longest sentence, in tokens, on either side.
        fold_case: "source": the source is lower-cased; "both": the target too; or "none".
        model: "recurrent", or "transformer".
        attention: Of the recurrent model: "luong" or "bahdanau".
        units: Width of the decoder's state; in a Transformer, of the feed-forward networks.
        encoder_units: Of the recurrent model: the width of the encoder's states, both directions
            together.
        embedding: Width of the embeddings; in a Transformer, of all that its blocks exchange.
        heads, layers: Of a Transformer: in each attention, and on each side.
        seed: Decides first weights, dropout and the order of the batches.
        jit: Whether the training step is compiled by XLA.
        mixed_precision: "none", or the type to compute in: "float16" or "bfloat16".
    """

    bleu_tokenize: str = "13a"
    vocabulary_size: int = 8000
    max_length: int = 40
    skip_long: bool = False
    fold_case: str = "source"
    model: str = "recurrent"
    attention: str = "luong"
    units: int = 256
    encoder_units: int = 64
    embedding: int = 256
    heads: int = 4
    layers: int = 2
    dropout: float = 0.3
    label_smoothing: float = 0.1
    epochs: int = 30
    batch_size: int = 32
    learning_rate: float = 3e-3
    seed: int = 1
    jit: bool = False
    mixed_precision: str = "none"

    def __post_init__(self):
        names = ("max_length", "units", "embedding", "heads", "layers", "epochs", "batch_size")
        for name in names:
            self.require(name, getattr(self, name) >= 1, "a number above 0")
        if self.model == "transformer":
            fits = self.embedding % self.heads == 0 and self.embedding % 2 == 0
            self.require("embedding", fits, f"an even multiple of --heads, {self.heads}")
        even = self.encoder_units > 0 and self.encoder_units % 2 == 0
        self.require("encoder_units", even, "an even number above 0")
        self.require("dropout", 0 <= self.dropout < 1, "a number from 0 up to 1")
        smoothing = 0 <= self.label_smoothing < 1
        self.require("label_smoothing", smoothing, "a number from 0 up to 1")
        self.require("seed", self.seed >= 1, "a number above 0")  # TensorFlow takes 0 for none
        self.require("learning_rate", self.learning_rate > 0, "a number above 0")

    @classmethod
    def of(cls, model: str, **choices) -> Self:
        """With the defaults of the model in place of every None."""
        given = {name: value for name, value in choices.items() if value is not None}
        return cls(model=model, **{**DEFAULTS[model], **given})

    def folds(self, side: str) -> bool:
        """Whether "source" or "target" is lower-cased."""
        return self.fold_case in (side, "both")
