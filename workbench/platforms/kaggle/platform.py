"""Kaggle as a platform."""

from __future__ import annotations

import time
import zipfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench import metrics
from workbench.core.errors import (
    DamagedError,
    NotFoundError,
    PlatformError,
    UnansweredError,
    UnavailableError,
    WorkbenchError,
    near,
)
from workbench.core.printable import one_line
from workbench.platforms.kaggle.code import Code
from workbench.platforms.kaggle.connection import Connection, Patience, pages
from workbench.platforms.kaggle.download import Arrived, discard_partial, download, look_at, unwrap
from workbench.platforms.kaggle.failures import OR_NO_SUCH, WEB, quoted, status_of
from workbench.platforms.kaggle.login import LoginState, login_state
from workbench.platforms.kaggle.upload import upload
from workbench.platforms.protocol import (
    MARK,
    CompetitionFacts,
    Creating,
    Leaderboard,
    Listing,
    PlatformSubmission,
    Progress,
    RemoteFile,
    Standing,
    SubmissionLimits,
    has_token,
    next_day_hint,
    partial_of,
)

if TYPE_CHECKING:
    import requests

__all__ = ["Kaggle"]

PAGE = 200
SEARCHED_PAGES = 25
MAX_LOOKED_UP = 10
LEADERBOARD_PAGES = 50
USUAL = Patience()


