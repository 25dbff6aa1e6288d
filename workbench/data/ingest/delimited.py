"""Convert delimited text to tables: types depend on complete files, but each file is mostly read only once.

Types are guessed from the first four megabytes, and every value is checked against the guess during conversion. If one
does not fit, statistics of the complete files are computed and the files are converted again, with the same result as
if the statistics had been known before.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.core.context import RunContext
from workbench.core.errors import DamagedError, DataError
from workbench.data.competition import TableInfo
from workbench.data.ingest.conversion_job import ConversionJob, GroupConverter
from workbench.data.ingest.counting import column_stats, is_present
from workbench.data.ingest.folder_columns import folder_columns, with_folder_columns
from workbench.data.ingest.keys import CANONICAL, Keys, is_numeric
from workbench.data.ingest.layouts import (
    Layout,
    agreed_layouts,
    forms_of,
    layout_of,
    reencoded_layouts,
    report_encodings,
    report_missing_columns,
)
from workbench.data.ingest.reserved import renamed_notes, safe_names
from workbench.data.ingest.sources import ReadOptions, TableSource, joined_sha, place_of
from workbench.data.ingest.text import (
    HEAD_BYTES,
    TextForm,
    blocks,
    blocks_with,
    first_block,
    first_fault,
    has_short_record,
    without_blank_lines,
)
from workbench.data.ingest.types import (
    NO_EVIDENCE,
    NO_STATS,
    ColumnStats,
    ColumnType,
    Evidence,
    Fact,
    decide,
    evidence_from,
    facts_of,
    from_name,
    has_short_years,
    present_texts,
    respelled,
)
from workbench.data.ingest.writing import TextReading, guesses_of, info_of, report_beyond_64_bits, write_frames

__all__ = ["ColumnEvidence", "ConvertedGroup", "as_text", "convert_text_groups", "text_tables"]

CODE_CHUNK_BYTES = 256 * 1024
"""The bytes that are searched for codes at a time, so that they fit the processor's cache."""
MAX_ATTEMPTS = 4


class _MismatchError(Exception):
    """A value does not fit the guessed type."""


class _EncodingError(Exception):
    """A byte does not fit the guessed encoding."""


class _RaggedError(pl.exceptions.PolarsError):
    """A record has too few fields, which polars would fill with nulls."""


class ColumnEvidence:
    """Statistics of the columns of all delimited tables, which decide types that one table alone leaves open.

    Tables that need no conversion contribute the statistics of their heads.
    """

    def __init__(self, options: ReadOptions) -> None:
        self._options = options
        self._heads: dict[tuple[str, Layout], dict[str, ColumnStats]] = {}
        # Counted, because with thousands of tables the evidence of all is asked for after each.
        self._facts: dict[str, set[Fact]] = {}
        self._fact_counts: Counter[Fact] = Counter()

    def head_stats(self, group: list[TableSource], layouts: dict[str, Layout]) -> dict[str, dict[str, ColumnStats]]:
        """Return the statistics of the heads of a group's tables, and add them to the evidence."""
        for table in group:
            key = table.name, layouts[table.name]
            if key not in self._heads:
                self._heads[key] = _head_stats(table, layouts[table.name], self._options.keys)
        stats = {t.name: self._heads[t.name, layouts[t.name]] for t in group}
        self.add(stats)
        return dict(stats)

    def add_heads(self, group: list[TableSource]) -> None:
        """Add the statistics of the heads of a group; the conversion reports tables that can't be read."""
        with suppress(DataError, DamagedError, _EncodingError):
            layouts = {t.name: layout_of(t, self._options.read.get(t.name, {})) for t in group}
            self.head_stats(group, agreed_layouts(group, layouts))

    def add(self, stats: dict[str, dict[str, ColumnStats]]) -> None:
        """Add the statistics of the tables of a group, in place of earlier ones of the same tables."""
        key = ",".join(stats)
        self._fact_counts.subtract(self._facts.get(key, ()))
        self._facts[key] = {fact for total in _stats_by_column(stats).values() for fact in facts_of(total)}
        self._fact_counts.update(self._facts[key])

    @property
    def evidence(self) -> Evidence:
        """The facts that the statistics of all tables prove."""
        return evidence_from([fact for fact, n in self._fact_counts.items() if n])


