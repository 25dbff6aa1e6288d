"""Where a study is kept, and how it outlives the processes that work on it."""

from __future__ import annotations

import os
import threading
import uuid
import weakref
from collections.abc import Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from workbench.core.cache import content_key, is_locked, lock, read_json, write_json
from workbench.core.errors import BusyError, ConfigError, DamagedError, StorageError, storage_errors
from workbench.core.memory import used_bytes
from workbench.core.temporary import machine
from workbench.tuning.dead_trials import n_trials, settle_dead
from workbench.tuning.journal import JournalLock, repair_journal
from workbench.tuning.optuna_package import optuna
from workbench.tuning.state import StudyState, TrialWriter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.storages import BaseStorage
    from optuna.trial import Trial

__all__ = ["OpenStudy", "StudyKey", "open_study", "read_study"]

JOURNAL = "journal.log"
LAST = "database.json"
"""Which study of a database was searched last."""

HEARTBEAT_S = 300.0
"""So often a process says of its trial that it lives; in UTC, as machines of several time zones may share a study."""


@dataclass(frozen=True)
class StudyKey:
    """What trials can be compared by, part by part: a study is begun anew when one of them changes.

    Attributes
    ----------
    name : str
        The competition and the experiment.
    parts : dict
        "features", "folds", "target", "space", "model" -> a key of the content; "search" -> how scores are kept.
    """

    name: str
    parts: dict[str, str]

    def changed(self, other: Mapping[str, str]) -> list[str]:
        """Return the parts in which another study differs."""
        return [part for part, key in self.parts.items() if other.get(part) != key]


@dataclass
class OpenStudy:
    """A study and the process that works on it.

    Attributes
    ----------
    worker : str
        This process, for others to see whether it lives.
    notes : list of str
        What is to be said: that it goes on, that it was begun anew and why.
    """

    study: Study
    folder: Path
    worker: str
    notes: list[str] = field(default_factory=list)
    _trial: Trial | None = None

    @property
    def state(self) -> StudyState:
        """What the study stores of itself."""
        return StudyState(self.study)

    def ask(self, distributions: dict[str, BaseDistribution]) -> Trial:
        """Return the next trial, which bears this process's name before any other process looks for dead ones."""
        with self.locked():
            trial = self.study.ask(distributions)
            TrialWriter(self.study, trial).set_worker(self.worker)
        self._trial = trial
        return trial

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Say of the trial that was asked for last that it lives, until the end of the block."""
        ended = threading.Event()

        def beat() -> None:
            while not ended.wait(HEARTBEAT_S):
                trial = self._trial
                if trial is not None:
                    # It may have ended by now; or the database be out of reach, which the search itself will say.
                    with suppress(Exception):
                        TrialWriter(self.study, trial).set_heartbeat()

        thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def locked(self) -> AbstractContextManager[None]:
        """Return the study's lock on this machine: what is settled once for all processes is settled under it."""
        return _study_lock(self.folder)

    def place(self) -> tuple[int, int]:
        """Return this process's place among those of this machine that work on the study now, and how many they are."""
        working = self._working()
        return working.index(self.worker), len(working)

    def _working(self) -> list[str]:
        paths = (self.folder / "workers").iterdir()
        return sorted(p.name for p in paths if p.name == self.worker or is_locked(p))

    def promise(self, n_bytes: int) -> None:
        """Note how much memory this process will have taken at its peak; under the study's lock."""
        self.state.promise_memory(self.worker, os.getpid(), n_bytes)

    def promised_to_others(self) -> int:
        """Return the bytes that the other processes of this machine that work on the study have yet to take."""
        other_workers = [name for name in self._working() if name != self.worker]
        return sum(max(0, n_bytes - used_bytes(pid)) for pid, n_bytes in self.state.promised_memory(other_workers))


def _study_lock(folder: Path) -> AbstractContextManager[None]:
    return lock(folder / ".study.lock", "the study", wait=True)


@contextmanager
def open_study(
    folder: Path, key: StudyKey, *, greater_is_better: bool, url: str | None = None, seed: int = 0
) -> Iterator[OpenStudy]:
    """Open a study, the one that is there where it is of the same problem; let the worker go at the end.

    Parameters
    ----------
    folder : Path
        Of the study; the journal, the workers' locks and kept OOF are in it.
    key : StudyKey
    greater_is_better : bool
    url : str, optional
        A database instead of the journal: "postgresql+psycopg://…".
    seed : int
        Of the sampler.

    Raises
    ------
    StorageError
        When the folder or the database can't be used, or can't be any more while the study is open.
    BusyError
        When the study has to begin anew while another process is at work on the one before.
    """
    worker = f"{'-'.join(machine())}-{uuid.uuid4().hex[:12]}"
    with storage_errors(folder):
        (folder / "workers").mkdir(parents=True, exist_ok=True)
    with _study_errors(folder, url), lock(folder / "workers" / worker, f"worker {worker}"):
        try:
            with _study_lock(folder):
                study, notes = _opened(folder, key, greater_is_better, url, seed, worker)
                settled = settle_dead(study, folder, shared=url is not None)
            opened = OpenStudy(study, folder, worker, [*notes, *settled])
            with opened.beating():
                yield opened
        finally:
            (folder / "workers" / worker).unlink(missing_ok=True)


