"""Pictures of the cases that are measured against a size: time and memory of a step."""

import pathlib

from benchmarks import bars


def draw(results: dict, folder: pathlib.Path):
    """Draws each such case into `folder`, as `<case>.svg`."""
    cases = [case for case in results["cases"] if case["against"] and case["points"]]
    if not cases:
        return
    import matplotlib

    matplotlib.use("Agg")  # The pictures go to files; a display is not needed.
    from matplotlib import pyplot

    folder.mkdir(parents=True, exist_ok=True)
    style = {
        "figure.constrained_layout.use": True,
        "font.size": 8,
        "svg.fonttype": "none",  # text stays text
        "svg.hashsalt": "keras_attention",
    }
    for case in cases:
        with pyplot.rc_context(style):
            figure = _figure(pyplot, case)
            figure.savefig(folder / f"{case['case']}.svg", metadata={"Date": None})
            pyplot.close(figure)


def _figure(pyplot, case):
    figure, (time, memory) = pyplot.subplots(1, 2, figsize=(9, 4))
    size = case["against"]
    names = list(dict.fromkeys(name for point in case["points"] for name in point["rows"]))
    for name in names:
        measured = [
            (point["sizes"][size], point["rows"][name])
            for point in case["points"]
            if "median" in point["rows"].get(name, {})
        ]
        if not measured:
            continue
        sizes = [value for value, _ in measured]
        ours = measured[0][1]["peer"] == case["points"][0]["ours"]
        line = {"marker": "o", "markersize": 3, "linestyle": "-" if ours else "--"}
        time.plot(sizes, [row["median"] for _, row in measured], label=name, **line)
        memory.plot(sizes, [bars.extra(row) / 2**20 for _, row in measured], **line)
    for axes, label in ((time, "seconds a step"), (memory, "extra memory, MiB")):
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xlabel(size)
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=2)
    return figure
