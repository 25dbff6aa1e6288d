"""The predictions that a notebook records: checks, and the file that keeps them until the run is finished."""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.core.cache import atomic
from workbench.core.errors import DataError, WorkbenchError
from workbench.data.competition import ROW
from workbench.models.fold_data import probabilities
from workbench.models.target import Target

if TYPE_CHECKING:
    from workbench.data.competition import Competition
    from workbench.models.folds import Folds

__all__ = ["RecordedPredictions", "checked_metrics", "checked_oof", "checked_test", "read_recorded", "write_recorded"]

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RecordedPredictions:
    """Predictions and metrics that a notebook recorded.

    Attributes
    ----------
    oof : float array (n_train, width)
        NaN in rows that no fold validates.
    test : float array (n_test, width)
    metrics : dict
        Name -> number.
    """

    oof: FloatArray
    test: FloatArray
    metrics: dict[str, float]


def checked_oof(values: Any, competition: Competition, target: Target, folds: Folds) -> FloatArray:
    """Return OOF predictions as (n_train, width), in the order of the train table.

    Parameters
    ----------
    values : array or frame
        (n_train,) or (n_train, width) in the table's order; a polars or pandas frame that also has the row key or the
        ids may have any order.

    Raises
    ------
    DataError
        When rows or columns are wrong, predictions of validated rows are missing, or they are not probabilities.
    """
    oof = _as_rows(values, target, "oof", range(target.n_rows), competition, "train")
    covered = folds.covered
    for fold in range(folds.n_folds):
        rows = folds.valid_rows(fold)
        n_missing = int((~np.isfinite(oof[rows]).all(axis=1)).sum())
        if n_missing:
            raise DataError(
                f"oof: {n_missing:,} of the {len(rows):,} rows that fold {fold} validates have no finite prediction",
                hint="nb.folds has the validated rows of each fold: predict all of them",
            )
    oof[~covered] = np.nan
    return _as_probabilities(oof, target, "oof", covered)


def checked_test(values: Any, competition: Competition, target: Target) -> FloatArray:
    """Return test predictions as (n_test, width), in the order of the test table; see `checked_oof`."""
    n_train, n_test = competition.n_train, competition.n_test
    test = _as_rows(values, target, "test", range(n_train, n_train + n_test), competition, "test")
    n_missing = int((~np.isfinite(test).all(axis=1)).sum())
    if n_missing:
        raise DataError(f"test: {n_missing:,} of {n_test:,} rows have no finite prediction")
    return _as_probabilities(test, target, "test", np.ones(n_test, np.bool_))


def _as_rows(values: Any, target: Target, name: str, rows: range, competition: Competition, table: str) -> FloatArray:
    """Return predictions as (n, width), in the order of the table "train" or "test".

    `name` is "oof" or "test", for errors; `rows` are the table's row keys.
    """
    frame = _as_frame(values)
    if frame is not None:
        ids = [c for c in competition.definition.id_columns if c in frame.columns]
        if ROW in frame.columns:
            frame = _by_key(frame, pl.DataFrame({ROW: rows}, schema={ROW: pl.UInt32}), [ROW], name, table)
        elif ids and len(ids) == len(competition.definition.id_columns):
            table_ids = competition.ids.test_frame() if table == "test" else competition.train_columns(*ids)
            frame = _by_key(frame, table_ids, ids, name, table)
        values = frame.to_numpy()
    try:
        predictions = np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as exc:
        raise DataError(f"{name}: expected numbers, got {type(values).__name__}: {exc}") from exc
    if predictions.ndim == 1:
        predictions = predictions[:, None]
    n_rows, width = len(rows), target.width
    if predictions.shape == (n_rows, 2) and width == 1 and target.columns[0].task == "binary":
        raise DataError(
            f"{name}: expected the probability of the second class, ({n_rows:,},), got ({n_rows:,}, 2)",
            hint="use predict_proba(…)[:, 1]",
        )
    if predictions.shape != (n_rows, width):
        shape_text = "a column for each of " + ", ".join(target.labels[:5]) if width > 1 else "one value each"
        raise DataError(
            f"{name}: expected the {n_rows:,} rows of the {table} table, {shape_text}: ({n_rows:,}, {width}), "
            f"got {predictions.shape}",
            hint=f"record one row for each {table} row, in the table's order, or a frame with the row key or the ids",
        )
    return predictions


def _as_frame(values: Any) -> pl.DataFrame | None:
    """Return a polars or pandas frame, or a series, as a polars frame; None for other values."""
    if isinstance(values, pl.DataFrame):
        return values
    if isinstance(values, pl.Series):
        return values.to_frame()
    if type(values).__module__.partition(".")[0] == "pandas" and hasattr(values, "columns"):
        return pl.DataFrame({str(c): values[c].to_numpy() for c in values.columns})
    return None


def _by_key(frame: pl.DataFrame, keys: pl.DataFrame, key_columns: list[str], name: str, table: str) -> pl.DataFrame:
    """Return the frame's columns other than the keys, with rows in the order of `keys`."""
    keyed = frame.with_columns(pl.col(n).cast(keys[n].dtype, strict=False) for n in key_columns)
    n_repeated = int(keyed.select(key_columns).is_duplicated().sum())
    if n_repeated:
        raise DataError(
            f"{name}: {n_repeated:,} rows have a repeated {' + '.join(key_columns)}; expected one row for each"
        )
    n_missing = keys.join(keyed, on=key_columns, how="anti").height
    n_unknown = keyed.join(keys, on=key_columns, how="anti").height
    if n_missing or n_unknown:
        raise DataError(
            f"{name}: {n_missing:,} of the {keys.height:,} rows of the {table} table are missing, and "
            f"{n_unknown:,} recorded rows are not in it",
            hint=f"rows are matched by {' + '.join(key_columns)}",
        )
    return keys.join(keyed, on=key_columns, how="left", maintain_order="left").drop(key_columns)


def _as_probabilities(predictions: FloatArray, target: Target, name: str, covered: npt.NDArray[np.bool_]) -> FloatArray:
    """Check the probabilities of the covered rows, and return all predictions with them normalized."""
    for column, column_slice in zip(target.columns, target.slices, strict=True):
        if column.task in ("binary", "multiclass"):
            try:
                predictions[covered, column_slice] = probabilities(
                    predictions[covered, column_slice], column.name, name
                )
            except WorkbenchError as exc:
                raise DataError(exc.message, hint=exc.hint) from exc
    return predictions


def write_recorded(path: Path, recorded: RecordedPredictions) -> None:
    """Write recorded predictions atomically."""
    metrics_json = np.frombuffer(json.dumps(recorded.metrics).encode(), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as temporary, temporary.open("wb") as file:
        np.savez(file, oof=recorded.oof, test=recorded.test, note=metrics_json)


def read_recorded(path: Path) -> RecordedPredictions | None:
    """Return recorded predictions; None where the file is missing or damaged."""
    try:
        with path.open("rb") as file, np.load(file) as arrays:
            return RecordedPredictions(arrays["oof"], arrays["test"], json.loads(arrays["note"].tobytes()))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None


def checked_metrics(metrics: Mapping[str, Any] | None) -> dict[str, float]:
    """Return a notebook's metrics as finite numbers.

    Raises
    ------
    DataError
        For a value that is not a finite number.
    """
    numbers = {}
    for name, value in (metrics or {}).items():
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            raise DataError(f"metrics: {name} = {value!r}: expected a number")
        numbers[str(name)] = number
    return numbers
