"""A path is taken as it is written, whatever characters are in it."""

from __future__ import annotations

import ast
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import workbench
from tests.small import Small, make_frame, make_small
from workbench.api import library
from workbench.api.features import SelectOptions
from workbench.api.studies import TuneOptions
from workbench.cli.app import wb
from workbench.core import frames
from workbench.core.errors import ConfigError
from workbench.data.workspace import create_workspace, find_workspace
from workbench.rehearsal import RehearsalSpec, create
from workbench.rehearsal.leaderboard import read_leaderboard

ROOT = Path(workbench.__file__).parents[1]
FOLDERS = ["ws[1]", "a*b?c", "we ird #1 %20 {x}", "~tilde", "x=1,y;'z'\"[!a-z]"]
MODEL = "[model]\nnum_iterations = 5\nlearning_rate = 0.3\n"


def decoys(folder: Path) -> None:
    """Make what the pattern of the folder's name would match, with other files in it."""
    for name in ("ws1", "aXbYc"):
        if not (other := folder.parent / name).exists():
            shutil.copytree(folder, other)
            for path in other.rglob("*.parquet"):
                pl.DataFrame({"wrong": [1]}).write_parquet(path)
            for path in other.rglob("*.csv"):
                path.write_text("wrong\n1\n")


# ------------------------------------------------------------------------------------------------------------ readers


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("name", ["a[2]", "a?", "*", "{a}", "~a", "a b#c%41"])
def test_the_readers_take_a_name_as_it_is(tmp_path: Path, folder: str, name: str) -> None:
    place = tmp_path / folder
    place.mkdir()
    right, wrong = pl.DataFrame({"a": [1, 2]}), pl.DataFrame({"b": [9]})
    for other in ("a2", "ab", "b", "a"):
        for suffix, write in (("parquet", wrong.write_parquet), ("csv", wrong.write_csv), ("arrow", wrong.write_ipc)):
            write(place / f"{other}.{suffix}")
    parquet, csv, ipc = (place / f"{name}.{suffix}" for suffix in ("parquet", "csv", "arrow"))
    right.lazy().sink_parquet(parquet)
    right.write_csv(csv)
    right.write_ipc(ipc)
    assert frames.read_parquet(parquet).equals(right)
    assert frames.scan_parquet(parquet).collect().equals(right)
    assert dict(frames.parquet_schema(parquet)) == dict(right.schema)
    assert frames.read_csv(csv).equals(right)
    assert frames.scan_csv(csv).collect().equals(right)
    assert frames.scan_ipc(ipc).collect().equals(right)


def _in_memory(argument: ast.expr) -> bool:
    """Tell whether what is read is made of bytes, and no path."""
    text = ast.unparse(argument)
    return text.startswith(("io.BytesIO(", "BytesIO(", "_without_magic_bytes(", "text_of(", "archive.read("))


def test_nothing_reads_a_path_but_through_them() -> None:
    """polars takes paths for patterns: what reads a file by its name goes through `workbench.core.frames`."""
    found = []
    for path in [*ROOT.glob("workbench/**/*.py"), *ROOT.glob("competitions/*/*.py")]:
        text = path.read_text(encoding="utf-8")
        if path == Path(frames.__file__) or (".scan_" not in text and ".read_" not in text):
            continue
        for call in (n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Call)):
            name = call.func.attr if isinstance(call.func, ast.Attribute) else ""
            owner = ast.unparse(call.func.value) if isinstance(call.func, ast.Attribute) else ""
            kinds = ("csv", "parquet", "ipc", "ndjson", "json", "schema", "stream", "excel", "avro", "lines")
            reads = name.startswith(("scan_", "read_")) and name.endswith(kinds) and owner in ("pl", "polars")
            literal = any(k.arg == "glob" and ast.unparse(k.value) == "False" for k in call.keywords)
            if reads and not literal and not _in_memory(call.args[0]):
                found.append(f"{path.relative_to(ROOT)}:{call.lineno}: {name}")
    assert found == []


# --------------------------------------------------------------------------------------------------------- end to end


@pytest.fixture(params=FOLDERS)
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Small:
    made = make_small(tmp_path / request.param, n_rows=200)
    made.experiment(1, 'features = ["rows", "ratio", "doubled", "town_size", "te_town"]\n' + MODEL)
    decoys(tmp_path / request.param)
    return made


