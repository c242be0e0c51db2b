"""The package: what a wheel and a source distribution hold, and which way imports run."""

import ast
import email
import pathlib
import subprocess
import sys
import tarfile
import zipfile

import pytest

import keras_attention as ka

ROOT = pathlib.Path(__file__).parent.parent
PACKAGE = ROOT / "keras_attention"
FILES = sorted(PACKAGE.rglob("*.py"))

# A package, or a module beside the packages, imports from itself and from lower floors only.
FLOORS = [
    {"_internal", "masks"},
    {"_ops", "export", "processors", "visualize"},
    {"alignments", "losses", "scores", "search", "self_attention", "snail"},
    {"attention", "ntm", "pointer", "transformer"},
    {"decoders"},
    {"models", "tfa"},
]
# Beyond Keras and the standard library, by modules that are loaded on first use only.
ALSO_IMPORTS = {"export": {"tensorflow"}, "visualize": {"matplotlib", "numpy"}}


def module_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


EVERY_FILE = pytest.mark.parametrize(
    "path",
    [path for path in FILES if path.parent != PACKAGE or path.stem != "__init__"],
    ids=lambda path: str(path.relative_to(PACKAGE)),
)


def imports(path):
    """Yields the modules that a file imports, anywhere in its text."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            if node.module == "keras_attention":
                yield from (f"keras_attention.{alias.name}" for alias in node.names)
            else:
                yield node.module


def imports_of_ours(path):
    names = (name.split(".") for name in imports(path))
    return {name[1] for name in names if name[0] == "keras_attention"} - {module_of(path)}


def test_every_module_has_a_floor():
    modules = {module_of(path) for path in FILES} - {"__init__"}
    assert sorted(name for floor in FLOORS for name in floor) == sorted(modules)


@EVERY_FILE
def test_imports_run_one_way(path):
    floor = next(i for i, names in enumerate(FLOORS) if module_of(path) in names)
    assert imports_of_ours(path) <= set().union(*FLOORS[:floor])


@EVERY_FILE
def test_only_keras_is_imported(path):
    allowed = {"keras", "keras_attention", *sys.stdlib_module_names}
    allowed |= ALSO_IMPORTS.get(module_of(path), set())
    assert {name.split(".")[0] for name in imports(path)} <= allowed


def test_what_imports_more_than_keras_is_loaded_on_first_use():
    code = "import sys, keras_attention; print(*sys.modules)"
    loaded = set(subprocess.check_output([sys.executable, "-c", code], text=True).split())
    assert "keras_attention.attention" in loaded
    assert not {f"keras_attention.{name}" for name in ALSO_IMPORTS} & loaded


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A folder with the wheel and the source distribution of a copy of what is under git."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in ("keras_attention", "tests", "examples"):
        for path in (ROOT / name).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                copy = source / path.relative_to(ROOT)
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(path.read_bytes())
    for name in ("setup.cfg", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"):
        (source / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def package_files():
    others = [PACKAGE / "py.typed", PACKAGE / "visualize" / "page.html"]
    return {str(path.relative_to(ROOT)) for path in [*FILES, *others]}


def test_the_wheel_holds_the_package_and_nothing_else(built):
    with zipfile.ZipFile(*built.glob("*.whl")) as wheel:
        names = set(wheel.namelist())
        metadata = f"keras_attention_layers-{ka.__version__}.dist-info/"
        assert {name for name in names if not name.startswith(metadata)} == package_files()
        assert "keras_attention/py.typed" in names
        assert f"{metadata}licenses/LICENSE" in names
        headers = email.message_from_bytes(wheel.read(f"{metadata}METADATA"))
    assert headers["Name"] == "keras-attention-layers"
    assert headers["Version"] == ka.__version__
    assert "Apache-2.0" in (headers["License-Expression"] or headers["License"])
    always = {line for line in headers.get_all("Requires-Dist") if "extra ==" not in line}
    assert {line.split("<")[0].split(">")[0] for line in always} == {"keras", "tensorflow"}


def test_the_source_distribution_holds_the_package_and_how_to_build_it(built):
    with tarfile.open(*built.glob("*.tar.gz")) as archive:
        names = {member.name for member in archive.getmembers() if member.isfile()}
    prefix = f"keras_attention_layers-{ka.__version__}/"
    assert all(name.startswith(prefix) for name in names)
    names = {name.removeprefix(prefix) for name in names}
    made = {name for name in names if ".egg-info/" in name} | {"PKG-INFO"}
    kept = {"setup.cfg", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"}
    assert names - made == package_files() | kept


def test_the_version_is_in_the_changelog():
    assert f"\n## [{ka.__version__}]" in (ROOT / "CHANGELOG.md").read_text()
