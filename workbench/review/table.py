"""The experiment table: runs with their changes and submissions, as text, CSV and JSON."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from workbench.core.errors import ConfigError, did_you_mean
from workbench.core.html_page import as_table
from workbench.core.intervals import family_p, half_width, standard_error, window_values
from workbench.core.printable import one_line
from workbench.core.text_table import cell_width, fit_text
from workbench.experiments.current_runs import CurrentRun, outdated_text
from workbench.ledger import RunRecord, SubmissionRecord

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "Change",
    "Row",
    "RunTable",
    "as_csv",
    "as_dicts",
    "as_text",
    "change_against",
    "cv_interval",
    "from_elsewhere",
    "scores_text",
    "select",
    "summarise",
]

LEVEL = 0.05
"""The family-wise error rate: the probability that of changes without effect any is marked as beyond noise."""

TUNED = "tuned on these folds"
"""The record's `optimistic` text if only a parameter search has used the folds."""

BIASED_MARK = "^"
"""Marks optimistic scores, and changes that compare an optimistic score."""


@dataclass(frozen=True)
class Change:
    """The change of the CV against the base; positive is better, whatever the metric's direction.

    Attributes
    ----------
    mean : float
    low, high : float, or None
        The 95 % interval of this change alone; None for a single pair of scores.
    p : float, or None
        The p-value, adjusted for all changes that are compared on the same folds; None for a single change.
    compared : int
        The number of these changes.
    """

    mean: float
    low: float | None
    high: float | None
    p: float | None = None
    n_compared: int = 1

    @property
    def clear(self) -> bool:
        """Whether the change is beyond noise, allowing for all compared changes; its own interval excludes 0, too."""
        return self.clear_alone and (self.p is None or self.p <= LEVEL)

    @property
    def clear_alone(self) -> bool:
        """Whether the interval excludes 0, which it often does for some of dozens of changes without effect."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


class Family:
    """The changes that are compared on the same folds by the same metric, to correct for multiple comparisons.

    It contains one change for each definition of every experiment whose base has a finished run; repeated runs of a
    definition count once. Filters of the table do not affect it.

    Parameters
    ----------
    size_ratio : float, optional
        Validation rows over train rows, averaged over the folds; see `workbench.core.intervals`.
    """

    def __init__(self, size_ratio: float | None = None) -> None:
        self.size_ratio = size_ratio
        self._pairs: dict[tuple[int, str], tuple[RunRecord, RunRecord]] = {}

    def add(self, run: RunRecord, base: RunRecord) -> None:
        """Add a run and its base; it replaces an earlier run of the same definition."""
        if run.cv_windows:
            self.size_ratio = 0.0
        if len(_differences(run, base) or ()) > 1:
            self._pairs[run.exp, run.key] = run, base

    def __len__(self) -> int:
        """Return the number of changes."""
        return len(self._pairs)

    @cached_property
    def _p_values(self) -> dict[tuple[int, str], float]:
        differences = [_differences(run, base) or () for run, base in self._pairs.values()]
        return dict(zip(self._pairs, family_p(differences, self.size_ratio), strict=True))

    def change(self, run: RunRecord, base: RunRecord) -> Change | None:
        """Return a run's change against its base, with its p-value in the family."""
        change, definition_key = change_against(run, base, self.size_ratio), (run.exp, run.key)
        if change is None or definition_key not in self._pairs:
            return change
        return replace(change, p=self._p_values[definition_key], n_compared=len(self))


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes
    ----------
    run : RunRecord
    base : RunRecord, or None
        The run that it is compared with.
    submissions : tuple of SubmissionRecord
    latest : bool
        Whether the run is its experiment's current one.
    outdated : tuple of str
        The parts of the definition that have changed since; see `workbench.experiments.current_runs.CurrentRun`.
    family : Family
        The changes that are compared with this one.
    """

    run: RunRecord
    base: RunRecord | None
    submissions: tuple[SubmissionRecord, ...]
    latest: bool
    outdated: tuple[str, ...] = ()
    family: Family = field(default_factory=Family, compare=False, repr=False)

    @property
    def change(self) -> Change | None:
        """The change against the base; computed when used, as long tables are rarely shown in full."""
        return None if self.base is None else self.family.change(self.run, self.base)

    @property
    def is_biased(self) -> bool:
        """Whether the change is biased, as the run or its base was selected on the same folds.

        A change is not biased if both runs have tuned parameters and differ only in features: both are then equally
        optimistic.
        """
        optimistic = (self.run.optimistic, None if self.base is None else self.base.optimistic)
        return any(optimistic) and not (optimistic == (TUNED, TUNED) and all(map(_is_feature_change, self.run.changes)))

    @property
    def beyond_noise(self) -> bool | None:
        """Whether the change is beyond noise; None if that is unknown, as for a biased change."""
        change = self.change
        return None if change is None or change.low is None or self.is_biased else change.clear

    @property
    def public_score(self) -> float | None:
        """The public score of the last submission that has one."""
        return next((s.public_score for s in reversed(self.submissions) if s.public_score is not None), None)

    @property
    def private_score(self) -> float | None:
        """The private score of the last submission that has one."""
        return next((s.private_score for s in reversed(self.submissions) if s.private_score is not None), None)


def _is_feature_change(change: str) -> bool:
    """Return whether an entry of `RunRecord.changes` is about columns, features or seeds, and not about a parameter."""
    is_column = change.startswith(("+", "-")) and change not in ("+tune", "-tune")
    return is_column or change.startswith(("features ", "seeds ", "refit "))


def change_against(run: RunRecord, base: RunRecord, size_ratio: float | None = None) -> Change | None:
    """Compare the fold scores of two runs, paired by fold.

    The scores are of predictions averaged over seeds, as in submissions, so that more seeds count as an improvement.
    The interval allows for train rows that folds share; see `workbench.core.intervals`.

    Parameters
    ----------
    size_ratio : float, optional
        Validation rows over train rows, averaged over the folds; None for folds that partition the rows.

    Returns
    -------
    Change, or None if the runs can't be compared: different folds, metric or sample, or not finished.
    """
    differences = _differences(run, base)
    if differences is None:
        return None
    mean = math.fsum(differences) / len(differences)
    if len(differences) < 2:
        return Change(mean, None, None)
    margin = half_width(differences, 0.0 if run.cv_windows else size_ratio)
    return Change(mean, mean - margin, mean + margin)


def _differences(run: RunRecord, base: RunRecord) -> list[float] | None:
    """Return the improvement of each fold's score; None if the runs can't be compared."""
    are_finished = run.status == base.status == "finished"
    are_alike = run.folds_hash == base.folds_hash and run.metric == base.metric and run.sample == base.sample
    are_alike = are_alike and run.greater_is_better == base.greater_is_better
    run_scores, base_scores = run.fold_scores, base.fold_scores
    if not (are_finished and are_alike) or len(run_scores) != len(base_scores) or not run_scores:
        return None
    sign = 1.0 if run.greater_is_better else -1.0
    differences = [sign * (a - b) for a, b in zip(run_scores, base_scores, strict=True)]
    if run.cv_windows != base.cv_windows:
        return None
    return window_values(differences, run.cv_windows) if run.cv_windows else differences


def cv_interval(run: RunRecord, size_ratio: float | None = None) -> tuple[float, float] | None:
    """Return the 95 % interval of a run's CV, computed as for a change; None for fewer than two folds."""
    if run.cv_mean is None or run.cv_std is None or len(run.fold_scores) < 2:
        return None
    margin = half_width(*_interval_arguments(run, size_ratio))
    return run.cv_mean - margin, run.cv_mean + margin


