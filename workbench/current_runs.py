"""Which run stands for an experiment: the one that belongs to its present definition.

An experiment may have finished runs of several definitions: its file, the competition's folds or the data were changed
in between. The newest of them is not always the right one: a change that was taken back makes an older run current
again, which is what `wb run` calls unchanged.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.cache import read_json
from workbench.errors import NotFoundError, WorkbenchError
from workbench.ledger import RunRecord
from workbench.workspace import Workspace

if TYPE_CHECKING:
    from workbench.competition import Competition, Definition

__all__ = ["CurrentRun", "current_run", "current_runs", "outdated_text"]

LABELS = ("title", "platform", "metric_of_platform", "tables", "cv")
"""Parts of `competition.toml` that no number of a run depends on; and the folds, which are compared by themselves."""


@dataclass(frozen=True)
class CurrentRun:
    """The run that stands for an experiment.

    `outdated` names what has changed since: "experiment" (its file, or one that it builds on), "competition" (target,
    metric, task, id, weight), "folds" and "data" (train and test). It is empty where the run belongs to the present
    definition. Code, and tables that only features read, are not compared here: `wb run` does that.
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
    }
    return ", ".join(text for name, text in phrases.items() if name in outdated)


def current_run(workspace: Workspace, slug: str, exp: int, runs: Iterable[RunRecord]) -> CurrentRun:
    """Return the run that stands for one experiment; see `current_runs`.

    Raises
    ------
    NotFoundError
        When it was never run.
    """
    of_experiment = [r for r in runs if r.exp == exp]
    if not of_experiment:
        raise NotFoundError(f"experiment {exp} of {slug!r} was never run", hint=f"`wb run --exp {exp}` runs it")
    return current_runs(workspace, slug, of_experiment)[exp]


def current_runs(workspace: Workspace, slug: str, runs: Sequence[RunRecord]) -> dict[int, CurrentRun]:
    """Return the run that stands for each experiment.

    Of the finished runs on all rows it is the one that belongs to the present definition, the newest where several do;
    else the one that differs least. Without a finished run on all rows it is the newest run.

    Parameters
    ----------
    runs : sequence of RunRecord
        Of one competition, oldest first.
    """
    by_exp: dict[int, list[RunRecord]] = {}
    for run in runs:
        by_exp.setdefault(run.exp, []).append(run)
    present = _Present(workspace, slug, {exp: of_exp[-1].base for exp, of_exp in by_exp.items()})
    return {exp: _current(present, of_exp) for exp, of_exp in by_exp.items()}


def _current(present: _Present, runs: Sequence[RunRecord]) -> CurrentRun:
    complete = [r for r in runs if r.status == "finished" and r.sample is None]
    if not complete:
        finished = [r for r in runs if r.status == "finished"]
        return CurrentRun((finished or runs)[-1])
    newest = complete[-1]
    if len({r.key for r in complete}) == 1 and not present.changed_since(newest):
        return CurrentRun(newest)
    # Runs of one key have the same definition: the newest of each is enough.
    candidates = list({r.key: r for r in complete}.values())
    candidates.sort(key=lambda r: r.created_at)
    compared = [CurrentRun(r, present.differences(r)) for r in candidates]
    fewest = min(len(c.outdated) for c in compared)
    nearest = [c for c in compared if len(c.outdated) == fewest]
    return nearest[0] if len(nearest) == 1 else max(nearest, key=lambda c: present.equal_sources(c.record))


