"""What the rows of both sides come to: bars, and tables in Markdown."""

import json
from collections.abc import Callable
from pathlib import Path

from benchmarks import report
from benchmarks.bars import Bar, Missing

OURS, PEER = "keras_attention", "joeynmt"
_SIDES = (
    "",
    "weights",
    "training, s",
    "real target tokens / s",
    "BLEU, greedy",
    "beam search (the first), s",
    "sentences / s",
    "BLEU, beam",
)
_EPOCHS = (
    "after epoch",
    "ours, s",
    "with scoring, s",
    "BLEU, greedy",
    "joeynmt, s",
    "BLEU, greedy",
)


def bars(sides: dict, sentences: int, epochs: int) -> list[dict]:
    """Returns what is asked and was measured; `sides` are the rows of both by name."""

    def searched(row):
        return sentences / row["beam"]["seconds"]

    what = f"time to joeynmt's BLEU after {epochs} epochs over joeynmt's"
    asked = (
        Bar("times joeynmt's real target tokens per second", _ratio(tokens_per_second), at_least=2),
        Bar(
            f"times joeynmt's sentences per second, of {sentences:,}", _ratio(searched), at_least=3
        ),
        Bar(what, lambda sides: time_to_bleu(sides, alone), at_most=0.5),
        Bar(f"{what}, ours with scoring each epoch", lambda sides: time_to_bleu(sides, scored)),
    )
    return [bar.result(sides) for bar in asked]


def _ratio(measure):
    return lambda sides: measure(sides[OURS]) / measure(sides[PEER])


def tokens_per_second(row: dict) -> float:
    """Returns the target tokens of all epochs, [END] included and padding not, per second."""
    return sum(e["tokens"] for e in row["epochs"]) / sum(e["seconds"] for e in row["epochs"])


def alone(epochs: list[dict]) -> float:
    """Returns the seconds from the start of the program to the end of the last of these epochs.

    Those in which translations were scored are left out.
    """
    return epochs[-1]["trained"] - sum(e["scored"] - e["trained"] for e in epochs[:-1])


def scored(epochs: list[dict]) -> float:
    """Returns them with all scoring, until that of the last epoch is done."""
    return epochs[-1]["scored"]


def time_to_bleu(sides: dict, seconds: Callable[[list[dict]], float]) -> float:
    """Returns our time to the first epoch that is as good as joeynmt's last, over its time."""
    ours, theirs = sides[OURS]["epochs"], sides[PEER]["epochs"]
    for i, each in enumerate(ours):
        if each["bleu"] >= theirs[-1]["bleu"]:
            return seconds(ours[: i + 1]) / seconds(theirs)
    raise Missing


def write(results: dict, folder: Path) -> str:
    """Writes `results.json` and `results.md` into `folder`; returns the Markdown."""
    text = f"{report.summary(results)}\n{tables(results)}"
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (folder / "results.md").write_text(text)
    return text


def tables(results: dict) -> str:
    """Returns a table of the sides and one of the epochs, and what else belongs to them."""
    sides, rows = results["sides"], []
    for name, row in sides.items():
        beam, last = row["beam"], row["epochs"][-1]
        trained = sum(each["seconds"] for each in row["epochs"])
        rate = tokens_per_second(row)
        times = f"{row['weights']:,}", f"{trained:.0f}", f"{rate:.0f}", f"{last['bleu']:.2f}"
        rate = results["sentences"] / beam["seconds"]
        searches = f"{beam['seconds']:.1f} ({beam['first']:.1f})"
        found = searches, f"{rate:.1f}", f"{beam['bleu']:.2f}"
        rows.append((name, *times, *found))
    ours, theirs = (sides[name]["epochs"] for name in (OURS, PEER))
    epochs = []
    for i, (our, their) in enumerate(zip(ours, theirs, strict=True), 1):
        times = f"{alone(ours[:i]):.0f}", f"{scored(ours[:i]):.0f}"
        bleu = f"{their['bleu']:.2f}" if "bleu" in their else ""
        epochs.append((str(i), *times, f"{our['bleu']:.2f}", f"{their['trained']:.0f}", bleu))
    tokens = " and ".join(f"{row['epochs'][-1]['tokens']:,}" for row in sides.values())
    versions = [f"{name} {v}" for row in sides.values() for name, v in row["versions"].items()]
    return (
        f"{_table(_SIDES, rows)}\n{_table(_EPOCHS, epochs)}\n"
        f"Target tokens of an epoch: {tokens}. Of the tokens in our batches, sources and targets, "
        f"{sides[OURS]['real']} % are real. joeynmt's search was fastest with "
        f"{sides[PEER]['beam']['sentences']} sentences at a time.\n\n"
        f"Versions: {', '.join(versions)}\n"
    )


def _table(head, rows):
    first, *others = (f"| {' | '.join(line)} |\n" for line in (head, *rows))
    return "".join([first, f"|---|{'---:|' * (len(head) - 1)}\n", *others])
