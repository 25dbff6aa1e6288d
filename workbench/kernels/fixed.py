"""Fixed copies of a competition's files: which of them a kernel packs, and which it can't."""

from __future__ import annotations

import re
from pathlib import Path

from workbench.core.errors import ConfigError
from workbench.data.competition import Competition
from workbench.data.ingest import reading_options, tables_in

__all__ = ["fixed_copies"]

OF_TEST = re.compile(r"(?<![a-z])test(?![a-z])", re.IGNORECASE)
"""Matches names of tables that hold test rows, such as "test_weather"."""


def fixed_copies(competition: Competition) -> dict[str, Path]:
    """Return the files of ``data/fixed`` that tables are read from, by their paths from the competition's folder.

    On Kaggle the files are as they were downloaded. A kernel reads the fixed copies there, too, so they are packed.

    Raises
    ------
    ConfigError
        When one replaces a file that Kaggle swaps for the hidden one in the rerun: the copy has the public rows.
    """
    folder, tables = competition.folder, competition.definition.tables
    options = reading_options(folder, None)
    place = options.fixed
    if place is None or not place.is_dir():
        return {}
    copies: dict[str, Path] = {}
    for table in tables_in(folder / "data" / "raw", options, {}):
        for path in {part.path for part in table.parts if part.path.is_relative_to(place)}:
            if table.name in (tables.test, tables.sample_submission) or OF_TEST.search(table.name.replace("_", " ")):
                raise ConfigError(
                    f"{path} is a fixed copy of the public rows of {table.name!r}: when Kaggle reruns the notebook, "
                    "there are other rows, in a file with the same fault",
                    hint="say in competition.toml how the file is read, under [read] and [types], and remove the copy; "
                    f"then `wb fetch {competition.slug}`, and run the experiment again",
                )
            copies[path.relative_to(folder).as_posix()] = path
    return dict(sorted(copies.items()))
