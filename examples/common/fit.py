"""Training that can be stopped at any time: a score, the best model and a checkpoint each epoch."""

import sys
import time

import keras

from examples.common.batches import Batches
from examples.common.config import Config
from examples.common.run import RunFolder


def optimizer(config: Config, steps: int) -> keras.optimizers.Optimizer:
    """Adam with a warm-up of half an epoch and a cosine to zero; the gradient's norm is clipped."""
    warmup = max(1, steps // 2)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0,
        decay_steps=max(1, config.epochs * steps - warmup),
        warmup_target=config.learning_rate,
        warmup_steps=warmup,
    )
    return keras.optimizers.Adam(schedule, global_clipnorm=1.0)


class EndOfEpoch(keras.callbacks.Callback):
    """Scores the model, keeps the best one, and saves the state from which training resumes.

    Of models that score nearly the same the later is kept: its learning rate was lower, and half a
    point of BLEU on a small development set is noise. Each file is replaced whole, the checkpoint
    last: after a kill between two of them the epoch is run again, with the same result.

    Args:
        run: The folder for everything.
        model: The compiled model. It is set to the run's checkpoint, if there is one.
        score: A function of an epoch's number that returns BLEU and exact match on the
            development data, and a sample to print.
        started: When the work on this run began, by `time.monotonic`.
    """

    def __init__(self, run: RunFolder, model: keras.Model, score, started: float):
        super().__init__()
        self.run, self.score, self.since = run, score, started
        # Weights, random seeds, and the optimizer's slots, step count and learning rate.
        self.variables = [*model.variables, *model.optimizer.variables]
        self.progress = {"epoch": 0, "best_epoch": 0, "best_bleu": -1.0, "seconds": 0.0}
        self.progress |= run.load_checkpoint(self.variables)

    def on_epoch_end(self, epoch, logs=None):
        logs["bleu"], logs["exact"], self.sample = self.score(epoch)
        now, best = time.monotonic(), self.progress["best_bleu"]
        self.progress |= {
            "epoch": epoch + 1,
            "seconds": self.progress["seconds"] + now - self.since,
        }
        self.since = now
        if logs["bleu"] >= best - 0.5:
            self.progress |= {"best_bleu": max(logs["bleu"], best), "best_epoch": epoch + 1}
            self.run.save_weights(self.model)
        metrics = {
            "train_seconds": round(self.progress["seconds"], 1),
            "epochs": epoch + 1,
            "best_epoch": self.progress["best_epoch"],
            f"dev_{self.run.score}": self.progress["best_bleu"],
        }
        self.run.update_metrics(metrics)
        self.run.save_checkpoint(self.variables, self.progress)


def fit(model: keras.Model, batches: Batches, epochs: int, end: EndOfEpoch, dev=None) -> dict:
    """Trains from the progress of `end` up to `epochs`; returns the new progress."""
    first = end.progress["epoch"]
    if first:
        print("training", "is complete" if first == epochs else f"resumes after epoch {first}")
    if first < epochs:
        model.fit(
            batches.epochs(first, epochs),
            steps_per_epoch=batches.steps,
            initial_epoch=first,
            epochs=epochs,
            shuffle=False,  # `batches` are shuffled
            validation_data=dev,
            # The sample comes after the progress bar has finished its line.
            callbacks=[
                end,
                keras.callbacks.ProgbarLogger(),
                keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: print(" ", end.sample)),
            ],
            verbose=1 if sys.stdout.isatty() else 2,
        )
    return end.progress
