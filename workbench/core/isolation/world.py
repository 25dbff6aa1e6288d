"""What a process is to see of the machine, and the steps that make such a root."""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from workbench.core.package import PACKAGE

__all__ = ["World", "clean_environment", "steps"]

Step = tuple[Any, ...]

PASSED_ON = (
    "PATH",
    "LANG",
    "LANGUAGE",
    "TZ",
    "TERM",
    "COLUMNS",
    "LINES",
    "LD_LIBRARY_PATH",
    "LIBRARY_PATH",
    "CUDA_HOME",
    "CUDA_PATH",
    "CUDA_VISIBLE_DEVICES",
    "CUDA_DEVICE_ORDER",
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "PYTHONUNBUFFERED",
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONHASHSEED",
    "PYTHONUTF8",
    "PYTHONIOENCODING",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
)
"""The variables that say nothing of their user and that programs need."""

PASSED_ON_BEGIN = ("LC_", "OMP_", "MKL_", "OPENBLAS_", "NUMEXPR_", "POLARS_", "NUMBA_", "NVIDIA_", "KMP_")
"""How the names of others begin: of the language, of libraries' threads, of the accelerator."""

SYSTEM = ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "nix", "gnu", "opt/rocm", "opt/cuda")
"""The folders that hold programs and nothing of anybody's."""

LINKED_IN_RUN = ("/run/current-system", "/run/opengl-driver")
"""Where NixOS has its programs and drivers."""

ETC = (
    "alternatives",
    "ca-certificates",
    "ca-certificates.conf",
    "crypto-policies",
    "fonts",
    "gai.conf",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "locale.alias",
    "locale.conf",
    "localtime",
    "magic",
    "mime.types",
    "nsswitch.conf",
    "OpenCL",
    "openssl",
    "os-release",
    "pki/ca-trust",
    "pki/tls/cert.pem",
    "pki/tls/certs",
    "pki/tls/openssl.cnf",
    "protocols",
    "services",
    "ssl/cert.pem",
    "ssl/certs",
    "ssl/openssl.cnf",
    "terminfo",
    "timezone",
    "vulkan",
    "xattr.conf",
)
"""What programs read of /etc, and what says nothing of the machine's users; of ssl and pki not the private keys."""

OF_NETWORK = ("resolv.conf", "hosts", "host.conf")

PARTS = (
    "bin",
    "lib",
    "lib32",
    "lib64",
    "libexec",
    "include",
    "share",
    "etc",
    "ssl",
    "nvvm",
    "targets",
    "conda-meta",
    "pyvenv.cfg",
)
"""What belongs to an installation of Python; others keep files of their own beside, with an environment in ``.``."""


@dataclass(frozen=True)
class World:
    """What a process, and what it starts, sees and may change; by default all that there is.

    Attributes
    ----------
    folder : str
        Where it starts.
    mounts : dict
        Place -> what is shown there, and whether it can be written. What can only be read stays so, for root too.
    links : dict
        Place -> where the link leads.
    host : str
        What is seen of the machine's own files: "all", as they are; "read", all of them, to read, without ``/run``,
        where services listen, and with the same devices as "system"; "system", the programs, libraries and devices,
        and this Python with its packages.
    hidden : tuple of str
        Folders that are empty there, and can only be read, but for what is mounted and linked in them. This Python is
        seen all the same.
    scratch : tuple of str
        Folders that are empty and can be written.
    shown : tuple of str
        What is seen in its own place all the same, to read.
    home : str, or None
        An empty home folder, and HOME; None for the home that there is.
    own_tmp : bool
        Whether /tmp and /var/tmp are empty and its own, as /dev/shm is where the host is not "all".
    network : bool
        Whether there is any but the machine itself.
    disk : Path, or None
        The folder that holds, for as long as it runs, what it writes into folders of its own; None for the system's
        temporary one.
    """

    folder: str = "/"
    mounts: Mapping[str, tuple[str, bool]] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    host: Literal["all", "read", "system"] = "all"
    hidden: tuple[str, ...] = ()
    scratch: tuple[str, ...] = ()
    shown: tuple[str, ...] = ()
    home: str | None = None
    own_tmp: bool = False
    network: bool = True
    disk: Path | None = None


def clean_environment(
    environment: Mapping[str, str] | None = None, *, also: Iterable[str] = (), **more: str
) -> dict[str, str]:
    """Return the variables that a program needs and that say nothing of its user: no keys, no names, no folders.

    Parameters
    ----------
    environment : mapping, optional
        By default this process's.
    also : iterable of str
        Names of others to pass on.
    **more
        Variables to set.

    Examples
    --------
    >>> clean_environment({"PATH": "/bin", "LC_ALL": "C", "AWS_SECRET_ACCESS_KEY": "x", "USER": "me"}, HOME="/root")
    {'PATH': '/bin', 'LC_ALL': 'C', 'HOME': '/root'}
    """
    environment = os.environ if environment is None else environment
    names = {*PASSED_ON, *also}
    return {n: v for n, v in environment.items() if n in names or n.startswith(PASSED_ON_BEGIN)} | more


