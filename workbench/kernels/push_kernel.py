"""The kernel itself: a version saved once, even if a push is interrupted; its run awaited, its output fetched."""

from __future__ import annotations

import json
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from workbench.core.cache import content_key, file_sha256, read_json, write_text
from workbench.core.credentials import process_masks
from workbench.core.errors import DamagedError, LoginError, PlatformError, UnansweredError
from workbench.experiments.notebooks import PARAMETERS_TAG
from workbench.kernels.build import BuiltKernel
from workbench.kernels.push_record import KernelRecord, KernelSending
from workbench.kernels.push_session import CHECKS_AGAIN, PushSession
from workbench.kernels.pushed_kernel import has_digest, pushed_kernel
from workbench.models.serving import RECEIPT
from workbench.platforms.protocol import KernelSource, KernelState, KernelVersion

__all__ = ["KernelPush", "Machine"]

MAX_QUEUE_S = 30 * 60
"""The longest time in the queue, in addition to the time limit of the run."""

MAX_SESSION_S = 12 * 3600
"""Kaggle's own time limit of a run (https://www.kaggle.com/docs/notebooks), if none is sent."""

FINAL_STATUSES = ("complete", "error", "cancelled")

WRONG_INPUT_TEXTS = ("is not what was packed", "that was packed", "is missing")
"""Texts in the log of a run whose datasets did not have the files that were packed."""

_PUSH_LINE = re.compile(r"^push [0-9a-f]{12}\.\d+\.\d+", re.MULTILINE)
"""The first line that a run prints; it identifies the push."""


@dataclass(frozen=True)
class Machine:
    """The machine that a kernel runs on.

    Attributes
    ----------
    accelerator : str
        The platform's name for it, such as ``"NvidiaTeslaT4"``; "" for none.
    docker_pin : str
        ``"original"`` (the image of the kernel's first version) or ``"latest"``.
    minutes : float, optional
        The time limit that is sent. By default none is sent, and Kaggle's own applies.
    """

    accelerator: str = ""
    docker_pin: str = "original"
    minutes: float | None = None


