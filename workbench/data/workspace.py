"""The workspace: the folder that holds competitions, notebooks and submissions."""

from __future__ import annotations

import os
import shlex
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from workbench.core.cache import create_text, write_text
from workbench.core.errors import ConfigError, NotFoundError, StorageError, near
from workbench.platforms.protocol import competition_slug

__all__ = [
    "Workspace",
    "create_workspace",
    "experiment_files",
    "experiment_numbers",
    "find_workspace",
    "list_run_folders",
]

DRIVE = Path("/content/drive/MyDrive")
"""Where Colab mounts its user's files."""

CONTAINER_MARKS = ("/.dockerenv", "/run/.containerenv")
"""What docker and podman put into a container."""

ID_FILE = "workspace.id"
"""Beside the ledger, which no copy of the code has."""


@dataclass(frozen=True)
class Workspace:
    """A workspace on disk, where its ledger is, and what may be used for it.

    `ledger_url` is a SQLAlchemy URL, or None for ``submissions/ledger.db``. `memory_limit` is what building features
    may use of the memory, `cache_limit` what each competition's cache may hold, in bytes; None for the usual.
    """

    root: Path
    ledger_url: str | None = None
    memory_limit: int | None = None
    cache_limit: int | None = None

    @property
    def competitions(self) -> Path:
        """The folder of the competitions."""
        return self.root / "competitions"

    @property
    def submissions(self) -> Path:
        """The folder of what was sent, and of the ledger."""
        return self.root / "submissions"

    @property
    def ledger(self) -> str | Path:
        """Where the ledger is: a URL, or a path."""
        return self.ledger_url or self.submissions / "ledger.db"

    @property
    def id(self) -> str:
        """What tells it from the other workspaces of a ledger, made when it is first asked for; "" if it can't be."""
        path = self.submissions / ID_FILE
        try:
            if not path.exists():
                create_text(path, f"{uuid.uuid4().hex}\n")
            return path.read_text("utf-8").strip()[:64]
        except (StorageError, UnicodeDecodeError):
            return ""

    def slugs(self) -> list[str]:
        """Return the competitions that have a definition, or files to make one from."""
        if not self.competitions.is_dir():
            return []
        folders = [p for p in self.competitions.iterdir() if p.is_dir()]
        return sorted(p.name for p in folders if any((p / n).exists() for n in ("competition.toml", "rehearsal")))

    def competition_folder(self, slug: str) -> Path:
        """Return the folder of a competition that is there.

        Raises
        ------
        NotFoundError
            With the near names, where there is none of that name.
        """
        if slug not in self.slugs():
            raise NotFoundError(
                f"no competition {slug!r} in {self.competitions}", hint=near(slug, self.slugs(), kind="competition")
            )
        return self.competitions / slug

    def choose(self, slug: str | None, *, inside: Path | None = None) -> str:
        """Return what `slug` names, else the competition that the folder `inside` belongs to, else the only one.

        Parameters
        ----------
        slug : str or None
            A competition's name, or its beginning where no other begins so; what names none is returned as it is. Or
            the competition's address, see `workbench.platforms.protocol.competition_slug`.

        Raises
        ------
        ConfigError
            Where none of the three names exactly one, or `slug` is the address of something else.
        """
        if slug:
            return self._full_name(slug if slug in self.slugs() else competition_slug(slug))
        if inside is not None and inside.is_relative_to(self.competitions) and inside != self.competitions:
            return inside.relative_to(self.competitions).parts[0]
        slugs = self.slugs()
        if len(slugs) == 1:
            return slugs[0]
        if not slugs:
            raise ConfigError(
                f"{self.root} has no competition yet",
                hint="`wb fetch SLUG` fetches one from Kaggle, `wb rehearse SLUG` hosts one of your own",
            )
        raise ConfigError(
            f"which competition of {self.root}? it has {', '.join(slugs)}",
            hint="name it with --competition/-c, set WB_COMPETITION, or run it from its folder",
        )

    def _full_name(self, slug: str) -> str:
        slugs = self.slugs()
        if slug in slugs or (self.competitions / slug).is_dir():
            return slug
        matching = [s for s in slugs if s.startswith(slug)]
        if len(matching) > 1:
            raise ConfigError(
                f"several competitions begin with {slug!r}: {', '.join(matching)}", hint="give more of the name"
            )
        return matching[0] if matching else slug


def find_workspace(
    start: Path,
    *,
    named: str | None = None,
    is_trusted: bool = False,
    ledger_url: str | None = None,
    cache_limit: int | None = None,
) -> Workspace:
    """Return the workspace that is named, else the one that `start` is in: the nearest folder with ``competitions/``.

    Where there is none, it is the one on the drive that Colab has mounted.

    Parameters
    ----------
    start : Path
        Usually the current folder.
    named : str, optional
        A folder that was named (the value of ``WB_WORKSPACE``): it is taken wherever `start` is, whoever owns it.
    is_trusted : bool
        Whether `start` was named, too, and is not just where one stands.
    ledger_url : str, optional
        Where the ledger is, if it is not in the workspace.
    cache_limit : int, optional
        The bytes that each competition's cache may hold.

    Raises
    ------
    NotFoundError
        Where there is no workspace.
    ConfigError
        Where the one that is named is none, or the one that was found is another user's: it has code.
    """
    if named:
        root = _expanded(Path(named)).resolve()
        if not (root / "competitions").is_dir():
            raise ConfigError(f"WB_WORKSPACE={named} has no folder competitions/", hint=f"`wb init {named}` makes it")
        return Workspace(root, ledger_url, cache_limit=cache_limit)
    start = start.resolve()
    for folder in (start, *start.parents):
        if (folder / "competitions").is_dir():
            if not is_trusted:
                _check_owner(folder)
            return Workspace(folder, ledger_url, cache_limit=cache_limit)
    on_drive = sorted(p.parent for p in DRIVE.glob("*/competitions") if p.is_dir())
    if len(on_drive) > 1:
        raise ConfigError(
            f"several workspaces in {DRIVE}: {', '.join(p.name for p in on_drive)}", hint="set WB_WORKSPACE to one"
        )
    if on_drive:
        return Workspace(on_drive[0], ledger_url, cache_limit=cache_limit)
    raise NotFoundError(
        f"no workspace at {start} or above it (a folder that has competitions/)",
        hint="`wb init DIR` makes one; or set WB_WORKSPACE",
    )


