"""What happens at the end of each epoch, beside the checkpoint: a score, a sample."""

import keras

from examples.translation import inference, scoring
from examples.translation.data import Pair


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
