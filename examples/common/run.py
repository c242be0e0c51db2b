"""The files of a run, each written whole."""

import abc
import csv
import io
import json
import zipfile
import zlib
from pathlib import Path

import numpy as np

from examples.common.config import Config
from examples.common.errors import UserError
from examples.common.files import write


class RunFolder(abc.ABC):
    """Abstract: the folder of one run, with config.json and the other files of `names`.

    Attributes:
        writes: Whether this process writes to it. All processes of a training call the same
            methods, which on JAX work together, and one writes.
    """

    config_class: type[Config]
    names: tuple[str, ...] = (
        "config.json",  # every choice, and the digest of the data
        "model.weights.h5",  # the best epoch
        "epochs",  # the last and the best ones, for averages
        "checkpoint.npz",  # all that is needed to go on
        "history.csv",  # a line for each epoch
        "logs",  # the same for TensorBoard
        "metrics.json",
    )
    score: str  # the name of its BLEU on the development data

    def __init__(self, folder: Path):
        self.folder, self.writes = folder, True
        self.weights = folder / "model.weights.h5"
        self.checkpoint = folder / "checkpoint.npz"

    def _write(self, path: Path, content: str | bytes) -> None:
        if self.writes:
            write(path, content)

    def epoch(self, number: int) -> Path:
        """Where the weights of an epoch are, while they are kept."""
        return self.folder / "epochs" / f"{number:04}.weights.h5"

    def config(self) -> Config:
        """The run's config; an error if the folder holds no run."""
        path = self.folder / "config.json"
        try:
            # A file name need not be UTF-8.
            return self.config_class.from_json(path.read_text("utf-8", "surrogateescape"))
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(f"{self.folder}: holds no run (no config.json): train first") from None
        except (ValueError, TypeError, UserError, OSError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"{path}: not the config of such a run ({reason})") from None

    def check(self, config: Config) -> None:
        """Refuses a folder that holds another run, or files of these names and no config."""
        if self.folder.exists() and not self.folder.is_dir():
            raise UserError(f"{self.folder}: not a folder")
        if (self.folder / "config.json").exists():
            differences = "; ".join(config.differences(self.config()))
            problem = f"another run's model ({differences})" if differences else ""
        else:
            found = [name for name in self.names if (self.folder / name).exists()]
            problem = f"{found[0]}, which is not of this run (no config.json)" if found else ""
        if problem:
            raise UserError(f"{self.folder}: holds {problem}: choose another folder with --out")

    def read_lines(self, name: str) -> list[str]:
        path = self.folder / name
        try:
            return path.read_text("utf-8").removesuffix("\n").split("\n")
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: damaged, cannot be read ({error})") from None

    def metrics(self) -> dict:
        path = self.folder / "metrics.json"
        try:
            return dict(json.loads(path.read_text("utf-8")))
        except FileNotFoundError:
            return {}
        except (ValueError, TypeError):
            raise UserError(f"{path}: damaged, not JSON: delete it and evaluate again") from None

    def update_metrics(self, new: dict) -> None:
        text = json.dumps({**self.metrics(), **new}, indent=2, ensure_ascii=False) + "\n"
        self._write(self.folder / "metrics.json", text)

    def save_checkpoint(self, variables: list, progress: dict) -> None:
        """All that training goes on from, and `progress`, in one file."""
        arrays = {f"{i:04}": variable.numpy() for i, variable in enumerate(variables)}
        buffer = io.BytesIO()
        np.savez(buffer, progress=np.array(json.dumps(progress)), **arrays)
        self._write(self.checkpoint, buffer.getvalue())

    def load_checkpoint(self, variables: list) -> dict:
        """Sets the variables, if any, and returns the progress, or {} without a checkpoint."""
        if not self.checkpoint.exists():
            return {}
        try:
            with np.load(self.checkpoint, allow_pickle=False) as file:
                values = [file[f"{i:04}"] for i in range(len(variables))]
                progress = json.loads(str(file["progress"]))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise damaged(self.checkpoint, error) from None
        if any(value.shape != tuple(v.shape) for value, v in zip(values, variables, strict=True)):
            raise damaged(self.checkpoint, "shapes do not fit the model")
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        return progress

    def save_history(self, history: list[dict]) -> None:
        """A row for each epoch, as history.csv."""
        text = io.StringIO()
        table = csv.DictWriter(text, history[-1], restval="", extrasaction="ignore")
        table.writeheader()
        table.writerows(history)
        self._write(self.folder / "history.csv", text.getvalue())

    def keep_epochs(self, history: list[dict], count: int) -> None:
        """Deletes the weights of all epochs but the `count` last and the `count` best ones."""
        last, best = (last_or_best(history, which, count) for which in ("last", "best"))
        kept = {self.epoch(number) for number in (*last, *best)}
        for path in (self.folder / "epochs").iterdir():
            if self.writes and path not in kept:
                path.unlink()

    def save_weights(self, model, *paths: Path) -> None:
        """As `model.save_weights` does, but through memory: HDF5 crashes where a disk is full."""
        from keras.src.saving import saving_lib

        buffer = io.BytesIO()
        store = saving_lib.H5IOStore(buffer, mode="w")
        saving_lib._save_state(model, store, None, "", set())
        store.close()
        for path in paths or [self.weights]:
            self._write(path, buffer.getvalue())

    def load_weights(self, model, average: str = "none") -> None:
        """Gives the model the weights of the best epoch, or the mean of the "best" or "last" ones.

        The mean is that of the run's `keep` epochs.
        """
        paths = [self.weights]
        if average != "none":
            history = self.load_checkpoint([]).get("history", [])
            kept = [row for row in history if self.epoch(row["epoch"]).exists()]
            paths = [self.epoch(n) for n in last_or_best(kept, average, self.config().keep)]
            if not paths:
                raise UserError(f"{self.folder / 'epochs'}: no weights to average are kept there")
        values = [self._load(model, path) for path in paths]
        for weight, each in zip(model.weights, zip(*values, strict=True), strict=True):
            weight.assign(np.mean(each, axis=0, dtype="float64"))

    def _load(self, model, path: Path) -> list[np.ndarray]:
        if not path.exists():
            raise UserError(f"{path}: no such file: train for an epoch first")
        try:
            model.load_weights(path)
        except ValueError:
            reason = "it does not fit the run's config and vocabularies, or is of an older version"
            raise damaged(path, reason) from None
        except (OSError, KeyError) as error:
            raise damaged(path, error) from None
        return [weight.numpy() for weight in model.weights]


def last_or_best(history: list[dict], which: str, count: int) -> list[int]:
    """The numbers of the `count` "last" or "best" epochs; of equally good ones the later."""
    rows = sorted(history, key=lambda row: row["bleu"]) if which == "best" else history
    return [row["epoch"] for row in rows[-count:]]


def damaged(path: Path, reason) -> UserError:
    first_line = (str(reason).strip() or type(reason).__name__).splitlines()[0]
    return UserError(
        f"{path}: damaged, cannot be read ({first_line}): put a copy in its place, "
        "or train into another folder"
    )
