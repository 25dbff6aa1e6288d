"""Checks of a submission: every blocking issue and warning, all at once."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from workbench.core.errors import ConfigError, DataError, WorkbenchError
from workbench.core.frames import scan_csv, scan_parquet
from workbench.core.wording import counted
from workbench.data.competition import Competition, as_written, class_labels, match_targets, sample_column
from workbench.data.ingest import read_as_downloaded, read_parquet_as_text, read_text_file, reading_options
from workbench.experiments.current_runs import CurrentRun, outdated_text
from workbench.ledger import RunRecord, SubmissionRecord
from workbench.metrics import match_label
from workbench.models.serving import (
    class_texts,
    compare_submissions,
    foreign_labels,
    read_submission,
    submission_form,
)
from workbench.models.target import read_target
from workbench.platforms.protocol import CompetitionFacts, SubmissionLimits, next_day_hint
from workbench.submissions.finding import SubmissionFinding
from workbench.submissions.finding import error as _error
from workbench.submissions.finding import note as _note
from workbench.submissions.finding import warning as _warning
from workbench.submissions.list_findings import list_findings
from workbench.submissions.log import SENT_STATUSES

__all__ = [
    "POSSIBLY_SENT",
    "SubmissionFinding",
    "file_findings",
    "history_findings",
    "kernel_findings",
    "newer_run_findings",
    "optimistic_findings",
    "outdated_findings",
    "platform_findings",
    "positive_class_findings",
    "possibly_sent_findings",
    "run_findings",
    "unchecked_finding",
    "unfinished_run_findings",
]

POSSIBLY_SENT = "possibly_sent"
"""The code of the warning that an earlier submission may have arrived; it is confirmed only by `again`."""


def run_findings(record: RunRecord) -> list[SubmissionFinding]:
    """Find whether the run was trained on a subsample or is not finished."""
    findings = []
    if record.sample is not None:
        findings.append(
            _error("sampled", f"run {record.run_id} was a subsample run on {record.sample:.0%} of the rows")
        )
    if record.status != "finished":
        findings.append(
            _error("unfinished", f"run {record.run_id} is {record.status}: `wb run {record.exp}` finishes it")
        )
    return findings


def history_findings(record: RunRecord, sha256: str, earlier: list[SubmissionRecord]) -> list[SubmissionFinding]:
    """Warn of earlier submissions with the same bytes or a better CV; `sha256` is of the file to submit."""
    findings = []
    sent = [s for s in earlier if s.status in SENT_STATUSES]
    same_bytes = [s for s in sent if s.sha256 == sha256]
    if same_bytes:
        score_text = "" if same_bytes[0].public_score is None else f", public score {same_bytes[0].public_score:.5f}"
        findings.append(
            _warning("same_bytes", f"the same bytes were sent before: experiment {same_bytes[0].exp}{score_text}")
        )
    scored = [(s.cv_mean, s) for s in sent if s.cv_mean is not None and s.run_id != record.run_id]
    if scored and record.cv_mean is not None:
        sign = 1 if record.greater_is_better else -1
        best_cv, best_submission = max(scored, key=lambda pair: sign * pair[0])
        if sign * best_cv > sign * record.cv_mean:
            findings.append(
                _warning(
                    "lower_cv",
                    f"CV {record.cv_mean:.5f} is worse than {best_cv:.5f} of experiment {best_submission.exp}, "
                    "sent before",
                )
            )
    return findings


def possibly_sent_findings(file: str, sha256: str, earlier: list[SubmissionRecord]) -> list[SubmissionFinding]:
    """Warn that the same file may have been submitted already: it was sent, but the platform does not list it."""
    unlisted = [s for s in earlier if s.status == "unlisted" and (s.file == file or s.sha256 == sha256)]
    if not unlisted:
        return []
    newest = unlisted[-1]
    text = (
        f"it may have been sent already, at {newest.sent_at or newest.created_at:%Y-%m-%d %H:%M} UTC: the platform "
        "does not list it; if it did arrive, another submission would count as well"
    )
    return [_warning(POSSIBLY_SENT, text)]


def unfinished_run_findings(record: RunRecord, runs: list[RunRecord], folders: list[str]) -> list[SubmissionFinding]:
    """Warn of newer runs of the experiment that are not finished or have no record.

    Parameters
    ----------
    record : RunRecord
        The run to submit.
    runs : list of RunRecord
        All of the competition.
    folders : list of str
        The names of the experiment's run folders.
    """
    text_by_status = {"running": "is still running", "interrupted": "was interrupted", "failed": "failed"}
    newer = [
        r
        for r in runs
        if r.exp == record.exp
        and r.sample is None
        and r.status in text_by_status
        and (r.created_at, r.run_id) > (record.created_at, record.run_id)
    ]
    texts = [f"run {r.run_id} of the experiment is newer and {text_by_status[r.status]}" for r in newer]
    recorded_ids = {r.run_id for r in runs}
    texts += [
        f"{name} is newer and has no record: it may be incomplete or still being copied"
        for name in folders
        if name not in recorded_ids and name > record.run_id
    ]
    return [_warning("newer_run", f"{text}; this file is of run {record.run_id}") for text in texts]


def newer_run_findings(record: RunRecord, latest: RunRecord) -> list[SubmissionFinding]:
    """Warn that the experiment has a newer finished run."""
    if latest.run_id == record.run_id:
        return []
    cv = "" if latest.cv_mean is None else f", CV {latest.cv_mean:.5f}"
    return [
        _warning(
            "run_again", f"this file is of run {record.run_id}; the experiment has a newer run: {latest.run_id}{cv}"
        )
    ]


def optimistic_findings(record: RunRecord) -> list[SubmissionFinding]:
    """Note that the CV, which the score will be compared with, is likely to be optimistic."""
    if not record.optimistic:
        return []
    return [_note("optimistic", f"its CV is optimistic: {record.optimistic}")]


def outdated_findings(current: CurrentRun) -> list[SubmissionFinding]:
    """Warn that the experiment's definition has changed since the run."""
    if not current.outdated:
        return []
    text = (
        f"run {current.record.run_id} is of an earlier definition ({outdated_text(current.outdated)}): "
        f"`wb run {current.record.exp}` runs the present one"
    )
    return [_warning("outdated", text)]


