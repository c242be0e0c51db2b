"""Looking at photographs: distractors in training, and the measure by pairs of pictures."""

import keras
import numpy as np
import pytest

from examples.captioning import model as network
from examples.captioning import pairs, pipeline, train
from examples.captioning.config import Config
from examples.captioning.data import Picture
from examples.captioning.features import Features
from examples.captioning.tokenizer import Tokenizer, learn_vocabulary

NOUNS = ("dog", "man", "ball", "tree", "horse")
SIDE, CHANNELS = 3, 7


def choices(**others):
    sizes = {"units": 16, "attention_units": 11, "channels": 13, "embedding": 5}
    options = {"attention": "soft", "encoder": "efficientnet", "size": 224, "max_length": 6}
    return Config("", "", **(sizes | options | others))


@pytest.fixture(scope="module")
def pictures():
    """Places that know a noun each, and captions of the one noun that a picture has."""
    rng = np.random.default_rng(3)
    names = rng.choice(len(NOUNS), 60)
    maps = rng.normal(0, 0.1, (len(names), SIDE, SIDE, CHANNELS)).astype("float16")
    for map_, noun in zip(maps, names, strict=True):
        map_[rng.integers(SIDE), rng.integers(SIDE), noun] += 3
    captions = [(f"there is a {NOUNS[noun]} outside", "a picture") for noun in names]
    listed = [Picture(f"{i}.jpg", texts) for i, texts in enumerate(captions)]
    return Features([maps]), listed


@pytest.fixture(scope="module")
def tokenizer(pictures):
    captions = (caption for picture in pictures[1] for caption in picture.captions)
    return Tokenizer(learn_vocabulary(captions, 1))


def build(config, tokenizer, seed=5):
    keras.utils.set_random_seed(seed)
    return network.build(config, len(tokenizer.vocabulary), (SIDE, SIDE, CHANNELS))


def fit(model, source, listed, tokenizer, epochs=12):
    numbers, ids = pipeline.encode(listed, tokenizer, model.config.max_length)
    batches = pipeline.Batches(source, numbers, ids, 12, seed=1)
    train.compile_model(model, model.config, batches.steps)
    return model.fit(
        batches.epochs(0, epochs), steps_per_epoch=batches.steps, epochs=epochs, verbose=0
    )


@pytest.mark.parametrize("attention", ["soft", "hard"])
def test_shares_are_those_of_each_frame_alone(pictures, tokenizer, attention):
    source, listed = pictures
    model = build(choices(attention=attention), tokenizer)
    ids = pipeline.encode(listed[:7], tokenizer, 6)[1][::2, :-1]
    source = Features([np.array(source.shards[0][:7])])
    shares, peaks = pairs.own_shares(model, source, ids, batch_size=3)
    assert shares.shape == peaks.shape == (2, 7, ids.shape[1])
    maps = np.asarray(model.network.encoder(source.take(range(7)).astype("float32")))
    for i in range(7):
        j = (i + 1) % 7
        frame = np.concatenate([maps[i], maps[j]], axis=1)[None]
        for side, number in enumerate((i, j)):
            words = model.network.target_embedding(ids[number : number + 1])
            state = model.network.bridge(frame)
            weights = model.network.decoder.decode(words, frame, initial_state=state)[1]
            weights = np.asarray(weights)[0]  # (T, H, 2 W)
            own = weights[:, :, side * SIDE : (side + 1) * SIDE]
            np.testing.assert_allclose(shares[side, i], own.sum((1, 2)), atol=1e-5)
            largest = weights.reshape(len(weights), -1).argmax(1) % (2 * SIDE) // SIDE
            np.testing.assert_array_equal(peaks[side, i], largest == side)


def test_distractors_are_pictures_of_the_batch():
    layer = network.Distractors()
    maps = np.random.default_rng(1).normal(size=(3, 2, 5, 4)).astype("float32")
    np.testing.assert_array_equal(layer(maps), maps)
    expected = np.concatenate([maps, maps[[2, 0, 1]]], axis=2)
    np.testing.assert_array_equal(layer(maps, training=True), expected)


@pytest.mark.parametrize(
    ("attention", "estimator"),
    [("soft", "reinforce"), ("hard", "straight_through"), ("hard", "reinforce")],
)
def test_attention_learns_to_look_at_its_picture(pictures, tokenizer, attention, estimator):
    source, listed = pictures
    options = {"attention": attention, "estimator": estimator, "learning_rate": 0.02}
    model = build(choices(distractors=1.0, **options), tokenizer)
    before = pairs.measure(model, tokenizer, source, listed)
    history = fit(model, source, listed, tokenizer).history
    after = pairs.measure(model, tokenizer, source, listed)
    assert 30 < before["nouns"][0] < 70
    assert after["nouns"][0] > 85
    assert after["looks"][0] > 85
    assert after["words"][0] > 60
    for mean, low, high in after.values():
        assert 0 <= low <= mean <= high <= 100
    assert history["distraction"][-1] < 0.6 * history["distraction"][0]


def test_without_attention_nothing_distracts(pictures, tokenizer):
    model = build(choices(attention="none", distractors=1.0), tokenizer)
    history = fit(model, *pictures, tokenizer, epochs=1).history
    assert "distraction" not in history


def test_nouns_of_a_sentence():
    words = ("a", "brown", "dog", "is", "running", "in", "deep", "snow")
    assert pairs.nouns(words) == [word in ("dog", "snow") for word in words]