def _interval_arguments(run: RunRecord, size_ratio: float | None) -> tuple[Sequence[float], float | None]:
    """Return the scores and the ratio of validated to train rows, for the standard error of their mean."""
    windows = run.cv_windows
    return (window_values(run.fold_scores, windows), 0.0) if windows else (run.fold_scores, size_ratio)


ELSEWHERE = "elsewhere"


def scores_text(submission: SubmissionRecord) -> str:
    """Return a submission's scores as text, or the reason why there are none."""
    scores = (("public", submission.public_score), ("private", submission.private_score))
    text = ", ".join(f"{name} {score:.5f}" for name, score in scores if score is not None)
    if text or submission.status == "error":
        return text
    if submission.status == "unlisted":
        return "not listed, may have arrived"
    return "no score is shown" if submission.status == "complete" else "not scored yet"


def from_elsewhere(submission: SubmissionRecord, metric: str, *, greater_is_better: bool) -> Row:
    """Return the row of a submission without a run, made on the platform's page or by a teammate."""
    run = RunRecord(
        run_id=submission.submission_id,
        competition=submission.competition,
        exp=0,
        title=submission.message,
        kind=ELSEWHERE,
        base=None,
        status=ELSEWHERE,
        key="",
        metric=metric,
        greater_is_better=greater_is_better,
        cv_mean=submission.cv_mean,
        cv_std=None,
        cv_folds=None,
        oof_score=None,
        fold_scores=(),
        seed_scores=(),
        seeds=(),
        folds_hash="",
        n_features=None,
        seconds=None,
        peak_rss_mb=None,
        created_at=submission.created_at,
        finished_at=None,
        git_commit=None,
        sample=None,
        changes=(),
        error=submission.error,
        folder="",
    )
    return Row(run, None, (submission,), latest=True)


