"""The ledger's records: frozen, and JSON on both sides."""

from __future__ import annotations

import math
from dataclasses import MISSING, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, Self

from workbench.core.errors import DamagedError, NewerError

__all__ = ["PLACES", "RunRecord", "SubmissionEvent", "SubmissionRecord", "check_version", "leads_elsewhere"]

NAMES, PATHS = ("run_id", "competition", "submission_id"), ("folder", "file")
PLACES = (*NAMES, *PATHS)
"""The fields that files and folders are named by, and those that are paths within the workspace."""


def _to_json(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, tuple):
        return [_to_json(v) for v in value]
    # JSON has no word for infinite and undefined numbers.
    return None if isinstance(value, float) and not math.isfinite(value) else value


class _Record:
    """What the records share: their JSON form."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the record as JSON-ready values: times in ISO form, UTC; infinite and undefined numbers as None."""
        return {f.name: _to_json(getattr(self, f.name)) for f in fields(self)}  # type: ignore[arg-type]

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Return the record that `to_dict` gave; unknown keys, of a newer version, are ignored.

        A key that an earlier version did not write yet has the field's default.

        Raises
        ------
        DamagedError
            Names the key that is missing or wrong.
        """
        if not isinstance(data, dict):
            raise DamagedError(f"a {cls.__name__} must be an object, got {type(data).__name__}")
        values: dict[str, Any] = {}
        for field in fields(cls):  # type: ignore[arg-type]
            if field.name not in data and field.default is not MISSING:
                continue
            if field.name not in data:
                raise DamagedError(f"a {cls.__name__} lacks the key {field.name!r}")
            values[field.name] = _read(cls.__name__, field.name, str(field.type), data[field.name])
        return cls(**values)


def check_version(version: Any, supported: int, path: Path) -> None:
    """Refuse a file of records that a newer workbench wrote.

    Raises
    ------
    NewerError
        Before anything of it is read: what this version takes for damage may be how it is written by now.
    DamagedError
        When the version is none.
    """
    if not isinstance(version, int) or isinstance(version, bool):
        raise DamagedError(f"{path} has version = {version!r}, expected a whole number")
    if version > supported:
        raise NewerError(
            f"{path} has version {version}; this workbench knows versions up to {supported}",
            hint="a newer workbench wrote it, and the file is whole: upgrade this one, and leave the file as it is",
        )


def _read(record: str, name: str, kind: str, value: Any) -> Any:
    if value is None and kind.endswith("| None"):
        return None
    kind = kind.removesuffix(" | None")
    try:
        read = _value(kind, value)
        if kind == "int" and not -(2**31) <= read < 2**31:
            raise OverflowError  # no database would take it
    except (TypeError, ValueError, OverflowError):
        raise DamagedError(f"a {record} has {name} = {value!r}, expected {kind}") from None
    if leads_elsewhere(name, read):
        expected = "a path within the workspace" if name in PATHS else "a name without folders"
        raise DamagedError(f"a {record} has {name} = {value!r}, expected {expected}")
    return read


def leads_elsewhere(name: str, value: Any) -> bool:
    """Tell whether a field is to name a file or folder, and names one outside of where it has to be.

    A record may come with a folder from somebody else, and what is sent is written where its names say.

    Examples
    --------
    >>> [leads_elsewhere("run_id", v) for v in ("012-20260101T000000-1234abcd", "", "../../x", "a/b", "/x", "..")]
    [False, False, True, True, True, True]
    >>> [leads_elsewhere("folder", v) for v in ("competitions/a/runs/b", "/tmp/b", "a/../../b")]
    [False, True, True]
    """
    if name not in PLACES:
        return False
    path = PurePosixPath(value)
    is_outside = path.is_absolute() or ".." in path.parts or "\0" in value
    return is_outside or (name in NAMES and value not in ("", path.name))


def _value(kind: str, value: Any) -> Any:
    if kind == "datetime":
        return _time(value)
    if kind.startswith("tuple["):
        if not isinstance(value, list):
            raise TypeError
        inner = kind.removeprefix("tuple[").removesuffix(", ...]")
        # A score that was no number went out as null.
        return tuple(math.nan if v is None and inner == "float" else _value(inner, v) for v in value)
    accepted: dict[str, Any] = {"str": str, "int": int, "float": (int, float), "bool": bool}
    if not isinstance(value, accepted[kind]) or (kind in ("int", "float") and isinstance(value, bool)):
        raise TypeError
    return float(value) if kind == "float" else value


def _time(value: str) -> datetime:
    time = datetime.fromisoformat(value)
    if time.tzinfo is None:
        raise ValueError
    return time.astimezone(UTC)


@dataclass(frozen=True, slots=True)
class RunRecord(_Record):
    """One execution of an experiment.

    Attributes
    ----------
    status : "running", "finished", "interrupted" or "failed"
    key : the content key of all that decides the result
    fold_scores : per fold, of the predictions averaged over the seeds
    seed_scores : per seed, per fold
    sample : the share of the rows, where it was a subsample run
    changes : what changed against the base, one short text each
    folder : relative to the workspace, with "/"
    optimistic : why the CV is likely to be better than the score on new data; None where nothing is known to say so
    cv_windows : of how many windows of time the fold scores are, window by window with as many groups of users in each;
        None where folds are not of windows
    workspace : the id of the workspace that it belongs to, which alone may settle it; "" where that is not known
    """

    run_id: str
    competition: str
    exp: int
    title: str
    kind: str
    base: int | None
    status: str
    key: str
    metric: str
    greater_is_better: bool
    cv_mean: float | None
    cv_std: float | None
    cv_folds: int | None
    oof_score: float | None
    fold_scores: tuple[float, ...]
    seed_scores: tuple[tuple[float, ...], ...]
    seeds: tuple[int, ...]
    folds_hash: str
    n_features: int | None
    seconds: float | None
    peak_rss_mb: float | None
    created_at: datetime
    finished_at: datetime | None
    git_commit: str | None
    sample: float | None
    changes: tuple[str, ...]
    error: str | None
    folder: str
    optimistic: str | None = None
    cv_windows: int | None = None
    workspace: str = ""


@dataclass(frozen=True, slots=True)
class SubmissionRecord(_Record):
    """A file that was, or was about to be, sent.

    `status` is "prepared" (nothing was sent), "sending" (the platform is asked to take it), "unlisted" (it was asked,
    and does not list it: it may have it all the same), "pending", "complete" or "error"; `file` is relative to the
    workspace, whose id is `workspace`, as in `RunRecord`.
    """

    submission_id: str
    competition: str
    exp: int
    run_id: str
    platform: str
    file: str
    sha256: str
    message: str
    cv_mean: float | None
    created_at: datetime
    sent_at: datetime | None
    ref: str | None
    status: str
    public_score: float | None
    private_score: float | None
    error: str | None
    workspace: str = ""


@dataclass(frozen=True, slots=True)
class SubmissionEvent(_Record):
    """A change in a submission's state, as it was seen at a time."""

    submission_id: str
    at: datetime
    status: str
    public_score: float | None
    private_score: float | None
    detail: str
