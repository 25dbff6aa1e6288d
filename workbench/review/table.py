"""The experiment table: a pure summary of runs and submissions, and its text."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from workbench.core.errors import ConfigError, near
from workbench.core.html_page import as_table
from workbench.core.intervals import family_p, half_width, over_windows, standard_error
from workbench.core.printable import one_line
from workbench.core.text_table import cell_width, fitted
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
"""How often a family of changes without effect may have one that is marked as beyond noise."""

TUNED = "tuned on these folds"
"""What the record says of parameters that a search has found, and no more than that."""

CHOSEN = "^"
"""Marks a score that its run's own record calls optimistic, and a change of which one of the two is."""


@dataclass(frozen=True)
class Change:
    """The CV's change against the base: positive is better, whatever the metric's direction.

    `low` and `high` are the 95 % interval of this change alone. Where there is a single pair of scores there is none:
    both are None. `compared` is how many changes there are on the same folds, and `p` the p-value among all of them;
    None where the change was taken alone.
    """

    mean: float
    low: float | None
    high: float | None
    p: float | None = None
    compared: int = 1

    @property
    def clear(self) -> bool:
        """Whether the change is beyond noise, as one of `compared`; its own interval does not hold 0 then either."""
        return self.clear_alone and (self.p is None or self.p <= LEVEL)

    @property
    def clear_alone(self) -> bool:
        """Whether the interval does not hold 0: among dozens of changes without effect that is no rare thing."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


class Family:
    """The changes that are compared on the same folds, by the same metric: as many chances to be lucky.

    That is every experiment with a base, by each of its definitions that was run to the end; the same definition run
    again counts once. What is shown of the table makes no difference.

    Parameters
    ----------
    ratio : float, optional
        Validated rows over train rows, the mean over the folds; see `workbench.core.intervals`.
    """

    def __init__(self, ratio: float | None = None) -> None:
        self.ratio = ratio
        self._pairs: dict[tuple[int, str], tuple[RunRecord, RunRecord]] = {}

    def add(self, run: RunRecord, base: RunRecord) -> None:
        """Take a run and its base; a later run of the same definition takes the earlier one's place."""
        if run.cv_windows:
            self.ratio = 0.0
        if len(_differences(run, base) or ()) > 1:
            self._pairs[run.exp, run.key] = run, base

    def __len__(self) -> int:
        """Return how many changes are compared."""
        return len(self._pairs)

    @cached_property
    def _p(self) -> dict[tuple[int, str], float]:
        differences = [_differences(run, base) or () for run, base in self._pairs.values()]
        return dict(zip(self._pairs, family_p(differences, self.ratio), strict=True))

    def change(self, run: RunRecord, base: RunRecord) -> Change | None:
        """Return a run's change against its base, as one of the family."""
        change, at = change_against(run, base, self.ratio), (run.exp, run.key)
        if change is None or at not in self._pairs:
            return change
        return replace(change, p=self._p[at], compared=len(self))


@dataclass(frozen=True)
class Row:
    """One line of the table: a run, the run that it is compared with, its submissions.

    `latest` says that the run stands for its experiment; `outdated` names what of the definition has changed since, see
    `workbench.experiments.current_runs.CurrentRun`. `family` is what the change is one of.
    """

    run: RunRecord
    base: RunRecord | None
    submissions: tuple[SubmissionRecord, ...]
    latest: bool
    outdated: tuple[str, ...] = ()
    family: Family = field(default_factory=Family, compare=False, repr=False)

    @property
    def change(self) -> Change | None:
        """The change against the base; computed when asked for, as a long table is seldom shown whole."""
        return None if self.base is None else self.family.change(self.run, self.base)

    @property
    def chosen(self) -> bool:
        """Whether the run, or its base, was chosen on these very folds: the change is too good, or too bad.

        Not where both have parameters of a search and differ in their features alone: what flatters one does the other.
        """
        of_both = (self.run.optimistic, None if self.base is None else self.base.optimistic)
        return any(of_both) and not (of_both == (TUNED, TUNED) and all(map(_is_of_features, self.run.changes)))

    @property
    def beyond_noise(self) -> bool | None:
        """Whether the change is; None where it can't be told, as of what was chosen on these very folds."""
        change = self.change
        return None if change is None or change.low is None or self.chosen else change.clear

    @property
    def public_score(self) -> float | None:
        """The public score of its last submission that has one."""
        return next((s.public_score for s in reversed(self.submissions) if s.public_score is not None), None)

    @property
    def private_score(self) -> float | None:
        """The private score of its last submission that has one."""
        return next((s.private_score for s in reversed(self.submissions) if s.private_score is not None), None)


