"""Kernels on the platform: the real client against the stand-in on the wire, which executes nothing."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.commands import QUICK
from tests.kaggle_client import expects_no_answer
from tests.kernel_builds import HERE
from tests.wire import Server
from workbench.cli.app import main
from workbench.core.cache import file_sha256
from workbench.core.context import RunContext, text_listener
from workbench.core.errors import (
    BusyError,
    ConfigError,
    DamagedError,
    LoginError,
    NotFoundError,
    PlatformError,
    UnansweredError,
)
from workbench.kernels import BuiltKernel, Machine, PushedKernel, push, pushed
from workbench.models.serving import read_bundle, write_as_parquet
from workbench.platforms.kaggle import Kaggle, Patience

EXPERIMENT = 'features = ["ratio"]\n[model]\nnum_iterations = 5\n'
MODEL = "models/t0-f0-s1.txt"


@dataclass
class Ready:
    """An experiment that was run and built, and a platform to push its kernel to."""

    made: Any
    server: Server
    wheels: Path
    platform: Any

    changes: int = 0

    def build(self) -> BuiltKernel:
        """Build it; its first model is another after each `change_model`."""
        found: BuiltKernel = self.made.open.kernels.build(1, python=HERE, wheels=self.wheels)
        if self.changes:
            model = found.bundle / MODEL
            model.write_text(model.read_text() + self.changes * "\n")
            self.edit_manifest(found, lambda files: files.update({MODEL: file_sha256(model)}))
        return found

    def edit_manifest(self, built: BuiltKernel, edit: Callable[[dict[str, str]], Any]) -> None:
        path = built.bundle / "wb-manifest.json"
        manifest = json.loads(path.read_text())
        edit(manifest["files"])
        path.write_text(json.dumps(manifest))

    def manifest_there(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.server.datasets["wb-small-001-changes"][-1]["wb-manifest.json"])
        return found

    def pushed(self) -> tuple[PushedKernel, str]:
        return pushed(self.made.folder / "kernels" / "001", "someone")

    def run_again(self) -> Any:
        self.made.experiment(1, EXPERIMENT + "learning_rate = 0.3\n")
        run = self.made.open.run(1)
        self.server.kernel_output["submission.csv"] = run.submission.read_bytes()
        return run

    def push(self, machine: Machine | None = None, report: Callable[[str], None] = lambda _: None) -> PushedKernel:
        return push(
            self.made.open.access.competition,
            self.build(),
            self.platform,
            machine,
            pause_s=0.02,
            context=RunContext((text_listener(report),)),
        )

    def push_cut_off(self) -> None:
        """Push it, and stop as a killed process would while the kernel runs."""

        class CutOffError(BaseException):
            pass

        def report(words: str) -> None:
            if words == "kernel running":
                raise CutOffError

        with pytest.raises(CutOffError):
            self.push(report=report)

    def change_model(self) -> None:
        self.changes += 1

    def versions(self) -> dict[str, int]:
        return {name.removeprefix("wb-small-001-"): len(v) for name, v in self.server.datasets.items()}

    @property
    def kernels(self) -> list[dict[str, Any]]:
        return self.server.kernels["wb-small-001"]


@pytest.fixture
def ready(small, no_wheels, server, kaggle, monkeypatch) -> Ready:
    made = small(runs=(EXPERIMENT,))
    run = made.open.runs[1]
    server.host("small", {"train.csv": b"id\n"}, kernels_only=True)
    server.kernel_output = {"submission.csv": run.submission.read_bytes()}
    monkeypatch.setattr("workbench.platforms.protocol.connect", lambda *_: kaggle)
    return Ready(made, server, no_wheels, kaggle)


SECRET = "s3cr3t-0123456789abcdef"


class TestWhatLeaves:
    """Only what the experiment needs leaves the machine, no secret does, and nobody else sees it."""

    def test_only_what_is_imported_is_packed(self, ready: Ready) -> None:
        folder = ready.made.folder
        (folder / "scratch.py").write_text(f"KAGGLE_KEY = {SECRET!r}\n")
        (folder / "used.py").write_text("FACTOR = 2\n")
        (folder / "features.py").write_text("import used\n" + (folder / "features.py").read_text())
        ready.run_again()
        built = ready.build()
        assert {"competition/used.py", "competition/features.py", "competition/competition.toml"} <= set(built.files)
        assert "competition/scratch.py" not in built.files
        there = {p.relative_to(built.bundle).as_posix() for p in built.bundle.rglob("*") if p.is_file()}
        assert set(built.files) == there
        ready.push()
        assert not any("scratch" in name for files in ready.server.datasets.values() for name in files[-1])

    @pytest.mark.parametrize("by_looks", [True, False])
    def test_a_secret_is_not_packed(self, ready: Ready, monkeypatch, by_looks: bool) -> None:
        secret = "KGAT_0123456789abcdef0123" if by_looks else SECRET
        if not by_looks:
            monkeypatch.setenv("MY_DATABASE_PASSWORD", SECRET)
        features = ready.made.folder / "features.py"
        features.write_text(features.read_text() + f"\nlogin = {secret!r}\n")
        ready.run_again()
        line = features.read_text().splitlines().index(f"login = {secret!r}") + 1
        with pytest.raises(ConfigError, match=rf"token would be uploaded; it is in features.py, line {line}\n") as no:
            ready.push()
        assert secret not in str(no.value)
        assert not ready.server.datasets

    def test_nor_is_one_in_what_only_the_kernel_has(self, ready: Ready) -> None:
        ready.made.experiment(1, f'title = "KGAT_0123456789abcdef0123"\n{EXPERIMENT}learning_rate = 0.3\n')
        ready.made.open.run(1)
        with pytest.raises(ConfigError, match=r"token would be uploaded; it is in inference\.ipynb, line \d+\n"):
            ready.push()
        assert not ready.server.datasets

    def test_what_lies_in_a_runs_folder_and_is_not_of_it_is_not_packed(self, ready: Ready, tmp_path: Path) -> None:
        """A run may come from somebody else, with a link to what whoever pushes it has."""
        (tmp_path / "diary").write_text("private")
        run = ready.made.open.runs[1]
        (run.folder / "models" / "t9-f9-s9.txt").symlink_to(tmp_path / "diary")
        built = ready.build()
        assert MODEL in built.files
        assert "models/t9-f9-s9.txt" not in built.files
        assert not (built.bundle / "models" / "t9-f9-s9.txt").exists()
        (run.folder / "source" / "competition.toml").unlink()
        (run.folder / "source" / "competition.toml").symlink_to(tmp_path / "diary")
        with pytest.raises(ConfigError, match=r"source/competition\.toml is a link"):
            ready.build()

    def test_a_public_dataset_is_refused(self, ready: Ready) -> None:
        ready.server.public_datasets.add("wb-small-001-base")
        with pytest.raises(PlatformError, match="wb-small-001-base is public") as refused:
            ready.push()
        assert "settings" in refused.value.hint
        assert not ready.server.kernels
        ready.server.public_datasets.clear()
        assert ready.push().status == "complete"

    def test_one_that_was_made_public_later_gets_no_new_version(self, ready: Ready) -> None:
        ready.push()
        ready.server.public_datasets.add("wb-small-001-changes")
        before = {name: len(versions) for name, versions in ready.server.datasets.items()}
        ready.changes += 1
        with pytest.raises(PlatformError, match="wb-small-001-changes is public"):
            ready.push()
        assert {name: len(versions) for name, versions in ready.server.datasets.items()} == before
        assert len(ready.kernels) == 1


class TestPush:
    def test_it_uploads_runs_and_fetches(self, ready: Ready) -> None:
        ready.server.kernel_output["plots/one.png"] = b"a plot"
        found = ready.push(Machine("NvidiaTeslaT4", "latest", 30))
        assert (found.status, found.version.name, found.version.number) == ("complete", "wb-small-001", 1)
        assert found.submission.read_bytes() == ready.made.open.runs[1].submission.read_bytes()
        assert (found.folder / "plots" / "one.png").read_bytes() == b"a plot"
        assert "wrote submission.csv" in found.log.read_text()
        [sent] = ready.kernels
        assert {k: sent[k] for k in ("isPrivate", "enableInternet", "enableGpu", "machineShape")} == {
            "isPrivate": True,
            "enableInternet": False,
            "enableGpu": True,
            "machineShape": "NvidiaTeslaT4",
        }
        assert (sent["dockerImagePinningType"], sent["sessionTimeoutSeconds"]) == ("latest", 1800)
        assert set(ready.server.datasets) == {f"wb-small-001-{layer}" for layer in ("packages", "base", "changes")}
        assert ready.server.public_datasets == set()
        names = [f"someone/wb-small-001-{layer}" for layer in ("packages", "base", "changes")]
        assert (sent["datasetDataSources"], sent["competitionDataSources"]) == (names, ["small"])
        assert ready.pushed()[0].version == found.version

    def test_what_is_there_can_be_read_as_a_bundle(self, ready: Ready, tmp_path: Path, monkeypatch) -> None:
        """Of two pushes: the files that count are found by their digests, in whichever dataset."""
        ready.push()
        ready.change_model()
        ready.push()
        for name, versions in ready.server.datasets.items():
            (tmp_path / "input" / name).mkdir(parents=True)
            for file, data in versions[-1].items():
                (tmp_path / "input" / name / file).write_bytes(data)
        monkeypatch.setattr("workbench.models.serving.bundle.INPUTS", tmp_path / "input")
        bundle = ready.build().bundle
        found = read_bundle(tmp_path / "input" / "wb-small-001-changes")
        assert len(found.models) == 5
        assert {n: p.read_bytes() for n, p in found.files.items()} == {
            n: (bundle / n).read_bytes() for n in found.files
        }

    def test_what_it_writes_has_the_name_of_the_definition(self, ready: Ready) -> None:
        """Parquet as well as CSV: it is fetched, compared with the run's own, and submitted under its name."""
        ready.made.definition("[tables]", '[submission]\nfile = "answer.parquet"\n[tables]')
        run = ready.made.open.runs[1]
        out = write_as_parquet(ready.made.open.access.competition, run.submission, run.folder.parent / "answer.parquet")
        ready.server.kernel_output = {"answer.parquet": out.read_bytes()}
        found = ready.push()
        assert "answer.parquet" in ready.kernels[0]["text"]
        assert (found.submission.name, found.submission.read_bytes()) == ("answer.parquet", out.read_bytes())
        prepared = ready.made.open.kernels.prepare(1)
        assert prepared.findings == ()
        sent = ready.made.open.submissions.send(prepared)
        assert sent.file.endswith(".parquet")
        assert [r["fileName"] for m, r in ready.server.requests if m == "CreateCodeSubmission"] == ["answer.parquet"]
        # Again there is nothing to do, and what differs from the run is said as of CSV.
        assert ready.push().version.number == 1
        frame = pl.read_parquet(out).with_columns(pl.lit(0.25).alias("y"))
        frame.write_parquet(out)
        ready.server.kernel_output = {"answer.parquet": out.read_bytes()}
        ready.change_model()
        ready.push()
        assert {f.code for f in ready.made.open.kernels.prepare(1).warnings} >= {"differs", "constant"}
        frame.head(3).write_parquet(out)
        ready.server.kernel_output = {"answer.parquet": out.read_bytes()}
        ready.change_model()
        ready.push()
        assert {f.code for f in ready.made.open.kernels.prepare(1).errors} >= {"row_count", "missing_ids"}

    def test_a_limit_is_sent_only_where_one_is_wanted(self, ready: Ready, monkeypatch) -> None:
        ready.push()
        assert "sessionTimeoutSeconds" not in ready.kernels[0]
        # Kaggle ends a run by itself: as long as it does not, it is waited for.
        place = sys.modules["workbench.kernels.push_kernel"]
        monkeypatch.setattr(place, "MAX_QUEUE_S", 0.05)
        monkeypatch.setattr(place, "MAX_SESSION_S", 0.25)
        ready.server.kernel_states = ["RUNNING"] * 6 + ["COMPLETE"]
        ready.change_model()
        assert ready.push().status == "complete"
        ready.server.kernel_states = ["RUNNING"]
        ready.change_model()
        with pytest.raises(PlatformError, match="has not ended after"):
            ready.push()

    def test_again_there_is_nothing_to_do(self, ready: Ready) -> None:
        ready.push()
        before, calls = ready.server.bytes_uploaded, len(ready.server.calls)
        assert ready.push().uploaded == ()
        assert ready.server.bytes_uploaded == before
        assert len(ready.kernels) == 1
        assert {"GetDataset", "GetDatasetStatus", "GetKernel"} == set(ready.server.calls[calls:])

    def test_a_changed_model_uploads_that_file(self, ready: Ready) -> None:
        first = ready.push()
        assert first.size == ready.build().size == ready.server.bytes_uploaded
        ready.change_model()
        before = ready.server.bytes_uploaded
        found = ready.push()
        assert set(found.uploaded) == {MODEL, "wb-manifest.json"}
        bundle = ready.build().bundle
        sent = ready.server.bytes_uploaded - before
        assert sent == found.size == sum((bundle / name).stat().st_size for name in found.uploaded)
        assert ready.versions() == {"packages": 1, "base": 1, "changes": 2}
        assert (found.version.number, len(ready.kernels)) == (2, 2)

    def test_another_machine_runs_it_again(self, ready: Ready) -> None:
        ready.push()
        assert ready.push(Machine("NvidiaTeslaP100")).version.number == 2
        assert ready.versions() == {"packages": 1, "base": 1, "changes": 1}

    def test_a_dataset_that_was_changed_elsewhere_is_put_right(self, ready: Ready) -> None:
        ready.push()
        ready.server.datasets["wb-small-001-base"].append({"mine.txt": b"by hand"})
        found = ready.push()
        assert ready.versions()["base"] == 3
        assert any(n.startswith("models/") for n in found.uploaded)
        assert set(ready.server.datasets["wb-small-001-base"][2]) == set(ready.server.datasets["wb-small-001-base"][0])

    def test_without_other_wheels_there_is_no_dataset_of_packages(self, ready: Ready) -> None:
        built = ready.build()
        for wheel in (built.bundle / "wheels").glob("nothing*"):
            wheel.unlink()
            ready.edit_manifest(built, lambda files, name=wheel.name: files.pop(f"wheels/{name}"))
        push(ready.made.open.access.competition, built, ready.platform, pause_s=0.02)
        assert ready.versions() == {"base": 1, "changes": 1}
        assert len(ready.kernels[0]["datasetDataSources"]) == 2

    def test_datasets_are_waited_for(self, ready: Ready) -> None:
        ready.server.dataset_states = ["NOT_YET_PERSISTED", "BLOBS_RECEIVED", "READY"]
        ready.push()
        calls = ready.server.calls
        assert calls.count("GetDatasetStatus") >= 5
        assert calls.index("SaveKernel") > max(i for i, c in enumerate(calls) if c == "ListDatasetFiles")

    def test_names_that_are_too_long_are_shortened(self, small, no_wheels, server, kaggle) -> None:
        slug = "a-competition-whose-name-has-more-characters-than-a-title"
        made = small(slug=slug)
        made.experiment(1, EXPERIMENT)
        made.open.run(1)
        server.host(slug, {"train.csv": b"id\n"})
        built = made.open.kernels.build(1, python=HERE, wheels=no_wheels)
        push(made.open.access.competition, built, kaggle, pause_s=0.02)
        assert all(len(name) <= 50 for name in [*server.datasets, *server.kernels])
        assert next(iter(server.kernels.values()))[0]["competitionDataSources"] == [slug]