class Kaggle:
    """Competitions on Kaggle; an implementation of `workbench.platforms.protocol.Platform`.

    Parameters
    ----------
    workspace : Path
        Not used: everything lives on Kaggle.
    patience : Patience
    """

    name = "kaggle"
    is_local = False

    def __init__(
        self, workspace: Path | None = None, patience: Patience = USUAL, *, listing_delay_s: float = 60.0
    ) -> None:
        del workspace
        self.listing_delay_s = listing_delay_s
        self._connection = Connection(patience)
        self._competitions: dict[str, Any] = {}
        self._listed: dict[str, dict[str, RemoteFile]] = {}
        self._addresses: dict[tuple[str, str], requests.Response] = {}

    @property
    def code(self) -> Code:
        """Datasets, kernels, and submissions of what these wrote."""
        return Code(self._connection, self.listing_delay_s, self._sent_kernel)

    def close(self) -> None:
        """Close the connections; the next call opens new ones."""
        self._connection.close()

    def login(self) -> LoginState:
        """Return which credential is in use and whether Kaggle accepts it."""

        def ask() -> None:
            self._connection.ask("listing your competitions", "list_competitions", _entered)

        return login_state(ask)

    # -------------------------------------------------------------------------------------------------------- facts

    def facts(self, slug: str) -> CompetitionFacts:
        """Return what Kaggle says of the competition; its metric in Kaggle's words."""
        competition = self._competition(slug)
        name = metrics.find(competition.evaluation_metric or "")
        metric = metrics.get(f"{name}1" if name and name.endswith("@") else name) if name else None
        deadline = _utc(competition.deadline)
        over = deadline is not None and deadline < datetime.now(UTC)
        return CompetitionFacts(
            slug=slug,
            title=one_line(competition.title or "") or slug,
            metric=competition.evaluation_metric or None,
            greater_is_better=metric.greater_is_better if metric else None,
            deadline=deadline,
            daily_limit=competition.max_daily_submissions or None,
            accepts_submissions=not competition.submissions_disabled,
            kind="notebook" if competition.is_kernels_submissions_only else "over" if over else "tabular",
            url=f"{WEB}/{slug}",
            description=competition.description or None,
        )

    def _competition(self, slug: str, *, fresh: bool = False) -> Any:
        if fresh or slug not in self._competitions:
            try:
                competition = self._ask_about(slug, "looking it up", "get_competition", "ApiGetCompetitionRequest")
            except (NotFoundError, PlatformError) as exc:
                if status_of(exc.__cause__) not in (403, 404):
                    raise
                raise self._unknown(slug, exc) from exc.__cause__
            if not competition.ref and not competition.title:
                raise PlatformError(f"Kaggle sent something other than a competition while looking it up for {slug!r}")
            self._competitions[slug] = competition
        return self._competitions[slug]

    def _unknown(self, slug: str, exc: NotFoundError | PlatformError) -> NotFoundError:
        """Return the failure for a competition that Kaggle does not give: only this call's refusal says that."""
        quotation = exc.message.partition("“")[2].rpartition("”")[0]
        hidden = ", or none that this login may see" if status_of(exc.__cause__) == 403 else ""
        says = f": it says {quoted(quotation)}" if quotation else ""
        hint = "check the name in the competition's address, behind /competitions/"
        try:
            names = self._search(slug)
        except WorkbenchError:
            names = []
        if names:
            hint = near(slug, names, kind="competition")
        return NotFoundError(f"Kaggle has no competition {slug!r}{hidden}{says}", hint=hint)

    def _ask(self, slug: str, action: str, method: str, request: str, **fields: Any) -> Any:
        """Ask something about a competition; an unknown one is distinguished from other refusals."""
        with self._telling_unknown(slug):
            return self._ask_about(slug, action, method, request, **fields)

    def _ask_about(self, slug: str, action: str, method: str, request: str, **fields: Any) -> Any:
        def make(types: Any) -> Any:
            message = getattr(types, request)()
            message.competition_name = slug
            for key, value in fields.items():
                setattr(message, key, value)
            return message

        return self._connection.ask(f"{action} for {slug!r}", method, make, slug=slug)

    @contextmanager
    def _telling_unknown(self, slug: str) -> Iterator[None]:
        """Look the competition up where something of it is refused as what does not exist is refused, too."""
        try:
            yield
        except (NotFoundError, PlatformError) as exc:
            if status_of(exc.__cause__) not in (403, 404):
                raise
            try:
                competition = self._competition(slug)
            except NotFoundError:
                raise
            except WorkbenchError:
                raise exc from exc.__cause__
            if OR_NO_SUCH not in exc.message:
                raise
            title = quoted(competition.title or "")
            hint = f"{exc.hint.partition(';')[0]}; or is {slug!r} {title} not the competition that you mean?"
            raise PlatformError(exc.message.replace(OR_NO_SUCH, ""), hint=hint) from exc.__cause__

    def _search(self, slug: str) -> list[str]:
        """Return the slugs that Kaggle's search finds for a slug or its beginning, and those entered."""

        def searching(words: str) -> Any:
            def make(types: Any) -> Any:
                request = types.ApiListCompetitionsRequest()
                request.search = words
                return request

            return make

        slugs: list[str] = []
        for make in (searching(slug), searching(slug.partition("-")[0][:4]), _entered):
            answer = self._connection.ask("searching competitions", "list_competitions", make)
            slugs += [c.ref.rstrip("/").rpartition("/")[2] for c in answer.competitions]
        return slugs

    # -------------------------------------------------------------------------------------------------------- files

    def files(self, slug: str) -> list[RemoteFile]:
        """Return the data files, every page of them."""
        listed = {f.name: f for page, _ in self._file_pages(slug) for f in page}
        self._listed[slug] = listed
        return sorted(listed.values(), key=lambda f: f.name)

    def find(self, slug: str, names: Collection[str]) -> Listing:
        """Read the list of files until all of the names were seen.

        A list can have thousands of pages. What is not on the first `SEARCHED_PAGES` is asked for by its name, which
        tells a file that is further back from one that there is not; of more names than `MAX_LOOKED_UP`, the pages
        that follow are read first, for a page tells of many files, and a question of one.
        """
        listed: dict[str, RemoteFile] = {}
        missing, complete = set(names), False
        for number, (page, is_last) in enumerate(self._file_pages(slug), 1):
            listed |= {f.name: f for f in page}
            missing.difference_update(f.name for f in page)
            complete = is_last
            if not missing or (number >= SEARCHED_PAGES and len(missing) <= MAX_LOOKED_UP):
                break
        if not complete:
            listed |= {f.name: f for f in map(partial(self._further_back, slug), sorted(missing)) if f is not None}
        self._listed.setdefault(slug, {}).update(listed)
        return Listing(tuple(sorted(listed.values(), key=lambda f: f.name)), complete=complete)

    def _file_pages(self, slug: str) -> Iterator[tuple[list[RemoteFile], bool]]:
        """Give each page of the list of files, and whether it is the last."""
        for page in self._pages(slug, "listing the files", "list_data_files", "ApiListDataFilesRequest"):
            files = [
                RemoteFile(name=f.name or f.ref, size_bytes=f.total_bytes, modified_at=_utc(f.creation_date))
                for f in page.files
            ]
            yield files, not page.next_page_token

    def _further_back(self, slug: str, name: str) -> RemoteFile | None:
        """Return a file that was not among those listed so far, or None where there is none of that name."""
        action = f"looking for {name} of {slug!r}"
        try:
            address = self._address(slug, name, action)
        except NotFoundError as exc:
            if status_of(exc.__cause__) == 404 and slug in self._competitions:
                return None
            raise
        self._addresses[slug, name] = address
        stored = look_at(self._connection, address, action)
        # What comes packed has another size than the file.
        is_packed = stored is None or (stored.name.endswith(".zip") and not name.endswith(".zip"))
        return RemoteFile(name, None if stored is None or is_packed else stored.size_bytes)

    def _pages(self, slug: str, action: str, method: str, request: str, **fields: Any) -> Iterator[Any]:
        return pages(lambda token: self._ask(slug, action, method, request, page_size=PAGE, page_token=token, **fields))

    def archive(self, slug: str) -> RemoteFile | None:
        """Return the archive of all files; its size is known only when it comes."""
        self._competition(slug)
        name = f"{slug}.zip"
        # A file of that name could not be told from it.
        return None if name in self._listed.get(slug, {}) else RemoteFile(name, size_bytes=None)

    def download(self, slug: str, name: str, destination: Path, *, progress: Progress | None = None) -> None:
        """Download the archive or one file; one that comes packed is unpacked."""
        action = f"downloading {name} of {slug!r}"
        listed = self._listed.get(slug, {}).get(name)
        if listed is None and name == f"{slug}.zip":
            self._download_archive(slug, destination, action, progress)
            return
        if listed is None:
            listed = self._file(slug, name)
        arrived = download(
            self._connection,
            lambda: self._address(slug, name, action),
            destination,
            action=action,
            progress=progress,
            address=self._addresses.pop((slug, name), None),
        )
        if arrived.size_bytes != listed.size_bytes:
            self._accept_packed(slug, destination, listed, arrived)

    def _download_archive(self, slug: str, destination: Path, action: str, progress: Progress | None) -> None:
        def ask() -> requests.Response:
            return self._address(slug, None, action)

        self._competition(slug)  # that there is no archive says nothing of the competition
        try:
            download(self._connection, ask, destination, action=action, progress=progress)
        except (NotFoundError, PlatformError) as exc:
            # It is packed again when the files change: until then there is none, or few are let at it
            # (https://github.com/Kaggle/kaggle-cli/issues/931); the files themselves can be had all the while.
            status = status_of(exc.__cause__)
            if status == 404 or isinstance(exc, UnavailableError):
                discard_partial(destination)
            elif status != 429 or partial_of(destination).exists():
                raise
            raise UnavailableError(
                f"Kaggle does not give the archive of all files of {slug!r} now: it answers {status or 404}",
                hint="its files may be available one by one",
            ) from exc.__cause__
        _check_archive(destination, action)

    def _address(self, slug: str, name: str | None, action: str) -> requests.Response:
        """Ask for a file, or for the archive of all, and return the answer, which says where it is stored."""

        def make(types: Any) -> Any:
            request = types.ApiDownloadDataFilesRequest() if name is None else types.ApiDownloadDataFileRequest()
            request.competition_name = slug
            if name is not None:
                request.file_name = name
            return request

        method = "download_data_files" if name is None else "download_data_file"
        with self._telling_unknown(slug):
            return self._connection.address(action, method, make, slug=slug, hurried=name is None)

    def _file(self, slug: str, name: str) -> RemoteFile:
        listing = self.find(slug, [name])
        listing.check(slug, [name])
        return listing.by_name[name]

    def _accept_packed(self, slug: str, path: Path, listed: RemoteFile, arrived: Arrived) -> None:
        packed = arrived.name.endswith(".zip") if listed.size_bytes is None else zipfile.is_zipfile(path)
        if packed and not listed.name.endswith(".zip"):
            unwrap(path, listed.name)
        size = path.stat().st_size
        # Kaggle's list gives the size on its disk; for files that it packs that may be the packed one.
        if listed.size_bytes is None or size == listed.size_bytes or zipfile.is_zipfile(path):
            return
        if self.find(slug, [listed.name]).by_name.get(listed.name, listed).size_bytes != size:  # replaced meanwhile?
            path.unlink()
            raise PlatformError(
                f"what arrived while downloading {listed.name} of {slug!r} has {size:,} bytes, announced were "
                f"{listed.size_bytes:,}",
                hint="fetch it again",
            )

    # -------------------------------------------------------------------------------------------------- submissions

    def submit(self, slug: str, file: Path, message: str, *, creating: Creating = lambda: None) -> str:
        """Upload a file, then create the submission; if the answer to that is lost, look for it in the list."""
        if not file.is_file():
            raise NotFoundError(f"there is no file {file} to submit")
        self._competition(slug)
        token = self._upload(slug, file)

        def make(types: Any) -> Any:
            request = types.ApiCreateSubmissionRequest()
            request.competition_name = slug
            request.blob_file_tokens = token
            request.submission_description = message
            return request

        creating()
        return self._sent(slug, message, f"submitting to {slug!r}", "create_submission", make)

    def _sent_kernel(self, slug: str, message: str, action: str, make: Callable[[Any], Any], creating: Creating) -> str:
        self._competition(slug)
        creating()
        return self._sent(slug, message, action, "create_code_submission", make)

    def _sent(self, slug: str, message: str, action: str, method: str, make: Callable[[Any], Any]) -> str:
        """Create a submission, once; if the answer to that is lost, look for it in the list."""
        try:
            answer = self._connection.tell(action, method, make, slug=slug)
        except UnansweredError as exc:
            return self._settled(slug, message, exc)
        except PlatformError as exc:
            # "Your team has used its daily Submission allowance": a team mate, or another machine, was quicker.
            if "daily submission allowance" in exc.message.lower():
                exc.hint = next_day_hint(datetime.now(UTC))
            raise
        if not answer.ref:
            # A plain return without a number is how the client says that nothing was submitted.
            return self._settled(
                slug, message, UnansweredError(f"Kaggle gave no number: {quoted(answer.message or '')}")
            )
        return str(answer.ref)

    def _upload(self, slug: str, file: Path) -> str:
        stat = file.stat()

        def start() -> Any:
            return self._ask(
                slug,
                "starting the upload",
                "start_submission_upload",
                "ApiStartSubmissionUploadRequest",
                content_length=stat.st_size,
                last_modified_epoch_seconds=int(stat.st_mtime),
                file_name=file.name,
            )

        return upload(self._connection, file, start, otherwise="nothing was submitted", again="wb submit")

    def _settled(self, slug: str, message: str, lost: UnansweredError) -> str:
        until, token = time.monotonic() + self.listing_delay_s, message.partition(" ")[0]
        while True:
            requested_at = time.monotonic()
            try:
                # By the token alone: how much of a long message is kept, and in what form, is the platform's affair.
                mine = [s for s in self.submissions(slug) if s.message == message or _is_same(s.message, token)]
            except PlatformError as exc:
                raise UnansweredError(
                    f"{lost.message}; the list of submissions can't be read either: {exc.message}",
                    hint="`wb sync` finds out whether it arrived; it is not sent again automatically",
                ) from exc
            if mine:
                return mine[0].ref
            if requested_at >= until:
                raise UnansweredError(
                    f"{lost.message}; it is not in the list of submissions",
                    hint="`wb sync` looks again; it may have arrived, and is not sent again automatically",
                )
            time.sleep(min(5.0, self.listing_delay_s / 4))

    def submissions(self, slug: str) -> list[PlatformSubmission]:
        """Return all submissions of one's team, every page of them, newest first."""
        pages = self._pages(slug, "listing the submissions", "list_submissions", "ApiListSubmissionsRequest")
        submissions = [_as_submission(s) for page in pages for s in page.submissions]
        order = sorted(enumerate(submissions), key=lambda f: (f[1].submitted_at, -f[0]), reverse=True)
        return [s for _, s in order]

    def limits(self, slug: str) -> SubmissionLimits:
        """Return what is left of the UTC day, as Kaggle counts it."""
        competition = self._competition(slug)
        limits = self._ask(slug, "asking for the limits", "get_submission_limits", "ApiGetSubmissionLimitsRequest")
        # All zero also means that one has not joined yet: then nothing is known.
        joined = competition.user_has_entered or limits.num_total or limits.num_allowed_now
        allowed = limits.num_allowed_now if joined else None
        return SubmissionLimits(
            competition.max_daily_submissions or None, allowed, bool(joined and limits.limited_by_total)
        )

    def leaderboard(self, slug: str) -> Leaderboard:
        """Return the leaderboard and the user's rank: the public one until the deadline, then the private one if out.

        Kaggle gives the private one as soon as there is one, unless `override_public` asks for the public one
        (`ApiGetLeaderboardRequest`), and does not say which it gave: they are distinguished by their content.
        """
        competition = self._competition(slug, fresh=True)
        deadline = _utc(competition.deadline)
        if deadline is None or deadline >= datetime.now(UTC):
            entries, is_private = self._board(slug, override_public=True), False
        else:
            entries, public = self._board(slug), self._board(slug, pages=1, override_public=True)
            # Of a competition without a public board, what comes is the private one.
            is_private = entries[: len(public)] != public or bool(entries and not public)
        rank = competition.user_rank
        teams = max(competition.team_count, len(entries), rank or 0)
        standing = Standing.at(rank, teams, medals=bool(competition.awards_points)) if rank else None
        if is_private:
            return Leaderboard(tuple(entries), private=standing, scope="private")
        return Leaderboard(tuple(entries), public=standing)

    def _board(self, slug: str, *, pages: int = LEADERBOARD_PAGES, **fields: Any) -> list[tuple[str, float]]:
        listed = self._pages(slug, "reading the leaderboard", "get_leaderboard", "ApiGetLeaderboardRequest", **fields)
        scored = [(s.team_name or "", _score(s.score)) for page in islice(listed, pages) for s in page.submissions]
        return [(team, score) for team, score in scored if score is not None]


