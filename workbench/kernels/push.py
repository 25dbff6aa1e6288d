"""A built kernel on the platform: its datasets, its run, what it wrote; each made once, whatever breaks off."""

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
from workbench.core.credentials import own_masks
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

__all__ = ["Machine", "Pushed", "push", "pushed"]

TOKEN_S = 6 * 24 * 3600
"""An upload that no version was made of is good for so long; the client, too, goes on with it for a week."""

PENDING_S = 30 * 60
"""A dataset that is not ready after that never will be."""

QUEUE_S = 30 * 60
"""A run may stand in the queue for so long, beyond the time that it may take."""

SESSION_S = 12 * 3600
"""Kaggle ends a run after that (https://www.kaggle.com/docs/notebooks): where no other limit is sent."""

DOUBT = ("is not what was packed", "that was packed", "is missing")
"""Words in the log of a run that did not find in its datasets what it was packed with."""

_PUSH = re.compile(r"^push [0-9a-f]{12}\.\d+\.\d+", re.MULTILINE)
"""The line that a run prints first."""

DATASETS_WEB = "https://www.kaggle.com/datasets"

LOOKS_AGAIN = "`wb kernel push` looks again before it sends anything"

Report = Callable[[str], None]


@dataclass(frozen=True)
class Machine:
    """What a kernel runs on.

    Attributes
    ----------
    accelerator : str
        In the platform's words, such as ``"NvidiaTeslaT4"``; "" for none.
    docker_pin : str
        ``"original"`` (the image of the kernel's first version) or ``"latest"``.
    minutes : float, optional
        After so many Kaggle is to end the run. By default no limit is sent, and Kaggle's own holds.
    """

    accelerator: str = ""
    docker_pin: str = "original"
    minutes: float | None = None


