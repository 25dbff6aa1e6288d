"""Find the train, test and sample submission tables, or ask the user where several qualify."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl

from workbench.data.competition import Manifest
from workbench.data.inference.tables import (
    DataTable,
    Roles,
    UnclearTablesError,
    UndeterminedError,
    best_samples,
    overlap,
    sounds_like,
)

__all__ = ["find_roles"]

NO_TABLES: Mapping[str, str | bool] = {}
SUBSET_WORDS = {"sample", "samples", "small", "subset", "mini", "tiny", "lite", "short", "debug", "head", "toy"}
"""Words in the name of a file with some of the rows of another file, whose name lacks the word."""


def find_roles(manifest: Manifest, folder: Path, stated: Mapping[str, str | bool] = NO_TABLES) -> Roles:
    """Find train, test and sample among the tables, by their names and by the columns that they share.

    Parameters
    ----------
    manifest : Manifest
    folder : Path
        The folder of the Parquet files.
    stated : mapping
        The tables that competition.toml names, by role: ``train``, ``test``, ``sample_submission``.

    Raises
    ------
    UnclearTablesError
        When several tables qualify for a role.
    UndeterminedError
        When there is no train or no test table, or `stated` names a table that does not exist.
    """
    tables = {name: DataTable(info, folder) for name, info in manifest.tables.items() if info.rows}
    stated_tables = {role: _stated_table(tables, role, name) for role, name in stated.items() if isinstance(name, str)}
    has_no_sample = stated.get("sample_submission") is False
    samples = [] if has_no_sample else best_samples(t for t in tables.values() if t not in stated_tables.values())
    sample = stated_tables.get("sample_submission") or (samples[0] if samples else None)
    trains, tests = (
        [stated_tables[role]]
        if role in stated_tables
        else [t for t in tables.values() if t is not sample and sounds_like(t, role) > 0]
        for role in ("train", "test")
    )
    pairs = [
        (sounds_like(train, "train") + sounds_like(test, "test") + overlap(train, test), train, test)
        for train in trains
        for test in tests
        if train is not test
    ]
    if not pairs:
        missing_roles = [role for role, candidates in (("train", trains), ("test", tests)) if not candidates]
        missing = " or ".join(missing_roles or ["train and test"])
        names = ", ".join(manifest.tables) or "none"
        raise UndeterminedError(f"no table is called {missing}; the tables are {names}")
    _, train, test = max(pairs, key=lambda pair: (pair[0], pair[1].n_rows))
    roles = Roles(train, test, sample)
    if "test" not in stated_tables:
        roles = _settle_test(roles, tests)
    if "sample_submission" not in stated_tables and sample is not None:
        roles = _settle_sample(roles, samples)
    roles = roles if "train" in stated_tables else _settle_train(roles, trains)
    file_notes = {"train": _files_note(roles.train), "test": _files_note(roles.test)}
    return replace(roles, why={role: note for role, note in file_notes.items() if note} | roles.why)


def _files_note(table: DataTable) -> str:
    """Return a note with the files that a table is made of, where their names differ in more than numbers; else ""."""
    files = table.info.source.split(", ")
    if len(files) < 2 or len({re.sub(r"\d+", "", f) for f in files}) == 1:
        return ""
    names = ", ".join(files[:8]) + f" and {len(files) - 8} more" * (len(files) > 8)
    return f"{names}, one after the other"


def _stated_table(tables: Mapping[str, DataTable], role: str, name: str) -> DataTable:
    if name not in tables:
        raise UndeterminedError(
            f"[tables] {role} = {name!r} in competition.toml is not a table; the tables are {', '.join(tables)}"
        )
    return tables[name]


# ------------------------------------------------------------------------------------------------- several candidates


def _settle_train(roles: Roles, candidates: Sequence[DataTable]) -> Roles:
    """Return the roles if no other candidate may be train as well; subsets of train are noted in `why`.

    Raises
    ------
    UnclearTablesError
        When another candidate has all columns of train or its target, and its name does not mark it as a subset.
    """
    train, test, sample = roles.train, roles.test, roles.sample
    target_columns = {c for c in train.columns if not test.has(c)}
    if sample is not None and target_columns & set(sample.columns):
        target_columns &= set(sample.columns)
    other_tables = [t for t in candidates if t.name not in (train.name, test.name) and t is not sample]
    alternatives: list[DataTable] = []
    subsets: list[DataTable] = []
    for other in other_tables:
        if set(other.columns) == set(train.columns):
            (subsets if _is_subset(other, train) else alternatives).append(other)
        elif target_columns & set(other.columns) and sounds_like(other, "train") == 1 and not _is_called_train(train):
            alternatives.append(other)
    if alternatives:
        raise _unclear_tables_error("train", [train, *alternatives])
    if subsets:
        names = ", ".join(t.name for t in subsets)
        return replace(roles, why=roles.why | {"train": f"not {names}: by name, only some of its rows"})
    return roles


def _settle_test(roles: Roles, candidates: Sequence[DataTable]) -> Roles:
    """Return the roles with the test table that has the sample's ids, where several candidates may be test.

    Raises
    ------
    UnclearTablesError
        When the sample does not decide.
    """
    train, test = roles.train, roles.test
    alternatives: list[DataTable] = []
    subsets: list[DataTable] = []
    for other in candidates:
        if other in (train, test, roles.sample) or sounds_like(other, "train") > sounds_like(other, "test"):
            continue
        if set(other.columns) == set(test.columns):
            (subsets if _is_subset(other, test) else alternatives).append(other)
        elif sounds_like(other, "test") == sounds_like(test, "test") and overlap(train, other) == overlap(train, test):
            alternatives.append(other)
    if not alternatives:
        if not subsets:
            return roles
        names = ", ".join(t.name for t in subsets)
        return replace(roles, why=roles.why | {"test": f"not {names}: by name, only some of its rows"})
    possible_tests = [test, *alternatives]
    matching = [t for t in possible_tests if roles.sample is not None and _has_ids_of(t, roles.sample)]
    if len(matching) != 1:
        raise _unclear_tables_error("test", possible_tests)
    other_names = ", ".join(t.name for t in possible_tests if t is not matching[0])
    sample_name = roles.sample.name if roles.sample is not None else ""
    reason = f"not {other_names}: {sample_name} has the ids of this one"
    return replace(roles, test=matching[0], why=roles.why | {"test": reason})


def _settle_sample(roles: Roles, samples: Sequence[DataTable]) -> Roles:
    """Return the roles with the sample that has the ids of test, where there are several candidates.

    Raises
    ------
    UnclearTablesError
        When the ids do not decide, and the candidates differ in columns or ids.
    """
    other_samples = [t for t in samples if t not in (roles.sample, roles.train, roles.test)]
    if roles.sample is None or not other_samples:
        return roles
    possible_samples = [roles.sample, *other_samples]
    matching = [t for t in possible_samples if _has_ids_of(roles.test, t)]
    if len(matching) != 1:
        first_sample, *later_samples = matching or possible_samples
        if any(t.columns != first_sample.columns or not _has_ids_of(t, first_sample) for t in later_samples):
            raise _unclear_tables_error("sample_submission", possible_samples)
        # They differ only in their example predictions, which are not used.
        matching = [first_sample]
    sample = matching[0]
    names = ", ".join(t.name for t in possible_samples if t is not sample)
    return replace(roles, sample=sample, why=roles.why | {"sample": f"{names} could be used as well"})


def _is_called_train(table: DataTable) -> bool:
    """Tell whether a table's only file is called train; a table of several files is named after their common words."""
    return sounds_like(table, "train") > 1 and ", " not in table.info.source


