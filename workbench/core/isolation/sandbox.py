"""Describe what a sandbox shows of the machine, and the steps that build its root folder."""

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

__all__ = ["Sandbox", "clean_environment", "steps"]

Step = tuple[Any, ...]

SAFE_VARIABLES = (
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
"""Environment variables that programs need and that do not identify the user."""

SAFE_PREFIXES = ("LC_", "OMP_", "MKL_", "OPENBLAS_", "NUMEXPR_", "POLARS_", "NUMBA_", "NVIDIA_", "KMP_")
"""Prefixes of further variables: of the locale, of thread pools, of accelerators."""

SYSTEM_FOLDERS = ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "nix", "gnu", "opt/rocm", "opt/cuda")
"""Folders below / that contain programs and no user's data."""

NIX_LINKS = ("/run/current-system", "/run/opengl-driver")
"""The links to programs and drivers on NixOS."""

ETC_NAMES = (
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
"""Files in /etc that programs read and that do not identify users; without the private keys in ssl and pki."""

NETWORK_ETC_NAMES = ("resolv.conf", "hosts", "host.conf")

PYTHON_PARTS = (
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
"""The parts of a Python installation: its prefix may be a project's folder, with the user's files next to them."""


@dataclass(frozen=True)
class Sandbox:
    """What the processes in a sandbox see and may change; by default everything.

    Attributes
    ----------
    folder : str
        The working directory.
    mounts : dict
        Path in the sandbox -> path on the machine, and whether it is writable. Read-only holds for root as well.
    links : dict
        Path of a symbolic link -> its target.
    host : str
        What is visible of the machine's files. "all": everything, unchanged. "read": everything, read-only, without
        ``/run``, where services listen, and with the same devices as "system". "system": programs, libraries, devices,
        and this Python with its packages.
    hidden : tuple of str
        Folders that appear empty and read-only, except for mounts and links in them. This Python stays visible.
    scratch : tuple of str
        Folders that are empty and writable.
    visible : tuple of str
        Paths that stay visible in spite of `hidden` and `host`, read-only.
    home : str, or None
        The path of an empty home folder, to which HOME is set; None to keep the user's.
    own_tmp : bool
        Whether /tmp and /var/tmp are new, empty folders. /dev/shm is unless `host` is "all".
    network : bool
        Whether the network is accessible; localhost always is.
    disk : Path, or None
        The folder for the temporary data of its writable folders; None for the system's temporary folder.
    """

    folder: str = "/"
    mounts: Mapping[str, tuple[str, bool]] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    host: Literal["all", "read", "system"] = "all"
    hidden: tuple[str, ...] = ()
    scratch: tuple[str, ...] = ()
    visible: tuple[str, ...] = ()
    home: str | None = None
    own_tmp: bool = False
    network: bool = True
    disk: Path | None = None


def clean_environment(
    environment: Mapping[str, str] | None = None, *, also: Iterable[str] = (), **more: str
) -> dict[str, str]:
    """Return the environment variables that programs need, without those that identify the user or hold secrets.

    Parameters
    ----------
    environment : mapping, optional
        By default that of this process.
    also : iterable of str
        Names of further variables to keep.
    **more
        Variables to set.

    Examples
    --------
    >>> clean_environment({"PATH": "/bin", "LC_ALL": "C", "AWS_SECRET_ACCESS_KEY": "x", "USER": "me"}, HOME="/root")
    {'PATH': '/bin', 'LC_ALL': 'C', 'HOME': '/root'}
    """
    environment = os.environ if environment is None else environment
    names = {*SAFE_VARIABLES, *also}
    return {n: v for n, v in environment.items() if n in names or n.startswith(SAFE_PREFIXES)} | more


def steps(sandbox: Sandbox, scratch: Path, *, pid_namespace: bool) -> list[Step]:
    """Return the steps that build the root of a sandbox, for the launcher.

    Parameters
    ----------
    scratch : Path
        An empty folder for the data of the sandbox's own writable folders.
    pid_namespace : bool
        Whether it has a process namespace.
    """
    all_steps = [*_system_steps(), *_etc_steps(sandbox)] if sandbox.host == "system" else _machine_steps(sandbox)
    all_steps.append(("proc", "/proc", pid_namespace))
    own_folders = _own_folders(sandbox, scratch)
    hidden = [
        path for path in map(_resolve_parent, sandbox.hidden) if path not in own_folders and path not in sandbox.mounts
    ]
    covering = [*own_folders, *hidden]
    visible = [*sandbox.visible, *(python_paths() if covering or sandbox.host == "system" else ())]
    if sandbox.host == "system":
        # A path through symbolic links must exist both as it is written and resolved.
        binds = {
            p: (p, False)
            for p in (*visible, *map(_resolve_parent, visible))
            if not _is_below(p, map("/{}".format, SYSTEM_FOLDERS))
        }
    else:
        binds = {p: (p, False) for p in map(_resolve_parent, visible) if _is_below(p, covering)}
    binds |= dict(sandbox.mounts)
    for path, folder in own_folders.items():
        # The launcher creates no mount points in folders of the machine, which these are.
        for inner in (*own_folders, *hidden, *binds):
            if inner.startswith(f"{path}/"):
                _make_mount_point(Path(folder) / inner[len(path) + 1 :], Path(binds.get(inner, ("/", False))[0]))
    step_by_path: dict[str, Step] = {path: ("empty", path) for path in hidden}
    step_by_path |= {path: ("bind", path, folder, True) for path, folder in own_folders.items()}
    step_by_path |= {path: ("bind", path, source, writable) for path, (source, writable) in binds.items()}
    all_steps += [step for _, step in sorted(step_by_path.items())]
    all_steps += [("link", path, target) for path, target in sorted(sandbox.links.items())]
    return [*all_steps, *(("seal", path) for path in hidden)]


def _own_folders(sandbox: Sandbox, scratch: Path) -> dict[str, str]:
    """Create the writable folders of a sandbox in `scratch`: path in the sandbox -> path on the machine."""
    paths = [*sandbox.scratch, *([] if sandbox.home is None else [sandbox.home])]
    paths += ["/tmp", "/var/tmp"] if sandbox.own_tmp else []  # noqa: S108 paths inside the sandbox
    own_folders = {}
    for number, path in enumerate(dict.fromkeys(paths)):
        folder = scratch / f"own-{number}"
        folder.mkdir()
        folder.chmod(0o1777 if Path(path).name == "tmp" else 0o755)
        own_folders[path] = str(folder)
    return own_folders


def python_paths() -> list[str]:
    """Return the paths that this Python, its packages and the workbench need."""
    roots = [Path(p) for p in dict.fromkeys((sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix))]
    candidates = [root / part for root in roots for part in PYTHON_PARTS]
    # Not "data", the whole prefix, which may be the folder of a project.
    candidates += [Path(p) for name, p in sysconfig.get_paths().items() if name != "data"]
    candidates += [Path(p) for p in sys.path if Path(p).name in ("site-packages", "dist-packages", "lib-dynload")]
    if site.ENABLE_USER_SITE:
        candidates.append(Path(site.getusersitepackages()))
    candidates += [Path(sys.executable), Path(sys.executable).resolve(), PACKAGE.resolve()]
    # sys.executable may be a link into another installation.
    paths = [str(p) for p in dict.fromkeys(candidates) if p.exists()]
    return [p for p in paths if not any(p != other and p.startswith(f"{other}/") for other in paths)]


def _make_mount_point(target: Path, source: Path) -> None:
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()


def _resolve_parent(path: str) -> str:
    """Return a path with the symbolic links in its parent folders resolved."""
    return str(Path(path).parent.resolve() / Path(path).name)


def _is_below(path: str, folders: Iterable[str]) -> bool:
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)


def _machine_steps(sandbox: Sandbox) -> list[Step]:
    """Return the steps that bind the machine's folders, except /proc and /kaggle, which the sandbox may mount.

    With host "read", /run is left out: through the session bus or docker a process could be started outside of the
    sandbox. So are other programs' terminals and shared memory.
    """
    is_read_only = sandbox.host == "read"
    steps: list[Step] = [*_run_steps(sandbox), ("dev", "/dev")] if is_read_only else []
    for path in sorted(Path("/").iterdir()):
        if path.name in ("kaggle", "proc", *(("dev", "run") if is_read_only else ())):
            continue
        if path.is_symlink():
            steps.append(("link", str(path), str(path.readlink())))
        elif path.is_dir():
            steps.append(("bind", str(path), str(path), not is_read_only))
    return steps


def _run_steps(sandbox: Sandbox) -> list[Step]:
    """Return the steps for the files in /run that programs need: links of NixOS, and the resolver configuration."""
    link_paths = [Path(link) for link in NIX_LINKS]
    steps: list[Step] = [("link", str(p), str(p.readlink())) for p in link_paths if p.is_symlink()]
    resolv_conf = Path("/etc/resolv.conf").resolve()
    if sandbox.network and resolv_conf.is_relative_to("/run") and resolv_conf.is_file():
        steps.append(("bind", str(resolv_conf), str(resolv_conf), False))
    return steps


def _system_steps() -> list[Step]:
    steps: list[Step] = []
    for name in SYSTEM_FOLDERS:
        path = Path("/", name)
        if path.is_symlink():
            steps.append(("link", str(path), str(path.readlink())))
        elif path.is_dir():
            steps.append(("bind", str(path), str(path), False))
    for link in (*NIX_LINKS, "/etc/static"):
        path = Path(link)
        if path.is_symlink():
            steps.append(("link", link, str(path.readlink())))
    return [*steps, ("bind", "/sys", "/sys", False), ("dev", "/dev")]


def _etc_steps(sandbox: Sandbox) -> list[Step]:
    steps: list[Step] = []
    for name in (*ETC_NAMES, *(NETWORK_ETC_NAMES if sandbox.network else ())):
        path = Path("/etc", name)
        if path.exists():
            steps.append(("bind", str(path), str(path.resolve()), False))
    home = sandbox.home or "/root"
    steps.append(("text", "/etc/passwd", f"root:x:0:0:root:{home}:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"))
    steps.append(("text", "/etc/group", "root:x:0:\nnogroup:x:65534:\n"))
    if not sandbox.network:
        steps.append(("text", "/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"))
    return steps
