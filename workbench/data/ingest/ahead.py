"""Run an iterator in a background thread, a few items ahead of its consumer."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

__all__ = ["ahead"]

T = TypeVar("T")


@contextmanager
def ahead(items: Iterator[T], depth: int = 2) -> Iterator[Iterator[T]]:
    """Iterate over `items` in a background thread, at most `depth` items ahead.

    Exceptions of the iterator are raised in the consumer's thread. The thread ends with the block.
    """
    results: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(depth)
    should_stop = threading.Event()

    def put(result: tuple[T | None, BaseException | None]) -> None:
        while not should_stop.is_set():
            try:
                results.put(result, timeout=0.1)
            except queue.Full:
                continue
            return

    def produce() -> None:
        try:
            for item in items:
                put((item, None))
                if should_stop.is_set():
                    return
            put((None, None))
        except BaseException as exc:  # noqa: BLE001 raised in the consumer's thread
            put((None, exc))

    thread = threading.Thread(target=produce, daemon=True)
    thread.start()

    def consume() -> Iterator[T]:
        while True:
            item, error = results.get()
            if error is not None:
                raise error
            if item is None:
                return
            yield item

    try:
        yield consume()
    finally:
        should_stop.set()
        thread.join()
