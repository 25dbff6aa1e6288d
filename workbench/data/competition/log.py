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
    """The log's column of users or sessions."""
    item: str = Field(min_length=1)
    """The log's column of items."""
    time: str = Field(min_length=1)
    """The log's column of times: dates, time stamps, or whole numbers in `unit`."""
    kind: str | None = None
    """The column with the type of an event, such as click or order."""
    unit: str = "s"
    """The unit of whole numbers in `time`: s, ms, us or ns."""
    cut: str = "last"
    """How test is cut off: "last" hides what follows the end of the log, "session" the rest of each session."""
    horizon: str
    """The length of the time to predict: "28d", "12h"."""
    id: str = "{user}"
    """How the sample's ids are written, "{user}_{kind}" if each type is predicted separately."""
    weights: dict[str, float] = Field(default_factory=dict)
    """The types of events that are predicted, with their weights in the metric."""
    first: list[str] = Field(default_factory=list)
    """The types of which only the next event counts; of the others all events in the horizon do."""
    weight: str | None = None
    """A column with the weight of an event, such as a rating."""
    users: str | None = None
    """The table with a row per user."""
    items: str | None = None
    """The table with a row per item."""


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
    """Refuse ``[interactions]`` for a task other than recommend.

    Raises
    ------
    ConfigError
        Always.
    """
    raise ConfigError(f"{path}: [interactions] is for the task recommend, got task = {task!r}", hint="remove it")
