"""A server that has imported the libraries and forks for each run of pytest, which saves seconds for each run.

Each line of its input is a JSON object with ``folder``, ``arguments``, ``output`` and ``seconds``; for each it writes a
line with the exit code, or null if the run took longer and was killed.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import time
import traceback
from contextlib import suppress

LOADED = ["numpy", "polars", "lightgbm", "sklearn.ensemble", "scipy.stats", "pydantic"]
LOADED += ["sqlalchemy.dialects.sqlite", "alembic.command", "optuna", "numba", "catboost", "xgboost", "nbformat"]
"""What the workbench builds on; neither it nor its tests, which each run reads anew, nor pytest's plugins, which it rewrites."""


def run(folder: str, arguments: list[str], output: str) -> int:
    """Run pytest in a folder, in this process, as ``python -m pytest`` does there."""
    import pytest

    os.chdir(folder)
    os.environ["PYTHONPATH"] = folder
    sys.path.insert(0, folder)
    sys.dont_write_bytecode = False
    into = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for number in (1, 2):
        os.dup2(into, number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    return int(pytest.main(arguments))


def ended(child: int, seconds: float) -> int | None:
    """Wait for a child, and end it with all that it has started where it takes longer."""
    last = time.monotonic() + seconds
    while time.monotonic() < last:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def main() -> None:
    """Answer until the input ends."""
    for name in LOADED:
        with suppress(ImportError):
            importlib.import_module(name)
    for line in sys.stdin:
        job = json.loads(line)
        child = os.fork()
        if not child:
            code = 3  # pytest's own for an error of its own
            try:
                os.setsid()
                code = run(job["folder"], job["arguments"], job["output"])
            except BaseException:
                traceback.print_exc()
                raise
            finally:
                sys.stdout.flush()
                os._exit(code)
        print(json.dumps(ended(child, job["seconds"])), flush=True)


if __name__ == "__main__":
    main()
