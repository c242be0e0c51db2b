"""Whether attention tells two pictures apart: a measure of looking that needs no boxes.

The maps of two pictures lie side by side, as one map, and the caption of one of them is forced
through the decoder. How much of the attention is on its own picture? Without attention, half. Each
picture is encoded alone: no place of its map has seen the other one.
"""

import functools
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from HanTa.HanoverTagger import HanoverTagger
from scipy import stats

from examples.captioning.data import Picture
from examples.captioning.features import Features
from examples.captioning.model import Captioner
from examples.captioning.pipeline import encode
from examples.captioning.tokenizer import Tokenizer, Words
from examples.common.errors import UserError
from examples.common.tokenizer import SPACE


def measure(
    model: Captioner, tokenizer: Tokenizer, source: Features, pictures: Sequence[Picture]
) -> dict:
    """Shares in percent, each with the ends of its bootstrap interval of 95 % over the frames.

    "nouns" and "words": the share of the attention of such words to their own picture; "looks" is
    that of nouns whose largest weight is there; both are missing where no word is a noun. Of each
    picture the first caption counts. Frame i has the pictures i and i + 1, whose captions are
    forced in turn.
    """
    if len(pictures) < 2:
        raise UserError("--pairs: one test picture; expected at least 2")
    firsts = [picture._replace(captions=picture.captions[:1]) for picture in pictures]
    ids = encode(firsts, tokenizer, model.config.max_length)[1]
    pieces = np.char.decode(tokenizer.pieces(ids[:, 1:]).numpy().astype("S"), "utf-8")
    written = pieces != ""
    begins = written if isinstance(tokenizer, Words) else np.char.startswith(pieces, SPACE)
    is_noun = np.zeros_like(written)
    for number, picture in enumerate(firsts):
        found = nouns(tuple(picture.captions[0].split()))
        word = np.cumsum(begins[number])[written[number]] - 1
        is_noun[number, written[number]] = np.array(found)[word]
    weights, peaks = own_shares(model, source, ids[:, :-1])
    values = {"nouns": (weights, is_noun), "looks": (peaks, is_noun), "words": (weights, written)}
    return {name: _interval(*each) for name, each in values.items() if each[1].any()}


def own_shares(model: Captioner, source: Features, ids: np.ndarray, batch_size: int = 50):
    """The share of each word's weights (2, N, T) on its own picture; whether the largest is there.

    The first of each is for the picture on the left of its frame, the second for that on the right.
    """
    network = model.network

    @tf.function(autograph=False, reduce_retracing=True)
    def attend(left, right, ids):
        frame = tf.concat([network.encoder(left), network.encoder(right)], axis=2)
        words = network.target_embedding(ids)
        weights = network.decoder.decode(words, frame, initial_state=network.bridge(frame))[1]
        halves = tf.split(weights, 2, axis=3)
        shares = [tf.reduce_sum(half, axis=(2, 3)) for half in halves]
        peaks = [tf.reduce_max(half, axis=(2, 3)) for half in halves]
        return shares, [peaks[0] > peaks[1], peaks[1] > peaks[0]]

    count, results = len(source), []
    for start in range(0, count, batch_size):
        left = np.arange(start, start + batch_size) % count  # one shape for all batches
        right = (left + 1) % count
        maps = [tf.cast(source.take(rows), tf.float32) for rows in (left, right)]
        # Of the captions of both, each says how much is on its own side.
        results.append([attend(*maps, tf.constant(ids[rows])) for rows in (left, right)])
    return tuple(
        np.stack(
            [
                np.concatenate([batch[side][kind][side] for batch in results])[:count]
                for side in (0, 1)
            ]
        )
        for kind in (0, 1)
    )


@functools.cache
def _tagger() -> HanoverTagger:
    return HanoverTagger("morphmodel_en.pgz")


def nouns(words: tuple[str, ...]) -> list[bool]:
    """Which words of an English sentence are nouns."""
    return [tag.startswith("NN") for _, _, tag in _tagger().tag_sent(words)]


def _interval(values: np.ndarray, counted: np.ndarray) -> list[float]:
    """The mean of the values (2, N, T) that count (N, T), and its interval, in percent."""
    right = np.roll(counted, -1, axis=0)  # the captions on the right of frame i
    counted = np.stack([counted, right])
    sums, counts = ((x * counted).sum((0, 2), "float64") for x in (values, np.ones_like(values)))

    def ratio(sums, counts, axis):
        return sums.sum(axis) / counts.sum(axis)

    found = stats.bootstrap(
        (sums, counts), ratio, n_resamples=1000, paired=True, method="percentile", rng=1
    )
    low, high = found.confidence_interval
    return [round(100 * float(value), 2) for value in (ratio(sums, counts, 0), low, high)]
