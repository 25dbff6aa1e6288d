"""A host of datasets and kernels in this process, on a clock that does not wait; it executes nothing."""

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

__all__ = ["ENDS", "CodeHost", "Dataset", "Kernel", "ShortClock", "pushes_in"]

ENDS = [(0.0, "queued"), (5.0, "running"), (15.0, "complete")]
"""How a kernel's run usually goes: what it is from how many seconds after it was saved on."""


MOST = 3000
"""More questions between two sleeps, or more sleeps, than any test makes: something waits for ever."""


@dataclass
class ShortClock(Clock):
    """A clock for one process, which keeps its state in memory, and notices who never stops waiting."""

    path: Path = Path()
    state: dict[str, float] = field(default_factory=lambda: {"true_s": 0.0, "off_s": 0.0})
    asked: int = 0
    slept: int = 0

    def _state(self) -> dict[str, float]:
        self.asked += 1
        assert self.asked < MOST, "it asks for the time, and does not sleep"
        return self.state

    def _keep(self, state: dict[str, float]) -> None:
        self.asked, self.slept = 0, self.slept + 1
        assert self.slept < MOST, "it sleeps, and never wakes"
        self.state = state


@dataclass
class Dataset:
    """A version of a dataset: what it has, and when it is listed and ready."""

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
        """The push that its notebook was told that it is of."""
        return pushes_in(self.source.notebook)[0]


def pushes_in(notebook: str) -> list[str]:
    cells = json.loads(notebook)["cells"]
    return [found[1] for cell in cells if (found := re.fullmatch('push = "(.*)"', cell["source"]))]


@dataclass
class CodeHost:
    """Takes datasets and kernels; what it is told before holds for all that is made after.

    Attributes
    ----------
    listed_after_s, ready_after_s : how long after it was made a dataset's version is listed, and ready
    dataset_ends : what becomes of it then
    saved_after_s : how long after it was saved a kernel's version is listed
    states, log, failure, output : how a run goes, with what it prints behind the push, and what it writes
    is_silent : whether a run prints nothing
    receipt : what the receipt says in place of what it should; None for no receipt at all
    faults : by method what is called before the call does anything, once each, and may raise
    lost : by method how many answers are lost after the call has done all
    sizes_off_by : by how much the sizes that are listed are not those of the files
    hidden : versions of kernels that are not there any more
    stale : which version's run is shown in place of that which is asked for
    """

    clock: Clock
    owner: str = "someone"
    delay_s: float = 16.0
    listed_after_s: float = 0.0
    ready_after_s: float = 0.0
    dataset_ends: str = "ready"
    saved_after_s: float = 0.0
    states: list[tuple[float, str | None]] = field(default_factory=lambda: list[tuple[float, str | None]](ENDS))
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

    def put_dataset(self, name: str, tokens: list[str], *, first: bool, notes: str) -> None:
        self._called("put_dataset", name, first, notes)
        assert first == (name not in self.datasets), f"{name}: first={first}"
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
