"""Wheels of the packages that a kernel needs, as it can't download them: this package's, and downloaded ones."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import io
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path

from workbench.core.distribution import (
    DISTRIBUTION,
    OTHER_DISTRIBUTION,
    distribution_version,
    distributions_of_modules,
)
from workbench.core.errors import ConfigError
from workbench.core.package import PACKAGE

__all__ = ["NEEDED", "check_wheels", "download", "has_wheels_of", "modules_of", "needed_packages", "own_wheel"]

NEEDED = ("polars", "lightgbm", "pydantic", "numpy")
"""The packages that serving imports; their own requirements are added."""

PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64", "any")
"""The platform tags that Kaggle's images can install, the newest first."""

IMAGE_MODULES = ("torch", "tensorflow", "jax", "cupy", "cudf")
"""Modules built for an accelerator and its drivers: gigabytes large, and specific to the image."""

OWN_DISTRIBUTIONS = (DISTRIBUTION, OTHER_DISTRIBUTION)
"""Packed from the installed files instead of downloaded."""

PACKAGE_NAME, EXTRA_MARKER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*"), re.compile(r";.*\bextra\s*==")
"""Parts of a requirement: https://packaging.python.org/specifications/dependency-specifiers."""

FILE_TIME = (2020, 1, 1, 0, 0, 0)
"""The time of each file in our wheel: constant, so that the same code makes the same bytes."""


def own_wheel(folder: Path) -> Path:
    """Write this package's installed files as a wheel and return its path; the same code gives the same bytes.

    Raises
    ------
    StorageError
        When the folder can't be written.
    """
    root = PACKAGE
    file_states = tuple(_file_states(root))
    version = distribution_version()
    path = folder / f"{_wheel_name()}-{version}-py3-none-any.whl"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_wheel_bytes(root, file_states, version))
    return path


def _file_states(folder: str | Path) -> Iterator[tuple[str, int, int]]:
    """Yield path, modification time in nanoseconds and size in bytes of each file below a folder, by name; no bytecode.

    Each build calls this for hundreds of files; `Path.rglob` would take four times as long.
    """
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.is_dir(follow_symlinks=False):
                if entry.name != "__pycache__":
                    yield from _file_states(entry.path)
            elif entry.is_file():
                state = entry.stat()
                yield entry.path, state.st_mtime_ns, state.st_size


def _wheel_name() -> str:
    return DISTRIBUTION.replace("-", "_")


@lru_cache(maxsize=1)
def _wheel_bytes(root: Path, file_states: tuple[tuple[str, int, int], ...], version: str) -> bytes:
    """Return the bytes of the wheel; cached by the files' times and sizes, as compressing takes most of a build."""
    dist_info = f"{_wheel_name()}-{version}.dist-info"
    paths = [Path(path) for path, _, _ in file_states]
    files = {f"workbench/{path.relative_to(root).as_posix()}": path.read_bytes() for path in paths}
    files[f"{dist_info}/METADATA"] = f"Metadata-Version: 2.1\nName: {DISTRIBUTION}\nVersion: {version}\n".encode()
    files[f"{dist_info}/WHEEL"] = (
        b"Wheel-Version: 1.0\nGenerator: workbench\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    record_lines = [f"{name},sha256={_record_digest(data)},{len(data)}" for name, data in files.items()]
    files[f"{dist_info}/RECORD"] = "\n".join([*record_lines, f"{dist_info}/RECORD,,", ""]).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name, FILE_TIME)
            info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(info, data)
    return buffer.getvalue()


