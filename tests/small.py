"""Small generated competitions, hosted and fetched on the local platform."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from workbench.api import library
from workbench.data.workspace import Workspace, create_workspace
from workbench.rehearsal import RehearsalSpec, create

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


templates: Path | None = None
"""A folder that all workers of a session share, for competitions that are copied; None to make each."""


def make_small(root: Path, *, slug: str = "small", **options: Any) -> Small:
    """Host, fetch and define a competition with a features.py.

    With `templates`, it is a copy of a template that a separate process made once for all workers, so that no patch of a
    test affects it.

    Parameters
    ----------
    root : Path
        Of the workspace, which is made.
    **options
        ``task``, ``metric``, ``n_rows``, ``runs`` (a tuple of texts: experiments that have been run, from 1), and those
        of `RehearsalSpec`.
    """
    plain = all(isinstance(v, str | int | float | tuple | None) for v in options.values())
    if templates is None or not plain or (root / "competitions").exists():
        return _make_small(root, slug, **options)
    shutil.copytree(_template(templates, slug, options), root, dirs_exist_ok=True)
    return Small(Workspace(root.resolve()), slug)


def _content(value: Any) -> Any:
    """Return a value for the template's key: a file is replaced by its name and digest, as its folder differs by test."""
    if isinstance(value, tuple):
        return tuple(map(_content, value))
    return (value.name, hashlib.sha256(value.read_bytes()).hexdigest()) if isinstance(value, Path) else value


def _template(folder: Path, slug: str, options: dict[str, Any]) -> Path:
    content = {name: _content(value) for name, value in options.items()}
    name = hashlib.sha256(repr((slug, sorted(content.items()))).encode()).hexdigest()[:16]
    template = folder / name
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not template.exists():
            from tests.commands import forkserver  # which loads this module first

            # Not by this process, where a test may have replaced something.
            process = forkserver().Process(target=_make_template, args=(template, slug, options))
            process.start()
            process.join()
            assert process.exitcode == 0, f"there is no template for {slug} with {options}"
    return template


def _make_template(template: Path, slug: str, options: dict[str, Any]) -> None:
    making = template.with_suffix(".making")
    _make_small(making, slug, **options)
    making.rename(template)


def _make_small(
    root: Path,
    slug: str,
    *,
    task: str = "binary",
    metric: str = "auc",
    n_rows: int = 500,
    runs: tuple[str, ...] = (),
    **options: Any,
) -> Small:
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
    for number, text in enumerate(runs, 1):
        made.experiment(number, text)
        made.open.run(number)
    return made
