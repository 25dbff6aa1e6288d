"""A push step by step: what is asked of the platform, how long is waited, and what is kept, with nothing trained."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.clock import Clock
from tests.code_host import USUAL_STATES, CodeHost, ShortClock, pushes_in
from workbench.core.context import RunContext, text_listener
from workbench.core.errors import (
    ConfigError,
    DamagedError,
    LoginError,
    NotFoundError,
    PlatformError,
    UnansweredError,
)
from workbench.data.competition import Competition, load_competition
from workbench.data.workspace import Workspace, create_workspace
from workbench.kernels import BuiltKernel, Machine, PushedKernel, push, pushed

NAME = "wb-small-001"
RUN = "001-20260101T000000-aaaaaa"
BASE, CHANGES, PACKAGES = f"{NAME}-base", f"{NAME}-changes", f"{NAME}-packages"
FILES = {
    "competition/competition.toml": b'slug = "small"\n',
    "models/t0-f0-s1.txt": 40 * b"model 0\n",
    "models/t0-f1-s1.txt": 40 * b"model 1\n",
    "wheels/kaggle_workbench-1-py3-none-any.whl": b"ours",
    "wheels/other-1-py3-none-any.whl": 100 * b"other",
}
DEFINITION = """
slug = "small"
platform = "kaggle"
task = "binary"
id = "id"
target = "y"
metric = "auc"
[tables]
train = "train"
test = "test"
"""
NOTEBOOK = {
    "cells": [
        {"source": ["import sys\n", "sys.path"], "metadata": {}},
        {"source": 'push = ""', "metadata": {"tags": ["parameters"]}},
    ]
}


@dataclass
class Desk:
    """A kernel that is built, and a host that it is pushed to."""

    competition: Competition
    built: BuiltKernel
    host: CodeHost
    files: dict[str, bytes]
    said: list[str]

    def change(self, name: str, data: bytes | None = None) -> None:
        """Write a file of the bundle and its manifest anew, as a build does; remove it where there are no data."""
        if data is None:
            del self.files[name]
            (self.built.bundle / name).unlink()
        else:
            self.files[name] = data
            (self.built.bundle / name).parent.mkdir(parents=True, exist_ok=True)
            (self.built.bundle / name).write_bytes(data)
        self.describe()

    def describe(self, run_id: str = RUN) -> None:
        manifest = {"run_id": run_id, "files": {n: sha256(d).hexdigest() for n, d in self.files.items() if d}}
        (self.built.bundle / "wb-manifest.json").write_text(json.dumps(manifest))

    def push(
        self, machine: Machine | None = None, *, report: Callable[[str], None] | None = None, **options: Any
    ) -> PushedKernel:
        def told(words: str) -> None:
            self.said.append(words)
            if report is not None:
                report(words)

        platform: Any = Platform(self.host)
        return push(
            self.competition, self.built, platform, machine, context=RunContext((text_listener(told),)), **options
        )

    def cut_off(self, at: str) -> None:
        """Push, and stop as a killed process would when it says this."""

        def report(words: str) -> None:
            if words == at:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            self.push(report=report)

    def pushed(self, owner: str = "someone") -> tuple[PushedKernel, str]:
        return pushed(self.built.folder, owner)

    @property
    def clock(self) -> Clock:
        return self.host.clock

    @property
    def record(self) -> dict[str, Any]:
        """What is kept beside the bundle."""
        found: dict[str, Any] = json.loads((self.built.folder / "pushed.json").read_text())
        return found

    @property
    def uploaded(self) -> list[str]:
        return [str(call[1]) for call in self.host.calls if call[0] == "upload"]

    def versions(self) -> dict[str, int]:
        return {name.removeprefix(f"{NAME}-"): len(v) for name, v in self.host.datasets.items()}


@dataclass
class Platform:
    code: CodeHost | None
    name: str = "memory"


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    workspace = create_workspace(tmp_path / "workspace")
    competition = workspace.competitions / "small"
    folder = competition / "kernels" / "001"
    notebook = folder / "kernel" / "inference.ipynb"
    notebook.parent.mkdir(parents=True)
    notebook.write_text(json.dumps(NOTEBOOK))
    (competition / "competition.toml").write_text(DEFINITION)
    host = CodeHost(ShortClock())
    built = BuiltKernel(NAME, folder, folder / "bundle", notebook, 0)
    made = Desk(load_competition(workspace, "small"), built, host, {}, [])
    for name, data in FILES.items():
        made.change(name, data)
    with host.clock.running():
        yield made


def refuse(exc: Exception) -> Callable[[], None]:
    def raises() -> None:
        raise exc

    return raises


class TestDatasets:
    def test_what_is_uploaded_and_told(self, desk: Desk) -> None:
        found = desk.push()
        assert [call[1:3] for call in desk.host.calls if call[0] == "put_dataset"] == [
            (PACKAGES, True),
            (BASE, True),
            (CHANGES, True),
        ]
        held = {name: set(versions[0].files) for name, versions in desk.host.datasets.items()}
        assert held == {
            PACKAGES: {"other-1-py3-none-any.whl"},
            BASE: {"competition.toml", "t0-f0-s1.txt", "t0-f1-s1.txt", "kaggle_workbench-1-py3-none-any.whl"},
            CHANGES: {"wb-manifest.json"},
        }
        manifest = (desk.built.bundle / "wb-manifest.json").read_bytes()
        assert set(found.uploaded) == {*FILES, "wb-manifest.json"}
        assert len(found.uploaded) == len(set(found.uploaded))
        assert found.size == sum(map(len, [*FILES.values(), manifest]))
        assert (found.notes, found.run_id, found.failure) == ((), RUN, "")
        assert desk.said == [
            *("uploading wheels/other-1-py3-none-any.whl", f"dataset {PACKAGES}"),
            *(f"uploading {name}" for name in sorted(FILES) if "other" not in name),
            *(f"dataset {BASE}", "uploading wb-manifest.json", f"dataset {CHANGES}"),
            *("kernel", "kernel queued", "kernel running", "output"),
        ]

    def test_what_is_kept_of_it(self, desk: Desk) -> None:
        desk.push()
        first = desk.record
        assert {n: d["version"] for n, d in first["datasets"].items()} == {PACKAGES: 1, BASE: 1, CHANGES: 1}
        assert first["datasets"][PACKAGES]["files"] == {
            "other-1-py3-none-any.whl": sha256(FILES["wheels/other-1-py3-none-any.whl"]).hexdigest()
        }
        # Of what was taken nothing is in flight, and tokens are of no use.
        assert [(d["uploads"], d["sending"]) for d in first["datasets"].values()] == 3 * [({}, None)]
        assert first["newest"] == first["complete"]
        assert (first["name"], first["sending"], first["complete"]["number"]) == (NAME, None, 1)

    @pytest.mark.parametrize("name", ["models/t0-f0-s1.txt", "wheels/other-1-py3-none-any.whl"])
    def test_only_the_dataset_of_what_changed_gets_a_version(self, desk: Desk, name: str) -> None:
        desk.push()
        desk.change(name, b"another")
        found = desk.push()
        assert set(found.uploaded) == {name, "wb-manifest.json"}
        assert desk.versions() == {"packages": 1 + ("wheels" in name), "base": 1, "changes": 2}
        assert [call[1:3] for call in desk.host.calls if call[0] == "put_dataset"][3:][-1] == (CHANGES, False)
        assert (found.version.number, found.run_id) == (2, RUN)

    def test_an_empty_file_is_not_uploaded_and_no_fault_of_the_bundle(self, desk: Desk) -> None:
        desk.change("competition/empty.py", b"")
        assert desk.push().status == "complete"
        assert "empty.py" not in desk.uploaded

    @pytest.mark.parametrize("what", ["another", "gone", "more"])
    def test_a_bundle_that_is_not_its_manifests(self, desk: Desk, what: str) -> None:
        path = desk.built.bundle / "models" / ("more.txt" if what == "more" else "t0-f0-s1.txt")
        path.unlink() if what == "gone" else path.write_text("another")
        with pytest.raises(DamagedError, match="do not match its manifest"):
            desk.push()
        assert desk.host.calls == []

    def test_datasets_are_waited_for_as_long_as_they_are_pending(self, desk: Desk) -> None:
        """Half an hour from the call on; one that is ready only then is looked at a last time."""
        desk.host.delay_s, desk.host.ready_after_s = 400.0, 1900.0
        assert desk.push(pause_s=100.0).status == "complete"
        desk.host.ready_after_s = 1900.5
        desk.change("models/t0-f0-s1.txt", b"another")
        with pytest.raises(UnansweredError, match=f"version of the dataset '{CHANGES}' was accepted; it is not listed"):
            desk.push(pause_s=100.0)

    @pytest.mark.parametrize(("after_s", "is_seen"), [(16.0, True), (20.0, True), (20.5, False)])
    def test_a_version_that_is_listed_late(self, desk: Desk, after_s: float, is_seen: bool) -> None:
        """It is looked for once more when the time is up that listing may take."""
        desk.host.listed_after_s = after_s
        if is_seen:
            assert desk.push().status == "complete"
        else:
            with pytest.raises(UnansweredError, match="was accepted; it is not listed"):
                desk.push()

    @pytest.mark.parametrize(("pause_s", "slept"), [(10.0, 4.0), (3.0, 3.0)])
    def test_how_often_it_is_asked(self, desk: Desk, pause_s: float, slept: float) -> None:
        """At the pause that was asked for, and at least four times in the time that listing may take."""
        desk.host.listed_after_s = 3.5
        asked: list[float] = []
        desk.clock.sleeps = lambda: asked.append(desk.clock.true_s)
        desk.push(pause_s=pause_s)
        assert asked[0] == slept
        # The run's end is asked for at the pause alone: it may take hours.
        assert asked[-1] - asked[-2] == pause_s

    def test_by_default_ten_seconds_lie_between_two_questions(self, desk: Desk) -> None:
        asked: list[float] = []
        desk.clock.sleeps = lambda: asked.append(desk.clock.true_s)
        desk.push()
        assert asked == [10.0, 20.0]

    def test_a_dataset_that_fails(self, desk: Desk) -> None:
        desk.host.dataset_ends = "failed"
        with pytest.raises(PlatformError, match="is failed with 0 files, expected 1; missing: other-1"):
            desk.push()
        assert desk.record["datasets"][PACKAGES] == {"version": 0, "files": {}, "uploads": {}, "sending": None}
        assert desk.host.count("dataset_files") == 0
        desk.host.dataset_ends = "ready"
        assert desk.push().status == "complete"
        assert desk.versions()["packages"] == 2
        assert desk.uploaded.count("other-1-py3-none-any.whl") == 2

    def test_of_what_is_missing_five_are_named(self, desk: Desk) -> None:
        for n in range(7):
            desk.change(f"models/t1-f{n}-s1.txt", b"more")
        desk.host.faults["put_dataset"] = [lambda: None, desk.host.uploads.clear]
        with pytest.raises(PlatformError, match="is ready with 0 files, expected 11; missing: ") as no:
            desk.push()
        assert str(no.value).partition("missing: ")[2].splitlines()[0].count(",") == 4

    def test_other_sizes_are_noted_and_three_are_named(self, desk: Desk) -> None:
        desk.host.sizes_off_by = 1
        notes = desk.push().notes
        assert len(notes) == 3
        assert f"of another size in the dataset {BASE!r}: " in notes[1]
        assert notes[1].count(" here)") == 3
        assert "other-1-py3-none-any.whl (501 bytes; 500 here)" in notes[0]

    @pytest.mark.parametrize("at", ["before", "after"])
    @pytest.mark.parametrize("name", [PACKAGES, BASE, CHANGES])
    def test_a_public_dataset_is_refused(self, desk: Desk, name: str, at: str) -> None:
        """One that is there already gets nothing; of a new one the kernel is not made."""
        if at == "before":
            desk.push()
            desk.change("models/t0-f0-s1.txt", b"another")
            desk.change("wheels/other-1-py3-none-any.whl", b"another")
        desk.host.public.add(name)
        before = desk.versions()
        with pytest.raises(PlatformError, match=f"someone/{name} is public"):
            desk.push()
        assert desk.versions().get(name) == before.get(name)
        assert desk.host.count("save_kernel") == (at == "before")

    def test_one_that_was_changed_or_deleted_elsewhere(self, desk: Desk) -> None:
        desk.push()
        desk.host.datasets[BASE].append(desk.host.datasets[BASE][0])
        assert desk.push().version.number == 2
        assert desk.versions() == {"packages": 1, "base": 3, "changes": 1}
        del desk.host.datasets[BASE]
        assert desk.push().version.number == 3
        assert desk.versions() == {"packages": 1, "base": 1, "changes": 1}
        assert desk.push().version.number == 3

    @pytest.mark.parametrize("gone", ["packages", "changes"])
    def test_another_that_was_deleted_is_made_anew(self, desk: Desk, gone: str) -> None:
        desk.push()
        del desk.host.datasets[f"{NAME}-{gone}"]
        desk.push()
        assert desk.versions() == {"packages": 1, "base": 1, "changes": 1}

    def test_where_there_was_nothing_the_base_is_not_asked_for_twice(self, desk: Desk) -> None:
        desk.push()
        assert [c[1] for c in desk.host.calls if c[0] == "dataset"] == [
            n for n in (PACKAGES, BASE, CHANGES) for _ in "12"
        ]


class TestUploads:
    def test_they_are_kept_for_six_days(self, desk: Desk) -> None:
        """The client goes on with an upload for a week: to the second of six days it is taken, and not after that."""
        desk.cut_off(f"dataset {BASE}")
        # Whether a version was made when it was cut off is looked for during 20 seconds.
        desk.clock.advance(6 * 24 * 3600 - 20)
        desk.cut_off(f"dataset {BASE}")
        assert desk.uploaded.count("t0-f0-s1.txt") == 1
        desk.clock.advance(1)
        assert desk.push().status == "complete"
        assert desk.uploaded.count("t0-f0-s1.txt") == 2
        assert desk.uploaded.count("other-1-py3-none-any.whl") == 1

    def test_one_of_other_bytes_is_not_taken(self, desk: Desk) -> None:
        desk.cut_off(f"dataset {BASE}")
        desk.change("models/t0-f0-s1.txt", b"another")
        desk.push()
        assert desk.uploaded.count("t0-f0-s1.txt") == 2
        assert desk.uploaded.count("t0-f1-s1.txt") == 1
        assert desk.host.datasets[BASE][0].files["t0-f0-s1.txt"] == b"another"

    def test_each_is_kept_at_once(self, desk: Desk) -> None:
        desk.cut_off("uploading models/t0-f1-s1.txt")
        desk.push()
        assert len(desk.uploaded) == len(set(desk.uploaded))

    def test_a_file_that_changes_while_it_is_uploaded(self, desk: Desk) -> None:
        path = desk.built.bundle / "models" / "t0-f0-s1.txt"
        desk.host.faults["upload"] = [lambda: None, lambda: None, lambda: path.write_bytes(b"changed") and None]
        with pytest.raises(DamagedError, match="t0-f0-s1.txt changed while it was uploaded"):
            desk.push()
        assert "t0-f0-s1.txt" not in desk.record["datasets"][BASE]["uploads"]

    def test_what_is_refused_stays_uploaded_unless_it_was_before(self, desk: Desk) -> None:
        """Earlier uploads may be the reason: they are made again, and the others are not."""
        no = PlatformError("unknown token")
        desk.host.faults["put_dataset"] = [lambda: None, refuse(no)]
        with pytest.raises(PlatformError, match="unknown token"):
            desk.push()
        assert desk.record["datasets"][BASE]["sending"] is None
        assert len(desk.record["datasets"][BASE]["uploads"]) == 4
        desk.change("competition/more.py", b"more")
        desk.host.faults["put_dataset"] = [refuse(no)]
        with pytest.raises(PlatformError, match="unknown token"):
            desk.push()
        assert set(desk.record["datasets"][BASE]["uploads"]) == {"more.py"}
        asked = desk.clock.true_s
        desk.push(pause_s=1.0)
        assert desk.uploaded.count("more.py") == 1
        assert desk.uploaded.count("t0-f0-s1.txt") == 2
        # Nothing was on its way, so nothing was waited for but the run.
        assert desk.clock.true_s - asked == 15.0

    def test_a_login_that_ended_is_no_fault_of_the_uploads(self, desk: Desk) -> None:
        desk.cut_off(f"dataset {BASE}")
        desk.host.faults["put_dataset"] = [refuse(LoginError("no login"))]
        with pytest.raises(LoginError):
            desk.push()
        desk.push()
        assert len(desk.uploaded) == len(set(desk.uploaded))


class TestLostAnswers:
    def test_a_dataset_that_was_made_all_the_same(self, desk: Desk) -> None:
        desk.host.lost["put_dataset"] = 1
        desk.host.listed_after_s = 6.0
        assert desk.push().status == "complete"
        assert desk.versions() == {"packages": 1, "base": 1, "changes": 1}

    def test_one_that_never_came(self, desk: Desk) -> None:
        desk.host.faults["put_dataset"] = [refuse(UnansweredError("the answer was lost"))]
        with pytest.raises(UnansweredError, match="the answer was lost; it is not listed") as no:
            desk.push()
        assert no.value.hint == "`wb kernel push` checks again before it sends anything"
        assert desk.record["datasets"][PACKAGES]["sending"] == {
            "before": 0,
            "files": {"other-1-py3-none-any.whl": sha256(FILES["wheels/other-1-py3-none-any.whl"]).hexdigest()},
        }
        assert desk.push().status == "complete"
        assert desk.said.count(f"dataset {PACKAGES}: was a version created before the last push was interrupted?") == 1

    @pytest.mark.parametrize("first", [True, False])
    def test_one_that_was_made_when_the_process_died(self, desk: Desk, first: bool) -> None:
        if not first:
            desk.push()
            desk.change("models/t0-f0-s1.txt", b"another")
        desk.host.lost["put_dataset"] = 1
        desk.host.listed_after_s = 30.0
        with pytest.raises(UnansweredError):
            desk.push()
        desk.clock.advance(20.0)
        desk.host.listed_after_s = 0.0
        before = len(desk.uploaded)
        desk.push()
        assert desk.versions() == {"packages": 1, "base": 1, "changes": 1 + (not first)}
        assert len(desk.uploaded) == before + (5 if first else 0)

    @pytest.mark.parametrize("what", ["another's", "failed"])
    def test_a_version_that_is_not_what_was_sent(self, desk: Desk, what: str) -> None:
        """Somebody made one meanwhile, or ours failed: it is made again."""
        desk.push()
        desk.change("models/t0-f0-s1.txt", b"another")
        desk.host.faults["put_dataset"] = [refuse(UnansweredError("the answer was lost"))]
        with pytest.raises(UnansweredError):
            desk.push()
        made = desk.host.datasets[CHANGES]
        made.append(replace(made[0], files={"mine.txt": b"mine"}))
        if what == "failed":
            made[-1] = replace(made[0], status="failed")
        desk.push()
        assert desk.versions()["changes"] == 3
        assert set(made[-1].files) == {"t0-f0-s1.txt", "wb-manifest.json"}

    @pytest.mark.parametrize(("after_s", "is_seen"), [(16.0, True), (20.0, True), (20.5, False)])
    def test_a_kernel_that_was_saved_all_the_same(self, desk: Desk, after_s: float, is_seen: bool) -> None:
        desk.host.lost["save_kernel"] = 1
        desk.host.saved_after_s = after_s
        if is_seen:
            assert (desk.push().version.number, len(desk.host.kernels[NAME])) == (1, 1)
            return
        with pytest.raises(UnansweredError, match="the answer was lost; it is not listed") as no:
            desk.push()
        assert no.value.hint == "`wb kernel push` checks again before it sends anything"
        assert (desk.push().version.number, len(desk.host.kernels[NAME])) == (1, 1)

    def test_how_often_the_kernel_is_looked_for(self, desk: Desk) -> None:
        desk.host.lost["save_kernel"] = 1
        desk.host.saved_after_s = 3.5
        asked: list[float] = []
        desk.clock.sleeps = lambda: asked.append(desk.clock.true_s)
        desk.push(pause_s=3.0)
        assert asked == [3.0, 6.0, 9.0, 12.0, 15.0]
        desk.change("models/t0-f0-s1.txt", b"another")
        desk.host.lost["save_kernel"] = 1
        desk.push(pause_s=10.0)
        assert asked[5:7] == [15.0 + 4.0, 15.0 + 4.0 + 10.0]

    def test_below_what_others_saved_since_it_is_found_and_each_is_looked_at_once(self, desk: Desk) -> None:
        desk.push()
        desk.change("models/t0-f0-s1.txt", b"another")
        for _ in range(2):
            desk.host.save_by_hand(NAME)
        desk.host.lost["save_kernel"] = 1
        desk.host.faults["kernel"] = [lambda: None, lambda: desk.host.save_by_hand(NAME)]
        desk.host.calls.clear()
        found = desk.push()
        # 1 was there, 2 and 3 were saved by hand before, 4 is ours, 5 was saved by hand since.
        assert (found.version.number, len(desk.host.kernels[NAME])) == (4, 5)
        assert [call[2] for call in desk.host.calls if call[0] == "kernel"] == [None, None, 4]

    def test_one_that_never_came_is_looked_for_and_not_taken_from_others(self, desk: Desk) -> None:
        desk.push()
        desk.change("models/t0-f0-s1.txt", b"another")
        for _ in range(3):
            desk.host.save_by_hand(NAME)
        desk.host.faults["save_kernel"] = [refuse(UnansweredError("the answer was lost"))]
        desk.host.faults["kernel"] = [lambda: None, *[lambda: desk.host.save_by_hand(NAME) for _ in range(2)]]
        desk.host.calls.clear()
        with pytest.raises(UnansweredError):
            desk.push()
        numbers = [call[2] for call in desk.host.calls if call[0] == "kernel" and call[2] is not None]
        assert numbers == [5]
        assert desk.record["sending"]["push"].split(".")[1] == "5"
        assert desk.push().version.number == 7

    def test_a_process_that_died_after_it_saved(self, desk: Desk) -> None:
        desk.host.lost["save_kernel"] = 1
        desk.host.saved_after_s = 30.0
        with pytest.raises(UnansweredError):
            desk.push()
        desk.clock.advance(20.0)
        assert desk.push().version.number == 1
        assert desk.host.count("save_kernel") == 1
        assert desk.record["sending"] is None


class TestKernel:
    def test_what_is_saved(self, desk: Desk) -> None:
        desk.push(Machine("NvidiaTeslaT4", "latest", 30))
        source = desk.host.kernels[NAME][0].source
        assert (source.title, source.competition) == ("wb small 001", "small")
        assert source.datasets == (PACKAGES, BASE, CHANGES)
        assert (source.accelerator, source.docker_pin, source.limit_s) == ("NvidiaTeslaT4", "latest", 1800.0)
        cells = json.loads(source.notebook)["cells"]
        push_ = desk.record["complete"]["push"]
        assert [cell["source"] for cell in cells] == ["import sys\nsys.path", f'push = "{push_}"']
        key, number, at = push_.split(".")
        assert (key, number) == (desk.record["complete"]["key"][:12], "1")
        assert float(at) == int(float(at))

    def test_by_default_no_limit_is_sent(self, desk: Desk) -> None:
        desk.push()
        source = desk.host.kernels[NAME][0].source
        assert (source.accelerator, source.docker_pin, source.limit_s) == ("", "original", None)

    def test_datasets_stay_though_only_changes_are_uploaded(self, desk: Desk) -> None:
        desk.push()
        desk.change("models/t0-f0-s1.txt", b"another")
        desk.push()
        assert desk.host.kernels[NAME][1].source.datasets == (PACKAGES, BASE, CHANGES)
        desk.change("wheels/other-1-py3-none-any.whl")
        desk.push()
        assert desk.host.kernels[NAME][2].source.datasets == (BASE, CHANGES)

    def test_what_makes_another_version(self, desk: Desk) -> None:
        assert desk.push().version.number == 1
        assert desk.push(Machine()).version.number == 1
        for number, machine in enumerate(
            [Machine("NvidiaTeslaT4"), Machine(docker_pin="latest"), Machine(minutes=5)], 2
        ):
            assert desk.push(machine).version.number == number
            assert desk.push(machine).version.number == number
        desk.built.notebook.write_text(json.dumps(NOTEBOOK | {"metadata": {}}))
        assert desk.push(Machine(minutes=5)).version.number == 5
        desk.describe("001-20260202T000000-bbbbbb")
        assert desk.push(Machine(minutes=5)).run_id == "001-20260202T000000-bbbbbb"

    def test_again_nothing_is_made_fetched_or_waited_for(self, desk: Desk) -> None:
        first = desk.push()
        desk.host.calls.clear()
        again = desk.push()
        assert (again.version, again.uploaded, again.size) == (first.version, (), 0)
        assert {call[0] for call in desk.host.calls} == {"dataset", "kernel"}
        assert (again.submission, again.log) == (first.submission, first.log)

    @pytest.mark.parametrize("ends", ["error", "cancelled"])
    def test_one_that_failed_is_run_again(self, desk: Desk, ends: str) -> None:
        desk.host.states = [(0.0, "queued"), (3.0, ends)]
        desk.host.failure, desk.host.receipt = "it raised", None
        found = desk.push()
        assert (found.status, found.failure) == (ends, "it raised")
        assert (found.folder / "submission.csv").is_file()
        assert desk.record["complete"] is None
        assert (desk.record["newest"]["status"], desk.record["newest"]["failure"]) == (ends, "it raised")
        desk.host.states, desk.host.failure, desk.host.receipt = USUAL_STATES, "", {}
        found = desk.push()
        assert (found.status, found.failure, found.version.number) == ("complete", "", 2)
        assert found.uploaded == ()

    def test_one_that_was_not_seen_to_end_is_waited_for(self, desk: Desk) -> None:
        desk.cut_off("kernel running")
        assert desk.record["newest"]["status"] is None
        desk.said.clear()
        assert desk.push().version.number == 1
        assert desk.host.count("save_kernel") == 1
        assert "kernel" not in desk.said

    def test_one_that_was_deleted_is_made_anew(self, desk: Desk) -> None:
        """Numbers start over: nothing of the first counts, from the moment on when that is known."""
        desk.push()
        first = desk.record["complete"]["push"]
        desk.host.kernels.clear()
        desk.clock.advance(60.0)
        desk.cut_off("kernel")
        assert (desk.record["newest"], desk.record["complete"]) == (None, None)
        with pytest.raises(NotFoundError):
            desk.pushed()
        assert desk.push().version.number == 1
        assert desk.record["complete"]["push"] != first

    @pytest.mark.parametrize("number", [0, 1, 2, 3])
    def test_one_that_was_deleted_and_saved_by_hand_is_not_ours(self, desk: Desk, number: int) -> None:
        desk.push()
        desk.change("models/t0-f0-s1.txt", b"another")
        desk.push()
        desk.host.kernels.clear()
        for _ in range(number):
            desk.host.save_by_hand(NAME)
        assert desk.push().version.number == number + 1

    @pytest.mark.parametrize("more", [0, 1, 2])
    def test_one_below_what_others_saved_is_still_there(self, desk: Desk, more: int) -> None:
        desk.push()
        for _ in range(more):
            desk.host.save_by_hand(NAME)
        assert desk.push().version.number == 1
        assert desk.host.count("save_kernel") == 1

    def test_a_version_below_that_is_gone_is_not_there(self, desk: Desk) -> None:
        desk.push()
        for _ in range(2):
            desk.host.save_by_hand(NAME)
        desk.host.hidden.add((NAME, 1))
        assert desk.push().version.number == 4
        assert desk.host.count("save_kernel") == 2

    def test_a_refusal_leaves_nothing_in_flight(self, desk: Desk) -> None:
        desk.host.faults["save_kernel"] = [refuse(PlatformError("too many sessions"))]
        with pytest.raises(PlatformError, match="too many sessions"):
            desk.push()
        assert desk.record["sending"] is None
        began = desk.clock.true_s
        assert desk.push(pause_s=1.0).version.number == 1
        assert desk.clock.true_s - began == 15.0

    def test_the_name_that_the_platform_gave_is_asked_for(self, desk: Desk) -> None:
        desk.push()
        path = desk.built.folder / "pushed.json"
        path.write_text(json.dumps(desk.record | {"name": "wb-another"}))
        desk.host.kernels["wb-another"] = desk.host.kernels.pop(NAME)
        desk.change("models/t0-f0-s1.txt", b"another")
        assert desk.push().version == replace(desk.push().version, name="wb-another", number=2)

    def test_a_competition_with_an_evaluation_server(self, desk: Desk) -> None:
        path = desk.competition.folder / "competition.toml"
        path.write_text(DEFINITION + '[submission]\nserver = "gateway.py"\n')
        competition = load_competition(Workspace(desk.competition.folder.parents[1]), "small")
        platform: Any = Platform(desk.host)
        with pytest.raises(ConfigError, match="has an evaluation server"):
            push(competition, desk.built, platform)
        assert desk.host.calls == []

    def test_a_platform_without_kernels(self, desk: Desk) -> None:
        platform: Any = Platform(None)
        with pytest.raises(ConfigError, match="the platform 'memory' has no kernels"):
            push(desk.competition, desk.built, platform)


class TestRun:
    @pytest.mark.parametrize(("machine", "limit_s"), [(None, 45000.0), (Machine(minutes=2), 1920.0)])
    def test_how_long_it_is_waited_for(self, desk: Desk, machine: Machine | None, limit_s: float) -> None:
        """The time that it may run, of Kaggle's own or of the machine, and half an hour in the queue."""
        desk.host.states = [(0.0, "queued"), (limit_s + 10.0, "complete")]
        assert desk.push(machine, pause_s=limit_s / 2).status == "complete"
        desk.change("models/t0-f0-s1.txt", b"another")
        desk.host.states = [(0.0, "queued"), (1e9, "complete")]
        began = desk.clock.true_s
        text = f"kernel '{NAME}' has not ended after {limit_s / 60:.0f} minutes"
        with pytest.raises(PlatformError, match=text):
            desk.push(machine, pause_s=limit_s / 2)
        assert desk.clock.true_s - began == 1.5 * limit_s

    @pytest.mark.parametrize(("until_s", "is_told"), [(16.0, True), (20.0, True), (20.5, False)])
    def test_a_status_that_can_not_be_read_for_a_while(self, desk: Desk, until_s: float, is_told: bool) -> None:
        desk.host.states = [(0.0, None), (until_s, "running"), (until_s + 10, None), (until_s + 28, "complete")]
        if is_told:
            assert desk.push(pause_s=4.0).status == "complete"
        else:
            with pytest.raises(PlatformError, match=f"returns no status for the kernel '{NAME}'") as no:
                desk.push(pause_s=4.0)
            assert no.value.hint == "`wb kernel push` asks again"

    def test_each_state_is_said_once(self, desk: Desk) -> None:
        desk.host.states = [(0.0, "queued"), (3.0, "running"), (9.0, "complete")]
        desk.push(pause_s=1.0)
        assert desk.said[-3:] == ["kernel queued", "kernel running", "output"]

    def test_the_log_is_kept_without_secrets(self, desk: Desk) -> None:
        desk.host.log = "the token KGAT_0123456789abcdef0123\n"
        text = desk.push().log.read_text()
        assert text.startswith("push ")
        assert "the token" in text
        assert "KGAT_0123456789abcdef0123" not in text

    @pytest.mark.parametrize("log", ["x is not what was packed", "no input has the x that was packed", "x is missing"])
    def test_datasets_that_a_run_doubts_are_uploaded_again(self, desk: Desk, log: str) -> None:
        desk.host.states, desk.host.log, desk.host.receipt = [(0.0, "error")], log, None
        desk.push()
        assert desk.record["datasets"] == {}
        desk.host.states, desk.host.log, desk.host.receipt = USUAL_STATES, "", {}
        assert set(desk.push().uploaded) == {*FILES, "wb-manifest.json"}

    def test_those_of_a_run_that_failed_otherwise_are_not(self, desk: Desk) -> None:
        desk.host.states, desk.host.log, desk.host.receipt = [(0.0, "error")], "KeyError", None
        desk.push()
        assert len(desk.record["datasets"]) == 3

    # What the platform shows may be an earlier run's for as long as it likes.

    def earlier(self, desk: Desk, until_s: float, **run: Any) -> None:
        """Push once, then have the platform show that run in place of the second for a while."""
        for name, value in run.items():
            setattr(desk.host, name, value)
        desk.push()
        desk.change("models/t0-f0-s1.txt", b"another")
        until = desk.clock.true_s + until_s
        desk.host.stale = lambda v: replace(v, number=1) if desk.clock.true_s < until and v.number == 2 else v
        desk.host.calls.clear()

    @pytest.mark.parametrize("silent", [False, True])
    @pytest.mark.parametrize("ends", ["complete", "error"])
    def test_the_end_of_the_run_before_is_not_taken_for_ours(self, desk: Desk, silent: bool, ends: str) -> None:
        receipt = {} if ends == "complete" and not silent else None
        self.earlier(desk, 300.0, states=[(0.0, "error" if silent else ends)], receipt=receipt, is_silent=silent)
        desk.host.states, desk.host.receipt, desk.host.is_silent = [(0.0, "complete")], {}, False
        desk.host.output = {"submission.csv": b"id,y\nnew\n"}
        found = desk.push()
        assert found.submission.read_bytes() == b"id,y\nnew\n"

    @pytest.mark.parametrize(("until_s", "is_seen"), [(1800.0, True), (1810.0, True), (1810.5, False)])
    def test_it_is_shown_for_half_an_hour_at_most(self, desk: Desk, until_s: float, is_seen: bool) -> None:
        self.earlier(desk, until_s)
        if is_seen:
            assert desk.push().version.number == 2
        else:
            with pytest.raises(PlatformError, match="ended with complete, but it is not the run of version 2"):
                desk.push()

    def test_the_half_hour_begins_anew_when_it_runs(self, desk: Desk) -> None:
        """Shown as ended, then as running, then as ended again: each time of another run."""
        self.earlier(desk, 0.0)
        desk.host.states = [(0.0, "running"), (1900.0, "complete")]
        shown = [(1000.0, 1), (1200.0, 2), (2700.0, 1)]
        began = desk.clock.true_s

        def stale(version: Any) -> Any:
            if version.number == 1:
                return version
            now = desk.clock.true_s - began
            return replace(version, number=next((n for until, n in shown if now < until), 2))

        desk.host.stale = stale
        assert desk.push().version.number == 2

    @pytest.mark.parametrize("number", [1, 2])
    def test_a_silent_end_is_ours_once_the_delay_is_over(self, desk: Desk, number: int) -> None:
        """It printed no push, where it is the first version, or differs from what is shown of the one before."""
        if number == 2:
            desk.push()
            desk.change("models/t0-f0-s1.txt", b"another")
        desk.host.states, desk.host.failure = [(0.0, "error")], "no memory"
        desk.host.is_silent, desk.host.receipt = True, None
        began = desk.clock.true_s
        found = desk.push(pause_s=4.0)
        assert (found.status, found.failure, found.version.number) == ("error", "no memory", number)
        assert desk.clock.true_s - began == 20.0

    @pytest.mark.parametrize(("log", "failure"), [("another log", "no memory"), ("", "no disk")])
    def test_two_silent_ends_in_a_row_are_told_apart(self, desk: Desk, log: str, failure: str) -> None:
        """By their log or by why they failed: one that differs in neither may still be the run before."""
        desk.host.states, desk.host.failure = [(0.0, "error")], "no memory"
        desk.host.is_silent, desk.host.receipt = True, None
        desk.push()
        first = desk.host.kernels[NAME][0]
        first.log, first.failure = log, failure
        assert desk.push(pause_s=4.0).version.number == 2
        with pytest.raises(PlatformError, match="it is not the run of version 3"):
            desk.push(pause_s=4.0)

    def test_a_log_of_another_push_is_not_ours(self, desk: Desk) -> None:
        desk.host.states, desk.host.receipt, desk.host.is_silent = [(0.0, "error")], None, True
        desk.host.faults["kernel_log"] = [
            lambda: setattr(desk.host.kernels[NAME][0], "log", "x\npush 0123456789ab.1.5\n"),
        ]
        with pytest.raises(PlatformError, match="it is not the run of version 1"):
            desk.push()


