"""Batches that are drawn when they are needed."""

import keras
import numpy as np


class FreshBatches(keras.utils.PyDataset):
    """`batches` new batches in every epoch, each from `draw(rng)`."""

    def __init__(self, batches, draw, seed):
        super().__init__()
        self.batches = batches
        self.draw = draw
        self.rng = np.random.default_rng(seed)

    def __len__(self):
        return self.batches

    def __getitem__(self, index):
        return self.draw(self.rng)