def _stats_by_column(stats: dict[str, dict[str, ColumnStats]]) -> dict[str, ColumnStats]:
    """Add the statistics of several tables, by column."""
    return _summed(list(stats.values()))


@dataclass(frozen=True)
class ConvertedGroup:
    """Converted tables, and the basis of their types, to check later whether the types are still right.

    Attributes
    ----------
    infos : dict
        The manifest entries by table.
    stats : dict
        By table and column, the statistics after conversion.
    forms : dict
        The text formats by table.
    plans : dict
        By table and column, the types.
    basis : tuple
        The statistics and the evidence that `plans` were decided from.
    """

    infos: dict[str, TableInfo]
    stats: dict[str, dict[str, ColumnStats]]
    forms: dict[str, TextForm]
    plans: dict[str, dict[str, ColumnType]]
    basis: tuple[dict[str, dict[str, ColumnStats]], Evidence]

    def is_valid(self, options: ReadOptions, evidence: Evidence) -> bool:
        """Tell whether the types are the same with the present statistics and evidence."""
        plans = self._current_plans(options, evidence)
        return plans is self.plans or all(_same_types(plan, plans[name]) for name, plan in self.plans.items())

    def with_notes(self, options: ReadOptions, evidence: Evidence) -> dict[str, TableInfo]:
        """Return the manifest entries with `types`, `choices` and `notes` by the present statistics and evidence."""
        plans = self._current_plans(options, evidence)
        infos = {}
        for name, info in self.infos.items():
            new_names = safe_names(name, plans[name])
            guesses = guesses_of({new_names.get(c, c): t for c, t in plans[name].items()})
            notes = guesses["notes"] | renamed_notes(info.dtypes)
            infos[name] = replace(info, types=guesses["types"], choices=guesses["choices"], notes=notes)
        return infos

    def _current_plans(self, options: ReadOptions, evidence: Evidence) -> dict[str, dict[str, ColumnType]]:
        is_same = self.basis == (self.stats, evidence)
        return self.plans if is_same else plan_types(self.stats, self.forms, options, evidence)


def convert_text_groups(
    groups: list[list[TableSource]], stale: list[list[TableSource]], converter: GroupConverter
) -> dict[str, TableInfo]:
    """Convert groups of delimited tables, whose dates and numbers are read by the evidence of all tables.

    See `workbench.data.ingest.formats.FileFormat.convert`.
    """
    if not stale:
        return {}
    options = converter.job.options
    column_evidence = ColumnEvidence(options)
    for group in groups:
        column_evidence.add_heads(group)

    def convert_group(group: list[TableSource], job: ConversionJob) -> ConvertedGroup:
        return text_tables(group, job, column_evidence)

    conversions = [converter.convert(group, convert_group, text_tables) for group in stale]
    for index, group in enumerate(stale):
        conversion = conversions[index]
        # A table that was converted later may have changed the evidence.
        if conversion is not None and not conversion.is_valid(options, column_evidence.evidence):
            affected = [t for t in group if t.name in conversion.infos]
            converter.job.context.say(
                f"converting {' and '.join(t.name for t in affected)} again: another table shows what the values mean"
            )
            conversions[index] = converter.convert(affected, convert_group, text_tables)
    evidence = column_evidence.evidence
    return {n: i for c in conversions if c is not None for n, i in c.with_notes(options, evidence).items()}


def _same_types(one: dict[str, ColumnType], other: dict[str, ColumnType]) -> bool:
    return all((one[c].dtype, one[c].named) == (t.dtype, t.named) for c, t in other.items())


def text_tables(
    group: list[TableSource], job: ConversionJob, column_evidence: ColumnEvidence | None = None
) -> ConvertedGroup:
    """Convert tables that share the types of their columns; keys keep their spelling.

    Parameters
    ----------
    group : list of TableSource
    job : ConversionJob
    column_evidence : ColumnEvidence, optional
        The statistics of other tables, by default none; those of the group are added.

    Raises
    ------
    DataError
        When a file is not a table or not in the stated encoding, or a value does not have the stated type.
    DamagedError
        When a file is truncated or damaged.
    """
    for table in group:
        if job.read_options(table).get("explode"):
            raise DataError(
                f"[read.{table.name}] explode in competition.toml: {table.where} is delimited text, which has no lists",
                hint="remove explode; a list written as a text is split in features.py",
            )
    conversion = _TextConversion(group, job, column_evidence or ColumnEvidence(job.options))
    for _ in range(MAX_ATTEMPTS):
        try:
            return conversion.attempt()
        except _EncodingError:
            conversion.guess_encodings_again()
        except _MismatchError:
            names = " and ".join(t.name for t in group)
            job.context.say(f"converting {names} again: a value further down has another type")
            conversion.use_full_stats()
    raise DataError(
        f"{group[0].where} can't be converted to a table: its values fit none of the types that were chosen"
    )


