"""Fixed copies of a competition's files that are packed into a kernel."""

from __future__ import annotations

import re
from pathlib import Path

from workbench.core.errors import ConfigError
from workbench.data.competition import Competition
from workbench.data.ingest import reading_options, tables_in

__all__ = ["fixed_copies"]

TEST_TABLE_NAME = re.compile(r"(?<![a-z])test(?![a-z])", re.IGNORECASE)
"""Matches names of tables that hold test rows, such as "test_weather"."""


def fixed_copies(competition: Competition) -> dict[str, Path]:
    """Return the files of ``data/fixed`` that tables are read from, by their paths in the competition's folder.

    Kaggle has the files as they were downloaded, and a kernel reads the fixed copies instead.

    Raises
    ------
    ConfigError
        When a copy is of the test set: in the rerun Kaggle replaces it with the hidden one, but the copy would still
        have the public rows.
    """
    folder, tables = competition.folder, competition.definition.tables
    options = reading_options(folder, None)
    fixed_folder = options.fixed
    if fixed_folder is None or not fixed_folder.is_dir():
        return {}
    copies: dict[str, Path] = {}
    for table in tables_in(folder / "data" / "raw", options, {}):
        for path in {part.path for part in table.parts if part.path.is_relative_to(fixed_folder)}:
            if table.name in (tables.test, tables.sample_submission) or TEST_TABLE_NAME.search(
                table.name.replace("_", " ")
            ):
                raise ConfigError(
                    f"{path} is a fixed copy of the public rows of {table.name!r}: when Kaggle reruns the notebook, "
                    "the hidden rows are in a file with the same fault",
                    hint="set in competition.toml how the file is read, under [read] and [types], and remove the copy; "
                    f"then `wb fetch {competition.slug}`, and run the experiment again",
                )
            copies[path.relative_to(folder).as_posix()] = path
    return dict(sorted(copies.items()))
