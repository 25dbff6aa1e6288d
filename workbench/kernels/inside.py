"""The first process of a rehearsal: makes the root that a kernel sees, and becomes what is to be run in it.

It is started by ``unshare`` in namespaces of its own for users, mounts and the network:
``python -m workbench.kernels.inside JOB COMMAND…`` with the path of a JSON file. Nothing of it is seen from outside.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path

SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1
WRITABLE = ("tmp", "dev", "proc", "run", "sys")
"""Folders of the root that stay as they are; the others can only be read."""


def main(job: str, command: list[str]) -> None:
    """Make the root and go over to the command."""
    told = json.loads(Path(job).read_text(encoding="utf-8"))
    _loopback()
    root = Path(told["root"])
    _mount("-t", "tmpfs", "tmpfs", str(root))
    for place in sorted(Path("/").iterdir()):
        target = root / place.name
        if place.is_symlink():
            target.symlink_to(place.readlink())
        elif place.is_dir():
            target.mkdir()
            _mount("--rbind", str(place), str(target))
            if place.name not in WRITABLE:
                _mount("-o", "remount,bind,ro", str(target))
                _seal(target)
    for at, (source, writable) in told["mounts"].items():
        target = root / at.lstrip("/")
        target.mkdir(parents=True, exist_ok=True)
        _mount("--bind", source, str(target))
        if not writable:
            _mount("-o", "remount,bind,ro", str(target))
    os.chroot(root)
    os.chdir(told["folder"])
    os.execvp(command[0], command)  # noqa: S606 the command is ours


def _seal(folder: Path) -> None:
    """Let what is mounted below a folder be read only, too: another disk, say."""
    with Path("/proc/self/mountinfo").open(encoding="utf-8") as file:
        mounts = [line.split() for line in file]
    for _, _, _, _, place, options, *_ in mounts:
        if place.startswith(f"{folder}/"):
            # Options that it has must stay: of a mount that is another user's they can't be taken away.
            kept = ",".join(o for o in options.split(",") if o not in ("rw", "ro"))
            at = place.encode().decode("unicode_escape")
            subprocess.run(["mount", "-o", f"remount,bind,ro,{kept}", at], check=True)


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def _loopback() -> None:
    """Let the machine talk to itself, as a notebook does with its kernel; there is no other network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh", b"lo", 0)
        flags = struct.unpack("16sh", fcntl.ioctl(control, SIOCGIFFLAGS, request)[:18])[1]
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh", b"lo", flags | IFF_UP))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
