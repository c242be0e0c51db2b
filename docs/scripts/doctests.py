"""Lets the reference show the examples in docstrings as code, and call arguments as a list."""

import re

import griffe

EXAMPLE = re.compile(r"^>>> .*(?:\n.+)*", re.MULTILINE)
# A section that is not one of griffe's, whose lines would become one paragraph.
CALL_ARGUMENTS = re.compile(r"^Call arguments:\n(?: {4}.*\n)+", re.MULTILINE)
NAMES = re.compile(r"^ {4}(\w+(?:, \w+)*): ", re.MULTILINE)


class Doctests(griffe.Extension):
    def on_object(self, *, obj, **unused):
        if obj.docstring:
            text = EXAMPLE.sub(r"```pycon\n\g<0>\n```", obj.docstring.value)
            text = CALL_ARGUMENTS.sub(lambda found: NAMES.sub(r"    - `\1`: ", found[0]), text)
            obj.docstring.value = text
