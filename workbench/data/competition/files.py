"""TOML files checked against a pydantic model, with messages that name the file, the key and the valid ones."""

from __future__ import annotations

import io
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from workbench.core.errors import ConfigError, did_you_mean
from workbench.core.read_once import read_once

__all__ = ["StrictModel", "in_toml", "move_above_hint", "read_toml", "toml_key", "validate"]

Model = TypeVar("Model", bound=BaseModel)


class StrictModel(BaseModel):
    """A table of a TOML file: unknown keys are errors, values keep their type (no "5" for 5)."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises
    ------
    ConfigError
        When the file can't be read or is not valid TOML; the message shows the line.
    """
    text = ""
    try:
        # With or without a byte order mark: editors on Windows write one.
        text = io.TextIOWrapper(io.BytesIO(read_once(path)), encoding="utf-8-sig").read()
        data = tomllib.loads(text)
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{path} is not written in UTF-8, as TOML is: {exc.reason}", hint="save it as UTF-8") from exc
    except tomllib.TOMLDecodeError as exc:
        line = _line_of(text, str(exc))
        line_text = f": {line}" if line else ""
        raise ConfigError(f"{path} is not valid TOML: {exc}{line_text}", hint=_toml_hint(str(exc))) from exc
    except OSError as exc:
        raise ConfigError(f"can't read {path}: {exc.strerror}") from exc
    except RecursionError as exc:
        raise _nesting_error(path) from exc
    except ValueError as exc:  # Python refuses to convert integers of more than 4,300 digits
        raise _integer_error(path) from exc
    _check_values(data, path)
    return data


MAX_DEPTH = 50
"""No setting needs deeper nesting; a limit keeps the functions that walk the values recursively from overflowing."""

MAX_BITS = 256
"""No setting needs larger integers; Python refuses to print one of more than 4,300 digits."""


def _check_values(data: dict[str, Any], path: Path) -> None:
    """Refuse tables and lists nested too deeply, and integers that are too large."""
    containers: list[Any] = [data]  # the tables and lists of one level
    for _ in range(MAX_DEPTH):
        values = [v for c in containers for v in (c.values() if isinstance(c, dict) else c)]
        if any(isinstance(v, int) and v.bit_length() > MAX_BITS for v in values):
            raise _integer_error(path)
        containers = [v for v in values if isinstance(v, dict | list)]
        if not containers:
            return
    raise _nesting_error(path)


def _nesting_error(path: Path) -> ConfigError:
    return ConfigError(f"{path}: tables or lists are nested more than {MAX_DEPTH} deep", hint="fix that file")


def _integer_error(path: Path) -> ConfigError:
    return ConfigError(f"{path}: a whole number has too many digits, more than {MAX_BITS} bits", hint="fix that file")


ESCAPED = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""Control characters, which a TOML string may not contain, and the Unicode line separators."""


def in_toml(value: object) -> str:
    r"""Return a value as TOML.

    `json.dumps` does not do: it escapes a character beyond U+FFFF as a pair of surrogates, which TOML refuses.

    Examples
    --------
    >>> print(in_toml({"a": [1, 0.5, True], "\N{THUMBS UP SIGN}": 'a "b"\x7f'}))
    { "a" = [1, 0.5, true], "👍" = "a \"b\"\u007F" }
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{in_toml(str(k))} = {in_toml(v)}" for k, v in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(in_toml(v) for v in value) + "]"
    if isinstance(value, float):
        return repr(float(value))
    if not isinstance(value, str):
        return str(value)
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    # A lone surrogate can't be encoded in UTF-8.
    escaped = escaped.encode("utf-8", "replace").decode()
    escaped = escaped.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")
    return '"' + ESCAPED.sub(lambda match: f"\\u{ord(match[0]):04X}", escaped) + '"'


def toml_key(name: str) -> str:
    """Return a key as TOML: bare where possible, else quoted.

    Examples
    --------
    >>> toml_key("num_leaves"), toml_key("price:usd")
    ('num_leaves', '"price:usd"')
    """
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else in_toml(name)


