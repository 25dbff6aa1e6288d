"""`host.toml`: what a hosted competition is."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench import metrics
from workbench.core.errors import DamagedError, NotFoundError, near
from workbench.core.user_code import user_code
from workbench.data.competition import in_toml, own_file
from workbench.platforms.interactions import InteractionsSpec, invalid_values

if TYPE_CHECKING:
    from pydantic import TypeAdapter

__all__ = ["Host", "host_text", "hosted", "load_metric", "read_host", "rehearsal_folder"]

REMAKE = "`wb rehearse SLUG --force …` makes the competition again"


@dataclass(frozen=True)
class Host:
    """A hosted competition.

    Attributes
    ----------
    metric : a built-in name, or ``metric.py:function`` of the rehearsal's folder
    classes : for each target its values as texts, in order; of two the last is the positive one; empty for regression
    weight : the solution's column of weights; empty for none
    weight_expression : what it was computed by, of train's columns; empty where it is a column of train
    daily_limit : submissions a day (UTC)
    deadline : ISO time, UTC where it names no zone; empty for none: then it counts as finished, and private scores
        are shown
    late_submissions : whether it takes submissions after the deadline
    closed : takes none at all
    rows_train, rows_test, rows_public : how many rows there are; 0 where that was not noted
    interactions : of the task recommend what the log is, and what to predict from it; None for other tasks
    """

    title: str
    task: str
    metric: str
    greater_is_better: bool
    id: list[str]
    target: list[str]
    classes: list[list[str]]
    weight: str
    daily_limit: int
    deadline: str
    late_submissions: bool
    created_at: str
    closed: bool = False
    rows_train: int = 0
    rows_test: int = 0
    rows_public: int = 0
    weight_expression: str = ""
    interactions: InteractionsSpec | None = None

    @property
    def ends_at(self) -> datetime | None:
        """The deadline, aware UTC."""
        if not self.deadline:
            return None
        moment = datetime.fromisoformat(self.deadline)
        # Never the machine's own zone: the same folder must close at the same moment everywhere.
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)

    def is_over(self, now: datetime) -> bool:
        """Say whether private scores are shown."""
        return self.ends_at is None or now > self.ends_at

    def is_open(self, now: datetime) -> bool:
        """Say whether it takes submissions."""
        ended = self.ends_at is not None and now > self.ends_at
        return not self.closed and (self.late_submissions or not ended)


def host_text(host: Host) -> str:
    """Return the text of `host.toml`."""
    plain = [f.name for f in fields(host) if f.name != "interactions"]
    text = "".join(f"{name} = {in_toml(getattr(host, name))}\n" for name in plain)
    if host.interactions is None:
        return text
    settings = {f.name: getattr(host.interactions, f.name) for f in fields(host.interactions)}
    return text + "\n[interactions]\n" + "".join(f"{k} = {in_toml(v)}\n" for k, v in settings.items() if v is not None)


def read_host(folder: Path) -> Host:
    """Read the `host.toml` of a rehearsal's folder.

    Raises
    ------
    DamagedError
        When it is missing, not TOML, lacks a key, has one too many, or holds a value of the wrong type.
    """
    path = folder / "host.toml"
    try:
        data: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        return _host(data)
    except (OSError, ValueError, RecursionError) as exc:
        raise DamagedError(f"{path} is damaged: {exc}", hint=REMAKE) from exc


@cache
def _adapter() -> TypeAdapter[Host]:
    # Built once: it takes 15 ms, and each answer of the rehearsal's platform begins with this file.
    from pydantic import TypeAdapter

    return TypeAdapter(Host)


def _host(data: dict[str, Any]) -> Host:
    """Check the keys and the types; ValueError says what is wrong."""
    from pydantic import ValidationError

    valid_keys = [f.name for f in fields(Host)]
    for key in data:
        if key not in valid_keys:
            raise ValueError(f"unknown key {key!r}; {near(key, valid_keys, kind='key')}")
    try:
        # Through JSON, because strict mode takes a table for a dataclass only from there.
        host = _adapter().validate_json(json.dumps(_as_written_by_hand(data), default=str), strict=True)
    except ValidationError as exc:
        first = exc.errors()[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from exc
    _ = host.ends_at
    if (host.task == "recommend") != (host.interactions is not None):
        raise ValueError(f"[interactions] is for the task recommend and needed there, got task = {host.task!r}")
    for invalid in invalid_values(host.interactions) if host.interactions else ():
        raise ValueError(f"interactions.{invalid.key}: {invalid.message}")
    return host


def _as_written_by_hand(data: dict[str, Any]) -> dict[str, Any]:
    """Take TOML's own dates, and one target's classes as a plain list, as the first version wrote them."""
    deadline, classes = data.get("deadline"), data.get("classes")
    if isinstance(deadline, date):
        data = data | {"deadline": deadline.isoformat()}
    if isinstance(classes, list) and classes and all(isinstance(c, str) for c in classes):
        data = data | {"classes": [classes]}
    return data


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
        slugs = hosted(workspace)
        raise NotFoundError(
            f"there is no local competition {slug!r}",
            hint=near(slug, slugs, kind="local competition") + f"; `wb rehearse {slug} --train FILE …` makes it",
        )
    return folder


def load_metric(name: str, folder: Path, *, greater_is_better: bool) -> metrics.Metric:
    """Return a metric: built in, or the function ``file.py:name`` of the rehearsal's folder."""
    if ".py:" not in name:
        return metrics.get(name)
    file, _, function = name.partition(":")
    path = own_file(folder, file, where=f"the metric {name!r}")
    namespace: dict[str, Any] = {}
    with user_code(
        f"the metric {name!r} can't be loaded from {folder}", NotFoundError, folder=path.parent, pass_through=()
    ):
        exec(compile(path.read_bytes(), str(path), "exec"), namespace)  # noqa: S102 the user's own metric
        score = namespace[function]
    return metrics.from_function(score, function, greater_is_better=greater_is_better)