def kernel_findings(
    competition: Competition, kernel_file: Path, run_file: Path, newer_version: str
) -> list[SubmissionFinding]:
    """Compare a kernel's output with the run's own file: the score is of the former, the CV of the latter.

    `newer_version` describes a later version of the kernel; "" if there is none.
    """
    findings = (
        [_warning("older_version", f"this is not the kernel's newest version: {newer_version}")]
        if newer_version
        else []
    )
    try:
        id_columns = competition.definition.id_columns
        largest_difference, n_differing = compare_submissions(
            kernel_file, read_submission(run_file, id_columns), id_columns
        )
    except (DataError, OSError, pl.exceptions.PolarsError):
        return findings  # `file_findings` reports why the kernel's file can't be read
    if not n_differing:
        return findings
    text = (
        f"{n_differing:,} of the kernel's predictions differ from the run's own, by up to {largest_difference:.2g} of "
        "their spread"
    )
    return [*findings, _warning("differs", text)]


def platform_findings(
    facts: CompetitionFacts,
    limits: SubmissionLimits,
    *,
    is_kernel: bool = False,
    server_file: str | None = None,
    in_doubt: int = 0,
) -> list[SubmissionFinding]:
    """Check the platform's rules: closed, limit used up, notebooks only.

    Parameters
    ----------
    is_kernel : bool
        Whether a kernel's output is submitted.
    server_file : str, optional
        A file of the competition's evaluation server; `wb kernel` can't be used if there is one.
    in_doubt : int
        The number of submissions that the platform may have received without listing them: they may count towards the
        limit.
    """
    findings = []
    if facts.kind == "notebook" and not is_kernel:
        address = f": {facts.url}" if facts.url else ""
        page = f"on its page, where its evaluation server ({server_file}) calls them" if server_file else "on its page"
        commands = "" if server_file else "by `wb kernel push` and `wb kernel submit` or "
        text = f"the competition takes notebooks only, {commands}{page}{address}"
        findings.append(_error("notebook_only", text))
    if not facts.accepts_submissions:
        since = f" since {facts.deadline:%Y-%m-%d %H:%M} UTC" if facts.deadline else ""
        findings.append(_error("closed", f"the competition takes no submissions{since}"))
    elif facts.deadline and facts.deadline < datetime.now(UTC):
        findings.append(
            _warning("late", f"the deadline was {facts.deadline:%Y-%m-%d %H:%M} UTC: this is a late submission")
        )
    if limits.limited_by_total and not limits.remaining_today:
        text = "the submissions of your team for the whole competition are used up: another day brings no more"
        findings.append(_error("total_limit", text, hint="`wb submissions` lists what was sent, to choose from"))
    elif limits.remaining_today is not None and limits.remaining_today <= 0:
        number = "" if limits.per_day is None else f"{limits.per_day} "
        text = f"today's {number}submissions are used up (days are UTC days)"
        findings.append(_error("daily_limit", text, hint=next_day_hint(datetime.now(UTC))))
    elif limits.remaining_today is not None and in_doubt >= limits.remaining_today:
        text = (
            f"the platform counts {limits.remaining_today} remaining today, but may not have counted {in_doubt} that "
            "may have arrived: the limit may be used up"
        )
        findings.append(_warning("limit_in_doubt", text))
    return findings


