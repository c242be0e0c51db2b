"""Training that can be stopped at any time: a checkpoint every few steps, the best model, a log."""

import sys
import time

import keras
import numpy as np
import tensorflow as tf

from examples.common import devices
from examples.common.batches import Batches
from examples.common.config import Config
from examples.common.errors import UserError
from examples.common.run import RunFolder


def optimizer(config: Config, steps: int) -> keras.optimizers.Optimizer:
    """Adam with a warm-up of half an epoch and a cosine to zero; the gradient's norm is clipped.

    The cosine is that of all epochs: if a run gets more of them, its rate rises to where it would
    be if there had been so many from the start, and falls to zero at the new end.
    """
    warmup = max(1, steps // 2)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0,
        decay_steps=max(1, config.epochs * steps - warmup),
        warmup_target=config.learning_rate,
        warmup_steps=warmup,
    )
    return devices.Adam(schedule, global_clipnorm=1.0)


class Checkpoints(keras.callbacks.Callback):
    """Scores each epoch, keeps the best models, and saves the state from which training resumes.

    Of models that score nearly the same the later is kept: its learning rate was lower, and half a
    point of BLEU on a small development set is noise. Each file is replaced whole, the checkpoint
    last: after a kill between two of them its steps are run again, with the same result.

    Args:
        run: The folder for everything.
        config: Its choices.
        score: A function of an epoch's number that returns BLEU and exact match on the
            development data, and a sample to print.
        started: When the work on this run began, by `time.monotonic`.
    """

    def __init__(self, run: RunFolder, config: Config, score, started: float):
        super().__init__()
        self.run, self.config, self.score, self.since = run, config, score, started
        self.is_first = run.writes = devices.processes()[0] == 0
        self.progress = {"epoch": 0, "step": 0, "best_epoch": 0, "best_bleu": -1.0}
        self.progress |= {"seconds": 0.0, "history": [], **run.load_checkpoint([])}
        self.resumes = run.checkpoint.exists()

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or the last `patience` of them had no better score."""
        scores = [row["bleu"] for row in self.progress["history"]]
        stale = len(scores) - 1 - scores.index(max(scores)) if scores else 0
        return self.progress["epoch"] >= self.config.epochs or 0 < self.config.patience <= stale

    @property
    def variables(self) -> list:
        """Weights and random seeds; the optimizer's slots and step count; the epoch's metrics."""
        model = self.model  # which on JAX fetches them from the loop
        metrics = model.metrics_variables if self.progress["step"] else []
        return [*model.variables, *model.optimizer.variables, *metrics]

    def save(self, **changes) -> None:
        self.progress |= changes
        self.run.save_checkpoint(self.variables, self.progress)

    def seconds(self) -> float:
        """How long this run has been worked on, before it was stopped too."""
        self.since, before = time.monotonic(), self.since
        self.progress["seconds"] += self.since - before
        return round(self.progress["seconds"], 1)

    def check(self) -> None:
        """Keeps what is sound from being replaced by weights that are not numbers."""
        if not all(np.isfinite(weight.numpy()).all() for weight in self.model.trainable_weights):
            raise UserError(
                "weights have become infinite or not a number: train into another folder with a "
                "lower --learning-rate"
            )

    def on_epoch_begin(self, epoch, logs=None):
        self.before = self.progress["step"]
        if self.resumes:  # not earlier: `fit` sets the metrics to zero
            self.run.load_checkpoint(self.variables)
            self.resumes = False

    def on_train_batch_begin(self, batch, logs=None):
        # The end of a batch would have to wait for its loss.
        if batch and (self.before + batch) % self.config.save_every == 0:
            self.check()
            self.seconds()
            self.save(step=self.before + batch)

    def on_epoch_end(self, epoch, logs=None):
        model = self.model  # on JAX this fetches the weights, before they are scored
        self.check()
        logs["bleu"], logs["exact"], self.sample = self.score(epoch)
        epoch, best, files = epoch + 1, self.progress["best_bleu"], [self.run.epoch(epoch + 1)]
        if logs["bleu"] >= best - 0.5:
            self.progress |= {"best_bleu": max(logs["bleu"], best), "best_epoch": epoch}
            files.append(self.run.weights)
        self.run.save_weights(model, *files)
        rate, seconds = float(model.optimizer.learning_rate), self.seconds()
        row = {"epoch": epoch, **logs, "learning_rate": rate, "seconds": seconds}
        history = [*self.progress["history"], row]
        self.run.update_metrics(
            {
                "train_seconds": seconds,
                "epochs": epoch,
                "best_epoch": self.progress["best_epoch"],
                f"dev_{self.run.score}": self.progress["best_bleu"],
            }
        )
        self.run.save_history(history)
        self.save(epoch=epoch, step=0, history=history)
        self.run.keep_epochs(history, self.config.keep)
        model.stop_training = self.finished


def fit(model: keras.Model, batches: Batches, checkpoints: Checkpoints, dev=None) -> dict:
    """Trains from where the run is to its end; returns the new progress."""
    progress, logs = checkpoints.progress, checkpoints.run.folder / "logs"
    reports = [
        keras.callbacks.TensorBoard(logs, write_graph=False),
        # The sample comes after the progress bar has finished its line.
        keras.callbacks.ProgbarLogger(),
        keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: print(" ", checkpoints.sample)),
    ]
    if checkpoints.resumes:
        where = f"resumes after epoch {progress['epoch']}, step {progress['step']}"
        print("training", "is complete" if checkpoints.finished else where)
    while not checkpoints.finished:
        first, step = progress["epoch"], progress["step"]
        # The rest of an epoch is shorter than those that follow.
        last = first + 1 if step else checkpoints.config.epochs
        if step and checkpoints.resumes:  # metrics have their variables after a first batch
            model.test_on_batch(*next(batches.epochs(first, last).as_numpy_iterator()))
        try:
            model.fit(
                batches.epochs(first, last, step),
                steps_per_epoch=batches.steps - step,
                initial_epoch=first,
                epochs=last,
                shuffle=False,  # `batches` are shuffled
                validation_data=dev,
                callbacks=[checkpoints, *(reports if checkpoints.is_first else [])],
                verbose=(1 if sys.stdout.isatty() else 2) if checkpoints.is_first else 0,
            )
        except tf.errors.OpError as error:
            if "tfevents" not in str(error):
                raise
            reason = error.message.splitlines()[0].rpartition("; ")[2]
            raise UserError(f"{logs}: cannot be written ({reason})") from None
    return progress
