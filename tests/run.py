"""Runs all test files, two at a time and each in a process of its own, and prints a line for each.

    python tests/run.py [options of pytest]

TensorFlow keeps what it compiled until its process ends, and all files in one process need more
memory than machines have. Its import takes seconds: this process does it once, and those of the
files are copies of it.
"""

import environment  # noqa: F401  # isort: skip  # before anything reads it

import gc
import os
import pathlib
import signal
import sys
import tempfile

import keras  # noqa: F401
import pytest
import tensorflow as tf  # noqa: F401

ROOT = pathlib.Path(__file__).parents[1]
AT_ONCE = 2
# They take longest; what begins last should end soon.
FIRST = (
    "test_translation_devices test_conformance test_captioning test_export test_translation "
    "test_translation_training test_models test_learning test_conformance_masks test_docs"
)


def files():
    found = [path.stem for path in ROOT.glob("tests/test_*.py")]
    first = FIRST.split()
    return [f"tests/{name}.py" for name in first + sorted(set(found) - set(first))]


def start(path, options):
    """Starts the tests of a file; returns the id of the process and the file it writes to."""
    output = tempfile.TemporaryFile()  # noqa: SIM115
    sys.stdout.flush()
    process = os.fork()
    if process:
        return process, output
    for stream in (1, 2):
        os.dup2(output.fileno(), stream)
    os.environ["COVERAGE_FILE"] = f".coverage.{os.getpid()}"
    code = pytest.main(["-q", *options, path])
    sys.stdout.flush()
    os._exit(code)


def wait(running):
    """Prints what came of the file that ends next; returns whether its tests passed."""
    process, status, used = os.wait4(-1, 0)
    path, output = running.pop(process)
    output.seek(0)
    written = output.read().decode(errors="replace").rstrip()
    code = os.waitstatus_to_exitcode(status)  # below 0: of a signal
    good = code in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
    told = written.rpartition("\n")[2] if good else f"\n{written}\nexit status {code}"
    seconds = used.ru_utime + used.ru_stime
    memory = used.ru_maxrss / 2**20
    print(f"{path}: {told}; {seconds:.0f} s of processors, {memory:.1f} GiB", flush=True)
    return good


def main(options):
    os.chdir(ROOT)
    sys.path[0] = str(ROOT)  # as for `python -m pytest`
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which shells ignore behind `&`
    gc.freeze()  # else each copy would copy what the collector looks at
    running, good = {}, True
    for path in files():
        if len(running) == AT_ONCE:
            good &= wait(running)
        process, output = start(path, options)
        running[process] = path, output
    while running:
        good &= wait(running)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
