"""Tutorials: scripts with cells of text and code, which are executed as notebooks.

    python docs/scripts/tutorials.py docs/tutorials/pointing.py out/tutorials/pointing.ipynb

executes one and writes the notebook with its outputs. An error in a cell fails. `page` makes a page
of the site of it.
"""

import base64
import os
import pathlib
import sys
import tempfile
import time

import jupytext
import nbclient
import nbformat

# Pictures of twice the resolution, for the screens of today. The kernel warns that what it says to
# this process, on this machine, is not encrypted.
KERNEL_OPTIONS = ["--InlineBackend.figure_formats=['retina']", "--IPKernelApp.log_level=ERROR"]
SECONDS_OF_A_CELL = 900  # a tutorial takes at most three minutes; machines of CI are slow


def execute(source):
    """The notebook of a script, with its outputs. Its files go to a folder that is then removed."""
    notebook = jupytext.read(source)
    with tempfile.TemporaryDirectory() as folder:
        nbclient.NotebookClient(
            notebook,
            kernel_name="python3",
            timeout=SECONDS_OF_A_CELL,
            coalesce_streams=True,
            extra_arguments=KERNEL_OPTIONS,
            resources={"metadata": {"path": folder}},
        ).execute(env={**os.environ, "MPLBACKEND": "module://matplotlib_inline.backend_inline"})
    return notebook


def fenced(text, language):
    """A block of code. The text of an output may hold fences of its own."""
    return f"`````{language}\n{text.rstrip()}\n`````\n"


def shown(output, picture):
    """The Markdown of one output, and the files that it names, of which `picture` may be one."""
    if output.output_type == "stream":
        return (
            (fenced(output.text, "{ .text .output }"), {}) if output.name == "stdout" else ("", {})
        )
    data = output.data
    if "image/png" in data:
        size = output.metadata.get("image/png", {})
        width = f"{{ width={size['width']} }}" if "width" in size else ""
        return f"![]({picture}){width}\n", {picture: base64.b64decode(data["image/png"])}
    return fenced(data["text/plain"], "{ .text .output }"), {}


def page(notebook, name):
    """A notebook as Markdown, and the pictures beside it as {path: bytes}: name-1.png and so on."""
    text, files = [], {}
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            text.append(f"{cell.source}\n")
            continue
        text.append(fenced(cell.source, "python"))
        for output in cell.outputs:
            markdown, more = shown(output, f"{name}-{len(files) + 1}.png")
            text.append(markdown)
            files |= more
    download = f"[Download this tutorial as a notebook]({name}.ipynb){{ .md-button }}\n"
    return "\n".join([*text, download]), files


def main(source, target):
    target, start = pathlib.Path(target), time.monotonic()
    notebook = execute(source)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(".part")
    nbformat.write(notebook, part)
    part.replace(target)
    print(f"{source}: {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main(*sys.argv[1:])
