"""Parameters of LightGBM and XGBoost that have a value for each column, given by column name."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from workbench.core.errors import ConfigError, NotFoundError, did_you_mean
from workbench.core.wording import counted

__all__ = ["PER_COLUMN", "resolve_columns"]

PER_COLUMN: dict[str, Any] = {"monotone_constraints": 0, "feature_contri": 1.0, "max_bin_by_feature": None}
"""The value of columns that are not named; None for that of ``max_bin``."""


def resolve_columns(
    parameters: dict[str, Any],
    names: Sequence[str],
    categories: Collection[str],
    *,
    where: str,
    group_unlisted: bool = True,
) -> dict[str, Any]:
    """Return the parameters with column names resolved to lists by position, as LightGBM and XGBoost need them.

    ``monotone_constraints``, ``feature_contri`` and ``max_bin_by_feature`` may be tables by column;
    ``interaction_constraints`` is a list of lists of columns. LightGBM never uses a column that is in none of the
    lists; here such columns form one more list, as in XGBoost and scikit-learn.

    Parameters
    ----------
    names : sequence of str
        The columns in the order of the datasets.
    categories : collection of str
        The columns that are codes of categories.
    where : str
        The table, for messages.
    group_unlisted : bool
        Whether the columns that are in no list form one more list.

    Raises
    ------
    ConfigError
        For lists of another length, invalid values, and a monotone category, with which LightGBM ends the process.
    NotFoundError
        For an unknown column, with similar names.
    """
    resolved = dict(parameters)
    for key, default in PER_COLUMN.items():
        if key in parameters:
            default_value = parameters.get("max_bin", 255) if default is None else default
            resolved[key] = _value_list(key, parameters[key], names, default_value, where)
    if "monotone_constraints" in resolved:
        _check_monotone(resolved["monotone_constraints"], names, categories, where)
    if "interaction_constraints" in parameters:
        resolved["interaction_constraints"] = _index_lists(
            parameters["interaction_constraints"], names, where, group_unlisted=group_unlisted
        )
    return resolved


def _value_list(key: str, setting: Any, names: Sequence[str], default: Any, where: str) -> list[Any]:
    """Return a value for each column, from a table by column or a list of all columns."""
    if isinstance(setting, dict):
        for name in setting:
            _position(name, names, key, where)
        return [setting.get(name, default) for name in names]
    if not isinstance(setting, list) or len(setting) != len(names):
        got = counted(len(setting), "value") if isinstance(setting, list) else repr(setting)
        raise ConfigError(
            f"{where} {key}: expected a value for each of the {len(names)} columns, got {got}",
            hint=f"name the columns: {key} = {{ {names[0]} = {default} }}",
        )
    return setting


def _check_monotone(values: list[Any], names: Sequence[str], categories: Collection[str], where: str) -> None:
    for name, value in zip(names, values, strict=True):
        if isinstance(value, bool) or value not in (-1, 0, 1):
            raise ConfigError(
                f"{where} monotone_constraints: {name} = {value!r}; expected 1 (rising), -1 (falling) or 0"
            )
        if value and name in categories:
            raise ConfigError(
                f"{where} monotone_constraints: {name!r} is a column of categories, which have no order",
                hint="make a number of it in features.py, or leave it out",
            )


def _index_lists(constraints: Any, names: Sequence[str], where: str, *, group_unlisted: bool) -> list[list[int]]:
    """Return lists of columns as sorted lists of their positions."""
    key = "interaction_constraints"
    if not isinstance(constraints, list) or not all(isinstance(columns, list) and columns for columns in constraints):
        raise ConfigError(
            f"{where} {key} = {constraints!r}: expected a list of lists of columns",
            hint=f'{key} = [["{names[0]}", "{names[-1]}"]]',
        )
    positions = [sorted({_position(c, names, key, where) for c in columns}) for columns in constraints]
    unlisted = sorted(set(range(len(names))) - {i for listed in positions for i in listed})
    return [*positions, unlisted] if group_unlisted and unlisted else positions


def _position(column: Any, names: Sequence[str], key: str, where: str) -> int:
    """Return the position of a column, given by name or by position."""
    if isinstance(column, int) and not isinstance(column, bool) and 0 <= column < len(names):
        return column
    if column not in names:
        raise NotFoundError(
            f"{where} {key}: no column {column!r} among the {len(names)} that are trained on",
            hint=did_you_mean(str(column), names, kind="column"),
        )
    return names.index(column)