class TestFaults:
    @pytest.mark.parametrize("call", ["CreateDataset", "CreateDatasetVersion", "SaveKernel"])
    def test_a_lost_answer_makes_no_second_version(self, ready: Ready, call: str) -> None:
        if call == "CreateDatasetVersion":
            ready.push()
            ready.change_model()
        ready.server.fault(call, lose_answer=True)
        number = ready.push().version.number
        assert number == len(ready.kernels) == (2 if call == "CreateDatasetVersion" else 1)
        assert ready.versions() == {"packages": 1, "base": 1, "changes": number}

    @expects_no_answer
    @pytest.mark.parametrize("call", ["CreateDataset", "SaveKernel"])
    def test_what_did_not_arrive_is_sent_by_the_next_push(self, ready: Ready, call: str) -> None:
        ready.server.fault(call, hang_s=30)
        with pytest.raises(UnansweredError, match=r"Kaggle's response was lost .*; it is not listed"):
            ready.push()
        before = ready.server.bytes_uploaded
        found = ready.push()
        assert (found.status, len(ready.kernels)) == ("complete", 1)
        assert ready.versions() == {"packages": 1, "base": 1, "changes": 1}
        if call == "SaveKernel":
            assert ready.server.bytes_uploaded == before

    @pytest.mark.parametrize("at", ["dataset wb-small-001-base", "kernel", "kernel running", "output"])
    def test_a_push_that_was_cut_off_is_taken_up(self, ready: Ready, at: str) -> None:
        class CutOffError(BaseException):
            pass

        def report(words: str) -> None:
            if words == at:
                raise CutOffError

        with pytest.raises(CutOffError):
            ready.push(report=report)
        before = ready.server.bytes_uploaded
        found = ready.push()
        assert (found.status, found.version.number, len(ready.kernels)) == ("complete", 1, 1)
        assert ready.versions() == {"packages": 1, "base": 1, "changes": 1}
        if at != "dataset wb-small-001-base":
            assert ready.server.bytes_uploaded == before
        # What was uploaded before the cut is not uploaded again.
        assert ready.server.bytes_uploaded == ready.build().size

    @pytest.mark.parametrize("call", ["CreateDataset", "SaveKernel"])
    def test_a_process_that_dies_when_it_has_sent(self, ready: Ready, call: str, monkeypatch) -> None:
        """It was made, and nobody noted it: the next push finds it and makes no second one."""
        method = {"CreateDataset": "put_dataset", "SaveKernel": "save_kernel"}[call]
        code = type(ready.platform.code)
        original = getattr(code, method)

        class DeadError(BaseException):
            pass

        def dies(*args: Any, **kwargs: Any) -> Any:
            original(*args, **kwargs)
            raise DeadError

        with monkeypatch.context() as patch:
            patch.setattr(code, method, dies)
            with pytest.raises(DeadError):
                ready.push()
        before = ready.server.calls.count(call)
        found = ready.push()
        assert (found.version.number, len(ready.kernels)) == (1, 1)
        assert ready.versions() == {"packages": 1, "base": 1, "changes": 1}
        # Of the three datasets one was made before it died, of the kernel its one version.
        assert (before, ready.server.calls.count(call)) == (1, 3 if call == "CreateDataset" else 1)

    @expects_no_answer
    def test_a_version_by_another_hand_is_not_taken_for_ours(self, ready: Ready, monkeypatch) -> None:
        """The answer is lost, nothing was made, and meanwhile somebody saved the kernel on its page."""
        ready.server.fault("SaveKernel", hang_s=30)
        with pytest.raises(UnansweredError):
            ready.push()
        ready.server.kernels["wb-small-001"] = [{"text": "print('by hand')"}]
        found = ready.push()
        assert (found.version.number, found.status) == (2, "complete")

    def test_a_cut_upload_goes_on(self, ready: Ready) -> None:
        ready.server.fault("upload", cut_after=10)
        assert ready.push().status == "complete"
        assert ready.server.datasets["wb-small-001-packages"][0] == {
            p.name: p.read_bytes() for p in (ready.build().bundle / "wheels").glob("nothing*")
        }

    def test_a_refused_kernel(self, ready: Ready) -> None:
        ready.server.kernel_error = "Maximum batch CPU session count of 5 reached."
        with pytest.raises(PlatformError, match="Kaggle refused pushing the kernel 'wb-small-001': “Maximum batch CPU"):
            ready.push()
        ready.server.kernel_error = ""
        before, calls = ready.server.bytes_uploaded, len(ready.server.calls)
        assert ready.push().version.number == 1
        assert ready.server.bytes_uploaded == before
        # Nothing was on its way: nothing is waited for.
        assert ready.server.calls[calls:].count("GetKernel") == 1

    def test_a_refused_dataset(self, ready: Ready) -> None:
        ready.server.datasets["wb-small-001-base"] = []
        with pytest.raises(PlatformError, match="already in use by a dataset"):
            ready.push()

    def test_data_that_is_not_known(self, ready: Ready) -> None:
        push_ = ready.push
        ready.server.fault(
            "SaveKernel",
            status=200,
            body=b'{"ref": "/code/someone/wb-small-001", "versionNumber": 1, "invalidCompetitionSources": ["small"]}',
        )
        with pytest.raises(PlatformError, match="without these sources, which Kaggle does not know: small"):
            push_()
        assert push_().status == "complete"

    def test_a_file_that_was_left_out(self, ready: Ready) -> None:
        def lose() -> None:
            uploads = ready.server.hosted["blobs"].uploads
            names = ready.server.hosted["blobs"].names
            del uploads[next(t for t in uploads if names[t] == "features.py")]

        ready.server.fault("CreateDataset", before=lose, skip=1)
        with pytest.raises(PlatformError, match=r"version 1 of the dataset 'wb-small-001-base' .*missing: features.py"):
            ready.push()
        assert ready.push().status == "complete"
        assert ready.versions() == {"packages": 1, "base": 2, "changes": 1}

    def test_a_dataset_that_fails(self, ready: Ready) -> None:
        ready.server.dataset_states = ["FAILED"]
        with pytest.raises(PlatformError, match="'wb-small-001-packages' is failed"):
            ready.push()
        ready.server.dataset_states = ["READY"]
        assert ready.push().status == "complete"

    def test_a_status_that_is_denied_for_a_while(self, ready: Ready) -> None:
        ready.server.fault("GetKernelSessionStatus", status=403, body=b'{"message": "denied"}', times=2)
        assert ready.push().status == "complete"

    def test_a_status_that_stays_denied(self, ready: Ready) -> None:
        ready.server.fault("GetKernelSessionStatus", status=403, body=b'{"message": "denied"}', times=1000)
        with pytest.raises(PlatformError, match="returns no status for the kernel 'wb-small-001'"):
            ready.push()

    def test_the_status_of_the_run_before_is_not_taken_for_ours(self, ready: Ready) -> None:
        ready.push()
        old = ready.server.session
        ready.change_model()
        ready.server.kernel_output = {"submission.csv": b"id,y\nnew\n"}
        fresh: list[Any] = []

        def late() -> None:
            # The first answers are still about the old run.
            fresh.append(ready.server.session)
            ready.server.session = old if len(fresh) < 3 else fresh[0]

        ready.server.fault("GetKernelSessionStatus", before=late, times=3)
        found = ready.push()
        assert found.submission.read_bytes() == b"id,y\nnew\n"

    @pytest.mark.parametrize("silent", [False, True])
    @pytest.mark.parametrize("state", ["ERROR", "COMPLETE"])
    def test_the_status_of_the_run_before_however_long_it_is_shown(
        self, ready: Ready, monkeypatch, silent: bool, state: str
    ) -> None:
        """Longer than the platform usually takes; that run failed, or had ended before it printed a line."""
        ready.platform.listing_delay_s = 0.1
        ready.server.kernel_states = [state]
        ready.push()
        if silent:
            ready.server.session.is_silent = True
        old = ready.server.session
        ready.change_model()
        ready.server.kernel_states = ["QUEUED", "RUNNING", "COMPLETE"]
        ready.server.kernel_output = {"submission.csv": b"id,y\nnew\n"}
        asked: list[Any] = []

        def late() -> None:
            asked.append(ready.server.session)
            number = len(ready.kernels)
            fresh = ready.server.sessions["wb-small-001", number]
            if fresh is not old:
                kept.setdefault("fresh", fresh)
            ready.server.sessions["wb-small-001", number] = old if len(asked) < 40 else kept["fresh"]
            ready.server.session = ready.server.sessions["wb-small-001", number]

        kept: dict[str, Any] = {}
        ready.server.fault("GetKernelSessionStatus", before=late, times=60)
        found = ready.push()
        assert len(asked) >= 40
        assert (found.status, found.version.number) == ("complete", 2)
        assert found.submission.read_bytes() == b"id,y\nnew\n"

    def test_a_run_that_fails_before_it_prints_a_line_is_ours_where_none_was_before(
        self, ready: Ready, monkeypatch
    ) -> None:
        ready.platform.listing_delay_s = 0.1
        ready.server.kernel_states = ["ERROR"]

        def silent() -> None:
            ready.server.session.is_silent = True

        ready.server.fault("GetKernelSessionStatus", before=silent, times=1000)
        found = ready.push()
        assert (found.status, found.failure) == ("error", "it raised")

    @pytest.mark.parametrize("call", ["GetKernelSessionStatus", "ListKernelSessionOutput"])
    def test_a_login_that_ends_while_it_waits(self, ready: Ready, call: str) -> None:
        """It stops at once; the next push goes on with the same version."""
        ready.server.fault(call, status=401, body=b'{"message": "no"}', times=1000)
        with pytest.raises(LoginError, match="does not accept the login"):
            ready.push()
        assert ready.server.calls.count(call) <= 2
        ready.server.faults.clear()
        assert (ready.push().version.number, len(ready.kernels)) == (1, 1)

    @pytest.mark.parametrize(("state", "status"), [("ERROR", "error"), ("CANCEL_ACKNOWLEDGED", "cancelled")])
    def test_a_run_that_fails(self, ready: Ready, state: str, status: str) -> None:
        ready.push()
        ready.change_model()
        ready.server.kernel_states = ["RUNNING", state]
        found = ready.push()
        assert (found.status, found.version.number) == (status, 2)
        assert "push" in found.log.read_text()
        # The version before is still there to be submitted; another push runs the new one again.
        assert (ready.pushed()[0].version.number, ready.pushed()[1]) == (
            1,
            f"version 2 was pushed after it and ended with {status}",
        )
        ready.server.kernel_states = ["COMPLETE"]
        assert ready.push().version.number == 3

    def test_a_run_that_does_not_end(self, ready: Ready, monkeypatch) -> None:
        monkeypatch.setattr("workbench.kernels.push_kernel.MAX_QUEUE_S", 0.1)
        ready.server.kernel_states = ["QUEUED"]
        with pytest.raises(PlatformError, match="has not ended after"):
            ready.push(Machine(minutes=0.001))
        ready.server.session.states = ["COMPLETE"]
        assert ready.push(Machine(minutes=0.001)).version.number == 1

    def test_outputs_stay_in_their_folder(self, ready: Ready) -> None:
        ready.server.kernel_output |= {"../outside.txt": b"x", "/etc/outside.txt": b"x", "..\\outside.txt": b"x"}
        found = ready.push()
        assert len(found.notes) == 3
        assert "leads out of the folder: '../outside.txt'" in found.notes[0]
        assert {p.name for p in found.folder.rglob("*")} == {"submission.csv", "wb-receipt.json"}
        assert not (found.folder.parent / "outside.txt").exists()

    def test_an_output_that_is_damaged_on_its_way(self, ready: Ready) -> None:
        ready.server.send_md5 = False
        ready.server.fault("storage", change=lambda data: data[:-2] + b"9\n")
        with pytest.raises(DamagedError, match="is not what the kernel wrote"):
            ready.push()
        assert ready.push().status == "complete"
        assert len(ready.kernels) == 1

    def test_output_that_was_changed_here_is_fetched_again(self, ready: Ready) -> None:
        found = ready.push()
        found.submission.write_text("id,y\n")
        with pytest.raises(DamagedError, match="is not what the kernel wrote"):
            ready.pushed()
        ready.push()
        assert ready.pushed()[0].submission.stat().st_size > 10

    def test_datasets_that_were_deleted_are_made_again_and_the_kernel_run(self, ready: Ready) -> None:
        ready.push()
        del ready.server.datasets["wb-small-001-changes"]
        ready.change_model()
        found = ready.push()
        assert (found.version.number, ready.versions()["changes"]) == (2, 1)

    def test_of_another_account_nothing_is_known(self, ready: Ready, monkeypatch) -> None:
        place = ready.server
        ready.push()
        first = (place.datasets, place.kernels)
        place.datasets, place.kernels = {}, {}
        with monkeypatch.context() as patch:
            patch.setattr(type(ready.platform.code), "owner", "other")
            run = ready.run_again()
            found = ready.push()
        assert found.notes == ("earlier pushes were by 'someone': the state of 'other' is unknown",)
        with pytest.raises(NotFoundError, match="'someone' pushed no version"):
            ready.pushed()
        place.datasets, place.kernels = first
        assert ready.push().run_id == ready.manifest_there()["run_id"] == run.record.run_id

    def test_another_build_while_it_uploads(self, ready: Ready) -> None:
        """What is recorded is what was uploaded."""
        ready.made.experiment(1, EXPERIMENT + "learning_rate = 0.3\n")
        first = ready.made.open.runs[1].record.run_id

        def rebuild(words: str) -> None:
            if words == "dataset wb-small-001-changes":
                ready.made.open.run(1)
                ready.build()

        assert ready.push(report=rebuild).run_id == ready.manifest_there()["run_id"] == first

    def test_a_file_that_changes_while_it_is_uploaded(self, ready: Ready) -> None:
        built = ready.build()

        def change(words: str) -> None:
            if words == "uploading models/t0-f4-s1.txt":
                with (built.bundle / "models" / "t0-f4-s1.txt").open("a") as file:
                    file.write("\n")

        with pytest.raises(DamagedError, match="t0-f4-s1.txt changed while it was uploaded"):
            ready.push(report=change)
        assert ready.push().status == "complete"

    def test_a_bundle_that_is_not_what_was_built(self, ready: Ready) -> None:
        built = ready.build()
        (built.bundle / MODEL).write_text("")
        with pytest.raises(DamagedError, match="do not match its manifest"):
            push(ready.made.open.access.competition, built, ready.platform)

    def test_a_kernel_that_was_deleted_and_made_anew(self, ready: Ready) -> None:
        """Numbers start over: what the first version 1 wrote is not what the second would submit."""
        ready.push()
        ready.server.kernels.clear()
        ready.change_model()

        ready.push_cut_off()
        with pytest.raises(NotFoundError):
            ready.pushed()
        assert ready.push().version.number == 1

    def test_datasets_that_the_kernel_found_damaged_are_uploaded_again(self, ready: Ready) -> None:
        ready.server.kernel_states = ["ERROR"]
        ready.server.kernel_says = "DamagedError: t0-f0-s1.txt is not what was packed\n"
        ready.push()
        ready.server.kernel_states, ready.server.kernel_says = ["COMPLETE"], ""
        found = ready.push()
        assert (found.status, found.size) == ("complete", ready.build().size)
        assert ready.versions() == {"packages": 2, "base": 2, "changes": 2}

    def test_output_of_a_failed_run_that_can_not_be_fetched(self, ready: Ready) -> None:
        ready.server.kernel_states = ["ERROR"]
        ready.server.failed_output = {"half.bin": b"x"}
        ready.server.fault("storage", status=404, times=1000)
        found = ready.push()
        assert found.status == "error"
        assert "could not be fetched" in found.notes[0]
        assert ready.push().version.number == 2

    @pytest.mark.parametrize("receipt", [b"{}", b"[]", b'{"push": "another", "run_id": ""}'])
    def test_a_receipt_of_something_else(self, ready: Ready, receipt: bytes) -> None:
        ready.server.kernel_output["wb-receipt.json"] = receipt
        with pytest.raises(DamagedError, match=r"the kernel's wb-receipt.json is .*; expected push '.*' of run '001-"):
            ready.push()
        del ready.server.kernel_output["wb-receipt.json"]
        assert ready.push().version.number == 2

    def test_a_version_is_known_by_its_names_where_sizes_are_listed_otherwise(self, ready: Ready, monkeypatch) -> None:
        code = type(ready.platform.code)
        files, put = code.dataset_files, code.put_dataset
        monkeypatch.setattr(code, "dataset_files", lambda s, n, v: {k: b + 1 for k, b in files(s, n, v).items()})

        class DeadError(BaseException):
            pass

        def dies(*args: Any, **kwargs: Any) -> Any:
            put(*args, **kwargs)
            raise DeadError

        with monkeypatch.context() as patch:
            patch.setattr(code, "put_dataset", dies)
            with pytest.raises(DeadError):
                ready.push()
        found = ready.push()
        assert ready.versions()["packages"] == 1
        assert "of another size in the dataset 'wb-small-001-base'" in found.notes[0]

    @pytest.mark.parametrize(
        "text",
        [
            "[1]",
            "{",
            '{"datasets": []}',
            '{"owner": "someone", "datasets": null}',
            '{"owner": "someone", "newest": {"name": "wb-small-001"}}',
            '{"owner": "someone", "datasets": {"wb-small-001-base": {"files": {"a": 1}}}}',
        ],
    )
    def test_a_record_that_is_damaged(self, ready: Ready, text: str) -> None:
        found = ready.push()
        path = found.folder.parents[1] / "pushed.json"
        path.write_text(text)
        for use in (ready.push, ready.pushed):
            with pytest.raises(DamagedError, match="pushed.json is") as told:
                use()
            assert told.value.hint.startswith("remove it: the next push")
        path.unlink()
        assert ready.push().version.number == 2

    def test_a_refusal_does_not_cost_the_uploads(self, ready: Ready) -> None:
        ready.server.fault("CreateDataset", status=429, body=b'{"message": "slow down"}', skip=1, times=20)
        with pytest.raises(PlatformError, match="limits the rate of calls"):
            ready.push()
        ready.server.faults.clear()
        ready.push()
        assert ready.server.bytes_uploaded == ready.build().size

    def test_uploads_of_an_earlier_push_that_are_refused_are_made_again(self, ready: Ready) -> None:
        ready.server.fault("CreateDataset", status=400, body=b'{"message": "unknown token"}', times=2)
        for _ in range(2):
            with pytest.raises(PlatformError, match="unknown token"):
                ready.push()
        before = ready.server.bytes_uploaded
        ready.push()
        assert ready.server.bytes_uploaded - before == ready.build().size

    def test_output_goes_on_from_what_arrived(self, ready: Ready) -> None:
        ready.server.kernel_output["big.bin"] = bytes(range(256)) * 4000
        ready.server.fault("storage", cut_after=500_000, skip=1)
        ready.server.fault("storage", status=403, skip=1, times=30)
        with pytest.raises(PlatformError, match=r"0\.5 MB are kept"):
            ready.push()
        ready.server.faults.clear()
        ready.server.ranges.clear()
        found = ready.push()
        assert "bytes=500000-" in ready.server.ranges
        assert (found.folder / "big.bin").stat().st_size == 256 * 4000
        assert not list(found.folder.parent.glob(".*"))

    def test_a_status_that_is_denied_once_in_a_long_run(self, ready: Ready) -> None:
        ready.server.kernel_states = ["RUNNING"] * 40 + ["COMPLETE"]
        ready.server.fault("GetKernelSessionStatus", status=403, body=b'{"message": "denied"}', skip=35)
        assert ready.push().status == "complete"

    def test_two_at_once(self, ready: Ready) -> None:
        def report(words: str) -> None:
            if words == "kernel":
                with pytest.raises(BusyError, match="pushing the kernel 'wb-small-001'"):
                    ready.push()

        ready.push(report=report)

    def test_a_platform_without_kernels(self, ready: Ready, tmp_path: Path) -> None:
        from workbench.rehearsal import LocalPlatform

        with pytest.raises(ConfigError, match="the platform 'rehearsal' has no kernels"):
            push(ready.made.open.access.competition, ready.build(), LocalPlatform(tmp_path))


