"""Kaggle as a platform."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from workbench import metrics
from workbench.core.printable import one_line
from workbench.platforms.kaggle.code_host import KaggleCodeHost
from workbench.platforms.kaggle.competitions import CompetitionCalls, entered_fields
from workbench.platforms.kaggle.connection import Connection, Patience
from workbench.platforms.kaggle.data_files import DataFiles
from workbench.platforms.kaggle.failures import WEB
from workbench.platforms.kaggle.login import LoginState, login_state
from workbench.platforms.kaggle.responses import score_of, utc
from workbench.platforms.kaggle.submissions import KaggleSubmissions
from workbench.platforms.protocol import (
    BeforeCreate,
    CompetitionFacts,
    Leaderboard,
    Listing,
    PlatformSubmission,
    Progress,
    RemoteFile,
    Standing,
    SubmissionLimits,
)

__all__ = ["Kaggle"]

MAX_LEADERBOARD_PAGES = 50
DEFAULT_PATIENCE = Patience()


class Kaggle:
    """Competitions on Kaggle; an implementation of `workbench.platforms.protocol.Platform`.

    Parameters
    ----------
    workspace : Path
        Not used: nothing is stored locally.
    patience : Patience
    listing_delay_s : float
        How long Kaggle may take to list a submission.
    """

    name = "kaggle"
    is_local = False

    def __init__(
        self,
        workspace: Path | None = None,
        patience: Patience = DEFAULT_PATIENCE,
        *,
        listing_delay_s: float = 60.0,
    ) -> None:
        del workspace
        self.listing_delay_s = listing_delay_s
        self._connection = Connection(patience)
        self._calls = CompetitionCalls(self._connection)
        self._data_files = DataFiles(self._connection, self._calls)

    @property
    def code(self) -> KaggleCodeHost:
        """Datasets, kernels, and submissions of kernels' output."""
        return KaggleCodeHost(self._connection, self._submissions, self.listing_delay_s)

    @property
    def _submissions(self) -> KaggleSubmissions:
        return KaggleSubmissions(self._connection, self._calls, self.listing_delay_s)

    def close(self) -> None:
        """Close the connections; the next call opens new ones."""
        self._connection.close()

    def login(self) -> LoginState:
        """Return which credential is in use and whether Kaggle accepts it."""

        def check_login() -> None:
            self._connection.call("listing your competitions", "list_competitions", entered_fields())

        return login_state(check_login)

    def facts(self, slug: str) -> CompetitionFacts:
        """Return the competition's facts; `metric` is in Kaggle's words."""
        competition = self._calls.competition(slug)
        metric_name = metrics.find(competition.evaluation_metric or "")
        if metric_name and metric_name.endswith("@"):
            metric_name += "1"  # it lacks its k, which does not affect the direction
        metric = metrics.get(metric_name) if metric_name else None
        deadline = utc(competition.deadline)
        is_over = deadline is not None and deadline < datetime.now(UTC)
        return CompetitionFacts(
            slug=slug,
            title=one_line(competition.title or "") or slug,
            metric=competition.evaluation_metric or None,
            greater_is_better=metric.greater_is_better if metric else None,
            deadline=deadline,
            daily_limit=competition.max_daily_submissions or None,
            accepts_submissions=not competition.submissions_disabled,
            kind="notebook" if competition.is_kernels_submissions_only else "over" if is_over else "tabular",
            url=f"{WEB}/{slug}",
            description=competition.description or None,
        )

    def files(self, slug: str) -> list[RemoteFile]:
        """Return the data files, every page of them."""
        return self._data_files.list_all(slug)

    def find(self, slug: str, names: Collection[str]) -> Listing:
        """Return the files of these names, reading no more of the list than necessary."""
        return self._data_files.find(slug, names)

    def archive(self, slug: str) -> RemoteFile | None:
        """Return the archive of all files; its size is not known before it is downloaded."""
        return self._data_files.archive(slug)

    def download(self, slug: str, name: str, destination: Path, *, progress: Progress | None = None) -> None:
        """Download the archive or one file; a file that is sent zipped is unpacked."""
        self._data_files.download(slug, name, destination, progress)

    def submit(self, slug: str, file: Path, message: str, *, before_create: BeforeCreate = lambda: None) -> str:
        """Upload a file, then create the submission, once; if the response is lost, look for it in the list."""
        return self._submissions.submit(slug, file, message, before_create)

    def submissions(self, slug: str) -> list[PlatformSubmission]:
        """Return all submissions of the user's team, newest first."""
        return self._submissions.list_all(slug)

    def limits(self, slug: str) -> SubmissionLimits:
        """Return the submissions that are left on this UTC day, as Kaggle counts them."""
        competition = self._calls.competition(slug)
        limits = self._calls.call(slug, "asking for the limits", "get_submission_limits")
        # Kaggle also sends zeros if the user has not joined: then no limit is known.
        has_joined = competition.user_has_entered or limits.num_total or limits.num_allowed_now
        remaining = limits.num_allowed_now if has_joined else None
        return SubmissionLimits(
            competition.max_daily_submissions or None, remaining, bool(has_joined and limits.limited_by_total)
        )

    def leaderboard(self, slug: str) -> Leaderboard:
        """Return the leaderboard and the user's rank: the public one until the deadline, then the private one.

        Kaggle sends the private leaderboard as soon as it exists, unless `override_public` requests the public one
        (`ApiGetLeaderboardRequest`), and does not say which one it sent: they are told apart by their entries.
        """
        competition = self._calls.competition(slug, refresh=True)
        deadline = utc(competition.deadline)
        if deadline is None or deadline >= datetime.now(UTC):
            entries, is_private = self._leaderboard_entries(slug, override_public=True), False
        else:
            entries = self._leaderboard_entries(slug)
            public_entries = self._leaderboard_entries(slug, n_pages=1, override_public=True)
            # A competition without a public leaderboard sends the private one.
            is_private = entries[: len(public_entries)] != public_entries or bool(entries and not public_entries)
        rank = competition.user_rank
        n_teams = max(competition.team_count, len(entries), rank or 0)
        standing = Standing.at(rank, n_teams, awards_medals=bool(competition.awards_points)) if rank else None
        if is_private:
            return Leaderboard(tuple(entries), private=standing, scope="private")
        return Leaderboard(tuple(entries), public=standing)

    def _leaderboard_entries(
        self, slug: str, *, n_pages: int = MAX_LEADERBOARD_PAGES, **fields: Any
    ) -> list[tuple[str, float]]:
        """Return the teams and scores of the first pages of the leaderboard, without teams that have no score."""
        pages = self._calls.pages(slug, "reading the leaderboard", "get_leaderboard", **fields)
        entries = [(s.team_name or "", score_of(s.score)) for page in islice(pages, n_pages) for s in page.submissions]
        return [(team, score) for team, score in entries if score is not None]
