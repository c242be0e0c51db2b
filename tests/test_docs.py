"""The documentation is true: its snippets run, their comments hold, and its lists are complete.

Every ```python block of a page runs, in order and in one namespace per page. A comment at the end
of a statement is checked too:

    print(x)                   # the text that is printed
    x.shape                    # the value
    x = ...                    # (B, 3): the shape; a letter is one size, known or not
    x, y = ...                 # (B, 3), (B, 5)
"""

import ast
import contextlib
import doctest
import importlib
import io
import pathlib
import pkgutil
import re

import keras
import numpy as np
import pytest

import keras_attention as ka
from table import TABLE, public_layers

ROOT = pathlib.Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
TUPLE = re.compile(r"\(([^()]*)\)")


def statements(page):
    """Yields (statement, its code with its line numbers in the page, its closing comment)."""
    text = page.read_text()
    for block in BLOCK.finditer(text):
        lines_before = text.count("\n", 0, block.start(1))
        code = block[1]
        lines = code.splitlines()
        for statement in ast.parse(code).body:
            end = statement.end_lineno - 1
            rest = lines[end].encode()[statement.end_col_offset :].decode().strip()
            comment = rest.removeprefix("#").strip() if rest.startswith("#") else ""
            yield ast.increment_lineno(statement, lines_before), comment


def run(statement, namespace, filename):
    """Runs one statement; returns what it printed, and its value if it is an expression."""
    printed, value = io.StringIO(), None
    with contextlib.redirect_stdout(printed):
        if isinstance(statement, ast.Expr):
            value = eval(compile(ast.Expression(statement.value), filename, "eval"), namespace)
        else:
            exec(compile(ast.Module([statement], []), filename, "exec"), namespace)
    return printed.getvalue().strip(), value


def assigned(statement):
    """The expressions that an assignment assigns to; none for other statements."""
    if not isinstance(statement, ast.Assign):
        return []
    target = statement.targets[0]
    return target.elts if isinstance(target, ast.Tuple) else [target]


def check_shapes(targets, comment, namespace, sizes):
    """Checks "(B, 3), (B, 5)" against the shapes of the targets; `sizes` holds the letters."""
    for target, match in zip(targets, TUPLE.finditer(comment), strict=True):
        name = ast.unparse(target)
        axes = [axis.strip() for axis in match[1].split(",") if axis.strip()]
        shape = tuple(eval(name, namespace).shape)
        assert len(axes) == len(shape), f"{name} has shape {shape}, not {comment}"
        for axis, size in zip(axes, shape, strict=True):
            # The sizes of a symbolic tensor that are not known are None: a letter, not a number.
            known = sizes.setdefault(axis, size) if size is not None else None
            said = int(axis) if axis.isdigit() else known
            assert said == size, f"{name} has shape {shape}, not {comment}"


@pytest.mark.parametrize(
    "page", [page for page in PAGES if "```python" in page.read_text()], ids=lambda page: page.name
)
def test_snippets_run_and_their_comments_hold(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    namespace, sizes = {"__name__": page.stem}, {}
    for statement, comment in statements(page):
        where = f"{page.name}, line {statement.lineno}"
        printed, value = run(statement, namespace, where)
        if comment and isinstance(statement, ast.Expr) and (printed or comment.startswith("(")):
            came = printed or str(value)
            assert came == comment, f"{where}: the page says {comment}, the code {came}"
        elif comment.startswith("("):
            check_shapes(assigned(statement), comment, namespace, sizes)


def doctests():
    """Every docstring of the library that has examples."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    names = {"ka": ka, "keras": keras, "np": np}
    for module in pkgutil.walk_packages(ka.__path__, "keras_attention."):
        for found in finder.find(importlib.import_module(module.name), extraglobs=names):
            if found.examples:
                yield found


@pytest.mark.parametrize("example", list(doctests()), ids=lambda example: example.name)
def test_docstring_examples(example, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    report = io.StringIO()
    result = doctest.DocTestRunner(verbose=False).run(example, out=report.write)
    assert result.failed == 0, report.getvalue()


def test_every_public_layer_has_an_example():
    shown = {example.name.split(".")[-1] for example in doctests()}
    assert {layer.__name__ for layer in public_layers()} - shown == set()


def test_every_python_block_of_the_pages_is_found():
    for page in PAGES:
        assert len(BLOCK.findall(page.read_text())) == page.read_text().count("```python"), page


def test_every_public_layer_is_explained():
    page = (ROOT / "docs" / "mechanisms.md").read_text()
    named = set(re.findall(r"\w+", page))
    assert {layer.__name__ for layer in public_layers()} - named == set()


def test_every_picture_is_drawn_by_code_and_shown():
    folder = ROOT / "docs" / "pictures"
    shown = re.findall(r"\(pictures/(\w+)\.svg\)", (ROOT / "docs" / "mechanisms.md").read_text())
    code = "".join(path.read_text() for path in folder.glob("*.py"))
    assert {path.stem for path in folder.glob("*.svg")} == set(shown)
    assert [name for name in shown if f"\ndef {name}():" not in code] == []


@pytest.fixture
def scripts(monkeypatch):
    """Imports a script of docs/scripts by its name."""
    monkeypatch.syspath_prepend(ROOT / "docs" / "scripts")
    return importlib.import_module


def test_the_family_table_of_the_readme_lists_every_layer(scripts):
    family = scripts("members").family()
    assert family in (ROOT / "README.md").read_text(), "Run `make readme`, which writes the table."
    assert {layer.__name__ for layer in public_layers()} == set(re.findall(r"`(\w+)`", family))


def test_the_reference_has_an_entry_for_every_public_layer_and_function(scripts):
    entries = set(re.findall(r"^::: keras_attention\.(\S+)$", scripts("members").reference(), re.M))
    assert {layer.__name__ for layer in public_layers()} <= {
        entry.split(".")[-1] for entry in entries
    }
    assert {"search.beam", "masks.masked_softmax", "export.saved_model", "scores.get"} <= entries


def test_the_conformance_page_shows_every_outcome(scripts):
    conformance = scripts("conformance")
    rows = [row for row in TABLE if row.name in ("dot", "monotonic_parallel")]
    runs = {
        backend: {"backend": backend, "versions": {backend: "1"}, "cases": []}
        for backend in ("tensorflow", "jax", "torch")
    }
    for row in rows:
        for _, _, (backend, tests, policy) in conformance.CHECKS:
            runs[backend]["cases"] += [
                {"row": row.name, "test": test, "policy": policy, "outcome": "passed"}
                for test in tests
            ]
    text, complete = conformance.page(rows, runs)
    assert complete
    held = " ✓ |" * len(conformance.CHECKS)
    assert f"\n| `dot` | `Dot` |{held}\n" in text
    assert re.search(r"^\| `monotonic_parallel` \|.* \[1\]\(#limits\) \|", text, re.MULTILINE)

    runs["tensorflow"]["cases"][0]["outcome"] = "failed"
    del runs["torch"]
    text, complete = conformance.page(rows, runs)
    assert not complete
    assert re.search(r"^\| `dot` \| `Dot` \| \*\*fails\*\* \|.* not run \|$", text, re.MULTILINE)
    assert not conformance.page(rows, {})[1]
