"""The contract of a platform, which hosts competitions: Kaggle, or a local competition (`workbench.rehearsal`).

`connect` finds an implementation by name; callers do not depend on which one it is.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol, cast

from workbench.core.errors import ConfigError, NotFoundError, did_you_mean
from workbench.core.temporary import hidden_path
from workbench.platforms.interactions import InteractionsSpec

__all__ = [
    "BeforeCreate",
    "CodeHost",
    "CompetitionFacts",
    "DatasetState",
    "KernelSource",
    "KernelState",
    "KernelVersion",
    "Leaderboard",
    "Listing",
    "Platform",
    "PlatformSubmission",
    "RemoteFile",
    "Standing",
    "SubmissionLimits",
    "competition_slug",
    "connect",
    "has_token",
    "medal",
    "next_day_hint",
    "partial_of",
]

BeforeCreate = Callable[[], None]
"""Called just before the request that creates a submission; earlier steps, such as an upload, create none."""

Progress = Callable[[int], None]
"""Called with the number of bytes that arrived since the last call; negative if some were discarded."""

IMPLEMENTATIONS = {"kaggle": "workbench.platforms.kaggle:Kaggle", "rehearsal": "workbench.rehearsal:LocalPlatform"}


@dataclass(frozen=True)
class CompetitionFacts:
    """What the platform knows about a competition; a field is None or empty if the platform does not know it.

    Attributes
    ----------
    metric : str, optional
        A built-in name of `workbench.metrics`, or the platform's own words.
    task : str, optional
    id_columns, target_columns : tuple of str
        Kaggle states neither these nor the task: they are inferred from the files.
    weight_column : str, optional
        The column with the weights of rows, or an expression of columns.
    daily_limit : int, optional
        Submissions per UTC day.
    accepts_submissions : bool
        Whether the competition is open, for files or for notebooks.
    kind : str
        "notebook" if only kernels can be submitted, "over" after the deadline, else "tabular".
    interactions : InteractionsSpec, optional
        The log of a competition of the task recommend.
    positive_classes : tuple of str
        For each target of two classes, the class whose probability is scored.
    description : str, optional
        The platform's text about the competition.
    evaluation_server : str, optional
        A data file of the server that sends the test set to notebooks.
    """

    slug: str
    title: str
    metric: str | None = None
    greater_is_better: bool | None = None
    task: str | None = None
    id_columns: tuple[str, ...] = ()
    target_columns: tuple[str, ...] = ()
    weight_column: str | None = None
    deadline: datetime | None = None
    daily_limit: int | None = None
    accepts_submissions: bool = True
    kind: str = "tabular"
    url: str | None = None
    interactions: InteractionsSpec | None = None
    positive_classes: tuple[str, ...] = ()
    description: str | None = None
    evaluation_server: str | None = None


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A data file of a competition, as far as the platform describes it; `sha256` and `md5` are hex digits."""

    name: str
    size_bytes: int | None
    modified_at: datetime | None = None
    sha256: str | None = None
    md5: str | None = None


@dataclass(frozen=True)
class Listing:
    """Files of a competition from the platform's list: all of them if it `is_complete`."""

    files: tuple[RemoteFile, ...]
    is_complete: bool = True

    @property
    def by_name(self) -> dict[str, RemoteFile]:
        """The files by their names."""
        return {f.name: f for f in self.files}

    def check(self, slug: str, names: Iterable[str]) -> None:
        """Raise `NotFoundError`, with similar names, for the first name that is not listed."""
        by_name = self.by_name
        for name in names:
            if name not in by_name:
                limitation = "" if self.is_complete else f" (of the first {len(by_name):,})"
                raise NotFoundError(
                    f"{slug!r} has no file {name!r}", hint=did_you_mean(name, by_name, kind="file") + limitation
                )


@dataclass(frozen=True)
class PlatformSubmission:
    """A submission as the platform lists it.

    `status` is ``"pending"``, ``"complete"`` or ``"error"``. A score is None as long as it is unknown or hidden.
    """

    ref: str
    file_name: str
    message: str
    submitted_at: datetime
    status: str
    public_score: float | None = None
    private_score: float | None = None
    error: str | None = None
    submitted_by: str | None = None


@dataclass(frozen=True)
class SubmissionLimits:
    """The number of submissions allowed per UTC day, and the number left today; None if no limit is known.

    With `limited_by_total`, the limit is that of the entire competition: the next day allows no more.
    """

    per_day: int | None
    remaining_today: int | None
    limited_by_total: bool = False