class _TextConversion:
    """The conversion of a group of delimited tables, which is attempted until all guesses are right."""

    def __init__(self, group: list[TableSource], job: ConversionJob, column_evidence: ColumnEvidence) -> None:
        self.group, self.job, self.column_evidence = group, job, column_evidence
        self.layouts = agreed_layouts(group, {t.name: layout_of(t, job.read_options(t)) for t in group})
        for table in group:
            report_missing_columns(table, self.layouts[table.name], job.context)
        self.stats: dict[str, dict[str, ColumnStats]] = {}
        self.plans: dict[str, dict[str, ColumnType]] | None = None
        self.basis = (self.stats, NO_EVIDENCE)

    def attempt(self) -> ConvertedGroup:
        """Convert the tables with the present guesses.

        Raises
        ------
        _EncodingError, _MismatchError
            When a guess is wrong.
        """
        context, options = self.job.context, self.job.options
        if self.plans is None:
            # May raise _EncodingError: the head of a second part may be the first that is not UTF-8.
            self.stats = self.column_evidence.head_stats(self.group, self.layouts)
            self.basis = dict(self.stats), self.column_evidence.evidence
            self.plans = plan_types(self.stats, forms_of(self.layouts), options, self.basis[1])
        infos = {}
        for table in self.group:
            name = table.name
            context.say(f"converting {name}")
            report_encodings(table, self.layouts[name], context)
            infos[name], choice_stats = _text_table(table, self.layouts[name], self.plans[name], self.job)
            # The statistics of columns with a choice are complete now.
            stats = self.stats[name]
            self.stats[name] = stats | {c: replace(s, exact=stats[c].exact) for c, s in choice_stats.items()}
        self.column_evidence.add(self.stats)
        converted = ConvertedGroup(infos, self.stats, forms_of(self.layouts), self.plans, self.basis)
        if not converted.is_valid(options, self.column_evidence.evidence):
            raise _MismatchError
        _report_keys_as_text(self.plans, options.keys, context)
        large_columns = {c: None for plan in self.plans.values() for c, t in plan.items() if t.beyond_64_bits}
        report_beyond_64_bits(context, [t.name for t in self.group], list(large_columns))
        return converted

    def guess_encodings_again(self) -> None:
        """Guess the encodings from complete files.

        Raises
        ------
        DataError
            When the guesses stay the same.
        """
        stated = {t.name for t in self.group if self.job.read_options(t).get("encoding")}
        layouts = reencoded_layouts(self.group, self.layouts, stated)
        if layouts == self.layouts:
            faulty_places = [t.where for t in self.group if t.name in stated] or [t.where for t in self.group]
            raise DataError(
                f"{', '.join(faulty_places)}: some bytes are invalid in the encoding that competition.toml names",
                hint='name the encoding in competition.toml: [read.TABLE] encoding = "…"',
            ) from None
        self.layouts, self.plans = layouts, None

    def use_full_stats(self) -> None:
        """Decide the types from the statistics of complete files."""
        options = self.job.options
        self.stats = {t.name: _full_stats(t, self.layouts[t.name], options.keys) for t in self.group}
        self.column_evidence.add(self.stats)
        self.basis = dict(self.stats), self.column_evidence.evidence
        full_plans = plan_types(self.stats, forms_of(self.layouts), options, self.basis[1])
        # No further value can change a type.
        self.plans = {
            name: {c: t if t.like is None else replace(t, like=None) for c, t in plan.items()}
            for name, plan in full_plans.items()
        }


def _report_keys_as_text(plans: dict[str, dict[str, ColumnType]], keys: Keys, context: RunContext) -> None:
    """Report the keys and codes that are text although they look like numbers."""
    for column in dict.fromkeys(c for plan in plans.values() for c, t in plan.items() if t.looks_numeric):
        names = " and ".join(name for name, plan in plans.items() if column in plan)
        kind = "a key" if keys.kind(column) == "key" else "a code"
        context.say(f"{names}: {column!r} is {kind}, left as text: as numbers some values would be written otherwise")


