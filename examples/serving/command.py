"""Listening: what the commands `serve` of the examples do."""

import contextlib
import errno
import re
import socket
from pathlib import Path
from typing import Annotated

import typer

from examples.common.commands import quiet_import
from examples.common.errors import UserError

HOST = "127.0.0.1"  # who is at this machine, and nobody else

Port = Annotated[
    int, typer.Option(min=0, max=2**16 - 1, help="A port of 127.0.0.1; 0 takes a free one.")
]
Name = Annotated[str, typer.Option(help="The name by which clients address the model.")]
Exported = Annotated[Path, typer.Option(help="An exported model (a SavedModel folder).")]


def serve(
    path: Path,
    port: int,
    name: str,
    kind: str,
    what: str,
    takes: str,
    gives: str,
    example: bytes,
    **limits: int,
) -> None:
    """Serves an exported model until Ctrl-C.

    Args:
        path: Its folder.
        port, name: Where, and what it is called.
        kind: Which page: "translation" or "captioning".
        what, takes, gives, example: As in `examples.serving.model.Model`.
        limits: Those of `examples.serving.limits.Limits`.
    """
    if not re.fullmatch(r"[\w.-]+", name, re.ASCII):
        raise UserError(f"--name {name}: expected letters, digits, '_', '.' and '-'")
    if not path.exists():
        raise UserError(f"{path}: no such folder")
    if not (path / "saved_model.pb").exists():
        raise UserError(f"{path}: no exported model (no saved_model.pb): expected one of `export`")
    with contextlib.closing(_listen(port)) as listening, contextlib.suppress(KeyboardInterrupt):
        try:
            with quiet_import():
                import uvicorn

                from examples.serving.limits import Limits
                from examples.serving.model import Model
                from examples.serving.pages import read_page
                from examples.serving.server import make_app
        except ModuleNotFoundError as error:
            raise UserError(
                f"{error.name} is missing: pip install 'keras-attention-layers[serve]'"
            ) from None
        app = make_app(
            Model(path, what, takes, gives, example), name, read_page(kind, name), Limits(**limits)
        )
        config = uvicorn.Config(
            app, log_level="error", ws="none", server_header=False, timeout_graceful_shutdown=5
        )
        address = f"http://{HOST}:{listening.getsockname()[1]}"
        print(f"{name}: {address}/ and {address}/v1/models/{name} (Ctrl-C ends)", flush=True)
        uvicorn.Server(config).run(sockets=[listening])


def _listen(port: int) -> socket.socket:
    """A socket that listens; connections wait in it until they are served."""
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
        listening.listen(128)
    except OSError as error:
        listening.close()
        reason = {
            errno.EADDRINUSE: "another program uses it; --port 0 takes one that is free",
            errno.EACCES: "no permission for it; expected one from 1024 on",
        }.get(error.errno, error.strerror)
        raise UserError(f"--port {port}: {reason}") from None
    return listening
