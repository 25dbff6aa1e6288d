"""The experiment table: a pure summary of runs and submissions, and its text."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from workbench.current_runs import CurrentRun, outdated_text
from workbench.errors import ConfigError, near
from workbench.ledger import RunRecord, SubmissionRecord
from workbench.printable import one_line

__all__ = [
    "Change",
    "Row",
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

# Student's t, 97.5 % quantile for 1 to 30 degrees of freedom, then its limit with the first term of its expansion.
_T975: tuple[float, ...] = (
    12.706,
    4.303,
    3.182,
    2.776,
    2.571,
    2.447,
    2.365,
    2.306,
    2.262,
    2.228,
    2.201,
    2.179,
    2.160,
    2.145,
    2.131,
)
_T975 += (2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042)


@dataclass(frozen=True)
class Change:
    """The CV's change against the base: positive is better, whatever the metric's direction.

    `low` and `high` are the 95 % interval; `clear` says that it does not hold 0. Where there is a single pair of
    scores there is no interval: both are None.
    """

    mean: float
    low: float | None
    high: float | None

    @property
    def clear(self) -> bool:
        """Whether the change is beyond noise."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


@dataclass(frozen=True)
class Row:
    """One line of the table: a run, the run that it is compared with, its submissions.

    `latest` says that the run stands for its experiment; `outdated` names what of the definition has changed since, see
    `workbench.current_runs.CurrentRun`.
    """

    run: RunRecord
    base: RunRecord | None
    submissions: tuple[SubmissionRecord, ...]
    latest: bool
    outdated: tuple[str, ...] = ()

    @property
    def change(self) -> Change | None:
        """The change against the base; computed when asked for, as a long table is seldom shown whole."""
        return None if self.base is None else change_against(self.run, self.base)

    @property
    def public_score(self) -> float | None:
        """The public score of its last submission that has one."""
        return next((s.public_score for s in reversed(self.submissions) if s.public_score is not None), None)

    @property
    def private_score(self) -> float | None:
        """The private score of its last submission that has one."""
        return next((s.private_score for s in reversed(self.submissions) if s.private_score is not None), None)


def _t975(degrees: int) -> float:
    return _T975[degrees - 1] if degrees <= len(_T975) else 1.95996 + 2.3723 / degrees


def change_against(run: RunRecord, base: RunRecord) -> Change | None:
    """Compare two runs, paired over folds and seeds.

    Within a fold, the difference is averaged over the seeds that both runs have (over each run's own where they share
    none); the folds' differences are then paired. Their variance is multiplied by ``1/k + 1/(k - 1)`` instead of
    ``1/k``, because the folds' train sets overlap and the plain t interval is too narrow (Nadeau and Bengio 2003,
    the corrected resampled t test, with n2/n1 = 1/(k - 1)).

    Returns
    -------
    Change, or None where the two can't be compared: other folds, another metric, a quick try, not finished.
    """
    finished = run.status == base.status == "finished"
    same = run.folds_hash == base.folds_hash and run.metric == base.metric and run.sample == base.sample
    same = same and run.greater_is_better == base.greater_is_better
    if not (finished and same):
        return None
    sign = 1.0 if run.greater_is_better else -1.0
    ours, theirs = _paired(run, base)
    if len(ours) != len(theirs) or not ours:
        return None
    differences = [sign * (a - b) for a, b in zip(ours, theirs, strict=True)]
    k = len(differences)
    mean = sum(differences) / k
    if k < 2:
        return Change(mean, None, None)
    half = _half_width([d - mean for d in differences])
    return Change(mean, mean - half, mean + half)


def cv_interval(run: RunRecord) -> tuple[float, float] | None:
    """Return the 95 % interval of a run's CV over its folds, as wide as that of a change; None for fewer than two."""
    k = len(run.fold_scores)
    if run.cv_mean is None or run.cv_std is None or k < 2:
        return None
    mean = math.fsum(run.fold_scores) / k
    half = _half_width([score - mean for score in run.fold_scores])
    return run.cv_mean - half, run.cv_mean + half


def _half_width(deviations: Sequence[float]) -> float:
    """Return half of the corrected 95 % interval of a mean over folds, from what the folds differ from it."""
    k = len(deviations)
    variance = sum([d**2 for d in deviations]) / (k - 1)
    return _t975(k - 1) * math.sqrt(variance * (1 / k + 1 / (k - 1)))


def _paired(run: RunRecord, base: RunRecord) -> tuple[Sequence[float], Sequence[float]]:
    shared = [s for s in run.seeds if s in base.seeds]
    if not shared or not run.seed_scores or not base.seed_scores or run.seeds == base.seeds:
        return run.fold_scores, base.fold_scores
    return _seed_means(run, shared), _seed_means(base, shared)


