"""Delimited text -> tables: the types are decided over whole files, and yet each is read only once as a rule.

A guess from the first four megabytes is used to convert, and every value is held against the guess while it passes.
Only where one fails are the files counted through and converted again. The result is the same either way.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.core.errors import DamagedError, DataError
from workbench.data.competition import TableInfo
from workbench.data.ingest.counting import column_stats, is_present
from workbench.data.ingest.grouping import key_columns, with_keys
from workbench.data.ingest.keys import CANONICAL, Keys, is_numeric
from workbench.data.ingest.layouts import (
    Layout,
    agreed_layouts,
    forms_of,
    layout_of,
    reencoded_layouts,
    say_encodings,
    say_what_differs,
)
from workbench.data.ingest.reserved import renamed_notes, safe_names
from workbench.data.ingest.sources import ReadOptions, TableSource, joined_sha, place_of
from workbench.data.ingest.text import (
    HEAD_BYTES,
    TextForm,
    blocks,
    blocks_looked_at,
    first_fault,
    has_short_record,
    without_blank_lines,
)
from workbench.data.ingest.types import (
    NO_EVIDENCE,
    ColumnStats,
    ColumnType,
    Evidence,
    decide,
    evidence_of,
    from_name,
    has_short_years,
    present_texts,
    respelled,
)
from workbench.data.ingest.writing import guesses_of, info_of, say_beyond_64_bits, write_frames

__all__ = ["Converted", "Witnesses", "as_text", "text_tables"]

CODES_BYTES = 256 * 1024
"""Looked through at a time: what fits the processor's cache."""

Report = Callable[[str], None]


class _MismatchError(Exception):
    """A value does not fit the guessed type."""


class _EncodingError(Exception):
    """A byte does not fit the guessed encoding."""


class _RaggedError(pl.exceptions.PolarsError):
    """A record has too few fields, which polars would fill with nulls."""


class Witnesses:
    """What the columns of all delimited tables of a competition look like, for what one of them alone leaves open.

    A table that is only asked, as its conversion still stands, is looked at from its beginning.
    """

    def __init__(self, options: ReadOptions) -> None:
        self._options = options
        self._stats: dict[str, dict[str, ColumnStats]] = {}
        self._heads: dict[tuple[str, Layout], dict[str, ColumnStats]] = {}

    def heads(self, group: list[TableSource], layouts: dict[str, Layout]) -> dict[str, dict[str, ColumnStats]]:
        """Return what the beginnings of tables look like, counted once, and note it."""
        for table in group:
            key = table.name, layouts[table.name]
            if key not in self._heads:
                self._heads[key] = _head_stats(table, layouts[table.name], self._options.keys)
        stats = {t.name: self._heads[t.name, layouts[t.name]] for t in group}
        self.hear(stats)
        return dict(stats)

    def look(self, group: list[TableSource]) -> None:
        """Look at the beginnings of the tables of a group; one that is no table is reported where it is converted."""
        with suppress(DataError, DamagedError, _EncodingError):
            self.heads(
                group, agreed_layouts(group, {t.name: layout_of(t, self._options.read.get(t.name, {})) for t in group})
            )

    def hear(self, stats: dict[str, dict[str, ColumnStats]]) -> None:
        """Note the statistics of the tables of a group, which share their columns."""
        self._stats |= {",".join(stats): _shared_stats(stats)}

    @property
    def evidence(self) -> Evidence:
        """What all of them together prove."""
        return evidence_of(total for columns in self._stats.values() for total in columns.values())


def _shared_stats(stats: dict[str, dict[str, ColumnStats]]) -> dict[str, ColumnStats]:
    names = dict.fromkeys(c for columns in stats.values() for c in columns)
    return {c: reduce(lambda a, b: a + b, (s[c] for s in stats.values() if c in s)) for c in names}


