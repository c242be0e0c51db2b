"""The run folder of a translator."""

from typing import final

from examples.common.run import RunFolder
from examples.translation.config import Config


@final
class Run(RunFolder):
    config_class = Config
    score = "bleu"
    names = (
        *RunFolder.names,
        "source.model",  # of SentencePiece
        "target.model",
        "splits.json",  # what the corpus holds, so that it is not read again
        "dev.tsv",  # the held-out pairs
        "test.tsv",
        "translations.tsv",  # of the test pairs
        "alignment.png",
        "saved_model",
    )
