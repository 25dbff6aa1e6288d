"""The first process of a world of its own: makes it, starts the command in it, and ends with all that was started.

It is a script of the standard library alone: ``python -I -S launcher.py JOB COMMAND…`` with the path of a JSON file,
which `workbench.core.isolation` writes:

``parent``
    The process whose end, however it comes, ends this one and what it has started.
``first``
    The file that gets the number of the first process in it.
``world``
    None, where the command sees what this process sees; else ``root`` (an empty folder), ``steps`` (how to make the
    root, see `_STEPS`), ``folder`` (where the command starts), ``network`` and ``pids`` (whether the processes of the
    world have numbers of their own).

With numbers of their own the system ends every process of the world with the first one, whatever they did to get away
(https://man7.org/linux/man-pages/man7/pid_namespaces.7.html). Without, this process adopts what its descendants leave
behind, and ends it.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from typing import Any, NoReturn

MOST = "unshare: no namespace more is allowed"
"""What the system says of a full disk, too: unshare(2), ENOSPC."""

FAILED = 125
"""The exit code where no world could be made, as of env and timeout: the command did not run."""

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_NOATIME, MS_NODIRATIME, MS_BIND, MS_REC, MS_RELATIME = 1024, 2048, 4096, 16384, 1 << 21
MS_UNBINDABLE, MS_PRIVATE = 1 << 17, 1 << 18
MNT_DETACH = 2
OPTIONS = {
    "nosuid": MS_NOSUID,
    "nodev": MS_NODEV,
    "noexec": MS_NOEXEC,
    "noatime": MS_NOATIME,
    "nodiratime": MS_NODIRATIME,
    "relatime": MS_RELATIME,
}

PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 24, 36, 38
PERMITTED_CAPABILITIES = {0, 1, 3, 4, 5, 10}
"""Over one's own files, processes and ports; none that changes a mount, the root or another process's memory."""

SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1

DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
ACCELERATORS = ("nvidia", "dri", "kfd", "dxg")
SEALED_IN_PROC = ("sys", "sysrq-trigger", "irq", "bus", "fs", "acpi", "scsi")
"""What root may write there without any capability, when the machine's root is who started this."""

LAST_LOOKS = 200
"""So often what is left behind is looked for: something could go on starting processes faster than they are ended."""


def main(job: str, command: list[str]) -> NoReturn:
    """Make the world and run the command in it; exit as it does."""
    with open(job, encoding="utf-8") as file:
        settings = json.load(file)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, _ended_from_outside)
    world = settings["world"]
    _try_prctl(PR_SET_CHILD_SUBREAPER, 1)
    if world is not None:
        _leave(world)
    # Behind the change of namespaces, which may take it back.
    _try_prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != settings["parent"]:
        os._exit(FAILED)
    alive, held = os.pipe()
    first = os.fork()
    if first == 0:
        os.close(held)
        _first(world, command, alive)
    os.close(alive)
    with open(settings["first"], "w", encoding="utf-8") as file:
        file.write(str(first))
    code = _wait_for(first)
    _end_descendants()
    os._exit(code)


def _ended_from_outside(number: int, _: Any) -> None:
    _end_descendants()
    os._exit(128 + number)


