"""Where a study is kept, and how it outlives the processes that work on it."""

from __future__ import annotations

import fcntl
import os
import socket
import uuid
import weakref
from collections.abc import Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, cast

from workbench.cache import is_locked, lock
from workbench.errors import ConfigError, StorageError, storage_errors
from workbench.tuning.extra import optuna

if TYPE_CHECKING:
    from collections.abc import Iterator

    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial, Trial

__all__ = ["OpenStudy", "StudyKey", "open_study", "read_study", "retry"]

JOURNAL = "journal.log"
SILENT_S = 3600
"""A trial of another machine that has said nothing for so long is taken for dead."""


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

    def ask(self, distributions: dict[str, BaseDistribution]) -> Trial:
        """Return the next trial, which bears this process's name before any other process looks for dead ones."""
        with _study_lock(self.folder):
            trial = self.study.ask(distributions)
            trial.set_user_attr("worker", self.worker)
        return trial

    def place(self) -> tuple[int, int]:
        """Return this process's place among those of this machine that work on the study now, and how many they are."""
        paths = (self.folder / "workers").iterdir()
        working = sorted(p.name for p in paths if p.name == self.worker or is_locked(p))
        return working.index(self.worker), len(working)


def _trials(n: int) -> str:
    return "1 trial" if n == 1 else f"{n} trials"


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
    """
    worker = f"{socket.gethostname()}-{uuid.uuid4().hex[:12]}"
    with storage_errors(folder):
        (folder / "workers").mkdir(parents=True, exist_ok=True)
    with _study_errors(folder, url), lock(folder / "workers" / worker, f"worker {worker}"):
        try:
            with _study_lock(folder):
                study, notes = _opened(folder, key, greater_is_better, url, seed)
                settled = settle_dead(study, folder, shared=url is not None)
            yield OpenStudy(study, folder, worker, [*notes, *settled])
        finally:
            (folder / "workers" / worker).unlink(missing_ok=True)


def _opened(folder: Path, key: StudyKey, greater: bool, url: str | None, seed: int) -> tuple[Study, list[str]]:
    storage, notes = _storage(folder, url), []
    study = _created(storage, key.name, greater, seed, folder)
    before = study.user_attrs.get("parts")
    if before is not None and (changed := key.changed(before)):
        n = _trials(len(study.trials))
        kept = _set_aside(storage, folder, key.name, url)
        notes.append(f"the study begins anew, for {' and '.join(changed)} changed; the {n} before are kept: {kept}")
        storage = _storage(folder, url)
        study, before = _created(storage, key.name, greater, seed, folder), None
    if before is None:
        study.set_user_attr("parts", key.parts)
    elif study.trials:
        notes.append(f"the study goes on after {_trials(len(study.trials))}")
    return study, notes


def _created(storage: BaseStorage, name: str, greater: bool, seed: int, folder: Path) -> Study:
    op = optuna()
    study: Study = op.create_study(
        storage=storage, study_name=name, direction="maximize" if greater else "minimize", load_if_exists=True
    )
    # Processes that share a study, and one that goes on with it, must not draw the same points.
    rank = sum(is_locked(path) for path in (folder / "workers").iterdir())
    study.sampler = op.samplers.TPESampler(seed=seed + 7919 * len(study.trials) + 104_729 * rank, multivariate=True)
    # What to give up is decided fold by fold in `pruning`.
    study.pruner = op.pruners.NopPruner()
    return study


def _set_aside(storage: BaseStorage, folder: Path, name: str, url: str | None) -> str:
    stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%S}"
    if url is None:
        old = folder / f"journal-{stamp}.log"
        (folder / JOURNAL).rename(old)
        return str(old)
    op, old_name = optuna(), f"{name}-{stamp}"
    op.copy_study(from_study_name=name, from_storage=storage, to_storage=storage, to_study_name=old_name)
    op.delete_study(study_name=name, storage=storage)
    return f"study {old_name!r} of the database"


def read_study(folder: Path, name: str, *, url: str | None = None) -> Study | None:
    """Return a study to look at; None where there is none."""
    if url is None and not (folder / JOURNAL).exists():
        return None
    storage = _storage(folder, url)
    try:
        study: Study = optuna().load_study(storage=storage, study_name=name)
    except KeyError:
        return None
    return study


def _storage(folder: Path, url: str | None) -> BaseStorage:
    storages = optuna().storages
    if url is None:
        path = folder / JOURNAL
        _mend(path)
        with storage_errors(path):
            journal: BaseStorage = storages.JournalStorage(
                storages.journal.JournalFileBackend(str(path), lock_obj=_JournalLock(path))
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


class _JournalLock:
    """The journal's lock: let go by the system when its process ends, however it ends.

    Optuna's own locks are files that a killed process leaves behind, and the others wait for them.
    """

    def __init__(self, journal: Path) -> None:
        self._path = journal.with_name(f".{journal.name}.lock")
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """Wait for the lock."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Let the lock go."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _mend(path: Path) -> None:
    """Cut off what a killed process left of a line: what is appended behind it would make the journal unreadable."""
    if not path.exists():
        return
    own = _JournalLock(path)
    own.acquire()
    try:
        data = path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            with path.open("r+b") as file:
                file.truncate(whole)
    finally:
        own.release()


def settle_dead(study: Study, folder: Path, *, shared: bool) -> list[str]:
    """Mark trials whose process is gone as failed, and queue them once more; the caller holds the study's lock.

    Parameters
    ----------
    shared : bool
        Whether processes of other machines, which hold no lock here, may work on it.

    Returns
    -------
    list of str
        A line for what was found.
    """
    retried, marked = 0, 0
    state = optuna().trial.TrialState
    for trial in study.get_trials(deepcopy=False, states=(state.RUNNING,)):
        if _is_alive(trial, folder, shared=shared):
            continue
        study._storage.set_trial_user_attr(trial._trial_id, "failure", "its process ended in the middle")
        study.tell(trial.number, state=state.FAIL)
        if retry(study, trial):
            retried += 1
        else:
            marked += 1
    notes = [f"tried once more, since the process ended in the middle: {_trials(retried)}"] if retried else []
    return notes + (
        [f"marked as failed, since the process ended in the middle twice: {_trials(marked)}"] if marked else []
    )


def retry(study: Study, trial: FrozenTrial) -> bool:
    """Queue a failed trial's parameters once more; False where that was the second try, or it had none yet."""
    if "retry_of" in trial.user_attrs or not trial.params:
        return False
    study.enqueue_trial(trial.params, user_attrs={"retry_of": trial.number})
    return True


def _is_alive(trial: FrozenTrial, folder: Path, *, shared: bool) -> bool:
    worker = trial.user_attrs.get("worker", "")
    host = worker.rpartition("-")[0]
    if host == socket.gethostname():
        return is_locked(folder / "workers" / worker)
    if not worker and not shared:
        return False
    began = trial.datetime_start
    # Optuna's times are local and have no zone.
    silent = (datetime.now() - began).total_seconds() if began is not None else 0.0  # noqa: DTZ005
    return silent < (SILENT_S if worker else 60)
