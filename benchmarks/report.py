"""Results as markdown: the bars and a table for each point, in a folder or in a page of docs/."""

import json
import pathlib
import platform

from benchmarks import plot
from benchmarks.bars import extra_memory
from examples.common.files import write as write_file

SUMMARY, END_OF_SUMMARY = "<!-- summary -->", "<!-- end of summary -->"
TABLES = "<!-- results -->"
_PICTURES = pathlib.Path("pictures/benchmarks")
_IDLE = 0.2  # Processors; the system itself needs less.
_BUSY = "\n**Not for quoting**: other programs kept {load:.1f} processors busy at the start.\n"
_COLUMNS = (
    "| | step, ms (quartiles) | processor, ms | {unit} / s | times ours (rounds) "
    "| extra MiB | peak MiB (imports) |"
)


def write(results: dict, folder: pathlib.Path) -> str:
    """Writes `results.json`, `results.md` and pictures into `folder`; returns the markdown."""
    text = f"{summary(results)}\n{tables(results)}"
    write_file(folder / "results.json", json.dumps(results, indent=1) + "\n")
    write_file(folder / "results.md", text)
    plot.draw(results, folder / _PICTURES)
    return text


def put_into_page(results: dict, page: pathlib.Path):
    """Puts the summary between its marks in a page, the tables after theirs, pictures beside it."""
    before = page.read_text().split(TABLES)[0]
    before = fill(before, SUMMARY, END_OF_SUMMARY, summary(results))
    write_file(page, f"{before}{TABLES}\n\n{tables(results)}")
    plot.draw(results, page.parent / _PICTURES)


def fill(page: str, start: str, end: str, text: str) -> str:
    """Returns the text of a page with other text between two marks."""
    before, rest = page.split(start)
    _, after = rest.split(end)
    return f"{before}{start}\n\n{text}\n{end}{after}"


def machine(threads: int) -> dict:
    """Returns what the times depend on; to be asked before the workers start."""
    import psutil  # which the environments of peers lack

    cpuinfo = pathlib.Path("/proc/cpuinfo")
    models = cpuinfo.read_text().split("model name\t: ")[1:] if cpuinfo.exists() else []
    processor = (models or [platform.processor()])[0].split("\n")[0]
    # While this process waits. The load average would count what has just ended.
    load = psutil.cpu_percent(interval=2) / 100 * psutil.cpu_count()
    return {"processor": processor, "threads": threads, "load": load}


def summary(results: dict) -> str:
    """Returns a table of all bars: asked, measured, met or not."""
    machine = results["machine"]
    threads = f"{machine['threads']} thread{'s' * (machine['threads'] > 1)}"
    lines = [f"{machine['processor']}, {threads} for every contender."]
    lines += [_BUSY.format(**machine)] if machine["load"] >= _IDLE else [""]
    lines += ["| case | bar | asked | measured | |", "|---|---|---:|---:|---|"]
    for case in results["cases"]:
        for bar in case["bars"]:
            met = {True: "met", False: "**not met**", None: ""}[bar["met"]]
            measured = _number(bar["measured"], bar["unit"])
            lines.append(f"| {case['case']} | {bar['what']} | {_asked(bar)} | {measured} | {met} |")
    return "\n".join([*lines, ""])


def tables(results: dict) -> str:
    """Returns the tables of all cases."""
    lines = []
    for case in results["cases"]:
        points = case["points"]
        lines += [f"### {case['title']}", ""]
        if case["error"]:
            lines += [f"**{case['error']}**".replace("|", " "), ""]
            continue
        if case["against"]:
            picture = _PICTURES / f"{case['case']}.svg"
            lines += [f"![{case['title']}]({picture.as_posix()})", ""]
            lines += _table_against(points, case["against"])
        else:
            lines += [line for point in points for line in _table(point)]
        lines += [_comparisons(points), "", _versions(points), ""]
    return "\n".join(lines)


def _table(point):
    sizes = ", ".join(f"{name.replace('_', ' ')} {size}" for name, size in point["sizes"].items())
    rows = [_row(name, row, point["floor"]) for name, row in point["rows"].items()]
    head = [_COLUMNS.format(unit=point["unit"]), f"|---|{'---:|' * 6}"]
    title = [f"**{sizes[:1].upper()}{sizes[1:]}**", ""] if sizes else []
    return [*title, *head, *rows, ""]


def _row(name, row, floor):
    if "error" in row:
        return f"| {name} | {row['error'].replace('|', ' ')} | | | | | |"
    median, processor, low, high = (
        f"{1000 * seconds:.0f}" if seconds >= 0.01 else f"{1000 * seconds:.2g}"
        for seconds in (row["median"], row["processor_median"], *row["quartiles"])
    )
    units = "" if row["peer"] == floor else _number(row["units_per_second"])
    times = f"{row['times_ours']:.2f}" if "times_ours" in row else ""
    rounds = " to ".join(f"{ratio:.2f}" for ratio in row.get("times_ours_range", ()))
    times += f" ({rounds})" if rounds else ""
    peak, imports = (row["memory"][part] / 2**20 for part in ("peak", "imports"))
    extra = f"{extra_memory(row) / 2**20:.0f}" if "extra" in row else ""
    columns = [name, f"{median} ({low} to {high})", processor, units, times, extra]
    return f"| {' | '.join(columns)} | {peak:.0f} ({imports:.0f}) |"


def _table_against(points, size):
    """One row a contender, one column a size: time and extra memory of a step."""

    def cell(row):
        if row is None or "error" in row:
            return "not tried" if row is None else row["error"].split(":")[0]
        return f"{row['median']:.3g}; {extra_memory(row) / 2**20:.0f}"

    columns = " | ".join(f"{size} {point['sizes'][size]}" for point in points)
    lines = [f"| seconds a step; extra MiB | {columns} |", f"|---|{'---:|' * len(points)}"]
    for name in dict.fromkeys(name for point in points for name in point["rows"]):
        cells = " | ".join(cell(point["rows"].get(name)) for point in points)
        lines.append(f"| {name} | {cells} |")
    return [*lines, ""]


def _comparisons(points):
    comparisons = [comparison for point in points for comparison in point["comparisons"]]
    if not comparisons:
        return "There are no outputs to compare."
    worst = max(comparisons, key=lambda each: each["difference"] / max(each["tolerance"], 1e-30))
    return (
        f"Outputs compared: {len(comparisons)}. The one that differs most: {worst['what']}, by "
        f"{worst['difference']:.1e} (allowed {worst['tolerance']:.0e})."
    )


def _versions(points):
    versions = {}
    for row in (row for point in points for row in point["rows"].values()):
        for package, version in (row.get("versions") or {}).items():
            versions.setdefault(package, set()).add(version)
    named = [f"{package} {' and '.join(sorted(each))}" for package, each in versions.items()]
    return f"Versions: {', '.join(named)}"


def _asked(bar):
    limits = [f"{name} {_number(x, bar['unit'])}" for name, x in bar["asked"].items() if x]
    return "".join(limits) or "reported"


def _number(number, unit=""):
    if number is None:
        return "nothing"
    return f"{number:.3g} {unit}".strip() if abs(number) < 100 else f"{number:.0f} {unit}".strip()