def _first(world: dict[str, Any] | None, command: list[str], alive: int) -> NoReturn:
    """Be the first process in the world: make its root, start the command, and outlive it by nothing."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    if world is not None:
        try:
            _make(world)
            _drop_capabilities()
        except OSError as exc:
            _fail(exc.strerror or str(exc))
    # Behind the change of capabilities, which takes it back.
    _try_prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if select.select([alive], [], [], 0)[0]:
        os._exit(FAILED)  # whoever was to end this one has ended before it could be heard
    os.close(alive)
    if world is None or not world["pids"]:
        _execute(command)
    child = os.fork()
    if child == 0:
        _execute(command)
    os._exit(_wait_for(child))


def _execute(command: list[str]) -> NoReturn:
    try:
        os.execvp(command[0], command)  # noqa: S606 the command is whoever's who started this
    except OSError as exc:
        _fail(f"{command[0]}: {exc.strerror}")


def _fail(why: str) -> NoReturn:
    os.write(2, f"isolation: {why}\n".encode())
    os._exit(FAILED)


def _wait_for(child: int) -> int:
    """Take leave of what ends, until it is the child; return its exit code, 128 and the number for a signal."""
    while True:
        try:
            ended, status = os.wait()
        except ChildProcessError:
            return FAILED
        if ended == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


# ------------------------------------------------------------------------------------------------ what is left behind


def _end_descendants() -> None:
    for _ in range(LAST_LOOKS):
        below = _descendants(os.getpid())
        for pid in below:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                continue
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.005)


def _descendants(pid: int) -> list[int]:
    children: dict[int, list[int]] = {}
    try:
        names = [name for name in os.listdir("/proc") if name.isdecimal()]
    except OSError:
        return []
    for name in names:
        try:
            with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                parent = int(file.read().rpartition(")")[2].split()[1])
        except (OSError, IndexError, ValueError):
            continue
        children.setdefault(parent, []).append(int(name))
    descendants, waiting = [], [pid]
    while waiting:
        below = children.get(waiting.pop(), [])
        descendants += below
        waiting += below
    return descendants


# ------------------------------------------------------------------------------------------------------- namespaces


def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)


def _called(call: str, result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")


def _try_prctl(option: int, value: int) -> None:
    """Ask the system for what only Linux has; elsewhere less is promised."""
    if sys.platform == "linux":
        _libc().prctl(option, ctypes.c_ulong(value), 0, 0, 0)


def _leave(world: dict[str, Any]) -> None:
    """Go into namespaces of our own, as their root; this process keeps the machine's mounts, and sees its processes."""
    flags = CLONE_NEWUSER | CLONE_NEWIPC | CLONE_NEWUTS
    flags |= CLONE_NEWPID if world["pids"] else 0
    flags |= 0 if world["network"] else CLONE_NEWNET
    user, group = os.geteuid(), os.getegid()
    try:
        unshare = _libc().unshare
    except AttributeError:
        _fail(f"{sys.platform} has no namespaces")
    try:
        _called("unshare", unshare(flags))
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
            with open(f"/proc/self/{name}", "w", encoding="utf-8") as file:
                file.write(text)
        if not world["network"]:
            _loopback()
    except OSError as exc:
        _fail(MOST if exc.errno == errno.ENOSPC else exc.strerror or str(exc))


def _loopback() -> None:
    """Let the machine talk to itself, as a notebook does with its kernel; there is no other network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh", b"lo", 0)
        flags = struct.unpack("16sh", fcntl.ioctl(control, SIOCGIFFLAGS, request)[:18])[1]
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh", b"lo", flags | IFF_UP))


def _drop_capabilities() -> None:
    """Take from what runs here whatever could undo a mount: what can only be read stays so for root, too."""
    libc = _libc()
    for capability in range(64):
        if capability not in PERMITTED_CAPABILITIES:
            libc.prctl(PR_CAPBSET_DROP, ctypes.c_ulong(capability), 0, 0, 0)
    _called("no_new_privs", libc.prctl(PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), 0, 0, 0))
    capability_mask = sum(1 << capability for capability in PERMITTED_CAPABILITIES)
    header = struct.pack("Ii", 0x20080522, 0)
    # Effective, permitted, inheritable: the lower halves, then the upper ones.
    _called("capset", libc.capset(header, struct.pack("6I", capability_mask, capability_mask, 0, 0, 0, 0)))


# ------------------------------------------------------------------------------------------------------------ mounts


def _make(world: dict[str, Any]) -> None:
    root = world["root"]
    _called("unshare", _libc().unshare(CLONE_NEWNS))
    _mount(None, "/", flags=MS_REC | MS_PRIVATE)
    _mount("tmpfs", root, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
    # What it lies in is shown in it, and must not bring it along.
    _mount(None, root, flags=MS_UNBINDABLE)
    skeleton = {os.stat(root).st_dev}
    for kind, place, *arguments in world["steps"]:
        _STEPS[kind](root, place, skeleton, *arguments)
    # The folders in between, which are nobody's.
    _remount_read_only(root, MS_NOSUID | MS_NODEV)
    if world["hostname"]:
        _called("sethostname", _libc().sethostname(world["hostname"].encode(), len(world["hostname"])))
    os.chdir(root)
    # Both at one place: the old root lies on the new one, and is taken off (pivot_root(2), "pivot_root(".", ".")").
    _called("pivot_root", _libc().syscall(_PIVOT_ROOT[os.uname().machine], b".", b"."))
    _called("umount", _libc().umount2(b".", MNT_DETACH))
    os.chdir(world["folder"])


_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "riscv64": 41, "loongarch64": 41, "ppc64le": 203, "s390x": 217}
"""The number of the call; the C library has no function for it."""


def _mount(
    source: str | None, target: str, kind: str | None = None, flags: int = 0, options: str | None = None
) -> None:
    texts = [None if text is None else os.fsencode(text) for text in (source, target, kind)]
    data = None if options is None else options.encode()
    _called(f"mount {target}", _libc().mount(*texts, ctypes.c_ulong(flags), data))


def _remount_read_only(target: str, flags: int) -> None:
    _mount(None, target, flags=MS_REMOUNT | MS_BIND | MS_RDONLY | flags)


def _place(root: str, place: str, skeleton: set[int], *, folder: bool = True) -> str:
    """Make the folder, or an empty file, at a place of the root; never in a folder of the machine's."""
    target = root + place
    if os.path.lexists(target):
        return target
    above = target
    while not os.path.lexists(above):
        above = os.path.dirname(above)
    if os.stat(above).st_dev not in skeleton:
        raise FileNotFoundError(2, f"{place} is not there, and what is above it is the machine's")
    if folder:
        os.makedirs(target)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
    return target