def _seed_means(run: RunRecord, seeds: Sequence[int]) -> list[float]:
    rows = [run.seed_scores[run.seeds.index(s)] for s in seeds]
    return [math.fsum(column) / len(rows) for column in zip(*rows, strict=True)]


ELSEWHERE = "elsewhere"


def scores_text(submission: SubmissionRecord) -> str:
    """Return a submission's scores in words, or why there are none: a platform may score and show nothing."""
    scores = (("public", submission.public_score), ("private", submission.private_score))
    shown = ", ".join(f"{name} {score:.5f}" for name, score in scores if score is not None)
    if shown or submission.status == "error":
        return shown
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
    runs: Sequence[RunRecord], submissions: Sequence[SubmissionRecord], current: Mapping[int, CurrentRun]
) -> list[Row]:
    """Summarise runs, in the order given (oldest first).

    A run is compared with the run that stands for its base or, where that is of other folds, with the newest run of its
    base on the same folds; a quick try with the newest quick try of the same share.

    Parameters
    ----------
    current : mapping
        The run that stands for each experiment, as `workbench.current_runs` tells.
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
    for run in runs:
        base = None if run.base is None else comparable.get((run.base, run.sample, run.folds_hash))
        standing = current[run.exp]
        latest = standing.record.run_id == run.run_id
        # A run that was repeated unchanged has the same predictions: what was sent of the first is sent of it.
        of_run = sent.get((run.exp, run.key) if latest else run.run_id, ())
        outdated = standing.outdated if latest else _other_folds(run, standing)
        rows.append(Row(run, base, tuple(of_run), latest, outdated))
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


def select(rows: Sequence[Row], *, filters: Sequence[str] = (), sort: str = "exp") -> list[Row]:
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
        raise ConfigError(f"can't sort by {name!r}", hint=near(name, SORTS, what="column"))
    kept = [row for row in rows if all(_matches(row, f) for f in filters)]
    value = SORTS[name]
    have = [row for row in kept if value(row) is not None]
    # Scores are sorted best first; everything else ascending.
    best_first = name in ("cv", "public", "private") and bool(have) and have[0].run.greater_is_better
    have.sort(key=value, reverse=(best_first or name == "change") != sort.startswith("-"))
    return have + [row for row in kept if value(row) is None]


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
        raise ConfigError(f"can't filter by {name!r}", hint=near(name, SORTS, what="column"))
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
        "beyond_noise": None if change is None or change.low is None else change.clear,
        "fold_scores": [None if math.isnan(s) else s for s in run.fold_scores],
        "oof_score": run.oof_score,
        "sample": run.sample,
        "submissions": len(row.submissions),
        "latest": row.latest,
        "outdated": list(row.outdated),
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
        writer.writerow({k: "; ".join(map(str, v)) if isinstance(v, list) else v for k, v in d.items()})
    return out.getvalue()


_HEAD = (
    "exp",
    "title",
    "changes",
    "CV",
    "±",
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
    head = "  ".join(_fit(_HEAD[i], widths[i], i in _RIGHT) for i in columns).rstrip()
    lines = [paint(head, "head")]
    shown = [(i, widths[i], i in _RIGHT) for i in columns]
    for row, line in zip(rows, cells, strict=True):
        parts = [_fit(line[i], size, right) for i, size, right in shown]
        lines.append(paint("  ".join(parts).rstrip(), _tone(row)))
    return "\n".join(lines)


def _widths(cells: Sequence[Sequence[str]], width: int) -> dict[int, int]:
    """Return the width of each column that is shown: titles and changes give way first, then whole columns do."""
    columns = [i for i in range(len(_HEAD)) if i in (0, 1, 3) or any(c[i] for c in cells)]
    natural = {i: max([len(_HEAD[i]), *(len(c[i]) for c in cells)]) for i in columns}
    leaving = [i for i in _FIRST_TO_GO if i in natural]
    while True:
        widths = dict(natural)
        spare = width - sum(widths.values()) - 2 * (len(widths) - 1)
        for i in (2, 1):
            if i in widths and spare < 0:
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
    if change is None or not change.clear:
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
    mark = "" if change is None or change.low is None else (" *" if change.clear else " ~")
    return (
        "" if run.kind == ELSEWHERE else str(run.exp),
        one_line(title),
        one_line(", ".join(run.changes)),
        _number(run.cv_mean),
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


def _fit(text: str, width: int, right: bool) -> str:
    if len(text) > width:
        return text[: width - 1] + "…"
    return text.rjust(width) if right else text.ljust(width)