def plan_types(
    stats: dict[str, dict[str, ColumnStats]],
    forms: dict[str, TextForm],
    options: ReadOptions,
    evidence: Evidence = NO_EVIDENCE,
) -> dict[str, dict[str, ColumnType]]:
    """Decide the types by table and column, from the statistics of a column in all tables of a group."""
    plans: dict[str, dict[str, ColumnType]] = {}
    for name, table_stats in stats.items():
        form = forms[name]
        plans[name] = {}
        for column in table_stats:
            column_type = decide(
                [s[column] for s in stats.values() if column in s],
                decimal=form.decimal,
                separator=form.separator,
                evidence=evidence,
                name=column,
                key=options.keys.kind(column),
            )
            stated_type = options.stated_type(name, column)
            if stated_type:
                plans[name][column] = replace(from_name(stated_type, column), plainest=column_type.plainest)
                continue
            if options.keys.is_text(column) and is_numeric(column_type.dtype):
                column_type = ColumnType(pl.String(), looks_numeric=True)
            # Where the text has to be compared or searched for missing values, the CSV reader must not parse it.
            if form.missing or (column_type.key and column_type.dtype == pl.Float64):
                column_type = replace(column_type, is_parsed_by_reader=False)
            plans[name][column] = column_type
    return plans


def _frame(block: bytes, form: TextForm, schema: dict[str, Any]) -> pl.DataFrame:
    """Parse a block with polars' CSV reader; blank lines are no records, and a record with too few fields raises."""

    def read(data: bytes) -> pl.DataFrame:
        try:
            return pl.read_csv(
                _without_magic_bytes(data, form),
                has_header=False,
                schema=schema,
                separator=form.separator,
                # Also quoted: a program that quotes everything can't write a missing value otherwise.
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
        # polars infers the number of columns from the first line, even if it is blank.
        without_blanks = without_blank_lines(block)
        if without_blanks == block:
            raise
        return read(without_blanks) if without_blanks else pl.DataFrame(schema=schema)
    n_nulls = frame.to_series(-1).null_count()
    separator = form.separator.encode()
    n_empty_fields = sum(block.count(separator + end) for end in (b"\n", b"\r\n", b'""\n', b'""\r\n')) if n_nulls else 0
    if n_nulls <= n_empty_fields:
        return frame
    # The last column has more nulls than records with an empty last field, quoted or not.
    if has_short_record(block, form, len(schema)):
        raise _RaggedError("a record has too few fields")
    without_blanks = without_blank_lines(block)
    return frame if without_blanks == block else read(without_blanks) if without_blanks else frame.clear()


def _without_magic_bytes(block: bytes, form: TextForm) -> bytes:
    """Quote the first field of a block that begins like zlib data ("x^"), which polars would decompress."""
    if not block.startswith((b"x^", b"x\x01")):
        return block
    end = min(i for i in (block.find(form.separator.encode()), block.find(b"\n"), len(block)) if i >= 0)
    field = block[:end].rstrip(b"\r")
    return b'"' + field.replace(b'"', b'""') + b'"' + block[len(field) :]


def as_text(block: bytes, form: TextForm, header: Sequence[str]) -> pl.DataFrame:
    """Parse a block of complete records with all columns as text."""
    return _frame(block, form, dict.fromkeys(header, pl.String()))


def _has_invalid_utf8(block: bytes, form: TextForm) -> bool:
    if form.encoding in ("utf-8", "ascii"):
        try:
            block.decode()
        except UnicodeDecodeError:
            return True
    return False


def _parse_error(
    exc: pl.exceptions.PolarsError, table: TableSource, block: bytes, layout: Layout, number: int
) -> Exception:
    """Return the exception to raise for a block that polars can't parse."""
    if _has_invalid_utf8(block, layout.forms[number]):
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
        head = first_block(part, layout.forms[number], HEAD_BYTES)
        if head:
            part_stats.append(_stats(table, layout, number, head, keys))
    return _summed(part_stats)


def _full_stats(table: TableSource, layout: Layout, keys: Keys) -> dict[str, ColumnStats]:
    """Return the statistics of a complete table; only time formats that fit all earlier blocks are tried."""
    total = _no_stats(layout)
    for number, part in enumerate(table.parts):
        for block in blocks(part, layout.forms[number]):
            formats = {c: _possible_formats(s) for c, s in total.items()}
            total = _summed([total, _stats(table, layout, number, block, keys, formats)])
    return total


def _no_stats(layout: Layout) -> dict[str, ColumnStats]:
    return dict.fromkeys(layout.header, NO_STATS)


def _stats(
    table: TableSource, layout: Layout, number: int, block: bytes, keys: Keys, formats: dict[str, Any] | None = None
) -> dict[str, ColumnStats]:
    """Return the statistics by column of a block of part `number`; for `formats` see `column_stats`."""
    form, header = layout.forms[number], layout.headers[number]
    try:
        return column_stats(as_text(block, form, header), formats, form.missing, {c: keys.kind(c) for c in header})
    except pl.exceptions.PolarsError as exc:
        raise _parse_error(exc, table, block, layout, number) from exc


def _possible_formats(stats: ColumnStats) -> Any:
    """Return the formats of a day that fit all values so far; None for all formats, if there was no value."""
    return None if not stats.present else stats.times or ()


def _summed(stats_of_blocks: list[dict[str, ColumnStats]]) -> dict[str, ColumnStats]:
    """Add statistics by column, the columns in the order of their first occurrence."""
    total: dict[str, ColumnStats] = {}
    for stats in stats_of_blocks:
        for column, block_stats in stats.items():
            earlier = total.get(column, NO_STATS)
            total[column] = block_stats if earlier is NO_STATS else earlier + block_stats
    return total


def _text_table(
    table: TableSource, layout: Layout, plan: dict[str, ColumnType], job: ConversionJob
) -> tuple[TableInfo, dict[str, ColumnStats]]:
    """Convert a table; return its entry, and complete statistics of the columns whose type is a choice.

    Raises
    ------
    _EncodingError, _MismatchError
        When a value does not fit the layout or the plan.
    """
    digests: list[Any] = []
    readers: list[_PartReader] = []
    columns_from_folders = folder_columns(table, layout.header, job.options.keys)

    def frames() -> Iterator[pl.DataFrame]:
        for number, part in enumerate(table.parts):
            digests.append(hashlib.sha256())
            reader = _PartReader(table, layout, number, plan)
            readers.append(reader)
            blocks_with_flags = blocks_with(
                part, reader.form, reader.may_have_codes, digest=digests[-1], size=job.options.block_bytes
            )
            for block, may_have_codes in blocks_with_flags:
                frame = reader.frame(block, may_have_codes=may_have_codes)
                yield with_folder_columns(frame, columns_from_folders, number)
        if any(reader.has_unlike_values for reader in readers):
            raise _MismatchError

    path = job.parquet_path(table)
    schema = {c: t.dtype for c, t in plan.items()} | dict(columns_from_folders.schema)
    written = write_frames(table, path, frames(), schema)
    sha256 = joined_sha([d.hexdigest() for d in digests])
    info = info_of(table, written, sha256, job.options, TextReading(layout.form, plan))
    choice_stats: dict[str, ColumnStats] = {}
    for reader in readers:
        choice_stats |= {c: choice_stats[c] + s if c in choice_stats else s for c, s in reader.choice_stats.items()}
    return info, choice_stats


class _PartReader:
    """Converts blocks of a part's text to frames of the planned types; a value that does not fit raises."""

    def __init__(self, table: TableSource, layout: Layout, number: int, plan: dict[str, ColumnType]) -> None:
        self.table, self.layout, self.number = table, layout, number
        self.form, self.header = layout.forms[number], layout.headers[number]
        self.plan = plan_of_part = {c: plan[c] for c in self.header}
        types = plan_of_part.items()
        self.read_types = {c: t.dtype if t.is_parsed_by_reader else pl.String() for c, t in types}
        self.numbers = [c for c, t in types if t.dtype in (pl.Int64, pl.Float64) and not t.is_stated]
        self.parsed = [c for c, t in types if not t.is_parsed_by_reader and t.dtype != pl.String]
        self.times = [c for c, t in types if t.time_format]
        # The columns whose type may change with a value that does not match the pattern of all values so far.
        self.columns_by_pattern: dict[str, list[str]] = {}
        for column, column_type in types:
            if column_type.like is not None:
                self.columns_by_pattern.setdefault(column_type.like, []).append(column)
        self.has_unlike_values = False
        keys = {c: t for c, t in types if t.key and t.dtype != pl.String}
        self.integer_keys = [c for c, t in keys.items() if t.key == "key" and t.dtype == pl.Int64]
        # The keys whose spelling is compared with the file.
        self.compared = [
            c for c, t in keys.items() if not t.is_parsed_by_reader and (t.key == "key" or t.dtype == pl.Float64)
        ]
        self.choice_stats: dict[str, ColumnStats] = {}
        # Columns that the CSV reader parses keep the choice: other evidence leads to full statistics.
        self.choices = [c for c, t in types if t.is_choice and not t.is_stated and not t.is_parsed_by_reader]
        self.floats_of_reader = [c for c, t in types if t.is_parsed_by_reader and t.dtype == pl.Float64]
        with_expression = [
            c for c, t in types if not t.is_parsed_by_reader and (t.dtype != pl.String or self.form.missing)
        ]
        self.expressions = [plan_of_part[c].read(c, self.form.missing) for c in with_expression]
        self.expressions += [pl.lit(None, dtype=t.dtype).alias(c) for c, t in plan.items() if c not in plan_of_part]
        self.columns = list(plan)

    def may_have_codes(self, block: bytes) -> bool:
        """Tell whether a number of the block may be a code. Thread-safe."""
        return bool(self.numbers) and _may_have_codes(block, self.form.separator, keys=bool(self.integer_keys))

    def frame(self, block: bytes, *, may_have_codes: bool) -> pl.DataFrame:
        """Return the rows of a block.

        Raises
        ------
        _EncodingError, _MismatchError
            When a guess is wrong.
        DataError
            When the block is not a table, or a value does not have the stated type.
        """
        if may_have_codes:
            self._check_codes(block)
        try:
            text = _frame(block, self.form, self.read_types)
        except pl.exceptions.PolarsError as exc:
            if not _has_invalid_utf8(block, self.form) and self._is_table(block):
                raise _MismatchError from exc
            raise _parse_error(exc, self.table, block, self.layout, self.number) from exc
        typed = text.with_columns(self.expressions)
        if self.floats_of_reader and any(text.select(pl.col(self.floats_of_reader).is_nan().any()).row(0)):
            typed = typed.with_columns(pl.col(self.floats_of_reader).fill_nan(None))
        typed = typed if typed.columns == self.columns else typed.select(self.columns)
        self._check_short_years(text, typed)
        for column in self._columns_with_new_nulls(text, typed):
            null_texts = text[column].filter(typed[column].is_null())
            if self._not_missing(column, null_texts).len():
                raise self._mismatch(column, null_texts)
        for column in self.compared:
            differing = respelled(text[column], typed[column], self.plan[column])
            if present_texts(differing, self.form.missing, tokens=()).len():
                raise _MismatchError(column)
        self._count_choices(text)
        self.has_unlike_values = self.has_unlike_values or any(
            self._has_values_unlike(pattern, columns, text) for pattern, columns in self.columns_by_pattern.items()
        )
        return typed

    def _columns_with_new_nulls(self, text: pl.DataFrame, typed: pl.DataFrame) -> list[str]:
        """Return the parsed columns that have more nulls than their text."""
        if not self.parsed:
            return []
        counts = pl.col(self.parsed).null_count()
        before, after = text.select(counts).row(0), typed.select(counts).row(0)
        return [c for c, n_before, n_after in zip(self.parsed, before, after, strict=True) if n_after > n_before]

    def _not_missing(self, column: str, texts: pl.Series) -> pl.Series:
        """Return the texts that are not missing values."""
        return present_texts(texts, self.form.missing, self.plan[column].decimal)

    def _count_choices(self, text: pl.DataFrame) -> None:
        """Add the statistics of columns that could be read in another way, of distinct values only."""
        for column in self.choices:
            values = text[column].cast(pl.String).unique().to_frame()
            stats = column_stats(values, missing=self.form.missing)[column]
            self.choice_stats[column] = self.choice_stats[column] + stats if column in self.choice_stats else stats

    def _has_values_unlike(self, pattern: str, columns: list[str], text: pl.DataFrame) -> bool:
        """Tell whether one of the columns has values that do not match a pattern."""
        value = pl.col(columns)
        is_like = value.str.strip_chars().str.contains(f"^(?:{pattern})$")
        has_unlike = text.select((is_present(value, self.form.missing) & ~is_like).any())
        return any(has_unlike.row(0))

    def _check_short_years(self, text: pl.DataFrame, typed: pl.DataFrame) -> None:
        for column in self.times:
            is_early = typed[column].dt.year() < 1000
            if is_early.any():
                early_texts = text[column].filter(is_early)
                if has_short_years(early_texts, (self.plan[column].time_format or "").partition("|")[0]):
                    raise self._mismatch(column, early_texts)

    def _mismatch(self, column: str, values: pl.Series) -> Exception:
        """Return the exception to raise: a guessed type is decided again, a stated one is the user's error."""
        column_type = self.plan[column]
        if not column_type.is_stated:
            return _MismatchError(column)
        value = self._not_missing(column, values).first()
        time_format = f" {column_type.time_format!r}" if column_type.time_format else ""
        return DataError(
            f"{self.table.where}: column {column!r} has {value!r}, "
            f"which is not of type {column_type.dtype.base_type()}{time_format}",
            hint=f"[types] of competition.toml sets that type; fix {column!r} there",
        )

    def _is_table(self, block: bytes) -> bool:
        try:
            as_text(block, self.form, self.header)
        except pl.exceptions.PolarsError:
            return False
        return True

    def _check_codes(self, block: bytes) -> None:
        """Raise if a guessed number has leading zeros, or an integer key is not written as every program writes it."""
        try:
            text = as_text(block, self.form, self.header)
        except pl.exceptions.PolarsError as exc:
            raise _parse_error(exc, self.table, block, self.layout, self.number) from exc
        if any(text.select(pl.col(self.numbers).str.contains(r"^\s*[+-]?0\d+\s*$").any()).row(0)):
            raise _MismatchError
        for column in self.integer_keys:
            values = text[column].drop_nulls()
            if values.filter(~values.str.contains(CANONICAL) & ~values.is_in(list(self.form.missing))).len():
                raise _MismatchError(column)


def _may_have_codes(block: bytes, separator: str, *, keys: bool = False) -> bool:
    """Tell whether a field may begin with a zero and another digit, as codes do: a number would lose the zero.

    With `keys` also whether one may begin with a plus or a space, or be "-0". Only the bytes are searched, so that the
    CSV reader can parse integers directly; dates are often reported as well.
    """
    # A fast check that excludes most logs.
    may_have_odd_signs = keys and any(sign in block for sign in (b"+", b" ", b"\t", b"-"))
    # The line end in front lets the first field begin like the others.
    data = np.frombuffer(b"\n" + block, np.uint8)
    for start in range(0, len(data), CODE_CHUNK_BYTES):
        chunk = data[start : start + CODE_CHUNK_BYTES + 4]
        # Whether the next byte begins a field.
        is_start = (chunk == ord(separator)) | (chunk == ord("\n")) | (chunk == ord('"'))
        is_sign = (chunk == ord("+")) | (chunk == ord("-")) | (chunk == ord(" "))
        if may_have_odd_signs and _has_odd_sign(is_start, chunk):
            return True
        is_start[1:] |= is_sign[1:] & is_start[:-1]
        if (is_start[:-2] & (chunk[1:-1] == ord("0")) & _is_digit(chunk[2:])).any():
            return True
    return False


def _is_digit(codes: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    # Codes below that of "0" wrap around to large numbers.
    return codes - np.uint8(ord("0")) < 10


def _has_odd_sign(is_start: npt.NDArray[np.bool_], chunk: npt.NDArray[np.uint8]) -> bool:
    """Tell whether a field begins with a plus, a space or a tab before a number, or is a zero with a minus."""
    starts = np.flatnonzero(is_start[:-3])
    first, second, third = chunk[starts + 1], chunk[starts + 2], chunk[starts + 3]
    is_odd = (first == ord("+")) | (first == ord(" ")) | (first == ord("\t"))
    is_odd &= _is_digit(second) | (second == ord("+")) | (second == ord("-")) | (second == ord(" "))
    return bool((is_odd | ((first == ord("-")) & (second == ord("0")) & (third != ord(".")))).any())
