"""Score submitted lists of items: the task recommend."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.core.errors import WorkbenchError
from workbench.metrics import Metric, Relevant
from workbench.rehearsal.host import HostedCompetition
from workbench.rehearsal.labels import list_length
from workbench.rehearsal.spec import EVENT_TYPE, USAGE
from workbench.rehearsal.submitted_file import RejectedError, Scores, align_to_solution, read_submitted

__all__ = ["grade_lists"]


def grade_lists(file: Path, solution: pl.DataFrame, hosted: HostedCompetition, metric: Metric) -> Scores:
    """Score a file of lists on the public and on the private users.

    The first k items of each row count, by the k of the metric; rows without a true item do not count. If each row is
    about one type of event, the score is the sum over types of the type's weight times the metric.

    Raises
    ------
    RejectedError
        When its columns or ids do not match the solution, or the metric is undefined for its lists.
    """
    target = hosted.target_columns[0]
    lists = read_submitted(file, [*hosted.id_columns, target], may_be_empty=target)
    submitted = align_to_solution(lists, solution, hosted.id_columns)
    rows = solution.with_columns(submitted=submitted[target].fill_null("")).filter(pl.col(target) != "")
    scores = [_score(rows.filter(pl.col(USAGE) == usage), hosted, metric) for usage in ("public", "private")]
    return Scores(*scores)


def _score(rows: pl.DataFrame, hosted: HostedCompetition, metric: Metric) -> float:
    """Return the score of rows with true items in the target's column and submitted items in `submitted`."""
    interactions, target = hosted.interactions, hosted.target_columns[0]
    if interactions is None or not interactions.predicts_each_type:
        return _list_metric(rows[target], rows["submitted"], metric)
    total = 0.0
    for event_type, weight in interactions.weights.items():
        typed_rows = rows.filter(pl.col(EVENT_TYPE) == event_type)
        if not typed_rows.height:
            raise RejectedError(f"no row of the type {event_type!r} has a true item")
        total += weight * _list_metric(typed_rows[target], typed_rows["submitted"], metric)
    return total


def _list_metric(true_lists: pl.Series, submitted_lists: pl.Series, metric: Metric) -> float:
    try:
        score = metric(*_item_codes(true_lists, submitted_lists, list_length(metric)))
    except WorkbenchError as exc:
        raise RejectedError(exc.message) from exc
    if not math.isfinite(score):
        raise RejectedError(f"{metric.name} gives {score} for these lists, expected a finite number")
    return score


def _item_codes(true_lists: pl.Series, submitted_lists: pl.Series, k: int) -> tuple[Relevant, npt.NDArray[np.int64]]:
    """Return the true items, and the submitted ones as an array (n_lists, k), as numbers.

    -1 is an item that is in no true list, which is wrong everywhere, or a missing one.
    """
    true_items, true_lengths = _items(true_lists)
    distinct_items = true_items.unique()
    code_of_item = pl.DataFrame({"item": distinct_items, "code": np.arange(len(distinct_items))})
    offsets = np.concatenate([[0], np.cumsum(true_lengths)])
    submitted_items, lengths = _items(submitted_lists, k)
    submitted_codes = np.full((len(submitted_lists), k), -1, np.int64)
    rows = np.repeat(np.arange(len(submitted_lists)), lengths)
    positions = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    submitted_codes[rows, positions] = _codes(submitted_items, code_of_item)
    return Relevant(_codes(true_items, code_of_item), offsets), submitted_codes


def _items(lists: pl.Series, k: int | None = None) -> tuple[pl.Series, npt.NDArray[np.int64]]:
    """Return the items of all lists, concatenated, and the length of each list; with k, only the first k of each."""
    items = lists.str.split(" ").list.eval(pl.element().filter(pl.element() != ""))
    items = items if k is None else items.list.head(k)
    return items.explode(keep_nulls=False, empty_as_null=False), items.list.len().cast(pl.Int64).to_numpy()


def _codes(items: pl.Series, code_of_item: pl.DataFrame) -> npt.NDArray[np.int64]:
    """Return the code of each item, -1 for one that `code_of_item` lacks."""
    with_codes = pl.DataFrame({"item": items}).join(code_of_item, on="item", how="left", maintain_order="left")
    return with_codes["code"].fill_null(-1).to_numpy()
