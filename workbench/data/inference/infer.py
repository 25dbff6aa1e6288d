"""The definition of a competition from its tables and from what the platform says."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from workbench.core.errors import DataError
from workbench.data.competition import FileOptions, Manifest, TableInfo
from workbench.data.inference.answer import Answer, find_answer
from workbench.data.inference.baseline import Baseline, find_baseline
from workbench.data.inference.log import InferredLog, find_log
from workbench.data.inference.positive import PositiveGuess, find_positives
from workbench.data.inference.roles import find_roles
from workbench.data.inference.scheme import Scheme, find_scheme
from workbench.data.inference.tables import DataTable, NotPlainError, UnclearTablesError
from workbench.data.inference.task import Task, find_task
from workbench.platforms.protocol import CompetitionFacts

__all__ = ["Inferred", "infer"]

NOTHING_STATED = FileOptions()


@dataclass(frozen=True)
class Inferred:
    """What a definition and a first experiment need; each part brings its reasons."""

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
    large: tuple[str, ...] = ()


def infer(
    manifest: Manifest, tables: Path, facts: CompetitionFacts, platform: str, *, stated: FileOptions = NOTHING_STATED
) -> Inferred | InferredLog:
    """Infer a definition: which table is which, what to predict, how it is scored, how to fold.

    Parameters
    ----------
    manifest : Manifest
    tables : Path
        The folder of the Parquet files.
    facts : CompetitionFacts
        What the platform says; it takes precedence over what the files suggest.
    platform : str
    stated : FileOptions
        What competition.toml says already: which table is which.

    Raises
    ------
    DataError
        When the files do not say; the message has what is missing and how to write the file by hand.
    """
    looked_at = [DataTable(info, tables) for info in manifest.tables.values() if info.rows]
    log = find_log(looked_at, facts, platform)
    if log is not None:
        ours = [t for t in looked_at if t.name in (log.train, log.test)]
        reading = _all_reading(manifest, but=log.explode)
        return replace(log, read=reading, types=_types(manifest, ours), large=_large(ours))
    try:
        roles = find_roles(manifest, tables, stated.tables)
        answer = find_answer(roles, facts.id_columns, facts.target_columns)
    except UnclearTablesError as exc:
        raise DataError(
            f"can't infer the definition of {facts.slug!r}: {exc.message}",
            hint=f"write what is right into competitions/{facts.slug}/competition.toml, these lines are enough, and "
            f"`wb fetch {facts.slug}` again: {exc.hint}",
        ) from exc
    except NotPlainError as exc:
        raise DataError(
            f"can't infer the definition of {facts.slug!r}: {exc.message}",
            hint=f"write competitions/{facts.slug}/competition.toml by hand (slug, task, id, target, metric, "
            f"[tables]), then `wb fetch {facts.slug}` again",
        ) from exc
    task = find_task(roles, answer, facts)
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
        scheme=find_scheme(roles, answer, task.task),
        greater_is_better=facts.greater_is_better if ".py:" in task.metric else None,
        weight=facts.weight_column,
        positives=find_positives(roles, answer, task, facts),
        baseline=find_baseline(roles.train.rows),
        read=_all_reading(manifest),
        types=_types(manifest, [roles.train, roles.test]),
        large=_large([roles.train, roles.test]),
    )


def _all_reading(manifest: Manifest, but: Collection[str] = ()) -> dict[str, list[str]]:
    by_table = {name: _reading(info) for name, info in manifest.tables.items() if name not in but}
    return {name: lines for name, lines in by_table.items() if lines}


def _reading(info: TableInfo) -> list[str]:
    """Return what was guessed of a file's writing, and how lists of records become rows, as lines of TOML."""
    offered = [f'explode = "{c}"  # a row for each record in these lists' for c in info.lists_of_records[:1]]
    return [*info.read, *offered]


def _large(tables: list[DataTable]) -> tuple[str, ...]:
    """Return the columns of which whole numbers beyond 64 bits became fractions."""
    return tuple(dict.fromkeys(c for table in tables for c in table.info.beyond_64_bits))


def _types(manifest: Manifest, first: list[DataTable]) -> dict[str, tuple[str, str]]:
    """Return the types that were guessed from spellings, as ``[types]`` takes them, each with its note.

    Those of train and test by column, those of another table where they are others, or are not in these.
    """
    types: dict[str, tuple[str, str]] = {}
    names = [t.name for t in first]
    for name, info in sorted(manifest.tables.items(), key=lambda item: item[0] not in names):
        offered = {c: note.rpartition("(")[2].partition(" or ")[0] for c, note in info.notes.items() if _is_open(note)}
        spelled = {c: f"{info.dtypes[c].partition('(')[0]} {spelling}" for c, spelling in info.spelled.items()}
        for column, type_text in (spelled | info.types | offered).items():
            if types.get(column, ("",))[0] != type_text:
                key = column if name in names and column not in types else f"{name}.{column}"
                types[key] = (type_text, info.notes.get(column, ""))
    for column in (c for table in first for c in table.info.codes):
        types.setdefault(column, ("String", "codes; as Float64 some would be written otherwise"))
    return types


def _is_open(note: str) -> bool:
    return note.startswith("undecided") and note.endswith(")")
