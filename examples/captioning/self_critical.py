"""Self-critical training: how much better captions are that the model samples than its own best.

    dL = -(r(y~) - r(y^)) d log p(y~),        y~ sampled from p, y^ found by the greedy search

with CIDEr-D as the reward r. As in the paper (section 5), [END] is a word of all captions in it:
otherwise unfinished ones, such as "a man on a", would be the best.

Reference: Rennie et al. 2017, "Self-critical Sequence Training for Image Captioning",
arXiv:1612.00563.
"""

import numpy as np
import tensorflow as tf

import keras_attention as ka
from examples.captioning import cider, inference, scoring
from examples.captioning import model as network
from examples.captioning.config import Config
from examples.captioning.tokenizer import Tokenizer
from examples.common.special import END, PAD, SPECIAL, START

STOP = " " + SPECIAL[END]


def placeholders(numbers: np.ndarray, limit: int) -> np.ndarray:
    """Rows of ids for the batches, (N, limit + 2), in which no word is known yet.

    A row is [START] and, for each word, the number of the row's picture, from 1.
    """
    ids = np.repeat(numbers[:, None].astype("int32") + 1, limit + 2, axis=1)
    ids[:, 0] = START
    return ids


def sampler(
    model: network.Captioner,
    tokenizer: Tokenizer,
    references: list[tuple[str, ...]],
    config: Config,
):
    """A function of a batch of `placeholders`, to ((source, target_in), target_out), advantage.

    The captions are sampled from the model as it is at that step, without dropout; hard attention
    looks at its most probable places. Rows that fill up a batch stay empty.

    Args:
        references: The captions of each picture.
    """
    split = scoring.splitter(references, config.bleu_tokenize)[1]
    score = cider.scorer([[split(text) + STOP for text in texts] for texts in references])
    step, limit = inference.step_of(model), config.max_length + 1

    def rewards(numbers, texts, ended):
        scores = np.zeros(len(numbers), "float32")
        for row in np.flatnonzero(numbers):
            words = split(texts[row].decode()) + (STOP if ended[row] else "")
            scores[row] = score(numbers[row] - 1, words)
        return scores

    def reward(numbers, found):
        texts, ended = tokenizer.decode(found.tokens[:, 0]), found.lengths[:, 0] < limit
        values = tf.numpy_function(rewards, [numbers, texts, ended], tf.float32)
        return tf.ensure_shape(values, numbers.shape)

    def sample(data):
        (source, target_in), placeholder = data[:2]
        numbers = placeholder[:, 0]
        search = (step, model.network.begin(source), START, END, limit)
        sampled = ka.search.sample(*search, seed=model.seed_generator)
        rewarded = reward(numbers, sampled)
        advantage = rewarded - reward(numbers, ka.search.greedy(*search))
        model.reward.update_state(rewarded, numbers > 0)

        tokens, lengths = sampled.tokens[:, 0], sampled.lengths  # (B, T), (B, 1)
        written = (tf.range(limit) <= lengths) & (numbers[:, None] > 0)
        before = tf.concat([target_in[:, :1], tokens[:, :-1]], axis=1)
        target_in, target_out = (tf.where(written, ids, PAD) for ids in (before, tokens))
        return (source, target_in), target_out, advantage

    return sample
