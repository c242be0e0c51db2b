"""The files of a page, read once when a server starts: a request reaches no other file."""

import html
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent / "pages"
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}


class File(NamedTuple):
    """A file of a page."""

    content: bytes
    media_type: str


def read_page(kind: str, name: str) -> dict[str, File]:
    """The files of the page for a kind of model, by their paths in the address.

    Args:
        kind: "translation" or "captioning".
        name: The name of the model, which the page asks.
    """
    page = (FOLDER / f"{kind}.html").read_text("utf-8").replace("{{name}}", html.escape(name))
    files = {"/": File(page.encode(), "text/html")}
    for file in (f"{kind}.js", "words.js", "style.css"):
        path = FOLDER / file
        files[f"/{file}"] = File(path.read_bytes(), TYPES[path.suffix])
    return files
