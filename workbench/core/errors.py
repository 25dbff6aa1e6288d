"""Exceptions for expected failures.

They have one root, and also inherit the builtin exception that a caller would catch::

    WorkbenchError
    ├── ConfigError (ValueError)       a definition, an experiment file or an option is wrong
    │   └── NotFoundError (LookupError)   a name that does not exist, with the near ones
    ├── DataError (ValueError)         a table, a target or an id is invalid
    │   ├── DamagedError                  a file is truncated, changed or incomplete
    │   └── NewerError                    a file was written by a newer version of the workbench
    ├── FeatureError (ValueError)      a feature breaks its contract or raises
    ├── NotebookError (RuntimeError)   a notebook failed or was stopped
    ├── TrainingError (RuntimeError)   folds or model parameters that can't be trained
    │   └── MemoryLimitError (MemoryError)   a task would exceed the memory limit
    ├── StorageError (OSError)         the disk is full, or the folder can't be written
    ├── BusyError (RuntimeError)       another process holds the resource
    ├── LedgerError (RuntimeError)     the ledger is newer than this program, or unreachable
    │   └── DamagedLedgerError            the ledger is corrupt; it can be rebuilt from the run folders
    ├── UnsupportedError (NotImplementedError)   this operating system lacks what is needed
    ├── PlatformError (RuntimeError)   the platform refused a request, or can't be reached
    │   ├── LoginError                    the login is not accepted, or has expired
    │   ├── UnansweredError               the response was lost: the request may have been carried out
    │   ├── UnavailableError              a resource is not available this way; another way may work
    │   └── UnreachableError              the platform can't be reached, or is overloaded
    └── SubmissionError (ValueError)   findings that stop a submission
"""

from __future__ import annotations

import difflib
import errno
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = [
    "BusyError",
    "ConfigError",
    "DamagedError",
    "DamagedLedgerError",
    "DataError",
    "FeatureError",
    "LedgerError",
    "LoginError",
    "MemoryLimitError",
    "NewerError",
    "NotFoundError",
    "NotebookError",
    "PlatformError",
    "StorageError",
    "SubmissionError",
    "TrainingError",
    "UnansweredError",
    "UnavailableError",
    "UnreachableError",
    "UnsupportedError",
    "WorkbenchError",
    "did_you_mean",
    "storage_errors",
]


class WorkbenchError(Exception):
    """The base class of all expected failures.

    Parameters
    ----------
    message : str
        What went wrong and where, what was expected and what was there instead.
    hint : str, optional
        What the user can do about it; the command, where one fixes it.

    Examples
    --------
    >>> error = WorkbenchError("no table named 'trian'", hint="did you mean 'train'?")
    >>> error.message, error.hint
    ("no table named 'trian'", "did you mean 'train'?")
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class ConfigError(WorkbenchError, ValueError):
    """A definition, an experiment file or an option is wrong."""


class NotFoundError(ConfigError, LookupError):
    """A name does not exist; the hint lists similar names."""


class DataError(WorkbenchError, ValueError):
    """A table, a target or an id is invalid."""


class DamagedError(DataError):
    """A file is truncated, changed or incomplete."""


class NewerError(DataError):
    """A file was written by a newer version of the workbench."""


class FeatureError(WorkbenchError, ValueError):
    """A feature breaks its contract, or its function raises."""


class NotebookError(WorkbenchError, RuntimeError):
    """A notebook failed, exceeded a limit or recorded nothing; the message names the cell.

    Parameters
    ----------
    trace : str
        The traceback, if a cell raised.
    peak_mb : float
        The peak memory of the kernel and its child processes, in MB.
    """

    def __init__(self, message: str, *, hint: str = "", trace: str = "", peak_mb: float = 0.0) -> None:
        super().__init__(message, hint=hint)
        self.trace = trace
        self.peak_mb = peak_mb


class TrainingError(WorkbenchError, RuntimeError):
    """Folds or model parameters that can't be trained."""


class MemoryLimitError(TrainingError, MemoryError):
    """A task would exceed the memory limit; raised before it starts."""


class StorageError(WorkbenchError, OSError):
    """The disk is full, or a folder can't be written."""


class BusyError(WorkbenchError, RuntimeError):
    """Another process holds the resource."""


class LedgerError(WorkbenchError, RuntimeError):
    """The ledger is newer than this program, or unreachable."""


class DamagedLedgerError(LedgerError):
    """The ledger is corrupt; it can be rebuilt from the run folders."""


class UnsupportedError(WorkbenchError, NotImplementedError):
    """The operating system lacks what the operation needs."""


