"""The command `train`."""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from examples.captioning.config import OUT, SCENES, Config
from examples.common.commands import quiet_import, train_and_report
from examples.common.errors import UserError
from examples.common.options import with_options


@with_options
def train(
    config: Config,
    out: Annotated[Path, typer.Option(help="The folder of the study.")] = OUT,
):
    """Train a captioner into a study, as the run for its kind of attention.

    Each epoch ends with the scores on the development pictures and a sample; the best model is
    kept. Ctrl-C or a kill loses only the steps since the last checkpoint. The same command
    continues from there, or, with more --epochs, from the end. A run with other choices or data is
    refused and left as it is.
    """
    images, captions = config.images, config.captions
    if (images is None) != (captions is None):
        given, lacking = ("images", "captions") if images else ("captions", "images")
        raise UserError(f"--{given} needs --{lacking} too")
    with quiet_import():
        from examples.captioning import data, encoders
        from examples.captioning import train as training
        from examples.captioning.decoding import check, reason_of
        from examples.captioning.images import open_images
        from examples.captioning.run import Run

    encoders.check(config)
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: not a folder")
    if images is None:
        images, *captions = _scenes(out / SCENES)
    splits = data.load(images, *captions, skip_missing=config.skip_missing)
    pictures = open_images(images)
    bad = check(pictures, [picture.name for split in splits[:3] for picture in split])[1]
    if bad:
        splits = data.leave_out(splits, bad, reason_of(pictures, bad[0]))
    config = dataclasses.replace(
        config.absolute(),
        data=", ".join(map(str, config.captions or [SCENES])),
        fingerprint=data.fingerprint(splits, pictures),
    )
    run = Run(out / config.attention)
    run.check(config)
    train_and_report(training.train, run, config, splits, pictures)


def _scenes(folder: Path) -> tuple[Path, Path]:
    """The default data, drawn once; the captions are written last."""
    from examples.captioning import scenes

    images, captions = folder / "images.tar", folder / "captions.json"
    if not (images.exists() and captions.exists()):
        scenes.write(folder, scenes.SIZES)
    return images, captions