class KernelPush:
    """Saves a version of a kernel, waits for its run, and fetches the output.

    Parameters
    ----------
    slug : str
        The competition whose data the kernel reads.
    run_id : str
        The run whose models the kernel contains.
    """

    def __init__(self, session: PushSession, built: BuiltKernel, machine: Machine, *, slug: str, run_id: str) -> None:
        self.session, self.code_host, self.built, self.machine = session, session.code_host, built, machine
        self.slug, self.run_id = slug, run_id

    # -------------------------------------------------------------------------------------------------------- saving

    def save(self, dataset_names: list[str]) -> None:
        """Make sure that the newest version of the kernel has this notebook and these versions of its datasets."""
        session, record = self.session, self.session.record
        name = record.name or self.built.name
        datasets = {
            dataset: record.datasets[dataset].model_dump(include={"version", "files"}) for dataset in dataset_names
        }
        key = content_key(file_sha256(self.built.notebook), datasets, vars(self.machine))
        state = self.code_host.kernel(name)
        if record.sending is not None:
            saved_state = self._find_saved(name, record.sending.push_id)
            if saved_state is not None:
                state = saved_state
                self._record_newest(record.sending, saved_state.version)
        newest_kernel = record.newest
        is_same = newest_kernel is not None and newest_kernel.key == key and newest_kernel.status in (None, "complete")
        # Another version may have been saved since, on the kernel's page; this one and its run still exist.
        if newest_kernel is not None and is_same and state is not None and self._is_saved(newest_kernel, state):
            return
        if state is None:
            # It was deleted, or never existed: version numbers start again.
            record.newest = record.complete = None
        number = (state.version.number if state else 0) + 1
        # The time distinguishes it from a push of a deleted kernel or of a failed version.
        push_id = f"{key[:12]}.{number}.{time.time():.0f}"
        record.sending = KernelSending(key=key, push_id=push_id, run_id=self.run_id)
        session.write_record()
        session.context.stage("kernel")
        source = KernelSource(
            title=self.built.name.replace("-", " "),
            notebook=_with_push_id(self.built.notebook, push_id),
            datasets=tuple(dataset_names),
            competition=self.slug,
            accelerator=self.machine.accelerator,
            docker_pin=self.machine.docker_pin,
            limit_s=None if self.machine.minutes is None else 60 * self.machine.minutes,
        )
        try:
            version = self.code_host.save_kernel(name, source)
        except UnansweredError as exc:
            state = self._find_saved(name, push_id)
            if state is None:
                raise UnansweredError(f"{exc.message}; it is not listed", hint=CHECKS_AGAIN) from exc
            version = state.version
        except PlatformError:
            record.sending = None
            session.write_record()
            raise
        self._record_newest(record.sending, version)

    def _record_newest(self, sending: KernelSending, version: KernelVersion) -> None:
        record = self.session.record
        record.newest = KernelRecord(**sending.model_dump(), **vars(version))
        record.name, record.sending = version.name, None
        self.session.write_record()

    def _is_saved(self, kernel: KernelRecord, newest: KernelState) -> bool:
        """Tell whether a pushed version still exists: numbers start again when a kernel was deleted."""
        if newest.version.number < kernel.number:
            return False
        if newest.version.number == kernel.number:
            return kernel.push_id in newest.source
        state = self.code_host.kernel(kernel.name, kernel.number)
        return state is not None and kernel.push_id in state.source

    def _find_saved(self, name: str, push_id: str) -> KernelState | None:
        """Return the version that a push saved once it is listed; None if it does not appear in time."""
        started_at = time.monotonic()
        first_number, checked_numbers = int(push_id.split(".")[1]), set[int]()
        while True:
            state = self.code_host.kernel(name)
            if state is not None and push_id in state.source:
                return state
            # If versions have been saved on the kernel's page since, this version has a lower number.
            earlier_numbers = range(first_number, state.version.number) if state is not None else range(0)
            for number in (n for n in earlier_numbers if n not in checked_numbers):
                checked_numbers.add(number)
                state = self.code_host.kernel(name, number)
                if state is not None and push_id in state.source:
                    return state
            if time.monotonic() - started_at > self.code_host.delay_s:
                return None
            time.sleep(self.session.list_pause_s)

    # -------------------------------------------------------------------------------------------------------- waiting

    def wait_and_fetch(self) -> KernelRecord:
        """Wait for the end of the newest version's run, and fetch its log and output."""
        session, record = self.session, self.session.record
        kernel, last_complete = record.newest, record.complete
        if kernel is None:
            raise PlatformError("no version of the kernel was saved")
        if last_complete is not None and last_complete.push_id == kernel.push_id:
            submission = pushed_kernel(session.folder, last_complete).submission
            if has_digest(submission, last_complete.sha256):
                return last_complete
        status, failure, log = self._wait_for_end(kernel)
        output = pushed_kernel(session.folder, kernel)
        write_text(output.log, process_masks().text(log))
        if status != "complete":
            kernel.status, kernel.failure = status, failure
            if any(text in log for text in WRONG_INPUT_TEXTS):
                # The datasets do not have what was uploaded: the next push uploads everything.
                record.datasets.clear()
            session.write_record()
        self._fetch(kernel, output.folder, is_complete=status == "complete")
        if status == "complete":
            kernel.status = status
            record.complete = kernel
            session.write_record()
        return kernel

    def _wait_for_end(self, kernel: KernelRecord) -> tuple[str, str, str]:
        """Wait for the end of a version's run; return its status, failure message and log."""
        started_at = readable_at = time.monotonic()
        run_limit_s = MAX_SESSION_S if self.machine.minutes is None else 60 * self.machine.minutes
        limit_s = run_limit_s + MAX_QUEUE_S
        shown_status = ""
        # Since when the platform has shown a finished run that may be another version's.
        ambiguous_since: float | None = None
        while True:
            status_and_failure, checked_at = self.code_host.kernel_status(kernel.version), time.monotonic()
            # The status can't be read for some time after a push.
            if status_and_failure is not None:
                readable_at = checked_at
            elif checked_at - readable_at > self.code_host.delay_s:
                raise PlatformError(
                    f"the platform returns no status for the kernel {kernel.name!r}", hint="`wb kernel push` asks again"
                )
            if status_and_failure is not None and status_and_failure[0] in FINAL_STATUSES:
                log = self.code_host.kernel_log(kernel.version)
                ambiguous_since = checked_at if ambiguous_since is None else ambiguous_since
                if f"push {kernel.push_id}" in log or (
                    checked_at - ambiguous_since > self.code_host.delay_s
                    and self._is_of_this_version(kernel, status_and_failure, log)
                ):
                    return *status_and_failure, log
                if checked_at - ambiguous_since > MAX_QUEUE_S:
                    raise PlatformError(
                        f"the platform shows a run of the kernel {kernel.name!r} that ended with "
                        f"{status_and_failure[0]}, but it is not the run of version {kernel.number}",
                        hint="look at the kernel's page; `wb kernel push` asks again",
                    )
            elif status_and_failure is not None and status_and_failure[0] != shown_status:
                shown_status, ambiguous_since = status_and_failure[0], None
                self.session.context.stage(f"kernel {shown_status}")
            if checked_at - started_at > limit_s:
                raise PlatformError(
                    f"the kernel {kernel.name!r} has not ended after {limit_s / 60:.0f} minutes",
                    hint="`wb kernel push` waits for it again",
                )
            time.sleep(self.session.pause_s)

    def _is_of_this_version(self, kernel: KernelRecord, status_and_failure: tuple[str, str], log: str) -> bool:
        """Tell whether a finished run that did not print this push is nevertheless this version's.

        The platform may still show an earlier run, which printed another push, or has the status and the log of the
        previous version.
        """
        if _PUSH_LINE.search(log):
            return False
        if kernel.number == 1:
            return True
        earlier_version = KernelVersion(kernel.owner, kernel.name, kernel.number - 1)
        return (
            self.code_host.kernel_status(earlier_version) != status_and_failure
            or self.code_host.kernel_log(earlier_version) != log
        )

    # --------------------------------------------------------------------------------------------------------- output

    def _fetch(self, kernel: KernelRecord, folder: Path, *, is_complete: bool) -> None:
        """Fetch the run's output into its folder; from a failed run, as much as possible."""
        notes = self.session.notes
        self.session.context.stage("output")
        # Files that an interrupted push has fetched are not fetched again.
        partial_folder = folder.with_name(f".{folder.name}-{kernel.push_id}")
        partial_folder.mkdir(parents=True, exist_ok=True)
        try:
            unsafe_names = self.code_host.fetch_output(kernel.version, partial_folder)
            notes += [f"not fetched, its name leads out of the folder: {name!r}" for name in unsafe_names]
            if is_complete:
                self._check_output(kernel, partial_folder)
        except PlatformError as exc:
            if is_complete or isinstance(exc, LoginError):
                raise
            notes.append(f"the failed run's output could not be fetched: {exc.message}")
        shutil.rmtree(folder, ignore_errors=True)
        partial_folder.rename(folder)

    def _check_output(self, kernel: KernelRecord, folder: Path) -> None:
        """Check that the fetched output comes from this push's run."""
        hint = "`wb kernel push` fetches it again"
        path = folder / RECEIPT
        try:
            receipt_json = read_json(path) if path.is_file() else {}
        except DamagedError as exc:
            shutil.rmtree(folder, ignore_errors=True)
            raise DamagedError(f"the fetched output is not what the kernel wrote: {exc.message}", hint=hint) from exc
        receipt = receipt_json if isinstance(receipt_json, dict) else {}
        if (receipt.get("push"), receipt.get("run_id")) != (kernel.push_id, kernel.run_id):
            kernel.status = "unknown"
            self.session.write_record()
            shutil.rmtree(folder, ignore_errors=True)
            problem = (
                f"is for push {receipt.get('push')!r} of run {receipt.get('run_id')!r}" if receipt else "is missing"
            )
            raise DamagedError(
                f"the kernel's {RECEIPT} {problem}; expected push {kernel.push_id!r} of run {kernel.run_id!r}",
                hint="`wb kernel push` runs it again",
            )
        name = PurePosixPath(str(receipt.get("file") or "submission.csv")).name
        if not has_digest(folder / name, receipt.get("sha256")):
            shutil.rmtree(folder, ignore_errors=True)
            raise DamagedError(f"the fetched {name} is not what the kernel wrote", hint=hint)
        kernel.file, kernel.sha256 = name, str(receipt["sha256"])


def _with_push_id(notebook: Path, push_id: str) -> str:
    """Return the notebook's text with the id of the push as its parameter."""
    notebook_json = json.loads(notebook.read_text(encoding="utf-8"))
    for cell in notebook_json["cells"]:
        if PARAMETERS_TAG in cell["metadata"].get("tags", []):
            cell["source"] = f"push = {json.dumps(push_id)}"
        # nbformat allows a list of lines, too; the platform expects a single text.
        cell["source"] = "".join(cell["source"])
    return json.dumps(notebook_json)
