"""Data of the translation example: corpora as streams, their splits, shards and batches."""

import gzip
import itertools
import json
import os
import shutil
from collections import Counter

import numpy as np
import pytest
import tensorflow as tf

from examples.common.errors import UserError
from examples.common.special import END, PAD, START, UNK
from examples.common.splits import hash_share
from examples.common.tokenizer import Tokenizer, learn
from examples.translation import corpora, data, pipeline, shards
from examples.translation.config import Config

PAIRS = [
    data.Pair(f"{n} {'black ' * (n % 7)}dogs", f"{n} {'noir ' * (n % 5)}chiens", f"x:{n}")
    for n in range(90)
]


def emoji_names(language):
    return data.load(*corpora.read(Config(language=language)))


def load(pairs, dev=None, test=None):
    return data.load(data.ParallelCorpus(lambda: pairs), dev, test)


def test_emoji_names_are_split_by_emoji():
    splits = emoji_names("fr")
    train = list(splits.train)
    assert len(train) == splits.size > 2000
    assert 0.08 < len(splits.test) / (splits.size + len(splits.dev) + len(splits.test)) < 0.12
    for pair in splits.test:
        assert hash_share(pair.origin) < 0.1
    origins = [pair.origin for split in (train, splits.dev, splits.test) for pair in split]
    assert len(set(origins)) == len(origins)
    assert splits.fingerprint == emoji_names(None).fingerprint


def test_languages_differ_and_share_the_split():
    german, french = emoji_names("de"), emoji_names("fr")
    assert german.fingerprint != french.fingerprint
    both = {pair.origin for split in (german.train, german.dev, german.test) for pair in split}
    tested = {pair.origin for pair in french.test} & both
    assert tested
    assert tested <= {pair.origin for pair in german.test}


def test_no_source_sentence_is_in_two_splits():
    corpus = [data.Pair(f"Line {n % 300}", f"ligne {n}", f"x:{n}") for n in range(900)]
    splits = load(corpus)
    sources = [{pair.source for pair in s} for s in (splits.train, splits.dev, splits.test)]
    assert sum(map(len, sources)) == len(set.union(*sources)) == 300
    lower = [data.Pair(pair.source.lower(), *pair[1:]) for pair in corpus]
    again = load(lower)
    assert [p.origin for p in again.test] == [p.origin for p in splits.test]


def test_of_a_large_corpus_little_is_held_back():
    splits = load([data.Pair(f"{n}", "a", "") for n in range(40_000)])
    assert 1800 < len(splits.test) < 2200
    assert 850 < len(splits.dev) < 1150


def test_files_are_read_line_by_line(tmp_path):
    (tmp_path / "a").write_bytes("\ufeffcafe\u0301\u2028 x\r\n\nlast".encode())
    (tmp_path / "b").write_bytes(gzip.compress(b"1\n2\n3\n"))  # whatever its name
    pairs = list(map(data.cleaned, corpora.read_parallel(tmp_path / "a", tmp_path / "b")))
    assert [(p.source, p.target) for p in pairs] == [("café x", "1"), ("", "2"), ("last", "3")]
    assert pairs[2].origin == f"{tmp_path / 'a'}:3"
    given = [data.Pair("a", "b", "dev:1"), data.Pair("c", "", "dev:2")]
    splits = load(pairs * 10, lambda: given, lambda: given)
    assert splits.dev == splits.test == given[:1]
    assert len(list(splits.train)) == splits.size == 20
    assert splits.dropped == 12


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("a\tb\n".encode("utf-16"), "UTF-16, but UTF-8 is needed"),
        (b"a\tb\rc\td\r", "lines end in CR alone"),
        (gzip.compress(b"a\tb\n" * 99)[:-9], "cannot be read"),
        (gzip.compress(b"a\tb\n" * 99)[:12] + b"damaged", "cannot be read"),
    ],
)
def test_other_encodings_and_damaged_files_are_told(tmp_path, content, told):
    path = tmp_path / "pairs.tsv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"{path}: {told}"):
        list(corpora.read_tsv(path))