@dataclass(frozen=True)
class Converted:
    """Tables that were converted, with what they were converted by, so that it can be seen whether it still holds.

    `planned` are the statistics and the evidence that led to `plans`, `stats` what is known of the whole of the files.
    """

    infos: dict[str, TableInfo]
    stats: dict[str, dict[str, ColumnStats]]
    forms: dict[str, TextForm]
    plans: dict[str, dict[str, ColumnType]]
    planned: tuple[dict[str, dict[str, ColumnStats]], Evidence]

    def holds(self, options: ReadOptions, evidence: Evidence) -> bool:
        """Whether the types are those that the evidence speaks for."""
        now = self._plans(options, evidence)
        return now is self.plans or all(_same_types(plan, now[name]) for name, plan in self.plans.items())

    def noted(self, options: ReadOptions, evidence: Evidence) -> dict[str, TableInfo]:
        """Return the manifest's entries with what the whole of the files says of each choice."""
        now = self._plans(options, evidence)
        noted = {}
        for name, info in self.infos.items():
            names = safe_names(name, now[name])
            notes_by_key = guesses_of({names.get(c, c): t for c, t in now[name].items()})
            notes = notes_by_key["notes"] | renamed_notes(info.dtypes)
            noted[name] = replace(info, types=notes_by_key["types"], choices=notes_by_key["choices"], notes=notes)
        return noted

    def _plans(self, options: ReadOptions, evidence: Evidence) -> dict[str, dict[str, ColumnType]]:
        """Return the types by what is known now: decided again only where that is more than it was."""
        same = self.planned == (self.stats, evidence)
        return self.plans if same else plan_types(self.stats, self.forms, options, evidence)


def _same_types(one: dict[str, ColumnType], other: dict[str, ColumnType]) -> bool:
    return all((one[c].dtype, one[c].named) == (t.dtype, t.named) for c, t in other.items())


def text_tables(
    group: list[TableSource], tables: Path, options: ReadOptions, report: Report, witnesses: Witnesses | None = None
) -> Converted:
    """Convert tables that share the types of their columns; what these leave open, `witnesses` decide.

    Keys stay as they are written.

    Raises
    ------
    DataError
        When one is no table, names another encoding, or a value does not fit the type that competition.toml asks for.
    DamagedError
        When a file is cut or changed.
    """
    for table in group:
        if options.read.get(table.name, {}).get("explode"):
            raise DataError(
                f"[read.{table.name}] explode in competition.toml: {table.where} is delimited text, which has no lists",
                hint="remove explode; a list written as a text is split in features.py",
            )
    layouts = agreed_layouts(group, {t.name: layout_of(t, options.read.get(t.name, {})) for t in group})
    for table in group:
        say_what_differs(table, layouts[table.name], report)
    plans: dict[str, dict[str, ColumnType]] | None = None
    witnesses = witnesses or Witnesses(options)
    stats: dict[str, dict[str, ColumnStats]] = {}
    planned = (stats, NO_EVIDENCE)
    for _ in range(4):
        try:
            if plans is None:
                # The head of a second part may be the first to show that the encoding is another.
                stats = witnesses.heads(group, layouts)
                planned = dict(stats), witnesses.evidence
                plans = plan_types(stats, forms_of(layouts), options, planned[1])
            infos = {}
            for table in group:
                report(f"converting {table.name}")
                name = table.name
                say_encodings(table, layouts[name], report)
                infos[name], chosen = _text_table(table, layouts[name], plans[name], tables, options)
                # What was a choice is known of the whole of the file now.
                chosen_stats = {c: replace(s, exact=stats[name][c].exact) for c, s in chosen.items()}
                stats[name] = stats[name] | chosen_stats
            witnesses.hear(stats)
            done = Converted(infos, stats, forms_of(layouts), plans, planned)
            if done.holds(options, witnesses.evidence):
                _say_what_is_text(plans, options.keys, report)
                beyond = {c: None for plan in plans.values() for c, t in plan.items() if t.beyond_64_bits}
                say_beyond_64_bits(report, [t.name for t in group], list(beyond))
                return done
            raise _MismatchError
        except _EncodingError:
            named = {t.name for t in group if options.read.get(t.name, {}).get("encoding")}
            before = layouts
            layouts = reencoded_layouts(group, layouts, named)
            if layouts == before:
                at_fault = [t.where for t in group if t.name in named] or [t.where for t in group]
                raise DataError(
                    f"{', '.join(at_fault)}: not all of it is written in the encoding that competition.toml names",
                    hint='name the encoding in competition.toml: [read.TABLE] encoding = "…"',
                ) from None
            plans = None
        except _MismatchError:
            report(f"converting {' and '.join(t.name for t in group)} again: a value further down has another type")
            stats = {t.name: _full_stats(t, layouts[t.name], options.keys) for t in group}
            witnesses.hear(stats)
            planned = dict(stats), witnesses.evidence
            # What has no value in the whole of the files has none.
            plans = {
                name: {
                    c: decided if decided.like is None else replace(decided, like=None) for c, decided in plan.items()
                }
                for name, plan in plan_types(stats, forms_of(layouts), options, planned[1]).items()
            }
    raise DataError(
        f"{group[0].where} can't be converted to a table: its values fit none of the types that were chosen"
    )