def summarise(
    runs: Sequence[RunRecord],
    submissions: Sequence[SubmissionRecord],
    current: Mapping[int, CurrentRun],
    size_ratios: Mapping[str, float] | None = None,
) -> list[Row]:
    """Return a row for each run, in the same order.

    A run is compared with its base's current run or, if that has other folds, with the base's newest run on the same
    folds; a subsample run with the newest subsample run of the same share.

    Parameters
    ----------
    runs : sequence of RunRecord
        The oldest first.
    current : mapping
        The current run of each experiment, see `workbench.experiments.current_runs`.
    size_ratios : mapping, optional
        Validated rows over train rows, by the folds' hash; see `workbench.models.folds.size_ratios`.
    """
    run_by_comparison_key: dict[tuple[int, float | None, str], RunRecord] = {}
    for run in runs:
        if run.status == "finished":
            run_by_comparison_key[run.exp, run.sample, run.folds_hash] = run
    for current_of_exp in current.values():
        record = current_of_exp.record
        if record.status == "finished":
            run_by_comparison_key[record.exp, record.sample, record.folds_hash] = record
    definition_by_run_id = {run.run_id: (run.exp, run.key) for run in runs}
    # By run id, and by (experiment, key) for all runs of a definition.
    submissions_by_key: dict[Any, list[SubmissionRecord]] = {}
    for submission in submissions:
        submissions_by_key.setdefault(submission.run_id, []).append(submission)
        submissions_by_key.setdefault(definition_by_run_id.get(submission.run_id), []).append(submission)
    rows = []
    families: dict[tuple[Any, ...], Family] = {}
    for run in runs:
        base = None if run.base is None else run_by_comparison_key.get((run.base, run.sample, run.folds_hash))
        current_of_exp = current[run.exp]
        is_latest = current_of_exp.record.run_id == run.run_id
        # A repeated run has the same predictions, so submissions of earlier runs of the definition are its own, too.
        run_submissions = submissions_by_key.get((run.exp, run.key) if is_latest else run.run_id, ())
        outdated = current_of_exp.outdated if is_latest else _other_folds(run, current_of_exp)
        comparison_key = (run.folds_hash, run.sample, run.metric, run.greater_is_better)
        family = families.setdefault(comparison_key, Family((size_ratios or {}).get(run.folds_hash)))
        if base is not None:
            family.add(run, base)
        rows.append(Row(run, base, tuple(run_submissions), is_latest, outdated, family))
    return rows


