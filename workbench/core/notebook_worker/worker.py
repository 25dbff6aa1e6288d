"""Execute one notebook with papermill, and print its progress as lines of JSON.

`workbench.experiments.notebooks.execute` starts this as a process, with the path of a JSON file, so that it can be
killed whatever the notebook does.
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
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from workbench.core.credentials import Masks, secret_values
from workbench.core.notebook_worker.data_proxy import data_proxy, standin_path
from workbench.core.notebook_worker.page import is_safe_svg, notebook_page

if sys.platform == "win32":
    raise ImportError("notebooks and kernels are not executed on Windows")

ANSI = re.compile(r"\x1b\[[0-9;]*m")
INSTALL_COMMAND = re.compile(r"^\s*[!%]?\s*(python3? -m )?(pip3?|conda|mamba|uv pip) install", re.MULTILINE)
PAPERMILL_TAGS = {"injected-parameters", "papermill-error-cell-tag"}
PAGE_TIMEOUT_S = 300.0
"""A page takes seconds, but malicious outputs could take days: one tag with a million attributes."""

IMAGE_SUFFIXES = {"image/png": "png", "image/jpeg": "jpg", "image/svg+xml": "svg"}


class TooMuchOutputError(Exception):
    """The outputs of the cells exceed the limit."""


def main(path: str) -> int:
    """Execute the notebook of a job; return the exit code, 0 if all cells ran."""
    job = json.loads(Path(path).read_text(encoding="utf-8"))
    masks = Masks(secret_values())
    # Jupyter would log to the terminal, between the lines of JSON.
    logging.basicConfig(
        filename=job["log"], level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    threading.Thread(target=_exit_with_parent, args=(os.getppid(),), daemon=True).start()
    try:
        with attached_data(job["attached"]):
            outcome = _run(job, masks)
    finally:
        node = write_page(Path(job["copy"]), masks, with_code=job["with_code"])
    _emit(outcome | {"not_installed": _failed_installs(node)})
    return 0 if outcome["event"] == "done" else 1


@contextmanager
def attached_data(attached: dict[str, str] | None) -> Iterator[None]:
    """Run the data proxy for kagglehub; in this process, as the kernel may have no other network than localhost."""
    if attached is None:
        yield
        return
    with data_proxy(attached) as environment:
        os.environ.update(environment)
        os.environ["PYTHONPATH"] = standin_path(os.environ.get("PYTHONPATH", ""))
        yield


def _exit_with_parent(parent: int) -> None:
    """Exit when the parent process is gone; the kernel ends with this process."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def _emit(event: dict[str, Any]) -> None:
    print(json.dumps(event), flush=True)  # noqa: T201 stdout is the protocol


