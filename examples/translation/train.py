"""Training: plain `compile` and `fit`; what happens at the end of each epoch is in `common.fit`."""

import time
from pathlib import Path

import keras

import keras_attention as ka
from examples.common import devices
from examples.common.fit import Checkpoints, fit, optimizer
from examples.common.tokenizer import Tokenizer
from examples.translation import inference, pipeline, scoring
from examples.translation import model as network
from examples.translation.config import Config
from examples.translation.data import Splits
from examples.translation.prepare import prepare
from examples.translation.run import Run


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
