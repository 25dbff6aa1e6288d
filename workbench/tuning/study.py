"""The storage of studies, in a journal or a database, and the processes that share them."""

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

__all__ = ["StudyKey", "StudySession", "open_study", "read_study"]

JOURNAL = "journal.log"
LAST_SEARCHED = "database.json"
"""In a study's folder: the name and the key of the study in a database that was searched last."""

HEARTBEAT_INTERVAL_S = 300.0
"""Seconds between two heartbeats of a running trial."""


@dataclass(frozen=True)
class StudyKey:
    """The key of a study: trials with different keys can't be compared, so a new study begins when it changes.

    Attributes
    ----------
    name : str
        The competition and the experiment.
    parts : dict
        "features", "folds", "target", "space", "model" -> a key of their content; "search" -> the version of scores.
    """

    name: str
    parts: dict[str, str]

    def changed(self, other: Mapping[str, str]) -> list[str]:
        """Return the names of the parts that differ from those of another study."""
        return [part for part, key in self.parts.items() if other.get(part) != key]


@dataclass
class StudySession:
    """The work of this process on a study.

    Attributes
    ----------
    study : optuna.Study
    folder : Path
        Of the study.
    worker : str
        A unique name of this process; a lock of that name shows other processes that it is alive.
    notes : list of str
        Messages for the user: whether the study is continued, or starts over and why.
    """

    study: Study
    folder: Path
    worker: str
    notes: list[str] = field(default_factory=list)
    _trial: Trial | None = None

    @property
    def state(self) -> StudyState:
        """The attributes of the study."""
        return StudyState(self.study)

    def ask(self, distributions: dict[str, BaseDistribution]) -> Trial:
        """Return the next trial; it has this process's name before another process can take it for dead."""
        with self.locked():
            trial = self.study.ask(distributions)
            TrialWriter(self.study, trial).set_worker(self.worker)
        self._trial = trial
        return trial

    @contextmanager
    def writing_heartbeats(self) -> Iterator[None]:
        """Write heartbeats of the latest trial until the end of the block."""
        ended = threading.Event()

        def write_heartbeats() -> None:
            while not ended.wait(HEARTBEAT_INTERVAL_S):
                trial = self._trial
                if trial is not None:
                    # The trial may have just ended; and if the database fails, the search itself raises.
                    with suppress(Exception):
                        TrialWriter(self.study, trial).set_heartbeat()

        thread = threading.Thread(target=write_heartbeats, name="heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def locked(self) -> AbstractContextManager[None]:
        """Return the study's lock on this machine, for decisions that are made once for all processes."""
        return _study_lock(self.folder)

    def position(self) -> tuple[int, int]:
        """Return this process's index among the live processes of the study on this machine, and their number."""
        workers = self._live_workers()
        return workers.index(self.worker), len(workers)

    def _live_workers(self) -> list[str]:
        paths = (self.folder / "workers").iterdir()
        return sorted(p.name for p in paths if p.name == self.worker or is_locked(p))

    def announce_memory(self, n_bytes: int) -> None:
        """Announce the peak memory of this process to the others; the caller holds the study's lock."""
        self.state.announce_memory(self.worker, os.getpid(), n_bytes)

    def memory_announced_by_others(self) -> int:
        """Return the bytes that the study's other processes on this machine have announced and not yet taken."""
        other_workers = [name for name in self._live_workers() if name != self.worker]
        return sum(max(0, n_bytes - used_bytes(pid)) for pid, n_bytes in self.state.announced_memory(other_workers))


def _study_lock(folder: Path) -> AbstractContextManager[None]:
    return lock(folder / ".study.lock", "the study", wait=True)


@contextmanager
def open_study(
    folder: Path, key: StudyKey, *, greater_is_better: bool, url: str | None = None, seed: int = 0
) -> Iterator[StudySession]:
    """Open a study for this process until the end of the block; an existing one of the same key is continued.

    Parameters
    ----------
    folder : Path
        Of the study; it has the journal, the workers' locks and the OOF files.
    key : StudyKey
    greater_is_better : bool
    url : str, optional
        A database instead of the journal: "postgresql+psycopg://…".
    seed : int
        Of the sampler.

    Raises
    ------
    StorageError
        When the folder or the database can't be used, or fails while the study is open.
    BusyError
        When the study has to start over while another process searches the old one.
    """
    worker = f"{'-'.join(machine())}-{uuid.uuid4().hex[:12]}"
    with storage_errors(folder):
        (folder / "workers").mkdir(parents=True, exist_ok=True)
    with _study_errors(folder, url), lock(folder / "workers" / worker, f"worker {worker}"):
        try:
            with _study_lock(folder):
                study, notes = _continue_or_create(folder, key, greater_is_better, url, seed, worker)
                dead_notes = settle_dead(study, folder, shared=url is not None)
            session = StudySession(study, folder, worker, [*notes, *dead_notes])
            with session.writing_heartbeats():
                yield session
        finally:
            (folder / "workers" / worker).unlink(missing_ok=True)


def _continue_or_create(
    folder: Path, key: StudyKey, greater_is_better: bool, url: str | None, seed: int, worker: str
) -> tuple[Study, list[str]]:
    """Return the study of a key, and notes; a study of the same name with another key is set aside."""
    storage, notes = _storage(folder, url), []
    # In a database that workspaces share, another one may have a study of this name on other data.
    name = key.name if url is None else f"{key.name}-{content_key('study', key.parts)[:12]}"
    last_description = _last_searched(folder)
    if url is None:
        last_description = _description(_load_or_create(storage, name, greater_is_better))
    if last_description is not None and (changed := key.changed(last_description["parts"])):
        if any(p.name != worker and is_locked(p) for p in (folder / "workers").iterdir()):
            raise BusyError(
                f"another process searches {key.name!r} as it was before {' and '.join(changed)} changed",
                hint="wait for it, or stop it: the study then starts over",
            )
        aside = _set_aside(folder, last_description, url)
        notes.append(f"the study starts over because {' and '.join(changed)} changed; the {aside}")
        storage = _storage(folder, url)
    study = _load_or_create(storage, name, greater_is_better)
    state = StudyState(study)
    if state.key_parts is None:
        state.key_parts = key.parts
    elif study.trials:
        if notes:  # changed back to the key of an earlier study in the database
            notes = [notes[0].replace("the study starts over", "an earlier study is continued")]
        notes.append(f"the study continues after {n_trials(len(study.trials))}")
    # Different seeds: processes that share or continue a study must not draw the same points. The factor is a prime.
    study.sampler = optuna().samplers.TPESampler(seed=seed + 104_729 * state.count_opening(), multivariate=True)
    if url is not None:
        write_json(folder / LAST_SEARCHED, {"name": name, "parts": key.parts})
    return study, notes


def _description(study: Study) -> dict[str, Any] | None:
    """Return a study's name, key parts and number of trials; None for a study that was just created."""
    parts = StudyState(study).key_parts
    return None if parts is None else {"name": study.study_name, "parts": parts, "trials": len(study.trials)}


def _last_searched(folder: Path) -> dict[str, Any] | None:
    """Return the name and the key parts of the database's study that was searched last; None without one."""
    try:
        last = read_json(folder / LAST_SEARCHED)
        return {"name": str(last["name"]), "parts": dict(last["parts"])}
    except (OSError, DamagedError, KeyError, TypeError, ValueError):
        return None


def _load_or_create(storage: BaseStorage, name: str, greater_is_better: bool) -> Study:
    package = optuna()
    study: Study = package.create_study(
        storage=storage, study_name=name, direction="maximize" if greater_is_better else "minimize", load_if_exists=True
    )
    # The module `pruning` decides fold by fold.
    study.pruner = package.pruners.NopPruner()
    return study


def _set_aside(folder: Path, last: dict[str, Any], url: str | None) -> str:
    """Rename the OOF folder and the journal of the old study; return a note of where it is.

    A database keeps each study under a name of its own.
    """
    stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%S}"
    if (folder / "oof").exists():
        (folder / "oof").rename(folder / f"oof-{stamp}")
    if url is not None:
        return f"old one is kept: study {last['name']!r} of the database"
    old_journal = folder / f"journal-{stamp}.log"
    (folder / JOURNAL).rename(old_journal)
    return f"old one, with {n_trials(last['trials'])}, is kept: {old_journal}"


