"""The end of an epoch on disk: the best model, and the state to go on from."""

import time

import keras

from examples.common.run import RunFolder


class Checkpoint(keras.callbacks.Callback):
    """Keeps the best model by BLEU, then the state to resume from.

    Of models that are nearly equal the later is kept: its learning rate was lower, and half a
    point of BLEU on a small development set is noise.

    Both are replaced whole. In this order: after a kill between the two the epoch is run again,
    with the same result.
    """

    def __init__(self, run: RunFolder, progress: dict, started: float):
        super().__init__()
        self.run = run
        self.since = started
        self.progress = {"epoch": 0, "best_epoch": 0, "best_bleu": -1.0, "seconds": 0.0, **progress}

    @staticmethod
    def variables(model) -> list:
        """Weights, random seeds, and the optimizer's slots, step count and learning rate."""
        return [*model.variables, *model.optimizer.variables]

    def on_epoch_end(self, epoch, logs=None):
        now = time.monotonic()
        self.progress["seconds"] += now - self.since
        self.since = now
        self.progress["epoch"] = epoch + 1
        if logs["bleu"] >= self.progress["best_bleu"] - 0.5:
            best = max(logs["bleu"], self.progress["best_bleu"])
            self.progress |= {"best_bleu": best, "best_epoch": epoch + 1}
            self.run.save_weights(self.model)
        self.run.save_checkpoint(self.variables(self.model), self.progress)
