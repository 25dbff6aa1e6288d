"""Create a sandbox, run a command in it, and kill all its processes at the end.

A script that needs only the standard library: ``python -I -S launcher.py JOB COMMAND…``. JOB is the path of a JSON file
from `workbench.core.isolation.command`:

``parent``
    The id of the process whose end, in any way, ends this one and all its descendants.
``init_pid_path``
    The file to write the id of the init process to (the first process in the sandbox).
``sandbox``
    None to run the command without a sandbox; else ``root`` (an empty folder), ``steps`` (how to populate it, see
    `_STEPS`), ``folder`` (the working directory), ``network``, ``hostname`` and ``pids`` (whether there is a process
    namespace).

In a process namespace the system kills all processes when the first one ends, daemons too
(https://man7.org/linux/man-pages/man7/pid_namespaces.7.html). Without one, this process becomes the parent of orphaned
descendants (PR_SET_CHILD_SUBREAPER) and kills them.
"""

from __future__ import annotations

import ctypes
import errno
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

if sys.platform == "win32":
    raise ImportError("notebooks and kernels are not executed on Windows")

import fcntl

TOO_MANY_NAMESPACES = "unshare: no namespace more is allowed"
"""The message for ENOSPC of unshare(2), whose own text is "No space left on device"."""

EXIT_NOT_RUN = 125
"""The exit code if the command did not run, as in env(1) and timeout(1)."""

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_NOATIME, MS_NODIRATIME, MS_BIND, MS_REC, MS_RELATIME = 1024, 2048, 4096, 16384, 1 << 21
MS_UNBINDABLE, MS_PRIVATE = 1 << 17, 1 << 18
MNT_DETACH = 2
MOUNT_FLAGS = {
    "nosuid": MS_NOSUID,
    "nodev": MS_NODEV,
    "noexec": MS_NOEXEC,
    "noatime": MS_NOATIME,
    "nodiratime": MS_NODIRATIME,
    "relatime": MS_RELATIME,
}

PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 24, 36, 38
PERMITTED_CAPABILITIES = {0, 1, 3, 4, 5, 10}
"""CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL and NET_BIND_SERVICE: none changes a mount, the root or a process."""

SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1

DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
ACCELERATORS = ("nvidia", "dri", "kfd", "dxg")
READ_ONLY_IN_PROC = ("sys", "sysrq-trigger", "irq", "bus", "fs", "acpi", "scsi")
"""Files in /proc that root can write without any capability, if the real root user starts this."""

MAX_KILL_ROUNDS = 200
"""How often to look for surviving processes, as they may start new ones faster than they are killed."""


def main(job: str, command: list[str]) -> NoReturn:
    """Create the sandbox, run the command in it, and exit with its exit code."""
    with open(job, encoding="utf-8") as file:
        settings = json.load(file)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, _on_signal)
    sandbox = settings["sandbox"]
    _try_prctl(PR_SET_CHILD_SUBREAPER, 1)
    if sandbox is not None:
        _enter_namespaces(sandbox)
    # After entering the namespaces, which may reset it.
    _try_prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != settings["parent"]:
        os._exit(EXIT_NOT_RUN)
    # The read end becomes readable when this process, which keeps the write end open, has ended.
    read_end, write_end = os.pipe()
    init_pid = os.fork()
    if init_pid == 0:
        os.close(write_end)
        _run_init(sandbox, command, read_end)
    os.close(read_end)
    with open(settings["init_pid_path"], "w", encoding="utf-8") as file:
        file.write(str(init_pid))
    code = _wait_for(init_pid)
    _kill_descendants()
    os._exit(code)


def _on_signal(number: int, _: Any) -> None:
    _kill_descendants()
    os._exit(128 + number)