_TOML_HINTS = {
    r"(Illegal|invalid) character '.n'|Unterminated": "a quote is opened there and not closed",
    r"Expected [\"']{2}": "a quote is opened there and not closed",
    r"Unescaped": "write a backslash as \\\\ in double quotes, or use single quotes",
    r"Invalid value \(at end": "is a closing bracket missing?",
    r"Unclosed (array|inline table)": 'is a comma, a quote or a closing bracket missing? A list is ["a", "b"]',
    r"Invalid value": 'strings need quotes: metric = "rmse"; true and false are lower case',
    r"Expected newline": "one key per line; is a quote missing, or one too many?",
    r"Cannot overwrite": "the key is there twice: keep one",
    r"Cannot declare": "the table is there twice: keep one",
    r"Expected '='|Invalid statement": "a line is KEY = VALUE, [TABLE], or a comment after #",
}
"""Messages of `tomllib`, as patterns, and the most frequent cause of each."""


def _toml_hint(message: str) -> str:
    """Return a hint for a message of `tomllib`, with the most frequent cause if one is known."""
    cause = next((cause for pattern, cause in _TOML_HINTS.items() if re.search(pattern, message)), "")
    return f"fix that line: {cause}" if cause else "fix that line"


def _line_of(text: str, message: str) -> str:
    """Return the line of a TOML text that a message of `tomllib` refers to, shortened; "" if it names none."""
    line_number = re.search(r"at line (\d+)", message)
    lines = text.split("\n")
    return lines[int(line_number[1]) - 1].strip()[:80] if line_number and int(line_number[1]) <= len(lines) else ""


def validate(model: type[Model], data: dict[str, Any], path: Path) -> Model:
    """Check `data`, read from `path`, against `model`.

    Raises
    ------
    ConfigError
        Names the file, the key, the expected and the actual value; for an unknown key, the nearest valid one.
    """
    try:
        return model.model_validate(data)
    except ValidationError as exc:
        raise _as_config_error(exc, model, path) from exc


def _as_config_error(exc: ValidationError, model: type[BaseModel], path: Path) -> ConfigError:
    """Return the first error of a validation as ours."""
    error = exc.errors()[0]
    # pydantic includes the member of a union in the location: tune._Tune.seed.
    location = [str(part) for part in error["loc"] if not re.match(r"_[A-Z]|literal\[", str(part))]
    key = ".".join(location) or "the file"
    if error["type"] == "extra_forbidden":
        valid_keys = _keys_at(model, location[:-1])
        hint = did_you_mean(location[-1], valid_keys, kind="key")
        if location[-1] in model.model_fields or not hint.startswith("did you mean"):
            hint = _right_table_hint(model, location) or hint
        return ConfigError(f"{path}: unknown key {key!r}", hint=hint)
    if error["type"] == "missing":
        return ConfigError(f"{path}: the key {key!r} is missing", hint=f"add it: {location[-1]} = …")
    message = error["msg"].removeprefix("Value error, ")
    return ConfigError(f"{path}: {key}: {message}, got {error.get('input')!r}")


def _right_table_hint(model: type[BaseModel], location: list[str]) -> str:
    """Return a hint that names the table an unknown key belongs in; "" where no table, or more than one, has the key.

    `location` are the tables around the key, from the outside, and the key.
    """
    *tables, key = location
    if tables and key in model.model_fields:
        return move_above_hint(key, tables[0])
    matching = [n for n in model.model_fields if n not in tables and key in _keys_at(model, [n], only_tables=True)]
    return f"write it under [{matching[0]}]" if len(matching) == 1 else ""


def move_above_hint(key: str, table: str) -> str:
    """Return the hint for a top-level key that is written below a table's header."""
    return f"write {key} above [{table}]: what follows that line belongs to [{table}]"


def _keys_at(model: type[BaseModel], location: list[str], *, only_tables: bool = False) -> list[str]:
    """Return the valid keys of the table at `location`.

    Where `location` is not a table with fixed keys, return the keys of the table around it; with `only_tables`, none.
    """
    for part in location:
        annotation = model.model_fields[part].annotation if part in model.model_fields else None
        union_members = [annotation, *getattr(annotation, "__args__", ())]
        models = [m for m in union_members if isinstance(m, type) and issubclass(m, BaseModel)]
        if not models:
            return [] if only_tables else list(model.model_fields)
        model = models[0]
    return list(model.model_fields)