def _say_what_is_text(plans: dict[str, dict[str, ColumnType]], keys: Keys, report: Report) -> None:
    """Report the keys and codes that are text although they look like numbers."""
    for column in dict.fromkeys(c for plan in plans.values() for c, t in plan.items() if t.looks_numeric):
        names = " and ".join(name for name, plan in plans.items() if column in plan)
        kind = "a key" if keys.kind(column) == "key" else "a code"
        report(f"{names}: {column!r} is {kind}, left as text: as numbers some values would be written otherwise")


def plan_types(
    stats: dict[str, dict[str, ColumnStats]],
    forms: dict[str, TextForm],
    options: ReadOptions,
    evidence: Evidence = NO_EVIDENCE,
) -> dict[str, dict[str, ColumnType]]:
    """Decide the types, column by column over all the tables of a group."""
    plans: dict[str, dict[str, ColumnType]] = {}
    for name, table_stats in stats.items():
        form = forms[name]
        plans[name] = {}
        for column in table_stats:
            everywhere = [s[column] for s in stats.values() if column in s]
            decided = decide(
                everywhere,
                decimal=form.decimal,
                separator=form.separator,
                evidence=evidence,
                name=column,
                key=options.keys.kind(column),
            )
            stated_type = options.stated_type(name, column)
            if stated_type:
                plans[name][column] = replace(from_name(stated_type, column), plainest=decided.plainest)
                continue
            if options.keys.is_text(column) and is_numeric(decided.dtype):
                decided = ColumnType(pl.String(), looks_numeric=True)
            # What the CSV reader reads directly can't be held against its text.
            direct = decided.direct and not form.missing and not (decided.key and decided.dtype == pl.Float64)
            plans[name][column] = decided if decided.direct == direct else replace(decided, direct=direct)
    return plans


def _frame(block: bytes, form: TextForm, schema: dict[str, Any]) -> pl.DataFrame:
    """Read a block with the CSV reader; blank lines are no records, and a short record raises."""

    def read(data: bytes) -> pl.DataFrame:
        try:
            return pl.read_csv(
                _not_packed(data, form),
                has_header=False,
                schema=schema,
                separator=form.separator,
                # Quoted or not: who writes all in quotes has no other way to say that there is nothing.
                null_values=[""] if b'"' in data else None,
            )
        except OSError as exc:
            raise pl.exceptions.ComputeError("it begins like a compressed file") from exc

    # In a table of one column a blank line is a missing value.
    if len(schema) == 1:
        return read(block)
    try:
        frame = read(block)
    except pl.exceptions.PolarsError:
        # A blank line at a block's beginning misleads polars as to how many columns there are.
        tidy = without_blank_lines(block)
        if tidy == block:
            raise
        return read(tidy) if tidy else pl.DataFrame(schema=schema)
    nulls = frame.to_series(-1).null_count()
    separator = form.separator.encode()
    if not nulls or nulls <= sum(block.count(separator + end) for end in (b"\n", b"\r\n", b'""\n', b'""\r\n')):
        return frame
    # More records lack the last field than end in a separator, or in a field that is empty in quotes.
    if has_short_record(block, form, len(schema)):
        raise _RaggedError("a record has too few fields")
    tidy = without_blank_lines(block)
    return frame if tidy == block else read(tidy) if tidy else frame.clear()


def _not_packed(block: bytes, form: TextForm) -> bytes:
    """Return the block with its first field in quotes where polars would take the text "x^" for compressed data."""
    if not block.startswith((b"x^", b"x\x01")):
        return block
    end = min(i for i in (block.find(form.separator.encode()), block.find(b"\n"), len(block)) if i >= 0)
    field = block[:end].rstrip(b"\r")
    return b'"' + field.replace(b'"', b'""') + b'"' + block[len(field) :]


