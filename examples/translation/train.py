"""Training: plain `compile` and `fit`; what happens at the end of each epoch is in `common.fit`."""

import time

import keras

import keras_attention as ka
from examples.common.errors import UserError
from examples.common.files import write
from examples.common.fit import Checkpoints, fit, optimizer
from examples.translation import inference, pipeline, scoring
from examples.translation import model as network
from examples.translation.config import Config
from examples.translation.data import Splits, to_tsv
from examples.translation.run import Run
from examples.translation.tokenizer import Tokenizer, learn_vocabulary


def train(run: Run, config: Config, splits: Splits) -> dict:
    """Trains in the folder of `run`, from its checkpoint if there is one; returns the progress."""
    started = time.monotonic()
    keras.utils.set_random_seed(config.seed)
    source, target = (_tokenizer(run, config, splits, side) for side in ("source", "target"))
    splits = _fit_length(config, splits, source, target)
    write(run.folder / "config.json", config.to_json())
    for name, made in (("source", source), ("target", target)):
        write(run.folder / f"{name}.vocabulary.txt", "\n".join(made.vocabulary) + "\n")
    for name in ("dev", "test"):
        write(run.folder / f"{name}.tsv", to_tsv(getattr(splits, name)))

    batches, dev_batches = (
        pipeline.Batches(
            pipeline.encode(pairs, source, target), config.batch_size, seed=config.seed
        )
        for pairs in (splits.train, splits.dev)
    )
    model = network.build(config, len(source.vocabulary), len(target.vocabulary))
    compile_model(model, config, batches.steps)
    dropped = f", {splits.dropped} with an empty side dropped" if splits.dropped else ""
    print(
        f"{config.data}: {len(splits.train)} training, {len(splits.dev)} development, "
        f"{len(splits.test)} test pairs{dropped}"
    )
    print(
        f"{len(source.vocabulary)} source and {len(target.vocabulary)} target pieces, buckets of "
        f"{batches.widths} tokens, {model.count_params():,} weights"
    )
    sources = [pair.source for pair in splits.dev]
    references = inference.references(target, splits.dev)
    translate = inference.translator(model, source, target, config.max_length)

    def score(epoch):
        found = inference.translate_all(translate, sources)
        result = scoring.scores(found, references, config.bleu_tokenize)
        i = epoch * 7 % len(found)
        sample = f"{sources[i]} -> {found[i]}   (reference: {references[i]})"
        return result["bleu"], result["exact_match"], sample

    checkpoints = Checkpoints(run, config, score, started)
    return fit(model, batches, checkpoints, dev_batches.in_order())


def compile_model(model, config: Config, steps: int) -> None:
    """Compiles for epochs of `steps` batches, with a loss that does not hold the logits."""
    model.compile(
        optimizer(config, steps),
        ka.losses.LinearCrossentropy(config.label_smoothing),  # no metrics: they need the logits
        jit_compile=config.jit,
    )
    model.optimizer.build(model.trainable_variables)


def _tokenizer(run: Run, config: Config, splits: Splits, side: str) -> Tokenizer:
    """With the vocabulary of the run, or one learned from the training pairs."""
    if (run.folder / f"{side}.vocabulary.txt").exists():
        return inference.load_tokenizer(run, config, side)
    texts, fold = [getattr(pair, side) for pair in splits.train], config.folds(side)
    return Tokenizer(learn_vocabulary(texts, config.vocabulary_size, fold), fold)


def _fit_length(config: Config, splits: Splits, source: Tokenizer, target: Tokenizer) -> Splits:
    fitting = [
        pipeline.fit_length(pairs, source, target, config.max_length, config.skip_long)
        for pairs in splits[:3]
    ]
    if not all(pairs for pairs, _ in fitting):
        raise UserError(
            f"a split has no pair of at most {config.max_length} tokens: raise --max-length"
        )
    skipped = sum(long for _, long in fitting)
    if skipped:
        print(f"skipped {skipped} pairs with more than {config.max_length} tokens")
    return Splits(*(pairs for pairs, _ in fitting), dropped=splits.dropped)