class TestSavedOnTheWeb:
    """Somebody saves the kernel on its page while ours runs: Kaggle answers for the newest version unless it is told."""

    @pytest.fixture(autouse=True)
    def not_for_hours(self, monkeypatch) -> None:
        for name in ("MAX_QUEUE_S", "MAX_SESSION_S"):
            monkeypatch.setattr(f"workbench.kernels.push_kernel.{name}", 2.0)

    def save(self, ready: Ready, state: str = "ERROR") -> None:
        output = {"submission.csv": b"id,y\nof another\n", "wb-receipt.json": b"{}"}
        ready.server.save_on_the_web("wb-small-001", [state], output, "it is another's log\n")

    def saving_at(self, ready: Ready, words: str, state: str = "ERROR") -> Callable[[str], None]:
        def report(said: str) -> None:
            if said == words and len(ready.kernels) == 1:
                self.save(ready, state)

        return report

    @pytest.mark.parametrize("at", ["kernel queued", "kernel running", "output"])
    @pytest.mark.parametrize("state", ["ERROR", "COMPLETE", "RUNNING", "CANCEL_ACKNOWLEDGED"])
    def test_status_log_and_output_are_of_the_version_that_was_pushed(self, ready: Ready, at: str, state: str) -> None:
        pushed_ = ready.push(report=self.saving_at(ready, at, state))
        assert (pushed_.status, pushed_.failure, pushed_.version.number) == ("complete", "", 1)
        assert pushed_.submission.read_bytes() == ready.made.open.runs[1].submission.read_bytes()
        assert "another's" not in pushed_.log.read_text()
        assert len(ready.kernels) == 2
        # It is still there, and nothing is run again for the one beside it.
        assert ready.push().version.number == 1
        assert len(ready.kernels) == 2

    def test_ours_fails_and_the_other_is_well(self, ready: Ready) -> None:
        ready.server.kernel_states = ["QUEUED", "RUNNING", "ERROR"]
        pushed_ = ready.push(report=self.saving_at(ready, "kernel running", "COMPLETE"))
        assert (pushed_.status, pushed_.failure) == ("error", "it raised")
        assert "another's" not in pushed_.log.read_text()

    def test_the_answer_to_our_save_is_lost(self, ready: Ready) -> None:
        """Ours is below the newest: it is found there, and not saved again."""
        ready.server.fault("SaveKernel", lose_answer=True)
        fault = ready.server.fault("GetKernel", skip=1)
        fault.before = lambda: self.save(ready)
        pushed_ = ready.push()
        assert (pushed_.status, pushed_.version.number) == ("complete", 1)
        assert ready.server.calls.count("SaveKernel") == 1

    def test_a_push_that_was_cut_off_goes_on_with_its_own_version(self, ready: Ready) -> None:
        ready.push_cut_off()
        self.save(ready)
        pushed_ = ready.push()
        assert (pushed_.status, pushed_.version.number, len(ready.kernels)) == ("complete", 1, 2)

    def test_a_changed_model_is_another_version_above_it(self, ready: Ready) -> None:
        ready.push()
        self.save(ready)
        ready.change_model()
        assert ready.push().version.number == 3
        assert ready.made.open.submissions.send(ready.made.open.kernels.prepare(1)).status in ("pending", "complete")

    def test_deleted_and_saved_anew_it_is_not_ours(self, ready: Ready) -> None:
        ready.push()
        ready.server.kernels.clear()
        for _ in range(2):
            self.save(ready)
        assert ready.push().version.number == 3

    def test_every_question_about_a_run_names_its_version(self, ready: Ready) -> None:
        ready.push()
        asked = {"GetKernelSessionStatus", "ListKernelSessionOutput"}
        labels = [r.get("versionLabel") for m, r in ready.server.requests if m in asked]
        assert set(labels) == {"v1"}
        assert asked <= {m for m, _ in ready.server.requests}


