"""How the parts of delimited tables are written: separator, encoding and header of each, one encoding if it can be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

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
    "say_encodings",
    "say_what_differs",
]

Report = Callable[[str], None]


@dataclass(frozen=True)
class Layout:
    """How each part of a table is written, and the columns that it has, in its order."""

    forms: tuple[TextForm, ...]
    headers: tuple[tuple[str, ...], ...]

    @property
    def header(self) -> list[str]:
        """The columns of all parts, in the order in which they are first seen."""
        return list(dict.fromkeys(c for header in self.headers for c in header))

    @property
    def form(self) -> TextForm:
        """How the first part is written, with what was guessed of all."""
        guessed = dict.fromkeys(g for form in self.forms for g in form.guessed)
        return replace(self.forms[0], guessed=tuple(guessed))


def layout_of(table: TableSource, options: dict[str, Any]) -> Layout:
    """Return how the parts of a table are written; what `options` says of it takes precedence over the guess."""
    forms = tuple(form_of(part, options) for part in table.parts)
    return Layout(forms, tuple(_headers(table, forms)))


def _headers(table: TableSource, forms: tuple[TextForm, ...]) -> list[tuple[str, ...]]:
    return [tuple(header_of(part, form)) for part, form in zip(table.parts, forms, strict=True)]


def forms_of(layouts: dict[str, Layout]) -> dict[str, TextForm]:
    """Return how the first part of each table is written, with what was guessed of all."""
    return {name: layout.form for name, layout in layouts.items()}


def say_what_differs(table: TableSource, layout: Layout, report: Report) -> None:
    """Report the columns that a part lacks."""
    headers = [frozenset(header) for header in layout.headers]
    for column in layout.header:
        lacking = [p for p, h in zip(table.parts, headers, strict=True) if column not in h]
        if lacking:
            more = f" and {len(lacking) - 1} more of {len(table.parts)} parts" if len(lacking) > 1 else ""
            report(f"{table.name}: column {column!r} is missing in {place_of(lacking[0])}{more}; it is null there")


def reencoded_layouts(group: list[TableSource], layouts: dict[str, Layout], named: set[str]) -> dict[str, Layout]:
    """Return the layouts after looking at all of the files that seemed to be UTF-8; the `named` stay as they are."""
    guessed = [form.encoding for layout in layouts.values() for form in layout.forms if _is_guessed(form)]
    prefer = guessed[0] if guessed else None
    reencoded = {t.name: _with_encodings(t, layouts[t.name], prefer) for t in group if t.name not in named}
    return agreed_layouts(group, layouts | reencoded)


def _with_encodings(table: TableSource, layout: Layout, prefer: str | None) -> Layout:
    """Return a layout whose parts that were taken for UTF-8 have the encoding that all of them shows."""
    forms = []
    for part, form in zip(table.parts, layout.forms, strict=True):
        is_open = form.encoding == "utf-8" and not form.broken_line
        guess = full_encoding(part, prefer) if is_open else Guess("utf-8")
        is_utf8 = guess.encoding == "utf-8" and not guess.broken_line
        forms.append(form if is_utf8 else _reencoded(form, guess))
    return layout if tuple(forms) == layout.forms else Layout(tuple(forms), tuple(_headers(table, tuple(forms))))


def agreed_layouts(group: list[TableSource], layouts: dict[str, Layout]) -> dict[str, Layout]:
    """Return the layouts with one encoding for all files whose encodings were guessed, as far as they allow it."""
    guessed = [(t, n) for t in group for n, form in enumerate(layouts[t.name].forms) if _is_guessed(form)]
    if len({layouts[t.name].forms[n].encoding for t, n in guessed}) < 2:
        return layouts
    samples = {(t.name, n): encoding_sample(t.parts[n]) for t, n in guessed}
    together = guess_encoding(joined_sample(samples.values())).encoding
    agreed = dict(layouts)
    for table in group:
        forms = tuple(
            _reencoded(form, guess_encoding(samples[table.name, n], prefer=together))
            if (table.name, n) in samples
            else form
            for n, form in enumerate(layouts[table.name].forms)
        )
        if forms != layouts[table.name].forms:
            agreed[table.name] = Layout(forms, tuple(_headers(table, forms)))
    return agreed


def _is_guessed(form: TextForm) -> bool:
    """Whether a form's encoding was decided by its letters."""
    by_letters = not form.encoding.startswith(("utf", "iso2022"))
    return by_letters and any(line.startswith("encoding") for line in form.guessed)


def _reencoded(form: TextForm, guess: Guess) -> TextForm:
    other_lines = [line for line in form.guessed if not line.startswith("encoding")]
    return replace(
        form, encoding=guess.encoding, broken_line=guess.broken_line, guessed=(encoding_line(guess), *other_lines)
    )


def say_encodings(table: TableSource, layout: Layout, report: Report) -> None:
    """Report an encoding other than UTF-8, those that it may be as well, and a packing that the name does not tell."""
    for part in table.parts:
        if part.misnamed:
            report(f"{table.name}: {place_of(part)} is packed as {part.misnamed}, although its name does not say so")
    for part, form in zip(table.parts, layout.forms, strict=True):
        if form.broken_line:
            report(
                f"{table.name}: {place_of(part)} is written in UTF-8 with invalid bytes, the first in line "
                f"{form.broken_line:,}; each is read as \ufffd"
            )
    intact = [form for form in layout.forms if not form.broken_line]
    for line in dict.fromkeys(g for form in intact for g in form.guessed if g.startswith("encoding")):
        encoding, _, alternatives = line.removeprefix("encoding = ").replace('"', "").partition("  # or ")
        unsure = f"; it may be {alternatives} as well, look at its texts" if alternatives else ""
        report(f"{table.name}: not written in UTF-8, read as {encoding}{unsure}")
