"""The contract of a platform: a place where competitions live.

A platform is Kaggle or a local rehearsal. What differs between them ends at this protocol; `connect` finds an
implementation by name, so that nothing below the command line needs to know which one it talks to.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol, cast

from workbench.core.errors import ConfigError, NotFoundError, near
from workbench.core.temporary import hidden_path
from workbench.platforms.interactions import InteractionsSpec

__all__ = [
    "CodeHost",
    "CompetitionFacts",
    "Creating",
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

Creating = Callable[[], None]
"""Called when a submission is about to be created: what comes before that, such as an upload, makes none."""

Progress = Callable[[int], None]
"""Called with the number of bytes that arrived since the last call; negative where some had to be thrown away."""

IMPLEMENTATIONS = {"kaggle": "workbench.platforms.kaggle:Kaggle", "rehearsal": "workbench.rehearsal:Rehearsal"}


@dataclass(frozen=True)
class CompetitionFacts:
    """What the platform says of a competition; None where it does not say.

    `metric` is a built-in name of `workbench.metrics` or the platform's own words. `id_columns`, `target_columns` and
    `task` are given only by a platform that knows them; elsewhere they are inferred from the files. `kind` is
    "notebook" where kernels are taken and no files; `accepts_submissions` is of what is taken. `interactions` is the
    log of the task recommend, where the platform knows it. `positive_classes` are, of each target of two classes,
    the one whose probability is scored; `description` is what the competition is about, in the platform's words.
    `evaluation_server` is a file of the server that hands the test set to notebooks, where there is one among the data.
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
    """One file that the platform offers. None where the platform does not say; `sha256` and `md5` are hex digests."""

    name: str
    size_bytes: int | None
    modified_at: datetime | None = None
    sha256: str | None = None
    md5: str | None = None


@dataclass(frozen=True)
class Listing:
    """The files that were seen in the platform's list; all of them where it is `complete`."""

    files: tuple[RemoteFile, ...]
    complete: bool = True

    @property
    def by_name(self) -> dict[str, RemoteFile]:
        """The files by their names."""
        return {f.name: f for f in self.files}

    def check(self, slug: str, names: Iterable[str]) -> None:
        """Raise `NotFoundError`, with the nearest names that were seen, for a name that is not there."""
        by_name = self.by_name
        for name in names:
            if name not in by_name:
                some = "" if self.complete else f" (of the first {len(by_name):,})"
                raise NotFoundError(f"{slug!r} has no file {name!r}", hint=near(name, by_name, kind="file") + some)


@dataclass(frozen=True)
class PlatformSubmission:
    """A submission as the platform tells it.

    `status` is ``"pending"``, ``"complete"`` or ``"error"``. A score is None while it is not known or not shown.
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
    """How many submissions a day allows and how many are left today (UTC). None: no limit is known.

    `limited_by_total` says that what is left is bounded by the submissions of the whole competition, not by the day's:
    another day brings no more.
    """

    per_day: int | None
    remaining_today: int | None
    limited_by_total: bool = False


@dataclass(frozen=True)
class Standing:
    """Where a score stands: rank from 1, percentile (100 rank / teams: "top 3 %"), medal by Kaggle's rules.

    `medal` is None, too, where the competition gives none.
    """

    rank: int
    teams: int
    percentile: float
    medal: str | None

    @classmethod
    def at(cls, rank: int, teams: int, *, medals: bool = True) -> Standing:
        """Return the standing of a rank among so many teams, in a competition with medals or without."""
        return cls(rank, teams, 100 * rank / teams, medal(rank, teams) if medals else None)


@dataclass(frozen=True)
class Leaderboard:
    """The leaderboard, best first, as (team, score); and where the user's best submission stands, if there is one.

    `scope` says of which scores the entries are: ``"public"`` or ``"private"``.
    """

    entries: tuple[tuple[str, float], ...] = field(default=())
    public: Standing | None = None
    private: Standing | None = None
    scope: str = "public"


@dataclass(frozen=True)
class DatasetState:
    """A dataset of the user's.

    Attributes
    ----------
    version : int
        The number of its newest version.
    status : str
        Whether that is ``"ready"``, ``"pending"`` or ``"failed"``.
    is_private : bool
        Whether nobody else sees it.
    """

    version: int
    status: str
    is_private: bool = True


@dataclass(frozen=True)
class KernelSource:
    """A notebook that is to be run, privately and without network.

    Attributes
    ----------
    title : str
        The name in the address is made of it.
    notebook : str
        Its text.
    datasets : tuple of str
        The user's, by name.
    competition : str
    accelerator : str
        In the platform's words; "" for none.
    docker_pin : str
        ``"original"`` (the image of the first version) or ``"latest"``.
    limit_s : float, optional
        After how many seconds the platform ends the run; None leaves that to the platform.
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
    """A version of a kernel: whose, its name in the address, and its number from 1."""

    owner: str
    name: str
    number: int


