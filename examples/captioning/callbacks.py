"""What happens at the end of each epoch, beside the checkpoint: a score, a sample."""

import keras

from examples.captioning import inference, scoring
from examples.captioning.data import Picture
from examples.captioning.features import Features


class DevScore(keras.callbacks.Callback):
    """Captions the development pictures greedily; adds `bleu` and `exact` to the epoch's logs."""

    def __init__(self, caption, source: Features, pictures: list[Picture]):
        super().__init__()
        self.caption = caption
        self.source = source
        self.pictures = pictures

    def on_epoch_end(self, epoch, logs=None):
        found = inference.caption_all(self.caption, self.source)["text"]
        result = scoring.scores(found, [picture.captions for picture in self.pictures])
        logs |= {"bleu": result["bleu4"], "exact": result["exact_match"]}
        i = epoch * 7 % len(found)
        print(f"\n  {self.pictures[i].name}: {found[i]}   ({self.pictures[i].captions[0]})")
