"""Self-critical training: against the gradient of one caption at a time, and that rewards rise."""

import dataclasses
import json
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from typer.testing import CliRunner

from examples.captioning import inference, pipeline, self_critical, train
from examples.captioning import model as network
from examples.captioning.cider import cider_d
from examples.captioning.cli import app
from examples.captioning.config import Config
from examples.captioning.data import Picture
from examples.captioning.features import Features
from examples.captioning.run import Run
from examples.captioning.tokenizer import learn
from examples.common import tokenizer as subwords
from examples.common.fit import Checkpoints, fit
from examples.common.special import END, PAD, SPECIAL, START, UNK
from marks import eagerly, more

FIRST = ("dog", "man", "girl", "horse")
SECOND = ("hat", "ball", "rope", "book", "cup")
SIDE, CHANNELS, LIMIT = 3, 11, 7


def choices(**others):
    sizes = {"units": 32, "attention_units": 31, "channels": 13, "embedding": 16}
    options = {"encoder": "efficientnet", "size": 224, "max_length": LIMIT, "batch_size": 12}
    critical = {"self_critical": True, "start_from": "out/soft", "seed": 4}
    return Config("", "", **(sizes | options | critical | others))


@pytest.fixture(scope="module")
def pictures():
    """Two places of each picture know what is there, and what with."""
    rng = np.random.default_rng(3)
    maps = rng.normal(0, 0.1, (60, SIDE, SIDE, CHANNELS)).astype("float16")
    listed = []
    for number, map_ in enumerate(maps):
        first, second = rng.choice(len(FIRST)), rng.choice(len(SECOND))
        places = rng.permutation(SIDE * SIDE)[:2]
        map_.reshape(-1, CHANNELS)[places, [first, len(FIRST) + second]] += 3
        nouns = FIRST[first], SECOND[second]
        texts = "a {} with a {}".format(*nouns), "a {} has a {}".format(*nouns)
        listed.append(Picture(f"{number}.jpg", texts))
    return Features([maps]), listed


def tokenizer_of(pictures, kind="words"):
    captions = [caption for picture in pictures[1] for caption in picture.captions]
    if kind == "words":
        return learn(captions, "words", 1, 0)
    return subwords.Tokenizer(subwords.learn(captions, 330, "bpe"))


def build(config, tokenizer, pictures):
    """A model of fresh weights whose batches are sampled."""
    keras.utils.set_random_seed(5)
    model = network.build(config, tokenizer.size, pictures[0].shape)
    references = [picture.captions for picture in pictures[1]]
    model.prepare = self_critical.sampler(model, tokenizer, references, config)
    return model


def trained(model):
    return [*model.trainable_variables, *model.network.encoder.non_trainable_variables]


def taught(config, tokenizer, pictures, epochs=3):
    """A model that has seen captions for some epochs; of hard attention, one that was soft."""
    model = build(config, tokenizer, pictures)
    if config.attention == "hard":
        soft = taught(dataclasses.replace(config, attention="soft"), tokenizer, pictures)
        for mine, theirs in zip(trained(model), trained(soft), strict=True):
            mine.assign(theirs)
        return model
    numbers, ids = pipeline.encode(pictures[1], tokenizer, LIMIT)
    batches = pipeline.Batches(pictures[0], numbers, ids, 12, seed=1)
    sampler, model.prepare = model.prepare, lambda data: data
    model.compile(keras.optimizers.Adam(0.01))
    model.fit(batches.epochs(0, epochs), steps_per_epoch=batches.steps, epochs=epochs, verbose=0)
    model.prepare = sampler
    return model


def batch_of(pictures, numbers, rows):
    """A batch of these pictures, filled up to some rows."""
    ids = self_critical.placeholders(np.array(numbers), LIMIT)
    ids = np.pad(ids, [(0, rows - len(ids)), (0, 0)])
    source = pictures[0].take([*numbers, *range(rows - len(numbers))])
    return (tf.constant(source, "float32"), tf.constant(ids[:, :-1])), tf.constant(ids[:, 1:])


def log_softmax(logits):
    """Of the words that a caption may have, and [END]; all else is impossible."""
    allowed = tf.constant([i == END or i >= len(SPECIAL) for i in range(logits.shape[-1])])
    total = tf.reduce_logsumexp(tf.boolean_mask(logits, allowed, axis=1), axis=1, keepdims=True)
    return tf.where(allowed, logits - total, -np.inf)