def test_what_was_read_is_remembered_until_a_file_changes(tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text("".join(f"{s}\t{t}\n" for s, t, _ in PAIRS))
    config = Config(pairs=path)
    corpus, _, _ = corpora.read(config)
    splits, stamp = data.load(corpus), corpora.stamp(config)
    run = tmp_path / "run"
    assert data.recall(run, stamp, corpus) is None
    data.remember(run, stamp, splits)
    again = data.recall(run, json.loads(json.dumps(stamp)), corpus)
    assert (again.dev, again.size, again.fingerprint) == (
        splits.dev,
        splits.size,
        splits.fingerprint,
    )
    assert list(again.train) == list(splits.train)
    os.utime(path, ns=(0, 0))
    assert data.recall(run, corpora.stamp(config), corpus) is None
    assert corpora.stamp(Config()) == corpora.stamp(Config(language="fr"))
    assert corpora.stamp(Config()) != corpora.stamp(Config(language="de"))


# ---------------------------------------------------------------- shards


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer(learn([text for pair in PAIRS for text in pair[:2]], 300))


@pytest.fixture(scope="module")
def pieces():
    """A tokenizer that has many pieces of more than a character."""
    return Tokenizer(learn([text for pair in PAIRS for text in pair[:2]], 300, "bpe"))


@pytest.fixture(scope="module")
def folder(tokenizer, tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setattr(shards, "CHUNK", 8)
    patch.setattr(shards, "SHARD", 3)
    folder = tmp_path_factory.mktemp("shards")
    shards.save(folder, ["x", 1], PAIRS, len(PAIRS), tokenizer, tokenizer, 100, skip=False)
    patch.undo()
    return folder


def texts(tokenizer, pairs):
    return [
        tuple(tokenizer.decode(ids[None]).numpy()[0].decode() for ids in pair) for pair in pairs
    ]


def test_shards_hold_all_pairs_in_their_order_or_shuffled(tokenizer, folder):
    files = shards.load(folder, ["x", 1])
    assert len(files.files) == 4
    assert texts(tokenizer, files.pairs()) == [pair[:2] for pair in PAIRS]
    one, two = (texts(tokenizer, files.pairs(seed)) for seed in (1, 2))
    assert sorted(one) == sorted(two) == sorted(pair[:2] for pair in PAIRS)
    assert one != two
    assert one == texts(tokenizer, files.pairs(1))
    lengths = np.array([[len(s), len(t) - 1] for s, t in files.pairs().as_numpy_iterator()])
    counts = files.histogram()
    assert counts.sum() == len(PAIRS)
    assert counts[tuple(lengths[0])] == (lengths == lengths[0]).all(axis=1).sum()


def test_shards_move_with_their_folder(tokenizer, folder, tmp_path):
    moved = shards.load(shutil.copytree(folder, tmp_path / "moved"), ["x", 1])
    for file in (tmp_path / "moved").glob("*.tfrecord"):
        file.rename(file.with_suffix(".away"))
    with pytest.raises(tf.errors.NotFoundError):
        list(moved.pairs())


def test_shards_cut_short_or_of_other_data_are_none(folder, tmp_path):
    assert shards.load(tmp_path, ["x", 1]) is None
    assert shards.load(folder, ["y", 1]) is None
    path = folder / "00001.tfrecord"
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    assert shards.load(folder, ["x", 1]) is None
    path.write_bytes(content)
    assert shards.load(folder, ["x", 1])


def test_long_pairs_are_an_error_or_skipped(tokenizer, tmp_path):
    pairs = [data.Pair("dogs " * n, "dogs " * (4 - n), f"x:{n}") for n in range(1, 4)]
    sizes = [len(tokenizer.encode([pair.source.strip()]).to_list()[0]) for pair in pairs]

    def save(limit, skip):
        return shards.save(tmp_path, "", pairs, 3, tokenizer, tokenizer, limit, skip)

    assert save(sizes[2], False).skipped == 0
    assert save(sizes[1], True).skipped == 2
    told = rf"x:1: the target sentence has {sizes[2]} tokens, the limit is .*\(and 1 more pairs\)"
    with pytest.raises(UserError, match=told):
        save(sizes[1], False)
    # Both sides are too long.
    with pytest.raises(UserError, match=rf"x:1: the source sentence has {sizes[0]} tokens"):
        save(1, False)
    assert shards.load(tmp_path, "") is None
    with pytest.raises(UserError, match="no pair has at most 1 tokens"):
        save(1, True)


def test_pieces_are_drawn_by_the_seed(pieces, tmp_path):
    sample = shards.sampler(pieces, pieces, 0.2)
    files = shards.save(tmp_path, "", PAIRS, len(PAIRS), pieces, pieces, 100, False, sample)
    found = [list(files.pairs(seed, sample)) for seed in (1, 1, 2)]
    best, (one, again, two) = list(files.pairs(1)), ([str(pair) for pair in f] for f in found)
    assert one == again
    assert len({*one, *two, *map(str, best)}) > 2 * len(PAIRS)
    assert texts(pieces, found[0]) == texts(pieces, best)  # in the same order
    assert texts(pieces, found[2]) == texts(pieces, files.pairs(2))
    for source, target in found[0]:
        assert (source[-1], target[0], target[-1]) == (END, START, END)
    unsampled = map(str, files.pairs(None, sample))
    assert list(unsampled) == [str(pair) for pair in files.pairs()]


def test_some_sentences_stay_as_they_are(pieces):
    best = pieces.encode(["black dogs", "chien", "noir", "black dogs"]).to_list()
    best[2][0] = UNK
    rows = [[*best[0], END], [*best[1], END], [START, *best[2], END], [START, *best[3], END]]
    numbers = np.array([4, *map(len, rows), *itertools.chain(*rows)], "int32")
    sample, limits = shards.sampler(pieces, pieces, 0.2), [len(rows[0]), 100]
    found = np.stack([sample(numbers, seed, limits)[:5] for seed in range(40)])
    assert (found[:, 0] == 4).all()
    assert found[:, 1].max() == len(rows[0])
    assert (found[:, 3] == len(rows[2])).all()  # [UNK] does not tell the text
    assert found[:, 4].max() > len(rows[3])
    lengths = shards.sizes(numbers)
    assert lengths.tolist() == [[len(rows[0]), len(rows[1])], [len(rows[2]) - 1, len(rows[3]) - 1]]
    assert sample(np.array([0], "int32"), 1, limits).tolist() == [0]


# ---------------------------------------------------------------- batches


@pytest.fixture(scope="module")
def batches(folder):
    return pipeline.Batches(shards.load(folder, ["x", 1]), tokens=60, seed=1)


@pytest.fixture(scope="module")
def drawn(pieces, tmp_path_factory):
    """Batches of five times as many pairs, of drawn pieces."""
    folder, sample = tmp_path_factory.mktemp("shards"), shards.sampler(pieces, pieces, 0.2)
    files = shards.save(folder, "", 5 * PAIRS, 450, pieces, pieces, 100, False, sample)
    return pipeline.Batches(files, tokens=60, seed=1, sample=sample)


def test_batches_have_few_fixed_shapes(batches):
    found = list(batches.epochs(0, 1).as_numpy_iterator())
    assert len(found) == batches.steps
    shapes = [
        (count, *widths)
        for count, widths in zip(batches.rows, batches.shapes.tolist(), strict=True)
    ]
    assert 1 < len(shapes) < 10
    count, real, size = 0, 0, 0
    for (source, target_in), target_out in found:
        assert (*source.shape, target_out.shape[1]) in shapes
        assert target_in.shape == target_out.shape
        assert len(source) * max(source.shape[1], target_in.shape[1]) <= 60 or len(source) == 1
        rows = target_out[:, 0] != PAD
        count += rows.sum()
        real += (source[rows] != PAD).sum() + (target_out != PAD).sum()
        size += source.size + target_out.size
        assert not target_in[~rows].any()
        assert not target_out[~rows].any()
        assert (target_in[rows, 0] == START).all()
        assert not (target_in == END).any()
        assert ((source == END).sum(axis=1) == 1).all()  # cuDNN takes no row of padding alone
        assert (source[~rows, 0] == END).all()
        assert ((target_out == END).sum(axis=1) == rows).all()
        shifted = np.where(target_out[:, :-1] == END, PAD, target_out[:, :-1])
        assert (target_in[:, 1:] == shifted).all()
    assert count == len(PAIRS)
    assert batches.share == pytest.approx(real / size)
    assert sum(1 for _ in batches.in_order()) == batches.steps


def test_batches_of_drawn_pieces_have_as_many_steps_in_each_epoch(drawn, pieces):
    real, size = 0, 0
    for number in range(3):
        seen = Counter()
        for (source, target_in), target_out in drawn.epochs(number, number + 1):
            assert [source.shape[1], target_in.shape[1]] in drawn.shapes.tolist()
            rows = target_out[:, 0] != PAD
            real += np.count_nonzero(source[rows]) + np.count_nonzero(target_out)
            size += source.numpy().size + target_out.numpy().size
            texts = (pieces.decode(ids).numpy().tolist() for ids in (source, target_out))
            seen.update(zip(*texts, strict=True))
            seen["batches"] += 1
        assert seen.pop("batches") == drawn.steps
        seen.pop((b"", b""), None)  # of filled up rows
        assert {tuple(text.decode() for text in pair) for pair in seen} == {p[:2] for p in PAIRS}
        assert seen.total() == pytest.approx(450, rel=0.05)
    assert drawn.share == pytest.approx(real / size, abs=0.02)


@pytest.mark.parametrize("kind", ["batches", "drawn"])
def test_an_epoch_depends_on_its_number_alone(kind, request):
    batches = request.getfixturevalue(kind)
    all_three = list(batches.epochs(0, 3).as_numpy_iterator())
    late = list(batches.epochs(2, 3, skip=1).as_numpy_iterator())
    for one, other in zip(all_three[2 * batches.steps + 1 :], late, strict=True):
        assert all(map(np.array_equal, tf.nest.flatten(one), tf.nest.flatten(other)))
    first, second = (all_three[i * batches.steps : (i + 1) * batches.steps] for i in (0, 1))
    sources = [np.concatenate([b[0][0].ravel() for b in epoch]) for epoch in (first, second)]
    assert sources[0].shape != sources[1].shape or (sources[0] != sources[1]).any()
