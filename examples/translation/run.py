"""The run folder of a translator."""

from typing import final

from examples.common.run import RunFolder
from examples.translation.config import Config


@final
class Run(RunFolder):
    config_class = Config
    score = "bleu"
    names = (
        "config.json",  # every choice, and the digest of the data
        "source.model",  # of SentencePiece
        "target.model",
        "splits.json",  # what the corpus holds, so that it is not read again
        "dev.tsv",  # the held-out pairs
        "test.tsv",
        "model.weights.h5",  # the best epoch
        "epochs",  # the last and the best ones, for averages
        "checkpoint.npz",  # all that is needed to go on
        "history.csv",  # a line for each epoch
        "logs",  # the same for TensorBoard
        "metrics.json",
        "translations.tsv",  # of the test pairs
        "alignment.png",
        "saved_model",
    )
