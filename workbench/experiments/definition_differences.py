"""How the definition of a run differs from the present one: the experiment, the competition, its folds and its data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from workbench.core.cache import read_json
from workbench.core.errors import WorkbenchError
from workbench.data.workspace import Workspace
from workbench.experiments.capabilities import capabilities_of
from workbench.experiments.change_times import ChangeTimes, start_time
from workbench.ledger import RunRecord
from workbench.models.registry import has_capability

if TYPE_CHECKING:
    from workbench.data.competition import Competition, Definition

__all__ = ["PER_FOLD", "PresentDefinition", "stopped_per_fold"]

KEYS_WITHOUT_EFFECT = ("title", "platform", "metric_of_platform", "tables", "cv", "positive", "submission")
"""Keys of `competition.toml` that do not change a run's numbers, or that are compared separately."""

PER_FOLD, PER_FOLD_OPTION = "rounds per fold", "per fold"
"""Why a CV is optimistic whose folds stop each at its own round, and the value of ``rounds`` that asks for it."""

HEAD_BYTES = 2**16
"""In `run.json` the model's settings come before its learning curves; this much contains the settings."""


class _RunContent(NamedTuple):
    """The content of an experiment's file, as JSON, and, for a notebook, its code cells."""

    spec: Any
    notebook: Any


def stopped_per_fold(workspace: Workspace, run: RunRecord) -> bool:
    """Return whether a run of an earlier version has a best number of rounds for each fold.

    Only the first bytes of `run.json` are read.
    """
    if not has_capability(run.kind, "stops_early") or run.status != "finished":
        return False
    try:
        with (workspace.root / run.folder / "run.json").open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError:
        return False
    patience = re.search(rb'"patience": (\d+)', head)
    return b'"rounds_by"' not in head and patience is not None and int(patience[1]) > 0


