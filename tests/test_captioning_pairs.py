"""Looking at photographs: distractors in training, and the measure by pairs of pictures."""

import keras
import numpy as np
import pytest

from examples.captioning import distractors, pairs, pipeline, train
from examples.captioning import model as network
from examples.captioning.config import Config
from examples.captioning.data import Picture
from examples.captioning.features import Features
from examples.captioning.patch_dropout import PatchDropout
from examples.captioning.tokenizer import learn
from examples.common import tokenizer as subwords
from examples.common.errors import UserError
from examples.common.special import PAD

FIRST = ("dog", "man", "girl", "horse")
SECOND = ("hat", "ball", "rope", "book", "cup")
SIDE, CHANNELS = 4, 11


def choices(**others):
    sizes = {"units": 32, "attention_units": 31, "channels": 13, "embedding": 16}
    options = {"attention": "soft", "encoder": "efficientnet", "size": 224, "max_length": 9}
    return Config("", "", **(sizes | options | others))


@pytest.fixture(scope="module")
def pictures():
    """Two places of each picture, beside each other, know what is there, and what with.

    The first noun of a caption cannot be told from that of another picture, the second can.
    """
    rng = np.random.default_rng(3)
    maps = rng.normal(0, 0.1, (120, SIDE, SIDE, CHANNELS)).astype("float16")
    listed = []
    for number, map_ in enumerate(maps):
        first, second = rng.choice(len(FIRST)), rng.choice(len(SECOND))
        row, column = rng.integers(SIDE), rng.integers(SIDE - 1)
        map_[row, column : column + 2, first] += 3
        map_[row, column : column + 2, len(FIRST) + second] += 3
        caption = f"there is a {FIRST[first]} with a {SECOND[second]}"
        listed.append(Picture(f"{number}.jpg", (caption,)))
    return Features([maps]), listed


@pytest.fixture(scope="module")
def tokenizer(pictures):
    captions = [caption for picture in pictures[1] for caption in picture.captions]
    return learn(captions, "words", 1, 0)


def build(config, tokenizer, seed=5):
    keras.utils.set_random_seed(seed)
    return network.build(config, tokenizer.size, (SIDE, SIDE, CHANNELS))


def fit(model, source, listed, tokenizer):
    numbers, ids = pipeline.encode(listed, tokenizer, model.config.max_length)
    batches = pipeline.Batches(source, numbers, ids, 12, seed=1)
    train.compile_model(model, model.config, batches.steps)
    epochs = model.config.epochs
    return model.fit(
        batches.epochs(0, epochs), steps_per_epoch=batches.steps, epochs=epochs, verbose=0
    )


@pytest.mark.parametrize("attention", ["soft", "hard"])
def test_shares_are_those_of_each_frame_alone(pictures, tokenizer, attention):
    source, listed = pictures
    model = build(choices(attention=attention), tokenizer)
    ids = pipeline.encode(listed[:7], tokenizer, 9)[1][:, :-1]
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
    maps = np.random.default_rng(1).normal(size=(3, 2, 5, 4)).astype("float32")
    expected = maps.copy()
    expected[[0, 2], :, 1::2] = maps[[2, 1], :, 1::2]
    expected[1, :, ::2] = maps[0, :, ::2]
    np.testing.assert_array_equal(distractors.mix(maps), expected)
    weights = np.random.default_rng(2).uniform(size=(3, 7, 2, 5)).astype("float32")
    others = [weights[0, ..., 1::2], weights[1, ..., ::2], weights[2, ..., 1::2]]
    shares = [each.sum((1, 2)) for each in others]
    np.testing.assert_allclose(distractors.share_of_others(weights), shares, rtol=1e-6)


def test_captions_are_learned_from_whole_pictures(pictures, tokenizer):
    """Where distractors weigh nothing, or nearly so, the loss is that of training without."""
    source, listed = pictures
    losses = []
    for weight in (0.0, 1e-12):
        model = build(choices(distractors=weight, epochs=2), tokenizer)
        losses.append(fit(model, source, listed, tokenizer).history["nll"])
    np.testing.assert_allclose(*losses, rtol=1e-4)


