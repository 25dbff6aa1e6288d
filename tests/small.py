"""Small competitions made by a seeded generator, fetched through the real rehearsal platform."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from workbench import library
from workbench.rehearsal import RehearsalSpec, create
from workbench.workspace import Workspace, create_workspace

FEATURES = '''
import polars as pl
from workbench.features import ROW, feature, target_mean

SCALE = 2.0


def scaled(column):
    return pl.col(column) * SCALE


@feature
def ratio(rows):
    """x over z."""
    return rows.select(ROW, ratio=pl.col("x") / (pl.col("z").abs() + 1))


@feature
def doubled(rows: pl.LazyFrame):
    return [scaled("x").alias("x2")]


@feature
def town_size(rows, towns):
    return rows.select(ROW, "town").join(towns.select("town", "size"), on="town", how="left").drop("town")


te_town = target_mean("town", smoothing=5)
'''


@dataclass(frozen=True)
class Small:
    """A workspace with one fetched competition."""

    workspace: Workspace
    slug: str

    @property
    def open(self) -> library.OpenCompetition:
        return library.OpenCompetition(self.workspace, self.slug)

    @property
    def folder(self) -> Path:
        return self.workspace.competitions / self.slug

    def experiment(self, number: int, text: str) -> None:
        (self.folder / "experiments" / f"{number:03d}.toml").write_text(text)

    def definition(self, old: str, new: str) -> None:
        """Replace a piece of competition.toml."""
        path = self.folder / "competition.toml"
        text = path.read_text()
        if old not in text:
            raise AssertionError(f"{old!r} is not in {text}")
        path.write_text(text.replace(old, new))


def make_frame(n_rows: int, *, task: str = "binary", seed: int = 7) -> pl.DataFrame:
    """Return rows with numbers, a text, a group, a day and a target that depends on them."""
    rng = np.random.default_rng(seed)
    x, z = rng.normal(size=n_rows), rng.normal(size=n_rows)
    town = rng.integers(0, 12, n_rows)
    signal = x + 0.5 * z + 0.4 * np.sin(town) + rng.normal(scale=0.7, size=n_rows)
    targets: dict[str, dict[str, Any]] = {
        "binary": {"y": (signal > 0.3).astype(np.int64)},
        "regression": {"y": np.exp(0.3 * signal)},
        "multiclass": {"y": np.array(["low", "mid", "high"])[np.digitize(signal, [-0.7, 0.7])]},
        "two": {"y": signal, "w": x - z + rng.normal(scale=0.3, size=n_rows)},
    }
    day = np.datetime64("2024-01-01") + np.sort(rng.integers(0, 200, n_rows)).astype("timedelta64[D]")
    return pl.DataFrame(
        {
            "id": np.arange(1000, 1000 + n_rows),
            "x": x.round(6),
            "z": z.round(6),
            "town": [f"town {t}" for t in town],
            "household": rng.integers(0, n_rows // 4, n_rows),
            "day": day,
            **targets[task],
        }
    )


def make_small(
    root: Path, *, task: str = "binary", metric: str = "auc", n_rows: int = 500, slug: str = "small", **options: Any
) -> Small:
    """Host, fetch and define a competition with a features.py; no experiment is run."""
    workspace = create_workspace(root)
    source = root / "source"
    source.mkdir(exist_ok=True)
    make_frame(n_rows, task=task).write_csv(source / "all.csv")
    pl.DataFrame({"town": [f"town {t}" for t in range(12)], "size": list(range(12))}).write_csv(source / "towns.csv")
    spec: dict[str, Any] = {
        "train": source / "all.csv",
        "targets": ("y", "w") if task == "two" else ("y",),
        "metric": metric,
        "holdout": 0.2,
        "after": None,
        "tables": (source / "towns.csv",),
    }
    create(workspace.root, slug, RehearsalSpec(**(spec | options)))
    library.fetch(slug, where=workspace)
    made = Small(workspace, slug)
    (made.folder / "features.py").write_text(FEATURES)
    return made