def _other_folds(run: RunRecord, current: CurrentRun) -> tuple[str, ...]:
    """Return "folds" if an earlier run's folds differ from the current ones."""
    if run.status != "finished" or run.sample is not None or current.record.sample is not None:
        return ()
    return ("folds",) if "folds" in current.outdated or run.folds_hash != current.record.folds_hash else ()


# ------------------------------------------------------------------------------------------------ select, sort, print

SORTS: dict[str, Callable[[Row], Any]] = {
    "exp": lambda r: (r.run.exp, r.run.created_at),
    "title": lambda r: r.run.title,
    "status": lambda r: r.run.status,
    "cv": lambda r: r.run.cv_mean,
    "std": lambda r: r.run.cv_std,
    "change": lambda r: getattr(r.change, "mean", None),
    "features": lambda r: r.run.n_features,
    "seconds": lambda r: r.run.seconds,
    "memory": lambda r: r.run.peak_rss_mb,
    "created": lambda r: r.run.created_at,
    "public": lambda r: r.public_score,
    "private": lambda r: r.private_score,
}


def select(rows: Sequence[Row], *, filters: Sequence[str] = (), sort: str = "exp") -> RunTable:
    """Filter and sort rows.

    Parameters
    ----------
    filters : sequence of str
        Texts that title, changes or status must contain, or comparisons such as "cv>0.78", "seconds<60".
    sort : str
        A column of `SORTS`, with "-" to reverse the order. Scores and changes are sorted best first, everything else
        ascending. Rows without a value come last.

    Raises
    ------
    ConfigError
        For an unknown column.
    """
    sort_column = sort.removeprefix("-")
    if sort_column not in SORTS:
        raise ConfigError(f"can't sort by {sort_column!r}", hint=did_you_mean(sort_column, SORTS, kind="column"))
    selected = [row for row in rows if all(_matches(row, f) for f in filters)]
    sort_value = SORTS[sort_column]
    with_value = [row for row in selected if sort_value(row) is not None]
    is_descending = (
        sort_column in ("cv", "public", "private") and bool(with_value) and with_value[0].run.greater_is_better
    )
    with_value.sort(key=sort_value, reverse=(is_descending or sort_column == "change") != sort.startswith("-"))
    return RunTable([*with_value, *(row for row in selected if sort_value(row) is None)])


def _matches(row: Row, filter_text: str) -> bool:
    """Return whether a row passes a filter: a comparison such as "cv>0.78", or a text to search for."""
    for operator, compare in (
        (">=", lambda a, b: a >= b),
        ("<=", lambda a, b: a <= b),
        (">", lambda a, b: a > b),
        ("<", lambda a, b: a < b),
        ("=", lambda a, b: a == b),
    ):
        name, matched, bound = filter_text.partition(operator)
        if matched:
            return _satisfies(row, name.strip(), bound.strip(), compare)
    searched_text = " ".join([row.run.title, row.run.status, *row.run.changes]).lower()
    return filter_text.lower() in searched_text


def _satisfies(row: Row, column: str, bound: str, compare: Callable[[Any, Any], bool]) -> bool:
    """Return whether a row's value in a column of `SORTS` compares as required with a bound, given as text."""
    if column not in SORTS:
        raise ConfigError(f"can't filter by {column!r}", hint=did_you_mean(column, SORTS, kind="column"))
    value = SORTS[column](row)
    value = value[0] if column == "exp" else value
    if value is None:
        return False
    if isinstance(value, datetime):
        return compare(value.isoformat(), bound)
    if isinstance(value, str):
        return compare(value, bound)
    try:
        return compare(value, float(bound))
    except ValueError as exc:
        raise ConfigError(f"can't compare {column} with {bound!r}: expected a number") from exc


