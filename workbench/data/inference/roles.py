"""Which of the tables is train, which test, which the sample; where several may be, which one, or the question."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl

from workbench.data.competition import Manifest
from workbench.data.inference.tables import (
    DataTable,
    NotPlainError,
    Roles,
    UnclearTablesError,
    best_samples,
    overlap,
    sounds_like,
)

__all__ = ["find_roles"]

NOTHING: Mapping[str, str | bool] = {}
SOME_ROWS = {"sample", "samples", "small", "subset", "mini", "tiny", "lite", "short", "debug", "head", "toy"}
"""Words of a file that holds some of the rows of the one that is called the same without the word."""


def find_roles(manifest: Manifest, folder: Path, stated: Mapping[str, str | bool] = NOTHING) -> Roles:
    """Find train, test and sample among the tables, by their names and by the columns that they share.

    Parameters
    ----------
    manifest : Manifest
    folder : Path
        Of the Parquet files.
    stated : mapping
        Tables by role (``train``, ``test``, ``sample_submission``) that competition.toml names.

    Raises
    ------
    UnclearTablesError
        When several tables may be the same one of them.
    NotPlainError
        When there is no train or no test table, or `stated` names none.
    """
    tables = {name: DataTable(info, folder) for name, info in manifest.tables.items() if info.rows}
    named = {role: _stated(tables, role, name) for role, name in stated.items() if isinstance(name, str)}
    no_sample = stated.get("sample_submission") is False
    samples = [] if no_sample else best_samples(t for t in tables.values() if t not in named.values())
    sample = named.get("sample_submission") or (samples[0] if samples else None)
    data_tables = [t for t in tables.values() if t is not sample]
    trains = [named["train"]] if "train" in named else [t for t in data_tables if sounds_like(t, "train") > 0]
    tests = [named["test"]] if "test" in named else [t for t in data_tables if sounds_like(t, "test") > 0]
    pairs = [
        (sounds_like(a, "train") + sounds_like(b, "test") + overlap(a, b), a, b)
        for a in trains
        for b in tests
        if a is not b
    ]
    if not pairs:
        missing = [r for r, of_role in (("train", trains), ("test", tests)) if not of_role] or ["train and test"]
        have = ", ".join(manifest.tables) or "none"
        raise NotPlainError(f"no table is called {' or '.join(missing)}; the tables are {have}")
    _, train, test = max(pairs, key=lambda p: (p[0], p[1].rows))
    roles = Roles(train, test, sample)
    if "test" not in named:
        roles = _settled_test(roles, tests)
    if "sample_submission" not in named and sample is not None:
        roles = _settled_sample(roles, samples)
    roles = roles if "train" in named else _settled_train(roles, trains)
    joined = {role: files for role, t in (("train", roles.train), ("test", roles.test)) if (files := _joined(t))}
    return replace(roles, why=joined | roles.why)


def _joined(table: DataTable) -> str:
    """Say of which files a table is made, where other than numbers tell them from each other."""
    files = table.info.source.split(", ")
    if len(files) < 2 or len({re.sub(r"\d+", "", f) for f in files}) == 1:
        return ""
    named = ", ".join(files[:8]) + f" and {len(files) - 8} more" * (len(files) > 8)
    return f"{named}, one after the other"


def _stated(tables: Mapping[str, DataTable], role: str, name: str) -> DataTable:
    if name not in tables:
        raise NotPlainError(
            f"[tables] {role} = {name!r} in competition.toml is not a table; there are {', '.join(tables)}"
        )
    return tables[name]


# ------------------------------------------------------------------------------------------------- several that may be


def _settled_train(roles: Roles, candidates: Sequence[DataTable]) -> Roles:
    train, test, sample = roles.train, roles.test, roles.sample
    answers = {c for c in train.columns if not test.has(c)}
    if sample is not None and answers & set(sample.columns):
        answers &= set(sample.columns)
    other_tables = [t for t in candidates if t.name not in (train.name, test.name) and t is not sample]
    rivals: list[DataTable] = []
    some_rows: list[DataTable] = []
    for other in other_tables:
        if set(other.columns) == set(train.columns):
            (some_rows if _has_some_rows(other, train) else rivals).append(other)
        elif answers & set(other.columns) and sounds_like(other, "train") == 1 and not _is_called(train, "train"):
            rivals.append(other)
    if rivals:
        raise _unclear("train", [train, *rivals])
    if some_rows:
        names = ", ".join(t.name for t in some_rows)
        return replace(roles, why=roles.why | {"train": f"not {names}, by the name some of its rows"})
    return roles


def _settled_test(roles: Roles, candidates: Sequence[DataTable]) -> Roles:
    train, test = roles.train, roles.test
    rivals: list[DataTable] = []
    some_rows: list[DataTable] = []
    for other in candidates:
        if other in (train, test, roles.sample) or sounds_like(other, "train") > sounds_like(other, "test"):
            continue
        if set(other.columns) == set(test.columns):
            (some_rows if _has_some_rows(other, test) else rivals).append(other)
        elif sounds_like(other, "test") == sounds_like(test, "test") and overlap(train, other) == overlap(train, test):
            rivals.append(other)
    if not rivals:
        names = ", ".join(t.name for t in some_rows)
        return replace(
            roles, why=roles.why | {"test": f"not {names}, by the name some of its rows"} if names else roles.why
        )
    every = [test, *rivals]
    matching = [t for t in every if roles.sample is not None and _has_the_ids_of(t, roles.sample)]
    if len(matching) != 1:
        raise _unclear("test", every)
    other_names = ", ".join(t.name for t in every if t is not matching[0])
    sample = roles.sample.name if roles.sample is not None else ""
    return replace(
        roles, test=matching[0], why=roles.why | {"test": f"not {other_names}: {sample} asks for these rows"}
    )


def _settled_sample(roles: Roles, samples: Sequence[DataTable]) -> Roles:
    other_samples = [t for t in samples if t not in (roles.sample, roles.train, roles.test)]
    if roles.sample is None or not other_samples:
        return roles
    every = [roles.sample, *other_samples]
    fitting = [t for t in every if _has_the_ids_of(roles.test, t)]
    if len(fitting) != 1:
        same = fitting or every
        if any(t.columns != same[0].columns or not _has_the_ids_of(t, same[0]) for t in same[1:]):
            raise _unclear("sample_submission", every)
        # They differ in the answers that they show, which nobody uses.
        fitting = same[:1]
    chosen = fitting[0]
    names = ", ".join(t.name for t in every if t is not chosen)
    return replace(roles, sample=chosen, why=roles.why | {"sample": f"{names} would be another one"})


def _is_called(table: DataTable, role: str) -> bool:
    """Whether one file has the role's name; a table of several has it from what they have in common."""
    return sounds_like(table, role) > 1 and ", " not in table.info.source