def _opened(
    folder: Path, key: StudyKey, greater: bool, url: str | None, seed: int, worker: str
) -> tuple[Study, list[str]]:
    storage, notes = _storage(folder, url), []
    # In a database workspaces share, others may have a study of this name on other data.
    name = key.name if url is None else f"{key.name}-{content_key('study', key.parts)[:12]}"
    last = _last(folder) if url is not None else _as_last(_created(storage, name, greater))
    if last is not None and (changed := key.changed(last["parts"])):
        if any(p.name != worker and is_locked(p) for p in (folder / "workers").iterdir()):
            raise BusyError(
                f"another process searches {key.name!r} as it was before {' and '.join(changed)} changed",
                hint="wait for it, or stop it: the study then begins anew",
            )
        aside = _set_aside(folder, last, url)
        notes.append(f"the study begins anew, for {' and '.join(changed)} changed; the {aside}")
        storage = _storage(folder, url)
    study = _created(storage, name, greater)
    state = StudyState(study)
    if state.key_parts is None:
        state.key_parts = key.parts
    elif study.trials:
        if notes:  # changed back to what a study of the database is of
            notes = [notes[0].replace("the study begins anew", "an earlier study is taken up again")]
        notes.append(f"the study goes on after {n_trials(len(study.trials))}")
    # Processes that share a study, and one that goes on with it, must not draw the same points.
    study.sampler = optuna().samplers.TPESampler(seed=seed + 104_729 * state.count_opening(), multivariate=True)
    if url is not None:
        write_json(folder / LAST, {"name": name, "parts": key.parts})
    return study, notes


def _as_last(study: Study) -> dict[str, Any] | None:
    parts = StudyState(study).key_parts
    return None if parts is None else {"name": study.study_name, "parts": parts, "trials": len(study.trials)}


def _last(folder: Path) -> dict[str, Any] | None:
    """Return the study of a database that this folder's last search was of."""
    try:
        last = read_json(folder / LAST)
        return {"name": str(last["name"]), "parts": dict(last["parts"])}
    except (OSError, DamagedError, KeyError, TypeError, ValueError):
        return None


def _created(storage: BaseStorage, name: str, greater: bool) -> Study:
    op = optuna()
    study: Study = op.create_study(
        storage=storage, study_name=name, direction="maximize" if greater else "minimize", load_if_exists=True
    )
    # What to give up is decided fold by fold in `pruning`.
    study.pruner = op.pruners.NopPruner()
    return study


def _set_aside(folder: Path, last: dict[str, Any], url: str | None) -> str:
    """Put the kept OOF of the study before aside, and its journal; a database keeps each under its own name."""
    stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%S}"
    if (folder / "oof").exists():
        (folder / "oof").rename(folder / f"oof-{stamp}")
    if url is not None:
        return f"one before is kept: study {last['name']!r} of the database"
    old = folder / f"journal-{stamp}.log"
    (folder / JOURNAL).rename(old)
    return f"{n_trials(last['trials'])} before are kept: {old}"


def read_study(folder: Path, name: str, *, url: str | None = None) -> Study | None:
    """Return a study to look at, of a database the one that was searched last; None where there is none."""
    if url is None and not (folder / JOURNAL).exists():
        return None
    op, storage = optuna(), _storage(folder, url)
    if url is not None:
        summaries = [s for s in op.get_all_study_summaries(storage) if s.study_name.startswith(f"{name}-")]
        last = _last(folder) or {}
        summaries.sort(key=lambda s: (s.study_name == last.get("name"), s.datetime_start or datetime.min))  # noqa: DTZ901
        if not summaries:
            return None
        name = summaries[-1].study_name
    try:
        study: Study = op.load_study(storage=storage, study_name=name)
    except KeyError:
        return None
    return study


def _storage(folder: Path, url: str | None) -> BaseStorage:
    storages = optuna().storages
    if url is None:
        path = folder / JOURNAL
        repair_journal(path)
        with storage_errors(path):
            journal: BaseStorage = storages.JournalStorage(
                storages.journal.JournalFileBackend(str(path), lock_obj=JournalLock(path))
            )
        return journal
    try:
        database = storages.RDBStorage(url)
    except ImportError as exc:
        raise ConfigError(f"the driver of {_shown(url)} is not installed: {exc}") from exc
    except Exception as exc:  # noqa: BLE001 each driver has its own errors
        # SQLAlchemy's own say the address with its password.
        raise StorageError(
            f"the studies' database {_shown(url)} can't be used: {type(exc).__name__}",
            hint="is it running, and does the user exist? WB_STUDY_URL or --storage names it",
        ) from None
    # Optuna leaves its connections open for as long as the process lives.
    weakref.finalize(database, database.engine.dispose)
    return cast("BaseStorage", database)


@contextmanager
def _study_errors(folder: Path, url: str | None) -> Iterator[None]:
    """Say what became of the journal or the database; what was written is there for the next search."""
    if url is None:
        with storage_errors(folder):
            yield
        return
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (optuna().exceptions.StorageInternalError, SQLAlchemyError) as exc:
        cause = type(exc.__cause__ or exc).__name__
        raise StorageError(
            f"the studies' database {_shown(url)} can't be used any more: {cause}",
            hint="the trials that it has are kept: once it runs again, the same command goes on",
        ) from None


def _shown(url: str) -> str:
    """Return the address without its password."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return "(not an address)"