class TestSubmit:
    @pytest.mark.parametrize("lost", [False, True])
    def test_it_is_sent_once_and_logged_with_its_cv(self, ready: Ready, lost: bool) -> None:
        ready.push()
        if lost:
            ready.server.fault("CreateCodeSubmission", lose_answer=True)
        place = ready.made.open
        prepared = place.kernels.prepare(1)
        assert prepared.findings == ()
        sent = place.submissions.send(prepared)
        assert (sent.ref, sent.status) == ("1000", "complete")
        assert sent.cv_mean == place.runs[1].record.cv_mean is not None
        assert sent.file == f"submissions/small/{sent.run_id}-v1-{sent.sha256[:8]}.csv"
        assert (place.workspace.root / sent.file).read_bytes() == ready.server.kernel_output["submission.csv"]
        assert ready.server.calls.count("CreateCodeSubmission") == 1
        [row] = [r for r in place.table() if r.run.exp == 1]
        assert row.public_score == sent.public_score is not None

    def test_what_differs_from_the_run_is_said(self, ready: Ready) -> None:
        own = ready.server.kernel_output["submission.csv"].decode().splitlines()
        own[1] = own[1].split(",")[0] + ",0.987654"
        ready.server.kernel_output = {"submission.csv": ("\n".join(own) + "\n").encode()}
        ready.push()
        [finding] = ready.made.open.kernels.prepare(1).warnings
        assert finding.code == "differs"
        assert finding.message.startswith("1 of the kernel's predictions differ from the run's own")

    def test_what_is_wrong_with_the_file_stops_it(self, ready: Ready) -> None:
        ready.server.kernel_output = {"submission.csv": b"id,y\n1,0.5\n"}
        ready.push()
        assert {f.code for f in ready.made.open.kernels.prepare(1).errors} >= {"row_count", "missing_ids"}

    def test_what_was_pushed_or_run_since_is_said(self, ready: Ready) -> None:
        ready.push()
        run = ready.run_again()
        ready.server.kernel_states = ["ERROR"]
        ready.push()
        older, again = ready.made.open.kernels.prepare(1).warnings[:2]
        assert (older.code, again.code) == ("older_version", "run_again")
        assert older.message.endswith("version 2 was pushed after it and ended with error")
        assert run.record.run_id in again.message

    def test_the_second_version_is_not_taken_for_the_first(self, ready: Ready) -> None:
        """Whether the first was submitted is not known until the second is."""
        place = ready.made.open
        ready.push()
        ready.server.fault("CreateCodeSubmission", lose_answer=True)
        ready.server.fault("ListSubmissions", status=403, body=b'{"message": "denied"}', skip=1, times=1000)
        with pytest.raises(UnansweredError):
            place.submissions.send(place.kernels.prepare(1))
        ready.server.faults.clear()
        text = ready.server.kernel_output["submission.csv"].decode().replace("0.", "0.0", 1)
        ready.server.kernel_output = {"submission.csv": text.encode()}
        ready.push(Machine("NvidiaTeslaT4"))
        prepared = place.kernels.prepare(1)
        sent = place.submissions.send(prepared)
        assert (sent.ref, sent.sha256) == ("1001", prepared.sha256)
        first, second = place.submissions
        assert (first.status, second.status) == ("complete", "complete")
        assert first.file != second.file

    def test_a_competition_that_is_over(self, ready: Ready, monkeypatch) -> None:
        ready.push()
        hosted = ready.server.hosted["small"]
        hosted.deadline = datetime.now(UTC) - timedelta(days=1)
        assert [f.code for f in ready.made.open.kernels.prepare(1).findings] == ["late"]
        hosted.disabled = True
        later = Kaggle(patience=Patience(**QUICK))  # the first one remembers what it has heard
        monkeypatch.setattr("workbench.platforms.protocol.connect", lambda *_: later)
        assert [f.code for f in ready.made.open.kernels.prepare(1).findings] == ["closed"]

    def test_a_kernel_that_was_never_pushed(self, ready: Ready) -> None:
        ready.build()
        with pytest.raises(NotFoundError, match="'someone' pushed no version of the kernel .* that finished"):
            ready.made.open.kernels.prepare(1)

    def test_a_file_is_still_refused(self, ready: Ready) -> None:
        [finding] = ready.made.open.submissions.prepare(1).errors
        assert finding.code == "notebook_only"
        assert "`wb kernel submit`" in finding.message