class TestOutput:
    def test_what_is_there_is_not_fetched_again_unless_it_was_changed(self, desk: Desk) -> None:
        found = desk.push()
        desk.host.calls.clear()
        found.submission.write_text("id,y\n")
        with pytest.raises(DamagedError, match=r"submission.csv is not what the kernel wrote"):
            desk.pushed()
        desk.push()
        assert desk.host.count("fetch_output") == 1
        assert desk.pushed()[0].submission.read_bytes() == b"id,y\n1,0.5\n"
        found.submission.unlink()
        desk.push()
        assert desk.pushed()[1] == ""

    def test_what_was_there_before_goes(self, desk: Desk) -> None:
        found = desk.push()
        (found.folder / "stray.txt").write_text("x")
        found.submission.unlink()
        desk.push()
        assert sorted(p.name for p in found.folder.iterdir()) == ["submission.csv", "wb-receipt.json"]
        assert sorted(p.name for p in found.folder.parent.iterdir()) == ["v1", "v1.log"]

    def test_names_that_lead_out_are_noted(self, desk: Desk) -> None:
        desk.host.refused = ["../x", "/y"]
        assert desk.push().notes == (
            "not fetched, its name leads out of the folder: '../x'",
            "not fetched, its name leads out of the folder: '/y'",
        )

    @pytest.mark.parametrize("name", ["answer.parquet", "folder/answer.parquet"])
    def test_the_receipt_says_which_file_it_is(self, desk: Desk, name: str) -> None:
        desk.host.output = {"answer.parquet": b"PAR1"}
        desk.host.receipt = {"file": name}
        assert desk.push().submission.read_bytes() == b"PAR1"
        assert desk.pushed()[0].file == "answer.parquet"

    def test_one_that_does_not_say_is_of_the_usual_name(self, desk: Desk) -> None:
        desk.host.receipt = {"file": None}
        assert desk.push().file == "submission.csv"

    @pytest.mark.parametrize("receipt", [None, {"push": "another"}, {"run_id": "another"}])
    def test_a_receipt_of_something_else_and_the_next_push_runs_it_again(self, desk: Desk, receipt: Any) -> None:
        desk.host.receipt = receipt
        what = "is missing" if receipt is None else "is for push "
        with pytest.raises(DamagedError, match=f"the kernel's wb-receipt.json {what}") as no:
            desk.push()
        assert no.value.hint == "`wb kernel push` runs it again"
        assert (desk.record["newest"]["status"], desk.record["complete"]) == ("unknown", None)
        assert not [p for p in (desk.built.folder / "pushed").iterdir() if p.is_dir()]
        desk.host.receipt = {}
        assert desk.push().version.number == 2

    @pytest.mark.parametrize("receipt", [b"{", b"[1]", b"3"])
    def test_one_that_is_no_receipt(self, desk: Desk, receipt: bytes) -> None:
        desk.host.receipt = None
        desk.host.output = {"submission.csv": b"x", "wb-receipt.json": receipt}
        again = "fetches" if receipt == b"{" else "runs"
        with pytest.raises(DamagedError) as no:
            desk.push()
        assert no.value.hint == f"`wb kernel push` {again} it again"
        assert not [p for p in (desk.built.folder / "pushed").iterdir() if p.is_dir()]
        assert desk.record["newest"]["status"] == (None if again == "fetches" else "unknown")

    def test_a_file_that_is_not_the_receipts(self, desk: Desk) -> None:
        desk.host.receipt = {"sha256": "0"}
        with pytest.raises(DamagedError, match=r"the fetched submission.csv is not what the kernel wrote") as no:
            desk.push()
        assert no.value.hint == "`wb kernel push` fetches it again"
        # It is the way that is in doubt, and not the run: what came goes, and the version stays.
        assert not [p for p in (desk.built.folder / "pushed").iterdir() if p.is_dir()]
        assert desk.record["newest"]["status"] is None
        desk.host.kernels[NAME][0].output["wb-receipt.json"] = json.dumps(
            {"push": desk.record["newest"]["push"], "run_id": RUN, "sha256": sha256(b"id,y\n1,0.5\n").hexdigest()}
        ).encode()
        assert desk.push().version.number == 1

    def test_what_arrived_is_there_to_go_on_from(self, desk: Desk) -> None:
        def breaks() -> None:
            [place] = (desk.built.folder / "pushed").glob(".v1-*")
            (place / "part").write_text("half")
            raise PlatformError("it broke")

        desk.host.faults["fetch_output"] = [breaks]
        with pytest.raises(PlatformError, match="it broke"):
            desk.push()
        found = desk.push()
        assert (found.folder / "part").read_text() == "half"
        assert found.version.number == 1

    def test_of_a_run_that_failed_it_is_only_noted_that_it_can_not_be_had(self, desk: Desk) -> None:
        desk.host.states, desk.host.receipt = [(0.0, "error")], None
        desk.host.faults["fetch_output"] = [refuse(PlatformError("it broke"))]
        found = desk.push()
        assert found.notes == ("the failed run's output could not be fetched: it broke",)
        assert (found.status, list(found.folder.iterdir())) == ("error", [])

    def test_a_login_that_ends_then_is_no_note(self, desk: Desk) -> None:
        desk.host.states, desk.host.receipt = [(0.0, "error")], None
        desk.host.faults["fetch_output"] = [refuse(LoginError("no login"))]
        with pytest.raises(LoginError):
            desk.push()