def _run_init(sandbox: dict[str, Any] | None, command: list[str], read_end: int) -> NoReturn:
    """Run as the init process of the sandbox: populate its root, run the command, and exit with its exit code."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    if sandbox is not None:
        try:
            _make_root(sandbox)
            _drop_capabilities()
        except OSError as exc:
            _fail(exc.strerror or str(exc))
    # After dropping the capabilities, which resets it.
    _try_prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if select.select([read_end], [], [], 0)[0]:
        os._exit(EXIT_NOT_RUN)  # the launcher ended before PR_SET_PDEATHSIG was in force
    os.close(read_end)
    if sandbox is None or not sandbox["pids"]:
        _execute(command)
    child = os.fork()
    if child == 0:
        _execute(command)
    os._exit(_wait_for(child))


def _execute(command: list[str]) -> NoReturn:
    try:
        os.execvp(command[0], command)  # noqa: S606 running a given command is the purpose
    except OSError as exc:
        _fail(f"{command[0]}: {exc.strerror}")


def _fail(reason: str) -> NoReturn:
    os.write(2, f"isolation: {reason}\n".encode())
    os._exit(EXIT_NOT_RUN)


def _wait_for(child: int) -> int:
    """Reap processes until the child ends; return its exit code, 128 + number for a signal."""
    while True:
        try:
            pid, status = os.wait()
        except ChildProcessError:
            return EXIT_NOT_RUN
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


# ------------------------------------------------------------------------------------------------------- descendants


def _kill_descendants() -> None:
    for _ in range(MAX_KILL_ROUNDS):
        for pid in _descendants(os.getpid()):
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
    descendants, pending = [], [pid]
    while pending:
        child_pids = children.get(pending.pop(), [])
        descendants += child_pids
        pending += child_pids
    return descendants


# ------------------------------------------------------------------------------------------------------- namespaces


def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)


def _check_call(call: str, result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")


def _try_prctl(option: int, value: int) -> None:
    """Call prctl(2) on Linux; do nothing on other systems."""
    if sys.platform == "linux":
        _libc().prctl(option, ctypes.c_ulong(value), 0, 0, 0)


def _enter_namespaces(sandbox: dict[str, Any]) -> None:
    """Enter new namespaces as their root; the mount namespace is created later, in the init process."""
    flags = CLONE_NEWUSER | CLONE_NEWIPC | CLONE_NEWUTS
    flags |= CLONE_NEWPID if sandbox["pids"] else 0
    flags |= 0 if sandbox["network"] else CLONE_NEWNET
    user, group = os.geteuid(), os.getegid()
    try:
        unshare = _libc().unshare
    except AttributeError:
        _fail(f"{sys.platform} has no namespaces")
    try:
        _check_call("unshare", unshare(flags))
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
            with open(f"/proc/self/{name}", "w", encoding="utf-8") as file:
                file.write(text)
        if not sandbox["network"]:
            _enable_loopback()
    except OSError as exc:
        _fail(TOO_MANY_NAMESPACES if exc.errno == errno.ENOSPC else exc.strerror or str(exc))


def _enable_loopback() -> None:
    """Bring up the loopback interface, through which a notebook talks to its kernel."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh", b"lo", 0)
        flags = struct.unpack("16sh", fcntl.ioctl(control, SIOCGIFFLAGS, request)[:18])[1]
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh", b"lo", flags | IFF_UP))


def _drop_capabilities() -> None:
    """Drop all capabilities that could undo a read-only mount."""
    libc = _libc()
    for capability in range(64):
        if capability not in PERMITTED_CAPABILITIES:
            libc.prctl(PR_CAPBSET_DROP, ctypes.c_ulong(capability), 0, 0, 0)
    _check_call("no_new_privs", libc.prctl(PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), 0, 0, 0))
    capability_mask = sum(1 << capability for capability in PERMITTED_CAPABILITIES)
    header = struct.pack("Ii", 0x20080522, 0)
    # Effective, permitted, inheritable: the lower 32 bits, then the upper ones.
    _check_call("capset", libc.capset(header, struct.pack("6I", capability_mask, capability_mask, 0, 0, 0, 0)))


# ------------------------------------------------------------------------------------------------------------ mounts


def _make_root(sandbox: dict[str, Any]) -> None:
    """Build the root folder of the sandbox in a new mount namespace, and change to it."""
    root = sandbox["root"]
    _check_call("unshare", _libc().unshare(CLONE_NEWNS))
    _mount(None, "/", flags=MS_REC | MS_PRIVATE)
    _mount("tmpfs", root, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
    # A recursive bind of a parent folder must not include the root itself.
    _mount(None, root, flags=MS_UNBINDABLE)
    sandbox_devices = {os.stat(root).st_dev}
    for kind, path, *arguments in sandbox["steps"]:
        _STEPS[kind](root, path, sandbox_devices, *arguments)
    _remount_read_only(root, MS_NOSUID | MS_NODEV)
    if sandbox["hostname"]:
        _check_call("sethostname", _libc().sethostname(sandbox["hostname"].encode(), len(sandbox["hostname"])))
    os.chdir(root)
    # The old root is stacked on the new one and unmounted: pivot_root(2), "pivot_root(".", ".")".
    _check_call("pivot_root", _libc().syscall(_PIVOT_ROOT[os.uname().machine], b".", b"."))
    _check_call("umount", _libc().umount2(b".", MNT_DETACH))
    os.chdir(sandbox["folder"])


_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "riscv64": 41, "loongarch64": 41, "ppc64le": 203, "s390x": 217}
"""System call numbers by machine; the C library has no function for pivot_root."""


def _mount(
    source: str | None, target: str, kind: str | None = None, flags: int = 0, options: str | None = None
) -> None:
    texts = [None if text is None else os.fsencode(text) for text in (source, target, kind)]
    data = None if options is None else options.encode()
    _check_call(f"mount {target}", _libc().mount(*texts, ctypes.c_ulong(flags), data))


