"""The command `train`."""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from examples.common.commands import quiet_import, train_and_report
from examples.common.options import with_options
from examples.translation import corpora, data
from examples.translation.config import INHERITED, OUT, Config, inherit
from examples.translation.run import Run


@with_options
def train(
    config: Config,
    out: Annotated[
        Path, typer.Option(help="The run folder.", is_eager=True, callback=inherit)
    ] = OUT,
):
    """Train a translator into a run folder.

    Each epoch ends with the BLEU on the development pairs and a sample; the best model is kept.
    Ctrl-C or a kill loses only the steps since the last checkpoint. The same command continues from
    there, or, with more --epochs, from the end. A folder that holds a run with other choices or
    data is refused and left as it is.
    """
    corpus, config = config, config.absolute()
    run, stamp, (pairs, dev, test) = Run(out), corpora.stamp(config), corpora.read(corpus)
    before = _fingerprint_of_start(config, run)
    splits = data.recall(run.folder, stamp, pairs) or data.load(pairs, dev, test)
    path = corpus.pairs or corpus.source
    changes = {
        "data": corpora.printable(path) if path else f"emoji names, en-{corpus.language or 'fr'}",
        "fingerprint": splits.fingerprint + before,
    }
    if config.bleu_tokenize == "auto":
        tokenizers = {"zh": "zh", "ja": "char"}
        changes["bleu_tokenize"] = tokenizers.get(corpus.language or "", "13a")
    config = dataclasses.replace(config, **changes)
    run.check(config)
    with quiet_import():
        from examples.common import devices
        from examples.translation import train as training
    with devices.joined():
        train_and_report(training.train, run, config, splits, stamp)


def _fingerprint_of_start(config: Config, run: Run) -> str:
    """That of the data of the run to start from, which must be of the same model."""
    if not config.start_from:
        return ""
    different = Path(config.start_from).resolve() != run.folder.resolve()
    config.require("start_from", different, "another run than that of --out")
    start = run.start(config.start_from)
    other = start.config()
    for name in INHERITED:
        theirs = getattr(other, name)
        same = name == "dropout" or getattr(config, name) == theirs
        config.require(name, same, f"{theirs!r}, as in the run of --start-from")
    before = other.fingerprint.partition("+")[2] if start is run else other.fingerprint
    return f"+{before}"
