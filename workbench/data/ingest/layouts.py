"""Detect the format and header of each part of delimited tables, with one encoding for all parts where possible."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from workbench.core.context import RunContext
from workbench.data.ingest.encodings import Guess, guess_encoding, joined_sample
from workbench.data.ingest.sources import TableSource, place_of
from workbench.data.ingest.text import (
    TextForm,
    encoding_line,
    encoding_sample,
    form_of,
    full_encoding,
    header_of,
)

__all__ = [
    "Layout",
    "agreed_layouts",
    "forms_of",
    "layout_of",
    "reencoded_layouts",
    "report_encodings",
    "report_missing_columns",
]


@dataclass(frozen=True)
class Layout:
    """The text format and the columns of each part of a table."""

    forms: tuple[TextForm, ...]
    headers: tuple[tuple[str, ...], ...]

    @property
    def header(self) -> list[str]:
        """The columns of all parts, in the order of their first occurrence."""
        return list(dict.fromkeys(c for header in self.headers for c in header))

    @property
    def form(self) -> TextForm:
        """The format of the first part, with the guesses on all parts."""
        guessed = dict.fromkeys(g for form in self.forms for g in form.guessed)
        return replace(self.forms[0], guessed=tuple(guessed))


def layout_of(table: TableSource, options: dict[str, Any]) -> Layout:
    """Detect the layout of a table, except for the settings of ``[read.TABLE]`` in `options`."""
    forms = tuple(form_of(part, options) for part in table.parts)
    return Layout(forms, tuple(_headers(table, forms)))


def _headers(table: TableSource, forms: tuple[TextForm, ...]) -> list[tuple[str, ...]]:
    return [tuple(header_of(part, form)) for part, form in zip(table.parts, forms, strict=True)]


def forms_of(layouts: dict[str, Layout]) -> dict[str, TextForm]:
    """Return the format of each table, see `Layout.form`."""
    return {name: layout.form for name, layout in layouts.items()}


def report_missing_columns(table: TableSource, layout: Layout, context: RunContext) -> None:
    """Report the columns that some parts lack."""
    headers = [frozenset(header) for header in layout.headers]
    for column in layout.header:
        lacking_parts = [p for p, h in zip(table.parts, headers, strict=True) if column not in h]
        if lacking_parts:
            more = f" and {len(lacking_parts) - 1} more of {len(table.parts)} parts" if len(lacking_parts) > 1 else ""
            context.say(
                f"{table.name}: column {column!r} is missing in {place_of(lacking_parts[0])}{more}; it is null there"
            )


def reencoded_layouts(group: list[TableSource], layouts: dict[str, Layout], exclude: set[str]) -> dict[str, Layout]:
    """Guess the encodings again from complete files, where they seemed to be UTF-8.

    `exclude` are tables whose encoding competition.toml names.
    """
    guessed_encodings = [form.encoding for layout in layouts.values() for form in layout.forms if _is_guessed(form)]
    preferred_encoding = guessed_encodings[0] if guessed_encodings else None
    reencoded = {
        t.name: _guess_completely(t, layouts[t.name], preferred_encoding) for t in group if t.name not in exclude
    }
    return agreed_layouts(group, layouts | reencoded)


def _guess_completely(table: TableSource, layout: Layout, preferred_encoding: str | None) -> Layout:
    """Return a layout in which the encodings of parts that seemed to be UTF-8 are guessed from complete files."""
    forms = []
    for part, form in zip(table.parts, layout.forms, strict=True):
        is_plain_utf8 = form.encoding == "utf-8" and not form.broken_line
        guess = full_encoding(part, preferred_encoding) if is_plain_utf8 else Guess("utf-8")
        is_utf8 = guess.encoding == "utf-8" and not guess.broken_line
        forms.append(form if is_utf8 else _reencoded(form, guess))
    return layout if tuple(forms) == layout.forms else Layout(tuple(forms), tuple(_headers(table, tuple(forms))))


def agreed_layouts(group: list[TableSource], layouts: dict[str, Layout]) -> dict[str, Layout]:
    """Return the layouts with one encoding for all files whose encoding was guessed, as far as it decodes them."""
    guessed_parts = [(t, n) for t in group for n, form in enumerate(layouts[t.name].forms) if _is_guessed(form)]
    if len({layouts[t.name].forms[n].encoding for t, n in guessed_parts}) < 2:
        return layouts
    samples = {(t.name, n): encoding_sample(t.parts[n]) for t, n in guessed_parts}
    common_encoding = guess_encoding(joined_sample(samples.values())).encoding
    agreed_layout_by_table = dict(layouts)
    for table in group:
        forms = tuple(
            _reencoded(form, guess_encoding(samples[table.name, n], prefer=common_encoding))
            if (table.name, n) in samples
            else form
            for n, form in enumerate(layouts[table.name].forms)
        )
        if forms != layouts[table.name].forms:
            agreed_layout_by_table[table.name] = Layout(forms, tuple(_headers(table, forms)))
    return agreed_layout_by_table


def _is_guessed(form: TextForm) -> bool:
    """Tell whether an encoding was guessed from the frequencies of letters."""
    is_legacy = not form.encoding.startswith(("utf", "iso2022"))
    return is_legacy and any(line.startswith("encoding") for line in form.guessed)


def _reencoded(form: TextForm, guess: Guess) -> TextForm:
    other_lines = [line for line in form.guessed if not line.startswith("encoding")]
    return replace(
        form, encoding=guess.encoding, broken_line=guess.broken_line, guessed=(encoding_line(guess), *other_lines)
    )


def report_encodings(table: TableSource, layout: Layout, context: RunContext) -> None:
    """Report encodings other than UTF-8 with their alternatives, invalid UTF-8, and packings with another suffix."""
    for part in table.parts:
        if part.misnamed:
            context.say(
                f"{table.name}: {place_of(part)} is packed as {part.misnamed}, although its name does not say so"
            )
    for part, form in zip(table.parts, layout.forms, strict=True):
        if form.broken_line:
            context.say(
                f"{table.name}: {place_of(part)} is written in UTF-8 with invalid bytes, the first in line "
                f"{form.broken_line:,}; each is read as \ufffd"
            )
    valid_forms = [form for form in layout.forms if not form.broken_line]
    for line in dict.fromkeys(g for form in valid_forms for g in form.guessed if g.startswith("encoding")):
        encoding, _, alternatives = line.removeprefix("encoding = ").replace('"', "").partition("  # or ")
        note = f"; it may be {alternatives} as well, look at its texts" if alternatives else ""
        context.say(f"{table.name}: not written in UTF-8, read as {encoding}{note}")
