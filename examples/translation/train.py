"""Training: plain `compile` and `fit`; what happens at the end of each epoch is in `common.fit`."""

import functools
import hashlib
import itertools
import shutil
import time
from pathlib import Path

import keras
import tensorflow as tf

import keras_attention as ka
from examples.common import devices
from examples.common.errors import UserError, user_errors
from examples.common.files import write
from examples.common.fit import Checkpoints, fit, optimizer
from examples.common.tokenizer import Tokenizer, learn, normalize
from examples.translation import data, inference, pipeline, scoring, shards
from examples.translation import model as network
from examples.translation.config import Config
from examples.translation.data import Splits
from examples.translation.run import Run

SAMPLE = 200_000  # pairs from which vocabularies are learned, at most


def train(run: Run, config: Config, splits: Splits, stamp: list) -> dict:
    """Trains in the folder of `run`, from its checkpoint if there is one; returns the progress."""
    started = time.monotonic()
    from_start = config.start_from and not run.checkpoint.exists()
    if from_start:  # a damaged start is told before anything is written
        inference.load(Run(Path(config.start_from)))
    keras.utils.set_random_seed(config.seed)
    with devices.first_process_first():
        run.check(config)
        if devices.processes()[0]:  # the first one's choices, of epochs too
            config = run.config()
        source, target, sample, files, dev_files = prepare(run, config, splits, stamp)
    with devices.scope():
        batches = pipeline.Batches(files, config.batch_tokens, config.seed, sample)
        dev_batches = pipeline.Batches(dev_files, config.batch_tokens)
        model = network.build(config, source.size, target.size)
        if from_start:
            Run(Path(config.start_from)).load_weights(model)
        compile_model(model, config, batches.steps)
        left_out = f", {splits.dropped} with an empty side dropped" if splits.dropped else ""
        if files.skipped:
            left_out += f", {files.skipped} with more than {config.max_length} tokens skipped"
        on = f"; on {devices.count()} devices" if devices.count() > 1 else ""
        print(
            f"{config.data}: {splits.size - files.skipped} training, {len(splits.dev)} "
            f"development, {len(splits.test)} test pairs{left_out}"
        )
        print(
            f"{source.size} source and {target.size} target pieces, {model.count_params():,} "
            f"weights; {batches.steps} batches of {len(batches.shapes)} shapes, "
            f"{batches.share:.0%} real tokens{on}"
        )
        score = scorer(model, config, splits.dev, source, target)
        checkpoints = Checkpoints(run, config, score, started)
        return fit(model, batches, checkpoints, dev_batches.in_order())


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


def scorer(model, config: Config, pairs, source: Tokenizer, target: Tokenizer):
    """A function of an epoch to BLEU and exact match on `pairs`, and a sample of them."""
    sources = [pair.source for pair in pairs]
    references = inference.references(target, pairs)
    translate = inference.translator(model, source, target, config.max_length)

    def score(epoch):
        found = inference.translate_all(translate, sources)
        result = scoring.scores(found, references, config.bleu_tokenize)
        i = epoch * 7 % len(found)
        sample = f"{sources[i]} -> {found[i]}   (reference: {references[i]})"
        return result["bleu"], result["exact_match"], sample

    return score


def compile_model(model, config: Config, steps: int) -> None:
    """Compiles for epochs of `steps` batches, with a loss that does not hold the logits."""
    model.compile(
        optimizer(config, steps),
        ka.losses.LinearCrossentropy(config.label_smoothing),  # no metrics: they need the logits
        jit_compile=config.jit or keras.backend.backend() == "jax",
    )
    model.optimizer.build(model.trainable_variables)


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
