"""Runs both sides, one after the other: `python -m benchmarks.end_to_end --source ... `.

The Python that runs it is ours, with what the examples need. joeynmt's environment is made in
`.bench/` on first use.
"""

import argparse
import os
from pathlib import Path

from benchmarks import environments, report
from benchmarks.end_to_end import joeynmt, ours, result
from examples.translation import corpora, data


def main(arguments=None):
    settings = parse(arguments)
    settings.joeynmt = settings.joeynmt or environments.python("joeynmt")
    settings.out.mkdir(parents=True, exist_ok=True)
    if (settings.out / "keras_attention").exists():
        raise SystemExit(f"{settings.out}: holds a run; delete it, or name another --out")
    machine = report.machine(settings.threads)
    folder, sentences = prepare(settings)
    sides = {result.OURS: ours.run(settings, folder)}
    models = {s: settings.out / "keras_attention" / f"{s}.model" for s in ("source", "target")}
    sides[result.PEER] = joeynmt.run(settings, folder, models)
    options = {name: str(value) for name, value in vars(settings).items()}
    results = {"machine": machine, "options": options, "sentences": sentences, "sides": sides}
    bars = result.bars(sides, sentences, settings.epochs)
    results["cases"] = [{"case": "end_to_end", "bars": bars}]
    print(result.write(results, settings.out))
    print(f"written to {settings.out}/results.json and results.md")


def prepare(settings) -> tuple[Path, int]:
    """Writes the text that both sides read, lower-cased, without pairs that have an empty side.

    Returns its folder, and how many development pairs there are.
    """
    folder = settings.out / "data"
    folder.mkdir(exist_ok=True)
    for split, prefix in (("train", ""), ("dev", "dev_")):
        files = [getattr(settings, f"{prefix}{side}") for side in ("source", "target")]
        read = (data.cleaned(pair) for pair in corpora.read_parallel(*files))
        pairs = [pair for pair in read if pair.source and pair.target]
        for side in ("source", "target"):
            text = "".join(f"{getattr(pair, side).lower()}\n" for pair in pairs)
            (folder / f"{split}.{side}").write_text(text, "utf-8")
    return folder, len(pairs)


def parse(arguments):
    defaults = argparse.ArgumentDefaultsHelpFormatter
    parser = argparse.ArgumentParser("python -m benchmarks.end_to_end", formatter_class=defaults)
    add = parser.add_argument
    for what in ("source", "target"):
        add(f"--{what}", type=Path, required=True, help=f"{what} lines to learn from")
        add(f"--dev-{what}", type=Path, required=True, help=f"{what} lines to score with")
    out = Path("out/end_to_end")
    add("--out", type=Path, default=out, help="for results, logs and runs")
    add("--joeynmt", metavar="PYTHON", help="one that has joeynmt; otherwise it is made in .bench")
    add("--threads", type=int, default=os.cpu_count(), help="for both")
    add("--jit", action="store_true", help="compile our training step with XLA")
    add("--epochs", type=int, default=5, help="for both")
    add("--batch-tokens", type=int, default=1024, help="on the longer side, with padding")
    add("--vocabulary-size", type=int, default=5000, help="pieces for each language")
    add("--max-length", type=int, default=60, help="longer pairs are left out")
    add("--embedding", type=int, default=256, help="its width")
    add("--units", type=int, default=256, help="of each direction of the encoder, and the decoder")
    add("--dropout", type=float, default=0.3, help="of the embeddings, and before the head's layer")
    add("--label-smoothing", type=float, default=0.1, help="share of a target that is spread")
    add("--learning-rate", type=float, default=1.5e-3, help="its peak")
    add("--beam", type=int, default=5, help="width of the search")
    add("--seed", type=int, default=1, help="of both")
    settings = parser.parse_args(arguments)
    settings.out = settings.out.absolute()
    return settings


if __name__ == "__main__":
    main()
