"""The predictions that a notebook records: checked like those of any model, and saved until the run is finished."""

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

__all__ = ["Recorded", "checked_metrics", "checked_oof", "checked_test", "read_recorded", "write_recorded"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Recorded:
    """Predictions and metrics that a notebook recorded.

    Attributes
    ----------
    oof : float array (n_train, width)
        NaN in rows that no fold validates.
    test : float array (n_test, width)
    metrics : dict
        Name -> number.
    """

    oof: Floats
    test: Floats
    metrics: dict[str, float]


def checked_oof(values: Any, competition: Competition, target: Target, folds: Folds) -> Floats:
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
    oof = _aligned(values, target, "oof", range(target.n_rows), competition, "train")
    covered = folds.covered
    for fold in range(folds.n_folds):
        rows = folds.valid_rows(fold)
        missing = int((~np.isfinite(oof[rows]).all(axis=1)).sum())
        if missing:
            raise DataError(
                f"oof: {missing:,} of the {len(rows):,} rows that fold {fold} validates have no finite prediction",
                hint="nb.folds gives the rows of each fold; predict those that it validates",
            )
    oof[~covered] = np.nan
    return _as_probabilities(oof, target, "oof", covered)


def checked_test(values: Any, competition: Competition, target: Target) -> Floats:
    """Return test predictions as (n_test, width), in the order of the test table; see `checked_oof`."""
    n_train, n_test = competition.n_train, competition.n_test
    test = _aligned(values, target, "test", range(n_train, n_train + n_test), competition, "test")
    missing = int((~np.isfinite(test).all(axis=1)).sum())
    if missing:
        raise DataError(f"test: {missing:,} of {n_test:,} rows have no finite prediction")
    return _as_probabilities(test, target, "test", np.ones(n_test, np.bool_))


def _aligned(values: Any, target: Target, name: str, rows: range, competition: Competition, side: str) -> Floats:
    """Return the predictions in the order of their rows, (n, width)."""
    frame = _as_frame(values)
    if frame is not None:
        ids = [c for c in competition.definition.id_columns if c in frame.columns]
        if ROW in frame.columns:
            frame = _by_key(frame, pl.DataFrame({ROW: rows}, schema={ROW: pl.UInt32}), [ROW], name, side)
        elif ids and len(ids) == len(competition.definition.id_columns):
            table_ids = competition.ids.test_frame() if side == "test" else competition.train_columns(*ids)
            frame = _by_key(frame, table_ids, ids, name, side)
        values = frame.to_numpy()
    try:
        predictions = np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as exc:
        raise DataError(f"{name}: expected numbers, got {type(values).__name__}: {exc}") from exc
    if predictions.ndim == 1:
        predictions = predictions[:, None]
    n, width = len(rows), target.width
    if predictions.shape == (n, 2) and width == 1 and target.columns[0].task == "binary":
        raise DataError(
            f"{name}: expected the probability of the second class, ({n:,},), got ({n:,}, 2)",
            hint="of predict_proba take [:, 1]",
        )
    if predictions.shape != (n, width):
        of = "a column for each of " + ", ".join(target.labels[:5]) if width > 1 else "one value each"
        raise DataError(
            f"{name}: expected the {n:,} rows of the {side} table, {of}: ({n:,}, {width}), got {predictions.shape}",
            hint=f"one line for each {side} row, in the order of the table, or a frame with its row key or ids",
        )
    return predictions


def _as_frame(values: Any) -> pl.DataFrame | None:
    if isinstance(values, pl.DataFrame):
        return values
    if isinstance(values, pl.Series):
        return values.to_frame()
    if type(values).__module__.partition(".")[0] == "pandas" and hasattr(values, "columns"):
        return pl.DataFrame({str(c): values[c].to_numpy() for c in values.columns})
    return None


def _by_key(frame: pl.DataFrame, keys: pl.DataFrame, names: list[str], name: str, side: str) -> pl.DataFrame:
    """Return the frame's other columns in the order of the keys."""
    keyed = frame.with_columns(pl.col(n).cast(keys[n].dtype, strict=False) for n in names)
    repeated = int(keyed.select(names).is_duplicated().sum())
    if repeated:
        raise DataError(f"{name}: {repeated:,} rows share their {' + '.join(names)}; expected one row for each")
    missing = keys.join(keyed, on=names, how="anti").height
    unknown = keyed.join(keys, on=names, how="anti").height
    if missing or unknown:
        raise DataError(
            f"{name}: {missing:,} of the {keys.height:,} rows of the {side} table are missing, and {unknown:,} of "
            "those given are not among them",
            hint=f"these are the rows of {side}, by {' + '.join(names)}",
        )
    return keys.join(keyed, on=names, how="left", maintain_order="left").drop(names)


def _as_probabilities(predictions: Floats, target: Target, name: str, covered: npt.NDArray[np.bool_]) -> Floats:
    for column, where in zip(target.columns, target.slices, strict=True):
        if column.task in ("binary", "multiclass"):
            try:
                predictions[covered, where] = probabilities(predictions[covered, where], column.name, name)
            except WorkbenchError as exc:
                raise DataError(exc.message, hint=exc.hint) from exc
    return predictions


def write_recorded(path: Path, recorded: Recorded) -> None:
    """Write recorded predictions atomically."""
    note = np.frombuffer(json.dumps(recorded.metrics).encode(), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as temporary, temporary.open("wb") as file:
        np.savez(file, oof=recorded.oof, test=recorded.test, note=note)


def read_recorded(path: Path) -> Recorded | None:
    """Return recorded predictions; None where there are none."""
    try:
        with path.open("rb") as file, np.load(file) as arrays:
            return Recorded(arrays["oof"], arrays["test"], json.loads(arrays["note"].tobytes()))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None


def checked_metrics(metrics: Mapping[str, Any] | None) -> dict[str, float]:
    """Return a notebook's metrics with finite numbers.

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
