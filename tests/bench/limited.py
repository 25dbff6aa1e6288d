"""Running a process that the system kills when it takes more memory than it may: in a control group, else under ulimit."""

from __future__ import annotations

import os
import resource
import subprocess
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.bench.measured import seen_peak

__all__ = ["limit_name", "limited"]

ROOT = Path("/sys/fs/cgroup")


def limited(command: Sequence[str], cwd: Path, limit_bytes: int) -> tuple[float, float, str]:
    """Run a process that may take so much memory; return its seconds, its peak in MB, and why it failed, if it did.

    The peak is of resident memory; what lies in mapped files counts, though the system takes it back when it is short.
    """
    with _group(limit_bytes) as group:

        def enter() -> None:
            if group is None:
                resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, limit_bytes))
            else:
                (group / "cgroup.procs").write_text(str(os.getpid()))

        started = time.perf_counter()
        child = subprocess.Popen(
            list(command), cwd=cwd, preexec_fn=enter, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        with seen_peak(child.pid) as seen:
            errors = child.stderr.read().decode() if child.stderr else ""
            _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - started
    reason = "" if child.returncode == 0 else (errors.strip().splitlines() or ["killed"])[-1]
    return seconds, max(usage.ru_maxrss / 1024, seen[0]), f"exit {child.returncode}: {reason}" if reason else ""


def limit_name() -> str:
    """Say what holds the limit here."""
    return "ulimit -d" if _own_group() is None else "control group"


@contextmanager
def _group(limit_bytes: int) -> Iterator[Path | None]:
    own = _own_group()
    if own is None:
        yield None
        return
    group = own / f"bench-{uuid.uuid4().hex[:8]}"
    group.mkdir()
    try:
        v1, v2 = group / "memory.limit_in_bytes", group / "memory.max"
        (v1 if v1.exists() else v2).write_text(str(limit_bytes))
        if (group / "memory.swap.max").exists():
            (group / "memory.swap.max").write_text("0")
        yield group
    finally:
        time.sleep(0.1)
        group.rmdir()


def _own_group() -> Path | None:
    """Return the folder of this process's control group, where one with a memory limit can be made in it."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers.split(",") == ["memory"]:
            own = ROOT / "memory" / path.lstrip("/")
        elif not controllers:
            own = ROOT / path.lstrip("/")
            enabled = own / "cgroup.subtree_control"
            if not enabled.exists() or "memory" not in enabled.read_text().split():
                continue
        else:
            continue
        if os.access(own, os.W_OK):
            return own
    return None
