"""A submitted file: its columns and ids, checked before it is scored."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from workbench.core.errors import DataError
from workbench.core.wording import counted
from workbench.data.ingest import read_parquet_as_text, read_text_file

__all__ = ["RejectedError", "Scores", "align_to_solution", "read_submitted"]


class RejectedError(Exception):
    """A submitted file can't be scored; the text is the reason."""


@dataclass(frozen=True)
class Scores:
    """The scores on the public and on the private rows."""

    public: float
    private: float


def read_submitted(file: Path, expected: list[str], *, may_be_empty: str | None = None) -> pl.DataFrame:
    """Read a submitted file as texts; the column `may_be_empty` may have empty cells.

    Raises
    ------
    RejectedError
        When it is not a CSV or Parquet file, has other columns than expected, or cells are empty.
    """
    is_parquet = False
    try:
        with file.open("rb") as stream:
            is_parquet = stream.read(4) == b"PAR1"
        submitted = read_parquet_as_text(file) if is_parquet else read_text_file(file)
    except DataError as exc:
        raise RejectedError(
            f"not a CSV file with a header in UTF-8; expected the columns {', '.join(expected)}"
        ) from exc
    except (OSError, pl.exceptions.PolarsError) as exc:
        file_format = "Parquet" if is_parquet else "CSV"
        raise RejectedError(f"not a {file_format} file: {(str(exc).splitlines() or [''])[0]}") from exc
    missing = [c for c in expected if c not in submitted.columns]
    extra = [c for c in submitted.columns if c not in expected]
    if missing or extra:
        raise RejectedError(f"expected the columns {', '.join(expected)}; missing {missing}, unknown {extra}")
    for column in submitted.columns:
        if column != may_be_empty and submitted[column].null_count():
            raise RejectedError(f"column {column} has {submitted[column].null_count():,} empty values")
    return submitted


def align_to_solution(submitted: pl.DataFrame, solution: pl.DataFrame, ids: list[str]) -> pl.DataFrame:
    """Return the submitted rows in the order of the solution.

    Raises
    ------
    RejectedError
        When ids are repeated, missing or unknown.
    """
    repeated = submitted.select(ids).filter(submitted.select(ids).is_duplicated())
    if repeated.height:
        raise RejectedError(
            f"{counted(repeated.height, 'row repeats an id', 'rows repeat an id')}, for example {_examples(repeated)}"
        )
    missing = solution.select(ids).join(submitted, on=ids, how="anti")
    if missing.height:
        raise RejectedError(f"{counted(missing.height, 'id is', 'ids are')} missing, for example {_examples(missing)}")
    extra = submitted.select(ids).join(solution, on=ids, how="anti")
    if extra.height:
        raise RejectedError(f"{counted(extra.height, 'id is', 'ids are')} unknown, for example {_examples(extra)}")
    return solution.select(ids).join(submitted, on=ids, how="left", maintain_order="left")


def _examples(frame: pl.DataFrame) -> str:
    """Return the first three different rows of a frame of ids as text."""
    return ", ".join("/".join(map(str, row)) for row in frame.unique(maintain_order=True).head(3).rows())
