"""Where results go: a folder with JSON, tables and pictures, and the page of the documentation."""

import json
import pathlib

from benchmarks import plot, report

SUMMARY = "<!-- summary -->"
MARKER = "<!-- results -->"
_END = "<!-- end of summary -->"
_PICTURES = pathlib.Path("pictures/benchmarks")


def write(results: dict, folder: pathlib.Path) -> str:
    """Writes `results.json`, `results.md` and pictures into `folder`; returns the markdown."""
    text = f"{report.summary(results)}\n{report.tables(results, _PICTURES)}"
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (folder / "results.md").write_text(text)
    plot.draw(results, folder / _PICTURES)
    return text


def put_into(results: dict, page: pathlib.Path):
    """Puts the summary, the tables and the pictures of `results` into a page and beside it.

    The summary replaces what stands between its two marks, the tables what follows theirs.
    """
    before = page.read_text().split(MARKER)[0]
    start, mark, rest = before.partition(SUMMARY)
    if mark:
        _, _, rest = rest.partition(_END)
        before = f"{start}{SUMMARY}\n\n{report.summary(results)}\n{_END}{rest}"
    page.write_text(f"{before}{MARKER}\n\n{report.tables(results, _PICTURES)}")
    plot.draw(results, page.parent / _PICTURES)