def _check_owner(root: Path) -> None:
    """Refuse a workspace that another user could have put where one stands: its code would be run.

    Root's are trusted, for root can do so anyway; root itself trusts what is of whoever called sudo, and in a container
    everybody, for there it is no more than the user who started that.

    Raises
    ------
    ConfigError
        Says whose it is, and how it is entered all the same.
    """
    if not hasattr(os, "geteuid"):
        return
    user = os.geteuid()
    if user == 0 and _in_container():
        return
    trusted = {0, user, *([int(os.environ["SUDO_UID"])] if user == 0 and _is_number("SUDO_UID") else [])}
    for place in (root, *(root / name for name in ("competitions", "notebooks", "submissions"))):
        owner = next((o for o in _owners(place) if o not in trusted), None)
        if owner is not None:
            raise ConfigError(
                f"{root} is a workspace of another user: {place} belongs to {_user(owner)}, and you are {_user(user)}. "
                "Its code would run as you",
                hint=f"if you trust it, name it: WB_WORKSPACE={shlex.quote(str(root))} wb …",
            )


def _owners(place: Path) -> list[int]:
    """Return whose a place is, and of a link whose what it leads to is.

    In ``/tmp`` anybody can make one that leads to a folder of root's, as ``/tmp`` itself is, and lay code beside it.
    """
    owners = []
    for look in (place.lstat, place.stat):
        with suppress(OSError):
            owners.append(look().st_uid)
    return owners


def _is_number(variable: str) -> bool:
    return os.environ.get(variable, "").isascii() and os.environ.get(variable, "").isdecimal()


def _in_container() -> bool:
    return any(Path(mark).exists() for mark in CONTAINER_MARKS)


def _user(number: int) -> str:
    try:
        import pwd

        return f"{pwd.getpwuid(number).pw_name} ({number})"
    except (ImportError, KeyError):
        return f"user {number}"


def _expanded(path: Path) -> Path:
    """Return a path with the home folder in place of a leading ``~``, unless something is called so, or no user is."""
    if path.exists():
        return path
    try:
        return path.expanduser()
    except RuntimeError:
        return path


_README = """# A workspace

    wb fetch SLUG        the data, as typed Parquet, with a definition and a baseline
    wb run 1             features, folds, LightGBM, OOF and test predictions, a record
    wb table             every experiment, its CV and what it changed
    wb submit 1          checked, sent once, logged with its CV

`competitions/<slug>/` holds the definition, the features and the experiments: keep them in git. Data, cache, runs and
submissions are left out by `.gitignore`; `submissions/ledger.db` is the record of every run, and worth a backup.
"""

_GITIGNORE = """competitions/*/data/
competitions/*/cache/
competitions/*/runs/
competitions/*/studies/
competitions/*/kernels/
competitions/*/rehearsal*/
competitions/*/check.html
competitions/*/eda.*
submissions/
*.tmp
"""


def create_workspace(root: Path) -> Workspace:
    """Make an empty workspace; what is already there stays as it is.

    Raises
    ------
    ConfigError
        When `root` is a file.
    StorageError
        When it can't be written.
    """
    root = _expanded(root).resolve()
    if root.exists() and not root.is_dir():
        raise ConfigError(f"{root} is a file; expected a folder, or nothing", hint="choose another name")
    for name, text in (("README.md", _README), (".gitignore", _GITIGNORE)):
        if not (root / name).exists():
            write_text(root / name, text)
    for folder in ("competitions", "notebooks", "submissions"):
        if not (root / folder).is_dir():
            # The empty file makes git keep the folder.
            write_text(root / folder / ".gitkeep", "")
    return Workspace(root)


def list_run_folders(runs: Path, exp: int | None = None) -> list[Path]:
    """Return the run folders, oldest first; those of one experiment where `exp` is given."""
    prefix = "" if exp is None else f"{exp:03d}-"
    try:
        with os.scandir(runs) as entries:
            names = [e.name for e in entries if e.name.startswith(prefix) and e.name[0] != "." and e.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [runs / name for name in sorted(names)]


def experiment_files(folder: Path, number: int) -> list[Path]:
    """Return the files of an experiment, which is one: 012.toml, or what was written by hand as 12.toml.

    Parameters
    ----------
    folder : Path
        Of the competition.
    number : int

    Returns
    -------
    list of Path
        Where there is none, the path that a new one gets; where several have the number, all of them, that one first.
    """
    place = folder / "experiments"
    plain = place / f"{number:03d}.toml"
    # Zeros in front: as few as none, as many as somebody who counts to millions writes.
    names = dict.fromkeys((plain.name, *(f"{number:0{width}d}.toml" for width in range(1, 8))))
    return [place / name for name in names if (place / name).exists()] or [plain]


def experiment_numbers(folder: Path) -> list[int]:
    """Return the numbers of the experiments of a competition's folder that have a file, ascending."""
    paths = (folder / "experiments").glob("*.toml")
    return sorted({int(p.stem) for p in paths if p.stem.isdecimal()})
