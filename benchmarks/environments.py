"""Environments: every contender's interpreter, made on first use from a requirements list."""

import hashlib
import pathlib
import shutil
import subprocess
import sys

_FOLDER = pathlib.Path(__file__).parent
_CACHE = _FOLDER.parent / ".bench"


def names() -> list[str]:
    """Returns the names of all environments: one per file of `requirements/`."""
    return sorted(path.stem for path in (_FOLDER / "requirements").glob("*.txt"))


def python(name: str) -> str:
    """Returns the interpreter of environment `name`, which is made if it is not there yet.

    The folder's name holds a digest of the requirements, so that a changed list makes a new one.
    """
    requirements = _FOLDER / "requirements" / f"{name}.txt"
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()[:8]
    folder = _CACHE / f"{name}-{digest}"
    interpreter = folder / "bin" / "python"
    complete = folder / "complete"
    if not complete.exists():
        print(f"making environment {name} in {folder} (once)", file=sys.stderr)
        _CACHE.mkdir(exist_ok=True)
        (_CACHE / ".gitignore").write_text("*\n")
        shutil.rmtree(folder, ignore_errors=True)
        orders = _orders(requirements)
        _run(_base_python(requirements, orders), "-m", "venv", folder)
        _run(interpreter, "-m", "pip", "install", "--quiet", "-r", requirements)
        if "without" in orders:
            _run(interpreter, "-m", "pip", "uninstall", "--quiet", "--yes", orders["without"])
        complete.touch()
    return str(interpreter)


def _orders(requirements):
    """What the first line asks for: "# python 3.11", or "# without keras"."""
    first = requirements.read_text().splitlines()[0].split()
    return {first[1]: first[2]} if first[0] == "#" and len(first) == 3 else {}


def _base_python(requirements, orders):
    # A list whose packages stopped at some Python says so.
    running = ".".join(map(str, sys.version_info[:2]))
    wanted = orders.get("python", running)
    if wanted == running:
        return sys.executable
    found = shutil.which(f"python{wanted}")
    if found is None:
        raise SystemExit(
            f"{requirements} needs python{wanted}, which is not on the PATH; install it, or name "
            f"an existing environment with --env {requirements.stem}=PYTHON."
        )
    return found


def _run(*command):
    if subprocess.run([str(part) for part in command]).returncode:
        raise SystemExit(f"this command failed: {' '.join(map(str, command))}")
