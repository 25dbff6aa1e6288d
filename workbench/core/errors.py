"""Everything that goes wrong in an expected way.

One root; each class says by its name whose mistake it is, and specific ones also inherit the builtin that a caller
would look for::

    WorkbenchError
    ├── ConfigError (ValueError)       a definition, an experiment file or an option is wrong
    │   └── NotFoundError (LookupError)   a name that does not exist, with the near ones
    ├── DataError (ValueError)         a table, a target or an id is not as it must be
    │   ├── DamagedError                  a file is not what was written: truncated, changed, half there
    │   └── NewerError                    a file is whole, and of a newer workbench than this one
    ├── FeatureError (ValueError)      a feature breaks its contract or raises
    ├── NotebookError (RuntimeError)   a notebook failed, or was ended
    ├── TrainingError (RuntimeError)   folds or model parameters that can't be trained
    │   └── MemoryLimitError (MemoryError)   what is to be done would take more memory than it may
    ├── StorageError (OSError)         the disk is full, or the folder can't be written
    ├── BusyError (RuntimeError)       another process holds the resource
    ├── LedgerError (RuntimeError)     the ledger is newer than this program, or out of reach
    │   └── DamagedLedgerError            it is not what was written; the run folders have what it had
    ├── PlatformError (RuntimeError)   the platform refused, or can't be reached
    │   ├── LoginError                    the platform does not accept the login, or no longer
    │   ├── UnansweredError               it is not known whether the platform did what was asked
    │   ├── UnavailableError              the platform does not give this now; another way to it may work
    │   └── UnreachableError              the platform can't be reached, or has no time: nothing was refused
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
    "WorkbenchError",
    "near",
    "storage_errors",
]


class WorkbenchError(Exception):
    """The root of all expected failures.

    Parameters
    ----------
    message : str
        What happened, where, what was expected and what was found.
    hint : str, optional
        What to do about it; a command where one fixes it.

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
    """A name that does not exist; the message lists the near ones."""


class DataError(WorkbenchError, ValueError):
    """A table, a target or an id is not as it must be."""


class DamagedError(DataError):
    """A file is not what was written: truncated, changed or half there."""


class NewerError(DataError):
    """A file is whole, and was written by a newer workbench than this one."""


class FeatureError(WorkbenchError, ValueError):
    """A feature breaks its contract, or its function raises."""


class NotebookError(WorkbenchError, RuntimeError):
    """A notebook failed, was ended for a limit, or recorded nothing; the message has the cell.

    Parameters
    ----------
    trace : str
        The cell's traceback, where it raised.
    peak_mb : float
        The most memory that its kernel and what that started had.
    """

    def __init__(self, message: str, *, hint: str = "", trace: str = "", peak_mb: float = 0.0) -> None:
        super().__init__(message, hint=hint)
        self.trace = trace
        self.peak_mb = peak_mb


class TrainingError(WorkbenchError, RuntimeError):
    """Folds or model parameters that can't be trained."""


class MemoryLimitError(TrainingError, MemoryError):
    """What is to be done would take more memory than it may; said before it is begun."""


class StorageError(WorkbenchError, OSError):
    """The disk is full, or a folder can't be written."""


class BusyError(WorkbenchError, RuntimeError):
    """Another process holds the resource."""


class LedgerError(WorkbenchError, RuntimeError):
    """The ledger is newer than this program, or out of reach."""


class DamagedLedgerError(LedgerError):
    """The ledger is not what was written; the run folders have what it had."""


class PlatformError(WorkbenchError, RuntimeError):
    """The platform refused, or can't be reached."""


class LoginError(PlatformError):
    """The platform does not accept the login, or no longer: asking again is of no use before one signs in."""


class UnavailableError(PlatformError):
    """The platform does not give this now, where another way to the same may work: single files for an archive."""


class UnansweredError(PlatformError):
    """The answer was lost: it is not known whether the platform did what was asked."""


class UnreachableError(PlatformError):
    """The platform can't be reached, does not answer, or has no time: it says nothing of what was asked."""


class SubmissionError(WorkbenchError, ValueError):
    """Findings that stop a submission."""


def near(name: str, valid_names: Iterable[str], *, kind: str = "name") -> str:
    """Return a hint that names the known names nearest to `name`, or all of them where none is near.

    Examples
    --------
    >>> near("lerning_rate", ["learning_rate", "num_leaves"], kind="key")
    "did you mean 'learning_rate'?"
    >>> near("ISHOLIDAY", ["IsHoliday", "Store"], kind="column")
    "did you mean 'IsHoliday'?"
    >>> near("zzz", ["a", "b"], kind="key")
    'valid keys: a, b'
    >>> near("zzz", [], kind="key")
    'there is no key yet'
    """
    names = sorted(set(valid_names))
    # Upper and lower case are the most frequent slip, and no distance.
    close = [n for n in names if n.casefold() == name.casefold()] or difflib.get_close_matches(name, names, n=3)
    if not close:
        folded = {n.casefold(): n for n in reversed(names)}
        close = [folded[n] for n in difflib.get_close_matches(name.casefold(), folded, n=3)]
    if close:
        return "did you mean " + " or ".join(repr(c) for c in close) + "?"
    if not names:
        return f"there is no {kind} yet"
    shown = ", ".join(names[:30]) + (f", … ({len(names)} in all)" if len(names) > 30 else "")
    plural = f"{kind[:-1]}ies" if kind.endswith("y") and kind[-2:-1] not in "aeiou" else f"{kind}s"
    return f"valid {plural}: {shown}"


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
        What was being written; the message names it.

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
        # polars reports the system's errors as exceptions of its own or as bare OSErrors, with the number in the text.
        numbered = re.search(r"os error (\d+)", str(exc))
        code = int(numbered[1]) if numbered else errno.ENOSPC if "No space left" in str(exc) else None
    if code not in _STORAGE_ERRNOS:
        return None
    message, hint = _STORAGE_ERRNOS[code]
    return StorageError(f"can't write {name or path}: {message}", hint=hint)
