"""Runs benchmarks: `python -m benchmarks.run [case ...] --out out/benchmarks`.

Environments are made in `.bench/` on first use, or named: `--env tfa=/path/to/python`.
"""

import argparse
import os
import pathlib

from benchmarks import case, environments, measure, report
from benchmarks.cases.first_step import BEFORE


def main(arguments=None):
    cases = case.load_all()
    settings = _parse(arguments, cases)
    cpu = settings.device == "cpu"
    names = settings.cases or [name for name, each in cases.items() if cpu or each.on_gpu]
    needed = {each.environment for name in names for each in cases[name].contenders if cpu}
    missing = (needed | {"ours"}) - set(settings.pythons)
    settings.pythons |= {name: environments.python(name) for name in sorted(missing)}
    settings.out.mkdir(parents=True, exist_ok=True)
    results = {"machine": report.machine(settings.threads), "cases": []}
    for name in names:
        results["cases"].append(run_case(name, cases[name], settings))
        # After every case, so that a run that is cut short leaves what it has.
        text = report.write(results, settings.out)
    print(text)
    if settings.page:
        report.put_into_page(results, settings.page)
    print(f"written to {settings.out}/results.json and results.md")
    if any(each["error"] for each in results["cases"]):
        raise SystemExit("outputs differ: see above")


def run_case(name: str, each: case.Case, settings) -> dict:
    """Returns a case in the report: its points and bars, or why there are none."""
    points, error, trial = [], None, each.trial if settings.trial else {}
    try:
        for sizes in each.points:
            points.append(measure.measure(name, each, {**sizes, **trial}, settings))
    except measure.OutputsDiffer as differ:
        points, error = [], str(differ)
    found = {"bars": [bar.result(points) for bar in each.bars], "error": error, "points": points}
    return {"case": name, "title": each.title, "against": each.against, **found}


def _parse(arguments, cases):
    defaults = argparse.ArgumentDefaultsHelpFormatter
    parser = argparse.ArgumentParser("python -m benchmarks.run", formatter_class=defaults)
    add, lists = parser.add_argument, ", ".join(environments.IMPORTS)
    add("cases", nargs="*", metavar="case", help=f"of: {', '.join(cases)}; all if none")
    add("--out", type=pathlib.Path, default="out/benchmarks", help="for results and logs")
    add("--env", action="append", default=[], metavar="NAME=PYTHON", help=f"for one of: {lists}")
    add("--page", type=pathlib.Path, help=f"put the tables into this page, after {report.TABLES}")
    add("--threads", type=int, default=os.cpu_count(), help="for every contender")
    add("--rounds", type=int, help="turns of every contender; those of its case if not given")
    add("--memory-limit", type=float, default=8, help="GiB that a process may hold; else it fails")
    add("--trial", action="store_true", help="small sizes, to see that all of it works")
    add("--device", choices=("cpu", "gpu"), default="cpu", help="gpu: Keras layers, no other peers")
    add("--backend", default="tensorflow", help="Keras's, in the environment `ours`")
    add("--before", metavar="COMMIT", default=BEFORE, help="that `first_step` compares with")
    settings = parser.parse_args(arguments)
    unknown = sorted(set(settings.cases) - set(cases))
    if unknown:
        parser.error(f"no case {', '.join(unknown)}; expected some of {', '.join(cases)}")
    settings.pythons = dict(each.partition("=")[::2] for each in settings.env)
    for name, python in settings.pythons.items():
        if name not in environments.IMPORTS or not os.access(python, os.X_OK):
            parser.error(f"--env {name}={python}; expected one of {lists}=an executable file")
    if settings.page and report.TABLES not in settings.page.read_text():
        parser.error(f"--page {settings.page} has no line {report.TABLES}")
    return settings


if __name__ == "__main__":
    main()
