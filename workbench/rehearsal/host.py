"""``host.toml``: the description of a local competition."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench import metrics
from workbench.core.errors import DamagedError, NotFoundError, did_you_mean
from workbench.core.user_code import user_code
from workbench.data.competition import in_toml, own_file
from workbench.platforms.interactions import InteractionsSpec, invalid_values

if TYPE_CHECKING:
    from pydantic import TypeAdapter

__all__ = ["HostedCompetition", "host_text", "hosted_slugs", "load_metric", "read_host", "rehearsal_folder"]

CREATE_AGAIN_HINT = "`wb rehearse SLUG --force …` creates the competition again"

TOML_KEYS = {"id_columns": "id", "target_columns": "target"}
"""The keys of ``host.toml`` by the fields that have another name."""


@dataclass(frozen=True)
class HostedCompetition:
    """A local competition; the fields are the keys of ``host.toml``, apart from two.

    Attributes
    ----------
    title, task : str
    metric : str
        A built-in name, or ``metric.py:function`` of the competition's folder.
    greater_is_better : bool
    id_columns, target_columns : list of str
        In the file `id` and `target`.
    classes : list of list of str
        For each target its values as texts, in order; of two, the last is the positive class. Empty for regression.
    weight : str
        The solution's column of weights; "" for none.
    daily_limit : int
        Submissions per UTC day.
    deadline : str
        ISO time, UTC unless it has a zone. "" for none: the competition is over, and private scores are shown.
    late_submissions : bool
        Whether submissions are accepted after the deadline.
    created_at : str
    closed : bool
        Whether no submissions are accepted at all.
    rows_train, rows_test, rows_public : int
        The numbers of rows; 0 if they were not stored.
    weight_expression : str
        The expression of train's columns that gives the weight; "" if the weight is a column of train.
    interactions : InteractionsSpec, optional
        The log of a competition of the task recommend.
    """

    title: str
    task: str
    metric: str
    greater_is_better: bool
    id_columns: list[str]
    target_columns: list[str]
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
        """The deadline in UTC, with that zone."""
        if not self.deadline:
            return None
        time = datetime.fromisoformat(self.deadline)
        # Not in the machine's zone: the same folder must close at the same time on every machine.
        return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)

    def is_over(self, now: datetime) -> bool:
        """Tell whether it is over, so that private scores are shown."""
        return self.ends_at is None or now > self.ends_at

    def is_open(self, now: datetime) -> bool:
        """Tell whether it accepts submissions."""
        is_past_deadline = self.ends_at is not None and now > self.ends_at
        return not self.closed and (self.late_submissions or not is_past_deadline)


def host_text(hosted: HostedCompetition) -> str:
    """Return the text of `host.toml`."""
    names = [f.name for f in fields(hosted) if f.name != "interactions"]
    text = "".join(f"{TOML_KEYS.get(name, name)} = {in_toml(getattr(hosted, name))}\n" for name in names)
    if hosted.interactions is None:
        return text
    settings = {f.name: getattr(hosted.interactions, f.name) for f in fields(hosted.interactions)}
    lines = [f"{key} = {in_toml(value)}\n" for key, value in settings.items() if value is not None]
    return text + "\n[interactions]\n" + "".join(lines)


def read_host(folder: Path) -> HostedCompetition:
    """Read the `host.toml` in a local competition's folder.

    Raises
    ------
    DamagedError
        When it is missing, not TOML, lacks a key, has an unknown key, or a value of the wrong type.
    """
    path = folder / "host.toml"
    try:
        data: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        return _from_toml(data)
    except (OSError, ValueError, RecursionError) as exc:
        raise DamagedError(f"{path} is damaged: {exc}", hint=CREATE_AGAIN_HINT) from exc


@cache
def _adapter() -> TypeAdapter[HostedCompetition]:
    # Cached: it takes 15 ms, and every call of the platform reads this file.
    from pydantic import TypeAdapter

    return TypeAdapter(HostedCompetition)


def _from_toml(data: dict[str, Any]) -> HostedCompetition:
    """Check the keys and types of parsed TOML; raise ValueError if they are wrong."""
    from pydantic import ValidationError

    field_by_key = {TOML_KEYS.get(f.name, f.name): f.name for f in fields(HostedCompetition)}
    for key in data:
        if key not in field_by_key:
            raise ValueError(f"unknown key {key!r}; {did_you_mean(key, field_by_key, kind='key')}")
    try:
        # By way of JSON: pydantic's strict mode accepts a mapping for a dataclass only from there.
        values = {field_by_key[key]: value for key, value in _with_current_types(data).items()}
        hosted = _adapter().validate_json(json.dumps(values, default=str), strict=True)
    except ValidationError as exc:
        first_error = exc.errors()[0]
        field, *index = map(str, first_error["loc"])
        raise ValueError(f"{'.'.join([TOML_KEYS.get(field, field), *index])}: {first_error['msg']}") from exc
    _ = hosted.ends_at  # raises ValueError for a deadline that is not a time
    if (hosted.task == "recommend") != (hosted.interactions is not None):
        raise ValueError(
            f"[interactions] is required for the task recommend and invalid for others, got task = {hosted.task!r}"
        )
    for invalid in invalid_values(hosted.interactions) if hosted.interactions else ():
        raise ValueError(f"interactions.{invalid.key}: {invalid.message}")
    return hosted


def _with_current_types(data: dict[str, Any]) -> dict[str, Any]:
    """Convert TOML's dates, which users write, and the flat list of classes that the first version wrote."""
    deadline, classes = data.get("deadline"), data.get("classes")
    if isinstance(deadline, date):
        data = data | {"deadline": deadline.isoformat()}
    if isinstance(classes, list) and classes and all(isinstance(c, str) for c in classes):
        data = data | {"classes": [classes]}
    return data


def hosted_slugs(workspace: Path) -> list[str]:
    """Return the slugs of the local competitions in a workspace."""
    return sorted(p.parent.parent.name for p in (workspace / "competitions").glob("*/rehearsal/host.toml"))


def rehearsal_folder(workspace: Path, slug: str) -> Path:
    """Return the folder of an existing local competition.

    Raises
    ------
    NotFoundError
        With similar names.
    """
    folder = workspace / "competitions" / slug / "rehearsal"
    if not folder.is_dir():
        slugs = hosted_slugs(workspace)
        raise NotFoundError(
            f"there is no local competition {slug!r}",
            hint=did_you_mean(slug, slugs, kind="local competition")
            + f"; `wb rehearse {slug} --train FILE …` creates it",
        )
    return folder


def load_metric(name: str, folder: Path, *, greater_is_better: bool) -> metrics.Metric:
    """Return a metric: a built-in one, or the function ``file.py:name`` in the competition's folder."""
    if ".py:" not in name:
        return metrics.get(name)
    file, _, function = name.partition(":")
    path = own_file(folder, file, where=f"the metric {name!r}")
    namespace: dict[str, Any] = {}
    with user_code(
        f"the metric {name!r} can't be loaded from {folder}", NotFoundError, folder=path.parent, pass_through=()
    ):
        exec(compile(path.read_bytes(), str(path), "exec"), namespace)  # noqa: S102 the user's own metric
        metric_function = namespace[function]
    return metrics.from_function(metric_function, function, greater_is_better=greater_is_better)