# ----------------------------------------------------------------------------------------------------- the file itself


def file_findings(competition: Competition, path: Path) -> list[SubmissionFinding]:
    """Compare the file with the sample as downloaded, or with the test ids if there is no sample."""
    sample, prediction_columns = _sample_frame(competition)
    is_parquet = path.suffix == ".parquet"
    try:
        submission = read_parquet_as_text(path) if is_parquet else read_text_file(path)
    except (OSError, DataError, pl.exceptions.PolarsError) as exc:
        file_format, reason = "Parquet" if is_parquet else "CSV", (str(exc).splitlines() or [""])[0]
        return [_error("unreadable", f"{path} can't be read as {file_format}: {reason}")]
    findings = _column_findings(submission.columns, sample.columns, prediction_columns)
    if any(f.level == "error" for f in findings):
        return findings
    id_columns = [c for c in sample.columns if c not in prediction_columns]
    findings += _spelling_findings(submission, sample, id_columns, competition) or _id_findings(
        submission, sample, id_columns
    )
    target_by_column = match_targets(prediction_columns, competition.definition.targets) or {}
    for column in prediction_columns:
        findings += _value_findings(submission[column], competition, target_by_column.get(column))
    return findings


def count_rows(path: Path) -> int | None:
    """Return the number of rows below a file's header; None if it can't be read."""
    try:
        rows = scan_parquet(path) if path.suffix == ".parquet" else scan_csv(path, infer_schema=False)
        return int(rows.select(pl.len()).collect(engine="streaming").item())
    except (OSError, pl.exceptions.PolarsError):
        return None


def _sample_frame(competition: Competition) -> tuple[pl.DataFrame, list[str]]:
    """Return the sample submission (or the test ids if there is none) and the names of the prediction columns."""
    definition = competition.definition
    name = definition.tables.sample_submission
    spelling_by_column = competition.manifest.table(name or definition.tables.test, slug=definition.slug).spelled
    if name is None:
        return as_written(competition.ids.test_frame(), spelling_by_column), list(definition.targets)
    # The downloaded file, not the table read from it: the platform expects rows that reading may have dropped.
    options = reading_options(competition.folder, None)
    sample = read_as_downloaded(competition.folder / "data" / "raw", competition.manifest.tables[name], options)
    if sample is None:
        sample = as_written(competition.table(name).collect(), spelling_by_column)
    return sample, [c for c in sample.columns if c not in definition.id_columns]


def _column_findings(
    columns: list[str], sample_columns: list[str], prediction_columns: list[str]
) -> list[SubmissionFinding]:
    """Compare a submission's columns with the sample's; `sample_columns` are only the ids if there is no sample."""
    expected_columns = sample_columns + [c for c in prediction_columns if c not in sample_columns]
    missing_columns, extra_columns = (
        [c for c in expected_columns if c not in columns],
        [c for c in columns if c not in expected_columns],
    )
    findings = [_error("columns", f"columns are missing: {', '.join(missing_columns)}")] * bool(missing_columns)
    findings += [_error("columns", f"columns that the sample does not have: {', '.join(extra_columns)}")] * bool(
        extra_columns
    )
    if not findings and columns != expected_columns:
        findings.append(
            _warning("column_order", f"the columns are in another order than the sample's: {', '.join(columns)}")
        )
    return findings


