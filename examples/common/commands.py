"""What the command lines share: errors in one line, quiet imports, the end of a training."""

import contextlib
import os
import sys
from collections.abc import Callable

import typer
from typer.core import TyperGroup

from examples.common.errors import UserError
from examples.common.files import lock

# Otherwise TensorFlow describes its build at every start.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


class Commands(TyperGroup):
    """Commands whose UserError becomes one line on stderr and exit code 2, as does a full disk."""

    def invoke(self, ctx):
        # Text in any language, whatever the console says; names of files as they came.
        if sys.stdout:
            sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")
        try:
            return super().invoke(ctx)
        except (UserError, OSError) as error:
            if isinstance(error, BrokenPipeError):  # who reads has enough: Click ends quietly
                raise
            print(f"error: {error}", file=sys.stderr)
            raise typer.Exit(2) from None


def application(text: str, *commands: Callable) -> typer.Typer:
    """A command line of functions, each with the name of its function."""
    app = typer.Typer(
        cls=Commands,
        no_args_is_help=True,
        help=text,
        add_completion=False,
        rich_markup_mode="markdown",
        pretty_exceptions_enable=False,
    )
    for command in commands:
        app.command()(command)
    return app


class quiet_import:
    """Holds back what TensorFlow's libraries print to stderr while they load."""

    def __enter__(self):
        sys.stderr.flush()
        self.stderr, self.null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
        os.dup2(self.null, 2)

    def __exit__(self, kind, error, _):
        os.dup2(self.stderr, 2)
        os.close(self.stderr)
        os.close(self.null)
        backend = os.environ.get("KERAS_BACKEND")
        is_missing = isinstance(error, ImportError) and error.name == backend
        if is_missing or str(error).startswith("Unable to import backend"):  # Keras's words
            raise UserError(
                f"KERAS_BACKEND={backend}: cannot be imported ({error}); expected tensorflow, or "
                "jax or torch where it is installed"
            ) from None


def train_and_report(train, run, config, *arguments) -> None:
    """Calls `train(run, config, *arguments)`; says what is kept, after Ctrl-C too."""
    import tensorflow as tf

    from examples.common import devices

    first = devices.processes()[0] == 0  # of a training in several, the one that writes
    try:
        with lock(run.folder) if first else contextlib.nullcontext():
            run.check(config)  # again: now no other process can change it
            progress = train(run, config, *arguments)
    except KeyboardInterrupt:
        kept = f"the best model so far is in {run.weights}; " if run.weights.exists() else ""
        print(f"\nstopped: {kept}the same command goes on from the last checkpoint")
        raise typer.Exit(130) from None
    except (MemoryError, tf.errors.ResourceExhaustedError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"not enough memory for these batches and widths ({reason})") from None
    if not first:
        return
    print(
        f"kept: epoch {progress['best_epoch']}; best BLEU on the development data "
        f"{progress['best_bleu']}; {progress['seconds']:.0f} s in all; {run.weights}"
    )
