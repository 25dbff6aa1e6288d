"""The files that this process has open, and the order in which threads acquire a lock."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any


def open_files() -> list[Path]:
    """Return the files of this process's open descriptors."""
    targets = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the descriptor of the listing itself
            targets.append(descriptor.readlink())
    return targets


def acquisition_order(lock: Callable[[], AbstractContextManager[Any]]) -> list[str]:
    """Acquire a lock while another thread waits for it, and return the order in which the two acquired it."""
    order, has_started = list[str](), threading.Event()

    def wait() -> None:
        has_started.set()
        with lock():
            order.append("second")

    with lock():
        waiting_thread = threading.Thread(target=wait)
        waiting_thread.start()
        has_started.wait(30)
        waiting_thread.join(0.05)
        order.append("first")
    waiting_thread.join(30)
    return order