def as_text(block: bytes, form: TextForm, header: Sequence[str]) -> pl.DataFrame:
    """Read a block of whole records, every column as text."""
    return _frame(block, form, dict.fromkeys(header, pl.String()))


def _is_misread(block: bytes, form: TextForm) -> bool:
    if form.encoding in ("utf-8", "ascii"):
        try:
            block.decode()
        except UnicodeDecodeError:
            return True
    return False


def _explained(
    exc: pl.exceptions.PolarsError, table: TableSource, block: bytes, layout: Layout, part: int
) -> Exception:
    if _is_misread(block, layout.forms[part]):
        return _EncodingError()
    for source, form, header in zip(table.parts, layout.forms, layout.headers, strict=True):
        fault = first_fault(source, form, len(header))
        if fault:
            return DataError(
                f"{place_of(source)} can't be converted to a table: {fault}",
                hint="fix that line; or name another separator in competition.toml under [read.TABLE]",
            )
    first = (str(exc).strip().splitlines() or ["unreadable"])[0]
    return DataError(
        f"{table.where} can't be converted to a table: {first}",
        hint="check its separator and quotes; [read.TABLE] in competition.toml can name the separator",
    )


def _head_stats(table: TableSource, layout: Layout, keys: Keys) -> dict[str, ColumnStats]:
    part_stats = [_no_stats(layout)]
    for number, part in enumerate(table.parts):
        for block in blocks(part, layout.forms[number], size=HEAD_BYTES):
            part_stats.append(_stats(table, layout, number, block, keys))
            break
    return _summed(part_stats)


def _full_stats(table: TableSource, layout: Layout, keys: Keys) -> dict[str, ColumnStats]:
    """Count through the whole table; a time format that failed once is not tried again."""
    total = _no_stats(layout)
    for number, part in enumerate(table.parts):
        for block in blocks(part, layout.forms[number]):
            formats = {c: _open_formats(s) for c, s in total.items()}
            total = _summed([total, _stats(table, layout, number, block, keys, formats)])
    return total


def _no_stats(layout: Layout) -> dict[str, ColumnStats]:
    return column_stats(pl.DataFrame(schema=dict.fromkeys(layout.header, pl.String())))


def _stats(
    table: TableSource, layout: Layout, number: int, block: bytes, keys: Keys, formats: dict[str, Any] | None = None
) -> dict[str, ColumnStats]:
    form, header = layout.forms[number], layout.headers[number]
    try:
        return column_stats(as_text(block, form, header), formats, form.missing, {c: keys.kind(c) for c in header})
    except pl.exceptions.PolarsError as exc:
        raise _explained(exc, table, block, layout, number) from exc


def _open_formats(stats: ColumnStats) -> Any:
    return None if not stats.present else stats.times or ()


def _summed(pieces: list[dict[str, ColumnStats]]) -> dict[str, ColumnStats]:
    return {c: reduce(lambda a, b: a + b, (p[c] for p in pieces if c in p)) for c in pieces[0]}


def _text_table(
    table: TableSource, layout: Layout, plan: dict[str, ColumnType], tables: Path, options: ReadOptions
) -> tuple[TableInfo, dict[str, ColumnStats]]:
    digests: list[Any] = []
    readers: list[_PartReader] = []
    folders = key_columns(table, layout.header, options.keys)

    def frames() -> Iterator[pl.DataFrame]:
        for number, part in enumerate(table.parts):
            digests.append(hashlib.sha256())
            reader = _PartReader(table, layout, number, plan)
            readers.append(reader)
            looked = blocks_looked_at(
                part, reader.form, reader.may_have_codes, digest=digests[-1], size=options.block_bytes
            )
            for block, codes in looked:
                yield with_keys(reader.frame(block, codes=codes), folders, number)
        if any(reader.unseen for reader in readers):
            raise _MismatchError

    path = tables / f"{table.name}.parquet"
    write_frames(table, path, frames(), {c: t.dtype for c, t in plan.items()} | dict(folders.schema))
    info = info_of(table, path, joined_sha([d.hexdigest() for d in digests]), options, layout.form, plan)
    chosen: dict[str, ColumnStats] = {}
    for reader in readers:
        chosen |= {c: chosen[c] + s if c in chosen else s for c, s in reader.chosen.items()}
    return info, chosen


