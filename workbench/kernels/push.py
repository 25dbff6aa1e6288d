"""Push a built kernel to the platform: its datasets, its run, its output; each created once, even if interrupted."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from workbench.core.cache import content_key, file_sha256, lock, read_json, write_text
from workbench.core.credentials import process_masks
from workbench.core.errors import (
    ConfigError,
    DamagedError,
    LoginError,
    NotFoundError,
    PlatformError,
    UnansweredError,
)
from workbench.data.competition import Competition
from workbench.experiments.notebooks import PARAMETERS_TAG
from workbench.kernels.build import BuiltKernel
from workbench.kernels.gateway import check_no_server
from workbench.kernels.layers import NAMES, PackedFile, layers, packed_files
from workbench.kernels.record import (
    DatasetRecord,
    DatasetSending,
    KernelRecord,
    KernelSending,
    PushRecord,
    Upload,
)
from workbench.models.serving import MANIFEST, RECEIPT
from workbench.platforms.protocol import (
    CodeHost,
    DatasetState,
    KernelSource,
    KernelState,
    KernelVersion,
    Platform,
)

__all__ = ["Machine", "PushedKernel", "push", "pushed"]

TOKEN_S = 6 * 24 * 3600
"""How long an upload that is in no version yet can be used; Kaggle's client resumes one for a week."""

PENDING_S = 30 * 60
"""A dataset that is not ready after this time has failed."""

QUEUE_S = 30 * 60
"""The longest time in the queue, in addition to the time limit of the run."""

SESSION_S = 12 * 3600
"""Kaggle's own time limit of a run (https://www.kaggle.com/docs/notebooks), where none is sent."""

DOUBT = ("is not what was packed", "that was packed", "is missing")
"""Words in the log of a run whose datasets did not hold the files that were packed."""

_PUSH = re.compile(r"^push [0-9a-f]{12}\.\d+\.\d+", re.MULTILINE)
"""The line that a run prints first."""

DATASETS_WEB = "https://www.kaggle.com/datasets"

CHECKS_AGAIN = "`wb kernel push` checks again before it sends anything"

Report = Callable[[str], None]


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


@dataclass(frozen=True)
class PushedKernel:
    """A run of a kernel on the platform.

    Attributes
    ----------
    version : KernelVersion
    run_id : str
        The run whose models it has.
    status : str
        ``"complete"``, ``"error"`` or ``"cancelled"``.
    failure : str
        The platform's message.
    folder : Path
        Its output files.
    log : Path
        Its printed output.
    uploaded : tuple of str
        The files that were uploaded, by their names in the bundle.
    size : int
        Their bytes.
    notes : tuple of str
    file : str
        The name of the file that is submitted.
    """

    version: KernelVersion
    run_id: str
    status: str
    failure: str
    folder: Path
    log: Path
    uploaded: tuple[str, ...] = ()
    size: int = 0
    notes: tuple[str, ...] = ()
    file: str = "submission.csv"

    @property
    def submission(self) -> Path:
        """The file that is submitted."""
        return self.folder / self.file


def push(
    competition: Competition,
    built: BuiltKernel,
    platform: Platform,
    machine: Machine | None = None,
    *,
    pause_s: float = 10.0,
    report: Report = lambda _: None,
) -> PushedKernel:
    """Upload what changed, run the kernel, wait for its end, and fetch its output.

    The state on the platform is recorded in ``pushed.json`` next to the bundle, before and after each step that must
    not be repeated. An interrupted push resumes.

    Parameters
    ----------
    pause_s : float
        Between two requests to the platform.

    Raises
    ------
    ConfigError
        When the competition has an evaluation server, or the platform has no kernels.
    PlatformError
        When it rejects something, or the kernel does not end in time.
    UnansweredError
        When it is not known whether something was created; the next push checks before it sends.
    DamagedError
        When the fetched output is not what the kernel wrote.
    """
    check_no_server(competition)
    if platform.code is None:
        raise ConfigError(f"the platform {platform.name!r} has no kernels", hint="`wb kernel rehearse` runs it here")
    with lock(built.folder / ".push.lock", f"pushing the kernel {built.name!r}"):
        return _Push(competition, built, platform.code, machine or Machine(), pause_s, report).run()


