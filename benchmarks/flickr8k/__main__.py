"""Trains and compares them: `python -m benchmarks.flickr8k --images ... --captions ...`.

The scores are of the dev pictures in `--captions`, a file in the example's own layout. The last 315
training pictures tell the best epoch of a run, from which the next one starts; what is scored is
the mean of the last epochs of the last run. A stopped training goes on when the command is given
again.
"""

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.flickr8k import table
from examples.captioning.evaluate import KINDS
from examples.common.files import write

DEV = 315
OPTIONS = (
    "--encoder efficientnet --size 448 --min-count 5 --max-length 18 --units 256 "
    "--attention-units 128 --channels 256 --embedding 128 --dropout 0.3 --patch-dropout 0.5 "
    "--batch-size 64 --keep 5"
)
# From captions to words, from distractors where to look, and from rewards what captions are for.
WORDS = "--epochs 8 --learning-rate 2e-3"
LOOKS = "--epochs 2 --learning-rate 5e-4 --distractors 1"
HARDER = "--epochs 2 --learning-rate 5e-4 --distractors 1 --estimator straight_through"
REWARDS = "--epochs 1 --learning-rate 1e-4 --self-critical"
# One step after the other, and in each these runs: from which one it starts, its options.
STEPS: tuple[dict[str, tuple[str, str]], ...] = (
    {"words/soft": ("", WORDS), "words/none": ("", WORDS)},
    # No attention is distracted without one, but as much is learned.
    {"looks/soft": ("words/soft", LOOKS), "looks/none": ("words/none", LOOKS)},
    {"looks/hard": ("looks/soft", HARDER)},
    {f"{table.STUDY}/{kind}": (f"looks/{kind}", REWARDS) for kind in KINDS},
)
EVALUATE = "--beam-width 3 --length-penalty 0.6 --average last --pairs --saliency 0"


def main() -> None:
    settings = parse()
    out = settings.out.absolute()
    (out / "cache").mkdir(parents=True, exist_ok=True)
    listed = json.loads(settings.captions.read_text("utf-8"))
    splits = {"train": listed["train"][:-DEV], "dev": listed["train"][-DEV:], "test": listed["dev"]}
    captions = out / "captions.json"
    write(captions, json.dumps(splits))
    source = ["--images", settings.images.absolute(), "--captions", captions]
    folders = [out / f"seed{seed}" for seed in range(1, settings.seeds + 1)]

    def train(task: tuple[Path, str, tuple[str, str]]) -> None:
        folder, name, (start, options) = task
        study, attention = folder / Path(name).parent, Path(name).name
        study.mkdir(parents=True, exist_ok=True)
        if not (study / "cache").is_symlink():
            (study / "cache").symlink_to(out / "cache")  # the features, once for all
        more = ["--attention", attention, "--seed", folder.name.removeprefix("seed")]
        more += ["--start-from", folder / start] if start else []
        command = [*source, *OPTIONS.split(), *options.split(), *more, "--out", study]
        run(study / f"{attention}.log", "train", *command)

    def evaluate(folder: Path) -> None:
        study = folder / table.STUDY
        run(study / "evaluate.log", "evaluate", *EVALUATE.split(), "--out", study)

    with ThreadPoolExecutor(settings.jobs) as pool:
        for step in STEPS:
            list(pool.map(train, [(folder, *each) for each in step.items() for folder in folders]))
        list(pool.map(evaluate, folders))
    print(table.table(folders))


def parse() -> argparse.Namespace:
    defaults = argparse.ArgumentDefaultsHelpFormatter
    parser = argparse.ArgumentParser("python -m benchmarks.flickr8k", formatter_class=defaults)
    add = parser.add_argument
    add("--images", type=Path, required=True, help="the folder or tar of the pictures")
    add("--captions", type=Path, required=True, help="train and dev, in the example's layout")
    add("--out", type=Path, default=Path("out/flickr8k"), help="for runs, logs and features")
    add("--seeds", type=int, default=3, help="how often everything is trained, from 2")
    add("--jobs", type=int, default=2, help="how many runs at a time, each on one core")
    settings = parser.parse_args()
    if settings.seeds < 2:
        parser.error(f"--seeds {settings.seeds}: expected at least 2")
    return settings


def run(log: Path, *command) -> None:
    """Runs a command of the example on one core; its output goes to a file."""
    threads = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "2"}
    with log.open("a") as file:
        done = subprocess.run(
            [sys.executable, "-m", "examples.captioning", *map(str, command)],
            env={**os.environ, **threads},
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    if done.returncode:
        raise SystemExit(f"a run ended with exit code {done.returncode}; {log} tells the reason")


if __name__ == "__main__":
    main()
