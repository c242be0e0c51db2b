"""The site: what its pages hold, and that a wrong link, anchor or equation ends its build."""

import importlib
import pathlib
import re
import shutil
import subprocess
import sys
import tomllib

import nbformat
import pytest

ROOT = pathlib.Path(__file__).parent.parent
DOCS = ROOT / "docs"
TUTORIALS = sorted((DOCS / "tutorials").glob("*.py"))
EQUATIONS = DOCS / "scripts" / "equations.mjs"


@pytest.fixture(autouse=True)
def scripts_on_the_path(monkeypatch):
    monkeypatch.syspath_prepend(DOCS / "scripts")


@pytest.fixture
def links():
    return importlib.import_module("links")


@pytest.fixture
def tutorials():
    return importlib.import_module("tutorials")


def named(nav):
    """The pages that a navigation names."""
    for entry in nav:
        for value in entry.values():
            yield from named(value) if isinstance(value, list) else [value]


def test_the_navigation_names_every_page():
    made = {"api.md", "conformance.md", *(f"tutorials/{path.stem}.md" for path in TUTORIALS)}
    written = {str(path.relative_to(DOCS)) for path in DOCS.glob("**/*.md")}
    config = tomllib.loads((ROOT / "zensical.toml").read_text())
    shown = list(named(config["project"]["nav"]))
    assert sorted(shown) == sorted(made | {page for page in written if "node_modules" not in page})


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_can_be_read_and_ends_with_a_result(path):
    import jupytext

    cells = jupytext.read(path).cells
    code = [cell.source for cell in cells if cell.cell_type == "code"]
    lines = [line for source in code for line in source.splitlines() if line.strip()]
    assert len(lines) <= 150
    assert cells[0].source.startswith("# ")
    assert any(line.lstrip().startswith("assert ") for line in lines)
    assert "## What next" in cells[-1].source
    assert f"({path.stem}.md)" in (DOCS / "tutorials" / "index.md").read_text()


def test_a_page_shows_what_its_cells_printed_and_drew(tutorials, tmp_path):
    script = tmp_path / "small.py"
    script.write_text(
        "# %% [markdown]\n# # A title\n\n# %%\nimport matplotlib.pyplot as plt\n"
        "print('```')\nplt.plot([1, 2]);\n\n# %%\n{'a': 1}\n"
    )
    tutorials.main(script, tmp_path / "out" / "small.ipynb")
    notebook = nbformat.read(tmp_path / "out" / "small.ipynb", as_version=4)
    text, files = tutorials.page(notebook, "small")
    assert text.startswith("# A title\n")
    assert "`````{ .text .output }\n```\n`````" in text
    assert "`````{ .text .output }\n{'a': 1}\n`````" in text
    assert re.search(r"!\[\]\(small-1.png\){ width=\d+ }", text)
    assert list(files) == ["small-1.png"]
    assert files["small-1.png"].startswith(b"\x89PNG")


def test_a_cell_that_fails_leaves_no_notebook(tutorials, tmp_path):
    script = tmp_path / "wrong.py"
    script.write_text("# %%\n1 / 0\n")
    with pytest.raises(Exception, match="ZeroDivisionError"):
        tutorials.main(script, tmp_path / "wrong.ipynb")
    assert not list(tmp_path.glob("*.ipynb"))


SITE = {
    "index.html": '<a href="more/#there">x</a><a id="here"></a><img src="p.png">',
    "more/index.html": '<h1 id="there"></h1><a href="..#here">x</a><a href="https://keras.io">x</a>',
    "p.png": "",
}


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({}, None),
        ({"index.html": '<a id="here" href="less/">x</a>'}, "index.html: there is no less/"),
        ({"more/index.html": ""}, "index.html: more/#there has no such anchor"),
        ({"p.png": None}, "index.html: there is no p.png"),
        (
            {"p.png": None, "index.html": '<img src="https://keras.io/a.png"><a id="here">'},
            "index.html: https://keras.io/a.png is loaded from elsewhere",
        ),
    ],
)
def test_links(links, tmp_path, change, line):
    for name, text in (SITE | change).items():
        if text is not None:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text)
    assert list(links.faults(tmp_path)) == ([line] if line else [])
    assert links.main(tmp_path) == bool(line)


def test_an_empty_folder_is_no_site(links, tmp_path):
    with pytest.raises(SystemExit, match=r"no index\.html"):
        links.main(tmp_path)


@pytest.mark.skipif(
    not (shutil.which("node") and (EQUATIONS.parent / "node_modules").exists()),
    reason="`make docs` installs KaTeX, and Node.js runs it",
)
@pytest.mark.parametrize(
    ("latex", "wrong"), [("a &lt; b", None), (r"\alpha_{", "Expected"), (r"\softmx", "softmx")]
)
def test_equations(tmp_path, latex, wrong):
    page = tmp_path / "index.html"
    page.write_text(rf'<span class="arithmatex">\({latex}\)</span>')
    run = subprocess.run(["node", EQUATIONS, tmp_path], check=False, capture_output=True, text=True)
    if wrong:
        assert run.returncode == 1
        assert run.stderr.startswith("index.html: ")
        assert wrong in run.stderr
    else:
        assert run.returncode == 0
        assert 'class="katex"' in page.read_text()


@pytest.mark.parametrize(
    ("text", "code"), [("[a](b.md#there)", 0), ("[a](c.md)", 1), ("[a](b.md#here)", 1)]
)
def test_zensical_ends_at_a_wrong_link(tmp_path, text, code):
    (tmp_path / "zensical.toml").write_text('[project]\nsite_name = "x"\n')
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text(f"# A\n{text}\n")
    (tmp_path / "docs" / "b.md").write_text("# B\n## There\n")
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    run = subprocess.run(command, check=False, cwd=tmp_path, capture_output=True)
    assert run.returncode == code
