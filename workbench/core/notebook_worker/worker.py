"""The process that runs one notebook through papermill and says, line by line as JSON, where it is.

It is a process of its own so that whoever asked can end it, whatever the notebook does, and is told what became of it:
`workbench.experiments.notebooks.execute` starts it with the path of a JSON file.
"""

from __future__ import annotations

import base64
import importlib
import json
import logging
import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from workbench.core.credentials import Masks, secret_values
from workbench.core.notebook_worker.data_proxy import data_proxy, standin_path
from workbench.core.notebook_worker.page import draws_only, notebook_page

ANSI = re.compile(r"\x1b\[[0-9;]*m")
INSTALLS = re.compile(r"^\s*[!%]?\s*(python3? -m )?(pip3?|conda|mamba|uv pip) install", re.MULTILINE)
PAPERMILLS = {"injected-parameters", "papermill-error-cell-tag"}
PAGE_S = 300.0
"""A page takes seconds. What a notebook shows may be made so that it takes days: one tag with a million names."""

IMAGES = {"image/png": "png", "image/jpeg": "jpg", "image/svg+xml": "svg"}


class TooMuchOutputError(Exception):
    """The cells have put out more than is kept."""


def main(path: str) -> int:
    """Run the notebook of a job; the exit code is 0 if it came to its end."""
    job = json.loads(Path(path).read_text(encoding="utf-8"))
    masks = Masks(secret_values())
    # Jupyter's own logging would come between the lines.
    logging.basicConfig(
        filename=job["log"], level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    try:
        with _attached(job["attached"]):
            outcome = _run(job, masks)
    finally:
        node = write_page(Path(job["copy"]), masks, with_code=job["with_code"])
    _say(outcome | {"not_installed": _not_installed(node)})
    return 0 if outcome["event"] == "done" else 1


@contextmanager
def _attached(attached: dict[str, str] | None) -> Iterator[None]:
    """Let kagglehub find what is attached: the service must be where the kernel is, which may have no network."""
    if attached is None:
        yield
        return
    with data_proxy(attached) as environment:
        os.environ.update(environment)
        os.environ["PYTHONPATH"] = standin_path(os.environ.get("PYTHONPATH", ""))
        yield


def _end_with(parent: int) -> None:
    """End this process when the one that asked for it is gone, however that ended; the kernel ends with this one."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def _say(event: dict[str, Any]) -> None:
    print(json.dumps(event), flush=True)  # noqa: T201 its output is how it speaks


def _run(job: dict[str, Any], masks: Masks) -> dict[str, Any]:
    import papermill
    from jupyter_client.kernelspec import NoSuchKernel
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    engine = _engine(masks, int(job["most_output"]))
    papermill.engines.papermill_engines.register("workbench", engine)
    try:
        with Path(job["output"]).open("w", encoding="utf-8") as output:
            papermill.execute_notebook(
                _literally(job["notebook"]),
                _literally(job["copy"]),
                job["parameters"],
                engine_name="workbench",
                kernel_name=job["kernel"],
                language="python",
                progress_bar=False,
                stdout_file=output,
                stderr_file=output,
                start_timeout=120,
                execution_timeout=job["cell_seconds"],
                cwd=job["folder"],
            )
    except PapermillExecutionError as exc:
        trace = [masks.text(ANSI.sub("", line)) for line in exc.traceback]
        error = {"name": exc.ename, "text": masks.text(str(exc.evalue)), "trace": "\n".join(trace)}
        return {"event": "error", "cell": engine.at, "source": exc.source, **error}
    except (CellTimeoutError, DeadKernelError, TooMuchOutputError) as exc:
        return {"event": type(exc).__name__, "cell": engine.at, "source": engine.source}
    except NoSuchKernel as exc:
        return {"event": "no kernel", "text": str(exc.name)}
    except (RuntimeError, ValueError, OSError) as exc:
        # The kernel that can't start, for one.
        return {"event": "refused", "cell": engine.at, "source": engine.source, "text": masks.text(f"{exc}")}
    return _exited(Path(job["copy"]), masks) or {"event": "done"}


def _literally(path: str) -> str:
    """Return a path as papermill wants it, which fills in what stands in braces."""
    return path.replace("{", "{{").replace("}", "}}")


def _exited(copy: Path, masks: Masks) -> dict[str, Any] | None:
    """Return the error of a cell that exited with 0, for papermill the good end of a notebook; None where none did.

    The cells behind it did not run.
    """
    nbformat: Any = importlib.import_module("nbformat")

    cells = nbformat.read(copy, as_version=4).cells
    for index, cell in enumerate(cells):
        for output in cell.get("outputs", []):
            if output.output_type == "error" and output.ename == "SystemExit":
                error = {"name": "SystemExit", "text": masks.text(str(output.evalue)), "trace": ""}
                return {"event": "error", "cell": _in_source(cells, index), "source": cell.source, **error}
    return None


def _in_source(cells: list[Any], index: int) -> int:
    """Return a cell's place in the notebook as it was written: papermill puts cells of its own between."""
    return index - sum(map(_is_papermills, cells[:index]))


def _is_papermills(cell: Any) -> bool:
    return bool(PAPERMILLS.intersection(cell.metadata.get("tags", [])))


def _engine(masks: Masks, most_output: int) -> Any:
    """Return papermill's engine with what it lacks: masks, a bound for the output, and where it is."""
    from papermill.clientwrap import PapermillNotebookClient
    from papermill.engines import NBClientEngine
    from papermill.utils import merge_kwargs, remove_args

    class Client(PapermillNotebookClient):  # type: ignore[misc] # it has no types
        def create_kernel_manager(self) -> Any:
            manager = super().create_kernel_manager()
            manager.kernel_spec.argv = _by_path(manager.kernel_spec.argv)
            return manager

        def execute_cell(self, cell: Any, cell_index: int, **more: Any) -> Any:
            if cell.cell_type == "code" and cell.source.strip() and not _is_papermills(cell):
                Engine.at, Engine.source = _in_source(self.nb.cells, cell_index), cell.source
                of = _in_source(self.nb.cells, len(self.nb.cells))
                _say({"event": "cell", "cell": Engine.at, "of": of, "source": cell.source})
            return super().execute_cell(cell, cell_index, **more)

        def process_message(self, msg: dict[str, Any], cell: Any, cell_index: int) -> Any:
            if msg["msg_type"] in ("stream", "display_data", "execute_result", "error", "update_display_data"):
                # Before anything is done with it: a cell that prints without end sends hundreds of megabytes at once.
                Engine.size += len(json.dumps(msg["content"], default=str))
                if Engine.size > most_output:
                    # The task that reads the output ends by itself; the kernel has to be stopped from outside.
                    Engine.flooded = True
                    with suppress(ProcessLookupError, AttributeError):
                        os.kill(self.km.provisioner.pid, signal.SIGKILL)
                    return None
                msg["content"] = masks.within(msg["content"])
            return super().process_message(msg, cell, cell_index)

    class Engine(NBClientEngine):  # type: ignore[misc] # it has no types
        at, source, size, flooded = -1, "", 0, False

        @classmethod
        def execute_managed_notebook(
            cls,
            nb_man: Any,
            kernel_name: str,
            log_output: bool = False,
            stdout_file: Any = None,
            stderr_file: Any = None,
            start_timeout: int = 60,
            execution_timeout: int | None = None,
            **more: Any,
        ) -> Any:
            client_options = merge_kwargs(
                remove_args(["timeout", "startup_timeout", "input_path"], **more),
                timeout=execution_timeout,
                startup_timeout=start_timeout,
                kernel_name=kernel_name,
                log=logging.getLogger("papermill"),
                log_output=log_output,
                stdout_file=stdout_file,
                stderr_file=stderr_file,
            )
            try:
                return Client(nb_man, **client_options).execute()
            except Exception:
                if cls.flooded:
                    raise TooMuchOutputError from None
                raise

    return Engine


def _by_path(command: list[str]) -> list[str]:
    """Return the command of a kernel that starts by the path of a file, where it starts by the name of a module.

    Examples
    --------
    >>> command = _by_path(["python", "-X", "dev", "-m", "ipykernel_launcher", "-f", "{file}"])
    >>> command[:3], Path(command[3]).name, command[4:]
    (['python', '-X', 'dev'], 'kernel.py', ['-f', '{file}'])
    """
    for at in range(len(command) - 1):
        if command[at : at + 2] == ["-m", "ipykernel_launcher"]:
            return [*command[:at], str(Path(__file__).with_name("kernel.py")), *command[at + 2 :]]
    return command


def _not_installed(node: Any) -> list[tuple[int, str]]:
    """Return the cells that failed to install something, with what pip said: such a cell does not fail."""
    failed_installs = []
    for index, cell in enumerate(node.cells if node is not None else ()):
        if cell.cell_type != "code" or not INSTALLS.search(cell.source):
            continue
        text = "".join(o.get("text", "") for o in cell.get("outputs", []) if o.output_type == "stream")
        errors = [line for line in ANSI.sub("", text).splitlines() if line.startswith("ERROR:")]
        if errors:
            failed_installs.append((_in_source(node.cells, index), errors[-1].removeprefix("ERROR: ")))
    return failed_installs


@contextmanager
def _no_longer_than(seconds: float) -> Iterator[None]:
    """Raise `TimeoutError` where the block takes longer."""

    def late(*_: object) -> None:
        raise TimeoutError(f"it took longer than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, late)
    # Again and again: a library may have caught the first one, as where it looks whether another is installed.
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _figures_of(copy: Path) -> Path:
    """Return the folder with the figures of an executed copy: a run's folder may have several."""
    return copy.with_name(f"{copy.stem}-figures")


def write_page(copy: Path, masks: Masks, *, with_code: bool) -> Any:
    """Write the executed copy as a page beside it, and its figures; return it, or None where there is none."""
    nbformat: Any = importlib.import_module("nbformat")

    if not copy.exists():
        return None
    try:
        node = nbformat.read(copy, as_version=4)
        with _no_longer_than(PAGE_S):
            page = notebook_page(node, title=copy.stem, with_code=with_code)
    except Exception:  # a copy that can't be shown is there all the same
        logging.getLogger("workbench").exception("could not make a page of %s", copy)
        return None
    copy.with_suffix(".html").write_text(masks.text(page), encoding="utf-8")
    figures = _figures_of(copy)
    # Those of an attempt before this one would be taken for this one's.
    shutil.rmtree(figures, ignore_errors=True)
    for index, cell in enumerate(node.cells):
        images = [
            (kind, data[kind])
            for output in cell.get("outputs", [])
            for data in [output.get("data", {})]
            for kind in IMAGES
            if kind in data
        ]
        for number, (kind, data) in enumerate(images):
            text = "".join(data)
            if kind == "image/svg+xml" and not draws_only(text):
                logging.getLogger("workbench").warning(
                    "drawing %d of cell %d is a program: left out", number + 1, index
                )
                continue
            figures.mkdir(exist_ok=True)
            raw = text.encode() if kind == "image/svg+xml" else base64.b64decode(text)
            (figures / f"cell{index:03d}-{number + 1}.{IMAGES[kind]}").write_bytes(raw)
    return node