def _is_of_features(change: str) -> bool:
    """Say whether what a run has changed is a column or a feature, or how many seeds there are, and not a parameter."""
    added = change.startswith(("+", "-")) and change not in ("+tune", "-tune")
    return added or change.startswith(("features ", "seeds ", "refit "))


def change_against(run: RunRecord, base: RunRecord, ratio: float | None = None) -> Change | None:
    """Compare two runs, paired over folds, by the scores of their predictions averaged over each one's seeds.

    Those are what CV and submission are made of: a run with more seeds is better by what averaging them gives. The
    interval allows for folds that share train rows, see `workbench.core.intervals`.

    Parameters
    ----------
    ratio : float, optional
        Validated rows over train rows, the mean over the folds; None for folds dealt from all rows.

    Returns
    -------
    Change, or None where the two can't be compared: other folds, another metric, a subsample run, not finished.
    """
    differences = _differences(run, base)
    if differences is None:
        return None
    mean = math.fsum(differences) / len(differences)
    if len(differences) < 2:
        return Change(mean, None, None)
    half = half_width(differences, 0.0 if run.cv_windows else ratio)
    return Change(mean, mean - half, mean + half)


def _differences(run: RunRecord, base: RunRecord) -> list[float] | None:
    """Return how much better each fold's score is; None where the runs can't be compared."""
    finished = run.status == base.status == "finished"
    same = run.folds_hash == base.folds_hash and run.metric == base.metric and run.sample == base.sample
    same = same and run.greater_is_better == base.greater_is_better
    ours, theirs = run.fold_scores, base.fold_scores
    if not (finished and same) or len(ours) != len(theirs) or not ours:
        return None
    sign = 1.0 if run.greater_is_better else -1.0
    differences = [sign * (a - b) for a, b in zip(ours, theirs, strict=True)]
    if run.cv_windows != base.cv_windows:
        return None
    return over_windows(differences, run.cv_windows) if run.cv_windows else differences


def cv_interval(run: RunRecord, ratio: float | None = None) -> tuple[float, float] | None:
    """Return the 95 % interval of a run's CV over its folds, as wide as that of a change; None for fewer than two."""
    if run.cv_mean is None or run.cv_std is None or len(run.fold_scores) < 2:
        return None
    half = half_width(*_independent(run, ratio))
    return run.cv_mean - half, run.cv_mean + half


def _independent(run: RunRecord, ratio: float | None) -> tuple[Sequence[float], float | None]:
    """Return what the mean's standard error is taken of, and the ratio that it allows for."""
    windows = run.cv_windows
    return (over_windows(run.fold_scores, windows), 0.0) if windows else (run.fold_scores, ratio)


ELSEWHERE = "elsewhere"


def scores_text(submission: SubmissionRecord) -> str:
    """Return a submission's scores in words, or why there are none: a platform may score and show nothing."""
    scores = (("public", submission.public_score), ("private", submission.private_score))
    shown = ", ".join(f"{name} {score:.5f}" for name, score in scores if score is not None)
    if shown or submission.status == "error":
        return shown
    if submission.status == "unlisted":
        return "not listed, may have arrived"
    return "no score is shown" if submission.status == "complete" else "not scored yet"


def from_elsewhere(submission: SubmissionRecord, metric: str, *, greater_is_better: bool) -> Row:
    """Return the line of a submission that no run here made: sent through the web page, or by a team mate."""
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
    ratios: Mapping[str, float] | None = None,
) -> list[Row]:
    """Summarise runs, in the order given (oldest first).

    A run is compared with the run that stands for its base or, where that is of other folds, with the newest run of its
    base on the same folds; a subsample run with the newest subsample run of the same share.

    Parameters
    ----------
    current : mapping
        The run that stands for each experiment, as `workbench.experiments.current_runs` tells.
    ratios : mapping, optional
        By the key of the folds, their validated rows over their train rows; see `workbench.models.folds.size_ratios`.
    """
    comparable: dict[tuple[int, float | None, str], RunRecord] = {}
    for run in runs:
        if run.status == "finished":
            comparable[run.exp, run.sample, run.folds_hash] = run
    for standing in current.values():
        record = standing.record
        if record.status == "finished":
            comparable[record.exp, record.sample, record.folds_hash] = record
    keys = {run.run_id: (run.exp, run.key) for run in runs}
    sent: dict[Any, list[SubmissionRecord]] = {}
    for submission in submissions:
        sent.setdefault(submission.run_id, []).append(submission)
        sent.setdefault(keys.get(submission.run_id), []).append(submission)
    rows = []
    families: dict[tuple[Any, ...], Family] = {}
    for run in runs:
        base = None if run.base is None else comparable.get((run.base, run.sample, run.folds_hash))
        standing = current[run.exp]
        latest = standing.record.run_id == run.run_id
        # A run that was repeated unchanged has the same predictions: what was sent of the first is sent of it.
        of_run = sent.get((run.exp, run.key) if latest else run.run_id, ())
        outdated = standing.outdated if latest else _other_folds(run, standing)
        of = (run.folds_hash, run.sample, run.metric, run.greater_is_better)
        family = families.setdefault(of, Family((ratios or {}).get(run.folds_hash)))
        if base is not None:
            family.add(run, base)
        rows.append(Row(run, base, tuple(of_run), latest, outdated, family))
    return rows


