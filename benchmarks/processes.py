"""The driver's side of a worker: a live process that is asked to do things, one at a time."""

import contextlib
import json
import os
import pathlib
import subprocess

_ROOT = pathlib.Path(__file__).parent.parent
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
)


class WorkerError(RuntimeError):
    """The worker could not do what it was asked to."""


def run(python: str, module: str, options: dict, log: pathlib.Path):
    """Runs a script once, to its end, as a worker would be started."""
    with log.open("w") as errors:
        code = subprocess.run(
            [python, "-m", module, json.dumps(options)],
            cwd=_ROOT,
            env=_environment(options["threads"]),
            stdout=errors,
            stderr=errors,
        ).returncode
    if code:
        raise WorkerError(f"{module} ended with exit code {code}, see {log}")


class Worker:
    """A script `benchmarks.<case>.<script>` in a process of its own; use it in a `with`."""

    def __init__(self, python: str, module: str, options: dict, log: pathlib.Path):
        self._log = log
        with log.open("a" if "folder" in options else "w") as errors:
            self._process = subprocess.Popen(
                [python, "-m", module, json.dumps(options)],
                cwd=_ROOT,
                env=_environment(options["threads"]),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def ask(self, do: str, **arguments) -> dict:
        """Returns the worker's answer to a command of `benchmarks.worker`."""
        try:
            print(json.dumps({"do": do, **arguments}), file=self._process.stdin, flush=True)
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise WorkerError(f"exit code {self._process.wait()}, see {self._log}")
        answer = json.loads(line)
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer

    def stop(self):
        """Ends the process, and what it holds."""
        self._process.kill()
        self._process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.stop()
        # What a dead process has not read is lost.
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


def _environment(threads):
    variables = {name: str(threads) for name in _THREAD_VARIABLES}
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow", "PYTHONPATH": ""}
    return {**os.environ, **quiet, **variables}
