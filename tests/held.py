"""What this process holds: files that it has open, and locks that another waits for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any


def open_files() -> list[Path]:
    """Return what the descriptors of this process stand for."""
    targets = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # of the listing itself
            targets.append(descriptor.readlink())
    return targets


def turns(lock: Callable[[], AbstractContextManager[Any]]) -> list[str]:
    """Take a lock while another thread waits for it, and return who came when."""
    order, begun = list[str](), threading.Event()

    def wait() -> None:
        begun.set()
        with lock():
            order.append("second")

    with lock():
        waiting = threading.Thread(target=wait)
        waiting.start()
        begun.wait(30)
        waiting.join(0.05)
        order.append("first")
    waiting.join(30)
    return order
