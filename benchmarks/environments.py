"""Environments: every contender's interpreter, made on first use from a requirements list."""

import hashlib
import pathlib
import shutil
import subprocess
import sys

_LISTS = pathlib.Path(__file__).parent / "requirements"
_CACHE = _LISTS.parent.parent / ".bench"

# What an environment is for: imported first, and named with its version in the report.
IMPORTS = {
    "ours": ("keras", "tensorflow"),
    "keras_self_attention": ("keras", "tensorflow", "keras_self_attention"),
    "keras_hub": ("keras", "tensorflow", "keras_hub"),
    "jax": ("keras", "jax"),
    "tfa": ("tensorflow", "tensorflow_addons"),
    "joeynmt": ("joeynmt.model", "torch"),
    "torch": ("torch",),
    "served": ("tensorflow",),
}


def python(name: str) -> str:
    """Returns the interpreter of an environment, made if it is not there or its list changed."""
    requirements = _LISTS / f"{name}.txt"
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()[:8]
    folder = _CACHE / f"{name}-{digest}"
    interpreter = folder / "bin" / "python"
    if not (folder / "complete").exists():
        print(f"making environment {name} in {folder} (once)", file=sys.stderr)
        _CACHE.mkdir(exist_ok=True)
        (_CACHE / ".gitignore").write_text("*\n")
        shutil.rmtree(folder, ignore_errors=True)
        # The first line may be "# python 3.11" or "# without keras".
        _, order, value, *_ = [*requirements.read_text().splitlines()[0].split(), "", "", ""]
        base = shutil.which(f"python{value}") if order == "python" else sys.executable
        pip = [interpreter, "-m", "pip"]
        commands = [[base or f"python{value}", "-m", "venv", folder]]
        commands += [[*pip, "install", "--quiet", "-r", requirements]]
        commands += [[*pip, "uninstall", "--quiet", "--yes", value]] * (order == "without")
        for command in commands:
            try:
                subprocess.run([str(part) for part in command], check=True)
            except (OSError, subprocess.CalledProcessError) as error:
                raise SystemExit(
                    f"Environment {name} cannot be made: {error}. Name an existing one with --env "
                    f"{name}=PYTHON, or run cases that do without it."
                ) from None
        (folder / "complete").touch()
    return str(interpreter)