class TestCommands:
    @pytest.fixture
    def run(self, ready: Ready, monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
        def go(*arguments: str) -> tuple[int, str, str]:
            monkeypatch.chdir(ready.made.folder)
            with pytest.raises(SystemExit) as ended:
                main(["kernel", *arguments])
            out, err = capsys.readouterr()
            return int(ended.value.code or 0), out, err

        return go

    def test_push_and_submit(self, ready: Ready, run) -> None:
        options = ("1", "--python", HERE, "--wheels", str(ready.wheels), "--accelerator", "NvidiaTeslaT4", "--json")
        ready.server.kernel_states = ["COMPLETE"]
        code, out, err = run("push", *options)
        assert code == 0, err
        found = json.loads(out)
        assert (found["kernel"], found["version"], found["status"]) == ("wb-small-001", 1, "complete")
        assert found["bytes"] == ready.server.bytes_uploaded
        assert "next: wb kernel submit 1" in err
        code, out, err = run("submit", "1", "--dry-run")
        assert (code, "no issues found" in out) == (0, True), err
        assert "CreateCodeSubmission" not in ready.server.calls
        code, out, err = run("submit", "1", "--wait", "--json")
        assert (code, json.loads(out)["status"]) == (0, "complete"), err

    def test_a_run_that_fails_shows_its_log(self, ready: Ready, run) -> None:
        ready.server.kernel_states = ["ERROR"]
        code, out, err = run("push", "1", "--python", HERE, "--wheels", str(ready.wheels))
        assert code != 0
        assert "wb-small-001, version 1: error" in out
        assert "the kernel ended with status error: it raised" in err
        assert "wrote submission.csv" in err
        code, out, err = run("push", "1", "--python", HERE, "--wheels", str(ready.wheels), "--json")
        assert code != 0
        assert (json.loads(out)["status"], json.loads(out)["failure"]) == ("error", "it raised")
