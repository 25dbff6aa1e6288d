"""A fake host of datasets and kernels in this process, with a clock that does not wait; it runs no kernel."""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.clock import Clock
from workbench.core.errors import UnansweredError
from workbench.platforms.protocol import DatasetState, KernelSource, KernelState, KernelVersion

__all__ = ["USUAL_STATES", "CodeHost", "Dataset", "Kernel", "ShortClock", "pushes_in"]

USUAL_STATES = [(0.0, "queued"), (5.0, "running"), (15.0, "complete")]
"""The usual statuses of a kernel's run: (seconds after it was saved, status from then on)."""

MAX_CALLS = 3000
"""More readings of the clock between two sleeps, or more sleeps, than any test needs: an endless loop."""


@dataclass
class ShortClock(Clock):
    """A clock for one process, which keeps its state in memory and detects endless waiting."""

    path: Path = Path()
    state: dict[str, float] = field(default_factory=lambda: {"true_s": 0.0, "off_s": 0.0})
    asked: int = 0
    slept: int = 0

    def _state(self) -> dict[str, float]:
        self.asked += 1
        assert self.asked < MAX_CALLS, "it asks for the time, and does not sleep"
        return self.state

    def _store(self, state: dict[str, float]) -> None:
        self.asked, self.slept = 0, self.slept + 1
        assert self.slept < MAX_CALLS, "it sleeps, and never wakes"
        self.state = state


@dataclass
class Dataset:
    """A version of a dataset: its files, and when it is listed and ready."""

    files: dict[str, bytes]
    listed_at: float
    ready_at: float
    status: str = "ready"


@dataclass
class Kernel:
    """A version of a kernel, and how its run goes; `states` are (seconds after it was saved, status)."""

    source: KernelSource
    saved_at: float
    listed_at: float
    states: list[tuple[float, str | None]]
    log: str
    failure: str
    output: dict[str, bytes]

    @property
    def push(self) -> str:
        """The push in its notebook."""
        return pushes_in(self.source.notebook)[0]


def pushes_in(notebook: str) -> list[str]:
    cells = json.loads(notebook)["cells"]
    return [found[1] for cell in cells if (found := re.fullmatch('push = "(.*)"', cell["source"]))]