class _PartReader:
    """Blocks of a part's text -> frames of the planned types; a value that does not fit raises."""

    def __init__(self, table: TableSource, layout: Layout, number: int, plan: dict[str, ColumnType]) -> None:
        self.table, self.layout, self.number = table, layout, number
        self.form, self.header = layout.forms[number], layout.headers[number]
        present = {c: plan[c] for c in self.header}
        self.plan = present
        self.direct = {c: t.dtype if t.direct else pl.String() for c, t in present.items()}
        self.numbers = [
            c for c in self.header if present[c].dtype in (pl.Int64, pl.Float64) and not present[c].is_stated
        ]
        self.parsed = [c for c, t in present.items() if not t.direct and t.dtype != pl.String]
        self.times = [c for c, t in present.items() if t.time_format]
        self.unknown: dict[str, list[str]] = {}
        for column, planned in present.items():
            if planned.like is not None:
                self.unknown.setdefault(planned.like, []).append(column)
        self.unseen = False
        keys = {c: t for c, t in present.items() if t.key and t.dtype != pl.String}
        self.integer_keys = [c for c, t in keys.items() if t.key == "key" and t.dtype == pl.Int64]
        self.compared = [c for c, t in keys.items() if not t.direct and (t.key == "key" or t.dtype == pl.Float64)]
        self.chosen: dict[str, ColumnStats] = {}
        # A number that is read directly stays a choice; other evidence has the whole of the files counted.
        self._choices = [c for c, t in present.items() if t.is_choice and not t.is_stated and not t.direct]
        self.fractions = [c for c, t in present.items() if t.direct and t.dtype == pl.Float64]
        read = [c for c, t in present.items() if not t.direct and (t.dtype != pl.String or self.form.missing)]
        # What stays as it was read needs no expression.
        self.expressions = [present[c].read(c, self.form.missing) for c in read]
        self.expressions += [pl.lit(None, dtype=t.dtype).alias(c) for c, t in plan.items() if c not in present]
        self.columns = list(plan)

    def may_have_codes(self, block: bytes) -> bool:
        """Whether a number of the block may be a code; `frame` is told so. It runs in the thread that reads."""
        return bool(self.numbers) and _may_have_codes(block, self.form.separator, keys=bool(self.integer_keys))

    def frame(self, block: bytes, *, codes: bool) -> pl.DataFrame:
        if codes:
            self._refuse_codes(block)
        try:
            text = _frame(block, self.form, self.direct)
        except pl.exceptions.PolarsError as exc:
            if not _is_misread(block, self.form) and self._is_a_table(block):
                raise _MismatchError from exc
            raise _explained(exc, self.table, block, self.layout, self.number) from exc
        typed = text.with_columns(self.expressions)
        if self.fractions and b"nan" in block.lower():
            # Where no text can be one, the look at each number is spared.
            typed = typed.with_columns(pl.col(self.fractions).fill_nan(None))
        typed = typed if typed.columns == self.columns else typed.select(self.columns)
        self._refuse_short_years(text, typed)
        for column in self._became_null(text, typed):
            if self._unreadable(column, text[column].filter(typed[column].is_null())).len():
                raise self._mismatch(column, text[column].filter(typed[column].is_null()))
        for column in self.compared:
            differing = respelled(text[column], typed[column], self.plan[column])
            if present_texts(differing, self.form.missing, tokens=()).len():
                raise _MismatchError(column)
        self._count_choices(text)
        self.unseen = self.unseen or any(self._has_others(text, like, of) for like, of in self.unknown.items())
        return typed

    def _became_null(self, text: pl.DataFrame, typed: pl.DataFrame) -> list[str]:
        """Return the parsed columns that have more nulls than their text."""
        if not self.parsed:
            return []
        nulls = pl.col(self.parsed).null_count()
        before, after = text.select(nulls).row(0), typed.select(nulls).row(0)
        return [c for c, was, now in zip(self.parsed, before, after, strict=True) if now > was]

    def _unreadable(self, column: str, values: pl.Series) -> pl.Series:
        """Return the values that became null though they do not stand for a missing one."""
        return present_texts(values, self.form.missing, self.plan[column].decimal)

    def _count_choices(self, text: pl.DataFrame) -> None:
        """Count the columns that could be read otherwise: another value may speak for that."""
        for column in self._choices:
            # Of each value one is enough.
            values = text[column].cast(pl.String).unique().to_frame()
            piece = column_stats(values, missing=self.form.missing)[column]
            self.chosen[column] = self.chosen[column] + piece if column in self.chosen else piece

    def _has_others(self, text: pl.DataFrame, like: str, columns: list[str]) -> bool:
        """Whether one of the columns has values that are unlike those by which its type was decided."""
        value = pl.col(columns)
        is_like = value.str.strip_chars().str.contains(f"^(?:{like})$")
        is_unlike = text.select((is_present(value, self.form.missing) & ~is_like).any())
        return any(is_unlike.row(0))

    def _refuse_short_years(self, text: pl.DataFrame, typed: pl.DataFrame) -> None:
        for column in self.times:
            is_early = typed[column].dt.year() < 1000
            if is_early.any():
                early = text[column].filter(is_early)
                if has_short_years(early, (self.plan[column].time_format or "").partition("|")[0]):
                    raise self._mismatch(column, early)

    def _mismatch(self, column: str, values: pl.Series) -> Exception:
        """Return what to raise: a type that was guessed is guessed again, one that was asked for is not."""
        planned = self.plan[column]
        if not planned.is_stated:
            return _MismatchError(column)
        bad = self._unreadable(column, values).first()
        written = f" {planned.time_format!r}" if planned.time_format else ""
        return DataError(
            f"{self.table.where}: column {column!r} has {bad!r}, "
            f"which is not of type {planned.dtype.base_type()}{written}",
            hint=f"[types] of competition.toml sets that type; fix {column!r} there",
        )

    def _is_a_table(self, block: bytes) -> bool:
        try:
            as_text(block, self.form, self.header)
        except pl.exceptions.PolarsError:
            return False
        return True

    def _refuse_codes(self, block: bytes) -> None:
        try:
            text = as_text(block, self.form, self.header)
        except pl.exceptions.PolarsError as exc:
            raise _explained(exc, self.table, block, self.layout, self.number) from exc
        if any(text.select(pl.col(self.numbers).str.contains(r"^\s*[+-]?0\d+\s*$").any()).row(0)):
            raise _MismatchError
        for column in self.integer_keys:
            values = text[column].drop_nulls()
            if values.filter(~values.str.contains(CANONICAL) & ~values.is_in(list(self.form.missing))).len():
                raise _MismatchError(column)