def test_attention_learns_to_look_at_its_picture(pictures, tokenizer):
    source, listed = pictures
    soft = build(choices(distractors=3.0, learning_rate=0.02, epochs=30), tokenizer)
    before = pairs.measure(soft, tokenizer, source, listed)
    history = fit(soft, source, listed, tokenizer).history
    after = pairs.measure(soft, tokenizer, source, listed)
    assert 45 < before["nouns"][0] < 55
    assert after["nouns"][1] > 60  # 50 % of the first nouns, and most of the second ones
    assert after["looks"][1] > 60
    assert after["words"][1] > 55
    for mean, low, high in after.values():
        assert 0 <= low <= mean <= high <= 100
    assert history["distraction"][-1] < 0.8 * history["distraction"][0]

    # Hard attention goes on from there.
    options = {"estimator": "straight_through", "learning_rate": 2e-3, "epochs": 5}
    hard = build(choices(attention="hard", distractors=3.0, **options), tokenizer)
    hard.set_weights(soft.get_weights())
    fit(hard, source, listed, tokenizer)
    looks = pairs.measure(hard, tokenizer, source, listed)["looks"]
    assert looks[1] > 60


@pytest.mark.parametrize(("rate", "rows"), [(0.0, 4), (0.5, 2), (0.75, 1), (0.99, 1)])
def test_patch_dropout_keeps_other_places_each_time(rate, rows):
    layer = PatchDropout(rate, seed=3)
    maps = np.arange(2 * 4 * 5 * 3).reshape(2, 4, 5, 3).astype("float32")
    np.testing.assert_array_equal(layer(maps), maps)
    drawn = [np.asarray(layer(maps, training=True)) for _ in range(2)]
    assert (drawn[0] == drawn[1]).all() == (rate == 0)
    for kept in drawn:
        assert kept.shape == (2, rows, 5, 3)
        places = kept[0].reshape(-1, 3)
        assert len({tuple(place) for place in places}) == rows * 5
        assert {tuple(place) for place in places} <= {tuple(p) for p in maps[0].reshape(-1, 3)}
        np.testing.assert_array_equal(kept[1], kept[0] + 60)  # the same places of each picture
    again = PatchDropout.from_config(layer.get_config())
    np.testing.assert_array_equal(again(maps, training=True), drawn[0])


def test_accuracy_is_that_of_words(pictures, tokenizer):
    """A model that always says [PAD] is never right, however long the captions of a batch are."""
    source, listed = pictures
    short = [listed[0]._replace(captions=("there",)), *listed[1:]]
    model = build(choices(epochs=1, learning_rate=1e-12), tokenizer)
    head = model.network.head.layers[-1]
    head.bias.assign(1e3 * np.eye(tokenizer.size)[PAD])
    history = fit(model, source, short, tokenizer).history
    assert history["sparse_categorical_accuracy"] == [0]


def test_without_attention_nothing_distracts(pictures, tokenizer):
    model = build(choices(attention="none", distractors=1.0, epochs=1), tokenizer)
    history = fit(model, *pictures, tokenizer).history
    assert "distraction" not in history


def test_pairs_need_two_pictures_and_nouns_only_where_there_are_some(pictures, tokenizer):
    source, listed = pictures
    model = build(choices(), tokenizer)
    with pytest.raises(UserError, match="one test picture; expected at least 2"):
        pairs.measure(model, tokenizer, Features([source.shards[0][:1]]), listed[:1])
    bare = [picture._replace(captions=("there is",)) for picture in listed[:3]]
    assert [*pairs.measure(model, tokenizer, Features([source.shards[0][:3]]), bare)] == ["words"]


def test_pairs_of_any_words(pictures):
    """Words that are not ASCII, and pieces of words, of which each counts."""
    source, listed = Features([pictures[0].shards[0][:20]]), pictures[1][:20]
    listed = [row._replace(captions=(f"voilà {row.captions[0]}",)) for row in listed]
    captions = [picture.captions[0] for picture in listed]
    for made in (learn(captions, "words", 1, 0), subwords.Tokenizer(subwords.learn(captions, 300))):
        model = build(choices(), made)
        assert [*pairs.measure(model, made, source, listed)] == ["nouns", "looks", "words"]


def test_nouns_of_a_sentence():
    words = ("a", "brown", "dog", "is", "running", "in", "deep", "snow")
    assert pairs.nouns(words) == [word in ("dog", "snow") for word in words]
