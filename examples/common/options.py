"""Command-line options from dataclasses: name, type, default and help of an option stand once."""

import dataclasses
import inspect
from typing import Annotated

import typer


def option(default, panel: str, text: str, **more):
    """A field of a dataclass that is an option under the heading `panel` of the help.

    `more` are further arguments of `typer.Option`.
    """
    metadata = {"help": text, "rich_help_panel": panel, **more}
    return dataclasses.field(default=default, metadata=metadata, kw_only=True)


def with_options(command):
    """Returns `command` with the fields made by `option` in place of its dataclass parameters."""
    parameters = inspect.signature(command).parameters.values()
    classes = {p.name: p.annotation for p in parameters if dataclasses.is_dataclass(p.annotation)}
    options = {
        # What a class inherits comes last.
        name: sorted(
            (field for field in dataclasses.fields(kind) if field.metadata),
            key=lambda field, kind=kind: field.name not in kind.__annotations__,
        )
        for name, kind in classes.items()
    }

    def call(**values):
        for name, fields in options.items():
            values[name] = classes[name](**{field.name: values.pop(field.name) for field in fields})
        return command(**values)

    generated = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=Annotated[field.type, typer.Option(**field.metadata)],
        )
        for fields in options.values()
        for field in fields
    ]
    others = [p.replace(kind=p.KEYWORD_ONLY) for p in parameters if p.name not in classes]
    call.__signature__ = inspect.Signature(generated + others)
    call.__doc__ = command.__doc__
    return call