def _may_have_codes(block: bytes, separator: str, *, keys: bool = False) -> bool:
    """Whether a field may begin with a zero and another digit: as a number the zero would be lost.

    With `keys` also whether one may begin with a plus or a space, or be "-0". Looks at the bytes only, so that the
    reader may take whole numbers directly; says yes too often for dates.
    """
    # Nearly free, and most logs have none of these.
    is_odd = keys and any(sign in block for sign in (b"+", b" ", b"\t", b"-"))
    # A line end in front, so that the first field begins like any other.
    data = np.frombuffer(b"\n" + block, np.uint8)
    mark = ord(separator)
    for start in range(0, len(data), CODES_BYTES):
        piece = data[start : start + CODES_BYTES + 4]
        begins = (piece == mark) | (piece == 10) | (piece == 34)
        sign = (piece == 43) | (piece == 45) | (piece == 32)
        if is_odd and _is_written_oddly(begins, piece):
            return True
        begins[1:] |= sign[1:] & begins[:-1]
        # Below 48, bytes wrap round to large numbers.
        if (begins[:-2] & (piece[1:-1] == 48) & (piece[2:] - np.uint8(48) < 10)).any():
            return True
    return False


def _is_written_oddly(begins: npt.NDArray[np.bool_], piece: npt.NDArray[np.uint8]) -> bool:
    """Whether a field begins with a plus, a space or a tab and a digit, or is a zero with a minus."""
    at = np.flatnonzero(begins[:-3])
    # Few of all bytes: the rest is looked at there only.
    first, second, third = piece[at + 1], piece[at + 2], piece[at + 3]
    is_odd = (first == 43) | (first == 32) | (first == 9)
    is_odd &= (second - np.uint8(48) < 10) | (second == 43) | (second == 45) | (second == 32)
    return bool((is_odd | ((first == 45) & (second == 48) & (third != 46))).any())