class _Present:
    """The definition of a competition and its experiments as they now stand; read only where it has to be."""

    def __init__(self, workspace: Workspace, slug: str, bases: dict[int, int | None]) -> None:
        self.workspace, self.slug, self.bases = workspace, slug, bases
        self.folder = workspace.competitions / slug

    # ------------------------------------------------------------------------------------------ without reading

    def changed_since(self, run: RunRecord) -> bool:
        """Whether a file that defines a run was touched after it began; if not, nothing has to be compared."""
        began = run.created_at.timestamp()
        experiments = [self.folder / "experiments" / f"{exp:03d}.toml" for exp in self._chain(run.exp)]
        return self._last_change > began or any(_changed_at(path) > began for path in experiments)

    def _chain(self, exp: int) -> list[int]:
        chain = [exp]
        while (base := self.bases.get(chain[-1])) is not None and base not in chain:
            chain.append(base)
        return chain

    @cached_property
    def _last_change(self) -> float:
        """When the competition's definition, its data, or a feature list were last touched."""
        unrun = [p for p in self._experiment_files if int(p.stem) not in self.bases and self._is_base(int(p.stem))]
        manifest = self.folder / "data" / "tables" / "manifest.json"
        shared = [self.folder / "competition.toml", manifest, *(self.folder / "selections").glob("*.toml"), *unrun]
        return max(map(_changed_at, shared))

    @cached_property
    def _experiment_files(self) -> list[Path]:
        return [p for p in (self.folder / "experiments").glob("*.toml") if p.stem.isdigit()]

    def _is_base(self, exp: int) -> bool:
        return exp in self.bases.values()

    # ---------------------------------------------------------------------------------------------- comparing

    @cached_property
    def competition(self) -> Competition | None:
        from workbench.competition import load_competition

        try:
            return load_competition(self.workspace, self.slug)
        except WorkbenchError:  # whoever runs an experiment is told; a table is shown all the same
            return None

    @cached_property
    def _folds_content(self) -> str | None:
        """The key of the saved folds of the present ``[cv]``; None where they were never needed."""
        from workbench.folds import saved_content

        try:
            return None if self.competition is None else saved_content(self.competition)
        except (WorkbenchError, OSError):
            return None

    def differences(self, run: RunRecord) -> tuple[str, ...]:
        """Name what a run's definition differs in from the present one; what can't be read counts as equal."""
        competition = self.competition
        if competition is None:
            return ()
        details = self._details(run)
        used = self._definition_of(run)
        differs = {
            "experiment": self._differs_in_experiment(run, details, competition),
            "competition": used is not None and _numbers_of(used) != _numbers_of(competition.definition),
            "folds": self._differs_in_folds(run, used, competition),
            "data": self._differs_in_data(run, details, competition),
        }
        return tuple(name for name, is_different in differs.items() if is_different)

    def _details(self, run: RunRecord) -> dict[str, Any]:
        try:
            details = read_json(self.workspace.root / run.folder / "run.json")
        except (WorkbenchError, OSError):
            return {}
        return details if isinstance(details, dict) else {}

    def _definition_of(self, run: RunRecord) -> Definition | None:
        from workbench.competition.definition import read_definition

        try:
            return read_definition(self.workspace.root / run.folder / "source" / "competition.toml", self.slug)
        except (WorkbenchError, OSError):
            return None

    def _differs_in_experiment(self, run: RunRecord, details: dict[str, Any], competition: Competition) -> bool:
        from workbench.experiment import read_spec, specs_of_runs

        if "spec" not in details or not competition.experiment_path(run.exp).exists():
            return False
        try:
            specs = specs_of_runs(read_spec(competition, run.exp))
        except WorkbenchError:  # its file is broken, or its base is gone
            return True
        return all(_as_json(spec.content()) != details["spec"] for spec in specs)

    def _differs_in_folds(self, run: RunRecord, used: Definition | None, competition: Competition) -> bool:
        if run.kind != "recommend" and self._folds_content is not None:
            return self._folds_content != run.folds_hash
        return used is not None and used.cv != competition.definition.cv

    def _differs_in_data(self, run: RunRecord, details: dict[str, Any], competition: Competition) -> bool:
        # A recommender reads every table; of the others, tables beside train and test only matter to some features.
        name = "data" if run.kind == "recommend" else "rows"
        try:
            content = competition.manifest.content if name == "data" else competition.rows_content
        except WorkbenchError:
            return False
        return bool(details.get(name, content) != content)

    def equal_sources(self, run: RunRecord) -> tuple[int, float]:
        """Return how many of the modules kept with a run are as they now stand, and when it began."""
        kept = self.workspace.root / run.folder / "source"
        equal = sum(_same_bytes(p, self.folder / p.relative_to(kept)) for p in kept.rglob("*.py"))
        return equal, run.created_at.timestamp()


def _numbers_of(definition: Definition) -> dict[str, Any]:
    """Return what a run's numbers depend on, but for the folds."""
    return {name: value for name, value in asdict(definition).items() if name not in LABELS}


def _as_json(value: Any) -> Any:
    """Return a value as it comes back from JSON: tuples are lists."""
    if isinstance(value, dict):
        return {str(k): _as_json(v) for k, v in value.items()}
    return [_as_json(v) for v in value] if isinstance(value, list | tuple) else value


def _changed_at(path: Path) -> float:
    """Return when a file's content or name last changed; 0 where there is none."""
    try:
        stat = path.stat()
    except OSError:
        return 0.0
    return max(stat.st_mtime, stat.st_ctime)


def _same_bytes(one: Path, other: Path) -> bool:
    try:
        return one.read_bytes() == other.read_bytes()
    except OSError:
        return False
