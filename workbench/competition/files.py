"""TOML files checked against a pydantic model, with messages that name the file, the key and the valid ones."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from workbench.errors import ConfigError, near

__all__ = ["StrictModel", "read_toml", "validate"]

M = TypeVar("M", bound=BaseModel)


class StrictModel(BaseModel):
    """A table of a TOML file: unknown keys are errors, values keep their type (no "5" for 5)."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises
    ------
    ConfigError
        When it can't be read or is not TOML; the message has the line.
    """
    try:
        # With or without a byte order mark: editors on Windows write one.
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{path} is not written in UTF-8, as TOML is: {exc.reason}", hint="save it as UTF-8") from exc
    except tomllib.TOMLDecodeError as exc:
        raise ConfigError(f"{path} is not valid TOML: {exc}", hint="mend that line") from exc
    except OSError as exc:
        raise ConfigError(f"can't read {path}: {exc.strerror}") from exc


def validate(model: type[M], data: dict[str, Any], path: Path) -> M:
    """Check `data`, read from `path`, against `model`.

    Raises
    ------
    ConfigError
        Names the file, the key, what was expected and what was found; for an unknown key, the nearest valid one.
    """
    try:
        return model.model_validate(data)
    except ValidationError as exc:
        raise _as_config_error(exc, model, path) from exc


def _as_config_error(exc: ValidationError, model: type[BaseModel], path: Path) -> ConfigError:
    first = exc.errors()[0]
    location = [str(part) for part in first["loc"]]
    key = ".".join(location) or "the file"
    if first["type"] == "extra_forbidden":
        valid = _keys_at(model, location[:-1])
        return ConfigError(f"{path}: unknown key {key!r}", hint=near(location[-1], valid, what="key"))
    if first["type"] == "missing":
        return ConfigError(f"{path}: the key {key!r} is missing", hint=f"add it: {location[-1]} = …")
    return ConfigError(f"{path}: {key}: {first['msg']}, got {first.get('input')!r}")


def _keys_at(model: type[BaseModel], location: list[str]) -> list[str]:
    for part in location:
        annotation = model.model_fields[part].annotation if part in model.model_fields else None
        options = [annotation, *getattr(annotation, "__args__", ())]
        inner = [o for o in options if isinstance(o, type) and issubclass(o, BaseModel)]
        if not inner:
            break
        model = inner[0]
    return list(model.model_fields)