@dataclass(frozen=True)
class Standing:
    """The position of a score on a leaderboard: rank from 1, percentile (100 rank / teams), medal by Kaggle's rules.

    `medal` is also None if the competition awards none.
    """

    rank: int
    teams: int
    percentile: float
    medal: str | None

    @classmethod
    def at(cls, rank: int, teams: int, *, awards_medals: bool = True) -> Standing:
        """Return the standing of a rank among a number of teams, with a medal if the competition `awards_medals`."""
        return cls(rank, teams, 100 * rank / teams, medal(rank, teams) if awards_medals else None)


@dataclass(frozen=True)
class Leaderboard:
    """The leaderboard: entries (team, score), the best first, and the standings of the user's best submission.

    `public` and `private` are its standings by public and by private score; None if there is none. `scope` tells which
    scores the entries have: ``"public"`` or ``"private"``.
    """

    entries: tuple[tuple[str, float], ...] = field(default=())
    public: Standing | None = None
    private: Standing | None = None
    scope: str = "public"


@dataclass(frozen=True)
class DatasetState:
    """The state of one of the user's datasets.

    Attributes
    ----------
    version : int
        The number of its newest version.
    status : str
        The status of that version: ``"ready"``, ``"pending"`` or ``"failed"``.
    is_private : bool
        Whether only the user can see it.
    """

    version: int
    status: str
    is_private: bool = True


@dataclass(frozen=True)
class KernelSource:
    """A notebook to be run as a private kernel without network.

    Attributes
    ----------
    title : str
        The platform derives the kernel's name in its address from the title.
    notebook : str
        The JSON text of the notebook.
    datasets : tuple of str
        The names of the user's datasets that it reads.
    competition : str
        The competition whose data it reads.
    accelerator : str
        The platform's name of the accelerator; "" for none.
    docker_pin : str
        ``"original"`` (the image of the first version) or ``"latest"``.
    limit_s : float, optional
        The time limit of the run in seconds; None for the platform's.
    """

    title: str
    notebook: str
    datasets: tuple[str, ...]
    competition: str
    accelerator: str
    docker_pin: str
    limit_s: float | None = None


@dataclass(frozen=True)
class KernelVersion:
    """A version of a kernel: its owner, its name in the address, and its number from 1."""

    owner: str
    name: str
    number: int


@dataclass(frozen=True)
class KernelState:
    """A version of a kernel, and the text of its notebook."""

    version: KernelVersion
    source: str


class CodeHost(Protocol):
    """The part of a platform that hosts the user's datasets and kernels; a kernel's output can be submitted.

    Every method may raise `PlatformError`. Those that create something make a single request, and raise
    `UnansweredError` when it is not known whether it was created.
    """

    delay_s: float
    """How long it may take until a new dataset, kernel or version is listed."""

    @property
    def owner(self) -> str:
        """The account that owns these datasets and kernels."""
        ...

    def dataset(self, name: str) -> DatasetState | None:
        """Return the state of a dataset; None if there is no dataset of that name."""
        ...

    def dataset_files(self, name: str, version: int) -> dict[str, int]:
        """Return the sizes of a version's files in bytes, by name."""
        ...

    def upload(self, file: Path) -> str:
        """Upload a file and return its token for `put_dataset`."""
        ...

    def put_dataset(self, name: str, tokens: list[str], *, is_new: bool, notes: str) -> None:
        """Create a private dataset if it `is_new`, otherwise its next version, with exactly these uploaded files."""
        ...

    def kernel(self, name: str, number: int | None = None) -> KernelState | None:
        """Return the newest version of a kernel, or the version with a number; None if there is none."""
        ...

    def save_kernel(self, name: str, source: KernelSource) -> KernelVersion:
        """Save the next version of a kernel, which starts its run."""
        ...

    def kernel_status(self, version: KernelVersion) -> tuple[str, str] | None:
        """Return the status of a version's run and why it failed; None if that can't be read yet.

        The statuses "complete", "error" and "cancelled" are final.
        """
        ...

    def kernel_log(self, version: KernelVersion) -> str:
        """Return the text that a version's run has printed so far."""
        ...

    def fetch_output(self, version: KernelVersion, folder: Path) -> list[str]:
        """Fetch the files that a version's run wrote; return the names outside the folder, which are not fetched."""
        ...

    def submit_kernel(
        self, slug: str, version: KernelVersion, file: str, message: str, *, before_create: BeforeCreate = lambda: None
    ) -> str:
        """Submit a file that a version wrote and return the submission's reference; see `Platform.submit`."""
        ...


