"""Everything that decides how a run turns out."""

import dataclasses
from typing import ClassVar, final

from examples.common import config

SCENES = "scenes"  # what the default data are called


@final
@dataclasses.dataclass(frozen=True)
class Config(config.Config):
    """The choices of `train`, kept in the run folder as config.json.

    Attributes:
        images: The folder or tar of the pictures, seen from the study.
        size: Side of the pictures, in pixels; 224 for "efficientnet".
        encoder: "cnn", trained along, or "efficientnet", frozen, with ImageNet weights.
        attention: "soft", "hard", or "none": the mean of the map in place of what is looked at.
        estimator: What hard attention learns by: "reinforce" or "straight_through".
        min_count: How often a word stands in the training captions, or it is unknown.
        max_length: The longest caption, in words; longer ones are cut.
        units: Width of the decoder's state, and of what the softmax reads.
        channels: Width of the encoder's map.
        doubly_stochastic: Weight of the loss of that name, lambda in Xu 2015, eq. 14.
        reward: Weight of the reward in REINFORCE, lambda_r in the paper (section 4.1).
        entropy: Weight of the entropy in REINFORCE, lambda_e in the paper.
        start_from: The run folder whose weights training starts from; "" for fresh ones.
        seed: Decides first weights, dropout, draws and the order of the batches.
        jit: Whether the training step is compiled by XLA.
    """

    not_compared: ClassVar[tuple[str, ...]] = ("data", "images")

    images: str
    size: int = 96
    encoder: str = "cnn"
    attention: str = "soft"
    estimator: str = "reinforce"
    min_count: int = 1
    max_length: int = 20
    units: int = 192
    attention_units: int = 128
    channels: int = 128
    embedding: int = 64
    dropout: float = 0.0
    doubly_stochastic: float = 0.0
    reward: float = 1.0
    entropy: float = 0.01
    epochs: int = 5
    batch_size: int = 32
    learning_rate: float = 2e-3
    start_from: str = ""
    seed: int = 1
    jit: bool = False

    def __post_init__(self):
        positive = (
            "size", "min_count", "max_length", "units", "attention_units", "channels", "embedding",
            "epochs", "batch_size",
        )  # fmt: skip
        for name in positive:
            self.require(name, getattr(self, name) >= 1, "a number above 0")
        for name in ("doubly_stochastic", "reward", "entropy"):
            self.require(name, getattr(self, name) >= 0, "a number from 0")
        self.require("encoder", self.encoder in ("cnn", "efficientnet"), "cnn or efficientnet")
        self.require("attention", self.attention in ("soft", "hard", "none"), "soft, hard or none")
        estimators = ("reinforce", "straight_through")
        self.require("estimator", self.estimator in estimators, " or ".join(estimators))
        self.require("size", self.size >= 8, "a number from 8")
        self.require("seed", self.seed >= 1, "a number above 0")  # TensorFlow takes 0 for none
        fixed = self.encoder == "efficientnet"
        self.require("size", not fixed or self.size == 224, "224 for the encoder efficientnet")
        self.require("dropout", 0 <= self.dropout < 1, "a number from 0 up to 1")
        self.require("learning_rate", self.learning_rate > 0, "a number above 0")
