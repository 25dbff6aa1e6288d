"""The platform of local competitions: it serves files, grades submissions, and enforces the daily limit."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from workbench.core.cache import atomic, file_sha256, lock, read_json, write_json
from workbench.core.errors import DamagedError, NotFoundError, PlatformError, did_you_mean
from workbench.core.wording import counted
from workbench.platforms.protocol import (
    BeforeCreate,
    CompetitionFacts,
    Leaderboard,
    Listing,
    PlatformSubmission,
    Progress,
    RemoteFile,
    SubmissionLimits,
    next_day_hint,
)
from workbench.rehearsal.grade import RejectedError, grade, read_solution
from workbench.rehearsal.host import HostedCompetition, load_metric, read_host, rehearsal_folder
from workbench.rehearsal.leaderboard import read_leaderboard, standing

__all__ = ["LocalPlatform"]

CHUNK_BYTES = 1 << 20


def _utc_now() -> datetime:
    return datetime.now(UTC)


class LocalPlatform:
    """Competitions hosted in a workspace; an implementation of `workbench.platforms.protocol.Platform`.

    Parameters
    ----------
    workspace : Path
    now : callable
        Returns the current time, with its zone.
    """

    name = "rehearsal"
    is_local = True
    listing_delay_s = 0.0
    code = None

    def __init__(self, workspace: Path, now: Callable[[], datetime] = _utc_now) -> None:
        self._workspace = workspace
        self._clock = now
        self._digest_by_state: dict[tuple[Path, int, int], str] = {}

    def _now(self) -> datetime:
        return self._clock().astimezone(UTC)

    def _hosted(self, slug: str) -> tuple[Path, HostedCompetition]:
        folder = rehearsal_folder(self._workspace, slug)
        return folder, read_host(folder)

    def facts(self, slug: str) -> CompetitionFacts:
        """Return the description of the competition."""
        _, hosted = self._hosted(slug)
        return CompetitionFacts(
            slug=slug,
            title=hosted.title,
            metric=hosted.metric,
            greater_is_better=hosted.greater_is_better,
            task=hosted.task,
            id_columns=tuple(hosted.id_columns),
            target_columns=tuple(hosted.target_columns),
            weight_column=hosted.weight_expression or hosted.weight or None,
            deadline=hosted.ends_at,
            daily_limit=hosted.daily_limit,
            accepts_submissions=hosted.is_open(self._now()),
            interactions=hosted.interactions,
            positive_classes=tuple(classes[-1] for classes in hosted.classes) if hosted.task == "binary" else (),
        )

    # -------------------------------------------------------------------------------------------------------- files

    def files(self, slug: str) -> list[RemoteFile]:
        """Return the data files."""
        folder, _ = self._hosted(slug)
        return [self._file(folder / "files" / name, name) for name in _file_names(folder)]

    def find(self, slug: str, names: Collection[str]) -> Listing:
        """Return all data files, whatever the names."""
        del names
        return Listing(tuple(self.files(slug)))

    def _file(self, path: Path, name: str) -> RemoteFile:
        stat = path.stat()
        # Files of gigabytes are hashed only once, and again if size or time has changed.
        state = (path, stat.st_size, stat.st_mtime_ns)
        if state not in self._digest_by_state:
            self._digest_by_state[state] = file_sha256(path)
        return RemoteFile(
            name=name,
            size_bytes=stat.st_size,
            modified_at=datetime.fromtimestamp(stat.st_mtime, UTC),
            sha256=self._digest_by_state[state],
        )

    def archive(self, slug: str) -> RemoteFile | None:
        """Return None: local competitions have no archive."""
        self._hosted(slug)
        return None

    def download(self, slug: str, name: str, destination: Path, *, progress: Progress | None = None) -> None:
        """Copy a data file, and compare its digest."""
        folder, _ = self._hosted(slug)
        names = _file_names(folder)
        if name not in names:
            raise NotFoundError(f"{slug!r} has no file {name!r}", hint=did_you_mean(name, names, kind="file"))
        listed = self._file(folder / "files" / name, name)
        with atomic(destination) as temporary:
            _copy(folder / "files" / name, temporary, progress)
            if file_sha256(temporary) != listed.sha256:
                raise PlatformError(f"{name!r} of {slug!r} changed while it was copied", hint="fetch it again")

    # -------------------------------------------------------------------------------------------------- submissions

    def submit(self, slug: str, file: Path, message: str, *, before_create: BeforeCreate = lambda: None) -> str:
        """Store a submitted file and grade it immediately."""
        folder, hosted = self._hosted(slug)
        if not file.is_file():
            raise NotFoundError(f"there is no file {file} to submit")
        # Two processes must not both use the last submission of the day.
        with lock(folder / ".submit.lock", f"submitting to {slug!r}", wait=True):
            _check_open(slug, hosted, self._now())
            remaining = self.limits(slug).remaining_today
            if remaining is not None and remaining <= 0:
                raise PlatformError(
                    f"today's {counted(hosted.daily_limit, 'submission')} to {slug!r} are used up",
                    hint=next_day_hint(self._now()),
                )
            before_create()
            return self._store_and_grade(folder, hosted, file, message)

    def _store_and_grade(self, folder: Path, hosted: HostedCompetition, file: Path, message: str) -> str:
        """Store a submitted file and its record with the scores, and return the reference."""
        # Read first: a damaged solution or metric must not leave a submission without a record.
        solution = read_solution(folder, hosted)
        metric = load_metric(hosted.metric, folder, greater_is_better=hosted.greater_is_better)
        ref = uuid.uuid4().hex[:12]
        stored_file = folder / "submissions" / f"{ref}.csv"
        record: dict[str, Any] = {"ref": ref, "file_name": file.name, "message": message}
        record |= {"submitted_at": self._now().isoformat(), "status": "complete", "error": None}
        record |= {"public_score": None, "private_score": None}
        with atomic(stored_file) as temporary:
            _copy(file, temporary, None)
            try:
                scores = grade(temporary, solution, hosted, metric)
                record |= {"public_score": scores.public, "private_score": scores.private}
            except RejectedError as exc:
                record |= {"status": "error", "error": str(exc)}
        write_json(stored_file.with_suffix(".json"), record)
        return ref

    def submissions(self, slug: str) -> list[PlatformSubmission]:
        """Return all submissions, newest first; private scores only when the competition is over."""
        folder, hosted = self._hosted(slug)
        shows_private = hosted.is_over(self._now())
        with_record_times = [
            (_as_submission(p, shows_private=shows_private), p.stat().st_mtime_ns)
            for p in (folder / "submissions").glob("*.json")
        ]
        # Submissions at the same time are ordered by when their records were written.
        return [s for s, _ in sorted(with_record_times, key=lambda pair: (pair[0].submitted_at, pair[1]), reverse=True)]

    def limits(self, slug: str) -> SubmissionLimits:
        """Return the submissions left on this UTC day; files that could not be scored do not count."""
        _, hosted = self._hosted(slug)
        today = self._now().date()
        n_used = sum(s.status != "error" and s.submitted_at.date() == today for s in self.submissions(slug))
        return SubmissionLimits(hosted.daily_limit, max(0, hosted.daily_limit - n_used))

    def leaderboard(self, slug: str) -> Leaderboard:
        """Return the leaderboard file and the standing of the user's best scores on it, or just the user's scores."""
        folder, hosted = self._hosted(slug)
        sign = 1 if hosted.greater_is_better else -1
        scored = [s for s in self.submissions(slug) if s.public_score is not None]
        path = folder / "leaderboard.csv"
        if not path.exists():
            user_entries = [(s.message, float(s.public_score or 0)) for s in scored]
            return Leaderboard(tuple(sorted(user_entries, key=lambda entry: -sign * entry[1])))
        entries = sorted(read_leaderboard(path), key=lambda entry: -sign * entry[1])
        entry_scores = [score for _, score in entries]
        standings = []
        for scores in ([s.public_score for s in scored], [s.private_score for s in scored]):
            visible_scores = [s for s in scores if s is not None]
            best = max(visible_scores, key=lambda score: sign * score, default=None)
            standings.append(
                None if best is None else standing(best, entry_scores, greater_is_better=hosted.greater_is_better)
            )
        public_standing, private_standing = standings
        return Leaderboard(tuple(entries), public_standing, private_standing)


def _check_open(slug: str, hosted: HostedCompetition, now: datetime) -> None:
    """Refuse a submission to a competition that is closed."""
    if hosted.closed:
        raise PlatformError(f"{slug!r} is closed and accepts no submissions")
    if not hosted.is_open(now):
        raise PlatformError(f"{slug!r} closed on {hosted.ends_at:%Y-%m-%d %H:%M} UTC and accepts no late submissions")


def _file_names(folder: Path) -> list[str]:
    """Return the names of a competition's data files, which may contain ``/``."""
    data_folder = folder / "files"
    return sorted(p.relative_to(data_folder).as_posix() for p in data_folder.rglob("*") if p.is_file())


def _copy(source: Path, target: Path, progress: Progress | None) -> None:
    with source.open("rb") as file, target.open("wb") as out:
        while chunk := file.read(CHUNK_BYTES):
            out.write(chunk)
            if progress:
                progress(len(chunk))


def _as_submission(path: Path, *, shows_private: bool) -> PlatformSubmission:
    """Read a submission's record."""
    try:
        data = read_json(path)
        if not shows_private:
            data["private_score"] = None
        return PlatformSubmission(**(data | {"submitted_at": datetime.fromisoformat(data["submitted_at"])}))
    except (KeyError, TypeError, ValueError) as exc:
        raise DamagedError(
            f"{path} is damaged: {exc}", hint="remove it; the submitted file next to it is kept"
        ) from exc
