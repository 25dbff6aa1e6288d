"""What a kind of experiment implements to be run: one runner for each, looked up by `runner_of`."""

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

__all__ = ["USUAL", "RunPlan", "RunRequest", "Runner", "UsedSource", "runner_of"]


@dataclass(frozen=True)
class RunRequest:
    """How an experiment is run; nothing of it is in the experiment's file.

    Attributes
    ----------
    sample : float, or None
        A share of the train rows, for a subsample run that predicts no test rows and can't be submitted.
    force : bool
        Run again though nothing changed.
    model : dict, or None
        Parameters in place of those of the experiment's table: the best of its study, or a combination of a grid.
    storage : str, or None
        The database of its study; see `TuneRequest`.
    """

    sample: float | None = None
    force: bool = False
    model: dict[str, Any] | None = None
    storage: str | None = None


USUAL = RunRequest()


class HasContent(Protocol):
    """What a run's record and key have the content of."""

    def content(self) -> dict[str, Any]:
        """Return what decides the result, as JSON has it."""
        ...


class RunPlan(Protocol):
    """Everything that decides the result of a run, read and checked before the first second of work."""

    @property
    def competition(self) -> Competition:
        """As its definition is when the plan is made."""
        ...

    @property
    def spec(self) -> ExperimentSpec:
        """As its file and what it is based on are read."""
        ...

    @property
    def model(self) -> HasContent:
        """What the experiment's table says, checked."""
        ...

    @property
    def sample(self) -> float | None:
        """The share of a subsample run."""
        ...

    @property
    def key(self) -> str:
        """The same code, data, parameters, folds and seeds give the same."""
        ...

    @property
    def folds_hash(self) -> str:
        """The key of how it is scored."""
        ...

    def details(self) -> dict[str, Any]:
        """Return what a run's record has of it beside spec, model and versions."""
        ...

    def data_content(self) -> dict[str, str]:
        """Return the contents of the data that count, by the names that a run's record has for them."""
        ...


@dataclass(frozen=True)
class UsedSource:
    """The code and files that a run uses beside what its definition and experiment name.

    Attributes
    ----------
    records : tuple of Path
        Kept beside the definition: a notebook.
    code : tuple of Path
        Python files of the competition's folder.
    packages : tuple of str
        Installed packages that `records` import.
    features : tuple of str
        The functions of `features.py`.
    files : tuple of str
        Read by features and models, by their paths from the competition's folder.
    unused_files : tuple of str
        Read by features that the run does not use.
    """

    records: tuple[Path, ...] = ()
    code: tuple[Path, ...] = ()
    packages: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    unused_files: tuple[str, ...] = ()


P = TypeVar("P", bound=RunPlan)


class Runner(Protocol, Generic[P]):
    """One kind of experiment: how its file is read, what is planned, how that is done."""

    def read(self, spec: ExperimentSpec) -> Sequence[ExperimentSpec]:
        """Return the experiments of single runs that one asks for: itself, or one for each combination of its grid."""
        ...

    def content(self, spec: ExperimentSpec, competition: Competition) -> dict[str, Any] | None:
        """Return what decides the result beside the data, the folds and the experiment's file; None for nothing."""
        ...

    def plan(
        self,
        workspace: Workspace,
        competition: Competition,
        spec: ExperimentSpec,
        request: RunRequest,
        context: RunContext,
    ) -> P:
        """Read and check everything that decides the result.

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
        """Do what the plan says and write the result into the run's folder.

        What an earlier process has finished in ``parts/`` of the folder is taken from there.

        Raises
        ------
        TrainingError, NotebookError, DataError
            When it can't be done.
        """
        ...


def runner_of(kind: str) -> Runner[Any]:
    """Return the runner of a kind of experiment; its packages are imported now."""
    module, _, name = capabilities_of(kind).runner.partition(":")
    runner: Runner[Any] = getattr(import_module(module), name)()
    return runner
