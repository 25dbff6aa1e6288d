"""Competitions with an evaluation server are known by their files and refused; what is handed in has a name."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.kernel_builds import HERE, built
from workbench.core.context import SILENT, RunContext, text_listener
from workbench.core.errors import ConfigError
from workbench.data.competition.definition import read_definition
from workbench.data.ingest import fetch
from workbench.data.ingest.evaluation import evaluation_server, evaluation_server_in
from workbench.data.workspace import create_workspace
from workbench.kernels import push, rehearse
from workbench.kernels.build import BuiltKernel
from workbench.models.serving import read_submission

SMALL = {
    "train.csv": b"id,x,y\n" + b"".join(b"%d,%d,%d\n" % (i, i * 7 % 11, i % 2) for i in range(40)),
    "test.csv": b"id,x\n" + b"".join(b"%d,%d\n" % (i, i * 7 % 11) for i in range(40, 60)),
    "sample_submission.csv": b"id,y\n" + b"".join(b"%d,0.5\n" % i for i in range(40, 60)),
}
EXPERIMENT = 'features = ["ratio"]\n[model]\nnum_iterations = 5\n'
TODAY = {
    "kaggle_evaluation/__init__.py": b"",
    "kaggle_evaluation/default_gateway.py": b"class DefaultGateway: ...\n",
    "kaggle_evaluation/core/relay.py": b"import grpc\n",
}


def zipped(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


class TestNames:
    @pytest.mark.parametrize(
        "name",
        [
            "kaggle_evaluation/__init__.py",
            "kaggle_evaluation/core/generated/kaggle_evaluation_pb2.py",
            "hull-tactical/kaggle_evaluation/default_gateway.py",
            "kaggle_evaluation.zip",
            "kaggle_evaluation.tar.gz",
            "kaggle_evaluation.py",
            "Kaggle_Evaluation\\core\\relay.py",
            "kaggle_simulations/agent/main.py",
            "konwinski_prize_gateway.py",
            "server/mitsui_inference_server.py",
            "riiideducation/competition.cpython-37m-x86_64-linux-gnu.so",
            "optiver2023/competition.cpython-310-x86_64-linux-gnu.so",
            "optiver2023/__init__.py",
            "jane_street/__init__.py",
            "janestreet.py",
            "new_api/competition.abi3.so",
            "public_timeseries_testing_util.py",
            "example/public_timeseries_testing_util.py",
        ],
    )
    def test_of_a_server(self, name: str) -> None:
        assert evaluation_server(["train.csv", name, "test.csv"]) == name

    @pytest.mark.parametrize(
        "names",
        [
            ["train.csv", "test.csv", "sample_submission.csv"],
            ["evaluation.csv", "kaggle_evaluation_notes.txt", "about_kaggle_evaluation.md"],
            ["kaggle_evaluation.csv", "docs/kaggle_evaluation.md", "kaggle_evaluation_notes/a.csv"],
            ["images/mlb/1.png", "enefit.csv", "ubiquant/train.csv", "jane_street/train.csv"],
            ["metric.py", "helpers/__init__.py", "helpers/score.py", "sources.so.txt", "also.csv"],
            [],
        ],
    )
    def test_of_none(self, names: list[str]) -> None:
        assert evaluation_server(names) is None


class TestFiles:
    @pytest.mark.parametrize(
        ("file", "data", "expected"),
        [
            ("data.zip", zipped({"data/train.csv": b"", **{f"data/{n}": d for n, d in TODAY.items()}}), "data/kaggle"),
            ("data.zip", zipped({"inner.zip": zipped(TODAY), "train.csv": b""}), "kaggle_evaluation/"),
            ("data.zip", zipped({"own/__init__.py": b"def make_env():\n    ...\n"}), "own/__init__.py"),
            ("own/__init__.py", b"class MyInferenceServer(Base): ...\n", "own/__init__.py"),
            ("own/api.py", b"server.run_local_gateway(('x',))\n", "own/api.py"),
            ("a/b/kaggle_evaluation/relay.py", b"", "a/b/kaggle_evaluation/relay.py"),
        ],
    )
    def test_on_disk_and_in_archives(self, tmp_path: Path, file: str, data: bytes, expected: str) -> None:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(data)
        (tmp_path / "broken.zip").write_bytes(b"PK no archive")
        (tmp_path / "score.py").write_text("def score(y, p):\n    return 0.0\n")
        found = evaluation_server_in(tmp_path)
        assert found is not None
        assert found.startswith(expected)
        # Files of which there is a list are not gone through.
        (tmp_path / file).unlink()
        assert evaluation_server_in(tmp_path, ["score.py", "broken.zip"]) is None
        assert evaluation_server_in(tmp_path, ["score.py", *TODAY]) == "kaggle_evaluation/__init__.py"

    def test_in_a_damaged_archive_nothing_is_found(self, tmp_path: Path) -> None:
        path = tmp_path / "a.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("x.py", "print(1)\n" * 2000)
        data = bytearray(path.read_bytes())
        data[45:60] = bytes(b ^ 0xFF for b in data[45:60])
        path.write_bytes(data)
        assert evaluation_server_in(tmp_path) is None

    def test_in_a_tar(self, tmp_path: Path) -> None:
        with tarfile.open(tmp_path / "data.tar.gz", "w:gz") as archive:
            info = tarfile.TarInfo("kaggle_evaluation/relay.py")
            archive.addfile(info, io.BytesIO(b""))
        assert evaluation_server_in(tmp_path) == "kaggle_evaluation/relay.py"


class TestFetch:
    def bring(self, server: Any, kaggle: Any, tmp_path: Path, more: dict[str, bytes], **options: Any) -> Any:
        server.host("small", SMALL | more, **options)
        lines: list[str] = []
        workspace = create_workspace(tmp_path / "workspace")
        fetch(workspace, "small", kaggle, context=RunContext((text_listener(lines.append),)))
        path = workspace.competitions / "small" / "competition.toml"
        return path, lines

    def test_it_is_recorded(self, server, kaggle, tmp_path: Path) -> None:
        path, lines = self.bring(server, kaggle, tmp_path, TODAY, kernels_only=True)
        assert read_definition(path, "small").submission.server == "kaggle_evaluation/__init__.py"
        assert "# a file of the evaluation server, which hands the hidden test set" in path.read_text()
        assert [line for line in lines if "has an evaluation server (kaggle_evaluation/__init__.py)" in line]

    def test_another_competition_has_none(self, server, kaggle, tmp_path: Path) -> None:
        path, lines = self.bring(server, kaggle, tmp_path, {"helpers/score.py": b"x = 1\n"})
        assert "[submission]" not in path.read_text()
        assert read_definition(path, "small").submission.file == "submission.csv"
        assert not [line for line in lines if "evaluation server" in line]


@pytest.fixture
def made(small) -> Any:
    made = small()
    made.experiment(1, EXPERIMENT)
    made.open.run(1)
    return made


class TestRefusal:
    REASON = r"has an evaluation server \(kaggle_evaluation/__init__.py\): .*a gateway in another container sends it"

    def test_every_command_refuses(self, made, no_wheels, kaggle, monkeypatch) -> None:
        kernel = built(made, no_wheels)
        raw = made.folder / "data" / "raw"
        for name, data in TODAY.items():
            (raw / name).parent.mkdir(parents=True, exist_ok=True)
            (raw / name).write_bytes(data)
        monkeypatch.setattr("workbench.platforms.protocol.connect", lambda *_: kaggle)
        place = made.open
        for refused in (
            lambda: place.kernels.build(1, python=HERE, wheels=no_wheels),
            lambda: rehearse(place.access.competition, place.runs[1], kernel),
            lambda: push(place.access.competition, kernel, kaggle),
            lambda: place.kernels.prepare(1),
        ):
            with pytest.raises(ConfigError, match="has an evaluation server") as told:
                refused()
            assert "the host's demo notebook" in told.value.hint
            assert "server = false" in told.value.hint
        made.definition("[tables]", "[submission]\nserver = false\n[tables]")
        assert isinstance(made.open.kernels.build(1, python=HERE, wheels=no_wheels), BuiltKernel)

    def test_the_definition_says_so(self, made, no_wheels) -> None:
        made.definition("[tables]", '[submission]\nserver = "kaggle_evaluation/__init__.py"\n[tables]')
        with pytest.raises(ConfigError, match=self.REASON):
            built(made, no_wheels)

    def test_a_file_is_not_sent_to_wb_kernel(self, made, server, kaggle, monkeypatch) -> None:
        server.host("small", {"train.csv": b"id\n"}, kernels_only=True)
        monkeypatch.setattr("workbench.platforms.protocol.connect", lambda *_: kaggle)
        made.definition("[tables]", '[submission]\nserver = "optiver2023/__init__.py"\n[tables]')
        [finding] = made.open.submissions.prepare(1).errors
        assert finding.code == "notebook_only"
        assert "wb kernel" not in finding.message
        assert "evaluation server (optiver2023/__init__.py)" in finding.message


class TestFileName:
    @pytest.mark.parametrize(
        "name", ["sub/submission.csv", "../x.csv", "submission.json", "submission", "", "a.csv.gz"]
    )
    def test_a_wrong_name_is_refused(self, made, name: str) -> None:
        made.definition("[tables]", f"[submission]\nfile = {json.dumps(name)}\n[tables]")
        with pytest.raises(ConfigError, match=r"submission\.file.*ends in \.csv or \.parquet"):
            made.open.access.competition.definition  # noqa: B018

    @pytest.mark.parametrize("task", ["binary", "regression", "multiclass", "two"])
    def test_predictions_in_parquet(self, small, no_wheels, tmp_path: Path, task: str) -> None:
        from workbench.models.serving import predict

        metric = {"binary": "accuracy", "regression": "rmse", "multiclass": "mlogloss", "two": "rmse"}[task]
        made = small(task=task, metric=metric)
        made.experiment(1, EXPERIMENT)
        run = made.open.run(1)
        bundle = built(made, no_wheels).bundle
        out = predict(bundle, made.folder / "data" / "raw", out=tmp_path / "s.parquet", context=SILENT)
        frame, own = pl.read_parquet(out), pl.read_csv(run.submission)
        assert frame.schema["id"] == own.schema["id"]
        assert frame.columns == own.columns
        assert frame["id"].to_list() == own["id"].to_list()
        for column in frame.columns[1:]:
            assert frame[column].to_list() == own[column].to_list()
        assert read_submission(out, ["id"]).schema["id"] == pl.String

    def test_a_file_is_sent_as_parquet(self, made) -> None:
        made.definition("[tables]", '[submission]\nfile = "submission.parquet"\n[tables]')
        place = made.open
        prepared = place.submissions.prepare(1)
        assert prepared.errors == ()
        sent = place.submissions.send(prepared)
        assert sent.file == f"submissions/small/{sent.run_id}.parquet"
        frame = pl.read_parquet(place.workspace.root / sent.file)
        own = pl.read_csv(place.runs[1].submission)
        assert frame.equals(own)
        assert (sent.status, sent.public_score is not None) == ("complete", True)
        # The run's own file is what it was, and the bytes are known when they are sent again.
        assert [f.code for f in place.submissions.prepare(1).warnings] == ["same_bytes"]