def _other_folds(run: RunRecord, standing: CurrentRun) -> tuple[str, ...]:
    """Name the folds where an earlier run's are not the present ones, as far as the run that stands tells."""
    if run.status != "finished" or run.sample is not None or standing.record.sample is not None:
        return ()
    return ("folds",) if "folds" in standing.outdated or run.folds_hash != standing.record.folds_hash else ()


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
    """Filter and sort.

    Parameters
    ----------
    filters : sequence of str
        Each a word that title, changes or status must contain, or a comparison such as "cv>0.78", "seconds<60".
    sort : str
        A column of `SORTS`; "-" before it turns the order round. What has no value comes last. "cv" is best first.

    Raises
    ------
    ConfigError
        For an unknown column.
    """
    name = sort.removeprefix("-")
    if name not in SORTS:
        raise ConfigError(f"can't sort by {name!r}", hint=near(name, SORTS, kind="column"))
    kept = [row for row in rows if all(_matches(row, f) for f in filters)]
    value = SORTS[name]
    have = [row for row in kept if value(row) is not None]
    # Scores are sorted best first; everything else ascending.
    best_first = name in ("cv", "public", "private") and bool(have) and have[0].run.greater_is_better
    have.sort(key=value, reverse=(best_first or name == "change") != sort.startswith("-"))
    return RunTable([*have, *(row for row in kept if value(row) is None)])


def _matches(row: Row, text: str) -> bool:
    for operator, holds in (
        (">=", lambda a, b: a >= b),
        ("<=", lambda a, b: a <= b),
        (">", lambda a, b: a > b),
        ("<", lambda a, b: a < b),
        ("=", lambda a, b: a == b),
    ):
        name, found, limit = text.partition(operator)
        if found:
            return _compares(row, name.strip(), limit.strip(), holds)
    words = " ".join([row.run.title, row.run.status, *row.run.changes]).lower()
    return text.lower() in words


def _compares(row: Row, name: str, limit: str, holds: Callable[[Any, Any], bool]) -> bool:
    if name not in SORTS:
        raise ConfigError(f"can't filter by {name!r}", hint=near(name, SORTS, kind="column"))
    value = SORTS[name](row)
    value = value[0] if name == "exp" else value
    if value is None:
        return False
    if isinstance(value, datetime):
        return holds(value.isoformat(), limit)
    if isinstance(value, str):
        return holds(value, limit)
    try:
        return holds(value, float(limit))
    except ValueError as exc:
        raise ConfigError(f"can't compare {name} with {limit!r}: expected a number") from exc