def rewards_of(rows, numbers, tokenizer, pictures):
    """CIDEr-D of captions, as rows of ids, with the end as a word where there is one."""
    texts = []
    for row in rows:
        inner = [id for id in row if id not in (END, PAD)]
        text = tokenizer.decode(tf.constant([[*inner, END]]))[0].numpy().decode()
        texts.append(text + " [END]" * (END in row))
    found = [""] * len(pictures[1])
    references = [[f"{text} [END]" for text in picture.captions] for picture in pictures[1]]
    for number, text in zip(numbers, texts, strict=True):
        found[number] = text
    scores = cider_d(found, references)[1]
    return np.array([scores[number] for number in numbers])


def greedy(model, source):
    state, words, found = model.network.begin(source), np.full(len(source), START), []
    for _ in range(LIMIT + 1):
        logits, _, state = model.network.step(tf.constant(words), state)
        words = np.argmax(log_softmax(logits), axis=1)
        found.append(words)
    return [[*row, END][: [*row, END].index(END) + 1][: LIMIT + 1] for row in np.array(found).T]


@pytest.mark.parametrize(
    ("attention", "kind"),
    [("hard", "words"), ("soft", "subwords"), *more(("soft", "words"), ("none", "words"))],
)
def test_the_gradient_is_that_of_each_caption_times_its_advantage(pictures, attention, kind):
    tokenizer = tokenizer_of(pictures, kind)
    # Captions are learned from as they are sampled: nothing is dropped, nothing distracts.
    config = choices(attention=attention, dropout=0.3, distractors=1.0)
    model = taught(config, tokenizer, pictures)
    model.compile(optimizer=keras.optimizers.SGD(0.3))
    numbers = [7, 2, 31, 0, 11, 12, 13, 14]
    batch = batch_of(pictures, numbers, 10)
    bias = model.network.head.layers[-1].bias
    # Never sampled all the same.
    bias.assign(bias + 20.0 * np.isin(np.arange(tokenizer.size), [PAD, UNK, START]))
    seed = model.seed_generator.state
    for _ in range(2):  # the second time with the weights of the first
        before, drawn = [v.numpy() for v in model.trainable_variables], seed.numpy()
        moving = [v.numpy() for v in model.non_trainable_variables]
        model.train_on_batch(*batch)
        after, drawn_after = [v.numpy() for v in model.trainable_variables], seed.numpy()
        assert (drawn != drawn_after).any()

        for variable, value in zip(model.trainable_variables, before, strict=True):
            variable.assign(value)
        for variable, value in zip(model.non_trainable_variables, moving, strict=True):
            variable.assign(value)
        seed.assign(drawn)
        (source, words_in), words, advantage = model.prepare(batch)
        rows = words.numpy()[: len(numbers)].tolist()
        assert not words.numpy()[len(numbers) :].any()
        assert not words_in.numpy()[len(numbers) :].any()
        assert {id for row in rows for id in row}.isdisjoint({UNK, START})
        for row, row_in in zip(rows, words_in.numpy(), strict=False):
            length = row.index(END) + 1 if END in row else LIMIT + 1
            assert PAD not in row[:length]
            assert row[length:] == [PAD] * (LIMIT + 1 - length)
            assert row_in.tolist() == [START, *row[: length - 1], *row[length:]]
        expected = rewards_of(rows, numbers, tokenizer, pictures)
        expected -= rewards_of(greedy(model, source)[: len(numbers)], numbers, tokenizer, pictures)
        np.testing.assert_allclose(advantage[: len(numbers)], expected, atol=1e-5)
        assert np.ptp(expected) > 0.01

        with tf.GradientTape() as tape:
            state, total = model.network.begin(source, training=False), 0.0
            for step in range(LIMIT + 1):
                logits, _, state = model.network.step(words_in[:, step], state)
                log_probs = log_softmax(logits)
                for row, factor in enumerate(expected):
                    if rows[row][step] != PAD:
                        total -= factor * log_probs[row, rows[row][step]]
            loss = total / tf.math.count_nonzero(words, dtype="float32")
        gradient = tape.gradient(loss, [v.value for v in model.trainable_variables])
        for old, new, slope in zip(before, after, gradient, strict=True):
            slope = np.zeros_like(old) if slope is None else tf.convert_to_tensor(slope)
            np.testing.assert_allclose((old - new) / 0.3, slope, rtol=1e-3, atol=2e-6)
        for variable, value in zip(model.trainable_variables, after, strict=True):
            variable.assign(value)
        seed.assign(drawn_after)


