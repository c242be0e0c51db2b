"""Runs benchmarks: `python -m benchmarks.run [case ...] --out out/benchmarks`.

Every contender has a process and an environment of its own. Outputs are compared first; then the
contenders take turns, with the same number of threads. Environments are made in `.bench/` on first
use, or named with `--env tfa=/path/to/python`. `--page docs/benchmarks.md` puts the tables there,
and the pictures beside it, in `pictures/benchmarks`.
"""

import argparse
import os
import pathlib

from benchmarks import case, environments, measure, page, report


def main():
    arguments = _parse()
    given = dict(arguments.env)
    cases = {name: case.load(name) for name in arguments.cases or case.names()}
    needed = {environment for each in cases.values() for environment in _environments(each)}
    pythons = {name: given.get(name) or environments.python(name) for name in sorted(needed)}
    arguments.out.mkdir(parents=True, exist_ok=True)
    settings = measure.Settings(
        pythons,
        arguments.threads,
        arguments.rounds,
        arguments.out,
        round(arguments.memory_limit * 2**30),
    )
    machine = report.machine(arguments.threads)
    measured = []
    for name, each in cases.items():
        measured.append(_measured(name, each, settings, each.trial if arguments.trial else {}))
        # After every case, so that a run that is cut short leaves what it has.
        results = {"machine": machine, "cases": measured}
        text = page.write(results, arguments.out)
    print(text)
    if arguments.page:
        page.put_into(results, arguments.page)
    print(f"written to {arguments.out}/results.json and results.md")
    if any(each["error"] for each in measured):
        raise SystemExit("outputs differ: see above")


def _measured(name, each, settings, trial):
    """A case in the report: its points and bars, or why there are none."""
    points, error = [], None
    try:
        for sizes in each.points:
            points.append(measure.measure(name, each, {**sizes, **trial}, settings))
    except measure.OutputsDiffer as differ:
        points, error = [], str(differ)
    return {
        "case": name,
        "title": each.title,
        "against": each.against,
        "bars": [bar.result(points) for bar in each.bars],
        "error": error,
        "points": points,
    }


def _environments(each):
    for contender in each.contenders:
        yield contender.environment
        if contender.prepare is not None:
            yield contender.prepare[1]


def _parse():
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.run",
        description="Measures this library and its peers side by side.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "cases", nargs="*", metavar="case", help=f"of: {', '.join(case.names())}; all if none"
    )
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("out/benchmarks"))
    parser.add_argument(
        "--env",
        action="append",
        default=[],
        type=_environment,
        metavar="NAME=PYTHON",
        help=f"use this interpreter for an environment ({', '.join(environments.names())})",
    )
    parser.add_argument(
        "--page", type=pathlib.Path, help=f"put the tables into this page, after {page.MARKER}"
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="for every contender")
    parser.add_argument("--rounds", type=int, default=6, help="turns of every contender")
    parser.add_argument(
        "--memory-limit", type=float, default=8, help="GiB that a process may hold; else it fails"
    )
    parser.add_argument(
        "--trial", action="store_true", help="small sizes, to see that all of it works"
    )
    arguments = parser.parse_args()
    unknown = set(arguments.cases) - set(case.names())
    if unknown:
        parser.error(
            f"no case {', '.join(sorted(unknown))}; accepted are {', '.join(case.names())}"
        )
    if arguments.page and page.MARKER not in arguments.page.read_text():
        parser.error(f"--page {arguments.page} has no line {page.MARKER}")
    for option in ("threads", "rounds"):
        if getattr(arguments, option) < 1:
            parser.error(f"--{option} is {getattr(arguments, option)}; accepted is 1 or more")
    return arguments


def _environment(text):
    name, _, python = text.partition("=")
    if name not in environments.names() or not os.access(python, os.X_OK):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not NAME=PYTHON with a name of {', '.join(environments.names())} and an "
            "executable file"
        )
    return name, os.path.abspath(python)


if __name__ == "__main__":
    main()