def steps(world: World, scratch: Path, *, own_pids: bool) -> list[Step]:
    """Return how the root of a world is made, one step after the other, as the launcher takes them.

    Parameters
    ----------
    scratch : Path
        An empty folder of the disk, for what the world can write for itself.
    own_pids : bool
        Whether its processes have numbers of their own.
    """
    all_steps = [*_system(), *_etc(world)] if world.host == "system" else _machine(world)
    all_steps.append(("proc", "/proc", own_pids))
    own_folders = _own_folders(world, scratch)
    hidden = [place for place in map(_resolved, world.hidden) if place not in own_folders and place not in world.mounts]
    covering = [*own_folders, *hidden]
    shown = [*world.shown, *(python_places() if covering or world.host == "system" else ())]
    if world.host == "system":
        # Where folders are made, what is called by a name through links must be there by that name, too.
        binds = {p: (p, False) for p in (*shown, *map(_resolved, shown)) if not _is_below(p, map("/{}".format, SYSTEM))}
    else:
        binds = {p: (p, False) for p in map(_resolved, shown) if _is_below(p, covering)}
    binds |= dict(world.mounts)
    for place, folder in own_folders.items():
        # Where something is mounted below, there must be a folder already: it is the disk's.
        for at in (*own_folders, *hidden, *binds):
            if at.startswith(f"{place}/"):
                _prepare(Path(folder) / at[len(place) + 1 :], Path(binds.get(at, ("/", False))[0]))
    step_at: dict[str, Step] = {place: ("empty", place) for place in hidden}
    step_at |= {place: ("bind", place, folder, True) for place, folder in own_folders.items()}
    step_at |= {place: ("bind", place, source, writable) for place, (source, writable) in binds.items()}
    all_steps += [step for _, step in sorted(step_at.items())]
    all_steps += [("link", place, target) for place, target in sorted(world.links.items())]
    return [*all_steps, *(("seal", place) for place in hidden)]


def _own_folders(world: World, scratch: Path) -> dict[str, str]:
    """Make the folders of the disk that a world has for itself: place -> folder."""
    places = [*world.scratch, *([] if world.home is None else [world.home])]
    places += ["/tmp", "/var/tmp"] if world.own_tmp else []  # noqa: S108 these are the world's
    folder_of = {}
    for number, place in enumerate(dict.fromkeys(places)):
        folder = scratch / f"own-{number}"
        folder.mkdir()
        folder.chmod(0o1777 if Path(place).name == "tmp" else 0o755)
        folder_of[place] = str(folder)
    return folder_of


def python_places() -> list[str]:
    """Return what must be seen for this Python, its packages and the workbench to run."""
    roots = [Path(p) for p in dict.fromkeys((sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix))]
    candidates = [root / part for root in roots for part in PARTS]
    # Not "data", which is all of the prefix: the folder of a project that has its environment in ``.``.
    candidates += [Path(p) for name, p in sysconfig.get_paths().items() if name != "data"]
    candidates += [Path(p) for p in sys.path if Path(p).name in ("site-packages", "dist-packages", "lib-dynload")]
    if site.ENABLE_USER_SITE:
        candidates.append(Path(site.getusersitepackages()))
    candidates += [Path(sys.executable), Path(sys.executable).resolve(), PACKAGE.resolve()]
    # A link in an environment's bin may lead through another folder, or to another installation.
    places = [str(p) for p in dict.fromkeys(candidates) if p.exists()]
    return [p for p in places if not any(p != other and p.startswith(f"{other}/") for other in places)]


def _prepare(target: Path, source: Path) -> None:
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()


def _resolved(place: str) -> str:
    """Return a place without links in the folders above it, which the root would not have."""
    path = Path(place)
    return str(path.parent.resolve() / path.name)


def _is_below(place: str, folders: Iterable[str]) -> bool:
    return any(place == folder or place.startswith(f"{folder}/") for folder in folders)


def _machine(world: World) -> list[Step]:
    """Show the machine's folders, but for /kaggle, which the world may have, and /proc.

    Where they can only be read, what listens in /run is not shown: who can ask a user's session bus or docker for a
    process has one outside. Nor are other programs' terminals and shared memory.
    """
    is_closed = world.host == "read"
    steps: list[Step] = [*_linked_in_run(world), ("dev", "/dev")] if is_closed else []
    for path in sorted(Path("/").iterdir()):
        if path.name in ("kaggle", "proc", *(("dev", "run") if is_closed else ())):
            continue
        if path.is_symlink():
            steps.append(("link", str(path), str(path.readlink())))
        elif path.is_dir():
            steps.append(("bind", str(path), str(path), not is_closed))
    return steps


def _linked_in_run(world: World) -> list[Step]:
    """Show what of /run programs need: where a system that is built of links has them, and the names' servers."""
    places = [Path(place) for place in LINKED_IN_RUN]
    steps: list[Step] = [("link", str(p), str(p.readlink())) for p in places if p.is_symlink()]
    names = Path("/etc/resolv.conf").resolve()
    if world.network and names.is_relative_to("/run") and names.is_file():
        steps.append(("bind", str(names), str(names), False))
    return steps


def _system() -> list[Step]:
    steps: list[Step] = []
    for name in SYSTEM:
        path = Path("/", name)
        if path.is_symlink():
            steps.append(("link", str(path), str(path.readlink())))
        elif path.is_dir():
            steps.append(("bind", str(path), str(path), False))
    # A system that is built of links needs where they lead.
    for place in (*LINKED_IN_RUN, "/etc/static"):
        path = Path(place)
        if path.is_symlink():
            steps.append(("link", place, str(path.readlink())))
    return [*steps, ("bind", "/sys", "/sys", False), ("dev", "/dev")]


def _etc(world: World) -> list[Step]:
    steps: list[Step] = []
    for name in (*ETC, *(OF_NETWORK if world.network else ())):
        path = Path("/etc", name)
        if path.exists():
            steps.append(("bind", str(path), str(path.resolve()), False))
    home = world.home or "/root"
    steps.append(("text", "/etc/passwd", f"root:x:0:0:root:{home}:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"))
    steps.append(("text", "/etc/group", "root:x:0:\nnogroup:x:65534:\n"))
    if not world.network:
        steps.append(("text", "/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"))
    return steps