# ---------------------------------------------------------------- learning


def learn_by_itself(folder, pictures, alive=True, **others):
    """Trains, or goes on; without `alive` it stops at the end of the second epoch, unsaved."""
    config = choices(epochs=12, save_every=4, **others)
    tokenizer = tokenizer_of(pictures)
    slow = config.attention == "none"
    model = taught(config, tokenizer, pictures, epochs=12 if slow else 3)
    numbers, _ = pipeline.encode(pictures[1], tokenizer, LIMIT)
    ids = self_critical.placeholders(numbers, LIMIT)
    batches = pipeline.Batches(pictures[0], numbers, ids, config.batch_size, seed=config.seed)
    train.compile_model(model, config, batches.steps)
    run = Run(folder)
    (folder / "config.json").write_text(config.to_json())

    def score(epoch):
        if epoch == 1 and not alive:
            raise OSError("power failure")
        return float(epoch), 0.0, "a sample"

    checkpoints = Checkpoints(run, config, score, time.monotonic())
    fit(model, batches, checkpoints)
    return run


def arrays(run):
    with np.load(run.checkpoint) as file:
        return {name: file[name] for name in file.files if name != "progress"}


@pytest.mark.parametrize("attention", ["soft", *more("hard", "none")])
def test_rewards_rise_and_training_goes_on_from_the_very_step(pictures, tmp_path, attention):
    options = {"attention": attention, "learning_rate": 0.01}
    (tmp_path / "whole").mkdir()
    (tmp_path / "stopped").mkdir()
    run = learn_by_itself(tmp_path / "whole", pictures, **options)
    history = run.load_checkpoint([])["history"]
    rewards = [row["reward"] for row in history]
    assert np.mean(rewards[-3:]) > np.mean(rewards[:3]) + 0.7
    if attention != "soft":
        return

    with pytest.raises(OSError, match="power failure"):
        learn_by_itself(tmp_path / "stopped", pictures, alive=False, **options)
    stopped = Run(tmp_path / "stopped")
    assert stopped.load_checkpoint([])["epoch"] == 1
    assert stopped.load_checkpoint([])["step"] == 8
    learn_by_itself(tmp_path / "stopped", pictures, **options)
    whole, again = arrays(run), arrays(stopped)
    assert whole.keys() == again.keys()
    for name, value in whole.items():
        np.testing.assert_array_equal(value, again[name])
    assert [row["reward"] for row in stopped.load_checkpoint([])["history"]] == rewards


@eagerly
def test_the_command(tmp_path):
    """From a soft run of the command line to a hard one that is its own critic, and its use."""
    rng, listed = np.random.default_rng(0), {"train": [], "dev": [], "test": []}
    for number in range(20):
        name, split = f"{number}.png", ("train", "train", "dev", "test")[number // 5]
        pixels = rng.integers(0, 256, (16, 16, 3), dtype="uint8")
        Image.fromarray(pixels).save(tmp_path / name)
        listed[split].append({"image": name, "captions": [f"A picture of {number % 3} things."]})
    (tmp_path / "captions.json").write_text(json.dumps(listed))
    sizes = ["units", "attention-units", "channels", "embedding", "max-length", "batch-size"]
    options = [part for name in sizes for part in (f"--{name}", "6")]
    options += ["--images", tmp_path, "--captions", tmp_path / "captions.json", "--size", 16]
    options += ["--epochs", 1, "--learning-rate", 1e-4]
    start = ["--self-critical", "--attention", "hard", "--start-from", tmp_path / "out" / "soft"]
    for added in (["--out", tmp_path / "out"], [*start, "--out", tmp_path / "critical"]):
        result = CliRunner().invoke(app, ["train", *map(str, [*options, *added])])
        assert result.exit_code == 0, result.output
    assert "10 captions in batches of [7] steps" in result.output
    run = Run(tmp_path / "critical" / "hard")
    assert run.load_checkpoint([])["history"][0]["reward"] >= 0
    config, _, model, tokenizer = inference.load(run)
    assert config.self_critical
    caption = inference.captioner(model, tokenizer, config, beam_width=2)
    assert caption(tf.zeros((2, 16, 16, 3)))["text"].shape == (2,)
