"""The run folder of a translator."""

from pathlib import Path
from typing import Self, final

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

    def start(self, path: str) -> Self:
        """The run that this one starts from; itself, once it has begun, if that one is gone."""
        start = Run(Path(path))
        return self if self.checkpoint.exists() and not start.folder.exists() else start