class PlatformError(WorkbenchError, RuntimeError):
    """The platform refused a request, or can't be reached."""


class LoginError(PlatformError):
    """The login is not accepted, or has expired: a retry can't succeed before the user signs in."""


class UnavailableError(PlatformError):
    """A resource is not available this way, but another may work: single files instead of an archive."""


class UnansweredError(PlatformError):
    """The response was lost: the platform may or may not have carried out the request."""


class UnreachableError(PlatformError):
    """The platform can't be reached, does not answer, or is overloaded; the request was not refused."""


class SubmissionError(WorkbenchError, ValueError):
    """Findings that stop a submission."""


def did_you_mean(name: str, valid_names: Iterable[str], *, kind: str = "name") -> str:
    """Return a hint with the valid names most similar to `name`, or with all of them if none is similar.

    Examples
    --------
    >>> did_you_mean("lerning_rate", ["learning_rate", "num_leaves"], kind="key")
    "did you mean 'learning_rate'?"
    >>> did_you_mean("ISHOLIDAY", ["IsHoliday", "Store"], kind="column")
    "did you mean 'IsHoliday'?"
    >>> did_you_mean("zzz", ["a", "b"], kind="key")
    'valid keys: a, b'
    >>> did_you_mean("zzz", [], kind="key")
    'there is no key yet'
    """
    names = sorted(set(valid_names))
    # Wrong case is the most frequent mistake, and difflib would count it as a difference.
    close = [n for n in names if n.casefold() == name.casefold()] or difflib.get_close_matches(name, names, n=3)
    if not close:
        folded = {n.casefold(): n for n in reversed(names)}
        close = [folded[n] for n in difflib.get_close_matches(name.casefold(), folded, n=3)]
    if close:
        return "did you mean " + " or ".join(repr(c) for c in close) + "?"
    if not names:
        return f"there is no {kind} yet"
    names_text = ", ".join(names[:30]) + (f", … ({len(names)} in all)" if len(names) > 30 else "")
    plural = f"{kind[:-1]}ies" if kind.endswith("y") and kind[-2:-1] not in "aeiou" else f"{kind}s"
    return f"valid {plural}: {names_text}"


_STORAGE_ERRNOS = {
    errno.ENOSPC: (
        "no space left on the disk",
        "free some space (`wb doctor` shows how much there is), then run it again",
    ),
    errno.EDQUOT: ("the disk quota is used up", "free some space, then run it again"),
    errno.EACCES: ("permission denied", "make the folder writable for this user, or choose another workspace"),
    errno.EPERM: ("operation not permitted", "make the folder writable for this user, or choose another workspace"),
    errno.EROFS: ("the file system is read-only", "choose a workspace on a disk that can be written"),
    errno.EFBIG: ("the file is too large for this file system or limit", "raise the limit, or choose another disk"),
    errno.EEXIST: ("a file is where a folder must be", "move that file out of the way"),
    errno.EIO: (
        "the disk reports an error",
        "check the disk (`dmesg`), or choose another one; then run it again",
    ),
    errno.ESTALE: ("the network drive is gone", "check whether the drive is connected, then run it again"),
    errno.ENAMETOOLONG: ("the name is too long for this file system", "choose a shorter name"),
    errno.EISDIR: ("a folder is where a file must be", "move that folder out of the way"),
    errno.ENOTDIR: ("a part of the path is a file, not a folder", "move that file out of the way"),
}


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn operating-system and polars write errors that a user can cause into `StorageError`.

    Parameters
    ----------
    path : Path
        The file being written, for the message.

    Raises
    ------
    StorageError
        For a full disk, missing permission, a read-only file system and the like. Anything else passes unchanged.
    """
    try:
        yield
    except WorkbenchError:
        raise
    except Exception as exc:
        translated = _as_storage_error(exc, path)
        if translated is None:
            raise
        raise translated from exc


def _as_storage_error(exc: Exception, path: Path) -> StorageError | None:
    code, name = getattr(exc, "errno", None), getattr(exc, "filename", None)
    if code is None and (isinstance(exc, OSError) or type(exc).__module__.startswith("polars")):
        # polars raises its own exceptions or OSErrors without errno, which is only in the message.
        errno_match = re.search(r"os error (\d+)", str(exc))
        code = int(errno_match[1]) if errno_match else errno.ENOSPC if "No space left" in str(exc) else None
    if code not in _STORAGE_ERRNOS:
        return None
    message, hint = _STORAGE_ERRNOS[code]
    return StorageError(f"can't write {name or path}: {message}", hint=hint)