@dataclass(frozen=True)
class KernelState:
    """A version of a kernel and its text."""

    version: KernelVersion
    source: str


class CodeHost(Protocol):
    """Where one has datasets, and kernels that read them and whose output can be submitted.

    Every method may raise `PlatformError`. Those that make something are sent once: `UnansweredError` when it is not
    known whether it was made.
    """

    delay_s: float
    """How long it may take to show what it took."""

    @property
    def owner(self) -> str:
        """The account whose datasets and kernels these are."""
        ...

    def dataset(self, name: str) -> DatasetState | None:
        """Return the state of a dataset; None where there is none of that name."""
        ...

    def dataset_files(self, name: str, version: int) -> dict[str, int]:
        """Return the sizes of a version's files, by name."""
        ...

    def upload(self, file: Path) -> str:
        """Upload a file and return the token by which `put_dataset` knows it."""
        ...

    def put_dataset(self, name: str, tokens: list[str], *, first: bool, notes: str) -> None:
        """Make a private dataset, or its next version, of uploaded files: all of them, there are no others in it."""
        ...

    def kernel(self, name: str, number: int | None = None) -> KernelState | None:
        """Return the newest version of a kernel, or that of a number; None where there is none."""
        ...

    def save_kernel(self, name: str, source: KernelSource) -> KernelVersion:
        """Save the next version of a kernel, which runs at once."""
        ...

    def kernel_status(self, version: KernelVersion) -> tuple[str, str] | None:
        """Return how a version's run is doing ("complete", "error", "cancelled" end it) and why it failed.

        None where it can't be read yet.
        """
        ...

    def kernel_log(self, version: KernelVersion) -> str:
        """Return what a version's run printed so far."""
        ...

    def fetch_output(self, version: KernelVersion, folder: Path) -> list[str]:
        """Fetch what a version's run wrote; return the names that lead out of the folder, which are left out."""
        ...

    def submit_kernel(
        self, slug: str, version: KernelVersion, file: str, message: str, *, creating: Creating = lambda: None
    ) -> str:
        """Submit a file that a version writes and return the submission's reference; see `Platform.submit`."""
        ...


class Platform(Protocol):
    """A place where competitions live.

    Every method may raise `PlatformError` (the platform refused, or can't be reached) and, for a slug that does not
    exist, `NotFoundError`. No method prints, prompts or exits. Times are aware UTC.
    """

    name: str
    is_local: bool
    """Whether its files are on this machine, so that bringing them costs no more than a copy."""
    listing_delay_s: float
    """How long the platform usually takes to list a submission that it took."""

    @property
    def code(self) -> CodeHost | None:
        """Datasets and kernels; None where there are none."""
        ...

    def facts(self, slug: str) -> CompetitionFacts:
        """Return what the platform says of the competition."""
        ...

    def files(self, slug: str) -> list[RemoteFile]:
        """Return the competition's data files, sorted by name. Names may contain ``/``."""
        ...

    def find(self, slug: str, names: Collection[str]) -> Listing:
        """Return files among which are those of these names, without reading more of the list than that takes.

        A name that is not in what is returned does not exist.
        """
        ...

    def archive(self, slug: str) -> RemoteFile | None:
        """Return the zip archive of all the files, for `download`; None where the platform has none."""
        ...

    def download(self, slug: str, name: str, destination: Path, *, progress: Progress | None = None) -> None:
        """Download one file, or the archive, to `destination`, replacing what is there only once the file is whole.

        What has arrived when a download breaks off may be kept beside it, at `partial_of`, for the next call to go on
        from.

        Raises `NotFoundError` for a name that `files` does not list, `PlatformError` when what arrived is not what was
        announced (size, digest), and `UnavailableError` when the archive can't be had now, though the files can.
        """
        ...

    def submit(self, slug: str, file: Path, message: str, *, creating: Creating = lambda: None) -> str:
        """Send a file and return its reference. Scoring may come later: see `submissions`.

        `creating` is called once, after the file was uploaded and before the platform is asked to make a submission of
        it: until then there is none. What it raises goes on, and none is made.

        Raises `PlatformError` when the competition is closed or the daily limit is used up: nothing was sent then.
        `UnansweredError` when it is not known whether the file was taken. A file that can't be scored is accepted and
        gets the status ``"error"``.
        """
        ...

    def submissions(self, slug: str) -> list[PlatformSubmission]:
        """Return all of the user's submissions, newest first."""
        ...

    def limits(self, slug: str) -> SubmissionLimits:
        """Return what is left of today's submissions."""
        ...

    def leaderboard(self, slug: str) -> Leaderboard:
        """Return the leaderboard and the user's standing on it."""
        ...