def _words(table: DataTable) -> set[str]:
    return {w for w in re.split(r"[\W_\d]+", table.name.lower()) if w}


def _has_some_rows(other: DataTable, table: DataTable) -> bool:
    """Whether a name says that a table holds some of the rows of another one."""
    return bool((_words(other) - _words(table)) & SOME_ROWS) and other.rows <= table.rows


def _has_the_ids_of(table: DataTable, sample: DataTable) -> bool:
    """Whether a table has the sample's ids, each as often."""
    if table.rows != sample.rows:
        return False
    shared = [c for c in sample.columns if table.has(c) and table.dtype(c) == sample.dtype(c)]
    if not shared or len(shared) == len(sample.columns) > 1:
        shared = shared[:1]
    if not shared:
        return True
    key = shared[0]
    ids, wanted = (t.scan.group_by(key).agg(pl.len().alias("n")) for t in (table, sample))
    return ids.join(wanted, on=[key, "n"], how="anti", nulls_equal=True).collect(engine="streaming").is_empty()


def _unclear(role: str, tables: Sequence[DataTable]) -> UnclearTablesError:
    """Return the question, with the two ways to answer it."""
    same = all(set(t.columns) == set(tables[0].columns) for t in tables)
    names = ", ".join(t.info.source for t in tables[:-1]) + f" and {tables[-1].info.source}"
    files = [name for t in tables for name in t.info.source.split(", ")]
    listed = ", ".join(f'"{f}"' for f in files)
    either = [f'"{t.name}"' for t in tables]
    columns = "have the same columns" if same else "have different columns"
    nulls = "" if same else "; a column that one of them lacks is null there"
    return UnclearTablesError(
        f"{names} {columns}, and each of them may be {role}: is it one of them, or are they parts of one table?",
        hint=f"\n    [tables]\n    {role} = {either[0]}  # this one alone; or {', '.join(either[1:])}\n"
        f"or, for all of them as one table{nulls}\n    [read.{role}]\n    parts = [{listed}]",
    )
