"""The protocol of runners: each kind of experiment has one, which `runner_of` returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from workbench.experiments.capabilities import capabilities_of

if TYPE_CHECKING:
    from workbench.core.context import RunContext
    from workbench.data.competition import Competition
    from workbench.data.workspace import Workspace
    from workbench.experiments.run_folder import RunArtifacts
    from workbench.experiments.spec import ExperimentSpec
    from workbench.ledger import RunRecord

__all__ = ["DEFAULT_REQUEST", "RunPlan", "RunRequest", "Runner", "UsedSource", "runner_of"]


@dataclass(frozen=True)
class RunRequest:
    """Options of a run that are not in the experiment's file.

    Attributes
    ----------
    sample : float, or None
        A share of the train rows, for a subsample run that predicts no test rows and can't be submitted.
    force : bool
        Run again even if nothing changed.
    model : dict, or None
        Replaces the experiment's model table: the best parameters of its study, or a combination of a grid.
    storage : str, or None
        The URL of the database of its study; see `TuneRequest`.
    """

    sample: float | None = None
    force: bool = False
    model: dict[str, Any] | None = None
    storage: str | None = None


DEFAULT_REQUEST = RunRequest()


class HasContent(Protocol):
    """An object whose content is a part of a run's record and key."""

    def content(self) -> dict[str, Any]:
        """Return the values that decide the result, as JSON."""
        ...


class RunPlan(Protocol):
    """All that decides the result of a run, read and checked before anything is trained."""

    @property
    def competition(self) -> Competition:
        """The competition, with the definition of when the plan is made."""
        ...

    @property
    def spec(self) -> ExperimentSpec:
        """The experiment, with the values of its bases."""
        ...

    @property
    def model(self) -> HasContent:
        """The experiment's table, checked."""
        ...

    @property
    def sample(self) -> float | None:
        """The share of the train rows of a subsample run; None for all rows."""
        ...

    @property
    def key(self) -> str:
        """The run's key: equal for the same code, data, parameters, folds and seeds."""
        ...

    @property
    def folds_hash(self) -> str:
        """The key of the folds or windows that it is scored on."""
        ...

    def details(self) -> dict[str, Any]:
        """Return further details for the run's record, next to spec, model and versions."""
        ...

    def data_content(self) -> dict[str, str]:
        """Return keys of the content of the data that the run depends on, by their names in the run's record."""
        ...


@dataclass(frozen=True)
class UsedSource:
    """The code and files that a run uses, except those that its definition and experiment name.

    Attributes
    ----------
    documents : tuple of Path
        Files that are copied next to the definition, such as a notebook.
    code_files : tuple of Path
        Python files of the competition's folder.
    packages : tuple of str
        Installed packages that `documents` import.
    features : tuple of str
        Functions of `features.py`.
    data_files : tuple of str
        Files that the features and the model read, relative to the competition's folder.
    unused_data_files : tuple of str
        Files that only features which the run does not use read.
    """

    documents: tuple[Path, ...] = ()
    code_files: tuple[Path, ...] = ()
    packages: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    data_files: tuple[str, ...] = ()
    unused_data_files: tuple[str, ...] = ()


P = TypeVar("P", bound=RunPlan)


class Runner(Protocol, Generic[P]):
    """Reads, plans and executes experiments of one kind."""

    def read(self, spec: ExperimentSpec) -> Sequence[ExperimentSpec]:
        """Return the experiments of its single runs: itself, or one for each combination of its grid."""
        ...

    def content(self, spec: ExperimentSpec, competition: Competition) -> dict[str, Any] | None:
        """Return values that decide the result next to the data, the folds and the experiment's file; None for none."""
        ...

    def plan(
        self,
        workspace: Workspace,
        competition: Competition,
        spec: ExperimentSpec,
        request: RunRequest,
        context: RunContext,
    ) -> P:
        """Read and check all that decides the result.

        Raises
        ------
        ConfigError, DataError, FeatureError
            When something is wrong with the definition, the data or a feature.
        """
        ...

    def used_source(self, plan: P) -> UsedSource:
        """Return the code and files that the run uses."""
        ...

    def execute(
        self, workspace: Workspace, plan: P, folder: Path, record: RunRecord, context: RunContext
    ) -> RunArtifacts:
        """Execute the plan and write the result into the run's folder.

        Finished parts of an earlier process are read from ``parts/`` of the folder.

        Raises
        ------
        TrainingError, NotebookError, DataError
            When it fails.
        """
        ...


def runner_of(kind: str) -> Runner[Any]:
    """Return the runner of a kind of experiment, which imports its packages."""
    module, _, name = capabilities_of(kind).runner.partition(":")
    runner: Runner[Any] = getattr(import_module(module), name)()
    return runner