def pushed(folder: Path, owner: str) -> tuple[PushedKernel, str]:
    """Return the newest version of a kernel whose run finished, and the state of a newer one, if there is one.

    Parameters
    ----------
    folder : Path
        The kernel's folder: ``kernels/012``.
    owner : str
        The account that the kernel belongs to.

    Raises
    ------
    NotFoundError
        When there is none.
    DamagedError
        When its output has changed since it was fetched.
    """
    record = PushRecord.read(folder)
    complete = record.complete if record is not None and record.owner == owner else None
    if record is None or complete is None:
        raise NotFoundError(
            f"{owner!r} pushed no version of the kernel in {folder} that finished",
            hint="`wb kernel push` pushes it and waits",
        )
    kernel_run = _pushed(folder, complete)
    if not _has_digest(kernel_run.submission, complete.sha256):
        raise DamagedError(
            f"{kernel_run.submission} is not what the kernel wrote", hint="`wb kernel push` fetches it again"
        )
    newest, newer = record.newest, ""
    if record.sending is not None or newest is None:
        newer = "a later push was interrupted"
    elif newest.push != complete.push:
        ending = "was not observed to finish" if newest.status is None else f"ended with {newest.status}"
        newer = f"version {newest.number} was pushed after it and {ending}"
    return kernel_run, newer


def _pushed(folder: Path, kernel: KernelRecord) -> PushedKernel:
    place = folder / "pushed" / f"v{kernel.number}"
    log = place.with_name(f"{place.name}.log")
    return PushedKernel(
        kernel.version, kernel.run_id, kernel.status or "", kernel.failure, place, log, file=kernel.file
    )


