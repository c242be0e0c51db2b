"""Training: plain `compile` and `fit`, with callbacks that score, save and resume."""

import sys
import time

import keras
import tensorflow as tf

import keras_attention as ka
from examples.common.checkpoint import Checkpoint
from examples.common.errors import UserError
from examples.common.files import write
from examples.translation import inference, pipeline
from examples.translation import model as network
from examples.translation.callbacks import DevScore, Sample
from examples.translation.config import Config
from examples.translation.data import Splits, to_tsv
from examples.translation.run import Run
from examples.translation.tokenizer import Tokenizer, learn_vocabulary


def train(run: Run, config: Config, splits: Splits) -> dict:
    """Trains, or goes on training, in the folder of `run`; returns the progress.

    Ctrl-C stops it kindly; the best model and the state of the last whole epoch stay.
    """
    started = time.monotonic()
    run.check(config)
    keras.utils.set_random_seed(config.seed)
    source, target = _tokenizers(run, config, splits)
    splits = _fit_length(config, splits, source, target)
    write(run.folder / "config.json", config.to_json())
    write(run.folder / "source.vocabulary.txt", "\n".join(source.vocabulary) + "\n")
    write(run.folder / "target.vocabulary.txt", "\n".join(target.vocabulary) + "\n")
    write(run.folder / "dev.tsv", to_tsv(splits.dev))
    write(run.folder / "test.tsv", to_tsv(splits.test))

    train_batches, dev_batches = (
        pipeline.Batches(
            pipeline.encode(pairs, source, target), config.batch_size, seed=config.seed
        )
        for pairs in (splits.train, splits.dev)
    )
    model = network.build(config, len(source.vocabulary), len(target.vocabulary))
    compile_model(model, config, train_batches.steps)
    progress = run.load_checkpoint(Checkpoint.variables(model))
    first = progress.get("epoch", 0)
    _report(config, splits, source, target, train_batches, model, first)
    if first == config.epochs:
        return progress

    references = target.normalize(tf.constant([pair.target for pair in splits.dev])).numpy()
    translate = inference.translator(model, source, target, config.max_length)
    score = DevScore(
        translate, splits.dev, [text.decode() for text in references], config.bleu_tokenize
    )
    checkpoint = Checkpoint(run, progress, started)
    try:
        model.fit(
            train_batches.epochs(first, config.epochs),
            steps_per_epoch=train_batches.steps,
            initial_epoch=first,
            epochs=config.epochs,
            shuffle=False,  # the pipeline has done it
            validation_data=dev_batches.in_order(),
            # The progress bar before the sample, so that its line is complete when that prints.
            callbacks=[score, checkpoint, keras.callbacks.ProgbarLogger(), Sample(score)],
            verbose=1 if sys.stdout.isatty() else 2,
        )
    finally:
        _record(run, checkpoint.progress)
    return checkpoint.progress


def compile_model(model, config: Config, steps: int) -> None:
    """Adam with a warm-up of one epoch and a cosine to zero; the gradient's norm is clipped."""
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0,
        decay_steps=max(1, (config.epochs - 1) * steps),
        warmup_target=config.learning_rate,
        warmup_steps=steps,
    )
    optimizer = keras.optimizers.Adam(schedule, global_clipnorm=1.0)
    model.compile(
        optimizer,
        # No metric asks for the logits, so they are never held.
        ka.losses.LinearCrossentropy(config.label_smoothing),
        jit_compile=config.jit,
    )
    model.optimizer.build(model.trainable_variables)


def _tokenizers(run: Run, config: Config, splits: Splits) -> tuple[Tokenizer, Tokenizer]:
    """From the vocabularies of the run, or learned from the training side."""
    names = ("source.vocabulary.txt", "target.vocabulary.txt")
    if all((run.folder / name).exists() for name in names):
        return inference.tokenizers(run, config)

    def learned(side: str) -> Tokenizer:
        texts = [getattr(pair, side) for pair in splits.train]
        fold = config.folds(side)
        return Tokenizer(learn_vocabulary(texts, config.vocabulary_size, fold), fold)

    return learned("source"), learned("target")


def _fit_length(config: Config, splits: Splits, source: Tokenizer, target: Tokenizer) -> Splits:
    kept, skipped = [], 0
    for pairs in (splits.train, splits.dev, splits.test):
        fitting, long = pipeline.fit_length(
            pairs, source, target, config.max_length, config.skip_long
        )
        if not fitting:
            raise UserError(
                f"a split has no pair of at most {config.max_length} tokens: raise --max-length"
            )
        kept.append(fitting)
        skipped += long
    if skipped:
        print(f"skipped {skipped} pairs with more than {config.max_length} tokens")
    return Splits(*kept, dropped=splits.dropped)


def _report(config, splits, source, target, batches, model, first) -> None:
    sizes = ", ".join(
        f"{len(pairs)} {name}"
        for name, pairs in zip(("training", "development", "test"), splits, strict=False)
    )
    dropped = f", {splits.dropped} with an empty side dropped" if splits.dropped else ""
    print(f"{config.data}: {sizes} pairs{dropped}")
    print(
        f"{len(source.vocabulary)} source and {len(target.vocabulary)} target pieces, buckets of "
        f"{batches.widths} tokens, {model.count_params():,} weights"
    )
    if first:
        at = "is complete" if first == config.epochs else f"resumes after epoch {first}"
        print(f"training {at}")


def _record(run: Run, progress: dict) -> None:
    if progress["epoch"]:
        run.update_metrics(
            {
                "train_seconds": round(progress["seconds"], 1),
                "epochs": progress["epoch"],
                "best_epoch": progress["best_epoch"],
                "dev_bleu": progress["best_bleu"],
            }
        )
