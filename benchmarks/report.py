"""Results as a markdown table and as JSON."""

import json
import os
import pathlib
import platform

MARKER = "<!-- results -->"
_IDLE = 0.5  # Load average below which nothing else runs.
_HEADER = (
    "| | step, ms | quartiles | processor, ms | {unit} / s | times ours | over rounds "
    "| peak MiB (imports) |"
)


def machine(threads: int) -> dict:
    """Returns what the times depend on; to be asked before the workers start."""
    return {
        "processor": _processor(),
        "system": platform.platform(),
        "threads": threads,
        "load": os.getloadavg()[0],
    }


def markdown(point: dict, machine: dict) -> str:
    """Returns the report of one point: sizes, table, and what was compared."""
    threads = f"{machine['threads']} thread{'s' * (machine['threads'] > 1)}"
    sizes = ", ".join(f"{name.replace('_', ' ')} {size}" for name, size in point["sizes"].items())
    lines = [
        f"## {point['title']}",
        "",
        f"{sizes[0].upper()}{sizes[1:]}. {machine['processor']}, {threads}.",
        *_warnings(machine),
        "",
        _HEADER.format(unit=point["unit"]),
        "|---|---:|---:|---:|---:|---:|---:|---:|",
        *(_row(name, row, point) for name, row in point["rows"].items()),
        "",
    ]
    for comparison in point["comparisons"]:
        lines.append(
            f"- {comparison['what']}: differs by {comparison['difference']:.1e} "
            f"(allowed {comparison['tolerance']:.0e})"
        )
    return "\n".join([*lines, "", _versions(point), ""])


def write(results: dict, folder: pathlib.Path) -> str:
    """Writes `results.json` and `results.md` into `folder`; returns the markdown."""
    text = "\n".join(markdown(point, results["machine"]) for point in results["points"])
    (folder / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    (folder / "results.md").write_text(text)
    return text


def put_into_page(tables: str, page: pathlib.Path):
    """Replaces what follows the marker in `page` with the tables."""
    before = page.read_text().split(MARKER)[0]
    page.write_text(f"{before}{MARKER}\n\n{tables}")


def _row(name, row, point):
    if "error" in row:
        return f"| {name} | {row['error'].replace('|', ' ')} | | | | | | |"
    low, high = (f"{1000 * seconds:.0f}" for seconds in row["quartiles"])
    peak, imports = (row["memory"][part] / 2**20 for part in ("peak", "imports"))
    units = "" if row["peer"] == point["floor"] else f"{row['units_per_second']:.0f}"
    times = spread = ""
    if "times_ours" in row:
        times = f"{row['times_ours']:.2f}"
        spread = " to ".join(f"{quotient:.2f}" for quotient in row["times_ours_range"])
    return (
        f"| {name} | {1000 * row['median']:.0f} | {low} to {high} "
        f"| {1000 * row['processor_median']:.0f} | {units} | {times} | {spread} "
        f"| {peak:.0f} ({imports:.0f}) |"
    )


def _warnings(machine):
    if machine["load"] < _IDLE:
        return []
    return [
        "",
        f"**Not for quoting**: other programs kept {machine['load']:.1f} processors busy when the "
        "run began. That slows down most what waits for its threads in a spin, as OpenMP does.",
    ]


def _versions(point):
    facts = {}
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
