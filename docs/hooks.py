"""Fill the reference pages from the program itself, as MkDocs builds them.

Two comments in a page are replaced: ``<!-- options: wb kernel push -->`` by the usage and the options of a command, and
``<!-- keys: competition.toml -->`` by the keys of a file with their types and defaults.

https://www.mkdocs.org/user-guide/configuration/#hooks
"""

from __future__ import annotations

import ast
import html
import inspect
import re
from functools import cache
from itertools import pairwise
from typing import Any, Literal, get_args, get_origin

import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from workbench.cli.app import wb
from workbench.data.competition import definition
from workbench.experiments import spec

FILES: dict[str, type[BaseModel]] = {
    "competition.toml": definition.DefinitionFile,
    "experiments/NNN.toml": spec.ExperimentFileOfAnyKind,
}


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Return the page with its generated parts."""
    for pattern, part in (
        (r"^<!-- options: wb ([\w ]+?) -->$", lambda match: options_of(match[1].split())),
        (r"^<!-- keys: (\S+) -->$", lambda match: stacked(keys_of(FILES[match[1]]))),
    ):
        markdown = re.sub(pattern, part, markdown, flags=re.MULTILINE)
    return markdown


def on_page_content(html: str, **_: Any) -> str:
    """Return the page with inline code that breaks before an option, not after its dashes."""
    return re.sub(
        r"(?<!<span></span>)<code>[^<>\n]*</code>",
        lambda match: re.sub(r"(?<=[>\s(/\[])--?[\w-]+", r'<span class="option">\g<0></span>', match[0]),
        html,
    )


def stacked(table: str) -> str:
    """Return a table whose rows are blocks of lines on a phone."""
    return f'<div class="stacked" markdown>\n\n{table}\n\n</div>\n'


def command_named(words: list[str]) -> tuple[click.Command, click.Context]:
    """Return a command and its context: ``["kernel", "push"]`` is ``wb kernel push``."""
    command: click.Command | None = wb
    context = click.Context(wb, info_name="wb")
    for word in words:
        command = command.get_command(context, word) if isinstance(command, click.Group) else None
        if command is None:
            raise LookupError(f"there is no command wb {' '.join(words)}")
        context = click.Context(command, parent=context, info_name=word)
    return command or wb, context


def options_of(words: list[str]) -> str:
    """Return the usage of a command and a table of its options."""
    command, context = command_named(words)
    usage = command.get_usage(context).removeprefix("Usage: ")
    rows = [record for p in command.params if (record := p.get_help_record(context)) and isinstance(p, click.Option)]
    lines = ["```text", " ".join(usage.split()), "```", ""]
    if rows:
        table = ["| option | meaning |", "|---|---|", *(f"| {code(name)} | {cell(text)} |" for name, text in rows)]
        lines.append(stacked("\n".join(table)))
    return "\n".join(lines)


def keys_of(model: type[BaseModel], prefix: str = "") -> str:
    """Return a table of a file's keys, those of its tables behind them."""
    lines = [] if prefix else ["| key | type | default | meaning |", "|---|---|---|---|"]
    for name, info in model.model_fields.items():
        key, text = prefix + name, descriptions(model).get(name, "")
        if not text and name in spec.KINDS:
            text = "The kind of experiment and its keys, see [below](#the-kind-of-model)."
        inner = inner_model(info.annotation)
        if inner is None:
            lines.append(f"| `{key}` | {type_text(info.annotation)} | {code(default_text(info))} | {text} |")
        else:
            lines.append(f"| `[{key}]` | table | | {text} |")
            placeholder = "NAME." if get_origin(info.annotation) is dict else ""
            lines.append(keys_of(inner, f"{key}.{placeholder}"))
    return "\n".join(line for line in lines if line)


@cache
def descriptions(model: type[BaseModel]) -> dict[str, str]:
    """Return key -> the docstring below its field.

    Read from the source: pydantic's `use_attribute_docstrings` would do that each time the package is imported.
    """
    texts: dict[str, str] = {}
    for cls in reversed(model.__mro__[: model.__mro__.index(BaseModel)]):
        try:
            definition_of_class = ast.parse(inspect.getsource(cls)).body[0]
        except OSError:  # made by `create_model`
            continue
        for field, text in pairwise(getattr(definition_of_class, "body", [])):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
                texts[ast.unparse(field.target)] = " ".join(str(text.value.value).split())
    return texts


def inner_model(annotation: Any) -> type[BaseModel] | None:
    """Return the model of a table's keys, or None where the value is no table with fixed keys."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    arguments = get_args(annotation)
    if get_origin(annotation) is dict:
        arguments = arguments[1:]
    elif get_origin(annotation) in (list, Literal):
        return None
    return next((model for argument in arguments if (model := inner_model(argument))), None)


def type_text(annotation: Any) -> str:
    """Return a type as the reference writes it: "text or list of texts"."""
    names = {str: "text", int: "whole number", float: "number", bool: "true or false"}
    if annotation in names:
        return names[annotation]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{toml(value)}`" for value in arguments)
    if origin is list:
        return f"list of {type_text(arguments[0])}"
    if origin is dict:
        return "table"
    if arguments:
        return " or ".join(dict.fromkeys(type_text(a) for a in arguments if a is not type(None)))
    return "any value"


def default_text(info: FieldInfo) -> str:
    """Return a key's default in TOML, "required" for a key without one and nothing for one that may be left out."""
    if info.is_required():
        return "required"
    value = info.get_default(call_default_factory=True)
    return "" if value is None or value in ({}, []) else toml(value)


def toml(value: object) -> str:
    """Return a simple value as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


def code(text: str) -> str:
    """Return a text as inline code, or nothing for an empty one."""
    return f"`{text}`" if text else ""


def cell(text: str) -> str:
    """Return a text that can stand in a cell of a table."""
    return re.sub(r"([|\[\]*_`])", r"\\\1", html.escape(" ".join(text.split()), quote=False))
