"""Where a study is kept, and how it outlives the processes that work on it."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import threading
import uuid
import weakref
from collections.abc import Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from workbench.core.cache import atomic, content_key, is_locked, lock, read_json, write_json
from workbench.core.errors import BusyError, ConfigError, DamagedError, StorageError, storage_errors
from workbench.core.memory import used_bytes
from workbench.core.temporary import machine
from workbench.tuning.optuna_package import optuna

if TYPE_CHECKING:
    from collections.abc import Iterator

    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial, Trial

__all__ = ["OpenStudy", "StudyKey", "open_study", "read_study", "retry"]

JOURNAL = "journal.log"
LAST = "database.json"
"""Which study of a database was searched last."""

HEARTBEAT_S = 300.0
"""So often a process says of its trial that it lives; in UTC, as machines of several time zones may share a study."""

SILENT_S = 3600
"""A trial of another machine that has said nothing for so long is taken for dead."""

UNKNOWN_S = 2 * 86_400
"""The same for one of an earlier version, which said once when it began, and not in which time zone."""

SEEN = "seen_at"


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
    _trial_id: int | None = None

    def ask(self, distributions: dict[str, BaseDistribution]) -> Trial:
        """Return the next trial, which bears this process's name before any other process looks for dead ones."""
        with self.locked():
            trial = self.study.ask(distributions)
            trial.set_user_attr("worker", self.worker)
            trial.set_user_attr(SEEN, _now())
        self._trial_id = trial._trial_id
        return trial

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Say of the trial that was asked for last that it lives, until the end of the block."""
        ended = threading.Event()

        def beat() -> None:
            while not ended.wait(HEARTBEAT_S):
                trial_id = self._trial_id
                if trial_id is not None:
                    # It may have ended by now; or the database be out of reach, which the search itself will say.
                    with suppress(Exception):
                        self.study._storage.set_trial_user_attr(trial_id, SEEN, _now())

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
        self.study.set_user_attr(f"memory:{self.worker}", [os.getpid(), n_bytes])

    def promised_to_others(self) -> int:
        """Return the bytes that the other processes of this machine that work on the study have yet to take."""
        promised = self.study.user_attrs
        others = [promised.get(f"memory:{name}") for name in self._working() if name != self.worker]
        return sum(max(0, n_bytes - used_bytes(pid)) for pid, n_bytes in filter(None, others))


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
        kept = _set_aside(folder, last, url)
        notes.append(f"the study begins anew, for {' and '.join(changed)} changed; the {kept}")
        storage = _storage(folder, url)
    study = _created(storage, name, greater)
    if "parts" not in study.user_attrs:
        study.set_user_attr("parts", key.parts)
    elif study.trials:
        if notes:  # changed back to what a study of the database is of
            notes = [notes[0].replace("the study begins anew", "an earlier study is taken up again")]
        notes.append(f"the study goes on after {_trials(len(study.trials))}")
    # Processes that share a study, and one that goes on with it, must not draw the same points.
    opened = int(study.user_attrs.get("opened", 0))
    study.set_user_attr("opened", opened + 1)
    study.sampler = optuna().samplers.TPESampler(seed=seed + 104_729 * opened, multivariate=True)
    if url is not None:
        write_json(folder / LAST, {"name": name, "parts": key.parts})
    return study, notes


def _as_last(study: Study) -> dict[str, Any] | None:
    parts = study.user_attrs.get("parts")
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
    return f"{_trials(last['trials'])} before are kept: {old}"


def read_study(folder: Path, name: str, *, url: str | None = None) -> Study | None:
    """Return a study to look at, of a database the one that was searched last; None where there is none."""
    if url is None and not (folder / JOURNAL).exists():
        return None
    op, storage = optuna(), _storage(folder, url)
    if url is not None:
        found = [s for s in op.get_all_study_summaries(storage) if s.study_name.startswith(f"{name}-")]
        last = _last(folder) or {}
        found.sort(key=lambda s: (s.study_name == last.get("name"), s.datetime_start or datetime.min))  # noqa: DTZ901
        if not found:
            return None
        name = found[-1].study_name
    try:
        study: Study = op.load_study(storage=storage, study_name=name)
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
        # Forgotten before it is closed: whoever waits for it, in another thread, sets its own at once.
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def _mend(path: Path) -> None:
    """Take out what makes a journal unreadable and says nothing: blank lines, and what was being written at its end.

    Raises
    ------
    DamagedError
        When an entry is damaged that others follow: without it these would be of other trials.
    """
    if not path.exists():
        return
    own = _JournalLock(path)
    own.acquire()
    try:
        data = path.read_bytes()
        lines = data.split(b"\n")
        # The end of a file without its last line end is half a line, though it may read like a whole one.
        entries = {n: line for n, line in enumerate(lines[:-1], 1) if line.strip()}
        last = max((n for n, line in entries.items() if _is_entry(line)), default=0)
        for number, line in entries.items():
            if number < last and not _is_entry(line):
                raise DamagedError(
                    f"{path}: line {number:,} of {last:,} is damaged, and the trials after it depend on it",
                    hint=f"put the file back from a copy; or rename it, and the study begins anew: "
                    f"mv {path} {path}.damaged",
                )
        whole = b"".join(line + b"\n" for number, line in entries.items() if number <= last)
        if data.startswith(whole):
            if len(whole) < len(data):
                with path.open("r+b") as file:
                    file.truncate(len(whole))
        else:
            with atomic(path) as temporary:
                temporary.write_bytes(whole)
    finally:
        own.release()


def _is_entry(line: bytes) -> bool:
    try:
        entry = json.loads(line)
    except ValueError:
        return False
    return isinstance(entry, dict) and {"op_code", "worker_id"} <= entry.keys()


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
    # A lock tells only where it was taken; earlier versions named the host alone.
    if worker.rpartition("-")[0] in ("-".join(machine()), socket.gethostname()):
        return is_locked(folder / "workers" / worker)
    if not worker and not shared:
        return False
    seen = trial.user_attrs.get(SEEN)
    if seen is not None:
        return (datetime.now(UTC) - datetime.fromisoformat(seen)).total_seconds() < SILENT_S
    began = trial.datetime_start
    # Optuna's times are local and have no zone.
    return began is None or (datetime.now() - began).total_seconds() < UNKNOWN_S  # noqa: DTZ005


def _now() -> str:
    return datetime.now(UTC).isoformat("T", "seconds")
