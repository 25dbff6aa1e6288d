"""The workspace: the folder that holds competitions, notebooks and submissions."""

from __future__ import annotations

import os
import shlex
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from workbench.core.cache import create_text, write_text
from workbench.core.errors import ConfigError, NotFoundError, StorageError, did_you_mean
from workbench.core.operating_system import user_id, user_name
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
"""Files that Docker and Podman create in a container."""

ID_FILE = "workspace.id"
"""Stored next to the ledger, so that a clone of the repository does not share the id."""


@dataclass(frozen=True)
class Workspace:
    """A workspace on disk, the location of its ledger, and its limits.

    Attributes
    ----------
    root : Path
    ledger_url : str, optional
        A SQLAlchemy URL; None for ``submissions/ledger.db``.
    memory_limit : int, optional
        The bytes of memory that building features may use; None for the default.
    cache_limit : int, optional
        The bytes that each competition's cache may hold; None for the default.
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
        """The folder of the submitted files and of the ledger."""
        return self.root / "submissions"

    @property
    def ledger(self) -> str | Path:
        """The ledger's URL or path."""
        return self.ledger_url or self.submissions / "ledger.db"

    @property
    def id(self) -> str:
        """The id among the workspaces that share a ledger, created on first use; "" if it can't be written."""
        path = self.submissions / ID_FILE
        try:
            if not path.exists():
                create_text(path, f"{uuid.uuid4().hex}\n")
            return path.read_text("utf-8").strip()[:64]
        except (StorageError, UnicodeDecodeError):
            return ""

    def slugs(self) -> list[str]:
        """Return the names of the competitions that have a definition or a rehearsal, sorted."""
        if not self.competitions.is_dir():
            return []
        folders = [p for p in self.competitions.iterdir() if p.is_dir()]
        return sorted(p.name for p in folders if any((p / n).exists() for n in ("competition.toml", "rehearsal")))

    def competition_folder(self, slug: str) -> Path:
        """Return the folder of an existing competition.

        Raises
        ------
        NotFoundError
            For an unknown name; the hint has similar names.
        """
        if slug not in self.slugs():
            raise NotFoundError(
                f"no competition {slug!r} in {self.competitions}",
                hint=did_you_mean(slug, self.slugs(), kind="competition"),
            )
        return self.competitions / slug

    def choose(self, slug: str | None, *, inside: Path | None = None) -> str:
        """Return the full name of a competition.

        Parameters
        ----------
        slug : str or None
            A name, the beginning of exactly one name, or an address (see
            `workbench.platforms.protocol.competition_slug`). An unknown name is returned unchanged. With None, the
            competition is that of the folder `inside`, else the only one of the workspace.
        inside : Path, optional
            Usually the current folder.

        Raises
        ------
        ConfigError
            When these do not determine exactly one competition, or `slug` is an address of something else.
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
        """Return the only name that begins with `slug`; `slug` itself if it is a name, or if no name begins with it."""
        slugs = self.slugs()
        if slug in slugs or (self.competitions / slug).is_dir():
            return slug
        matching = [s for s in slugs if s.startswith(slug)]
        if len(matching) > 1:
            raise ConfigError(
                f"several competitions begin with {slug!r}: {', '.join(matching)}", hint="write more of the name"
            )
        return matching[0] if matching else slug


def find_workspace(
    start: Path,
    *,
    wb_workspace: str | None = None,
    is_trusted: bool = False,
    ledger_url: str | None = None,
    cache_limit: int | None = None,
) -> Workspace:
    """Find the workspace: the folder `wb_workspace`, else the nearest with ``competitions/`` at or above `start`.

    On Colab, the mounted drive is searched last.

    Parameters
    ----------
    start : Path
        Usually the current folder.
    wb_workspace : str, optional
        The value of the variable ``WB_WORKSPACE``, a folder: it is used wherever `start` is, whoever owns it.
    is_trusted : bool
        Whether the user named `start` explicitly; otherwise the owner of the workspace is checked.
    ledger_url : str, optional
        Where the ledger is, if it is not in the workspace.
    cache_limit : int, optional
        The bytes that each competition's cache may hold.

    Raises
    ------
    NotFoundError
        When there is no workspace.
    ConfigError
        When `wb_workspace` is not a workspace, or the nearest workspace belongs to another user, whose code would run.
    """
    if wb_workspace:
        root = _expanded(Path(wb_workspace)).resolve()
        if not (root / "competitions").is_dir():
            raise ConfigError(
                f"WB_WORKSPACE={wb_workspace} has no folder competitions/", hint=f"`wb init {wb_workspace}` makes it"
            )
        return Workspace(root, ledger_url, cache_limit=cache_limit)
    start = start.resolve()
    for folder in (start, *start.parents):
        if (folder / "competitions").is_dir():
            if not is_trusted:
                _check_owner(folder)
            return Workspace(folder, ledger_url, cache_limit=cache_limit)
    drive_folders = sorted(p.parent for p in DRIVE.glob("*/competitions") if p.is_dir())
    if len(drive_folders) > 1:
        raise ConfigError(
            f"several workspaces in {DRIVE}: {', '.join(p.name for p in drive_folders)}", hint="set WB_WORKSPACE to one"
        )
    if drive_folders:
        return Workspace(drive_folders[0], ledger_url, cache_limit=cache_limit)
    raise NotFoundError(
        f"no workspace at {start} or above it (a folder that has competitions/)",
        hint="`wb init DIR` makes one; or set WB_WORKSPACE",
    )


def _check_owner(root: Path) -> None:
    """Refuse a workspace that belongs to another user: its code would run with the caller's rights.

    Files of root are trusted, because root could change the caller's files anyway. If the caller is root, the user who
    called sudo is trusted, and in a container everybody: mounted files belong to the user who started it.

    Raises
    ------
    ConfigError
        If a folder belongs to somebody else; the message names the owner, the hint how to use the workspace anyway.
    """
    user = user_id()
    if user is None:
        return
    if user == 0 and _in_container():
        return
    trusted_ids = {0, user, *([int(os.environ["SUDO_UID"])] if user == 0 and _is_integer_variable("SUDO_UID") else [])}
    for path in (root, *(root / name for name in ("competitions", "notebooks", "submissions"))):
        owner = next((o for o in _owner_ids(path) if o not in trusted_ids), None)
        if owner is not None:
            raise ConfigError(
                f"{root} is a workspace of another user: {path} belongs to {user_name(owner)}, and you are "
                f"{user_name(user)}. Its code would run as you",
                hint=f"if you trust it, name it: WB_WORKSPACE={shlex.quote(str(root))} wb …",
            )


def _owner_ids(path: Path) -> list[int]:
    """Return the user ids of the owners of a path and, for a link, of its target.

    Both are needed: in ``/tmp`` anybody can make a link to a folder that belongs to root.
    """
    owner_ids = []
    for read_status in (path.lstat, path.stat):
        with suppress(OSError):
            owner_ids.append(read_status().st_uid)
    return owner_ids


def _is_integer_variable(variable: str) -> bool:
    """Tell whether an environment variable is set to a whole number."""
    return os.environ.get(variable, "").isascii() and os.environ.get(variable, "").isdecimal()


def _in_container() -> bool:
    return any(Path(mark).exists() for mark in CONTAINER_MARKS)


def _expanded(path: Path) -> Path:
    """Replace a leading ``~`` by the home folder, unless the path exists literally or there is no such user."""
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
    """Create an empty workspace; existing files stay unchanged.

    Raises
    ------
    ConfigError
        When `root` is a file.
    StorageError
        When the folder can't be written.
    """
    root = _expanded(root).resolve()
    if root.exists() and not root.is_dir():
        raise ConfigError(f"{root} is a file; expected a folder, or nothing", hint="choose another name")
    for name, text in (("README.md", _README), (".gitignore", _GITIGNORE)):
        if not (root / name).exists():
            write_text(root / name, text)
    for folder in ("competitions", "notebooks", "submissions"):
        if not (root / folder).is_dir():
            # Git tracks no empty folders.
            write_text(root / folder / ".gitkeep", "")
    return Workspace(root)


def list_run_folders(runs: Path, exp: int | None = None) -> list[Path]:
    """Return the run folders, oldest first: all, or those of the experiment `exp`."""
    prefix = "" if exp is None else f"{exp:03d}-"
    try:
        with os.scandir(runs) as entries:
            names = [e.name for e in entries if e.name.startswith(prefix) and e.name[0] != "." and e.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [runs / name for name in sorted(names)]


def experiment_files(folder: Path, number: int) -> list[Path]:
    """Return the files that have an experiment's number: 012.toml, or 12.toml if a person wrote it.

    Parameters
    ----------
    folder : Path
        The competition's folder.
    number : int

    Returns
    -------
    list of Path
        Usually one. Where there is none, the path of a new file; where there are several, 012.toml comes first.
    """
    parent = folder / "experiments"
    default_path = parent / f"{number:03d}.toml"
    # Up to seven digits with leading zeros.
    names = dict.fromkeys((default_path.name, *(f"{number:0{width}d}.toml" for width in range(1, 8))))
    return [parent / name for name in names if (parent / name).exists()] or [default_path]


def experiment_numbers(folder: Path) -> list[int]:
    """Return the numbers of the experiments that have a file in a competition's folder, ascending."""
    paths = (folder / "experiments").glob("*.toml")
    return sorted({int(p.stem) for p in paths if p.stem.isdecimal()})
