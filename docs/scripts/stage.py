"""Lays out in out/pages what the site is built from: `python docs/scripts/stage.py`.

These are the pages of docs/ with their pictures, the reference and the page "Conformance", which
are made from the packages and the outcomes of their tests, the tutorials with their outputs, and
KaTeX's style sheet and fonts.
"""

import pathlib
import shutil

import conformance
import members
import nbformat
import tutorials

ROOT = pathlib.Path(__file__).parents[2]
DOCS, NOTEBOOKS, PAGES = ROOT / "docs", ROOT / "out" / "tutorials", ROOT / "out" / "pages"
KATEX = pathlib.Path(__file__).parent / "node_modules" / "katex" / "dist"
NOT_SHOWN = shutil.ignore_patterns("*.py", "__pycache__", "scripts")


def stage_tutorials(scripts, notebooks, target):
    """The page, the pictures and the notebook of each tutorial."""
    for script in scripts:
        path = notebooks / f"{script.stem}.ipynb"
        text, files = tutorials.page(nbformat.read(path, as_version=4), script.stem)
        (target / f"{script.stem}.md").write_text(text)
        shutil.copy(path, target)
        for name, content in files.items():
            (target / name).write_bytes(content)


def main():
    shutil.rmtree(PAGES, ignore_errors=True)
    shutil.copytree(DOCS, PAGES, ignore=NOT_SHOWN)
    (PAGES / "api.md").write_text(members.reference())
    (PAGES / "conformance.md").write_text(conformance.made()[0])
    stage_tutorials(sorted((DOCS / "tutorials").glob("*.py")), NOTEBOOKS, PAGES / "tutorials")
    shutil.copytree(
        KATEX / "fonts", PAGES / "katex" / "fonts", ignore=shutil.ignore_patterns("*.ttf", "*.woff")
    )
    shutil.copy(KATEX / "katex.min.css", PAGES / "katex")


if __name__ == "__main__":
    main()