def _bind(root: str, place: str, skeleton: set[int], source: str, writable: bool) -> None:
    target = _place(root, place, skeleton, folder=os.path.isdir(source))
    _mount(source, target, flags=MS_BIND | MS_REC)
    if not writable:
        _seal(target)


def _seal(folder: str) -> None:
    """Let a mount be read only, and what is mounted below it, too: another disk, say."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        mounts = [line.split(" ") for line in file]
    for _, _, _, _, place, options, *_ in mounts:
        at = place
        for code, sign in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
            at = at.replace(code, sign)
        if at == folder or at.startswith(f"{folder}/"):
            # Options that it has must stay: of a mount that is another user's they can't be taken away.
            _remount_read_only(at, sum(OPTIONS.get(option, 0) for option in options.split(",")))


def _empty(root: str, place: str, skeleton: set[int]) -> None:
    """Put an empty folder somewhere, in which there can be other places."""
    target = _place(root, place, skeleton)
    _mount("tmpfs", target, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
    skeleton.add(os.stat(target).st_dev)


def _seal_one(root: str, place: str, _: set[int]) -> None:
    """Let the mount at a place be read only, and not what is mounted in it."""
    _remount_read_only(root + place, MS_NOSUID | MS_NODEV)


def _link(root: str, place: str, skeleton: set[int], target: str) -> None:
    at = root + place
    if not os.path.lexists(at):
        _place(root, os.path.dirname(place), skeleton)
        os.symlink(target, at)


def _text(root: str, place: str, skeleton: set[int], content: str) -> None:
    with open(_place(root, place, skeleton, folder=False), "w", encoding="utf-8") as file:
        file.write(content)


def _proc(root: str, place: str, skeleton: set[int], own_pids: bool) -> None:
    target = _place(root, place, skeleton)
    if own_pids:
        _mount("proc", target, "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    else:
        _mount("/proc", target, flags=MS_BIND | MS_REC)
    for name in SEALED_IN_PROC:
        if os.path.exists(f"{target}/{name}"):
            _mount(f"{target}/{name}", f"{target}/{name}", flags=MS_BIND | MS_REC)
            _seal(f"{target}/{name}")


def _dev(root: str, place: str, skeleton: set[int]) -> None:
    """Lay out the devices that programs expect, terminals and shared memory of its own, and the accelerators."""
    target = _place(root, place, skeleton)
    _mount("tmpfs", target, "tmpfs", MS_NOSUID, "mode=755")
    tmpfs_devices = {*skeleton, os.stat(target).st_dev}
    accelerators = [name for name in sorted(os.listdir("/dev")) if name.startswith(ACCELERATORS)]
    for name in (*DEVICES, *accelerators):
        if os.path.exists(f"/dev/{name}"):
            _bind(root, f"{place}/{name}", tmpfs_devices, f"/dev/{name}", True)
    os.mkdir(f"{target}/shm")
    _mount("tmpfs", f"{target}/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
    os.mkdir(f"{target}/pts")
    _mount("devpts", f"{target}/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620")
    links = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2", "ptmx": "pts/ptmx"}
    for name, to in links.items():
        os.symlink(to, f"{target}/{name}")
    _remount_read_only(target, MS_NOSUID)


_STEPS: dict[str, Callable[..., None]] = {
    "bind": _bind,
    "empty": _empty,
    "seal": _seal_one,
    "link": _link,
    "text": _text,
    "proc": _proc,
    "dev": _dev,
}

if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
