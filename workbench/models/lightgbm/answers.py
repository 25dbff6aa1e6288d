"""LightGBM's answers about names and values of parameters, stored on disk.

With scikit-learn and pandas, which it imports, LightGBM takes a second to import, longer than everything else in
`wb run` of an experiment that has not changed. Its answers depend on its version and the parameters alone, except with
a GPU, which may be absent the next time: these are not stored.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar

from workbench.core.cache import content_key, read_json, remove_leftover_files, write_json
from workbench.core.distribution import version_of
from workbench.core.errors import DamagedError, StorageError

__all__ = ["answer_of", "storing_answers"]

T = TypeVar("T")

MAX_ANSWERS = 1000
"""The oldest ones beyond this number are dropped; an experiment has about four."""

_stored: ContextVar[dict[str, Any] | None] = ContextVar("workbench_lightgbm_answers", default=None)


@contextmanager
def storing_answers(path: Path) -> Iterator[None]:
    """Read stored answers from a JSON file for the length of the block, and write new ones to it at the end.

    A file that is damaged, or that another installation of LightGBM wrote, counts as empty.
    """
    installation, answers = _installation(), {}
    with suppress(DamagedError, OSError, KeyError, TypeError, ValueError):
        stored = read_json(path)
        if stored["installation"] == installation:
            answers = dict(stored["answers"])
    n_read = len(answers)
    token = _stored.set(answers)
    try:
        yield
    finally:
        _stored.reset(token)
        if len(answers) > n_read:
            latest = dict(list(answers.items())[-MAX_ANSWERS:])
            # Without the file, the next process asks LightGBM again.
            with suppress(StorageError, OSError):
                remove_leftover_files(path.parent)  # of a process that was killed while it wrote the file
                write_json(path, {"installation": installation, "answers": latest})


def answer_of(
    question: str, *content: Any, ask: Callable[[], T], is_valid: Callable[[T], bool] = lambda _answer: True
) -> T:
    """Return LightGBM's answer to a question, from the stored ones or by asking.

    Parameters
    ----------
    question : str
    *content
        All that the answer depends on besides LightGBM: values that `content_key` accepts; others are not stored.
    ask : callable
        Returns the answer, which JSON can represent.
    is_valid : callable
        Whether an answer may be stored: rejected parameters are asked about again, and those that need a GPU.
    """
    answers = _stored.get()
    if answers is None:
        return ask()
    try:
        key = content_key(question, *content)
    except TypeError:
        return ask()
    if key not in answers:
        answer = ask()
        if not is_valid(answer):
            return answer
        answers[key] = answer
    stored: T = answers[key]
    return stored


def _installation() -> list[Any]:
    """Identify the installed LightGBM: another build of the same version supports other devices."""
    spec = importlib.util.find_spec("lightgbm")
    folder = Path(spec.origin).parent if spec is not None and spec.origin else None
    times = []
    for part in (".", "lib", "bin"):
        with suppress(OSError):
            times.append(0 if folder is None else (folder / part).stat().st_mtime_ns)
    return [version_of("lightgbm"), str(folder), times]