def as_dicts(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return one JSON-ready object per run."""
    return [_as_dict(row) for row in rows]


def _as_dict(row: Row) -> dict[str, Any]:
    run, change = row.run, row.change
    interval = cv_interval(run, row.family.ratio)
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
        "compared": None if change is None else change.compared,
        "beyond_noise": row.beyond_noise,
        "fold_scores": [None if math.isnan(s) else s for s in run.fold_scores],
        "cv_standard_error": None if interval is None else standard_error(*_independent(run, row.family.ratio)),
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
    out = io.StringIO()
    dicts = as_dicts(rows)
    fields = list(dicts[0]) if dicts else ["exp", "run_id"]
    writer = csv.DictWriter(out, fields, lineterminator="\n")
    writer.writeheader()
    for d in dicts:
        cells = {k: "; ".join(map(str, v)) if isinstance(v, list) else v for k, v in d.items()}
        # One line each: a title with a line break could look like a line of ours.
        writer.writerow({k: one_line(v) if isinstance(v, str) else v for k, v in cells.items()})
    return out.getvalue()


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
"""What the values of `as_dicts` are, by name."""


class RunTable(list[Row]):
    """The lines of the experiment table."""

    def __repr__(self) -> str:
        return as_text(self)

    def _repr_html_(self) -> str:
        cells = [_cells(row) for row in self]
        columns = list(_widths(cells, 10_000))
        return as_table([_HEAD[i] for i in columns], ([line[i] for i in columns] for line in cells))

    def frame(self) -> pl.DataFrame:
        """Return a row for each run as `as_dicts` does; numbers are numbers, and `created_at` is a time (UTC)."""
        import polars as pl

        kinds: dict[str, pl.DataType | type[pl.DataType]] = {
            "text": pl.String,
            "whole": pl.Int64,
            "number": pl.Float64,
            "yes or no": pl.Boolean,
            "time": pl.Datetime("us", "UTC"),
            "texts": pl.List(pl.String),
            "numbers": pl.List(pl.Float64),
        }
        rows = [_as_dict(row) | {"created_at": row.run.created_at} for row in self]
        schema = {name: kinds[kind] for kind, names in COLUMNS.items() for name in names.split()}
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
_LEAST_TEXT = 24
_FIRST_TO_GO = (2, 9, 7, 4, 6, 8, 10)
_RIGHT = {0, 3, 4, 5, 7, 8, 9, 10, 11, 12}


def as_text(rows: Sequence[Row], *, width: int = 160, paint: Callable[[str, str], str] = lambda text, _: text) -> str:
    """Return the table as aligned text.

    Parameters
    ----------
    width : int
        The terminal's width: the titles and the changes give way to it.
    paint : callable
        Takes a text and what it is ("better", "worse", "quiet", "head") and returns it coloured.
    """
    cells = [_cells(row) for row in rows]
    widths = _widths(cells, width)
    columns = list(widths)
    head = "  ".join(fitted(_HEAD[i], widths[i], right=i in _RIGHT) for i in columns).rstrip()
    lines = [paint(head, "head")]
    shown = [(i, widths[i], i in _RIGHT) for i in columns]
    for row, line in zip(rows, cells, strict=True):
        parts = [fitted(line[i], size, right=right) for i, size, right in shown]
        lines.append(paint("  ".join(parts).rstrip(), _tone(row)))
    return "\n".join(lines)


def _widths(cells: Sequence[Sequence[str]], width: int) -> dict[int, int]:
    """Return the width of each column that is shown: titles and changes give way first, then whole columns do."""
    columns = [i for i in range(len(_HEAD)) if i in (0, 1, 3) or any(c[i] for c in cells)]
    natural = {i: max(cell_width(c[i]) for c in [_HEAD, *cells]) for i in columns}
    leaving = [i for i in _FIRST_TO_GO if i in natural]
    while True:
        widths = dict(natural)
        spare = width - sum(widths.values()) - 2 * (len(widths) - 1)
        for i in (2, 1):
            if i in widths:
                shrunk = min(widths[i], max(_LEAST_TEXT, widths[i] + spare))
                spare += widths[i] - shrunk
                widths[i] = shrunk
        if spare >= 0 or not leaving:
            return widths
        del natural[leaving.pop(0)]


def _tone(row: Row) -> str:
    if row.run.status != "finished" or row.run.sample is not None or row.outdated:
        return "quiet"
    change = row.change
    if change is None or not row.beyond_noise:
        return ""
    return "better" if change.mean > 0 else "worse"


def _cells(row: Row) -> tuple[str, ...]:
    run, change = row.run, row.change
    title = run.title
    if run.sample is not None:
        title = f"[{run.sample:.3g} sample] {title}"
    if row.outdated:
        title = f"[{outdated_text(row.outdated)}] {title}"
    if run.status != "finished":
        title = f"[{run.status}] {title}"
    interval = "" if change is None or change.low is None else f"{change.low:+.5f} {change.high:+.5f}"
    chosen = CHOSEN if run.optimistic else ""
    of_change = CHOSEN if row.chosen else "*" if row.beyond_noise else "~"
    mark = "" if change is None or change.low is None else f" {of_change}"
    return (
        "" if run.kind == ELSEWHERE else str(run.exp),
        one_line(title),
        one_line(", ".join(run.changes)),
        _number(run.cv_mean) + chosen,
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