def as_dicts(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return one JSON-ready object per run."""
    return [_as_dict(row) for row in rows]


def _as_dict(row: Row) -> dict[str, Any]:
    run, change = row.run, row.change
    interval = cv_interval(run, row.family.size_ratio)
    return {
        "exp": None if run.kind == ELSEWHERE else run.exp,
        "run_id": run.run_id,
        "title": run.title,
        "kind": run.kind,
        "status": run.status,
        "metric": run.metric,
        "greater_is_better": run.greater_is_better,
        "cv_mean": run.cv_mean,
        "cv_std": run.cv_std,
        "cv_folds": run.cv_folds,
        "n_features": run.n_features,
        "seconds": run.seconds,
        "peak_rss_mb": run.peak_rss_mb,
        "created_at": run.created_at.isoformat(),
        "git_commit": run.git_commit,
        "public_score": row.public_score,
        "private_score": row.private_score,
        "base": run.base,
        "changes": list(run.changes),
        "change": None if change is None else change.mean,
        "change_low": None if change is None else change.low,
        "change_high": None if change is None else change.high,
        "change_p": None if change is None else change.p,
        "compared": None if change is None else change.n_compared,
        "beyond_noise": row.beyond_noise,
        "fold_scores": [None if math.isnan(s) else s for s in run.fold_scores],
        "cv_standard_error": None
        if interval is None
        else standard_error(*_interval_arguments(run, row.family.size_ratio)),
        "cv_low": None if interval is None else interval[0],
        "cv_high": None if interval is None else interval[1],
        "oof_score": run.oof_score,
        "sample": run.sample,
        "submissions": len(row.submissions),
        "latest": row.latest,
        "outdated": list(row.outdated),
        "optimistic": run.optimistic,
        "error": run.error,
    }


def as_csv(rows: Sequence[Row]) -> str:
    """Return the table as CSV; lists are joined by "; "."""
    output = io.StringIO()
    dicts = as_dicts(rows)
    fields = list(dicts[0]) if dicts else ["exp", "run_id"]
    writer = csv.DictWriter(output, fields, lineterminator="\n")
    writer.writeheader()
    for entry in dicts:
        cells = {k: "; ".join(map(str, v)) if isinstance(v, list) else v for k, v in entry.items()}
        # A title with a line break could imitate a row.
        writer.writerow({k: one_line(v) if isinstance(v, str) else v for k, v in cells.items()})
    return output.getvalue()


COLUMNS = {
    "text": "run_id title kind status metric git_commit optimistic error",
    "whole": "exp cv_folds n_features base compared submissions",
    "number": "cv_mean cv_std seconds peak_rss_mb public_score private_score change change_low change_high change_p "
    "cv_standard_error cv_low cv_high oof_score sample",
    "yes or no": "greater_is_better beyond_noise latest",
    "time": "created_at",
    "texts": "changes outdated",
    "numbers": "fold_scores",
}
"""The entries of `as_dicts` by type."""


class RunTable(list[Row]):
    """The rows of the experiment table, printed as a table."""

    def __repr__(self) -> str:
        return as_text(self)

    def _repr_html_(self) -> str:
        cells = [_cells(row) for row in self]
        columns = list(_widths(cells, 10_000))
        return as_table([_HEAD[i] for i in columns], ([line[i] for i in columns] for line in cells))

    def frame(self) -> pl.DataFrame:
        """Return the entries of `as_dicts` as a frame; `created_at` is a time (UTC)."""
        import polars as pl

        type_by_kind: dict[str, pl.DataType | type[pl.DataType]] = {
            "text": pl.String,
            "whole": pl.Int64,
            "number": pl.Float64,
            "yes or no": pl.Boolean,
            "time": pl.Datetime("us", "UTC"),
            "texts": pl.List(pl.String),
            "numbers": pl.List(pl.Float64),
        }
        rows = [_as_dict(row) | {"created_at": row.run.created_at} for row in self]
        schema = {name: type_by_kind[kind] for kind, names in COLUMNS.items() for name in names.split()}
        return pl.DataFrame(rows, schema_overrides=schema) if rows else pl.DataFrame(schema=schema)


_HEAD = (
    "exp",
    "title",
    "changes",
    "CV",
    "fold SD",
    "change",
    "95 % interval",
    "feat",
    "time",
    "MB",
    "sent",
    "public",
    "private",
)
_MIN_TEXT_WIDTH = 24
_DROP_ORDER = (2, 9, 7, 4, 6, 8, 10)
"""Positions in `_HEAD` of the columns that are dropped in a narrow terminal, in this order."""

_RIGHT_ALIGNED = {0, 3, 4, 5, 7, 8, 9, 10, 11, 12}
"""Positions in `_HEAD` of the right-aligned columns."""


def as_text(rows: Sequence[Row], *, width: int = 160, paint: Callable[[str, str], str] = lambda text, _: text) -> str:
    """Return the table as aligned text.

    Parameters
    ----------
    width : int
        The terminal's width; titles and changes are shortened to fit.
    paint : callable
        Called with a text and its role ("better", "worse", "quiet", "head" or ""); returns the coloured text.
    """
    cells = [_cells(row) for row in rows]
    widths = _widths(cells, width)
    columns = list(widths)
    header = "  ".join(fit_text(_HEAD[i], widths[i], right=i in _RIGHT_ALIGNED) for i in columns).rstrip()
    lines = [paint(header, "head")]
    column_layouts = [(i, widths[i], i in _RIGHT_ALIGNED) for i in columns]
    for row, row_cells in zip(rows, cells, strict=True):
        padded_cells = [fit_text(row_cells[i], size, right=right) for i, size, right in column_layouts]
        lines.append(paint("  ".join(padded_cells).rstrip(), _role(row)))
    return "\n".join(lines)


def _widths(cells: Sequence[Sequence[str]], width: int) -> dict[int, int]:
    """Return the width of each shown column: titles and changes are shortened first, then columns are dropped."""
    columns = [i for i in range(len(_HEAD)) if i in (0, 1, 3) or any(c[i] for c in cells)]
    full_widths = {i: max(cell_width(c[i]) for c in [_HEAD, *cells]) for i in columns}
    droppable = [i for i in _DROP_ORDER if i in full_widths]
    while True:
        widths = dict(full_widths)
        spare_width = width - sum(widths.values()) - 2 * (len(widths) - 1)
        for i in (2, 1):
            if i in widths:
                shrunk_width = min(widths[i], max(_MIN_TEXT_WIDTH, widths[i] + spare_width))
                spare_width += widths[i] - shrunk_width
                widths[i] = shrunk_width
        if spare_width >= 0 or not droppable:
            return widths
        del full_widths[droppable.pop(0)]


def _role(row: Row) -> str:
    """Return the role of a row for `paint`."""
    if row.run.status != "finished" or row.run.sample is not None or row.outdated:
        return "quiet"
    change = row.change
    if change is None or not row.beyond_noise:
        return ""
    return "better" if change.mean > 0 else "worse"


def _cells(row: Row) -> tuple[str, ...]:
    """Return the texts of a row, in the order of `_HEAD`."""
    run, change = row.run, row.change
    title = run.title
    if run.sample is not None:
        title = f"[{run.sample:.3g} sample] {title}"
    if row.outdated:
        title = f"[{outdated_text(row.outdated)}] {title}"
    if run.status != "finished":
        title = f"[{run.status}] {title}"
    interval = "" if change is None or change.low is None else f"{change.low:+.5f} {change.high:+.5f}"
    optimistic_mark = BIASED_MARK if run.optimistic else ""
    symbol = BIASED_MARK if row.is_biased else "*" if row.beyond_noise else "~"
    mark = "" if change is None or change.low is None else f" {symbol}"
    return (
        "" if run.kind == ELSEWHERE else str(run.exp),
        one_line(title),
        one_line(", ".join(run.changes)),
        _number(run.cv_mean) + optimistic_mark,
        _number(run.cv_std),
        "" if change is None else f"{change.mean:+.5f}{mark}",
        interval,
        "" if run.n_features is None else str(run.n_features),
        _duration(run.seconds),
        "" if run.peak_rss_mb is None else f"{run.peak_rss_mb:.0f}",
        str(len(row.submissions) or ""),
        _number(row.public_score),
        _number(row.private_score),
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.5f}" if abs(value) < 1000 else f"{value:.6g}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
