"""Infer the definition of a competition from its tables and the platform's facts."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from workbench.core.errors import DataError
from workbench.data.competition import FileOptions, Manifest
from workbench.data.inference.answer import Answer, find_answer
from workbench.data.inference.baseline import Baseline, find_baseline
from workbench.data.inference.log import InferredLog, find_log
from workbench.data.inference.positive import PositiveGuess, find_positives
from workbench.data.inference.roles import find_roles
from workbench.data.inference.scheme import Scheme, find_scheme
from workbench.data.inference.tables import DataTable, UnclearTablesError, UndeterminedError
from workbench.data.inference.task import Task, find_task
from workbench.platforms.protocol import CompetitionFacts

__all__ = ["Inferred", "infer"]

NO_FILE_OPTIONS = FileOptions()


@dataclass(frozen=True)
class Inferred:
    """The values of a definition and of a first experiment, with the reasons for them.

    Attributes
    ----------
    train, test, sample : str
        Names of tables; `sample` is None where there is no sample submission.
    why_tables : dict
        The reasons for the tables, by role.
    read : dict
        By table, lines of TOML with the guessed encoding, separator and so on.
    types : dict
        By column, or ``table.column``, the guessed type and a note on it.
    large_integer_columns : tuple of str
        The columns of floats that were integers too large for 64 bits.
    """

    slug: str
    title: str
    platform: str
    train: str
    test: str
    sample: str | None
    why_tables: dict[str, str]
    answer: Answer
    task: Task
    scheme: Scheme
    greater_is_better: bool | None
    weight: str | None
    positives: tuple[PositiveGuess, ...]
    baseline: Baseline
    read: dict[str, list[str]]
    types: dict[str, tuple[str, str]]
    large_integer_columns: tuple[str, ...] = ()


def infer(
    manifest: Manifest, tables: Path, facts: CompetitionFacts, platform: str, *, stated: FileOptions = NO_FILE_OPTIONS
) -> Inferred | InferredLog:
    """Infer a definition: the role of each table, ids and targets, task, metric and folds.

    Parameters
    ----------
    manifest : Manifest
    tables : Path
        The folder of the Parquet files.
    facts : CompetitionFacts
        The platform's facts; they take precedence over the files.
    platform : str
    stated : FileOptions
        The settings of an existing competition.toml, which may name the tables.

    Raises
    ------
    DataError
        When a part can't be inferred; the message names the part, and the hint says what to write into the definition.
    """
    data_tables = [DataTable(info, tables) for info in manifest.tables.values() if info.rows]
    log = find_log(data_tables, facts, platform)
    if log is not None:
        log_tables = [t for t in data_tables if t.name in (log.train, log.test)]
        read = _read_lines(manifest, exclude=log.explode)
        return replace(
            log, read=read, types=_guessed_types(manifest, log_tables), large_integer_columns=_large_columns(log_tables)
        )
    try:
        roles = find_roles(manifest, tables, stated.tables)
        answer = find_answer(roles, facts.id_columns, facts.target_columns)
    except UnclearTablesError as exc:
        raise DataError(
            f"can't infer the definition of {facts.slug!r}: {exc.message}",
            hint="write the correct one of these settings, without any other, to "
            f"competitions/{facts.slug}/competition.toml, then `wb fetch {facts.slug}` again: {exc.hint}",
        ) from exc
    except UndeterminedError as exc:
        raise DataError(
            f"can't infer the definition of {facts.slug!r}: {exc.message}",
            hint=f"write competitions/{facts.slug}/competition.toml by hand (slug, task, id, target, metric, "
            f"[tables]), then `wb fetch {facts.slug}` again",
        ) from exc
    task = find_task(roles, answer, facts)
    scheme = find_scheme(roles, answer, task.task)
    return Inferred(
        slug=facts.slug,
        title=facts.title,
        platform=platform,
        train=roles.train.name,
        test=roles.test.name,
        sample=roles.sample.name if roles.sample else None,
        why_tables=roles.why,
        answer=answer,
        task=task,
        scheme=scheme,
        greater_is_better=facts.greater_is_better if ".py:" in task.metric else None,
        weight=facts.weight_column,
        positives=find_positives(roles, answer, task, facts),
        baseline=find_baseline(roles.train.n_rows, by_time=scheme.scheme == "time"),
        read=_read_lines(manifest),
        types=_guessed_types(manifest, [roles.train, roles.test]),
        large_integer_columns=_large_columns([roles.train, roles.test]),
    )


def _read_lines(manifest: Manifest, exclude: Collection[str] = ()) -> dict[str, list[str]]:
    """Return lines of TOML by table: the guessed encoding, separator and so on, and `explode` for a column of lists."""
    lines_by_table: dict[str, list[str]] = {}
    for name, info in manifest.tables.items():
        explode_lines = [f'explode = "{c}"  # a row for each record in these lists' for c in info.lists_of_records[:1]]
        if name not in exclude and (info.read or explode_lines):
            lines_by_table[name] = [*info.read, *explode_lines]
    return lines_by_table


def _large_columns(tables: list[DataTable]) -> tuple[str, ...]:
    """Return the columns whose integers beyond 64 bits became floats."""
    return tuple(dict.fromkeys(c for table in tables for c in table.info.beyond_64_bits))


def _guessed_types(manifest: Manifest, main_tables: list[DataTable]) -> dict[str, tuple[str, str]]:
    """Return the types that were guessed from spellings, as ``[types]`` names them, each with its note.

    The key is the column for the main tables, train and test. It is ``table.column`` for a column of another table
    whose type differs, or which the main tables do not have.
    """
    types: dict[str, tuple[str, str]] = {}
    main_names = [t.name for t in main_tables]
    for name, info in sorted(manifest.tables.items(), key=lambda item: item[0] not in main_names):
        undecided_types = {c: _first_option(note) for c, note in info.notes.items() if _has_options(note)}
        spelled_types = {c: f"{info.dtypes[c].partition('(')[0]} {spelling}" for c, spelling in info.spelled.items()}
        for column, type_text in (spelled_types | info.types | undecided_types).items():
            if types.get(column, ("",))[0] != type_text:
                key = column if name in main_names and column not in types else f"{name}.{column}"
                types[key] = (type_text, info.notes.get(column, ""))
    for column in (c for table in main_tables for c in table.info.codes):
        types.setdefault(column, ("String", "codes: as Float64, some would be written differently"))
    return types


def _has_options(note: str) -> bool:
    """Tell whether a note of the manifest ends in the types to choose from: "undecided, …: … (TYPE or TYPE)"."""
    return note.startswith("undecided") and note.endswith(")")


def _first_option(note: str) -> str:
    """Return the first of the types that a note of the manifest ends in."""
    return note.rpartition("(")[2].partition(" or ")[0]
