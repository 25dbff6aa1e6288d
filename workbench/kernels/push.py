"""A built kernel on the platform: its datasets, its run, what it wrote; each made once, whatever breaks off."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from workbench.cache import content_key, file_sha256, lock, read_json, write_json, write_text
from workbench.competition import Competition
from workbench.errors import ConfigError, DamagedError, NotFoundError, PlatformError, UnansweredError
from workbench.kernels.build import BuiltKernel
from workbench.kernels.layers import NAMES, PackedFile, layers, packed_files
from workbench.notebooks import PARAMETERS_TAG
from workbench.platforms import CodeHost, DatasetState, KernelSource, KernelState, KernelVersion, Platform
from workbench.serving import MANIFEST, RECEIPT

__all__ = ["Machine", "Pushed", "push", "pushed"]

TOKEN_S = 6 * 24 * 3600
"""An upload that no version was made of is good for so long; the client, too, goes on with it for a week."""

PENDING_S = 30 * 60
"""A dataset that is not ready after that never will be."""

QUEUE_S = 30 * 60
"""A run may stand in the queue for so long, beyond the time that it may take."""

RECORD = "pushed.json"
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
    minutes : float
        How long it may run.
    """

    accelerator: str = ""
    docker_pin: str = "original"
    minutes: float = 60.0


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

    @property
    def submission(self) -> Path:
        """The file that is submitted."""
        return self.folder / "submission.csv"


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
        When the platform has no kernels.
    PlatformError
        When it refuses, or the kernel does not end in time.
    UnansweredError
        When it is not known whether something was made; the next push looks before it sends.
    DamagedError
        When what came is not what the kernel wrote.
    """
    if platform.code is None:
        raise ConfigError(f"the platform {platform.name!r} has no kernels", hint="`wb kernel rehearse` runs it here")
    with lock(built.folder / ".push.lock", f"pushing the kernel {built.name!r}"):
        return _Push(competition, built, platform.code, machine or Machine(), pause_s, report).run()


def pushed(folder: Path) -> Pushed:
    """Return the newest run of a kernel that was pushed and has ended.

    Parameters
    ----------
    folder : Path
        Of the kernel: ``kernels/012``.

    Raises
    ------
    NotFoundError
        When there is none.
    DamagedError
        When what it wrote is no longer what came.
    """
    complete = _record(folder).get("complete")
    if complete is None:
        raise NotFoundError(
            f"no version of the kernel in {folder} was pushed and came to its end", hint="`wb kernel push` does both"
        )
    found = _pushed(folder, complete)
    if not _is_whole(found.folder, complete):
        raise DamagedError(f"{found.submission} is not what the kernel wrote", hint="`wb kernel push` fetches it again")
    return found


def _record(folder: Path) -> dict[str, Any]:
    path = folder / RECORD
    return dict(read_json(path)) if path.exists() else {}


def _pushed(folder: Path, kernel: dict[str, Any]) -> Pushed:
    version = KernelVersion(**kernel["version"])
    place = folder / "pushed" / f"v{version.number}"
    return Pushed(
        version, kernel["run_id"], kernel["status"], kernel["failure"], place, place.with_name(f"{place.name}.log")
    )


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
        self.record = _record(built.folder)
        self.uploaded: list[PackedFile] = []
        self.notes: list[str] = []

    def keep(self) -> None:
        write_json(self.built.folder / RECORD, self.record)

    def run(self) -> Pushed:
        datasets = self.record.setdefault("datasets", {})
        base = f"{self.built.name}-base"
        held = datasets.get(base, {})
        state = self.code.dataset(base) if held.get("files") else None
        known = held["files"] if state is not None and state.version == held["version"] else {}
        found = layers(packed_files(self.built.bundle), known)
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
        held = self.record["datasets"].setdefault(name, {})
        wanted = {f.flat: f.sha256 for f in files}
        if "sending" in held:
            self.settle(name, held)
        state = self.code.dataset(name)
        if state is not None and (state.version, wanted) == (held.get("version"), held.get("files")):
            return
        tokens = [self.upload(file, held.setdefault("uploads", {})) for file in files]
        before = state.version if state else 0
        sizes = {f.flat: f.size for f in files}
        held["sending"] = {"before": before, "files": wanted, "sizes": sizes}
        self.keep()
        self.report(f"dataset {name}")
        lost = None
        try:
            self.code.put_dataset(name, tokens, first=state is None, notes=f"wb kernel push {self.built.name}")
        except UnansweredError as exc:
            lost = exc
        except PlatformError:
            # Refused: nothing is on its way, and what was uploaded may be the reason.
            del held["sending"], held["uploads"]
            self.keep()
            raise
        made = self.appeared(name, before)
        if made is None:
            said = lost.message if lost else f"a version of the dataset {name!r} was taken"
            raise UnansweredError(f"{said}; it is not shown", hint=LOOKS_AGAIN)
        self.check(name, made, sizes)
        self.taken(held, made.version, wanted)

    def settle(self, name: str, held: dict[str, Any]) -> None:
        """Find out what became of a version that an earlier push was making when it was cut off."""
        self.report(f"dataset {name}: was a version made when the last push was cut off?")
        sending = held.pop("sending")
        made = self.appeared(name, sending["before"])
        ready = made is not None and made.status == "ready"
        if made is not None and ready and self.code.dataset_files(name, made.version) == sending["sizes"]:
            self.taken(held, made.version, sending["files"])
        else:
            self.keep()

    def taken(self, held: dict[str, Any], version: int, files: dict[str, str]) -> None:
        held.clear()
        held |= {"version": version, "files": files}
        self.keep()

    def upload(self, file: PackedFile, uploads: dict[str, Any]) -> str:
        known = uploads.get(file.flat, {})
        if known.get("sha256") != file.sha256 or known["at"] < time.time() - TOKEN_S:
            self.report(f"uploading {file.name}")
            known = {"sha256": file.sha256, "token": self.code.upload(file.path), "at": time.time()}
            uploads[file.flat] = known
            self.uploaded.append(file)
            self.keep()
        return str(known["token"])

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

    def check(self, name: str, made: DatasetState, sizes: dict[str, int]) -> None:
        """Look whether every file is there: one whose upload failed is left out without a word."""
        there = self.code.dataset_files(name, made.version) if made.status == "ready" else {}
        missing = [n for n in sizes if n not in there]
        if missing:
            self.record["datasets"][name].clear()
            self.keep()
            raise PlatformError(
                f"version {made.version} of the dataset {name!r} is {made.status} with {len(there)} files, expected "
                f"{len(sizes)}; missing: {', '.join(missing[:5])}",
                hint="`wb kernel push` uploads them again",
            )
        # (?) Whether the sizes that are listed are always those of the files is not known: the kernel compares
        # digests before it predicts.
        other = [f"{n} ({there[n]:,} bytes; it has {size:,} here)" for n, size in sizes.items() if there[n] != size]
        if other:
            self.notes.append(f"of another size in the dataset {name!r}: {', '.join(other[:3])}")

    # ------------------------------------------------------------------------------------------------------- kernel

    def save(self, names: list[str]) -> None:
        """See to it that the newest version of the kernel is this notebook, on these versions of its datasets."""
        kernel = self.record.setdefault("kernel", {})
        name = kernel.setdefault("name", self.built.name)
        versions = {dataset: self.record["datasets"][dataset]["version"] for dataset in names}
        key = content_key(file_sha256(self.built.notebook), versions, vars(self.machine))
        state = self.code.kernel(name)
        if "sending" in kernel:
            sending = kernel.pop("sending")
            arrived = self.saved(name, sending["push"])
            if arrived is not None:
                state = arrived
                kernel |= {**sending, "version": vars(state.version)}
        newest = state is not None and kernel.get("version") == vars(state.version)
        if newest and kernel["key"] == key and kernel.get("status", "complete") == "complete":
            return self.keep()
        push = f"{key[:12]}.{(state.version.number if state else 0) + 1}"
        sending = {"key": key, "push": push, "run_id": read_json(self.built.bundle / MANIFEST)["run_id"]}
        self.record["kernel"] = kernel = {"name": name, "sending": sending}
        self.keep()
        self.report("kernel")
        source = KernelSource(
            title=self.built.name.replace("-", " "),
            notebook=_told(self.built.notebook, push),
            datasets=tuple(names),
            competition=self.competition.slug,
            accelerator=self.machine.accelerator,
            docker_pin=self.machine.docker_pin,
            limit_s=60 * self.machine.minutes,
        )
        try:
            version = self.code.save_kernel(name, source)
        except UnansweredError as exc:
            state = self.saved(name, push)
            if state is None:
                raise UnansweredError(f"{exc.message}; it is not shown", hint=LOOKS_AGAIN) from exc
            version = state.version
        except PlatformError:
            del kernel["sending"]
            self.keep()
            raise
        self.record["kernel"] = {"name": version.name, **sending, "version": vars(version)}
        return self.keep()

    def saved(self, name: str, told: str) -> KernelState | None:
        """Return the newest version of the kernel once it is the one that was told this; None where it never is."""
        started = time.monotonic()
        while True:
            state = self.code.kernel(name)
            if state is not None and told in state.source:
                return state
            if time.monotonic() - started > self.code.delay_s:
                return None
            time.sleep(min(self.pause_s, self.code.delay_s / 4))

    def wait(self) -> dict[str, Any]:
        """Wait for the end of the run, and fetch its log and what it wrote."""
        kernel: dict[str, Any] = self.record["kernel"]
        complete: dict[str, Any] = self.record.get("complete", {})
        if complete.get("push") == kernel["push"] and _is_whole(_pushed(self.built.folder, complete).folder, complete):
            return complete
        status, failure, log = self.ended(kernel["name"], kernel["push"])
        kernel |= {"status": status, "failure": failure}
        place = _pushed(self.built.folder, kernel)
        write_text(place.log, log)
        self.report("output")
        shutil.rmtree(place.folder, ignore_errors=True)
        refused = self.code.fetch_output(kernel["name"], place.folder)
        self.notes += [f"not fetched, its name leads out of the folder: {name!r}" for name in refused]
        if status == "complete":
            kernel["sha256"] = _receipt(place.folder, kernel["push"])
            self.record["complete"] = kernel
        self.keep()
        return kernel

    def ended(self, name: str, told: str) -> tuple[str, str, str]:
        """Return how the run ended, why it failed, and its log."""
        started, seen = time.monotonic(), ""
        limit = 60 * self.machine.minutes + QUEUE_S
        while True:
            passed = time.monotonic() - started
            found = self.code.kernel_status(name)
            # For a while after a push its status can't be read, or is that of the run before.
            if found is None and passed > self.code.delay_s:
                raise PlatformError(
                    f"the platform does not tell how the kernel {name!r} is doing", hint="`wb kernel push` asks again"
                )
            if found is not None and found[0] in ("complete", "error", "cancelled"):
                log = self.code.kernel_log(name)
                if f"push {told}" in log or passed > self.code.delay_s:
                    return *found, log
            elif found is not None and found[0] != seen:
                seen = found[0]
                self.report(f"kernel {seen}")
            if passed > limit:
                raise PlatformError(
                    f"the kernel {name!r} has not ended after {limit / 60:.0f} minutes",
                    hint="`wb kernel push` waits for it again",
                )
            time.sleep(self.pause_s)


def _told(notebook: Path, push: str) -> str:
    """Return the notebook's text with the push that it is of as its parameter."""
    node = json.loads(notebook.read_text(encoding="utf-8"))
    for cell in node["cells"]:
        if PARAMETERS_TAG in cell["metadata"].get("tags", []):
            cell["source"] = f"push = {json.dumps(push)}"
        # The format knows lists of lines, too; the platform takes one text.
        cell["source"] = "".join(cell["source"])
    return json.dumps(node)


def _receipt(folder: Path, push: str) -> str:
    """Check that what came is what this push's run wrote, and return the submission's digest."""
    path = folder / RECEIPT
    if not path.is_file():
        raise DamagedError(
            f"the kernel came to its end and left no {RECEIPT}", hint="was it changed on its page? Build and push again"
        )
    found = read_json(path)
    if found["push"] != push:
        raise DamagedError(f"what came is of the push {found['push']!r}, expected {push!r}", hint="push again")
    if not _is_whole(folder, found):
        raise DamagedError("the submission.csv that came is not what the kernel wrote", hint="push again")
    return str(found["sha256"])


def _is_whole(folder: Path, told: dict[str, Any]) -> bool:
    path = folder / "submission.csv"
    return path.is_file() and file_sha256(path) == told.get("sha256")