class Platform(Protocol):
    """A host of competitions.

    Every method may raise `PlatformError` (the platform refused, or can't be reached) and, for a slug that does not
    exist, `NotFoundError`. No method prints, prompts or exits. Times are UTC, with that zone.
    """

    name: str
    is_local: bool
    """Whether the platform's files are on this machine, so that fetching them is only a copy."""
    listing_delay_s: float
    """How long the platform usually takes to list a new submission."""

    @property
    def code(self) -> CodeHost | None:
        """Datasets and kernels; None if the platform has none."""
        ...

    def facts(self, slug: str) -> CompetitionFacts:
        """Return what the platform knows about the competition."""
        ...

    def files(self, slug: str) -> list[RemoteFile]:
        """Return the competition's data files, sorted by name. Names may contain ``/``."""
        ...

    def find(self, slug: str, names: Collection[str]) -> Listing:
        """Return the files of these names and perhaps others, reading no more of the list than necessary.

        A name that is missing from the result does not exist.
        """
        ...

    def archive(self, slug: str) -> RemoteFile | None:
        """Return the zip archive of all files, for `download`; None if the platform has none."""
        ...

    def download(self, slug: str, name: str, destination: Path, *, progress: Progress | None = None) -> None:
        """Download one file, or the archive, to `destination`; an existing file is replaced once it is complete.

        The bytes of an interrupted download may stay at ``partial_of(destination)``; the next call resumes there.

        Raises `NotFoundError` for a name that `files` does not list, `PlatformError` when size or checksum differ from
        the announced ones, and `UnavailableError` when the archive, but not every file, is unavailable now.
        """
        ...

    def submit(self, slug: str, file: Path, message: str, *, before_create: BeforeCreate = lambda: None) -> str:
        """Send a file and return its reference. Scoring may come later: see `submissions`.

        `before_create` is called once, after the upload and just before the request that creates the submission. If it
        raises, no submission is created, and the exception propagates.

        Raises `PlatformError` when the competition is closed or the daily limit is used up: nothing was sent then.
        Raises `UnansweredError` when it is not known whether the submission was created. A file that can't be scored is
        accepted and gets the status ``"error"``.
        """
        ...

    def submissions(self, slug: str) -> list[PlatformSubmission]:
        """Return all of the user's submissions, newest first."""
        ...

    def limits(self, slug: str) -> SubmissionLimits:
        """Return the limit of submissions, and how many are left today."""
        ...

    def leaderboard(self, slug: str) -> Leaderboard:
        """Return the leaderboard and the user's standing on it."""
        ...


MESSAGE_MARK = "wb:"
"""The beginning of the token in a submission's message, by which the workbench recognises the submission."""


def has_token(message: str, token: str) -> bool:
    """Tell whether a submission's message has this token, at its beginning or (earlier versions) at its end.

    Examples
    --------
    >>> has_token("wb:0123456789 | 012 more features | CV 0.79", "wb:0123456789")
    True
    >>> has_token("wb:0123456789 | better than wb:9876543210", "wb:9876543210")
    False
    """
    if message.startswith(MESSAGE_MARK):
        return message.split(maxsplit=1)[0] == token
    return message.endswith(token)


def partial_of(destination: Path) -> Path:
    """Return the path where a platform keeps the bytes of an incomplete download to `destination`."""
    return hidden_path(destination, ".partial")


