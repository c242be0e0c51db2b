"""Pictures of the cases that are measured against a size: time and memory of a step."""

import pathlib

from benchmarks.bars import extra_memory

_STYLE = {"figure.constrained_layout.use": True, "font.size": 8}
_STYLE |= {"svg.fonttype": "none", "svg.hashsalt": "keras_attention"}  # Text stays text.


def draw(results: dict, folder: pathlib.Path):
    """Draws each such case into `folder`, as `<case>.svg`."""
    for case in (each for each in results["cases"] if each["against"] and each["points"]):
        import matplotlib
        from matplotlib.figure import Figure

        points, size = case["points"], case["against"]
        matplotlib.rcParams.update(_STYLE)
        figure = Figure(figsize=(9, 4))
        time, memory = figure.subplots(1, 2)
        for name in dict.fromkeys(name for point in points for name in point["rows"]):
            measured = [point for point in points if "median" in point["rows"].get(name, {})]
            sizes = [point["sizes"][size] for point in measured]
            rows = [point["rows"][name] for point in measured]
            ours = any(row["peer"] == points[0]["ours"] for row in rows)
            line = {"marker": "o", "markersize": 3, "linestyle": "-" if ours else "--"}
            time.plot(sizes, [row["median"] for row in rows], label=name, **line)
            memory.plot(sizes, [extra_memory(row) / 2**20 for row in rows], **line)
        for axes, label in ((time, "seconds a step"), (memory, "extra memory, MiB")):
            axes.set(xlabel=size, ylabel=label, yscale="log")
            axes.set_xscale("log", base=2)
            axes.grid(alpha=0.3)
        figure.legend(loc="outside lower center", ncols=2)
        folder.mkdir(parents=True, exist_ok=True)
        figure.savefig(folder / f"{case['case']}.svg", metadata={"Date": None})
