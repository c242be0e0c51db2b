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
        None, DATA, "Your own pictures (JPEG, PNG, GIF or WebP): a folder, or a tar file of one."
    )
    captions: list[Path] | None = option(
        None,
        DATA,
        "The captions of --images, in the format of Flickr8k, Karpathy's splits, COCO, Kaggle or "
        "Hugging Face. Give the option once for each file. With several files, their names tell "
        "train, val and test apart.",
        metavar="<path>",
    )
    skip_missing: bool = option(
        False, DATA, "Leave out captions without a picture. Otherwise they are an error."
    )
    size: int = option(
        96,
        DATA,
        "Side of the pictures in pixels; use 448 for networks that were trained on ImageNet.",
        (8, 2048),
    )
    vocabulary: Literal["auto", "words", "subwords"] = option(
        "auto",
        DATA,
        "Words between spaces, or SentencePiece's sub-words; auto: sub-words for scripts without "
        "spaces, such as Chinese, Japanese and Thai.",
    )
    vocabulary_size: int = option(
        4000, DATA, "Largest number of sub-words, including special ones and 256 bytes."
    )
    min_count: int = option(
        1, DATA, "A word that occurs less often in the training captions is unknown."
    )
    max_length: int = option(
        20,
        DATA,
        "Largest number of words or sub-words in a caption; longer ones are cut in training.",
        (1, 1000),
    )
    bleu_tokenize: Literal["auto", "none", "zh", "char"] = option(
        "auto",
        DATA,
        "sacrebleu's tokenizer for all scores; none: split at spaces; auto: zh or char for "
        "scripts without spaces.",
    )
    attention: Attention = option(
        "soft", MODEL, "How each word looks at the picture; none: it reads the mean of the picture."
    )
    estimator: Literal["reinforce", "straight_through"] = option(
        "reinforce", MODEL, "The gradient estimator with which hard attention learns."
    )
    encoder: str = option(
        "cnn",
        MODEL,
        "cnn: a small CNN, trained with the rest; efficientnet: EfficientNet-Lite0, frozen, with "
        "its weights of ImageNet; or a network of keras.applications, frozen, such as "
        "EfficientNetV2B0.",
    )
    encoder_weights: Path | None = option(
        None, MODEL, "The file of such a network's weights, without its top; or efficientnet's."
    )
    train_encoder: int = option(
        0,
        MODEL,
        "How many of such a network's last layers to train too, on pictures that are flipped and "
        "cropped at random; --learning-rate must be low, such as 1e-4.",
        (0, 10**4),
    )
    units: int = option(192, MODEL, "Width of the decoder's state.", WIDTHS)
    attention_units: int = option(128, MODEL, "Width of the attention.", WIDTHS)
    channels: int = option(128, MODEL, "Width of the feature map.", WIDTHS)
    embedding: int = option(64, MODEL, "Width of the embeddings.", WIDTHS)
    dropout: float = option(0.0, MODEL, "Share of features that are dropped in training.")
    patch_dropout: float = option(
        0.0,
        MODEL,
        "Share of the places in a pretrained encoder's map that are left out in training; 0.5 "
        "works well for photographs.",
    )
    distractors: float = option(
        0.0,
        TRAINING,
        "Weight of the loss on attention to another picture, whose columns are mixed into the map.",
    )
    doubly_stochastic: float = option(  # lambda in Xu 2015, eq. 14
        0.0,
        TRAINING,
        "Weight of the loss that encourages attention to every place over the whole caption.",
    )
    reward: float = option(1.0, TRAINING, "Weight of the reward in REINFORCE.")  # lambda_r there
    start_from: str = option(
        "",
        TRAINING,
        "A run whose weights this one starts from, for example soft attention's for hard.",
        metavar="<path>",
        show_default=False,
    )
    self_critical: bool = option(
        False,
        TRAINING,
        "Continue from --start-from with captions that the model samples and CIDEr-D as their "
        "reward; --learning-rate must be low.",
    )
    entropy: float = option(0.01, TRAINING, "Weight of the entropy in REINFORCE.")  # lambda_e
    epochs: int = option(4, TRAINING, "Number of passes through the captions; can be raised later.")
    batch_size: int = option(32, TRAINING, "Captions in a batch.")
    learning_rate: float = option(
        2e-3, TRAINING, "Adam's peak after half an epoch, from which a cosine leads it to 0."
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
