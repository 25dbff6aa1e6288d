"""Which run stands for an experiment: the one that belongs to its present definition.

An experiment may have finished runs of several definitions: its file, the competition's folds or the data were changed
in between. The newest of them is not always the right one: a change that was taken back makes an older run current
again, which is what `wb run` calls unchanged.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.core.cache import read_json
from workbench.core.errors import NotFoundError, WorkbenchError
from workbench.data.workspace import Workspace, experiment_files, experiment_numbers
from workbench.experiments.capabilities import capabilities_of
from workbench.ledger import RunRecord
from workbench.models.registry import can

if TYPE_CHECKING:
    from workbench.data.competition import Competition, Definition

__all__ = ["CurrentRun", "current_run", "current_runs", "never_run", "outdated_text", "with_marks"]

LABELS = ("title", "platform", "metric_of_platform", "tables", "cv", "positive", "submission")
"""Parts of `competition.toml` that no number of a run depends on; and those that are compared by themselves."""

NO_CODE = ("data", "cache", "runs", "kernels", "experiments", "selections", "studies", "rehearsal", "__pycache__")
"""Folders of a competition without code of its own."""


PER_FOLD, PER_FOLD_OPTION = "rounds per fold", "per fold"
"""Why a CV is optimistic whose folds stop each by itself, and how an experiment asks for that."""

HEAD_BYTES = 2**16

BEFORE_ALL = 0.0
"""A time before any run and any change, in seconds: when a file changed that is not there."""


def stopped_per_fold(workspace: Workspace, run: RunRecord) -> bool:
    """Say whether a run of an earlier version has a best number of rounds for each fold.

    Only the beginning of its record is looked at: what it says of the model stands before the curves.
    """
    if not can(run.kind, "stops_early") or run.status != "finished":
        return False
    try:
        with (workspace.root / run.folder / "run.json").open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError:
        return False
    patience = re.search(rb'"patience": (\d+)', head)
    return b'"rounds_by"' not in head and patience is not None and int(patience[1]) > 0


def with_marks(workspace: Workspace, runs: Sequence[RunRecord]) -> list[RunRecord]:
    """Return runs with what their records of an earlier version do not say: that their CV is optimistic."""
    return [
        replace(r, optimistic=PER_FOLD) if r.optimistic is None and stopped_per_fold(workspace, r) else r for r in runs
    ]


@dataclass(frozen=True)
class CurrentRun:
    """The run that stands for an experiment.

    `outdated` names what has changed since: "experiment" (its file, or one that it builds on), "competition" (target,
    metric, task, id, weight), "folds" and "data" (train and test); "rounds" where it was made before all folds had one
    number of rounds. It is empty where the run belongs to the present
    definition. Code only decides between runs that are equal in all of these; tables that only features read are not
    compared: `wb run` does that.
    """

    record: RunRecord
    outdated: tuple[str, ...] = ()


def outdated_text(outdated: Sequence[str]) -> str:
    """Return what has changed, as a phrase: "other folds, edited since".

    Examples
    --------
    >>> outdated_text(("folds",))
    'other folds'
    """
    phrases = {
        "folds": "other folds",
        "data": "other data",
        "competition": "other target or metric",
        "experiment": "edited since",
        "rounds": PER_FOLD,
    }
    return ", ".join(text for name, text in phrases.items() if name in outdated)


def current_run(workspace: Workspace, slug: str, exp: int, runs: Iterable[RunRecord]) -> CurrentRun:
    """Return the run that stands for one experiment; see `current_runs`.

    Raises
    ------
    NotFoundError
        When it was never run, or only in another workspace of the same ledger.
    """
    of_all = _by_experiment(workspace, runs)
    if exp not in of_all:
        raise never_run(workspace, slug, exp, of_all)
    if all(r.workspace not in ("", workspace.id) and not _has_folder(workspace, r) for r in of_all[exp]):
        raise NotFoundError(
            f"experiment {exp} of {slug!r} was never run in {workspace.root}: its runs in this ledger are of another "
            "workspace",
            hint=f"`wb run {exp}` runs it here",
        )
    return _current(_Present(workspace, slug, {e: of_exp[-1] for e, of_exp in of_all.items()}), of_all[exp])


def never_run(workspace: Workspace, slug: str, exp: int, ran: Iterable[int]) -> NotFoundError:
    """Return what to raise for an experiment without a run: it is still to be run, or there is none of that number.

    Parameters
    ----------
    ran : iterable of int
        The experiments that were run.
    """
    folder = workspace.competitions / slug
    if experiment_files(folder, exp)[0].exists():
        return NotFoundError(f"experiment {exp} of {slug!r} was never run", hint=f"`wb run {exp}` runs it")
    nearby = sorted({*ran, *experiment_numbers(folder)}, key=lambda n: (abs(n - exp), n))[:5]
    nearest = f"the nearest are {', '.join(map(str, sorted(nearby)))}; `wb table` lists them" if nearby else ""
    return NotFoundError(
        f"experiment {exp} of {slug!r} was never run: there is no experiment {exp}",
        hint=nearest or "`wb new` writes the first one",
    )


def current_runs(workspace: Workspace, slug: str, runs: Sequence[RunRecord]) -> dict[int, CurrentRun]:
    """Return the run that stands for each experiment.

    Of the finished runs on all rows it is the one that belongs to the present definition, the newest where several do;
    else the one that differs least. Without a finished run on all rows it is the newest finished one, else the newest.
    Runs of other workspaces, which may share the ledger, stand for an experiment only where this one has none: the same
    number may mean something else there.

    Parameters
    ----------
    runs : sequence of RunRecord
        Of one competition, oldest first.
    """
    of_all = _by_experiment(workspace, runs)
    present = _Present(workspace, slug, {exp: of_exp[-1] for exp, of_exp in of_all.items()})
    return {exp: _current(present, of_exp) for exp, of_exp in of_all.items()}


def _by_experiment(workspace: Workspace, runs: Iterable[RunRecord]) -> dict[int, list[RunRecord]]:
    """Return the runs of each experiment: this workspace's, or where it has none of one those of others."""
    by_exp: dict[int, list[RunRecord]] = {}
    elsewhere: dict[int, list[RunRecord]] = {}
    own_id: str | None = None
    for run in runs:
        if run.workspace and own_id is None:
            own_id = workspace.id
        # One that does not say whose it is, or came with its folder from another workspace, is told by that.
        is_here = (run.workspace and run.workspace == own_id) or _has_folder(workspace, run)
        (by_exp if is_here else elsewhere).setdefault(run.exp, []).append(run)
    return elsewhere | by_exp