class TestPushed:
    """Which version is submitted, and what is said of a newer one."""

    def test_the_newest_that_came_to_its_end(self, desk: Desk) -> None:
        with pytest.raises(NotFoundError, match="'someone' pushed no version of the kernel in .*/001 that finished"):
            desk.pushed()
        desk.cut_off("kernel running")
        with pytest.raises(NotFoundError):
            desk.pushed()
        first = desk.push()
        found, newer = desk.pushed()
        assert (found.version, found.run_id, found.status, newer) == (first.version, RUN, "complete", "")
        assert (found.folder, found.log, found.submission) == (first.folder, first.log, first.submission)
        with pytest.raises(NotFoundError, match="'other' pushed no version"):
            desk.pushed("other")

    @pytest.mark.parametrize("at", ["kernel", "kernel running"])
    def test_a_newer_one_that_was_cut_off(self, desk: Desk, at: str) -> None:
        desk.push()
        desk.change("models/t0-f0-s1.txt", b"another")
        desk.cut_off(at)
        found, newer = desk.pushed()
        assert found.version.number == 1
        seen = "version 2 was pushed after it and was not observed to finish"
        assert newer == ("a later push was interrupted" if at == "kernel" else seen)

    def test_a_newer_one_that_failed(self, desk: Desk) -> None:
        desk.push()
        desk.change("models/t0-f0-s1.txt", b"another")
        desk.host.states, desk.host.receipt = [(0.0, "cancelled")], None
        desk.push()
        assert desk.pushed()[1] == "version 2 was pushed after it and ended with cancelled"

    def test_of_another_account_nothing_is_known(self, desk: Desk) -> None:
        desk.push()
        desk.host.owner = "other"
        desk.host.datasets, desk.host.kernels = {}, {}
        found = desk.push()
        assert found.notes == ("earlier pushes were by 'someone': the state of 'other' is unknown",)
        assert desk.push().notes == ()
        with pytest.raises(NotFoundError, match="'someone' pushed no version"):
            desk.pushed()
        assert desk.pushed("other")[0].version.owner == "other"


def test_the_notebook_is_told_in_the_cell_of_parameters_only(desk: Desk) -> None:
    desk.push()
    assert pushes_in(desk.host.kernels[NAME][0].source.notebook) == [desk.record["complete"]["push"]]
    assert json.loads(desk.built.notebook.read_text()) == NOTEBOOK