def read_study(folder: Path, name: str, *, url: str | None = None) -> Study | None:
    """Return a study for reading; of several in a database, the one that was searched last. None if there is none."""
    if url is None and not (folder / JOURNAL).exists():
        return None
    package, storage = optuna(), _storage(folder, url)
    if url is not None:
        summaries = [s for s in package.get_all_study_summaries(storage) if s.study_name.startswith(f"{name}-")]
        last = _last_searched(folder) or {}
        summaries.sort(key=lambda s: (s.study_name == last.get("name"), s.datetime_start or datetime.min))  # noqa: DTZ901
        if not summaries:
            return None
        name = summaries[-1].study_name
    try:
        study: Study = package.load_study(storage=storage, study_name=name)
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
        raise ConfigError(f"the driver of {_without_password(url)} is not installed: {exc}") from exc
    except Exception as exc:  # noqa: BLE001 each driver has its own errors
        # The messages of SQLAlchemy contain the URL with its password.
        raise StorageError(
            f"the studies' database {_without_password(url)} can't be used: {type(exc).__name__}",
            hint="check that it runs and that the user exists; its URL is in WB_STUDY_URL or --storage",
        ) from None
    # Optuna would leave its connections open until the process ends.
    weakref.finalize(database, database.engine.dispose)
    return cast("BaseStorage", database)


@contextmanager
def _study_errors(folder: Path, url: str | None) -> Iterator[None]:
    """Raise a StorageError where the journal or the database fails within the block."""
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
            f"the studies' database {_without_password(url)} can't be used any more: {cause}",
            hint="its trials are kept: once it runs again, the same command continues the study",
        ) from None


def _without_password(url: str) -> str:
    """Return the URL without its password."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return "(not a URL)"
