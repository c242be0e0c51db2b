"""Options: name, type, default and help of each stand once, in a dataclass; values, in a file."""

import dataclasses
import difflib
import inspect
import json
from pathlib import Path
from types import NoneType
from typing import Annotated, get_args

import typer

from examples.common.errors import UserError, user_errors

# What the types of options are in JSON.
JSON = {bool: "true or false", int: "an integer", float: "a number", NoneType: "null"}
JSON |= {str: "a string", Path: "a string", list[Path]: "a list of strings"}


def option(default, panel: str, text: str, bounds=(1, 10**6), **more):
    """A field of a dataclass that is an option under the heading `panel` of the help.

    `bounds` are those of integers; `more` are further arguments of `typer.Option`.
    """
    typer_option = {"help": text, "rich_help_panel": panel, **more}
    metadata = {"panel": panel, "bounds": bounds, "option": typer_option}
    return dataclasses.field(default=default, metadata=metadata, kw_only=True)


def with_options(command):
    """Returns `command` with the fields made by `option` in place of its parameter `config`.

    Another option, --config, reads their defaults from a file.
    """
    parameters = dict(inspect.signature(command).parameters)
    kind = parameters.pop("config").annotation
    # What a class inherits comes last.
    fields = sorted(
        (field for field in dataclasses.fields(kind) if field.metadata),
        key=lambda field: field.name not in kind.__annotations__,
    )

    def set_defaults(ctx: typer.Context, file: Path | None):
        if file:
            ctx.default_map = (ctx.default_map or {}) | read(file, kind)

    def call(file, **values):
        config = kind(**{field.name: values.pop(field.name) for field in fields})
        return command(config=config, **values)

    def parameter(name, default, kind, *names, **more):
        annotation = Annotated[kind, typer.Option(*names, **more)]
        return inspect.Parameter(name, keyword, default=default, annotation=annotation)

    keyword = inspect.Parameter.KEYWORD_ONLY
    text = (
        "A JSON file with defaults of the options below; for train, for example the config.json "
        "of a run. Paths in it are relative to the working directory."
    )
    eager = {"is_eager": True, "callback": set_defaults}
    generated = [parameter(f.name, f.default, f.type, **f.metadata["option"]) for f in fields]
    generated.append(parameter("file", None, Path | None, "--config", help=text, **eager))
    others = [other.replace(kind=keyword) for other in parameters.values()]
    call.__signature__ = inspect.Signature(generated + others)
    call.__name__, call.__doc__ = command.__name__, command.__doc__
    return call


def read(path: Path, kind: type) -> dict:
    """The values of options of the dataclass `kind` from a JSON file, each of its type."""
    with user_errors(path, "read"):
        text = path.read_text("utf-8-sig", "surrogateescape")
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON ({error})") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected a JSON object with options and their values")
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for name in [name for name in values if name not in fields]:
        near = " or ".join(difflib.get_close_matches(name.replace("-", "_"), fields))
        raise UserError(f"{path}: unknown key {name!r}" + (near and f"; did you mean {near}?"))
    options = {name: value for name, value in values.items() if fields[name].metadata}
    for name, value in options.items():
        kinds = get_args(fields[name].type) or (fields[name].type,)
        # An integer is a number too, and a path is a string.
        given = {int: {int, float}, str: {str, Path}}.get(type(value), {type(value)})
        if isinstance(value, list) and all(isinstance(each, str) for each in value):
            given = {list[Path]}
        if value not in kinds and given.isdisjoint(kinds):
            wanted = " or ".join(JSON.get(kind, kind) for kind in kinds)
            raise UserError(f"{path}: {name} is {json.dumps(value)}; expected {wanted}")
    return options