def _spelling_findings(
    submission: pl.DataFrame, sample: pl.DataFrame, id_columns: list[str], competition: Competition
) -> list[SubmissionFinding]:
    """Find ids that equal the sample's as numbers but not as text: 2025.1 where the sample has 2025.10."""
    sent_ids, sample_ids = (f.select(pl.col(c).cast(pl.String) for c in id_columns) for f in (submission, sample))
    missing_ids = sample_ids.join(sent_ids, on=id_columns, how="anti", nulls_equal=True)
    extra_ids = sent_ids.join(sample_ids, on=id_columns, how="anti", nulls_equal=True)
    # A NUL ends the added names, so that they differ from the file's.
    id_numbers = {f"{c}\0": pl.col(c).cast(pl.Float64, strict=False) for c in id_columns}
    respelled_ids = missing_ids.with_columns(**id_numbers).join(
        extra_ids.with_columns(**id_numbers), on=list(id_numbers), suffix="\0sent"
    )
    if not respelled_ids.height:
        return []
    example = respelled_ids.row(0, named=True)
    sent_spelling, sample_spelling = (
        "/".join(example[f"{c}{suffix}"] for c in id_columns) for suffix in ("\0sent", "")
    )
    example_text = f"for example {sent_spelling} where the sample has {sample_spelling}"
    text = f"{counted(respelled_ids.height, 'id is', 'ids are')} spelled differently from the sample, {example_text}"
    tables = competition.manifest.tables.values()
    if any(t.keys is None for t in tables):
        slug = competition.slug
        text += f"; the tables were fetched by an earlier version: `wb fetch {slug} --force`, then run it again"
    return [_error("spelled_ids", text)]


def _id_findings(submission: pl.DataFrame, sample: pl.DataFrame, id_columns: list[str]) -> list[SubmissionFinding]:
    """Compare the ids with the sample's: their number, repeated, missing and unknown ones, their order."""
    findings = []
    if submission.height != sample.height:
        findings.append(_error("row_count", f"{counted(submission.height, 'row')}, expected {sample.height:,}"))
    sent_ids, sample_ids = (f.select(pl.col(c).cast(pl.String) for c in id_columns) for f in (submission, sample))
    repeated_ids = sent_ids.filter(sent_ids.is_duplicated())
    if repeated_ids.height:
        findings.append(
            _error(
                "repeated_ids",
                f"{counted(repeated_ids.height, 'row repeats an id', 'rows repeat an id')}: "
                f"{_first_ids(repeated_ids.unique())}",
            )
        )
    missing_ids = sample_ids.join(sent_ids, on=id_columns, how="anti", nulls_equal=True)
    if missing_ids.height:
        findings.append(
            _error(
                "missing_ids", f"{counted(missing_ids.height, 'id is', 'ids are')} missing: {_first_ids(missing_ids)}"
            )
        )
    extra_ids = sent_ids.join(sample_ids, on=id_columns, how="anti", nulls_equal=True)
    if extra_ids.height:
        findings.append(
            _error(
                "extra_ids",
                f"{counted(extra_ids.height, 'id is', 'ids are')} not in the sample: {_first_ids(extra_ids)}",
            )
        )
    if not findings and not sent_ids.equals(sample_ids):
        findings.append(_warning("row_order", "the rows are in another order than the sample's"))
    return findings


def _first_ids(frame: pl.DataFrame) -> str:
    """Return the first three rows of a frame of ids as text."""
    shown = ["/".join(map(str, row)) for row in frame.head(3).rows()]
    return ", ".join(shown) + (", …" if frame.height > 3 else "")


def _value_findings(predictions: pl.Series, competition: Competition, target: str | None) -> list[SubmissionFinding]:
    """Check a column of predictions, read as text; `target` is the predicted column of train, if known."""
    name, findings = predictions.name, []
    has_item_lists = competition.definition.task == "recommend"
    if predictions.null_count() and not has_item_lists:
        findings.append(_error("nulls", f"{name}: {counted(predictions.null_count(), 'value is', 'values are')} empty"))
    constant_finding = _warning("constant", f"{name}: every prediction is {predictions.drop_nulls().first()!r}")
    if predictions.drop_nulls().n_unique() == 1 and len(predictions) > 1:
        findings.append(constant_finding)
    if has_item_lists:
        return findings + list_findings(predictions, competition)
    if competition.definition.task not in ("regression", "ranking") and competition.metric.prediction_type in (
        "label",
        "ranked",
    ):
        return findings + _label_findings(predictions, competition, target)
    numbers = predictions.cast(pl.Float64, strict=False)
    not_numbers = predictions.filter(numbers.is_null() & predictions.is_not_null())
    if len(not_numbers):
        example = f"for example {not_numbers[0]!r}"
        findings.append(
            _error(
                "type",
                f"{name}: {counted(len(not_numbers), 'value is not a number', 'values are not numbers')}, {example}",
            )
        )
    n_not_finite = int((numbers.is_infinite() | numbers.is_nan()).sum() or 0)
    if n_not_finite:
        findings.append(
            _error("infinite", f"{name}: {counted(n_not_finite, 'value is', 'values are')} infinite or NaN")
        )
    return findings + _range_findings(numbers.filter(numbers.is_finite()), name, competition, target)