class PresentDefinition:
    """The present definition of a competition and its experiments, compared with those of runs; read only when needed.

    Parameters
    ----------
    workspace : Workspace
    slug : str
    newest_runs : mapping
        Experiment -> its newest run, whatever its status.
    """

    def __init__(self, workspace: Workspace, slug: str, newest_runs: Mapping[int, RunRecord]) -> None:
        self._workspace, self._slug = workspace, slug
        self._folder = workspace.competitions / slug
        self._changes = ChangeTimes(workspace, slug, newest_runs)
        self._contents_by_exp: dict[int, list[_RunContent] | None] = {}
        self._definition_by_text: dict[bytes, Definition | None] = {}
        self._code = _PresentCode(self._folder)

    def may_differ(self, run: RunRecord) -> bool:
        """Return whether a file that defines a run changed after it began; otherwise nothing has to be compared."""
        return _is_scored_by_earlier_rule(self._workspace, run) or self._changes.is_after(run)

    def code_may_differ(self, run: RunRecord) -> bool:
        """Return whether code of the competition changed after a run began."""
        return self._changes.code > start_time(run)

    def differs_in_rounds(self, run: RunRecord) -> tuple[str, ...]:
        """Return ("rounds",) where an earlier version stopped each fold at its own round, and this one would not."""
        if run.optimistic is not None or not stopped_per_fold(self._workspace, run):
            return ()
        contents = self._contents(run.exp)
        is_per_fold = contents and any(content.spec.get("rounds") == PER_FOLD_OPTION for content in contents)
        return () if is_per_fold else ("rounds",)

    def differences(self, run: RunRecord) -> tuple[str, ...]:
        """Return the names of the parts that differ, see `CurrentRun`; a part that can't be read counts as equal."""
        rounds = self.differs_in_rounds(run)
        if not self.may_differ(run) or self._competition is None:
            return rounds
        began_at = start_time(run)
        run_folder = _RunFolder(self._workspace.root / run.folder)
        changes = self._changes
        is_different = {
            "experiment": changes.of_experiment(run) > began_at and self._differs_in_experiment(run, run_folder),
            "competition": changes.competition > began_at and self._differs_in_competition(run_folder),
            "folds": self._differs_in_folds(run, run_folder),
            "data": changes.data > began_at and self._differs_in_data(run, run_folder),
        }
        return (*(name for name, differs in is_different.items() if differs), *rounds)

    def has_code_of(self, run: RunRecord) -> bool:
        """Return whether the code that a run used is unchanged; False where the run's folder is missing.

        Code is compared by its keys, and where a version computed them differently, by the run's copies of the files.
        """
        return self._code.equals(_RunFolder(self._workspace.root / run.folder))

    @cached_property
    def _competition(self) -> Competition | None:
        from workbench.data.competition import load_competition

        try:
            return load_competition(self._workspace, self._slug)
        except WorkbenchError:  # `wb run` reports it; a table is shown all the same
            return None

    @cached_property
    def _folds_content(self) -> str | None:
        """The key of the saved folds of the present ``[cv]``; None where there are none yet."""
        from workbench.models.folds import saved_content

        try:
            return None if self._competition is None else saved_content(self._competition)
        except (WorkbenchError, OSError):
            return None

    @cached_property
    def _data_contents(self) -> dict[str, str]:
        """The keys of all tables ("data") and of train and test ("rows")."""
        if self._competition is None:
            return {}
        try:
            return {"data": self._competition.manifest.content, "rows": self._competition.rows.content_key}
        except WorkbenchError:
            return {}

    def _contents(self, exp: int) -> list[_RunContent] | None:
        """Return the content of each run of an experiment; None for a broken file."""
        if exp not in self._contents_by_exp:
            self._contents_by_exp[exp] = None if self._competition is None else _read_contents(self._competition, exp)
        return self._contents_by_exp[exp]

    def _definition_of(self, run_folder: _RunFolder) -> Definition | None:
        from workbench.data.competition.definition import read_definition

        path = run_folder.source / "competition.toml"
        try:
            text = path.read_bytes()
            if text not in self._definition_by_text:
                self._definition_by_text[text] = read_definition(path, self._slug)
        except (WorkbenchError, OSError):
            return None
        return self._definition_by_text[text]

    def _differs_in_experiment(self, run: RunRecord, run_folder: _RunFolder) -> bool:
        spec = run_folder.details.get("spec")
        if spec is None or not self._changes.experiment_path(run.exp).exists():
            return False
        contents = self._contents(run.exp)
        if contents is None:
            return True
        if run.optimistic is None and stopped_per_fold(self._workspace, run):
            # The record of an earlier version has no such key; `differs_in_rounds` compares it.
            spec = _without_rounds(spec)
            contents = [content._replace(spec=_without_rounds(content.spec)) for content in contents]
        notebook = run_folder.details.get("model")
        return all(content.spec != spec or content.notebook not in (None, notebook) for content in contents)

    def _differs_in_competition(self, run_folder: _RunFolder) -> bool:
        run_definition, competition = self._definition_of(run_folder), self._competition
        if run_definition is None or competition is None:
            return False
        definition = competition.definition
        if _values_with_effect(run_definition) != _values_with_effect(definition):
            return True
        # Naming the class that was positive by default is not a difference.
        run_positive = run_folder.details.get("positive", run_definition.positive)
        is_removed = run_definition.positive.keys() > definition.positive.keys()
        return is_removed or {**run_positive, **definition.positive} != run_positive

    def _differs_in_folds(self, run: RunRecord, run_folder: _RunFolder) -> bool:
        predicts_rows = capabilities_of(run.kind).predicts_rows
        if predicts_rows and self._folds_content is not None:
            return self._folds_content != run.folds_hash
        run_definition = self._definition_of(run_folder)
        if run_definition is None or self._competition is None:
            return False
        cv = self._competition.definition.cv
        if not predicts_rows:
            if _is_scored_by_earlier_rule(self._workspace, run):
                return True
            names = ("scheme", "windows", "folds", "seed")
            return any(getattr(run_definition.cv, name) != getattr(cv, name) for name in names)
        if run_definition.cv != cv:
            return True
        return cv.function is not None and self._code.key(cv.function) != _code_key(run_folder.source, cv.function)

    def _differs_in_data(self, run: RunRecord, run_folder: _RunFolder) -> bool:
        # A recommender reads all tables. For other kinds, further tables only matter to some features.
        name = "rows" if capabilities_of(run.kind).predicts_rows else "data"
        run_content, content = run_folder.details.get(name), self._data_contents.get(name)
        return run_content is not None and content is not None and run_content != content


