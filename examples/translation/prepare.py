"""What a run needs before it trains: vocabularies, and the corpus as integers in shards."""

import functools
import hashlib
import itertools
import shutil
from pathlib import Path

import tensorflow as tf

from examples.common.errors import UserError, user_errors
from examples.common.files import write
from examples.common.tokenizer import Tokenizer, learn, normalize
from examples.translation import data, inference, shards
from examples.translation.config import Config
from examples.translation.data import Splits
from examples.translation.run import Run

SAMPLE = 200_000  # pairs from which vocabularies are learned, at most


def prepare(run: Run, config: Config, splits: Splits, stamp: list) -> tuple:
    """Writes all of a run but its weights.

    Returns the tokenizers, what draws the pieces of training pairs, and the encoded pairs.
    """
    source, target = tokenizers(run, config, splits)
    alpha = config.subword_sampling
    sample = shards.sampler(source, target, alpha) if alpha else None
    try:
        files = [
            encoded(run.folder / f"shards/{name}", config, *pairs, source, target, draw)
            for name, pairs, draw in (
                ("train", (splits.train, splits.size), sample),
                ("dev", (splits.dev, len(splits.dev)), None),
            )
        ]
    except BaseException:
        if not (run.folder / "config.json").exists():  # no run yet: nothing stays
            shutil.rmtree(run.folder / "shards", ignore_errors=True)
        raise
    for name, made in (("source", source), ("target", target)):
        write(run.folder / f"{name}.model", made.model)
    data.remember(run.folder, stamp, splits)
    write(run.folder / "config.json", config.to_json())
    return source, target, sample, *files


def encoded(
    folder: Path, config: Config, pairs, size, source, target, sample=None
) -> shards.Shards:
    """The shards in `folder`, written if they are not there or of other data or tokenizers."""
    digests = [hashlib.sha256(tokenizer.model).hexdigest() for tokenizer in (source, target)]
    stamp = [config.fingerprint, config.max_length, *digests]
    stamp += [config.subword_sampling] if sample else []
    options = source, target, config.max_length, config.skip_long, sample
    return shards.load(folder, stamp) or shards.save(folder, stamp, pairs, size, *options)


def tokenizers(run: Run, config: Config, splits: Splits) -> list[Tokenizer]:
    """Source's and target's: the run's or its start's, or own models', or learned from `splits`."""
    sides = ("source", "target")
    known = all((run.folder / f"{side}.model").exists() for side in sides)
    if known or config.start_from:
        kept = run if known else Run(Path(config.start_from))
        return [inference.load_tokenizer(kept, config, side) for side in sides]

    @functools.cache
    def pairs():
        # A sample is enough, evenly from the whole corpus.
        return list(itertools.islice(splits.train, 0, None, 1 + splits.size // SAMPLE))

    def texts(side):
        lines = tf.data.Dataset.from_tensor_slices([getattr(pair, side) for pair in pairs()])
        folded = lines.batch(4096).map(lambda line: normalize(line, config.folds(side)))
        return (line.decode() for line in folded.unbatch().as_numpy_iterator())

    options = config.vocabulary_size, config.vocabulary_type
    paths = {side: getattr(config, f"{side}_model") for side in sides}
    if config.joint_vocabulary:
        models = [learn(itertools.chain(*map(texts, sides)), *options)] * 2
    else:
        models = [
            read_model(paths[side]) if paths[side] else learn(texts(side), *options)
            for side in sides
        ]
    try:
        return [Tokenizer(m, config.folds(side)) for m, side in zip(models, sides, strict=True)]
    except ValueError as error:
        raise UserError(f"{' or '.join(filter(None, paths.values()))}: {error}") from None


def read_model(path: str) -> bytes:
    with user_errors(Path(path), "read"):
        return Path(path).read_bytes()