def _label_findings(predictions: pl.Series, competition: Competition, target: str | None) -> list[SubmissionFinding]:
    """Find labels that train does not have; for ranked predictions a cell holds several, separated by spaces."""
    name = predictions.name
    if target is None:
        return []
    target_column = next(c for c in read_target(competition).columns if c.name == target)
    classes = class_texts(competition, name, target_column)
    foreign_classes = foreign_labels(competition, name, classes)
    foreign_text = (
        f"{name}: the sample has {_quoted(foreign_classes)}, which are not classes of train ({_quoted(classes)})"
    )
    findings = [_warning("foreign_labels", foreign_text)] * bool(foreign_classes)
    non_null = predictions.drop_nulls()
    labels = non_null.str.split(" ").explode() if competition.metric.prediction_type == "ranked" else non_null
    unknown_labels = labels.filter(~labels.is_in(pl.Series(classes).implode()))
    if not len(unknown_labels):
        return findings
    class_index = match_label(unknown_labels[0], classes)
    if class_index is not None:
        example = f"for example {unknown_labels[0]!r} in place of {classes[class_index]!r}"
        return [
            _error(
                "labels",
                f"{name}: {counted(len(unknown_labels), 'label is', 'labels are')} not spelled as the sample spells "
                f"them, {example}",
            )
        ]
    return [
        _error(
            "labels",
            f"{name}: {counted(len(unknown_labels), 'label is', 'labels are')} not in train, "
            f"for example {unknown_labels[0]!r}",
        )
    ]


def _quoted(texts: list[str]) -> str:
    """Return the first three texts, quoted."""
    return ", ".join(map(repr, texts[:3])) + (", …" if len(texts) > 3 else "")


def positive_class_findings(competition: Competition, details: Mapping[str, Any]) -> list[SubmissionFinding]:
    """Compare the class whose probability a run predicts with the one that the submission's column expects.

    Parameters
    ----------
    details : mapping
        The contents of `run.json`. Runs that do not name the class predict the greater of the two values.
    """
    if competition.definition.task != "binary" or competition.metric.prediction_type in ("label", "ranked"):
        return []
    target = read_target(competition)
    try:
        form = submission_form(competition, target)
    except ConfigError as exc:
        return [_error("positive", f"{exc.message}; {exc.hint}")]
    if form.has_column_per_class:
        return []  # each class has a column of its own
    findings = []
    for column in target.columns:
        labels = class_labels(competition, column.name, sorted(column.classes or ()))
        predicted_class = details.get("positive", {}).get(column.name, labels[-1])
        expected_class = class_labels(competition, column.name, column.classes or ())[-1]
        if predicted_class != expected_class:
            name = sample_column(competition, column.name)
            text = (
                f"{name} expects the probability of {expected_class!r}, but the run predicts that of "
                f"{predicted_class!r}: run the experiment again"
            )
            findings.append(_error("positive", text))
    return findings


def _range_findings(
    numbers: pl.Series, name: str, competition: Competition, target: str | None
) -> list[SubmissionFinding]:
    """Find implausible values: a probability above 1, an amount far outside the range of train."""
    if not len(numbers):
        return []
    low, high = float(numbers.min()), float(numbers.max())  # type: ignore[arg-type]
    task = competition.definition.task
    if task == "ranking":  # only the order counts
        return []
    if task != "regression":
        is_outside = competition.metric.prediction_type == "proba" and (low < 0 or high > 1)
        return [_warning("range", f"{name}: from {low:g} to {high:g}; expected probabilities from 0 to 1")] * is_outside
    if target is None:
        return []
    target_values = competition.train_columns(target)[target].cast(pl.Float64)
    smallest, largest = float(target_values.min()), float(target_values.max())  # type: ignore[arg-type]
    margin = largest - smallest
    if low < smallest - margin or high > largest + margin:
        text = f"{name}: from {low:g} to {high:g}; in train it goes from {smallest:g} to {largest:g}"
        return [_warning("range", text)]
    return []


def unchecked_finding(exc: WorkbenchError) -> SubmissionFinding:
    """Return the finding that a check could not be carried out."""
    return _error("unchecked", exc.message)
