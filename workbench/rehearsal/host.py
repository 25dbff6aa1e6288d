"""`host.toml`: what a hosted competition is."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from workbench import metrics
from workbench.errors import DamagedError, NotFoundError, near

__all__ = ["Host", "host_text", "hosted", "load_metric", "read_host"]


@dataclass(frozen=True)
class Host:
    """A hosted competition.

    Attributes
    ----------
    classes : the sorted values of a binary or multiclass target, as texts; empty for a number
    deadline : ISO time, or empty for none: then it counts as finished, and private scores are shown
    late_submissions : whether it takes submissions after the deadline
    """

    title: str
    task: str
    metric: str
    greater_is_better: bool
    id: list[str]
    target: list[str]
    classes: list[str]
    weight: str
    daily_limit: int
    deadline: str
    late_submissions: bool
    created_at: str

    @property
    def ends_at(self) -> datetime | None:
        """The deadline, aware UTC."""
        return datetime.fromisoformat(self.deadline).astimezone(UTC) if self.deadline else None


def host_text(host: Host) -> str:
    """Return the text of `host.toml`."""
    # JSON's texts, numbers, booleans and lists of texts are TOML's too.
    return "".join(f"{f.name} = {json.dumps(getattr(host, f.name), ensure_ascii=False)}\n" for f in fields(host))


def read_host(folder: Path) -> Host:
    """Read the `host.toml` of a rehearsal's folder.

    Raises
    ------
    DamagedError
        When it is missing, not TOML, or lacks a key.
    """
    path = folder / "host.toml"
    hint = "`wb rehearse SLUG --force …` makes the rehearsal again"
    try:
        data: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        host = Host(**data)
        _ = host.ends_at
    except (OSError, ValueError, TypeError) as exc:
        raise DamagedError(f"{path} is damaged: {exc}", hint=hint) from exc
    return host


def hosted(workspace: Path) -> list[str]:
    """Return the slugs of the rehearsals in a workspace."""
    return sorted(p.parent.parent.name for p in (workspace / "competitions").glob("*/rehearsal/host.toml"))


def rehearsal_folder(workspace: Path, slug: str) -> Path:
    """Return the folder of a rehearsal that is there.

    Raises
    ------
    NotFoundError
        With the near names.
    """
    folder = workspace / "competitions" / slug / "rehearsal"
    if not folder.is_dir():
        known = hosted(workspace)
        raise NotFoundError(
            f"no rehearsal is called {slug!r}",
            hint=near(slug, known, what="rehearsal") + f"; `wb rehearse {slug} --train FILE …` makes it",
        )
    return folder


def load_metric(name: str, folder: Path, *, greater_is_better: bool) -> metrics.Metric:
    """Return a metric: built in, or the function ``file.py:name`` of the rehearsal's folder."""
    if ".py:" not in name:
        return metrics.get(name)
    file, _, function = name.partition(":")
    namespace: dict[str, Any] = {}
    try:
        exec(compile((folder / file).read_bytes(), file, "exec"), namespace)  # noqa: S102 the user's own metric
        found = namespace[function]
    except Exception as exc:
        raise NotFoundError(f"the metric {name!r} can't be loaded from {folder}: {type(exc).__name__}: {exc}") from exc
    return metrics.from_function(found, function, greater_is_better=greater_is_better)
