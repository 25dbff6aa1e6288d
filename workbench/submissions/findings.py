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
    compared,
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
from workbench.submissions.log import SENT

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
    "unchecked",
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
    """Warn of earlier submissions with the same bytes or a better CV."""
    findings = []
    sent = [s for s in earlier if s.status in SENT]
    same_bytes = [s for s in sent if s.sha256 == sha256]
    if same_bytes:
        score = "" if same_bytes[0].public_score is None else f", public score {same_bytes[0].public_score:.5f}"
        findings.append(
            _warning("same_bytes", f"the same bytes were sent before: experiment {same_bytes[0].exp}{score}")
        )
    scored = [(s.cv_mean, s) for s in sent if s.cv_mean is not None and s.run_id != record.run_id]
    if scored and record.cv_mean is not None:
        sign = 1 if record.greater_is_better else -1
        best_cv, best = max(scored, key=lambda pair: sign * pair[0])
        if sign * best_cv > sign * record.cv_mean:
            findings.append(
                _warning(
                    "lower_cv",
                    f"CV {record.cv_mean:.5f} is worse than {best_cv:.5f} of experiment {best.exp}, sent before",
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
        "does not list it; if it did arrive, another one would count as well"
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
    return [_warning("newer_run", f"{text}; this is of run {record.run_id}") for text in texts]


def newer_run_findings(record: RunRecord, latest: RunRecord) -> list[SubmissionFinding]:
    """Warn that the experiment has a newer finished run."""
    if latest.run_id == record.run_id:
        return []
    cv = "" if latest.cv_mean is None else f", CV {latest.cv_mean:.5f}"
    return [_warning("run_again", f"it is of run {record.run_id}; the experiment has a newer run: {latest.run_id}{cv}")]


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


def kernel_findings(competition: Competition, kernel_file: Path, run_file: Path, newer: str) -> list[SubmissionFinding]:
    """Compare a kernel's output with the run's own file: the score is of the former, the CV of the latter.

    `newer` describes a later version of the kernel; "" if there is none.
    """
    findings = [_warning("older_version", f"it is not the newest version: {newer}")] if newer else []
    try:
        ids = competition.definition.id_columns
        largest, differing = compared(kernel_file, read_submission(run_file, ids), ids)
    except (DataError, OSError, pl.exceptions.PolarsError):
        return findings  # `file_findings` reports what is wrong with it
    if not differing:
        return findings
    text = f"{differing:,} of the kernel's predictions are not the run's own, by up to {largest:.2g} of their spread"
    return [*findings, _warning("differs", text)]


def platform_findings(
    facts: CompetitionFacts,
    limits: SubmissionLimits,
    *,
    is_kernel: bool = False,
    server: str | None = None,
    in_doubt: int = 0,
) -> list[SubmissionFinding]:
    """Check the platform's rules: closed, limit used up, notebooks only.

    Parameters
    ----------
    is_kernel : bool
        Whether a kernel's output is submitted.
    server : str, optional
        A file of the competition's evaluation server; `wb kernel` can't be used if there is one.
    in_doubt : int
        The number of submissions that the platform may have received without listing them: they may count towards the
        limit.
    """
    findings = []
    if facts.kind == "notebook" and not is_kernel:
        address = f": {facts.url}" if facts.url else ""
        page = f"on its page, where its evaluation server ({server}) calls them" if server else "on its page"
        commands = "" if server else "by `wb kernel push` and `wb kernel submit` or "
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
            f"{limits.remaining_today} left by the platform's count, and {in_doubt} that may have arrived may not be "
            "in it yet: the limit may be used up"
        )
        findings.append(_warning("limit_in_doubt", text))
    return findings


# ----------------------------------------------------------------------------------------------------- the file itself


def file_findings(competition: Competition, path: Path) -> list[SubmissionFinding]:
    """Compare the file with the sample as downloaded, or with the test ids if there is no sample."""
    expected, prediction_columns = _expected_ids(competition)
    is_parquet = path.suffix == ".parquet"
    try:
        sent = read_parquet_as_text(path) if is_parquet else read_text_file(path)
    except (OSError, DataError, pl.exceptions.PolarsError) as exc:
        file_format, reason = "Parquet" if is_parquet else "CSV", (str(exc).splitlines() or [""])[0]
        return [_error("unreadable", f"{path} can't be read as {file_format}: {reason}")]
    findings = _column_findings(sent.columns, expected.columns, prediction_columns)
    if any(f.level == "error" for f in findings):
        return findings
    ids = [c for c in expected.columns if c not in prediction_columns]
    findings += _spelling_findings(sent, expected, ids, competition) or _id_findings(sent, expected, ids)
    target_by_column = match_targets(prediction_columns, competition.definition.targets) or {}
    for column in prediction_columns:
        findings += _value_findings(sent[column], competition, target_by_column.get(column))
    return findings


def count_rows(path: Path) -> int | None:
    """Return the number of rows below a file's header; None if it can't be read."""
    try:
        rows = scan_parquet(path) if path.suffix == ".parquet" else scan_csv(path, infer_schema=False)
        return int(rows.select(pl.len()).collect(engine="streaming").item())
    except (OSError, pl.exceptions.PolarsError):
        return None


def _expected_ids(competition: Competition) -> tuple[pl.DataFrame, list[str]]:
    """Return the sample (or the test ids) and the names of the columns that hold predictions."""
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


def _column_findings(sent: list[str], expected: list[str], prediction_columns: list[str]) -> list[SubmissionFinding]:
    wanted = expected + [c for c in prediction_columns if c not in expected]
    missing, extra = [c for c in wanted if c not in sent], [c for c in sent if c not in wanted]
    findings = [_error("columns", f"columns are missing: {', '.join(missing)}")] * bool(missing)
    findings += [_error("columns", f"columns that the sample does not have: {', '.join(extra)}")] * bool(extra)
    if not findings and sent != wanted:
        findings.append(
            _warning("column_order", f"the columns are in another order than the sample's: {', '.join(sent)}")
        )
    return findings


def _spelling_findings(
    sent: pl.DataFrame, expected: pl.DataFrame, ids: list[str], competition: Competition
) -> list[SubmissionFinding]:
    """Find ids that equal the sample's as numbers but not as text: 2025.1 where it has 2025.10."""
    sent_ids, expected_ids = (f.select(pl.col(c).cast(pl.String) for c in ids) for f in (sent, expected))
    missing = expected_ids.join(sent_ids, on=ids, how="anti", nulls_equal=True)
    extra = sent_ids.join(expected_ids, on=ids, how="anti", nulls_equal=True)
    # A NUL ends the added names, so that they differ from the file's.
    numbers = {f"{c}\0": pl.col(c).cast(pl.Float64, strict=False) for c in ids}
    respelled = missing.with_columns(**numbers).join(extra.with_columns(**numbers), on=list(numbers), suffix="\0sent")
    if not respelled.height:
        return []
    example = respelled.row(0, named=True)
    sent_spelling, sample_spelling = ("/".join(example[f"{c}{suffix}"] for c in ids) for suffix in ("\0sent", ""))
    example_text = f"for example {sent_spelling} where it has {sample_spelling}"
    text = f"{counted(respelled.height, 'id is', 'ids are')} spelled differently from the sample, {example_text}"
    tables = competition.manifest.tables.values()
    if any(t.keys is None for t in tables):
        slug = competition.slug
        text += f"; the tables were fetched by an earlier version: `wb fetch {slug} --force`, then run it again"
    return [_error("spelled_ids", text)]


def _id_findings(sent: pl.DataFrame, expected: pl.DataFrame, ids: list[str]) -> list[SubmissionFinding]:
    """Compare the ids with the sample's: their number, repeated, missing and unknown ones, their order."""
    findings = []
    if sent.height != expected.height:
        findings.append(_error("row_count", f"{counted(sent.height, 'row')}, expected {expected.height:,}"))
    sent_ids, expected_ids = (f.select(pl.col(c).cast(pl.String) for c in ids) for f in (sent, expected))
    repeated = sent_ids.filter(sent_ids.is_duplicated())
    if repeated.height:
        findings.append(
            _error(
                "repeated_ids",
                f"{counted(repeated.height, 'row repeats an id', 'rows repeat an id')}: {_some(repeated.unique())}",
            )
        )
    missing = expected_ids.join(sent_ids, on=ids, how="anti", nulls_equal=True)
    if missing.height:
        findings.append(
            _error("missing_ids", f"{counted(missing.height, 'id is', 'ids are')} missing: {_some(missing)}")
        )
    extra = sent_ids.join(expected_ids, on=ids, how="anti", nulls_equal=True)
    if extra.height:
        findings.append(
            _error("extra_ids", f"{counted(extra.height, 'id is', 'ids are')} not in the sample: {_some(extra)}")
        )
    if not findings and not sent_ids.equals(expected_ids):
        findings.append(_warning("row_order", "the rows are in another order than the sample's"))
    return findings


def _some(frame: pl.DataFrame) -> str:
    """Return the first rows of a frame of ids as text."""
    shown = ["/".join(map(str, row)) for row in frame.head(3).rows()]
    return ", ".join(shown) + (", …" if frame.height > 3 else "")


def _value_findings(text: pl.Series, competition: Competition, target: str | None) -> list[SubmissionFinding]:
    """Check a column of predictions, read as texts; `target` is the column of train that it predicts, if known."""
    name, findings = text.name, []
    is_lists = competition.definition.task == "recommend"
    if text.null_count() and not is_lists:
        findings.append(_error("nulls", f"{name}: {counted(text.null_count(), 'value is', 'values are')} empty"))
    constant = _warning("constant", f"{name}: every prediction is {text.drop_nulls().first()!r}")
    if text.drop_nulls().n_unique() == 1 and len(text) > 1:
        findings.append(constant)
    if is_lists:
        return findings + list_findings(text, competition)
    if competition.definition.task not in ("regression", "ranking") and competition.metric.prediction_type in (
        "label",
        "ranked",
    ):
        return findings + _label_findings(text, competition, target)
    numbers = text.cast(pl.Float64, strict=False)
    not_numbers = text.filter(numbers.is_null() & text.is_not_null())
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


def _label_findings(text: pl.Series, competition: Competition, target: str | None) -> list[SubmissionFinding]:
    """Find labels that train does not have; a ranked column has several in a row, separated by spaces."""
    name = text.name
    if target is None:
        return []
    column = next(c for c in read_target(competition).columns if c.name == target)
    classes = class_texts(competition, name, column)
    foreign = foreign_labels(competition, name, classes)
    foreign_text = f"{name}: the sample has {_quoted(foreign)}, which are not classes of train ({_quoted(classes)})"
    findings = [_warning("foreign_labels", foreign_text)] * bool(foreign)
    sent = text.drop_nulls()
    words = sent.str.split(" ").explode() if competition.metric.prediction_type == "ranked" else sent
    unknown = words.filter(~words.is_in(pl.Series(classes).implode()))
    if not len(unknown):
        return findings
    class_index = match_label(unknown[0], classes)
    if class_index is not None:
        example = f"for example {unknown[0]!r} in place of {classes[class_index]!r}"
        return [
            _error(
                "labels",
                f"{name}: {counted(len(unknown), 'label is', 'labels are')} not spelled as the sample spells them, "
                f"{example}",
            )
        ]
    return [
        _error(
            "labels",
            f"{name}: {counted(len(unknown), 'label is', 'labels are')} not in train, for example {unknown[0]!r}",
        )
    ]


def _quoted(texts: list[str]) -> str:
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
    if form.by_class:
        return []  # each class has a column of its own
    findings = []
    for column in target.columns:
        labels = class_labels(competition, column.name, sorted(column.classes or ()))
        predicted_class = details.get("positive", {}).get(column.name, labels[-1])
        expected_class = class_labels(competition, column.name, column.classes or ())[-1]
        if predicted_class != expected_class:
            name = sample_column(competition, column.name)
            text = (
                f"{name} is of {expected_class!r}, but the run predicts {predicted_class!r}: run the experiment again"
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


def unchecked(exc: WorkbenchError) -> SubmissionFinding:
    """Return the finding that a check could not be carried out."""
    return _error("unchecked", exc.message)
