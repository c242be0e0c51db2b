"""Results as markdown: the bars, and a table for each point."""

import os
import pathlib
import platform

_IDLE = 0.5  # Load average below which nothing else runs.
_HEADER = (
    "| | step, ms | quartiles | processor, ms | {unit} / s | times ours | over rounds "
    "| extra MiB | peak MiB (imports) |"
)


def machine(threads: int) -> dict:
    """Returns what the times depend on; to be asked before the workers start."""
    return {
        "processor": _processor(),
        "system": platform.platform(),
        "threads": threads,
        "load": os.getloadavg()[0],
    }


def summary(results: dict) -> str:
    """Returns a table of all bars: asked, measured, met or not."""
    lines = [
        _conditions(results["machine"]),
        *_warnings(results["machine"]),
        "",
        "| case | bar | asked | measured | |",
        "|---|---|---:|---:|---|",
    ]
    for case in results["cases"]:
        for bar in case["bars"]:
            met = {True: "met", False: "**not met**", None: ""}[bar["met"]]
            lines.append(
                f"| {case['case']} | {bar['what']} | {_asked(bar)} "
                f"| {_measured(bar['measured'], bar['unit'])} | {met} |"
            )
    return "\n".join([*lines, ""])


def tables(results: dict, pictures: pathlib.Path) -> str:
    """Returns the tables of all cases. Pictures are in the folder `pictures`, seen from there."""
    lines = []
    for case in results["cases"]:
        lines += [f"### {case['title']}", ""]
        if case["error"]:
            lines += [f"**{case['error']}**".replace("|", " "), ""]
            continue
        if case["against"]:
            picture = pictures / f"{case['case']}.svg"
            lines += [f"![{case['title']}]({picture.as_posix()})", ""]
            lines += _against(case["points"], case["against"])
        else:
            for point in case["points"]:
                lines += _point(point)
        lines += [*_compared(case["points"]), "", _versions(case["points"]), ""]
    return "\n".join(lines)


def _point(point):
    return [
        f"**{_sizes(point['sizes'])}**",
        "",
        _HEADER.format(unit=point["unit"]),
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
        *(_row(name, row, point) for name, row in point["rows"].items()),
        "",
    ]


def _row(name, row, point):
    if "error" in row:
        return f"| {name} | {row['error'].replace('|', ' ')} | | | | | | | |"
    low, high = (_milliseconds(seconds) for seconds in row["quartiles"])
    peak, imports = (row["memory"][part] / 2**20 for part in ("peak", "imports"))
    units = "" if row["peer"] == point["floor"] else _number(row["units_per_second"])
    times = spread = extra = ""
    if "times_ours" in row:
        times = f"{row['times_ours']:.2f}"
        spread = " to ".join(f"{quotient:.2f}" for quotient in row["times_ours_range"])
    if "extra" in row:
        extra = f"{_extra(row):.0f}"
    return (
        f"| {name} | {_milliseconds(row['median'])} | {low} to {high} "
        f"| {_milliseconds(row['processor_median'])} | {units} | {times} | {spread} | {extra} "
        f"| {peak:.0f} ({imports:.0f}) |"
    )


def _against(points, size):
    """One row a contender, one column a size: time and extra memory of a step."""
    values = [point["sizes"][size] for point in points]
    names = list(dict.fromkeys(name for point in points for name in point["rows"]))
    columns = " | ".join(f"{size} {value}" for value in values)
    lines = [f"| seconds a step; extra MiB | {columns} |", f"|---|{'---:|' * len(values)}"]
    for name in names:
        cells = [_cell(point["rows"].get(name)) for point in points]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return [*lines, ""]


def _cell(row):
    if row is None:
        return "not tried"
    if "median" not in row:
        return row["error"].split(":")[0].replace("|", " ")
    return f"{row['median']:.3g}; {_extra(row):.0f}"


def _extra(row):
    return (row["extra"]["peak"] - row["extra"]["before"]) / 2**20


def _milliseconds(seconds):
    milliseconds = 1000 * seconds
    return f"{milliseconds:.0f}" if milliseconds >= 10 else f"{milliseconds:.2g}"


def _compared(points):
    comparisons = [comparison for point in points for comparison in point["comparisons"]]
    if not comparisons:
        return ["There are no outputs to compare."]
    worst = max(comparisons, key=lambda c: c["difference"] / max(c["tolerance"], 1e-30))
    return [
        f"Outputs compared: {len(comparisons)}. The one that differs most: {worst['what']}, by "
        f"{worst['difference']:.1e} (allowed {worst['tolerance']:.0e})."
    ]


def _sizes(sizes):
    text = ", ".join(f"{name.replace('_', ' ')} {size}" for name, size in sizes.items())
    return f"{text[:1].upper()}{text[1:]}"


def _asked(bar):
    at_least, at_most = bar["asked"]["at_least"], bar["asked"]["at_most"]
    if at_least is None and at_most is None:
        return "reported"
    words, number = ("at least", at_least) if at_most is None else ("at most", at_most)
    return f"{words} {_measured(number, bar['unit'])}"


def _measured(number, unit):
    return "nothing" if number is None else f"{_number(number)} {unit}".strip()


def _number(number):
    return f"{number:.3g}" if abs(number) < 100 else f"{number:.0f}"


def _conditions(machine):
    threads = f"{machine['threads']} thread{'s' * (machine['threads'] > 1)}"
    return f"{machine['processor']}, {threads} for every contender."


def _warnings(machine):
    if machine["load"] < _IDLE:
        return []
    return [
        "",
        f"**Not for quoting**: other programs kept {machine['load']:.1f} processors busy when the "
        "run began. That slows down most what waits for its threads in a spin, as OpenMP does.",
    ]


def _versions(points):
    facts = {}
    for point in points:
        for row in point["rows"].values():
            for package, version in row.get("facts", {}).get("versions", {}).items():
                facts.setdefault(package, set()).add(version)
    return "Versions: " + ", ".join(
        f"{package} {' and '.join(sorted(versions))}" for package, versions in facts.items()
    )


def _processor():
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown processor"
