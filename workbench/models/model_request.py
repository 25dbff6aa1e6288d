"""What an experiment's table says of its model, before a library's own rules are applied to it."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from workbench.core.distribution import install_hint
from workbench.core.errors import ConfigError, near
from workbench.core.integers import integer_from
from workbench.core.threads import available_cores, threads_for
from workbench.models.parameter_problems import Refused, refuse

if TYPE_CHECKING:
    from workbench.data.competition import Competition
    from workbench.metrics import Metric
    from workbench.models.target import Target

__all__ = ["ModelRequest"]


@dataclass(frozen=True)
class ModelRequest:
    """The table of an experiment that names its kind of model, and what the model is for.

    Attributes
    ----------
    kind : str
        The table's name, of `registry.MODEL_KINDS`.
    table : dict
        Its keys and values, as the file has them.
    path : Path
        The experiment's file, for messages.
    competition : Competition
    target : Target
    threads : int, or None
        What the command says; None for as many as suit the table.
    transform : str
        As `transform_for` gives it.
    per_fold : bool
        Whether each fold stops at its own best round.
    class_weight, pseudo
        What the experiment says beside the table, for the kinds that have it.
    """

    kind: str
    table: Mapping[str, Any]
    path: Path
    competition: Competition
    target: Target
    threads: int | None = None
    transform: str = "none"
    per_fold: bool = False
    class_weight: str | dict[str, Any] | None = None
    pseudo: dict[str, Any] | None = None

    @property
    def where(self) -> str:
        """The place of the table, as messages name it."""
        return f"{self.path}: [{self.kind}]"

    @property
    def metric(self) -> Metric:
        """The competition's metric."""
        return self.competition.metric

    @property
    def usual_threads(self) -> int:
        """How many threads train where nobody says; features are about as many as the columns are."""
        return threads_for(self.competition.n_train, len(self.competition.rows.columns))

    @property
    def n_threads(self) -> int:
        """How many threads train."""
        return self.threads or self.usual_threads

    @property
    def key_threads(self) -> int:
        """How many threads a run's key has: those of the command, else all that there are, however few train."""
        return self.threads or available_cores()

    @property
    def task(self) -> str:
        """The task of every target column."""
        return self.target.columns[0].task

    def library(self, module: str) -> ModuleType:
        """Import the library that the kind needs.

        Raises
        ------
        ConfigError
            When it is not installed; the hint installs it.
        """
        try:
            return importlib.import_module(module)
        except ModuleNotFoundError as exc:
            if (exc.name or "").partition(".")[0] != module.partition(".")[0]:
                raise
            raise ConfigError(
                f"{self.where} needs the package {module.partition('.')[0]!r}, which is not installed",
                hint=install_hint(self.kind),
            ) from exc

    def named(
        self, valid: Iterable[str], *, reserved: Mapping[str, str], aliases: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """Return the table under primary names.

        Parameters
        ----------
        valid : iterable of str
            All names that the library takes.
        reserved : mapping
            Names that are not the user's to set -> the reason.
        aliases : mapping, optional
            Name -> primary name.

        Raises
        ------
        ConfigError
            For names that are unknown, reserved, or given twice: for all of them at once.
        """
        aliases = aliases or {}
        names = {*valid, *aliases}
        parameters: dict[str, Any] = {}
        spelled: dict[str, str] = {}
        refused: list[Refused] = []
        for key, value in self.table.items():
            name = aliases.get(key, key)
            if name in reserved:
                refused.append(Refused(f"can't set {key!r}: {reserved[name]}"))
            elif key not in names:
                refused.append(Refused(f"has an unknown key {key!r}", near(key, names - {*reserved}, kind="key")))
            elif name in parameters:
                other = next(k for k in (key, spelled[name], name) if k != name)
                refused.append(Refused(f"sets {name!r} twice, also as {other!r}", "keep one of them"))
            else:
                parameters[name], spelled[name] = value, key
        refuse(refused, where=self.where)
        return parameters

    def unknown(self, key: str, valid: Iterable[str]) -> ConfigError:
        """Return the error for a key that the library does not know."""
        return ConfigError(f"{self.where} has an unknown key {key!r}", hint=near(key, valid, kind="key"))

    def text(self, key: str, example: str) -> str:
        """Return a text that must be there.

        Raises
        ------
        ConfigError
            When it is missing or no text.
        """
        value = self.table.get(key)
        if not isinstance(value, str) or not value:
            got = "it is missing" if value is None else f"got {value!r}"
            raise ConfigError(f"{self.where} needs {key}, a text: {got}", hint=f'for example {key} = "{example}"')
        return value

    def integer(self, value: Any, key: str, *, minimum: int) -> int:
        """Return a whole number from `minimum` up; what else it is raises a ConfigError."""
        return integer_from(value, f"{self.where} {key}", minimum)
