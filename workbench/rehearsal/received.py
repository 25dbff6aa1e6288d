"""A received file: its columns and its ids, before anything is scored."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from workbench.core.errors import DataError
from workbench.data.ingest import read_parquet_as_text, read_text_file

__all__ = ["RejectedError", "Scores", "aligned", "read_sent"]


class RejectedError(Exception):
    """A file that can't be scored; the text says why."""


@dataclass(frozen=True)
class Scores:
    """The scores of the two parts."""

    public: float
    private: float


def read_sent(file: Path, wanted: list[str], *, may_be_empty: str | None = None) -> pl.DataFrame:
    """Read a received file as texts; one of its columns may have empty cells.

    Raises
    ------
    RejectedError
        When it is no CSV or Parquet file, has other columns, or cells are empty.
    """
    is_parquet = False
    try:
        with file.open("rb") as opened:
            is_parquet = opened.read(4) == b"PAR1"
        sent = read_parquet_as_text(file) if is_parquet else read_text_file(file)
    except DataError as exc:
        raise RejectedError(f"not a CSV file with a header in UTF-8; expected the columns {', '.join(wanted)}") from exc
    except (OSError, pl.exceptions.PolarsError) as exc:
        form = "Parquet" if is_parquet else "CSV"
        raise RejectedError(f"not a {form} file: {(str(exc).splitlines() or [''])[0]}") from exc
    missing, extra = [c for c in wanted if c not in sent.columns], [c for c in sent.columns if c not in wanted]
    if missing or extra:
        raise RejectedError(f"expected the columns {', '.join(wanted)}; missing {missing}, unknown {extra}")
    for column in sent.columns:
        if column != may_be_empty and sent[column].null_count():
            raise RejectedError(f"column {column} has {sent[column].null_count():,} empty values")
    return sent


def aligned(sent: pl.DataFrame, solution: pl.DataFrame, ids: list[str]) -> pl.DataFrame:
    """Return the sent lines in the solution's order.

    Raises
    ------
    RejectedError
        When ids are repeated, missing or unknown.
    """
    repeated = sent.select(ids).filter(sent.select(ids).is_duplicated())
    if repeated.height:
        raise RejectedError(f"{repeated.height:,} lines repeat an id, for example {_some(repeated)}")
    missing = solution.select(ids).join(sent, on=ids, how="anti")
    if missing.height:
        raise RejectedError(f"{missing.height:,} ids are missing, for example {_some(missing)}")
    extra = sent.select(ids).join(solution, on=ids, how="anti")
    if extra.height:
        raise RejectedError(f"{extra.height:,} ids are unknown, for example {_some(extra)}")
    return solution.select(ids).join(sent, on=ids, how="left", maintain_order="left")


def _some(frame: pl.DataFrame) -> str:
    return ", ".join("/".join(map(str, row)) for row in frame.unique(maintain_order=True).head(3).rows())
