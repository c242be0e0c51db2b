"""The run folder of a captioner."""

from pathlib import Path
from typing import final

from examples.captioning.config import SCENES, Config
from examples.common.run import RunFolder


@final
class Run(RunFolder):
    config_class = Config
    score = "bleu4"
    names = (
        *RunFolder.names,
        "vocabulary.txt",  # one word a line,
        "vocabulary.model",  # or sub-words, of SentencePiece
        "dev.json",  # the held-out pictures, their captions and objects
        "test.json",
        "captions.tsv",  # of the test pictures
    )

    @property
    def vocabulary(self) -> Path | None:
        """The file of the vocabulary, if there is one."""
        paths = [self.folder / f"vocabulary.{kind}" for kind in ("model", "txt")]
        return next(filter(Path.exists, paths), None)

    @property
    def images(self) -> Path:
        """The folder or tar of the pictures: the scenes' is in the study, and moves with it."""
        return self.folder.parent / (self.config().images or f"{SCENES}/images.tar")

    @property
    def cache(self) -> Path:
        """Pixels and features, which all runs of a study share."""
        return self.folder.parent / "cache"
