"""The options of `train`: the pictures, and everything else that decides how a run turns out."""

import dataclasses
from pathlib import Path
from typing import ClassVar, Literal, final

from examples.common import config
from examples.common.config import MODEL, TRAINING, WIDTHS
from examples.common.errors import UserError
from examples.common.options import option

OUT = Path("out/captioning")
SCENES = "scenes"  # the name of the default data, and their folder in a study
DATA = "Data"

Attention = Literal["soft", "hard", "none"]


@final
@dataclasses.dataclass(frozen=True)
class Config(config.Config):
    """The choices of `train`, kept in the run folder as config.json."""

    not_compared: ClassVar = (*config.Config.not_compared, "images", "captions", "skip_missing")
    paths: ClassVar = ("images", "captions", "encoder_weights", "start_from")

    images: Path | None = option(
        None, DATA, "Own pictures, JPEG, PNG, GIF or WebP: a folder, or a tar of one,"
    )
    captions: list[Path] | None = option(
        None,
        DATA,
        "and their captions, as Flickr8k, Karpathy's splits, COCO, Kaggle or Hugging Face have "
        "them. Several files: once for each; their names tell train, val and test.",
        metavar="<path>",
    )
    skip_missing: bool = option(
        False, DATA, "Leave captions without a picture out. Otherwise they are an error."
    )
    size: int = option(
        96, DATA, "Side of the pictures in pixels; 448 for networks of ImageNet.", (8, 2048)
    )
    vocabulary: Literal["auto", "words", "subwords"] = option(
        "auto",
        DATA,
        "Words between spaces, or SentencePiece's sub-words; auto: these for scripts without "
        "spaces, such as Chinese, Japanese and Thai.",
    )
    vocabulary_size: int = option(
        4000, DATA, "Sub-words at most; special ones and 256 bytes are among them."
    )
    min_count: int = option(
        1, DATA, "How often a word stands in the training captions, or it is unknown."
    )
    max_length: int = option(
        20, DATA, "Words, or sub-words, of a caption; longer ones are cut in training.", (1, 1000)
    )
    bleu_tokenize: Literal["auto", "none", "zh", "char"] = option(
        "auto",
        DATA,
        "sacrebleu's tokenizer for all scores; none: spaces; auto: zh or char for scripts without.",
    )
    attention: Attention = option(
        "soft", MODEL, "What each word looks at; none: the mean of the picture."
    )
    estimator: Literal["reinforce", "straight_through"] = option(
        "reinforce", MODEL, "What hard attention learns by."
    )
    encoder: str = option(
        "cnn",
        MODEL,
        "A small CNN, trained along; efficientnet: EfficientNet-Lite0, frozen, with its weights of "
        "ImageNet; or a network of keras.applications, frozen, such as EfficientNetV2B0.",
    )
    encoder_weights: Path | None = option(
        None, MODEL, "The file of such a network's weights, without its top; or efficientnet's."
    )
    train_encoder: int = option(
        0,
        MODEL,
        "How many of such a network's last layers to train too, on pictures that are flipped and "
        "cropped at random; --learning-rate has to be low, as 1e-4 is.",
        (0, 10**4),
    )
    units: int = option(192, MODEL, "Width of the decoder's state.", WIDTHS)
    attention_units: int = option(128, MODEL, "Width of the attention.", WIDTHS)
    channels: int = option(128, MODEL, "Width of the map that is looked at.", WIDTHS)
    embedding: int = option(64, MODEL, "Width of the embeddings.", WIDTHS)
    dropout: float = option(0.0, MODEL, "Share of features dropped in training.")
    patch_dropout: float = option(
        0.0,
        MODEL,
        "Share of the places of a pretrained encoder's map that are left out in training; 0.5 is "
        "good for photographs.",
    )
    distractors: float = option(
        0.0,
        TRAINING,
        "Weight of the loss on attention to another picture, whose columns are mixed into the map.",
    )
    doubly_stochastic: float = option(  # lambda in Xu 2015, eq. 14
        0.0, TRAINING, "Weight of the loss that asks to look everywhere in the end."
    )
    reward: float = option(1.0, TRAINING, "Weight of the reward in REINFORCE.")  # lambda_r there
    start_from: str = option(
        "",
        TRAINING,
        "A run to take the first weights from: soft attention's for hard.",
        metavar="<path>",
        show_default=False,
    )
    self_critical: bool = option(
        False,
        TRAINING,
        "Go on from --start-from with captions that the model samples, and CIDEr-D as their "
        "reward; --learning-rate has to be low.",
    )
    entropy: float = option(0.01, TRAINING, "Weight of the entropy in REINFORCE.")  # lambda_e
    epochs: int = option(4, TRAINING, "Times to go through the captions; more can be given later.")
    batch_size: int = option(32, TRAINING, "Captions in a batch.")
    learning_rate: float = option(
        2e-3, TRAINING, "Adam's, after half an epoch; a cosine leads it to 0."
    )

    def check(self):
        share = 0 <= self.patch_dropout < 1
        self.require("patch_dropout", share, "a number from 0 up to 1")
        for name in ("distractors", "doubly_stochastic", "reward", "entropy"):
            self.require(name, getattr(self, name) >= 0, "a number from 0")
        if self.self_critical and not self.start_from:
            raise UserError("--self-critical needs --start-from, a trained run")
        if self.self_critical and self.jit:
            raise UserError("--self-critical: not with --jit, as XLA cannot compute its rewards")