def next_day_hint(now: datetime) -> str:
    """Return a hint that states when the next day of submissions begins, and what can be done until then.

    Examples
    --------
    >>> next_day_hint(datetime(2026, 11, 30, 21, 48, tzinfo=UTC)).partition(":")[0]
    'the next day begins at 2026-12-01 00'
    """
    next_day = (now.astimezone(UTC) + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    minutes = -int((now - next_day).total_seconds() // 60)
    return (
        f"the next day begins at {next_day:%Y-%m-%d} 00:00 UTC, in {minutes // 60} h {minutes % 60:02d} min; "
        "until then `wb table` compares by CV, and `wb submit N --dry-run` checks a file without sending it"
    )


def medal(rank: int, teams: int) -> str | None:
    """Return the medal of a rank by Kaggle's rules (kaggle.com/progression), or None.

    ============  =============  =============  ==================
    teams         bronze         silver         gold
    ============  =============  =============  ==================
    0 to 99       top 40 %       top 20 %       top 10 %
    100 to 249    top 40 %       top 20 %       top 10
    250 to 999    top 100        top 50         top 10 + 0.2 %
    1000 and up   top 10 %       top 5 %        top 10 + 0.2 %
    ============  =============  =============  ==================

    0.2 % is one more gold for every 500 teams.

    Examples
    --------
    >>> medal(10, 1200), medal(13, 1200), medal(61, 1200), medal(121, 1200)
    ('gold', 'silver', 'bronze', None)
    """
    if teams < 250:
        gold, silver, bronze = (teams * 0.1 if teams < 100 else 10), teams * 0.2, teams * 0.4
    else:
        gold = 10 + teams // 500
        silver, bronze = (50, 100) if teams < 1000 else (teams * 0.05, teams * 0.1)
    for name, max_rank in (("gold", gold), ("silver", silver), ("bronze", bronze)):
        if rank <= max_rank:
            return name
    return None


_ADDRESS = re.compile(r"(?:[a-z]+:)?(?://)?(?:[\w-]+\.)*kaggle\.com(?::\d+)?(?P<path>[/?#].*)?", re.IGNORECASE)
_FIRST_PATH_PARTS = ("competitions", "c")
"""The beginnings of the paths of a competition's pages."""


def competition_slug(text: str) -> str:
    """Return the name of a competition from its name or an address.

    The address of any of its pages is accepted, complete or beginning with ``/c/`` or ``/competitions/``, and so is
    the path of its folder in a workspace.

    Raises
    ------
    ConfigError
        For any other address.

    Examples
    --------
    >>> competition_slug("titanic"), competition_slug("https://www.kaggle.com/competitions/titanic/overview?x=1#y")
    ('titanic', 'titanic')
    >>> competition_slug("kaggle.com/c/titanic/"), competition_slug("competitions/titanic")
    ('titanic', 'titanic')
    """
    stripped = text.strip().strip("<>\"'").strip()
    address = _ADDRESS.fullmatch(stripped)
    path = (address["path"] or "") if address else stripped
    parts = [part for part in re.split(r"[?#]", path)[0].split("/") if part]
    if address:
        is_competition = len(parts) > 1 and parts[0].lower() in _FIRST_PATH_PARTS
        slug = parts[1].rstrip(".,;:)") if is_competition else ""
    elif "://" in stripped or "\\" in stripped:
        slug = ""
    else:
        slug = _slug_of_path(parts, is_relative=not stripped.startswith("/"))
    if slug in ("", ".", ".."):
        raise ConfigError(
            f"{text!r} is neither a competition's name nor its address",
            hint="the name is what follows /competitions/ or /c/ in https://www.kaggle.com/competitions/NAME",
        )
    return slug


def _slug_of_path(parts: list[str], *, is_relative: bool) -> str:
    """Return the name in "NAME", "c/NAME", "/competitions/NAME/overview" or the path of a competition's folder.

    `parts` are the parts of the path. For any other path, "" is returned.
    """
    slugs_in_path = [parts[i + 1] for i, part in enumerate(parts[:-1]) if part == "competitions"]
    if slugs_in_path:
        return slugs_in_path[-1]
    if len(parts) > 1:
        return parts[1] if parts[0] == "c" else ""
    return parts[0] if parts and is_relative else ""


def connect(name: str, workspace: Path) -> Platform:
    """Return the platform called `name`.

    Implementations are imported only here, so that this module does not depend on them.

    Parameters
    ----------
    name : str
        ``"kaggle"`` or ``"rehearsal"``.
    workspace : Path
        The workspace's folder, which contains the competitions of a local platform.

    Raises
    ------
    NotFoundError
        For an unknown name.
    """
    if name not in IMPLEMENTATIONS:
        raise NotFoundError(
            f"no platform is called {name!r}", hint=did_you_mean(name, IMPLEMENTATIONS, kind="platform")
        )
    module, _, attribute = IMPLEMENTATIONS[name].partition(":")
    factory = getattr(importlib.import_module(module), attribute)
    return cast("Platform", factory(workspace))
