"""Training: plain `compile` and `fit`, with callbacks that score, save and resume."""

import sys
import time
from pathlib import Path

import keras

from examples.captioning import data, features, inference, pipeline
from examples.captioning import model as network
from examples.captioning.callbacks import DevScore
from examples.captioning.config import Config
from examples.captioning.data import Splits
from examples.captioning.images import Images
from examples.captioning.run import Run
from examples.captioning.tokenizer import Tokenizer, learn_vocabulary
from examples.common.checkpoint import Checkpoint
from examples.common.errors import UserError
from examples.common.files import write


def train(run: Run, config: Config, splits: Splits, images: Images) -> dict:
    """Trains, or goes on training, in the folder of `run`; returns the progress.

    What comes before the trained network (decoded pixels, or a frozen encoder's features) is
    computed once, for all runs. Ctrl-C stops the training kindly; the best model and the state of
    the last whole epoch stay.
    """
    started = time.monotonic()
    run.check(config)
    keras.utils.set_random_seed(config.seed)
    frozen = network.frozen_encoder(config)
    train_source, dev_source = (
        features.compute(frozen, images, [picture.name for picture in pictures], run.cache)
        for pictures in (splits.train, splits.dev)
    )
    tokenizer = _tokenizer(run, config, splits)
    write(run.folder / "config.json", config.to_json())
    write(run.folder / "vocabulary.txt", "\n".join(tokenizer.vocabulary) + "\n")
    write(run.folder / "dev.json", data.to_json(splits.dev))
    write(run.folder / "test.json", data.to_json(splits.test))

    batches = pipeline.Batches(
        train_source,
        *pipeline.encode(splits.train, tokenizer, config.max_length),
        config.batch_size,
        augment=config.encoder == "cnn",
        seed=config.seed,
    )
    model = network.build(config, len(tokenizer.vocabulary))
    compile_model(model, config, batches.steps)
    progress = run.load_checkpoint(Checkpoint.variables(model))
    first = progress.get("epoch", 0)
    if config.start_from and not first:
        _start(model, tokenizer, Run(Path(config.start_from)))
    _report(config, splits, tokenizer, batches, model, first)
    if first == config.epochs:
        return progress

    caption = inference.captioner(model, tokenizer, config)
    checkpoint = Checkpoint(run, progress, started)
    try:
        model.fit(
            batches.epochs(first, config.epochs),
            steps_per_epoch=batches.steps,
            initial_epoch=first,
            epochs=config.epochs,
            shuffle=False,  # the pipeline has done it
            callbacks=[
                DevScore(caption, dev_source, splits.dev),
                checkpoint,
                keras.callbacks.ProgbarLogger(),
            ],
            verbose=1 if sys.stdout.isatty() else 2,
        )
    finally:
        _record(run, checkpoint.progress)
    return checkpoint.progress


def _start(model: network.Captioner, tokenizer: Tokenizer, run: Run) -> None:
    """Gives the model the weights of another run's, which may have another attention."""
    _, other, known = inference.load(run)
    if known.vocabulary != tokenizer.vocabulary:
        raise UserError(f"{run.folder}: --start-from needs a run on the same captions")
    mine, theirs = (
        [*each.trainable_variables, *each.network.encoder.non_trainable_variables]
        for each in (model, other)
    )
    if [v.shape for v in mine] != [v.shape for v in theirs]:
        raise UserError(f"{run.folder}: --start-from needs a run of the same widths")
    for variable, value in zip(mine, theirs, strict=True):
        variable.assign(value)


def compile_model(model: network.Captioner, config: Config, steps: int) -> None:
    """Adam with a warm-up of half an epoch and a cosine to zero; the gradient's norm is clipped."""
    warmup = max(1, steps // 2)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0,
        decay_steps=max(1, config.epochs * steps - warmup),
        warmup_target=config.learning_rate,
        warmup_steps=warmup,
    )
    optimizer = keras.optimizers.Adam(schedule, global_clipnorm=1.0)
    model.compile(optimizer, metrics=["sparse_categorical_accuracy"], jit_compile=config.jit)
    model.optimizer.build(model.trainable_variables)


def _tokenizer(run: Run, config: Config, splits: Splits) -> Tokenizer:
    """From the vocabulary of the run, or learned from the training side."""
    if (run.folder / "vocabulary.txt").exists():
        return inference.load_tokenizer(run)
    captions = (caption for picture in splits.train for caption in picture.captions)
    return Tokenizer(learn_vocabulary(captions, config.min_count))


def _report(config, splits, tokenizer, batches, model, first) -> None:
    sizes = ", ".join(
        f"{len(pictures)} {name}"
        for name, pictures in zip(("training", "development", "test"), splits, strict=False)
    )
    print(f"{config.data}: {sizes} pictures")
    for note in splits.notes:
        print(note)
    print(
        f"{config.attention} attention, {len(tokenizer.vocabulary)} words, {len(batches.ids)} "
        f"captions in buckets of {batches.widths} words, {model.count_params():,} weights"
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
                "dev_bleu4": progress["best_bleu"],
            }
        )