def _remount_read_only(target: str, flags: int) -> None:
    _mount(None, target, flags=MS_REMOUNT | MS_BIND | MS_RDONLY | flags)


def _make_mount_point(root: str, path: str, sandbox_devices: set[int], *, is_folder: bool = True) -> str:
    """Create a folder, or an empty file, at a path of the sandbox, and return its path on the machine.

    Nothing is created in the machine's own folders: the parent must be on one of `sandbox_devices` (device
    numbers, as in `st_dev`).
    """
    target = root + path
    if os.path.lexists(target):
        return target
    parent = target
    while not os.path.lexists(parent):
        parent = os.path.dirname(parent)
    if os.stat(parent).st_dev not in sandbox_devices:
        raise FileNotFoundError(errno.ENOENT, f"{path} does not exist, and its parent is a folder of the machine")
    if is_folder:
        os.makedirs(target)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
    return target


def _mount_bind(root: str, path: str, sandbox_devices: set[int], source: str, writable: bool) -> None:
    target = _make_mount_point(root, path, sandbox_devices, is_folder=os.path.isdir(source))
    _mount(source, target, flags=MS_BIND | MS_REC)
    if not writable:
        _make_read_only(target)


def _make_read_only(folder: str) -> None:
    """Make a mount read-only, and the mounts below it, such as other disks."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        mounts = [line.split(" ") for line in file]
    for _, _, _, _, escaped_path, options, *_ in mounts:
        mount_point = escaped_path
        for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
            mount_point = mount_point.replace(code, character)
        if mount_point == folder or mount_point.startswith(f"{folder}/"):
            # The other options must be repeated: those of another user's mount can't be removed.
            _remount_read_only(mount_point, sum(MOUNT_FLAGS.get(option, 0) for option in options.split(",")))


def _mount_empty(root: str, path: str, sandbox_devices: set[int]) -> None:
    """Mount an empty folder, in which later steps can create mount points."""
    target = _make_mount_point(root, path, sandbox_devices)
    _mount("tmpfs", target, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
    sandbox_devices.add(os.stat(target).st_dev)


def _make_one_read_only(root: str, path: str, _: set[int]) -> None:
    """Make a mount read-only, but not the mounts below it."""
    _remount_read_only(root + path, MS_NOSUID | MS_NODEV)


def _link(root: str, path: str, sandbox_devices: set[int], target: str) -> None:
    link_path = root + path
    if not os.path.lexists(link_path):
        _make_mount_point(root, os.path.dirname(path), sandbox_devices)
        os.symlink(target, link_path)


def _write_text(root: str, path: str, sandbox_devices: set[int], content: str) -> None:
    with open(_make_mount_point(root, path, sandbox_devices, is_folder=False), "w", encoding="utf-8") as file:
        file.write(content)


def _mount_proc(root: str, path: str, sandbox_devices: set[int], pid_namespace: bool) -> None:
    target = _make_mount_point(root, path, sandbox_devices)
    if pid_namespace:
        _mount("proc", target, "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    else:
        _mount("/proc", target, flags=MS_BIND | MS_REC)
    for name in READ_ONLY_IN_PROC:
        if os.path.exists(f"{target}/{name}"):
            _mount(f"{target}/{name}", f"{target}/{name}", flags=MS_BIND | MS_REC)
            _make_read_only(f"{target}/{name}")


def _mount_dev(root: str, path: str, sandbox_devices: set[int]) -> None:
    """Mount /dev with the usual devices, the accelerators, and new terminals and shared memory."""
    target = _make_mount_point(root, path, sandbox_devices)
    _mount("tmpfs", target, "tmpfs", MS_NOSUID, "mode=755")
    tmpfs_devices = {*sandbox_devices, os.stat(target).st_dev}
    accelerators = [name for name in sorted(os.listdir("/dev")) if name.startswith(ACCELERATORS)]
    for name in (*DEVICES, *accelerators):
        if os.path.exists(f"/dev/{name}"):
            _mount_bind(root, f"{path}/{name}", tmpfs_devices, f"/dev/{name}", True)
    os.mkdir(f"{target}/shm")
    _mount("tmpfs", f"{target}/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
    os.mkdir(f"{target}/pts")
    _mount("devpts", f"{target}/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620")
    links = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2", "ptmx": "pts/ptmx"}
    for name, link_target in links.items():
        os.symlink(link_target, f"{target}/{name}")
    _remount_read_only(target, MS_NOSUID)


_STEPS: dict[str, Callable[..., None]] = {
    "bind": _mount_bind,
    "empty": _mount_empty,
    "seal": _make_one_read_only,
    "link": _link,
    "text": _write_text,
    "proc": _mount_proc,
    "dev": _mount_dev,
}

if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
