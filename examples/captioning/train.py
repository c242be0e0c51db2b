"""Training: plain `compile` and `fit`; what happens at the end of each epoch is in `common.fit`."""

import time
from pathlib import Path

import keras

from examples.captioning import (
    data,
    encoders,
    features,
    inference,
    pipeline,
    scoring,
    self_critical,
)
from examples.captioning import model as network
from examples.captioning.config import Config
from examples.captioning.data import Splits
from examples.captioning.images import Images
from examples.captioning.run import Run
from examples.captioning.tokenizer import Tokenizer, Words, learn
from examples.common.errors import UserError
from examples.common.files import write
from examples.common.fit import Checkpoints, fit, optimizer

SHIFT = 24  # The part of a side by which training pictures are shifted at most.


def train(run: Run, config: Config, splits: Splits, images: Images) -> dict:
    """Trains in the folder of `run`, from its checkpoint if there is one; returns the progress.

    What comes before the trained network (decoded pixels, or a frozen encoder's features) is
    computed once, for all runs of the study.
    """
    started = time.monotonic()
    keras.utils.set_random_seed(config.seed)
    frozen = encoders.frozen(config)
    tokenizer = _tokenizer(run, config, splits)
    model = network.build(config, tokenizer.size, features.layout(frozen)[0])
    if config.start_from and not run.checkpoint.exists():
        _copy_weights(Run(Path(config.start_from)), model, tokenizer)
    train_source, dev_source = (
        features.compute(frozen, images, [picture.name for picture in pictures], run.cache)
        for pictures in (splits.train, splits.dev)
    )
    write(run.folder / "config.json", config.to_json())
    suffix, units = ("txt", "words") if isinstance(tokenizer, Words) else ("model", "sub-words")
    write(run.folder / f"vocabulary.{suffix}", tokenizer.model)
    write(run.folder / "dev.json", data.to_json(splits.dev))
    write(run.folder / "test.json", data.to_json(splits.test))

    numbers, ids = pipeline.encode(splits.train, tokenizer, config.max_length)
    if config.self_critical:
        ids = self_critical.placeholders(numbers, config.max_length)
    batches = pipeline.Batches(
        *(train_source, numbers, ids, config.batch_size),
        shift=config.size // SHIFT if isinstance(frozen, int) else 0,
        flip=config.train_encoder > 0,
        seed=config.seed,
    )
    compile_model(model, config, batches.steps)
    print(
        f"{config.data}: {len(splits.train)} training, {len(splits.dev)} development, "
        f"{len(splits.test)} test pictures"
    )
    for note in splits.notes:
        print(note)
    print(
        f"{config.attention} attention, {tokenizer.size} {units}, {len(batches.ids)} "
        f"captions in batches of {batches.shapes[:, 1].tolist()} steps, "
        f"{model.count_params():,} weights"
    )
    caption = inference.captioner(model, tokenizer, config)

    def score(epoch):
        found = inference.caption_all(caption, dev_source)["text"]
        references = [picture.captions for picture in splits.dev]
        result = scoring.scores(found, references, config.bleu_tokenize)
        i = epoch * 7 % len(found)
        sample = f"{splits.dev[i].name}: {found[i]}   (reference: {splits.dev[i].captions[0]})"
        return result["bleu4"], result["exact_match"], sample

    if config.self_critical:
        references = [picture.captions for picture in splits.train]
        model.prepare = self_critical.sampler(model, tokenizer, references, config)
    checkpoints = Checkpoints(run, config, score, started)
    return fit(model, batches, checkpoints)


def compile_model(model: network.Captioner, config: Config, steps: int) -> None:
    """Compiles for epochs of `steps` batches; the loss is the model's own."""
    model.compile(
        optimizer(config, steps),
        weighted_metrics=["sparse_categorical_accuracy"],
        jit_compile=config.jit,
    )
    model.optimizer.build(model.trainable_variables)


def _copy_weights(run: Run, model: network.Captioner, tokenizer: Tokenizer) -> None:
    """Gives the model the weights of another run, which may have another attention."""
    other_config, _, other, other_tokenizer = inference.load(run)
    if _pieces(other_tokenizer) != _pieces(tokenizer):
        raise UserError(f"{run.folder}: --start-from needs a run on the same captions")
    mine, theirs = (
        [*each.trainable_weights, *each.network.encoder.non_trainable_weights]
        for each in (model, other)
    )
    if model.config.train_encoder and not other_config.train_encoder:
        pretrained = {id(v) for v in model.network.encoder.get_layer("pretrained").variables}
        mine = [v for v in mine if id(v) not in pretrained]
    if [v.shape for v in mine] != [v.shape for v in theirs]:
        raise UserError(
            f"{run.folder}: --start-from needs a run with the same encoder, --train-encoder and "
            "widths"
        )
    for variable, value in zip(mine, theirs, strict=True):
        variable.assign(value)


def _tokenizer(run: Run, config: Config, splits: Splits) -> Tokenizer:
    """That of the run, or one learned from the training captions."""
    if run.vocabulary:
        return inference.load_tokenizer(run)
    captions = [caption for picture in splits.train for caption in picture.captions]
    return learn(captions, config.vocabulary, config.min_count, config.vocabulary_size)


def _pieces(tokenizer: Tokenizer) -> list[bytes]:
    """What each id stands for."""
    return tokenizer.pieces(range(tokenizer.size)).numpy().tolist()