class _PresentCode:
    """The present code of a competition.

    Parameters
    ----------
    folder : Path
        Of the competition.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key_by_reference: dict[str, str] = {}

    def key(self, reference: str) -> str:
        """Return the key of a function, ``file.py:name``."""
        if reference not in self._key_by_reference:
            self._key_by_reference[reference] = _code_key(self._folder, reference)
        return self._key_by_reference[reference]

    def equals(self, run_folder: _RunFolder) -> bool:
        """Return whether the code that a run used is unchanged; see `PresentDefinition.has_code_of`."""
        key_by_reference = run_folder.details.get("code")
        if isinstance(key_by_reference, dict):
            return all(
                key == self.key(reference) or self.key(reference) == _code_key(run_folder.source, reference)
                for reference, key in key_by_reference.items()
            )
        return run_folder.source.is_dir() and all(
            _has_same_bytes(p, self._folder / p.relative_to(run_folder.source)) for p in run_folder.source.rglob("*.py")
        )


class _RunFolder:
    """The folder of a run, with a copy of its definition in ``source``."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.source = folder, folder / "source"

    @cached_property
    def details(self) -> dict[str, Any]:
        """The details of `run.json`; empty where it can't be read."""
        try:
            details = read_json(self.folder / "run.json")
        except (WorkbenchError, OSError):
            return {}
        return details if isinstance(details, dict) else {}


def _is_scored_by_earlier_rule(workspace: Workspace, run: RunRecord) -> bool:
    """Return whether a recommender's run is of a version that always validated on the last window's users."""
    if capabilities_of(run.kind).predicts_rows or run.status != "finished" or run.cv_windows or run.optimistic:
        return False
    recommend_details = _RunFolder(workspace.root / run.folder).details.get("recommend")
    return isinstance(recommend_details, dict) and "validation" not in recommend_details


def _read_contents(competition: Competition, exp: int) -> list[_RunContent] | None:
    from workbench.experiments.runner import runner_of
    from workbench.experiments.spec import read_spec

    try:
        spec = read_spec(competition, exp)
        runner = runner_of(spec.kind)
        specs = runner.read(spec)
        notebooks = [runner.content(spec, competition) for spec in specs]
    except WorkbenchError:  # its file is broken, or its base or its notebook is missing
        return None
    return [
        _RunContent(_as_json(spec.content()), _as_json(notebook))
        for spec, notebook in zip(specs, notebooks, strict=True)
    ]


def _without_rounds(content: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in content.items() if name != "rounds"}


def _code_key(folder: Path, reference: str) -> str:
    from workbench.features import referenced_code_key

    return referenced_code_key(folder, reference)


def _values_with_effect(definition: Definition) -> dict[str, Any]:
    """Return the values of a definition that change a run's numbers, except those of the folds."""
    return {name: value for name, value in vars(definition).items() if name not in KEYS_WITHOUT_EFFECT}


def _as_json(value: Any) -> Any:
    """Return a value as JSON would return it: with lists in place of tuples."""
    if isinstance(value, dict):
        return {str(k): _as_json(v) for k, v in value.items()}
    return [_as_json(v) for v in value] if isinstance(value, list | tuple) else value


def _has_same_bytes(path: Path, other_path: Path) -> bool:
    try:
        return path.read_bytes() == other_path.read_bytes()
    except OSError:
        return False