def _has_folder(workspace: Workspace, run: RunRecord) -> bool:
    return (workspace.root / run.folder / "run.json").exists()


def _current(present: _Present, runs: Sequence[RunRecord]) -> CurrentRun:
    complete = [r for r in runs if r.status == "finished" and r.sample is None]
    if not complete:
        finished = [r for r in runs if r.status == "finished"]
        return CurrentRun((finished or runs)[-1])
    # Runs of one key have the same definition: the newest of each is enough.
    newest_of_key = {(r.key, r.greater_is_better): r for r in complete}
    candidates = sorted(newest_of_key.values(), key=lambda r: r.created_at, reverse=True)
    newest = candidates[0]
    if not present.modified_since(newest) and (len(candidates) == 1 or not present.code_changed_since(newest)):
        return CurrentRun(newest, present.differs_in_rounds(newest))
    compared: list[CurrentRun] = []
    for run in candidates:
        current = CurrentRun(run, present.differences(run))
        if not current.outdated and (len(candidates) == 1 or present.has_code_of(run)):
            return current
        compared.append(current)
    fewest = min(len(c.outdated) for c in compared)
    nearest = [c for c in compared if len(c.outdated) == fewest]
    # Where nothing differs, none has the present code: that was looked at above.
    return next((c for c in nearest if fewest and len(nearest) > 1 and present.has_code_of(c.record)), nearest[0])


