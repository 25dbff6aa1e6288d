"""Parameters that have a value for each column, by the columns' names."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from workbench.core.errors import ConfigError, NotFoundError, near

__all__ = ["PER_COLUMN", "by_position"]

PER_COLUMN: dict[str, Any] = {"monotone_constraints": 0, "feature_contri": 1.0, "max_bin_by_feature": None}
"""What a column gets that is not named; None: what ``max_bin`` says."""


def by_position(
    parameters: dict[str, Any],
    names: Sequence[str],
    categories: Collection[str],
    *,
    where: str,
    group_unlisted: bool = True,
) -> dict[str, Any]:
    """Return the parameters with columns' names turned into lists by position, as LightGBM and XGBoost take them.

    ``monotone_constraints``, ``feature_contri`` and ``max_bin_by_feature`` may be tables by column;
    ``interaction_constraints`` is a list of lists of columns. LightGBM never uses a column that is in none of them;
    here such columns are a list of their own, as in XGBoost and scikit-learn.

    Parameters
    ----------
    names : sequence of str
        The columns in the order of the datasets.
    categories : collection of str
        Which of them are codes of categories.
    where : str
        The table, for messages.
    group_unlisted : bool
        Whether the columns that are in no list become one.

    Raises
    ------
    ConfigError
        For lists of another length, values that are none, and a category that is to be monotone: that would end the
        process.
    NotFoundError
        For an unknown column, with the near names.
    """
    result = dict(parameters)
    for key, default in PER_COLUMN.items():
        if key in parameters:
            fill = parameters.get("max_bin", 255) if default is None else default
            result[key] = _listed(key, parameters[key], names, fill, where)
    if "monotone_constraints" in result:
        _check_monotone(result["monotone_constraints"], names, categories, where)
    if "interaction_constraints" in parameters:
        result["interaction_constraints"] = _sets(
            parameters["interaction_constraints"], names, where, group_unlisted=group_unlisted
        )
    return result


def _listed(key: str, setting: Any, names: Sequence[str], fill: Any, where: str) -> list[Any]:
    if isinstance(setting, dict):
        for name in setting:
            _position(name, names, key, where)
        return [setting.get(name, fill) for name in names]
    if not isinstance(setting, list) or len(setting) != len(names):
        got = f"{len(setting)} values" if isinstance(setting, list) else repr(setting)
        raise ConfigError(
            f"{where} {key}: expected a value for each of the {len(names)} columns, got {got}",
            hint=f"name the columns: {key} = {{ {names[0]} = {fill} }}",
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


def _sets(constraints: Any, names: Sequence[str], where: str, *, group_unlisted: bool) -> list[list[int]]:
    key = "interaction_constraints"
    if not isinstance(constraints, list) or not all(isinstance(s, list) and s for s in constraints):
        raise ConfigError(
            f"{where} {key} = {constraints!r}: expected a list of lists of columns",
            hint=f'{key} = [["{names[0]}", "{names[-1]}"]]',
        )
    sets = [sorted({_position(c, names, key, where) for c in columns}) for columns in constraints]
    unlisted = sorted(set(range(len(names))) - {i for s in sets for i in s})
    return [*sets, unlisted] if group_unlisted and unlisted else sets


def _position(column: Any, names: Sequence[str], key: str, where: str) -> int:
    if isinstance(column, int) and not isinstance(column, bool) and 0 <= column < len(names):
        return column
    if column not in names:
        raise NotFoundError(
            f"{where} {key}: no column {column!r} among the {len(names)} that are trained on",
            hint=near(str(column), names, kind="column"),
        )
    return names.index(column)
