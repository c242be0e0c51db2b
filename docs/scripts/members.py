"""The lists of what the library offers, made from its packages.

`make docs` gets the reference, api.md, from here; it is not committed. `make readme`, which runs

    python docs/scripts/members.py

writes the table of the family into README.md; a test compares the two.
"""

import importlib
import inspect
import os
import pathlib
import re
import sys

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
ROOT = pathlib.Path(__file__).parents[2]
README = ROOT / "README.md"
sys.path.insert(0, str(ROOT))

import keras  # noqa: E402

import keras_attention as ka  # noqa: E402

# Title, module, and whether its layers are members of the family.
PARTS = [
    ("Scores", "scores", True),
    ("Alignments", "alignments", True),
    ("Attention", "attention", True),
    ("Self-attention and pooling", "self_attention", True),
    ("Pointers", "pointer", True),
    ("Transformer", "transformer", True),
    ("SNAIL", "snail", True),
    ("Neural Turing Machine", "ntm", True),
    ("Decoders", "decoders", True),
    ("Models", "models", True),
    ("Search", "search", False),
    ("Logits processors", "processors", False),
    ("Losses", "losses", False),
    ("Masks", "masks", False),
    ("Inspection", "models.attention_model", False),
    ("Export", "export", False),
    ("Pictures", "visualize", False),
    ("TensorFlow Addons", "tfa", False),
]
API = """\
# Reference

`import keras_attention as ka`. B is the batch, T the query or target steps, S the memory steps, D a
size of vectors, V a vocabulary.
"""
FAMILY = re.compile(r"^\| part \| members \|\n(?:\|.*\n)+", re.MULTILINE)
REFERENCE = re.compile(r"References?:\s+(\D+?)\s+(\d{4})\b")


def public(part):
    """The classes and functions that a module of `keras_attention` defines or re-exports."""
    module = importlib.import_module(f"keras_attention.{part}")
    found = {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isclass(value) or inspect.isfunction(value))
        and f"{value.__module__}.".startswith(f"{module.__name__}.")
    }
    # Classes before functions, each in alphabetical order.
    return dict(sorted(found.items(), key=lambda x: (inspect.isfunction(x[1]), x[0].lower())))


def methods(cls, documented):
    """The documented methods that a class adds to Keras's, without those of documented bases."""
    found = {}
    for base in cls.__mro__:
        ours = base.__module__.startswith("keras_attention.")
        if ours and (base is cls or base not in documented):
            for name, value in vars(base).items():
                new = name == "call" or not hasattr(keras.Model, name)
                if not name.startswith("_") and inspect.isfunction(value) and value.__doc__ and new:
                    found.setdefault(name)
    return list(found)


def reference():
    """The text of api.md: one entry of mkdocstrings per public name."""
    lines = [API]
    for title, part, _ in PARTS:
        lines += [f"## {title}", ""]
        members = public(part)
        for name, value in members.items():
            short = getattr(ka, name, None) is value
            lines.append(f"::: keras_attention.{name if short else f'{part}.{name}'}")
            if inspect.isclass(value):
                shown = methods(value, members.values())
                lines += ["    options:", f"      members: {shown or 'false'}"]
                lines += ["      inherited_members: true"] if shown else []
            lines.append("")
    return "\n".join(lines)


def paper(cls):
    """ "Luong et al. 2015", from the reference that closes the docstring; or nothing."""
    found = REFERENCE.search(inspect.cleandoc(cls.__doc__ or ""))
    if not found:
        return ""
    authors = re.split(r",\s+", found[1])
    if len(authors) > 2:
        authors = [f"{authors[0]} et al."]
    return f"{' & '.join(authors)} {found[2]}"


def family():
    """The table of README.md: the layers of each part, with their papers."""
    lines = ["| part | members |", "|---|---|"]
    for title, part, in_family in PARTS:
        if not in_family:
            continue
        classes = [value for value in public(part).values() if inspect.isclass(value)]
        extended = {base for cls in classes for base in cls.__mro__[1:]}
        layers = [c for c in classes if issubclass(c, keras.layers.Layer) and c not in extended]
        papers = [paper(layer) for layer in layers]
        members = [
            f"`{layer.__name__}`" + (f" ({this})" if this and this != following else "")
            for layer, this, following in zip(layers, papers, [*papers[1:], None], strict=True)
        ]
        lines.append(f"| [{title}](keras_attention/{part}) | {', '.join(members)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    README.write_text(FAMILY.sub(lambda found: family(), README.read_text(), count=1))