MARK = "wb:"
"""What the token in a submission's message begins with, by which the workbench knows it again."""


def has_token(message: str, token: str) -> bool:
    """Say whether a submission's message is that of the token, with which it begins (of earlier versions: ends).

    Examples
    --------
    >>> has_token("wb:0123456789 | 012 more features | CV 0.79", "wb:0123456789")
    True
    >>> has_token("wb:0123456789 | better than wb:9876543210", "wb:9876543210")
    False
    """
    if message.startswith(MARK):
        return message.split(maxsplit=1)[0] == token
    return message.endswith(token)


def partial_of(destination: Path) -> Path:
    """Return where a platform keeps what has arrived of a download to `destination`."""
    return hidden_path(destination, ".partial")


def next_day_hint(now: datetime) -> str:
    """Return when the next day of submissions begins, and what can be done until then.

    Examples
    --------
    >>> next_day_hint(datetime(2026, 11, 30, 21, 48, tzinfo=UTC)).partition(":")[0]
    'the next day begins at 2026-12-01 00'
    """
    begins = (now.astimezone(UTC) + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    minutes = -int((now - begins).total_seconds() // 60)
    return (
        f"the next day begins at {begins:%Y-%m-%d} 00:00 UTC, in {minutes // 60} h {minutes % 60:02d} min; until then "
        "`wb table` compares by CV, and `wb submit N --dry-run` checks a file without sending it"
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
    for name, places in (("gold", gold), ("silver", silver), ("bronze", bronze)):
        if rank <= places:
            return name
    return None


_ADDRESS = re.compile(r"(?:[a-z]+:)?(?://)?(?:[\w-]+\.)*kaggle\.com(?::\d+)?(?P<path>[/?#].*)?", re.IGNORECASE)
_PLACES = ("competitions", "c")


def competition_slug(text: str) -> str:
    """Return the name of a competition that is given by its name or its address.

    An address is that of any of its pages, as a browser shows it or without what goes before ``/c/`` or
    ``/competitions/``; or the path of its folder in a workspace.

    Raises
    ------
    ConfigError
        For an address that is none of a competition.

    Examples
    --------
    >>> competition_slug("titanic"), competition_slug("https://www.kaggle.com/competitions/titanic/overview?x=1#y")
    ('titanic', 'titanic')
    >>> competition_slug("kaggle.com/c/titanic/"), competition_slug("competitions/titanic")
    ('titanic', 'titanic')
    """
    stripped = text.strip().strip("<>\"'").strip()
    address = _ADDRESS.fullmatch(stripped)
    parts = [p for p in re.split(r"[?#]", (address["path"] or "") if address else stripped)[0].split("/") if p]
    if address:
        slug = parts[1].rstrip(".,;:)") if len(parts) > 1 and parts[0].lower() in _PLACES else ""
    elif "://" in stripped or "\\" in stripped:
        slug = ""
    else:
        slug = _last_of_path(parts, bare=not stripped.startswith("/"))
    if slug in ("", ".", ".."):
        raise ConfigError(
            f"{text!r} is neither a competition's name nor its address",
            hint="the name is what follows /competitions/ or /c/ in https://www.kaggle.com/competitions/NAME",
        )
    return slug


def _last_of_path(parts: list[str], *, bare: bool) -> str:
    """Return the name in "NAME", "c/NAME", "/competitions/NAME/overview" or the path of a competition's folder."""
    behind = [parts[i + 1] for i, part in enumerate(parts[:-1]) if part == "competitions"]
    if behind:
        return behind[-1]
    if len(parts) > 1:
        return parts[1] if parts[0] == "c" else ""
    return parts[0] if parts and bare else ""


def connect(name: str, workspace: Path) -> Platform:
    """Return the platform called `name`.

    Implementations are looked up by name and imported only here, so that this module depends on none of them.

    Parameters
    ----------
    name : str
        ``"kaggle"`` or ``"rehearsal"``.
    workspace : Path
        The workspace's folder; a platform that lives on disk keeps its competitions there.

    Raises
    ------
    NotFoundError
        For an unknown name.
    """
    if name not in IMPLEMENTATIONS:
        raise NotFoundError(f"no platform is called {name!r}", hint=near(name, IMPLEMENTATIONS, kind="platform"))
    module, _, attribute = IMPLEMENTATIONS[name].partition(":")
    factory = getattr(importlib.import_module(module), attribute)
    return cast("Platform", factory(workspace))
