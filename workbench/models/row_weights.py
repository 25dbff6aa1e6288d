"""Weights of rows: computed from train's columns, and refused where nothing can be trained or scored with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from workbench.core.errors import DataError

if TYPE_CHECKING:
    from workbench.core.row_expressions import RowExpression
    from workbench.data.competition import Competition
    from workbench.models.folds import Folds
    from workbench.models.target import Target

__all__ = ["check_fold_weights", "weights_of"]

Floats = npt.NDArray[np.float64]


def weights_of(competition: Competition, weight: RowExpression | None) -> Floats | None:
    """Return the weight of each train row, (n_train,); None where there is no expression.

    Raises
    ------
    DataError
        For weights that are missing, below 0 or infinite, with the first row that has one; or where all are 0.
    """
    if weight is None:
        return None
    columns = competition.train_columns(*weight.columns, key="weight")
    values = columns.select(weight.value).to_series()
    array = values.fill_null(float("nan")).to_numpy()
    table = competition.definition.tables.train
    for wrong, problem in (
        (np.isnan(array), "no number"),
        (np.isinf(array), "infinite"),
        (array < 0, "below 0"),
    ):
        if wrong.any():
            row = int(wrong.argmax())
            read = ", ".join(f"{name} = {value!r}" for name, value in columns.row(row, named=True).items())
            raise DataError(
                f"weight {weight.text!r} of table {table!r} is {problem} in {int(wrong.sum()):,} of {len(array):,} "
                f"rows, the first is row {row:,} ({read})",
                hint=_HINTS[problem],
            )
    if not array.any():
        raise DataError(
            f"weight {weight.text!r} of table {table!r} is 0 in all {len(array):,} rows", hint="leave weight out"
        )
    return array


_HINTS = {
    "no number": "name another value where one is missing: coalesce(column, 1); or take those rows out of train",
    "infinite": "bound it: min(1 / column, 100)",
    "below 0": "a weight is a number from 0 up: abs(column), or max(column, 0)",
}


def check_fold_weights(target: Target, folds: Folds) -> None:
    """Refuse folds that train on, or validate, rows that all weigh nothing.

    Raises
    ------
    DataError
        Names the fold.
    """
    scoring = target.scoring_weight
    sides: list[tuple[Floats | None, Any, str]] = [
        (target.weight, folds.train_rows, "trains on"),
        (scoring, folds.valid_rows, "validates"),
    ]
    for weight, rows_of, use in sides:
        # Without a 0 there is nothing to look for.
        if weight is None or weight.all():
            continue
        for fold in range(folds.n_folds):
            rows = rows_of(fold)
            if len(rows) and not weight[rows].any():
                raise DataError(
                    f"fold {fold}: all {len(rows):,} rows that it {use} have a weight of 0",
                    hint="fewer folds, another scheme under [cv], or weights above 0",
                )
