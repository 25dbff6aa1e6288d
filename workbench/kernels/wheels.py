"""The packages that a kernel needs and that can't be fetched there: our own as a wheel, others downloaded as wheels."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

from workbench import errors
from workbench.distribution import DISTRIBUTION, distribution_version
from workbench.errors import ConfigError

__all__ = ["NEEDED", "check_wheels", "download", "own_wheel"]

NEEDED = ("polars", "lightgbm", "pydantic")
"""What serving imports beyond numpy, which is everywhere; each with what itself needs."""

PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64", "any")
"""Of Kaggle's images, the newest first."""

EPOCH = (2020, 1, 1, 0, 0, 0)
"""The time of each file in our wheel, so that the same code makes the same bytes."""


def own_wheel(folder: Path) -> Path:
    """Write this package, as it is installed, as a wheel; the same code gives the same bytes.

    Raises
    ------
    StorageError
        When the folder can't be written.
    """
    root = Path(errors.__file__).parent
    version = distribution_version()
    stem = DISTRIBUTION.replace("-", "_")
    about = f"{stem}-{version}.dist-info"
    files = {
        f"workbench/{p.relative_to(root).as_posix()}": p.read_bytes()
        for p in sorted(root.rglob("*"))
        if p.is_file() and "__pycache__" not in p.parts
    }
    files[f"{about}/METADATA"] = f"Metadata-Version: 2.1\nName: {DISTRIBUTION}\nVersion: {version}\n".encode()
    files[f"{about}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: workbench\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    lines = [f"{name},sha256={_digest(data)},{len(data)}" for name, data in files.items()]
    files[f"{about}/RECORD"] = "\n".join([*lines, f"{about}/RECORD,,", ""]).encode()
    path = folder / f"{stem}-{version}-py3-none-any.whl"
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name, EPOCH)
            info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(info, data)
    return path


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def download(folder: Path, python: str, packages: Sequence[str] = NEEDED) -> list[Path]:
    """Download wheels of packages, in the versions that are installed here, for another Python.

    Parameters
    ----------
    python : str
        Such as "3.12".

    Raises
    ------
    ConfigError
        When there is no wheel of one for that Python, or nothing can be downloaded.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pinned = [f"{name}=={importlib.metadata.version(name)}" for name in packages]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--dest", str(folder)]
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
            hint="is there a network, and is it a Python that these packages have wheels for? --python names it",
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
        tags = path.stem.split("-")[-3:]
        if len(tags) < 3 or len(path.stem.split("-")) < 5:
            raise ConfigError(f"{path.name} is not named as a wheel", hint="NAME-VERSION-PYTHON-ABI-PLATFORM.whl")
        pythons, abi, platform = tags
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
