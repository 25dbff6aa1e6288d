"""A competition of a few plain rows, with the ``[cv]`` table of a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from workbench.data.competition import Competition, load_competition
from workbench.data.ingest.convert import convert
from workbench.data.workspace import Workspace

__all__ = ["competition_of", "with_cv"]


def competition_of(
    root: Path, columns: dict[str, Any], cv: str, *, task: str = "regression", targets: tuple[str, ...] = ("y",)
) -> Competition:
    """Write a competition whose train table has these columns, and an id."""
    folder = root / "competitions" / "c"
    raw = folder / "data" / "raw"
    raw.mkdir(parents=True)
    train = pl.DataFrame(columns).with_row_index("id")
    train.write_parquet(raw / "train.parquet")
    train.drop(targets).write_parquet(raw / "test.parquet")
    train.select("id", *(pl.lit(0).alias(t) for t in targets)).write_csv(raw / "sample_submission.csv")
    convert(raw, folder / "data" / "tables", "c")
    metric = {"regression": "rmse", "binary": "auc", "ranking": "rmse"}[task]
    names = ", ".join(f'"{t}"' for t in targets)
    tables = "".join(f'{name} = "{name}"\n' for name in ("train", "test", "sample_submission"))
    (folder / "competition.toml").write_text(
        f'slug = "c"\nplatform = "kaggle"\ntask = "{task}"\nid = "id"\ntarget = [{names}]\n'
        f'metric = "{metric}"\n[tables]\n{tables}[cv]\n{cv}\n'
    )
    return load_competition(Workspace(root), "c")


def with_cv(competition: Competition, cv: str) -> Competition:
    """Write another ``[cv]`` table."""
    path = competition.folder / "competition.toml"
    path.write_text(f"{path.read_text().partition('[cv]')[0]}[cv]\n{cv}\n")
    return load_competition(Workspace(competition.folder.parents[1]), "c")
