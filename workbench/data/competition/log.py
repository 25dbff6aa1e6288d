"""``[interactions]`` of a `competition.toml`: the log of a competition with the task recommend."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from workbench.core.errors import ConfigError
from workbench.data.competition.files import StrictModel
from workbench.platforms.interactions import InteractionsSpec, invalid_values, parse_duration

__all__ = ["InteractionsTable", "read_interactions", "refuse_interactions"]


class InteractionsTable(StrictModel):
    """The keys of ``[interactions]``."""

    user: str = Field(min_length=1)
    item: str = Field(min_length=1)
    time: str = Field(min_length=1)
    kind: str | None = None
    unit: str = "s"
    cut: str = "last"
    horizon: str
    id: str = "{user}"
    weights: dict[str, float] = Field(default_factory=dict)
    first: list[str] = Field(default_factory=list)
    weight: str | None = None
    users: str | None = None
    items: str | None = None


def read_interactions(table: InteractionsTable | None, path: Path) -> InteractionsSpec:
    """Check ``[interactions]`` and return it as a spec.

    Raises
    ------
    ConfigError
        When the table is missing or a value is wrong; names the file, the key, and valid values.
    """
    if table is None:
        raise ConfigError(
            f"{path}: the task recommend needs a table [interactions]",
            hint='add user, item and time (columns of train) and horizon (such as "28d") under [interactions]',
        )
    horizon = parse_duration(table.horizon)
    if horizon is None:
        raise ConfigError(
            f"{path}: interactions.horizon = {table.horizon!r} is not a duration",
            hint='write "28d" or "12h"; units are s, m, h, d, w',
        )
    settings = table.model_dump(exclude={"horizon"}) | {"first": tuple(table.first)}
    spec = InteractionsSpec(horizon_s=int(horizon.total_seconds()), **settings)
    for invalid in invalid_values(spec):
        raise ConfigError(f"{path}: interactions.{invalid.key}: {invalid.message}", hint=invalid.hint)
    return spec


def refuse_interactions(task: str, path: Path) -> None:
    """Refuse ``[interactions]`` for another task than recommend.

    Raises
    ------
    ConfigError
        Always.
    """
    raise ConfigError(f"{path}: [interactions] is for the task recommend, got task = {task!r}", hint="take it out")
