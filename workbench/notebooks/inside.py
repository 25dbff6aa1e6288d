"""The first process of a notebook that sees Kaggle's folders: makes its root, and becomes what is to be run in it.

It is started by ``unshare`` in namespaces of its own for users and mounts, and for the network where there is to be
none: ``python inside.py JOB COMMAND…`` with the path of a JSON file. Nothing of it is seen from outside. The job, which
`mounts` writes, has ``root`` (an empty folder), ``mounts`` (place -> source, and whether it can be written), ``links``
(place -> target), ``folder`` (where the command starts), ``sealed`` (whether the machine's own files can only be read)
and ``offline``.
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
    if told["offline"]:
        _loopback()
    root = Path(told["root"])
    _mount("-t", "tmpfs", "tmpfs", str(root))
    for place in sorted(Path("/").iterdir()):
        if place.name == "kaggle":
            continue  # the machine's own, if it has one, is not what the job describes
        target = root / place.name
        if place.is_symlink():
            target.symlink_to(place.readlink())
        elif place.is_dir():
            target.mkdir()
            _mount("--rbind", str(place), str(target))
            if told["sealed"] and place.name not in WRITABLE:
                _seal(target)
    for at, (source, writable) in sorted(told["mounts"].items()):
        target = root / at.lstrip("/")
        target.mkdir(parents=True, exist_ok=True)
        _mount("--bind", source, str(target))
        if not writable:
            _seal(target)
    for at, to in told["links"].items():
        target = root / at.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(to)
    os.chroot(root)
    os.chdir(told["folder"])
    os.execvp(command[0], command)  # noqa: S606 the command is ours


def _seal(folder: Path) -> None:
    """Let a mount be read only, and what is mounted below it, too: another disk, say."""
    with Path("/proc/self/mountinfo").open(encoding="utf-8") as file:
        mounts = [line.split() for line in file]
    for _, _, _, _, place, options, *_ in mounts:
        at = place.encode().decode("unicode_escape").encode("latin-1").decode()
        if at == str(folder) or at.startswith(f"{folder}/"):
            # Options that it has must stay: of a mount that is another user's they can't be taken away.
            kept = ",".join(["remount,bind,ro", *(o for o in options.split(",") if o not in ("rw", "ro"))])
            subprocess.run(["mount", "-o", kept, at], check=True)


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
