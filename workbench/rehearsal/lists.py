"""Grading of lists of items: the task recommend."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.core.errors import WorkbenchError
from workbench.metrics import Metric, Relevant
from workbench.rehearsal.host import Host
from workbench.rehearsal.labels import list_length
from workbench.rehearsal.received import RejectedError, Scores, aligned, read_sent
from workbench.rehearsal.spec import KIND, USAGE

__all__ = ["grade_lists"]


def grade_lists(file: Path, solution: pl.DataFrame, host: Host, metric: Metric) -> Scores:
    """Score a file of lists on the users of the public and of the private part.

    Of each line the first K items count, and lines without a true item don't. Where ids have a type, the score is the
    sum over types of the type's weight times the metric.

    Raises
    ------
    RejectedError
        When its columns or ids are not as the sample has them.
    """
    target = host.target[0]
    lines = aligned(read_sent(file, [*host.id, target], may_be_empty=target), solution, host.id)
    sent_and_true = solution.with_columns(sent=lines[target].fill_null("")).filter(pl.col(target) != "")
    scores = [_score(sent_and_true.filter(pl.col(USAGE) == usage), host, metric) for usage in ("public", "private")]
    return Scores(*scores)


def _score(lines: pl.DataFrame, host: Host, metric: Metric) -> float:
    log, target = host.interactions, host.target[0]
    if log is None or not log.by_kind:
        return _of_lists(lines[target], lines["sent"], metric)
    total = 0.0
    for kind, weight in log.weights.items():
        of_kind = lines.filter(pl.col(KIND) == kind)
        if not of_kind.height:
            raise RejectedError(f"no line of the type {kind!r} has a true item")
        total += weight * _of_lists(of_kind[target], of_kind["sent"], metric)
    return total


def _of_lists(truth: pl.Series, sent: pl.Series, metric: Metric) -> float:
    try:
        score = metric(*_coded(truth, sent, list_length(metric)))
    except WorkbenchError as exc:
        raise RejectedError(exc.message) from exc
    if not math.isfinite(score):
        raise RejectedError(f"{metric.name} gives {score} for these lists, expected a finite number")
    return score


def _coded(truth: pl.Series, sent: pl.Series, k: int) -> tuple[Relevant, npt.NDArray[np.int64]]:
    """Return true and sent lists as numbers; -1 for an item that is in no true list: it is wrong in any case."""
    wanted, sizes = _words(truth)
    items = wanted.unique()
    code_of_item = pl.DataFrame({"item": items, "code": np.arange(len(items))})
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    sent_items, lengths = _words(sent, k)
    result = np.full((len(sent), k), -1, np.int64)
    rows = np.repeat(np.arange(len(sent)), lengths)
    places = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    result[rows, places] = _codes(sent_items, code_of_item)
    return Relevant(_codes(wanted, code_of_item), offsets), result


def _words(lists: pl.Series, k: int | None = None) -> tuple[pl.Series, npt.NDArray[np.int64]]:
    """Return the words of all lists, one after the other, and how many there are in each; at most the first k."""
    words = lists.str.split(" ").list.eval(pl.element().filter(pl.element() != ""))
    words = words if k is None else words.list.head(k)
    return words.explode(keep_nulls=False, empty_as_null=False), words.list.len().cast(pl.Int64).to_numpy()


def _codes(words: pl.Series, code_of_item: pl.DataFrame) -> npt.NDArray[np.int64]:
    coded = pl.DataFrame({"item": words}).join(code_of_item, on="item", how="left", maintain_order="left")
    return coded["code"].fill_null(-1).to_numpy()
