"""What happens at the end of each epoch: score, keep the best model, save the state, show one."""

import time

import keras

from examples.translation import inference, scoring
from examples.translation.data import Pair
from examples.translation.run import Run


class DevScore(keras.callbacks.Callback):
    """Translates the development pairs greedily; adds `bleu` and `exact` to the epoch's logs."""

    def __init__(self, translate, pairs: list[Pair], references: list[str], tokenize: str):
        super().__init__()
        self.translate = translate
        self.pairs = pairs
        self.references = references
        self.tokenize = tokenize
        self.found: list[str] = []

    def on_epoch_end(self, epoch, logs=None):
        sources = [pair.source for pair in self.pairs]
        self.found = inference.translate_all(self.translate, sources)["text"]
        result = scoring.scores(self.found, self.references, self.tokenize)
        logs |= {"bleu": result["bleu"], "exact": result["exact_match"]}


class Checkpoint(keras.callbacks.Callback):
    """Keeps the best model by BLEU, then the state to resume from.

    Of models that are nearly equal the later is kept: its learning rate was lower, and half a
    point of BLEU on a small development set is noise.

    Both are replaced whole. In this order: after a kill between the two the epoch is run again,
    with the same result.
    """

    def __init__(self, run: Run, progress: dict, started: float):
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


class Sample(keras.callbacks.Callback):
    """Prints a development pair's translation, another one each epoch."""

    def __init__(self, score: DevScore):
        super().__init__()
        self.score = score

    def on_epoch_end(self, epoch, logs=None):
        i = epoch * 7 % len(self.score.pairs)
        source, found, reference = (
            self.score.pairs[i].source,
            self.score.found[i],
            self.score.references[i],
        )
        tail = "" if found == reference else f"   (reference: {reference})"
        print(f"  {source} -> {found}{tail}", flush=True)