class _Present:
    """The definition of a competition and its experiments as they now stand; read only where it has to be.

    Parameters
    ----------
    newest : mapping
        The newest run of each experiment, whatever became of it.
    """

    def __init__(self, workspace: Workspace, slug: str, newest: Mapping[int, RunRecord]) -> None:
        self.workspace, self.slug, self.newest = workspace, slug, newest
        self.folder = workspace.competitions / slug
        self._chains: dict[int | None, float] = {}
        self._specs: dict[int, list[Any] | None] = {}
        self._definitions: dict[bytes, Definition | None] = {}
        self._codes: dict[str, str] = {}

    # ------------------------------------------------------------------------------------------ without reading

    def modified_since(self, run: RunRecord) -> bool:
        """Whether a file that defines a run was touched after it began; if not, nothing has to be compared."""
        began = _began(run)
        shared = max(self._competition_changed, self._data_changed, self._split_changed)
        return self.scored_by_earlier_rule(run) or shared > began or self._experiment_changed(run) > began

    def scored_by_earlier_rule(self, run: RunRecord) -> bool:
        """Whether a recommender's run is of a version that held users of the last window out, whatever the log."""
        if capabilities_of(run.kind).predicts_rows or run.status != "finished" or run.cv_windows or run.optimistic:
            return False
        recommend_details = _RunFolder(self.workspace.root / run.folder).details.get("recommend")
        return isinstance(recommend_details, dict) and "validation" not in recommend_details

    def code_changed_since(self, run: RunRecord) -> bool:
        """Whether code of the competition was touched after a run began."""
        return self._code_changed > _began(run)

    def _experiment_changed(self, run: RunRecord) -> float:
        notebooks = self._notebooks_changed if capabilities_of(run.kind).has_notebook else BEFORE_ALL
        return max(self._chain_changed(run.exp), self._lists_changed, notebooks)

    def _chain_changed(self, exp: int) -> float:
        """Return when the file of an experiment, or of one that it builds on, last changed."""
        chain: list[int] = []
        base: int | None = exp
        while base is not None and base not in self._chains and base not in chain:
            chain.append(base)
            base = self._base_of(base)
        latest = self._chains.get(base, BEFORE_ALL)
        for number in reversed(chain):
            latest = self._chains[number] = max(latest, _changed_at(self._experiment_path(number)))
        return self._chains[exp]

    def _experiment_path(self, exp: int) -> Path:
        return experiment_files(self.folder, exp)[0]

    def _base_of(self, exp: int) -> int | None:
        """Return what an experiment builds on: what its newest run says, unless its file has changed since."""
        run, path = self.newest.get(exp), self._experiment_path(exp)
        if run is not None and _changed_at(path) <= _began(run):
            return run.base
        import tomllib

        try:
            base = tomllib.loads(path.read_text(encoding="utf-8")).get("base")
        except (OSError, ValueError, RecursionError):
            return None
        return base if isinstance(base, int) else None

    @cached_property
    def _competition_changed(self) -> float:
        return _changed_at(self.folder / "competition.toml")

    @cached_property
    def _data_changed(self) -> float:
        return _changed_at(self.folder / "data" / "tables" / "manifest.json")

    @cached_property
    def _split_changed(self) -> float:
        """When the code of the folds last changed, where they are of a function."""
        path = self.folder / "competition.toml"
        try:
            is_custom = b"function" in path.read_bytes()
        except OSError:
            return BEFORE_ALL
        return self._code_changed if is_custom else BEFORE_ALL

    @cached_property
    def _lists_changed(self) -> float:
        return max(map(_changed_at, (self.folder / "selections").glob("*.toml")), default=BEFORE_ALL)

    @cached_property
    def _notebooks_changed(self) -> float:
        places = (self.workspace.root / "notebooks", self.folder)
        paths = [p for place in places for pattern in ("*.ipynb", "*.py") for p in place.glob(pattern)]
        return max([self._code_changed, *map(_changed_at, paths)])

    @cached_property
    def _code_changed(self) -> float:
        latest = BEFORE_ALL
        for place, folders, files in os.walk(self.folder):
            folders[:] = [f for f in folders if f not in NO_CODE and not f.startswith(".")]
            latest = max([latest, *(_changed_at(Path(place, f)) for f in files if f.endswith(".py"))])
        return latest

    # ---------------------------------------------------------------------------------------------- comparing

    @cached_property
    def competition(self) -> Competition | None:
        from workbench.data.competition import load_competition

        try:
            return load_competition(self.workspace, self.slug)
        except WorkbenchError:  # whoever runs an experiment is told; a table is shown all the same
            return None

    @cached_property
    def _folds_content(self) -> str | None:
        """The key of the saved folds of the present ``[cv]``; None where they were never needed."""
        from workbench.models.folds import saved_content

        try:
            return None if self.competition is None else saved_content(self.competition)
        except (WorkbenchError, OSError):
            return None

    def differs_in_rounds(self, run: RunRecord) -> tuple[str, ...]:
        """Name "rounds" where each fold stopped by itself, as an earlier version had it, and now they would not."""
        if run.optimistic is not None or not stopped_per_fold(self.workspace, run):
            return ()
        wanted = self._contents(run.exp)
        return () if wanted and any(content.get("rounds") == PER_FOLD_OPTION for content, _ in wanted) else ("rounds",)

    def differences(self, run: RunRecord) -> tuple[str, ...]:
        """Name what a run's definition differs in from the present one; what can't be read counts as equal."""
        rounds = self.differs_in_rounds(run)
        if not self.modified_since(run) or self.competition is None:
            return rounds
        began = _began(run)
        run_folder = _RunFolder(self.workspace.root / run.folder)
        differs = {
            "experiment": self._experiment_changed(run) > began and self._differs_in_experiment(run, run_folder),
            "competition": self._competition_changed > began and self._differs_in_competition(run_folder),
            "folds": self._differs_in_folds(run, run_folder),
            "data": self._data_changed > began and self._differs_in_data(run, run_folder),
        }
        return (*(name for name, is_different in differs.items() if is_different), *rounds)

    def _differs_in_experiment(self, run: RunRecord, run_folder: _RunFolder) -> bool:
        spec = run_folder.details.get("spec")
        if spec is None or not self._experiment_path(run.exp).exists():
            return False
        contents = self._contents(run.exp)
        if contents is None:
            return True
        if run.optimistic is None and stopped_per_fold(self.workspace, run):
            # An earlier version had no word for it; `differs_in_rounds` compares it.
            spec, contents = _without_rounds(spec), [(_without_rounds(content), cells) for content, cells in contents]
        # Of a notebook the cells count, too.
        model = run_folder.details.get("model")
        return all(content != spec or cells not in (None, model) for content, cells in contents)

    def _contents(self, exp: int) -> list[Any] | None:
        """Return what decides the runs of an experiment, with what decides a notebook's; None for a broken file."""
        if exp not in self._specs:
            self._specs[exp] = None if self.competition is None else _read_contents(self.competition, exp)
        return self._specs[exp]

    def _definition_of(self, run_folder: _RunFolder) -> Definition | None:
        from workbench.data.competition.definition import read_definition

        path = run_folder.source / "competition.toml"
        try:
            text = path.read_bytes()
            if text not in self._definitions:
                self._definitions[text] = read_definition(path, self.slug)
        except (WorkbenchError, OSError):
            return None
        return self._definitions[text]

    def _differs_in_competition(self, run_folder: _RunFolder) -> bool:
        used, competition = self._definition_of(run_folder), self.competition
        if used is None or competition is None:
            return False
        now = competition.definition
        if _numbers_of(used) != _numbers_of(now):
            return True
        # The class that is positive may be said where it was so before.
        before = run_folder.details.get("positive", used.positive)
        return used.positive.keys() > now.positive.keys() or {**before, **now.positive} != before

    def _differs_in_folds(self, run: RunRecord, run_folder: _RunFolder) -> bool:
        if capabilities_of(run.kind).predicts_rows and self._folds_content is not None:
            return self._folds_content != run.folds_hash
        used = self._definition_of(run_folder)
        if used is None or self.competition is None:
            return False
        cv = self.competition.definition.cv
        if not capabilities_of(run.kind).predicts_rows:
            if self.scored_by_earlier_rule(run):
                return True
            names = ("scheme", "windows", "folds", "seed")
            return any(getattr(used.cv, name) != getattr(cv, name) for name in names)
        if used.cv != cv:
            return True
        return cv.function is not None and self._code_of(cv.function) != _code_key(run_folder.source, cv.function)

    @cached_property
    def _contents_of_data(self) -> dict[str, str]:
        if self.competition is None:
            return {}
        try:
            return {"data": self.competition.manifest.content, "rows": self.competition.rows.content_key}
        except WorkbenchError:
            return {}

    def _differs_in_data(self, run: RunRecord, run_folder: _RunFolder) -> bool:
        # A recommender reads every table; of the others, tables beside train and test only matter to some features.
        name = "rows" if capabilities_of(run.kind).predicts_rows else "data"
        used, content = run_folder.details.get(name), self._contents_of_data.get(name)
        return used is not None and content is not None and used != content

    # --------------------------------------------------------------------------------------------------- code

    def has_code_of(self, run: RunRecord) -> bool:
        """Whether the code that a run used is as it now stands: by its keys, for older runs by the bytes of the files.

        Where keys were made otherwise then, its copies of the code are compared. A run whose folder is not here has
        none.
        """
        run_folder = _RunFolder(self.workspace.root / run.folder)
        codes = run_folder.details.get("code")
        if isinstance(codes, dict):
            return all(
                key == self._code_of(reference) or self._code_of(reference) == _code_key(run_folder.source, reference)
                for reference, key in codes.items()
            )
        return run_folder.source.is_dir() and all(
            _same_bytes(p, self.folder / p.relative_to(run_folder.source)) for p in run_folder.source.rglob("*.py")
        )

    def _code_of(self, reference: str) -> str:
        if reference not in self._codes:
            self._codes[reference] = _code_key(self.folder, reference)
        return self._codes[reference]