def _record_digest(data: bytes) -> str:
    """Return a SHA-256 as a wheel's RECORD has it: URL-safe base64 without padding."""
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def needed_packages(imported_modules: Iterable[str] = ()) -> dict[str, str]:
    """Return the packages that a kernel needs, with their requirements: the versions installed here, by name.

    Parameters
    ----------
    imported : iterable of str
        Modules that the competition's code imports.
    """
    distributions_by_module = distributions_of_modules() if imported_modules else {}
    packed_modules = [
        name for name in imported_modules if name not in IMAGE_MODULES and name in distributions_by_module
    ]
    package_queue = [*NEEDED, *(distributions_by_module[name][0] for name in packed_modules)]
    versions: dict[str, str] = {}
    while package_queue:
        name = normalised(package_queue.pop())
        if name in versions or name in OWN_DISTRIBUTIONS:
            continue
        try:
            versions[name], required_names = _installed(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # a requirement for another Python or system: those of this one are installed
        package_queue += required_names
    return dict(sorted(versions.items()))


@cache
def _installed(name: str) -> tuple[str, tuple[str, ...]]:
    """Return the version of an installed package, and the names of its requirements without extras."""
    distribution = importlib.metadata.distribution(name)
    requirements = [text for text in distribution.requires or () if not EXTRA_MARKER.search(text)]
    return distribution.version, tuple(match[0] for text in requirements if (match := PACKAGE_NAME.match(text)))


def modules_of(packages: Iterable[str]) -> list[str]:
    """Return the names under which packages are imported."""
    package_names = set(packages)
    return sorted(
        module
        for module, distributions in distributions_of_modules().items()
        if module.isidentifier() and package_names & {normalised(name) for name in distributions}
    )


def normalised(name: str) -> str:
    """Return the normalised name of a package: https://packaging.python.org/specifications/name-normalization."""
    return re.sub(r"[-_.]+", "-", name).lower()


def has_wheels_of(wheels: Sequence[Path], packages: Mapping[str, str]) -> bool:
    """Tell whether there is a wheel of each package in its version."""
    available_versions = {(normalised(name), version) for name, version, *_ in (p.name.split("-") for p in wheels)}
    return set(packages.items()) <= available_versions


def download(folder: Path, python: str, packages: Mapping[str, str]) -> list[Path]:
    """Download wheels of packages for the kernel's Python, with their requirements.

    Parameters
    ----------
    python : str
        The version, such as "3.12".
    packages : mapping
        Versions by name.

    Raises
    ------
    ConfigError
        When a package has no wheel for that Python, or nothing can be downloaded.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pinned_requirements = [f"{name}=={version}" for name, version in packages.items()]
    command = [sys.executable, "-P", "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--dest", str(folder)]
    command += ["--only-binary", ":all:", "--python-version", python, "--implementation", "cp"]
    for platform in PLATFORMS:
        command += ["--platform", platform]
    pip_run = subprocess.run([*command, *pinned_requirements], capture_output=True, text=True, check=False)
    if pip_run.returncode:
        reason = next(
            (line for line in reversed(pip_run.stderr.splitlines()) if line.startswith("ERROR")), pip_run.stderr[-200:]
        )
        raise ConfigError(
            f"the wheels for Python {python} could not be downloaded: {reason.removeprefix('ERROR: ')}",
            hint="check the network, and that these packages have wheels for that Python; --python chooses another, "
            "and --wheels names a folder of wheels",
        )
    return sorted(folder.glob("*.whl"))


def check_wheels(paths: Sequence[Path], python: str) -> None:
    """Refuse wheels that the kernel's Python could not install.

    Raises
    ------
    ConfigError
        With the wheel and the Python that it is for.
    """
    python_tag = f"cp{python.replace('.', '')}"
    for path in paths:
        parts = path.stem.split("-")
        if len(parts) < 5:
            raise ConfigError(f"{path.name} is not a wheel's name", hint="NAME-VERSION-PYTHON-ABI-PLATFORM.whl")
        pythons, abi, platform = parts[-3:]
        is_installable = any(
            tag in (python_tag, "py3") or (abi == "abi3" and _is_not_newer(tag, python_tag))
            for tag in pythons.split(".")
        )
        if not is_installable:
            raise ConfigError(
                f"{path.name} is a wheel for {pythons}, and the kernel has Python {python}",
                hint=f"`wb kernel build --python {python}` downloads the right ones",
            )
        if platform != "any" and "manylinux" not in platform and "linux_x86_64" not in platform:
            raise ConfigError(f"{path.name} is a wheel for {platform}, and the kernel runs Linux on x86-64")


def _is_not_newer(tag: str, python_tag: str) -> bool:
    """Tell whether a tag such as "cp310" is of the same CPython 3 as another tag or of an older one."""
    return tag.startswith("cp") and tag[2:].isdigit() and int(tag[3:] or 0) <= int(python_tag[3:])