@dataclass(frozen=True)
class Pushed:
    """A run of a kernel on the platform.

    Attributes
    ----------
    version : KernelVersion
    run_id : str
        Of the run whose models it has.
    status : str
        ``"complete"``, ``"error"`` or ``"cancelled"``.
    failure : str
        In the platform's words.
    folder : Path
        What it wrote.
    log : Path
        What it printed.
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
) -> Pushed:
    """Upload what changed, run the kernel, wait for its end, and fetch what it wrote.

    What is known of the platform is kept in ``pushed.json`` beside the bundle, written before and after each thing
    that must not be made twice. A push that was cut off is taken up where it was.

    Parameters
    ----------
    pause_s : float
        Between two questions to the platform.

    Raises
    ------
    ConfigError
        When the competition has an evaluation server, or the platform has no kernels.
    PlatformError
        When it refuses, or the kernel does not end in time.
    UnansweredError
        When it is not known whether something was made; the next push looks before it sends.
    DamagedError
        When what came is not what the kernel wrote.
    """
    check_no_server(competition)
    if platform.code is None:
        raise ConfigError(f"the platform {platform.name!r} has no kernels", hint="`wb kernel rehearse` runs it here")
    with lock(built.folder / ".push.lock", f"pushing the kernel {built.name!r}"):
        return _Push(competition, built, platform.code, machine or Machine(), pause_s, report).run()


def pushed(folder: Path, owner: str) -> tuple[Pushed, str]:
    """Return the newest version of a kernel whose run came to its end, and what became of a newer one, if there is one.

    Parameters
    ----------
    folder : Path
        Of the kernel: ``kernels/012``.
    owner : str
        Whose kernel.

    Raises
    ------
    NotFoundError
        When there is none.
    DamagedError
        When what it wrote is no longer what came.
    """
    record = PushRecord.read(folder)
    complete = record.complete if record is not None and record.owner == owner else None
    if record is None or complete is None:
        raise NotFoundError(
            f"{owner!r} pushed no version of the kernel in {folder} that came to its end",
            hint="`wb kernel push` pushes it and waits",
        )
    found = _pushed(folder, complete)
    if not _is_whole(found.submission, complete.sha256):
        raise DamagedError(f"{found.submission} is not what the kernel wrote", hint="`wb kernel push` fetches it again")
    newest, newer = record.newest, ""
    if record.sending is not None or newest is None:
        newer = "a push after it was cut off"
    elif newest.push != complete.push:
        ended = "was not seen to end" if newest.status is None else f"ended with {newest.status}"
        newer = f"version {newest.number} was pushed after it and {ended}"
    return found, newer


def _pushed(folder: Path, kernel: KernelRecord) -> Pushed:
    place = folder / "pushed" / f"v{kernel.number}"
    log = place.with_name(f"{place.name}.log")
    return Pushed(kernel.version, kernel.run_id, kernel.status or "", kernel.failure, place, log, file=kernel.file)


class _Push:
    """One push; `record` is what is known of the platform."""

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
            self.notes.append(f"the pushes before were by {record.owner!r}: what {code.owner!r} has is not known")
            record = None
        self.record = record or PushRecord(owner=code.owner)
        # What is pushed is what is there now: another build may write over it while this one uploads.
        self.files = packed_files(built.bundle)
        self.manifest = self.read_manifest()

    def read_manifest(self) -> dict[str, Any]:
        manifest: dict[str, Any] = read_json(self.built.bundle / MANIFEST)
        there = {f.name: f.sha256 for f in self.files if f.name != MANIFEST}
        if there != manifest["files"]:
            raise DamagedError(
                f"{self.built.bundle} is not what its manifest says: another build may be at work in it",
                hint="`wb kernel push` builds it again",
            )
        return manifest

    def keep(self) -> None:
        self.record.write(self.built.folder)

    def run(self) -> Pushed:
        base = f"{self.built.name}-base"
        held = self.record.datasets.get(base, DatasetRecord())
        state = self.code.dataset(base) if held.files else None
        if state is not None:
            self.check_private(base, state)
        known = held.files if state is not None and state.version == held.version else {}
        found = layers(self.files, known)
        for layer, files in found.items():
            self.put(f"{self.built.name}-{layer}", files)
        self.save([f"{self.built.name}-{layer}" for layer in NAMES if layer in found or layer == "base"])
        kernel = self.wait()
        size = sum(f.size for f in self.uploaded)
        names = tuple(f.name for f in self.uploaded)
        return replace(_pushed(self.built.folder, kernel), uploaded=names, size=size, notes=tuple(self.notes))

    # ----------------------------------------------------------------------------------------------------- datasets

    def put(self, name: str, files: list[PackedFile]) -> None:
        """See to it that the newest version of a dataset has these files."""
        held = self.record.datasets.setdefault(name, DatasetRecord())
        wanted = {f.flat: f.sha256 for f in files}
        if held.sending is not None:
            held = self.settle(name, held, held.sending)
        state = self.code.dataset(name)
        if state is not None:
            self.check_private(name, state)
        if state is not None and (state.version, wanted) == (held.version, held.files):
            return
        earlier = set(held.uploads)
        tokens = [self.upload(file, held) for file in files]
        before = state.version if state else 0
        held.sending = DatasetSending(before=before, files=wanted)
        self.keep()
        self.report(f"dataset {name}")
        lost = None
        try:
            self.code.put_dataset(name, tokens, first=state is None, notes=f"wb kernel push {self.built.name}")
        except UnansweredError as exc:
            lost = exc
        except PlatformError as exc:
            # Nothing is on its way. Uploads that are not of this push may be too old, and the reason.
            held.sending = None
            for stale in () if isinstance(exc, LoginError) else earlier:
                held.uploads.pop(stale, None)
            self.keep()
            raise
        made = self.appeared(name, before)
        if made is None:
            said = lost.message if lost else f"a version of the dataset {name!r} was taken"
            raise UnansweredError(f"{said}; it is not shown", hint=LOOKS_AGAIN)
        self.check(name, made, files)
        self.taken(name, made.version, wanted)
        self.check_private(name, made)

    def check_private(self, name: str, state: DatasetState) -> None:
        """Refuse a dataset that others see: it has the competition's code and models in it."""
        if not state.is_private:
            raise PlatformError(
                f"the dataset {self.code.owner}/{name} is public, and the kernel's code and models would be, too",
                hint=f"make it private, or delete it: {DATASETS_WEB}/{self.code.owner}/{name}/settings; then "
                "`wb kernel push` again",
            )

    def settle(self, name: str, held: DatasetRecord, sending: DatasetSending) -> DatasetRecord:
        """Find out what became of a version that an earlier push was making when it was cut off."""
        self.report(f"dataset {name}: was a version made when the last push was cut off?")
        made = self.appeared(name, sending.before)
        there = self.code.dataset_files(name, made.version) if made is not None and made.status == "ready" else {}
        if made is not None and set(there) == set(sending.files):
            return self.taken(name, made.version, sending.files)
        held.sending = None
        self.keep()
        return held

    def taken(self, name: str, version: int, files: dict[str, str]) -> DatasetRecord:
        held = self.record.datasets[name] = DatasetRecord(version=version, files=files)
        self.keep()
        return held

    def upload(self, file: PackedFile, held: DatasetRecord) -> str:
        known = held.uploads.get(file.flat)
        if known is None or known.sha256 != file.sha256 or known.at < time.time() - TOKEN_S:
            self.report(f"uploading {file.name}")
            token = self.code.upload(file.path)
            if file_sha256(file.path) != file.sha256:
                raise DamagedError(f"{file.path} changed while it was uploaded", hint="`wb kernel push` again")
            known = held.uploads[file.flat] = Upload(sha256=file.sha256, token=token, at=time.time())
            self.uploaded.append(file)
            self.keep()
        return known.token

    def appeared(self, name: str, before: int) -> DatasetState | None:
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

    def check(self, name: str, made: DatasetState, files: list[PackedFile]) -> None:
        """Look whether every file is there: one whose upload failed is left out without a word."""
        there = self.code.dataset_files(name, made.version) if made.status == "ready" else {}
        missing = [f.flat for f in files if f.flat not in there]
        if missing:
            self.record.datasets[name] = DatasetRecord()
            self.keep()
            raise PlatformError(
                f"version {made.version} of the dataset {name!r} is {made.status} with {len(there)} files, expected "
                f"{len(files)}; missing: {', '.join(missing[:5])}",
                hint="`wb kernel push` uploads them again",
            )
        # (?) Whether the sizes that are listed are always those of the files is not known: the kernel compares
        # digests before it predicts.
        other = [f"{f.flat} ({there[f.flat]:,} bytes; {f.size:,} here)" for f in files if there[f.flat] != f.size]
        if other:
            self.notes.append(f"of another size in the dataset {name!r}: {', '.join(other[:3])}")

    # ------------------------------------------------------------------------------------------------------- kernel

    def save(self, names: list[str]) -> None:
        """See to it that the newest version of the kernel is this notebook, on these versions of its datasets."""
        record = self.record
        name = record.name or self.built.name
        datasets = {dataset: record.datasets[dataset].model_dump(include={"version", "files"}) for dataset in names}
        key = content_key(file_sha256(self.built.notebook), datasets, vars(self.machine))
        state = self.code.kernel(name)
        if record.sending is not None:
            arrived = self.saved(name, record.sending.push)
            if arrived is not None:
                state = arrived
                self.noted(record.sending, arrived.version)
        newest = record.newest
        is_same = newest is not None and newest.key == key and newest.status in (None, "complete")
        # Another version may have been saved since, on the kernel's page: this one and its run are still there.
        if newest is not None and is_same and state is not None and self.is_saved(newest, state):
            return
        if state is None:
            # It was deleted, if there ever was one: numbers begin anew.
            record.newest = record.complete = None
        number = (state.version.number if state else 0) + 1
        # The time makes it another one than that of a kernel that was deleted, or of a version that failed.
        push = f"{key[:12]}.{number}.{time.time():.0f}"
        record.sending = KernelSending(key=key, push=push, run_id=self.manifest["run_id"])
        self.keep()
        self.report("kernel")
        source = KernelSource(
            title=self.built.name.replace("-", " "),
            notebook=_told(self.built.notebook, push),
            datasets=tuple(names),
            competition=self.competition.slug,
            accelerator=self.machine.accelerator,
            docker_pin=self.machine.docker_pin,
            limit_s=None if self.machine.minutes is None else 60 * self.machine.minutes,
        )
        try:
            version = self.code.save_kernel(name, source)
        except UnansweredError as exc:
            state = self.saved(name, push)
            if state is None:
                raise UnansweredError(f"{exc.message}; it is not shown", hint=LOOKS_AGAIN) from exc
            version = state.version
        except PlatformError:
            record.sending = None
            self.keep()
            raise
        self.noted(record.sending, version)

    def noted(self, sending: KernelSending, version: KernelVersion) -> None:
        self.record.newest = KernelRecord(**sending.model_dump(), **vars(version))
        self.record.name, self.record.sending = version.name, None
        self.keep()

    def is_saved(self, kernel: KernelRecord, newest: KernelState) -> bool:
        """Say whether a version that was pushed is still there: numbers begin anew where a kernel was deleted."""
        if newest.version.number < kernel.number:
            return False
        if newest.version.number == kernel.number:
            return kernel.push in newest.source
        state = self.code.kernel(kernel.name, kernel.number)
        return state is not None and kernel.push in state.source

    def saved(self, name: str, push: str) -> KernelState | None:
        """Return the version of the kernel that is of this push, once it is there; None where it never is."""
        started = time.monotonic()
        first, looked_at = int(push.split(".")[1]), set[int]()
        while True:
            state = self.code.kernel(name)
            if state is not None and push in state.source:
                return state
            # Versions may have been saved on the kernel's page since: that of the push lies below them then.
            below = range(first, state.version.number) if state is not None else range(0)
            for number in (n for n in below if n not in looked_at):
                looked_at.add(number)
                state = self.code.kernel(name, number)
                if state is not None and push in state.source:
                    return state
            if time.monotonic() - started > self.code.delay_s:
                return None
            time.sleep(min(self.pause_s, self.code.delay_s / 4))

    def wait(self) -> KernelRecord:
        """Wait for the end of the run, and fetch its log and what it wrote."""
        kernel, complete = self.record.newest, self.record.complete
        if kernel is None:
            raise PlatformError("no version of the kernel was saved")
        fetched = complete is not None and complete.push == kernel.push
        there = None if complete is None else _pushed(self.built.folder, complete).submission
        if complete is not None and there is not None and fetched and _is_whole(there, complete.sha256):
            return complete
        status, failure, log = self.ended(kernel)
        place = _pushed(self.built.folder, kernel)
        write_text(place.log, own_masks().text(log))
        if status != "complete":
            kernel.status, kernel.failure = status, failure
            if any(words in log for words in DOUBT):
                # What is in the datasets is not what was uploaded: the next push brings all of it.
                self.record.datasets.clear()
            self.keep()
        self.fetch(kernel, place.folder, whole=status == "complete")
        if status == "complete":
            kernel.status = status
            self.record.complete = kernel
            self.keep()
        return kernel

    def fetch(self, kernel: KernelRecord, folder: Path, *, whole: bool) -> None:
        """Bring what the run wrote to its folder; that of a run that failed as far as it can be had."""
        self.report("output")
        # What arrived when an earlier push was cut off is there to go on from.
        arriving = folder.with_name(f".{folder.name}-{kernel.push}")
        arriving.mkdir(parents=True, exist_ok=True)
        try:
            refused = self.code.fetch_output(kernel.version, arriving)
            self.notes += [f"not fetched, its name leads out of the folder: {name!r}" for name in refused]
            if whole:
                self.accept(kernel, arriving)
        except PlatformError as exc:
            if whole or isinstance(exc, LoginError):
                raise
            self.notes.append(f"what the run had written could not be fetched: {exc.message}")
        shutil.rmtree(folder, ignore_errors=True)
        arriving.rename(folder)

    def accept(self, kernel: KernelRecord, folder: Path) -> None:
        """Check that what came is what this push's run wrote."""
        again = "`wb kernel push` fetches it again"
        path = folder / RECEIPT
        try:
            found = read_json(path) if path.is_file() else {}
        except DamagedError as exc:
            shutil.rmtree(folder, ignore_errors=True)
            raise DamagedError(f"what came is not what the kernel wrote: {exc.message}", hint=again) from exc
        told = found if isinstance(found, dict) else {}
        if (told.get("push"), told.get("run_id")) != (kernel.push, kernel.run_id):
            kernel.status = "unknown"
            self.keep()
            shutil.rmtree(folder, ignore_errors=True)
            what = f"is of {told.get('push')!r} and run {told.get('run_id')!r}" if told else "is missing"
            raise DamagedError(
                f"the kernel's {RECEIPT} {what}; expected {kernel.push!r} and run {kernel.run_id!r}",
                hint="`wb kernel push` runs it again",
            )
        name = PurePosixPath(str(told.get("file") or "submission.csv")).name
        if not _is_whole(folder / name, told.get("sha256")):
            shutil.rmtree(folder, ignore_errors=True)
            raise DamagedError(f"the {name} that came is not what the kernel wrote", hint=again)
        kernel.file, kernel.sha256 = name, str(told["sha256"])

    def ended(self, kernel: KernelRecord) -> tuple[str, str, str]:
        """Return how a version's run ended, why it failed, and its log."""
        name, push = kernel.name, kernel.push
        started = readable = time.monotonic()
        run_s = SESSION_S if self.machine.minutes is None else 60 * self.machine.minutes
        limit, seen, doubtful = run_s + QUEUE_S, "", None
        while True:
            found, now = self.code.kernel_status(kernel.version), time.monotonic()
            # For a while after a push its status can't be read.
            if found is not None:
                readable = now
            elif now - readable > self.code.delay_s:
                raise PlatformError(
                    f"the platform does not tell how the kernel {name!r} is doing", hint="`wb kernel push` asks again"
                )
            if found is not None and found[0] in ("complete", "error", "cancelled"):
                log = self.code.kernel_log(kernel.version)
                doubtful = now if doubtful is None else doubtful
                if f"push {push}" in log or (now - doubtful > self.code.delay_s and self.is_own(kernel, found, log)):
                    return *found, log
                if now - doubtful > QUEUE_S:
                    raise PlatformError(
                        f"the platform shows a run of the kernel {name!r} that ended with {found[0]}, and which is not "
                        f"that of version {kernel.number}",
                        hint="look at the kernel's page; `wb kernel push` asks again",
                    )
            elif found is not None and found[0] != seen:
                seen, doubtful = found[0], None
                self.report(f"kernel {seen}")
            if now - started > limit:
                raise PlatformError(
                    f"the kernel {name!r} has not ended after {limit / 60:.0f} minutes",
                    hint="`wb kernel push` waits for it again",
                )
            time.sleep(self.pause_s)

    def is_own(self, kernel: KernelRecord, found: tuple[str, str], log: str) -> bool:
        """Say whether the end of a run that did not print which push it is of is the end of this version's.

        For as long as the platform still shows an earlier run it is not, however long that is: it printed another
        push, or is all the same as what the platform shows of the version before.
        """
        if _PUSH.search(log):
            return False
        if kernel.number == 1:
            return True
        before = KernelVersion(kernel.owner, kernel.name, kernel.number - 1)
        return self.code.kernel_status(before) != found or self.code.kernel_log(before) != log


def _told(notebook: Path, push: str) -> str:
    """Return the notebook's text with the push that it is of as its parameter."""
    node = json.loads(notebook.read_text(encoding="utf-8"))
    for cell in node["cells"]:
        if PARAMETERS_TAG in cell["metadata"].get("tags", []):
            cell["source"] = f"push = {json.dumps(push)}"
        # The format knows lists of lines, too; the platform takes one text.
        cell["source"] = "".join(cell["source"])
    return json.dumps(node)


def _is_whole(submission: Path, sha256: str | None) -> bool:
    return submission.is_file() and file_sha256(submission) == sha256
