"""The ledger's records, and their JSON form."""

from __future__ import annotations

import math
from dataclasses import MISSING, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, Self

from workbench.core.errors import DamagedError, NewerError

__all__ = ["FILE_FIELDS", "RunRecord", "SubmissionEvent", "SubmissionRecord", "check_version", "is_outside"]

NAME_FIELDS, PATH_FIELDS = ("run_id", "competition", "submission_id"), ("folder", "file")
FILE_FIELDS = (*NAME_FIELDS, *PATH_FIELDS)
"""The fields that name files or folders: `NAME_FIELDS` without folders, `PATH_FIELDS` relative to the workspace."""


def _to_json(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, tuple):
        return [_to_json(v) for v in value]
    # JSON has no infinite and undefined numbers.
    return None if isinstance(value, float) and not math.isfinite(value) else value


class _Record:
    """The base class of records, with their JSON form."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the record as JSON values: times as ISO text in UTC; infinite and undefined numbers as None."""
        return {f.name: _to_json(getattr(self, f.name)) for f in fields(self)}  # type: ignore[arg-type]

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Return the record of a dict that `to_dict` returned.

        Unknown keys, of newer versions, are ignored; keys that earlier versions did not write get the field's default.

        Raises
        ------
        DamagedError
            When a key is missing or has an invalid value.
        """
        if not isinstance(data, dict):
            raise DamagedError(f"a {cls.__name__} must be an object, got {type(data).__name__}")
        values: dict[str, Any] = {}
        for field in fields(cls):  # type: ignore[arg-type]
            if field.name not in data and field.default is not MISSING:
                continue
            if field.name not in data:
                raise DamagedError(f"a {cls.__name__} lacks the key {field.name!r}")
            values[field.name] = _parse_field(cls.__name__, field.name, str(field.type), data[field.name])
        return cls(**values)


def check_version(version: Any, supported: int, path: Path) -> None:
    """Raise if this workbench can't read files of records with this version.

    It is called before the content is read: a newer format would look damaged.

    Raises
    ------
    NewerError
        When a newer workbench wrote the file.
    DamagedError
        When the version is not a whole number.
    """
    if not isinstance(version, int) or isinstance(version, bool):
        raise DamagedError(f"{path} has version = {version!r}, expected a whole number")
    if version > supported:
        raise NewerError(
            f"{path} has version {version}; this workbench supports versions up to {supported}",
            hint="a newer workbench wrote it: upgrade this one, and leave the file as it is",
        )


def _parse_field(record_type: str, field_name: str, type_name: str, value: Any) -> Any:
    """Return a field's value from its JSON value; `type_name` is the field's annotation, such as "int | None"."""
    if value is None and type_name.endswith("| None"):
        return None
    type_name = type_name.removesuffix(" | None")
    try:
        parsed = _parse_value(type_name, value)
        if type_name == "int" and not -(2**31) <= parsed < 2**31:
            raise OverflowError  # too large for the databases' integer columns
    except (TypeError, ValueError, OverflowError):
        raise DamagedError(f"a {record_type} has {field_name} = {value!r}, expected {type_name}") from None
    if is_outside(field_name, parsed):
        expected = "a path within the workspace" if field_name in PATH_FIELDS else "a name without folders"
        raise DamagedError(f"a {record_type} has {field_name} = {value!r}, expected {expected}")
    return parsed


def is_outside(field_name: str, value: Any) -> bool:
    """Return whether a field that names a file or folder points outside the workspace.

    A record may come from another person's folder, and files are written to the paths that it contains.

    Examples
    --------
    >>> [is_outside("run_id", v) for v in ("012-20260101T000000-1234abcd", "", "../../x", "a/b", "/x", "..")]
    [False, False, True, True, True, True]
    >>> [is_outside("folder", v) for v in ("competitions/a/runs/b", "/tmp/b", "a/../../b")]
    [False, True, True]
    """
    if field_name not in FILE_FIELDS:
        return False
    path = PurePosixPath(value)
    leaves_folder = path.is_absolute() or ".." in path.parts or "\0" in value
    return leaves_folder or (field_name in NAME_FIELDS and value not in ("", path.name))


def _parse_value(type_name: str, json_value: Any) -> Any:
    """Return a value of a type, given by its annotation without "| None"; raise TypeError or ValueError for others."""
    if type_name == "datetime":
        return _parse_time(json_value)
    if type_name.startswith("tuple["):
        if not isinstance(json_value, list):
            raise TypeError
        element_type = type_name.removeprefix("tuple[").removesuffix(", ...]")
        # Undefined scores are written as null.
        return tuple(
            math.nan if v is None and element_type == "float" else _parse_value(element_type, v) for v in json_value
        )
    accepted: dict[str, Any] = {"str": str, "int": int, "float": (int, float), "bool": bool}
    if not isinstance(json_value, accepted[type_name]) or (
        type_name in ("int", "float") and isinstance(json_value, bool)
    ):
        raise TypeError
    return float(json_value) if type_name == "float" else json_value


def _parse_time(value: str) -> datetime:
    time = datetime.fromisoformat(value)
    if time.tzinfo is None:
        raise ValueError
    return time.astimezone(UTC)


@dataclass(frozen=True, slots=True)
class RunRecord(_Record):
    """One execution of an experiment.

    Attributes
    ----------
    status : str
        "running", "finished", "interrupted" or "failed".
    key : str
        Runs with equal keys have equal results.
    fold_scores : tuple of float
        Of the predictions averaged over the seeds.
    seed_scores : tuple of tuple of float
        Of each seed, the scores of the folds.
    sample : float, or None
        The share of the train rows of a subsample run.
    changes : tuple of str
        The differences from the base, a short text each.
    folder : str
        Relative to the workspace, with "/".
    optimistic : str, or None
        Why the CV is likely to be better than the score on new data; None where no reason is known.
    cv_windows : int, or None
        For folds of time windows, the number of windows; `fold_scores` has as many groups of users for each.
    workspace : str
        The id of the workspace that the run belongs to, the only one that may change it; "" where it is unknown.
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
    """A submission, from before it is sent.

    Attributes
    ----------
    status : str
        "prepared" (nothing was sent), "sending", "unlisted" (it was sent, and the platform does not list it: it may
        have arrived all the same), "pending", "complete" or "error".
    file : str
        Relative to the workspace, with "/".
    ref : str, or None
        The platform's id of the submission.
    workspace : str
        See `RunRecord`.
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
    """A change in a submission's state, and when it was noticed."""

    submission_id: str
    at: datetime
    status: str
    public_score: float | None
    private_score: float | None
    detail: str
