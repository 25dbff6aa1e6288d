"""The platform: serves the files, receives and grades submissions, keeps the limit."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from workbench.core.cache import atomic, file_sha256, lock, read_json, write_json
from workbench.core.errors import DamagedError, NotFoundError, PlatformError, near
from workbench.metrics import Metric
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
from workbench.rehearsal.host import Host, load_metric, read_host, rehearsal_folder
from workbench.rehearsal.leaderboard import read_leaderboard, standing

__all__ = ["Rehearsal"]

CHUNK_BYTES = 1 << 20


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Rehearsal:
    """Competitions hosted in a workspace; an implementation of `workbench.platforms.protocol.Platform`.

    Parameters
    ----------
    workspace : Path
    now : callable
        Gives the time, aware UTC.
    """

    name = "rehearsal"
    is_local = True
    listing_delay_s = 0.0
    code = None

    def __init__(self, workspace: Path, now: Callable[[], datetime] = _utc_now) -> None:
        self._workspace = workspace
        self._clock = now
        self._digests: dict[tuple[Path, int, int], str] = {}

    def _now(self) -> datetime:
        return self._clock().astimezone(UTC)

    def _open(self, slug: str) -> tuple[Path, Host]:
        folder = rehearsal_folder(self._workspace, slug)
        return folder, read_host(folder)

    def _metric(self, folder: Path, host: Host) -> Metric:
        return load_metric(host.metric, folder, greater_is_better=host.greater_is_better)

    def facts(self, slug: str) -> CompetitionFacts:
        """Return what the host knows of the competition."""
        _, host = self._open(slug)
        return CompetitionFacts(
            slug=slug,
            title=host.title,
            metric=host.metric,
            greater_is_better=host.greater_is_better,
            task=host.task,
            id_columns=tuple(host.id),
            target_columns=tuple(host.target),
            weight_column=host.weight_expression or host.weight or None,
            deadline=host.ends_at,
            daily_limit=host.daily_limit,
            accepts_submissions=host.is_open(self._now()),
            interactions=host.interactions,
            positive_classes=tuple(of[-1] for of in host.classes) if host.task == "binary" else (),
        )

    # -------------------------------------------------------------------------------------------------------- files

    def files(self, slug: str) -> list[RemoteFile]:
        """Return the served files."""
        folder, _ = self._open(slug)
        return [self._file(folder / "files", name) for name in _names(folder)]

    def find(self, slug: str, names: Collection[str]) -> Listing:
        """Return the served files, which are these and no more than can be listed at once."""
        del names
        return Listing(tuple(self.files(slug)))

    def _file(self, served: Path, name: str) -> RemoteFile:
        path = served / name
        stat = path.stat()
        # Gigabytes are hashed once, not at every question: again only when size or time say that it was touched.
        key = (path, stat.st_size, stat.st_mtime_ns)
        if key not in self._digests:
            self._digests[key] = file_sha256(path)
        return RemoteFile(
            name=name,
            size_bytes=stat.st_size,
            modified_at=datetime.fromtimestamp(stat.st_mtime, UTC),
            sha256=self._digests[key],
        )

    def archive(self, slug: str) -> RemoteFile | None:
        """Return None: the files are served one by one."""
        self._open(slug)
        return None

    def download(self, slug: str, name: str, destination: Path, *, progress: Progress | None = None) -> None:
        """Copy a served file, verified."""
        folder, _ = self._open(slug)
        names = _names(folder)
        if name not in names:
            raise NotFoundError(f"{slug!r} has no file {name!r}", hint=near(name, names, kind="file"))
        announced = self._file(folder / "files", name)
        with atomic(destination) as temporary:
            _copy(folder / "files" / name, temporary, progress)
            if file_sha256(temporary) != announced.sha256:
                raise PlatformError(f"{name!r} of {slug!r} changed while it was copied", hint="fetch it again")

    # -------------------------------------------------------------------------------------------------- submissions

    def submit(self, slug: str, file: Path, message: str, *, before_create: BeforeCreate = lambda: None) -> str:
        """Receive a file and grade it at once."""
        folder, host = self._open(slug)
        if not file.is_file():
            raise NotFoundError(f"there is no file {file} to submit")
        # Two processes that submit at once must not both get the last submission of the day.
        with lock(folder / ".submit.lock", f"submitting to {slug!r}", wait=True):
            self._refuse_when_closed(slug, host)
            remaining = self.limits(slug).remaining_today
            if remaining is not None and remaining <= 0:
                raise PlatformError(
                    f"today's {host.daily_limit} submissions to {slug!r} are used up",
                    hint=next_day_hint(self._now()),
                )
            before_create()
            return self._receive(folder, host, file, message)

    def _refuse_when_closed(self, slug: str, host: Host) -> None:
        if host.closed:
            raise PlatformError(f"{slug!r} is closed and takes no submissions")
        if not host.is_open(self._now()):
            raise PlatformError(f"{slug!r} closed on {host.ends_at:%Y-%m-%d %H:%M} UTC and takes no late submissions")

    def _receive(self, folder: Path, host: Host, file: Path, message: str) -> str:
        # Read before anything is kept: a damaged rehearsal leaves no submission without a record.
        solution, metric = read_solution(folder, host), self._metric(folder, host)
        ref = uuid.uuid4().hex[:12]
        received = folder / "submissions" / f"{ref}.csv"
        record: dict[str, Any] = {"ref": ref, "file_name": file.name, "message": message}
        record |= {"submitted_at": self._now().isoformat(), "status": "complete", "error": None}
        record |= {"public_score": None, "private_score": None}
        with atomic(received) as temporary:
            _copy(file, temporary, None)
            try:
                scores = grade(temporary, solution, host, metric)
                record |= {"public_score": scores.public, "private_score": scores.private}
            except RejectedError as exc:
                record |= {"status": "error", "error": str(exc)}
        write_json(received.with_suffix(".json"), record)
        return ref

    def submissions(self, slug: str) -> list[PlatformSubmission]:
        """Return what was received, newest first; private scores only when the competition is over."""
        folder, host = self._open(slug)
        shown = host.is_over(self._now())
        received = [
            (_as_submission(p, shown=shown), p.stat().st_mtime_ns) for p in (folder / "submissions").glob("*.json")
        ]
        # Of two at the same moment, the one whose record was written later is the newer.
        return [s for s, _ in sorted(received, key=lambda f: (f[0].submitted_at, f[1]), reverse=True)]

    def limits(self, slug: str) -> SubmissionLimits:
        """Return what is left of the UTC day; files that could not be scored do not count."""
        _, host = self._open(slug)
        today = self._now().date()
        used = sum(s.status != "error" and s.submitted_at.date() == today for s in self.submissions(slug))
        return SubmissionLimits(host.daily_limit, max(0, host.daily_limit - used))

    def leaderboard(self, slug: str) -> Leaderboard:
        """Return the given leaderboard and the standing of the best scores on it, or the user's submissions."""
        folder, host = self._open(slug)
        sign = 1 if host.greater_is_better else -1
        mine = [s for s in self.submissions(slug) if s.public_score is not None]
        path = folder / "leaderboard.csv"
        if not path.exists():
            own_entries = [(s.message, float(s.public_score or 0)) for s in mine]
            return Leaderboard(tuple(sorted(own_entries, key=lambda e: -sign * e[1])))
        entries = sorted(read_leaderboard(path), key=lambda e: -sign * e[1])
        entry_scores = [score for _, score in entries]
        standings = []
        for scores in ([s.public_score for s in mine], [s.private_score for s in mine]):
            present_scores = [s for s in scores if s is not None]
            best = max(present_scores, key=lambda s: sign * s) if present_scores else None
            better = host.greater_is_better
            standings.append(None if best is None else standing(best, entry_scores, greater_is_better=better))
        return Leaderboard(tuple(entries), standings[0], standings[1])


def _names(folder: Path) -> list[str]:
    served = folder / "files"
    return sorted(p.relative_to(served).as_posix() for p in served.rglob("*") if p.is_file())


def _copy(source: Path, target: Path, progress: Progress | None) -> None:
    with source.open("rb") as file, target.open("wb") as out:
        while chunk := file.read(CHUNK_BYTES):
            out.write(chunk)
            if progress:
                progress(len(chunk))


def _as_submission(path: Path, *, shown: bool) -> PlatformSubmission:
    try:
        data = read_json(path)
        if not shown:
            data["private_score"] = None
        return PlatformSubmission(**(data | {"submitted_at": datetime.fromisoformat(data["submitted_at"])}))
    except (KeyError, TypeError, ValueError) as exc:
        raise DamagedError(f"{path} is damaged: {exc}", hint="remove it; the sent file beside it is kept") from exc