def _run(job: dict[str, Any], masks: Masks) -> dict[str, Any]:
    """Execute the notebook of a job, and return an event with the outcome."""
    import papermill
    from jupyter_client.kernelspec import NoSuchKernel
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    engine = _engine(masks, int(job["max_output"]))
    papermill.engines.papermill_engines.register("workbench", engine)
    try:
        with Path(job["output"]).open("w", encoding="utf-8") as output:
            papermill.execute_notebook(
                _escape_braces(job["notebook"]),
                _escape_braces(job["copy"]),
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
        return {"event": "error", "cell": engine.cell, "source": exc.source, **error}
    except (CellTimeoutError, DeadKernelError, TooMuchOutputError) as exc:
        return {"event": type(exc).__name__, "cell": engine.cell, "source": engine.source}
    except NoSuchKernel as exc:
        return {"event": "no kernel", "text": str(exc.name)}
    except (RuntimeError, ValueError, OSError) as exc:
        # For example if the kernel can't start.
        return {"event": "refused", "cell": engine.cell, "source": engine.source, "text": masks.text(f"{exc}")}
    return _exit_of_cell(Path(job["copy"]), masks) or {"event": "done"}


def _escape_braces(path: str) -> str:
    """Return a path for papermill, which formats paths with `str.format`."""
    return path.replace("{", "{{").replace("}", "}}")


def _exit_of_cell(copy: Path, masks: Masks) -> dict[str, Any] | None:
    """Return the error event of a cell that raised SystemExit(0); None if there is none.

    papermill counts such a notebook as successful, although the cells after it did not run.
    """
    nbformat: Any = importlib.import_module("nbformat")

    cells = nbformat.read(copy, as_version=4).cells
    for index, cell in enumerate(cells):
        for output in cell.get("outputs", []):
            if output.output_type == "error" and output.ename == "SystemExit":
                error = {"name": "SystemExit", "text": masks.text(str(output.evalue)), "trace": ""}
                return {"event": "error", "cell": _source_index(cells, index), "source": cell.source, **error}
    return None


def _source_index(cells: list[Any], index: int) -> int:
    """Return the index of a cell without the cells that papermill inserted."""
    return index - sum(map(_is_added_by_papermill, cells[:index]))


def _is_added_by_papermill(cell: Any) -> bool:
    return bool(PAPERMILL_TAGS.intersection(cell.metadata.get("tags", [])))


def _engine(masks: Masks, max_output: int) -> Any:
    """Return a papermill engine that masks secrets, limits the output, and emits the current cell."""
    from papermill.clientwrap import PapermillNotebookClient
    from papermill.engines import NBClientEngine
    from papermill.utils import merge_kwargs, remove_args

    class Client(PapermillNotebookClient):  # type: ignore[misc] # it has no types
        def create_kernel_manager(self) -> Any:
            manager = super().create_kernel_manager()
            manager.kernel_spec.argv = _start_by_path(manager.kernel_spec.argv)
            return manager

        def execute_cell(self, cell: Any, cell_index: int, **more: Any) -> Any:
            if cell.cell_type == "code" and cell.source.strip() and not _is_added_by_papermill(cell):
                Engine.cell, Engine.source = _source_index(self.nb.cells, cell_index), cell.source
                n_cells = _source_index(self.nb.cells, len(self.nb.cells))
                _emit({"event": "cell", "cell": Engine.cell, "of": n_cells, "source": cell.source})
            return super().execute_cell(cell, cell_index, **more)

        def process_message(self, msg: dict[str, Any], cell: Any, cell_index: int) -> Any:
            if msg["msg_type"] in ("stream", "display_data", "execute_result", "error", "update_display_data"):
                # Checked first: an endless loop of print sends hundreds of megabytes at once.
                Engine.output_chars += len(json.dumps(msg["content"], default=str))
                if Engine.output_chars > max_output:
                    # An exception here would only end the task that reads the output, not the kernel.
                    Engine.exceeded_output = True
                    with suppress(ProcessLookupError, AttributeError):
                        os.kill(self.km.provisioner.pid, signal.SIGKILL)
                    return None
                msg["content"] = masks.in_json(msg["content"])
            return super().process_message(msg, cell, cell_index)

    class Engine(NBClientEngine):  # type: ignore[misc] # it has no types
        cell, source, output_chars, exceeded_output = -1, "", 0, False

        @classmethod
        def execute_managed_notebook(
            cls,
            nb_man: Any,
            kernel_name: str,
            *,
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
            )
            try:
                return Client(nb_man, **client_options).execute()
            except Exception:
                if cls.exceeded_output:
                    raise TooMuchOutputError from None
                raise

    return Engine


def _start_by_path(command: list[str]) -> list[str]:
    """Return the command of a kernel with ``kernel.py`` of this package in place of ``-m ipykernel_launcher``.

    Examples
    --------
    >>> command = _start_by_path(["python", "-X", "dev", "-m", "ipykernel_launcher", "-f", "{file}"])
    >>> command[:3], Path(command[3]).name, command[4:]
    (['python', '-X', 'dev'], 'kernel.py', ['-f', '{file}'])
    """
    for i in range(len(command) - 1):
        if command[i : i + 2] == ["-m", "ipykernel_launcher"]:
            return [*command[:i], str(Path(__file__).with_name("kernel.py")), *command[i + 2 :]]
    return command


def _failed_installs(node: Any) -> list[tuple[int, str]]:
    """Return the cells in which an installation failed, with the error of pip: such a cell raises nothing."""
    failed_installs = []
    for index, cell in enumerate(node.cells if node is not None else ()):
        if cell.cell_type != "code" or not INSTALL_COMMAND.search(cell.source):
            continue
        text = "".join(o.get("text", "") for o in cell.get("outputs", []) if o.output_type == "stream")
        errors = [line for line in ANSI.sub("", text).splitlines() if line.startswith("ERROR:")]
        if errors:
            failed_installs.append((_source_index(node.cells, index), errors[-1].removeprefix("ERROR: ")))
    return failed_installs


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Raise `TimeoutError` if the block takes longer."""

    def on_alarm(*_: object) -> None:
        raise TimeoutError(f"it took longer than {seconds:g} s")

    previous_handler = signal.signal(signal.SIGALRM, on_alarm)
    # Repeated every second, as a library may catch the first exception, for example in a guarded import.
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous_handler)


def _figures_folder(copy: Path) -> Path:
    """Return the folder for the figures of an executed copy; the folder of a run may have several."""
    return copy.with_name(f"{copy.stem}-figures")


def write_page(copy: Path, masks: Masks, *, with_code: bool) -> Any:
    """Write the page and the figures of an executed copy next to it; return its notebook, None on failure."""
    nbformat: Any = importlib.import_module("nbformat")

    if not copy.exists():
        return None
    try:
        node = nbformat.read(copy, as_version=4)
        with _time_limit(PAGE_TIMEOUT_S):
            page = notebook_page(node, title=copy.stem, with_code=with_code)
    except Exception:  # the executed copy itself is still useful
        logging.getLogger("workbench").exception("could not make a page of %s", copy)
        return None
    copy.with_suffix(".html").write_text(masks.text(page), encoding="utf-8")
    figures = _figures_folder(copy)
    # Remove figures of an earlier attempt.
    shutil.rmtree(figures, ignore_errors=True)
    for index, cell in enumerate(node.cells):
        images = [
            (kind, data[kind])
            for output in cell.get("outputs", [])
            for data in [output.get("data", {})]
            for kind in IMAGE_SUFFIXES
            if kind in data
        ]
        for number, (kind, data) in enumerate(images):
            text = "".join(data)
            if kind == "image/svg+xml" and not is_safe_svg(text):
                logging.getLogger("workbench").warning(
                    "drawing %d of cell %d contains a script: left out", number + 1, index
                )
                continue
            figures.mkdir(exist_ok=True)
            raw = text.encode() if kind == "image/svg+xml" else base64.b64decode(text)
            (figures / f"cell{index:03d}-{number + 1}.{IMAGE_SUFFIXES[kind]}").write_bytes(raw)
    return node