def _name_words(table: DataTable) -> set[str]:
    return {w for w in re.split(r"[\W_\d]+", table.name.lower()) if w}


def _is_subset(other: DataTable, table: DataTable) -> bool:
    """Tell whether `other` holds some of the rows of `table`, by its name and its number of rows."""
    return bool((_name_words(other) - _name_words(table)) & SUBSET_WORDS) and other.n_rows <= table.n_rows


def _has_ids_of(table: DataTable, sample: DataTable) -> bool:
    """Tell whether a table has the ids of a sample submission, each the same number of times."""
    if table.n_rows != sample.n_rows:
        return False
    shared = [c for c in sample.columns if table.has(c) and table.dtype(c) == sample.dtype(c)]
    if not shared:
        return True
    key = shared[0]
    table_counts, sample_counts = (t.scan.group_by(key).agg(pl.len().alias("n")) for t in (table, sample))
    unmatched = table_counts.join(sample_counts, on=[key, "n"], how="anti", nulls_equal=True)
    return unmatched.collect(engine="streaming").is_empty()


def _unclear_tables_error(role: str, tables: Sequence[DataTable]) -> UnclearTablesError:
    """Return the error for several tables that may have a role.

    Its hint has the settings for using one of the tables, and for using all of them as one table.
    """
    have_same_columns = all(set(t.columns) == set(tables[0].columns) for t in tables)
    sources = ", ".join(t.info.source for t in tables[:-1]) + f" and {tables[-1].info.source}"
    files = [name for t in tables for name in t.info.source.split(", ")]
    quoted_files = ", ".join(f'"{f}"' for f in files)
    quoted_tables = [f'"{t.name}"' for t in tables]
    have_columns = "have the same columns" if have_same_columns else "have different columns"
    nulls_note = "" if have_same_columns else "; a column that one of them lacks is null in its rows"
    return UnclearTablesError(
        f"{sources} {have_columns}, and each of them may be {role}: is it one of them, or are they parts of one table?",
        hint=f"\n    [tables]\n    {role} = {quoted_tables[0]}  # this one alone; or {', '.join(quoted_tables[1:])}\n"
        f"or, for all of them as one table{nulls_note}\n    [read.{role}]\n    parts = [{quoted_files}]",
    )
