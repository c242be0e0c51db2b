"""Runs benchmarks: `python -m benchmarks.run [case ...] --out out/benchmarks`.

Every contender has a process and an environment of its own. Outputs are compared first; then the
contenders take turns, with the same number of threads. Environments are made in `.bench/` on first
use, or named with `--env tfa=/path/to/python`. `--page docs/benchmarks.md` puts the tables there.
"""

import argparse
import os
import pathlib

from benchmarks import case, environments, measure, report


def main():
    arguments = _parse()
    given = dict(arguments.env)
    cases = {name: case.load(name) for name in arguments.cases or case.names()}
    needed = {c.environment for each in cases.values() for c in each.contenders}
    pythons = {name: given.get(name) or environments.python(name) for name in sorted(needed)}
    arguments.out.mkdir(parents=True, exist_ok=True)
    machine = report.machine(arguments.threads)
    points = [
        measure.measure(
            name, each, sizes, pythons, arguments.threads, arguments.rounds, arguments.out
        )
        for name, each in cases.items()
        for sizes in each.points
    ]
    results = {"machine": machine, "points": points}
    tables = report.write(results, arguments.out)
    print(tables)
    if arguments.page:
        report.put_into_page(tables, arguments.page)
    print(f"written to {arguments.out}/results.json and results.md")


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
        "--page", type=pathlib.Path, help=f"put the tables into this page, after {report.MARKER}"
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="for every contender")
    parser.add_argument("--rounds", type=int, default=8, help="turns of every contender")
    arguments = parser.parse_args()
    unknown = set(arguments.cases) - set(case.names())
    if unknown:
        parser.error(
            f"no case {', '.join(sorted(unknown))}; accepted are {', '.join(case.names())}"
        )
    if arguments.page and report.MARKER not in arguments.page.read_text():
        parser.error(f"--page {arguments.page} has no line {report.MARKER}")
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
    return name, python


if __name__ == "__main__":
    main()