@dataclass
class CodeHost:
    """Stores datasets and kernels in memory; its settings apply to versions that are created afterwards.

    Attributes
    ----------
    listed_after_s, ready_after_s : float
        The time from the creation of a dataset's version until it is listed, and until it is ready.
    dataset_ends : str
        The status of a dataset's version once it is ready.
    saved_after_s : float
        The time until a kernel's version is listed.
    states, log, failure, output
        Of a run: its statuses, what it prints after the push, the failure message, the files that it writes.
    is_silent : bool
        Whether a run prints nothing.
    receipt : dict, optional
        Entries that replace those of the receipt; None for no receipt.
    faults : dict
        By method: functions that are called once each before the method does anything, and may raise.
    lost : dict
        By method: the number of answers that are lost after the method has done its work.
    sizes_off_by : int
        The difference of the listed sizes from those of the files.
    hidden : set
        Versions of kernels that do not exist any more.
    stale : dict
        The version whose run is shown in place of the requested one.
    """

    clock: Clock
    owner: str = "someone"
    delay_s: float = 16.0
    listed_after_s: float = 0.0
    ready_after_s: float = 0.0
    dataset_ends: str = "ready"
    saved_after_s: float = 0.0
    states: list[tuple[float, str | None]] = field(default_factory=lambda: list[tuple[float, str | None]](USUAL_STATES))
    log: str = "wrote it\n"
    failure: str = ""
    is_silent: bool = False
    output: dict[str, bytes] = field(default_factory=lambda: {"submission.csv": b"id,y\n1,0.5\n"})
    receipt: dict[str, object] | None = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)

    datasets: dict[str, list[Dataset]] = field(default_factory=dict)
    public: set[str] = field(default_factory=set)
    kernels: dict[str, list[Kernel]] = field(default_factory=dict)
    uploads: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    faults: dict[str, list[Callable[[], None]]] = field(default_factory=lambda: defaultdict(list))
    lost: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    calls: list[tuple[object, ...]] = field(default_factory=list)
    sizes_off_by: int = 0
    hidden: set[tuple[str, int]] = field(default_factory=set)
    stale: Callable[[KernelVersion], KernelVersion] = lambda version: version

    def _called(self, *call: object) -> None:
        self.calls.append(call)
        waiting = self.faults[str(call[0])]
        if waiting:
            waiting.pop(0)()

    def _answered(self, method: str) -> None:
        if self.lost[method]:
            self.lost[method] -= 1
            raise UnansweredError("the answer was lost")

    def count(self, method: str) -> int:
        """Return how often a method was called."""
        return sum(call[0] == method for call in self.calls)

    # ----------------------------------------------------------------------------------------------------- datasets

    def dataset(self, name: str) -> DatasetState | None:
        self._called("dataset", name)
        now = self.clock.true_s
        listed = [v for v in self.datasets.get(name, []) if v.listed_at <= now]
        if not listed:
            return None
        status = listed[-1].status if listed[-1].ready_at <= now else "pending"
        return DatasetState(len(listed), status, name not in self.public)

    def dataset_files(self, name: str, version: int) -> dict[str, int]:
        self._called("dataset_files", name, version)
        made = self.datasets[name][version - 1]
        return {n: len(data) + self.sizes_off_by for n, data in made.files.items()}

    def upload(self, file: Path) -> str:
        self._called("upload", file.name)
        token = f"token-{len(self.uploads)}"
        self.uploads[token] = (file.name, file.read_bytes())
        return token

    def put_dataset(self, name: str, tokens: list[str], *, is_new: bool, notes: str) -> None:
        self._called("put_dataset", name, is_new, notes)
        assert is_new == (name not in self.datasets), f"{name}: is_new={is_new}"
        now = self.clock.true_s
        files = dict(self.uploads[token] for token in tokens if token in self.uploads)
        listed_at = now + self.listed_after_s
        version = Dataset(files, listed_at, listed_at + self.ready_after_s, self.dataset_ends)
        self.datasets.setdefault(name, []).append(version)
        self._answered("put_dataset")

    # ------------------------------------------------------------------------------------------------------ kernels

    def kernel(self, name: str, number: int | None = None) -> KernelState | None:
        self._called("kernel", name, number)
        listed = [k for k in self.kernels.get(name, []) if k.listed_at <= self.clock.true_s]
        number = len(listed) if number is None else number
        if not 1 <= number <= len(listed) or (name, number) in self.hidden:
            return None
        return KernelState(KernelVersion(self.owner, name, number), listed[number - 1].source.notebook)

    def save_kernel(self, name: str, source: KernelSource) -> KernelVersion:
        self._called("save_kernel", name, source)
        now = self.clock.true_s
        log = "" if self.is_silent else f"push {pushes_in(source.notebook)[0]}\n{self.log}"
        made = Kernel(source, now, now + self.saved_after_s, list(self.states), log, self.failure, dict(self.output))
        if self.receipt is not None:
            made.output["wb-receipt.json"] = json.dumps(self._receipt_of(made) | self.receipt).encode()
        self.kernels.setdefault(name, []).append(made)
        self._answered("save_kernel")
        return KernelVersion(self.owner, name, len(self.kernels[name]))

    def _receipt_of(self, made: Kernel) -> dict[str, object]:
        manifest = next(d[-1].files["wb-manifest.json"] for n, d in self.datasets.items() if n.endswith("-changes"))
        name = next(iter(made.output))
        return {
            "push": made.push,
            "run_id": json.loads(manifest)["run_id"],
            "file": name,
            "sha256": hashlib.sha256(made.output[name]).hexdigest(),
        }

    def save_by_hand(self, name: str, text: str = "by hand") -> None:
        """Save a version on the kernel's page, as somebody may at any time."""
        now = self.clock.true_s
        notebook = json.dumps({"cells": [{"source": f'push = "{text}"', "metadata": {}}]})
        source = KernelSource(name, notebook, (), "small", "", "original")
        made = Kernel(source, now, now, [(0.0, "error")], "another's\n", "another's", {"another.csv": b"x"})
        self.kernels.setdefault(name, []).append(made)

    def _of(self, version: KernelVersion) -> Kernel:
        assert version.owner == self.owner
        shown = self.stale(version)
        return self.kernels[shown.name][shown.number - 1]

    def kernel_status(self, version: KernelVersion) -> tuple[str, str] | None:
        self._called("kernel_status", version.name, version.number)
        run = self._of(version)
        since = self.clock.true_s - run.saved_at
        status = [s for after, s in run.states if after <= since][-1]
        return None if status is None else (status, run.failure)

    def kernel_log(self, version: KernelVersion) -> str:
        self._called("kernel_log", version.name, version.number)
        return self._of(version).log

    def fetch_output(self, version: KernelVersion, folder: Path) -> list[str]:
        self._called("fetch_output", version.name, version.number)
        for name, data in self._of(version).output.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        return self.refused