class _RunFolder:
    """What a run's folder says of its definition."""

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


def _read_contents(competition: Competition, exp: int) -> list[Any] | None:
    from workbench.experiments.runner import runner_of
    from workbench.experiments.spec import read_spec

    try:
        spec = read_spec(competition, exp)
        runner = runner_of(spec.kind)
        specs = runner.read(spec)
        contents = [runner.content(spec, competition) for spec in specs]
    except WorkbenchError:  # its file is broken, or its base or its notebook is gone
        return None
    return [_as_json([spec.content(), content]) for spec, content in zip(specs, contents, strict=True)]


def _without_rounds(content: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in content.items() if name != "rounds"}


def _code_key(folder: Path, reference: str) -> str:
    from workbench.features import referenced_code_key

    return referenced_code_key(folder, reference)


def _numbers_of(definition: Definition) -> dict[str, Any]:
    """Return what a run's numbers depend on, but for the folds."""
    return {name: value for name, value in vars(definition).items() if name not in LABELS}


def _as_json(value: Any) -> Any:
    """Return a value as it comes back from JSON: tuples are lists."""
    if isinstance(value, dict):
        return {str(k): _as_json(v) for k, v in value.items()}
    return [_as_json(v) for v in value] if isinstance(value, list | tuple) else value


def _began(run: RunRecord) -> float:
    """Return when a run began, for comparing with files; one that is still to come says nothing of that.

    The clock was set back since, and what was edited by it would look older than the run.
    """
    began = run.created_at.timestamp()
    return began if began <= time.time() else BEFORE_ALL


def _changed_at(path: Path) -> float:
    """Return when a file's content or name last changed; `BEFORE_ALL` where there is none."""
    try:
        stat = path.stat()
    except OSError:
        return BEFORE_ALL
    return max(stat.st_mtime, stat.st_ctime)


def _same_bytes(one: Path, other: Path) -> bool:
    try:
        return one.read_bytes() == other.read_bytes()
    except OSError:
        return False
