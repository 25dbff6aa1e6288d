"""Row weights: computed from the columns of train, and checked for values that can't be trained or scored with."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from workbench.core.errors import DataError

if TYPE_CHECKING:
    from workbench.core.row_expressions import RowExpression
    from workbench.data.competition import Competition
    from workbench.models.folds import Folds
    from workbench.models.target import Target

__all__ = ["check_fold_weights", "train_weights"]

Floats = npt.NDArray[np.float64]


def train_weights(competition: Competition, weight: RowExpression | None) -> Floats | None:
    """Return the weight of each train row, (n_train,); None where there is no expression.

    Raises
    ------
    DataError
        For weights that are missing, below 0 or infinite, with the first such row; or if all are 0.
    """
    if weight is None:
        return None
    columns = competition.train_columns(*weight.columns, key="weight")
    weights = columns.select(weight.value).to_series().fill_null(float("nan")).to_numpy()
    table = competition.definition.tables.train
    for is_invalid, problem in (
        (np.isnan(weights), "not a number"),
        (np.isinf(weights), "infinite"),
        (weights < 0, "below 0"),
    ):
        if is_invalid.any():
            row = int(is_invalid.argmax())
            inputs = ", ".join(f"{name} = {value!r}" for name, value in columns.row(row, named=True).items())
            raise DataError(
                f"weight {weight.text!r} of table {table!r} is {problem} in {int(is_invalid.sum()):,} of "
                f"{len(weights):,} rows, the first is row {row:,} ({inputs})",
                hint=_HINTS[problem],
            )
    if not weights.any():
        raise DataError(
            f"weight {weight.text!r} of table {table!r} is 0 in all {len(weights):,} rows", hint="leave weight out"
        )
    return weights


_HINTS = {
    "not a number": "replace missing values: coalesce(column, 1); or remove those rows from train",
    "infinite": "limit it: min(1 / column, 100)",
    "below 0": "a weight is at least 0: abs(column), or max(column, 0)",
}


def check_fold_weights(target: Target, folds: Folds) -> None:
    """Reject folds whose train or validation rows all have the weight 0.

    Raises
    ------
    DataError
        With the number of the fold.
    """
    sides: list[tuple[Floats | None, Callable[[int], npt.NDArray[np.int64]], str]] = [
        (target.weight, folds.train_rows, "trains on"),
        (target.scoring_weight, folds.valid_rows, "validates"),
    ]
    for weights, rows_of_fold, verb in sides:
        if weights is None or weights.all():
            continue
        for fold in range(folds.n_folds):
            rows = rows_of_fold(fold)
            if len(rows) and not weights[rows].any():
                raise DataError(
                    f"fold {fold}: all {len(rows):,} rows that it {verb} have a weight of 0",
                    hint="fewer folds, another scheme under [cv], or weights above 0",
                )
