"""The table of an experiment that defines its model, before the library's own rules are applied."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from workbench.core.distribution import install_hint
from workbench.core.errors import ConfigError, did_you_mean
from workbench.core.integers import integer_from
from workbench.core.threads import available_cores, threads_for
from workbench.models.parameter_problems import RejectedParameter, reject_parameters

if TYPE_CHECKING:
    from workbench.data.competition import Competition
    from workbench.metrics import Metric
    from workbench.models.target import Target

__all__ = ["ModelRequest"]


@dataclass(frozen=True)
class ModelRequest:
    """A request for a model: the experiment's table and the target to fit.

    Attributes
    ----------
    kind : str
        The table's name, a key of `registry.MODEL_KINDS`.
    table : dict
        Its keys and values as in the file.
    path : Path
        The experiment's file, for messages.
    competition : Competition
    target : Target
    threads : int, or None
        The command's number of threads; None to choose by the size of the data.
    transform : str
        The target's transform, from `transform_for`.
    rounds_per_fold : bool
        Whether each fold stops at its own best round.
    class_weight, pseudo
        The experiment's options of these names, for kinds that support them.
    """

    kind: str
    table: Mapping[str, Any]
    path: Path
    competition: Competition
    target: Target
    threads: int | None = None
    transform: str = "none"
    rounds_per_fold: bool = False
    class_weight: str | dict[str, Any] | None = None
    pseudo: dict[str, Any] | None = None

    @property
    def where(self) -> str:
        """The file and the table, for messages."""
        return f"{self.path}: [{self.kind}]"

    @property
    def metric(self) -> Metric:
        """The competition's metric."""
        return self.competition.metric

    @property
    def table_shape(self) -> tuple[int, int]:
        """The number of train rows and of the tables' columns, which the default number of threads depends on."""
        return self.competition.n_train, len(self.competition.rows.columns)

    @property
    def n_threads(self) -> int:
        """The number of threads to train with."""
        return self.threads or threads_for(*self.table_shape)

    @property
    def key_threads(self) -> int:
        """The number of threads in the run's key: the command's, else all available, even if fewer train."""
        return self.threads or available_cores()

    @property
    def task(self) -> str:
        """The task of every target column."""
        return self.target.columns[0].task

    def library(self, module: str) -> ModuleType:
        """Import the library of this kind.

        Raises
        ------
        ConfigError
            When it is not installed; the hint has the command to install it.
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
            The library's parameters.
        reserved : mapping
            Parameters that users can't set -> the reason.
        aliases : mapping, optional
            Alias -> primary name.

        Raises
        ------
        ConfigError
            With all names that are unknown, reserved or duplicates.
        """
        aliases = aliases or {}
        names = {*valid, *aliases}
        parameters: dict[str, Any] = {}
        key_by_name: dict[str, str] = {}
        rejected: list[RejectedParameter] = []
        for key, value in self.table.items():
            name = aliases.get(key, key)
            if name in reserved:
                rejected.append(RejectedParameter(f"can't set {key!r}: {reserved[name]}"))
            elif key not in names:
                rejected.append(
                    RejectedParameter(f"has an unknown key {key!r}", did_you_mean(key, names - {*reserved}, kind="key"))
                )
            elif name in parameters:
                other = next(k for k in (key, key_by_name[name], name) if k != name)
                rejected.append(RejectedParameter(f"sets {name!r} twice, also as {other!r}", "keep one of them"))
            else:
                parameters[name], key_by_name[name] = value, key
        reject_parameters(rejected, where=self.where)
        return parameters

    def unknown(self, key: str, valid: Iterable[str]) -> ConfigError:
        """Return the error for a key that the library does not know."""
        return ConfigError(f"{self.where} has an unknown key {key!r}", hint=did_you_mean(key, valid, kind="key"))

    def text(self, key: str, example: str) -> str:
        """Return a required text of the table.

        Raises
        ------
        ConfigError
            When it is missing or not a text.
        """
        value = self.table.get(key)
        if not isinstance(value, str) or not value:
            got = "it is missing" if value is None else f"got {value!r}"
            raise ConfigError(f"{self.where} needs {key}, a text: {got}", hint=f'for example {key} = "{example}"')
        return value

    def integer(self, value: Any, key: str, *, minimum: int) -> int:
        """Check that a value is a whole number from `minimum` up, and return it; else raise a ConfigError."""
        return integer_from(value, f"{self.where} {key}", minimum)
