"""The packages that a kernel needs and that can't be fetched there: our own as a wheel, others downloaded as wheels."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import io
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path

from workbench.core.distribution import (
    DISTRIBUTION,
    OTHER_DISTRIBUTION,
    PACKAGE,
    distribution_version,
    distributions_of_modules,
)
from workbench.core.errors import ConfigError

__all__ = ["NEEDED", "are_those", "check_wheels", "download", "modules_of", "needed_packages", "own_wheel"]

NEEDED = ("polars", "lightgbm", "pydantic", "numpy")
"""What serving imports; each with what itself needs."""

PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64", "any")
"""Of Kaggle's images, the newest first."""

OF_THE_IMAGE = ("torch", "tensorflow", "jax", "cupy", "cudf")
"""Modules built for an accelerator and its drivers: gigabytes, and right only where they are installed."""

SELF = (DISTRIBUTION, OTHER_DISTRIBUTION)
"""Packed from what is installed, and not downloaded."""

NAME, EXTRA = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*"), re.compile(r";.*\bextra\s*==")
"""In a requirement: https://packaging.python.org/specifications/dependency-specifiers."""

EPOCH = (2020, 1, 1, 0, 0, 0)
"""The time of each file in our wheel, so that the same code makes the same bytes."""


def own_wheel(folder: Path) -> Path:
    """Write this package, as it is installed, as a wheel; the same code gives the same bytes.

    Raises
    ------
    StorageError
        When the folder can't be written.
    """
    root = PACKAGE
    paths = [p for p in sorted(root.rglob("*")) if p.is_file() and "__pycache__" not in p.parts]
    states = tuple((p, p.stat().st_mtime_ns, p.stat().st_size) for p in paths)
    version = distribution_version()
    path = folder / f"{_stem()}-{version}-py3-none-any.whl"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_packed(root, states, version))
    return path


def _stem() -> str:
    return DISTRIBUTION.replace("-", "_")


@lru_cache(maxsize=1)
def _packed(root: Path, states: tuple[tuple[Path, int, int], ...], version: str) -> bytes:
    """Return the wheel of files in a state, told by time and size: to compress them takes most of a kernel's build."""
    about = f"{_stem()}-{version}.dist-info"
    files = {f"workbench/{path.relative_to(root).as_posix()}": path.read_bytes() for path, _, _ in states}
    files[f"{about}/METADATA"] = f"Metadata-Version: 2.1\nName: {DISTRIBUTION}\nVersion: {version}\n".encode()
    files[f"{about}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: workbench\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    lines = [f"{name},sha256={_digest(data)},{len(data)}" for name, data in files.items()]
    files[f"{about}/RECORD"] = "\n".join([*lines, f"{about}/RECORD,,", ""]).encode()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name, EPOCH)
            info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(info, data)
    return packed.getvalue()


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def needed_packages(imported: Iterable[str] = ()) -> dict[str, str]:
    """Return the packages that a kernel needs, with what these need, in the versions that are installed here.

    Parameters
    ----------
    imported : iterable of str
        Modules that the competition's code imports.
    """
    of_modules = distributions_of_modules() if imported else {}
    packed = [name for name in imported if name not in OF_THE_IMAGE and name in of_modules]
    waiting = [*NEEDED, *(of_modules[name][0] for name in packed)]
    versions: dict[str, str] = {}
    while waiting:
        name = normalised(waiting.pop())
        if name in versions or name in SELF:
            continue
        try:
            versions[name], requirements = _installed(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # of another Python or system: what is needed here is installed here
        waiting += requirements
    return dict(sorted(versions.items()))


@cache
def _installed(name: str) -> tuple[str, tuple[str, ...]]:
    """Return the version of an installed package, and the names of what it needs without any extra."""
    distribution = importlib.metadata.distribution(name)
    stated = [text for text in distribution.requires or () if not EXTRA.search(text)]
    return distribution.version, tuple(match[0] for text in stated if (match := NAME.match(text)))


def modules_of(packages: Iterable[str]) -> list[str]:
    """Return the names under which packages are imported."""
    wanted = set(packages)
    found = distributions_of_modules()
    return sorted(m for m, names in found.items() if m.isidentifier() and wanted & {normalised(n) for n in names})


def normalised(name: str) -> str:
    """Return the name of a package as it is compared: https://packaging.python.org/specifications/name-normalization."""
    return re.sub(r"[-_.]+", "-", name).lower()


def are_those(wheels: Sequence[Path], packages: Mapping[str, str]) -> bool:
    """Say whether wheels are there of all packages, in their versions."""
    there = {(normalised(name), version) for name, version, *_ in (p.name.split("-") for p in wheels)}
    return set(packages.items()) <= there


def download(folder: Path, python: str, packages: Mapping[str, str]) -> list[Path]:
    """Download wheels of packages, with what these need, for another Python.

    Parameters
    ----------
    python : str
        Such as "3.12".
    packages : mapping
        Versions by name.

    Raises
    ------
    ConfigError
        When there is no wheel of one for that Python, or nothing can be downloaded.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pinned = [f"{name}=={version}" for name, version in packages.items()]
    command = [sys.executable, "-P", "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--dest", str(folder)]
    command += ["--only-binary", ":all:", "--python-version", python, "--implementation", "cp"]
    for platform in PLATFORMS:
        command += ["--platform", platform]
    done = subprocess.run([*command, *pinned], capture_output=True, text=True, check=False)
    if done.returncode:
        said = next(
            (line for line in reversed(done.stderr.splitlines()) if line.startswith("ERROR")), done.stderr[-200:]
        )
        raise ConfigError(
            f"the wheels for Python {python} could not be downloaded: {said.removeprefix('ERROR: ')}",
            hint="is there a network, and is it a Python that these packages have wheels for? --python names it, and "
            "--wheels a folder that has them",
        )
    return sorted(folder.glob("*.whl"))


def check_wheels(paths: Sequence[Path], python: str) -> None:
    """Refuse wheels that another Python than the kernel's could not install.

    Raises
    ------
    ConfigError
        Names the wheel and what it is for.
    """
    wanted = f"cp{python.replace('.', '')}"
    for path in paths:
        parts = path.stem.split("-")
        if len(parts) < 5:
            raise ConfigError(f"{path.name} is not named as a wheel", hint="NAME-VERSION-PYTHON-ABI-PLATFORM.whl")
        pythons, abi, platform = parts[-3:]
        fits = any(p in (wanted, "py3") or (abi == "abi3" and _older(p, wanted)) for p in pythons.split("."))
        if not fits:
            raise ConfigError(
                f"{path.name} is a wheel for {pythons}, and the kernel has Python {python}",
                hint=f"`wb kernel build --python {python}` downloads the right ones",
            )
        if platform != "any" and "manylinux" not in platform and "linux_x86_64" not in platform:
            raise ConfigError(f"{path.name} is a wheel for {platform}, and the kernel runs Linux on x86-64")


def _older(tag: str, wanted: str) -> bool:
    return tag.startswith("cp") and tag[2:].isdigit() and int(tag[3:] or 0) <= int(wanted[3:])