def test_a_workspace_may_be_called_anything(made: Small, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    opened = made.open
    assert opened.tables["train"].collect().height == 160
    first = opened.run(1)
    assert opened.runs.execute(1).how == "unchanged"
    assert first.record.n_features == 9
    assert opened.feature("ratio").collect().height == 200
    assert all(b.current for b in opened.features.cached())
    assert opened.data.check(exp=1).findings is not None
    assert opened.data.check_time(["ratio"], columns=["day"])
    assert opened.runs[1].oof.height == 160
    prepared = opened.submissions.prepare(1)
    sent = opened.submissions.send(prepared)
    assert (sent.status, sent.public_score is not None) == ("complete", True)
    (made.workspace.submissions / "ledger.db").unlink()
    assert library.rebuild_ledger(made.workspace) == {"runs": 1, "submissions": 1, "problems": [], "kept": 0}
    monkeypatch.chdir(made.folder)
    for arguments in (["table", "--json"], ["show", "1"], ["features"], ["submissions", "--offline"], ["doctor"]):
        wb.main(arguments, standalone_mode=False)
    assert json.loads(capsys.readouterr().out.splitlines()[0])[0]["public_score"] == sent.public_score


@pytest.mark.slow
@pytest.mark.parametrize("made", ["we ird[1] #1 %20 {x}"], indirect=True)
def test_the_rest_of_the_commands_too(made: Small, no_wheels: Path) -> None:
    opened = made.open
    opened.run(1)
    opened.studies.tune(1, TuneOptions(trials=2))
    assert opened.experiments.new(source=1, tuned=True).name == "002.toml"
    assert opened.run(2).record.status == "finished"
    assert opened.features.select(1, SelectOptions("gain")).path.exists()
    for n, table in enumerate(("[xgboost]\nnum_boost_round = 3", "[catboost]\niterations = 3"), start=3):
        made.experiment(n, f'features = ["rows", "ratio"]\n{table}\n')
        assert opened.run(n).record.status == "finished"
    assert opened.runs.report(1).exists()
    notebook, path = opened.experiments.new_notebook(1)
    assert opened.run(int(path.stem)).record.status == "finished"
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    built = opened.kernels.build(1, python=python, wheels=no_wheels)
    assert opened.kernels.rehearse(1, built).n_differing == 0


# ----------------------------------------------------------------------------------------------------- files of the user


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_rehearsal_is_of_the_file_that_is_named(tmp_path: Path, suffix: str) -> None:
    for name, rows in (("a[2]", 300), ("a2", 100), ("w*", 240), ("wide", 50)):
        frame = make_frame(rows)
        frame.write_csv(tmp_path / f"{name}.csv") if suffix == ".csv" else frame.write_parquet(
            tmp_path / f"{name}.parquet"
        )
    place = create_workspace(tmp_path / "workspace")
    for slug, name, rows in (("one", "a[2]", 300), ("two", "w*", 240)):
        spec = RehearsalSpec(
            train=tmp_path / f"{name}{suffix}", targets=("y",), metric="auc", holdout=0.2, after=None,
            tables=(tmp_path / f"a[2]{suffix}",),
        )  # fmt: skip
        create(place.root, slug, spec)
        tables = library.fetch(slug, where=place).manifest.tables
        assert tables["train"].rows + tables["test"].rows == rows
        assert next(t.rows for n, t in tables.items() if n not in ("train", "test", "sample_submission")) == 300


def test_data_may_be_called_anything_too(tmp_path: Path) -> None:
    """Parts in a folder with brackets, folders of Hive's, packed and plain, beside what a pattern would take."""
    made = make_small(tmp_path / "ws", n_rows=200)
    files = made.folder / "rehearsal" / "files"
    frame = make_frame(90).drop("y")
    for part in range(3):
        piece = frame[30 * part : 30 * part + 30]
        for folder in ("log[1]", "log1"):
            (files / folder).mkdir(exist_ok=True)
        piece.write_parquet(files / "log[1]" / f"part-{part}.parquet")
        piece.head(1).write_parquet(files / "log1" / f"part-{part}.parquet")
        (files / "hive" / f"k=a[{part}]").mkdir(parents=True)
        piece.write_parquet(files / "hive" / f"k=a[{part}]" / "part.parquet")
    frame.write_csv(files / "side[2].csv")
    frame.head(5).write_csv(files / "side2.csv")
    fetched = library.fetch("small", where=made.workspace)
    rows = {name: info.rows for name, info in fetched.manifest.tables.items()}
    assert rows["hive"] == 90
    assert sorted(fetched.manifest.tables["hive"].dtypes)[:4] == ["day", "household", "id", "k"]
    assert made.open.tables["hive"].collect()["k"].unique().sort().to_list() == ["a[0]", "a[1]", "a[2]"]
    by_source = {n: r for n, r in rows.items() if n.startswith(("log", "side"))}
    assert sorted(by_source.values()) == [3, 5, 90, 90]


def test_a_leaderboard_file_is_the_one_named(tmp_path: Path) -> None:
    for name, score in (("board[1].csv", 0.5), ("board1.csv", 0.9)):
        (tmp_path / name).write_text(f"Rank,TeamName,Score\n1,us,{score}\n")
    assert [score for _, score in read_leaderboard(tmp_path / "board[1].csv")] == [0.5]


def test_a_tilde_is_the_home_folder_only_where_nothing_is_called_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert create_workspace(Path("~/bench")).root == tmp_path / "home" / "bench"
    assert create_workspace(Path("~nobody-is-called-so")).root == tmp_path / "~nobody-is-called-so"
    assert find_workspace(Path("/"), wb_workspace="~/bench").root == tmp_path / "home" / "bench"
    Path("~").mkdir()
    assert create_workspace(Path("~")).root == tmp_path / "~"


@pytest.mark.parametrize("folder", ["a b", "a=b"])
def test_lightgbm_is_given_no_path_that_it_would_leave_out(tmp_path: Path, folder: str) -> None:
    made = make_small(tmp_path / folder, n_rows=200)
    (made.folder / "splits.json").write_text('{"feature": 0, "threshold": 0.5}')
    made.experiment(1, 'features = ["rows.x"]\n' + MODEL + 'forcedsplits_filename = "splits.json"\n')
    with pytest.raises(ConfigError, match="can't read a path with a space or a ="):
        made.open.run(1)