class _Push:
    """One push; `record` is the last recorded state on the platform."""

    def __init__(
        self,
        competition: Competition,
        built: BuiltKernel,
        code: CodeHost,
        machine: Machine,
        pause_s: float,
        report: Report,
    ) -> None:
        self.competition, self.built, self.code, self.machine = competition, built, code, machine
        self.pause_s, self.report = pause_s, report
        self.uploaded: list[PackedFile] = []
        self.notes: list[str] = []
        record = PushRecord.read(built.folder)
        if record is not None and record.owner != code.owner:
            self.notes.append(f"earlier pushes were by {record.owner!r}: the state of {code.owner!r} is unknown")
            record = None
        self.record = record or PushRecord(owner=code.owner)
        # A snapshot, as another build may overwrite files while this one uploads.
        self.files = packed_files(built.bundle)
        self.manifest = self.read_manifest()

    def read_manifest(self) -> dict[str, Any]:
        manifest: dict[str, Any] = read_json(self.built.bundle / MANIFEST)
        digests = {f.name: f.sha256 for f in self.files if f.name != MANIFEST}
        if digests != manifest["files"]:
            raise DamagedError(
                f"{self.built.bundle} is not what its manifest says: another build may be at work in it",
                hint="`wb kernel push` builds it again",
            )
        return manifest

    def write_record(self) -> None:
        self.record.write(self.built.folder)

    def run(self) -> PushedKernel:
        base = f"{self.built.name}-base"
        base_record = self.record.datasets.get(base, DatasetRecord())
        state = self.code.dataset(base) if base_record.files else None
        if state is not None:
            self.check_private(base, state)
        base_files = base_record.files if state is not None and state.version == base_record.version else {}
        files_by_layer = layers(self.files, base_files)
        for layer, files in files_by_layer.items():
            self.put(f"{self.built.name}-{layer}", files)
        self.save([f"{self.built.name}-{layer}" for layer in NAMES if layer in files_by_layer or layer == "base"])
        kernel = self.wait()
        size = sum(f.size for f in self.uploaded)
        names = tuple(f.name for f in self.uploaded)
        return replace(_pushed(self.built.folder, kernel), uploaded=names, size=size, notes=tuple(self.notes))

    # ----------------------------------------------------------------------------------------------------- datasets

    def put(self, name: str, files: list[PackedFile]) -> None:
        """Make sure that the newest version of a dataset has these files."""
        dataset = self.record.datasets.setdefault(name, DatasetRecord())
        wanted = {f.flat: f.sha256 for f in files}
        if dataset.sending is not None:
            dataset = self.settle(name, dataset, dataset.sending)
        state = self.code.dataset(name)
        if state is not None:
            self.check_private(name, state)
        if state is not None and (state.version, wanted) == (dataset.version, dataset.files):
            return
        earlier = set(dataset.uploads)
        tokens = [self.upload(file, dataset) for file in files]
        before = state.version if state else 0
        dataset.sending = DatasetSending(before=before, files=wanted)
        self.write_record()
        self.report(f"dataset {name}")
        unanswered = None
        try:
            self.code.put_dataset(name, tokens, first=state is None, notes=f"wb kernel push {self.built.name}")
        except UnansweredError as exc:
            unanswered = exc
        except PlatformError as exc:
            # Nothing was created. Uploads of an earlier push may have expired and be the reason.
            dataset.sending = None
            for stale in () if isinstance(exc, LoginError) else earlier:
                dataset.uploads.pop(stale, None)
            self.write_record()
            raise
        created = self.wait_for_version(name, before)
        if created is None:
            text = unanswered.message if unanswered else f"a version of the dataset {name!r} was accepted"
            raise UnansweredError(f"{text}; it is not listed", hint=CHECKS_AGAIN)
        self.check_complete(name, created, files)
        self.record_version(name, created.version, wanted)
        self.check_private(name, created)

    def check_private(self, name: str, state: DatasetState) -> None:
        """Refuse a public dataset: it would publish the competition's code and models."""
        if not state.is_private:
            raise PlatformError(
                f"the dataset {self.code.owner}/{name} is public, and the kernel's code and models would be, too",
                hint=f"make it private, or delete it: {DATASETS_WEB}/{self.code.owner}/{name}/settings; then "
                "`wb kernel push` again",
            )

    def settle(self, name: str, dataset: DatasetRecord, sending: DatasetSending) -> DatasetRecord:
        """Find out whether a version that an interrupted push was creating exists."""
        self.report(f"dataset {name}: was a version created before the last push was interrupted?")
        created = self.wait_for_version(name, sending.before)
        listed = (
            self.code.dataset_files(name, created.version) if created is not None and created.status == "ready" else {}
        )
        if created is not None and set(listed) == set(sending.files):
            return self.record_version(name, created.version, sending.files)
        dataset.sending = None
        self.write_record()
        return dataset

    def record_version(self, name: str, version: int, files: dict[str, str]) -> DatasetRecord:
        dataset = self.record.datasets[name] = DatasetRecord(version=version, files=files)
        self.write_record()
        return dataset

    def upload(self, file: PackedFile, dataset: DatasetRecord) -> str:
        earlier = dataset.uploads.get(file.flat)
        if earlier is None or earlier.sha256 != file.sha256 or earlier.at < time.time() - TOKEN_S:
            self.report(f"uploading {file.name}")
            token = self.code.upload(file.path)
            if file_sha256(file.path) != file.sha256:
                raise DamagedError(f"{file.path} changed while it was uploaded", hint="`wb kernel push` again")
            earlier = dataset.uploads[file.flat] = Upload(sha256=file.sha256, token=token, at=time.time())
            self.uploaded.append(file)
            self.write_record()
        return earlier.token

    def wait_for_version(self, name: str, before: int) -> DatasetState | None:
        """Return the version that came after `before` once it is ready or failed; None where none comes."""
        started = time.monotonic()
        limit = self.code.delay_s
        while True:
            state = self.code.dataset(name)
            if state is not None and state.version > before and state.status != "pending":
                return state
            if state is not None and state.status == "pending":
                limit = PENDING_S
            if time.monotonic() - started > limit:
                return None
            time.sleep(min(self.pause_s, self.code.delay_s / 4))

    def check_complete(self, name: str, created: DatasetState, files: list[PackedFile]) -> None:
        """Check that every file is listed: one whose upload failed is silently missing."""
        listed = self.code.dataset_files(name, created.version) if created.status == "ready" else {}
        missing = [f.flat for f in files if f.flat not in listed]
        if missing:
            self.record.datasets[name] = DatasetRecord()
            self.write_record()
            raise PlatformError(
                f"version {created.version} of the dataset {name!r} is {created.status} with {len(listed)} files, "
                f"expected {len(files)}; missing: {', '.join(missing[:5])}",
                hint="`wb kernel push` uploads them again",
            )
        # (?) Whether the sizes that are listed are always those of the files is not known: the kernel compares
        # digests before it predicts.
        resized = [f"{f.flat} ({listed[f.flat]:,} bytes; {f.size:,} here)" for f in files if listed[f.flat] != f.size]
        if resized:
            self.notes.append(f"of another size in the dataset {name!r}: {', '.join(resized[:3])}")

    # ------------------------------------------------------------------------------------------------------- kernel

    def save(self, names: list[str]) -> None:
        """Make sure that the newest version of the kernel is this notebook, on these versions of its datasets."""
        record = self.record
        name = record.name or self.built.name
        datasets = {dataset: record.datasets[dataset].model_dump(include={"version", "files"}) for dataset in names}
        key = content_key(file_sha256(self.built.notebook), datasets, vars(self.machine))
        state = self.code.kernel(name)
        if record.sending is not None:
            saved_state = self.find_saved(name, record.sending.push)
            if saved_state is not None:
                state = saved_state
                self.record_newest(record.sending, saved_state.version)
        newest = record.newest
        is_same = newest is not None and newest.key == key and newest.status in (None, "complete")
        # Another version may have been saved since, on the kernel's page; this one and its run still exist.
        if newest is not None and is_same and state is not None and self.is_saved(newest, state):
            return
        if state is None:
            # It was deleted, or never existed: version numbers start again.
            record.newest = record.complete = None
        number = (state.version.number if state else 0) + 1
        # The time distinguishes it from a push of a deleted kernel or of a failed version.
        push = f"{key[:12]}.{number}.{time.time():.0f}"
        record.sending = KernelSending(key=key, push=push, run_id=self.manifest["run_id"])
        self.write_record()
        self.report("kernel")
        source = KernelSource(
            title=self.built.name.replace("-", " "),
            notebook=_with_push(self.built.notebook, push),
            datasets=tuple(names),
            competition=self.competition.slug,
            accelerator=self.machine.accelerator,
            docker_pin=self.machine.docker_pin,
            limit_s=None if self.machine.minutes is None else 60 * self.machine.minutes,
        )
        try:
            version = self.code.save_kernel(name, source)
        except UnansweredError as exc:
            state = self.find_saved(name, push)
            if state is None:
                raise UnansweredError(f"{exc.message}; it is not listed", hint=CHECKS_AGAIN) from exc
            version = state.version
        except PlatformError:
            record.sending = None
            self.write_record()
            raise
        self.record_newest(record.sending, version)

    def record_newest(self, sending: KernelSending, version: KernelVersion) -> None:
        self.record.newest = KernelRecord(**sending.model_dump(), **vars(version))
        self.record.name, self.record.sending = version.name, None
        self.write_record()

    def is_saved(self, kernel: KernelRecord, newest: KernelState) -> bool:
        """Tell whether a pushed version still exists: numbers start again when a kernel was deleted."""
        if newest.version.number < kernel.number:
            return False
        if newest.version.number == kernel.number:
            return kernel.push in newest.source
        state = self.code.kernel(kernel.name, kernel.number)
        return state is not None and kernel.push in state.source

    def find_saved(self, name: str, push: str) -> KernelState | None:
        """Wait for the version of the kernel that is of this push; None where it does not appear in time."""
        started = time.monotonic()
        first_number, checked = int(push.split(".")[1]), set[int]()
        while True:
            state = self.code.kernel(name)
            if state is not None and push in state.source:
                return state
            # Versions may have been saved on the kernel's page since: the push's has a lower number then.
            earlier_numbers = range(first_number, state.version.number) if state is not None else range(0)
            for number in (n for n in earlier_numbers if n not in checked):
                checked.add(number)
                state = self.code.kernel(name, number)
                if state is not None and push in state.source:
                    return state
            if time.monotonic() - started > self.code.delay_s:
                return None
            time.sleep(min(self.pause_s, self.code.delay_s / 4))

    def wait(self) -> KernelRecord:
        """Wait for the end of the run, and fetch its log and output."""
        kernel, complete = self.record.newest, self.record.complete
        if kernel is None:
            raise PlatformError("no version of the kernel was saved")
        is_fetched = complete is not None and complete.push == kernel.push
        submission = None if complete is None else _pushed(self.built.folder, complete).submission
        if complete is not None and submission is not None and is_fetched and _has_digest(submission, complete.sha256):
            return complete
        status, failure, log = self.wait_for_end(kernel)
        run_files = _pushed(self.built.folder, kernel)
        write_text(run_files.log, process_masks().text(log))
        if status != "complete":
            kernel.status, kernel.failure = status, failure
            if any(words in log for words in DOUBT):
                # The datasets do not hold what was uploaded: the next push uploads everything.
                self.record.datasets.clear()
            self.write_record()
        self.fetch(kernel, run_files.folder, is_complete=status == "complete")
        if status == "complete":
            kernel.status = status
            self.record.complete = kernel
            self.write_record()
        return kernel

    def fetch(self, kernel: KernelRecord, folder: Path, *, is_complete: bool) -> None:
        """Fetch the run's output into its folder; that of a failed run as far as possible."""
        self.report("output")
        # An interrupted push may have fetched a part of it, which is not fetched again.
        partial = folder.with_name(f".{folder.name}-{kernel.push}")
        partial.mkdir(parents=True, exist_ok=True)
        try:
            unsafe_names = self.code.fetch_output(kernel.version, partial)
            self.notes += [f"not fetched, its name leads out of the folder: {name!r}" for name in unsafe_names]
            if is_complete:
                self.accept(kernel, partial)
        except PlatformError as exc:
            if is_complete or isinstance(exc, LoginError):
                raise
            self.notes.append(f"the failed run's output could not be fetched: {exc.message}")
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)

    def accept(self, kernel: KernelRecord, folder: Path) -> None:
        """Check that the fetched output is of this push's run."""
        hint = "`wb kernel push` fetches it again"
        path = folder / RECEIPT
        try:
            content = read_json(path) if path.is_file() else {}
        except DamagedError as exc:
            shutil.rmtree(folder, ignore_errors=True)
            raise DamagedError(f"the fetched output is not what the kernel wrote: {exc.message}", hint=hint) from exc
        receipt = content if isinstance(content, dict) else {}
        if (receipt.get("push"), receipt.get("run_id")) != (kernel.push, kernel.run_id):
            kernel.status = "unknown"
            self.write_record()
            shutil.rmtree(folder, ignore_errors=True)
            problem = f"is of {receipt.get('push')!r} and run {receipt.get('run_id')!r}" if receipt else "is missing"
            raise DamagedError(
                f"the kernel's {RECEIPT} {problem}; expected {kernel.push!r} and run {kernel.run_id!r}",
                hint="`wb kernel push` runs it again",
            )
        name = PurePosixPath(str(receipt.get("file") or "submission.csv")).name
        if not _has_digest(folder / name, receipt.get("sha256")):
            shutil.rmtree(folder, ignore_errors=True)
            raise DamagedError(f"the fetched {name} is not what the kernel wrote", hint=hint)
        kernel.file, kernel.sha256 = name, str(receipt["sha256"])

    def wait_for_end(self, kernel: KernelRecord) -> tuple[str, str, str]:
        """Wait for the end of a version's run; return its status, failure message and log."""
        name, push = kernel.name, kernel.push
        started = readable_at = time.monotonic()
        run_s = SESSION_S if self.machine.minutes is None else 60 * self.machine.minutes
        limit, shown_status, ambiguous_since = run_s + QUEUE_S, "", None
        while True:
            ending, now = self.code.kernel_status(kernel.version), time.monotonic()
            # For a while after a push its status can't be read.
            if ending is not None:
                readable_at = now
            elif now - readable_at > self.code.delay_s:
                raise PlatformError(
                    f"the platform gives no status of the kernel {name!r}", hint="`wb kernel push` asks again"
                )
            if ending is not None and ending[0] in ("complete", "error", "cancelled"):
                log = self.code.kernel_log(kernel.version)
                ambiguous_since = now if ambiguous_since is None else ambiguous_since
                if f"push {push}" in log or (
                    now - ambiguous_since > self.code.delay_s and self.is_of_this_version(kernel, ending, log)
                ):
                    return *ending, log
                if now - ambiguous_since > QUEUE_S:
                    raise PlatformError(
                        f"the platform shows a run of the kernel {name!r} that ended with {ending[0]}, and which is "
                        f"not that of version {kernel.number}",
                        hint="look at the kernel's page; `wb kernel push` asks again",
                    )
            elif ending is not None and ending[0] != shown_status:
                shown_status, ambiguous_since = ending[0], None
                self.report(f"kernel {shown_status}")
            if now - started > limit:
                raise PlatformError(
                    f"the kernel {name!r} has not ended after {limit / 60:.0f} minutes",
                    hint="`wb kernel push` waits for it again",
                )
            time.sleep(self.pause_s)

    def is_of_this_version(self, kernel: KernelRecord, ending: tuple[str, str], log: str) -> bool:
        """Tell whether a finished run that printed no push is this version's.

        It is not while the platform still shows an earlier run: that printed another push, or equals in all respects
        what the platform shows of the version before.
        """
        if _PUSH.search(log):
            return False
        if kernel.number == 1:
            return True
        before = KernelVersion(kernel.owner, kernel.name, kernel.number - 1)
        return self.code.kernel_status(before) != ending or self.code.kernel_log(before) != log


def _with_push(notebook: Path, push: str) -> str:
    """Return the notebook's text with its push as a parameter."""
    node = json.loads(notebook.read_text(encoding="utf-8"))
    for cell in node["cells"]:
        if PARAMETERS_TAG in cell["metadata"].get("tags", []):
            cell["source"] = f"push = {json.dumps(push)}"
        # nbformat allows a list of lines, too; the platform expects a single text.
        cell["source"] = "".join(cell["source"])
    return json.dumps(node)


def _has_digest(submission: Path, sha256: str | None) -> bool:
    return submission.is_file() and file_sha256(submission) == sha256