def _is_same(message: str, token: str) -> bool:
    return token.startswith(MARK) and has_token(message, token)


def _entered(types: Any) -> Any:
    from kagglesdk.competitions.types.competition_enums import CompetitionListTab

    request = types.ApiListCompetitionsRequest()
    request.group = CompetitionListTab.COMPETITION_LIST_TAB_ENTERED
    request.page_size = PAGE
    return request


def _utc(moment: datetime | None) -> datetime | None:
    # The wire has naive times, which are UTC.
    return None if moment is None else moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def _score(text: str | None) -> float | None:
    try:
        return float(text) if text not in (None, "") else None
    except ValueError:
        return None


def _as_submission(s: Any) -> PlatformSubmission:
    submission = PlatformSubmission(
        ref=str(s.ref),
        file_name=s.file_name or "",
        message=s.description or "",
        submitted_at=_utc(s.date) or datetime.fromtimestamp(0, UTC),
        status=s.status.name.lower(),
        submitted_by=s.submitted_by or s.team_name or None,
    )
    if submission.status == "error":
        return replace(submission, error=one_line(s.error_description or "") or "Kaggle gives no reason")
    return replace(submission, public_score=_score(s.public_score), private_score=_score(s.private_score))


def _check_archive(path: Path, action: str) -> None:
    if not zipfile.is_zipfile(path):
        path.unlink()
        raise DamagedError(f"what arrived while {action} is not a complete zip archive", hint="fetch it again")
