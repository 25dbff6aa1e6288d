from __future__ import annotations

import gc
import json
import math
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.example_records import NOW, RUN, SUBMISSION
from tests.needs import package, postgresql_url
from tests.process_resources import open_files
from workbench.core.errors import (
    BusyError,
    DamagedError,
    DamagedLedgerError,
    LedgerError,
    NewerError,
    StorageError,
)
from workbench.ledger import (
    Ledger,
    RunRecord,
    SubmissionEvent,
    SubmissionRecord,
    check_version,
    is_outside,
    store,
)
from workbench.ledger.database import engine_for, parse_address, transaction
from workbench.ledger.rebuild import WorkspaceRecords, rebuild
from workbench.ledger.records import FILE_FIELDS
from workbench.ledger.rows import records_from, row_from
from workbench.ledger.schema import HEAD, metadata

text = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=20)
number = st.floats(allow_nan=False, allow_infinity=False)
times = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)).map(lambda t: t.replace(tzinfo=UTC))  # noqa: DTZ001


def values_for(kind: str) -> st.SearchStrategy[Any]:
    plain = {
        "str": text,
        "int": st.integers(-(2**31), 2**31 - 1),
        "float": number,
        "bool": st.booleans(),
        "datetime": times,
        "tuple[float, ...]": st.lists(number, max_size=4).map(tuple),
        "tuple[int, ...]": st.lists(st.integers(-(2**31), 2**31 - 1), max_size=4).map(tuple),
        "tuple[str, ...]": st.lists(text, max_size=4).map(tuple),
        "tuple[tuple[float, ...], ...]": st.lists(st.lists(number, max_size=3).map(tuple), max_size=3).map(tuple),
    }
    inner = plain[kind.removesuffix(" | None")]
    return st.none() | inner if kind.endswith("| None") else inner


def records(cls: type) -> st.SearchStrategy[Any]:
    found = {f.name: values_for(str(f.type)) for f in fields(cls)}
    names = {name: text.map(lambda t: re.sub(r"[/.]", "", t)) for name in FILE_FIELDS if name in found}
    return st.builds(cls, **found | names)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "submissions" / "ledger.db"


@settings(max_examples=25)
@given(records(RunRecord), records(SubmissionRecord))
def test_records_come_back_as_they_went_in(tmp_path_factory: Any, run: RunRecord, submission: SubmissionRecord) -> None:
    path = tmp_path_factory.mktemp("ledger") / "ledger.db"
    with Ledger.open(path) as ledger:
        ledger.put_run(run)
        assert ledger.run(run.run_id) == run
        ledger.put_submission(submission)
        assert ledger.submissions() == [submission]
    assert RunRecord.from_dict(json.loads(json.dumps(run.to_dict()))) == run
    assert SubmissionRecord.from_dict(json.loads(json.dumps(submission.to_dict()))) == submission


@settings(max_examples=10)
@given(st.lists(records(SubmissionEvent), max_size=4))
def test_events_come_back_as_they_went_in(tmp_path_factory: Any, events: list[SubmissionEvent]) -> None:
    events = [replace(e, submission_id="s") for e in events]
    with Ledger.open(tmp_path_factory.mktemp("ledger") / "ledger.db") as ledger:
        replaced(ledger, [], [], events)
        assert ledger.events("s") == events
    assert [SubmissionEvent.from_dict(e.to_dict()) for e in events] == events


def test_runs_are_selected_and_ordered(path: Path) -> None:
    later = replace(RUN, run_id="b", created_at=NOW.replace(hour=21), exp=2)
    other = replace(RUN, run_id="c", competition="houses", created_at=NOW.replace(hour=19))
    with Ledger.open(path) as ledger:
        for run in (later, RUN, other):
            ledger.put_run(run)
        assert [r.run_id for r in ledger.runs()] == ["c", RUN.run_id, "b"]
        assert [r.run_id for r in ledger.runs("flights")] == [RUN.run_id, "b"]
        assert [r.run_id for r in ledger.runs("flights", 2)] == ["b"]
        assert ledger.run("nothing") is None
        ledger.put_run(replace(RUN, status="failed"))
        assert [r.status for r in ledger.runs("flights", 1)] == ["failed"]


def test_scores_that_no_number_can_hold_become_none(path: Path) -> None:
    with Ledger.open(path) as ledger:
        ledger.put_run(replace(RUN, cv_mean=float("inf"), cv_std=float("nan")))
        found = ledger.run(RUN.run_id)
    assert found is not None
    assert (found.cv_mean, found.cv_std) == (None, None)


def test_a_fold_without_a_score_keeps_its_place(path: Path) -> None:
    run = replace(RUN, fold_scores=(float("nan"), 0.5), seed_scores=((0.5, float("inf")), (0.5, 0.6)))
    with Ledger.open(path) as ledger:
        ledger.put_run(run)
        stored = ledger.run(RUN.run_id)
    told = json.dumps(run.to_dict(), allow_nan=False)
    for found in (stored, RunRecord.from_dict(json.loads(told))):
        assert found is not None
        assert math.isnan(found.fold_scores[0])
        assert found.fold_scores[1] == 0.5
        assert math.isnan(found.seed_scores[0][1])
        assert found.seed_scores[1] == (0.5, 0.6)


def test_text_that_no_database_takes_is_written_out(path: Path) -> None:
    with Ledger.open(path) as ledger:
        ledger.put_run(replace(RUN, error="can't read caf\udce9.csv\0", changes=("caf\udce9",)))
        found = ledger.run(RUN.run_id)
    assert found is not None
    assert (found.error, found.changes) == (r"can't read caf\udce9.csv\x00", ("caf\udce9",))


def test_reading_leaves_the_garbage_collector_as_it_was(path: Path) -> None:
    with Ledger.open(path) as ledger:
        ledger.runs()
        assert gc.isenabled()
        gc.disable()
        try:
            ledger.runs()
            assert not gc.isenabled()
        finally:
            gc.enable()


def test_every_change_of_a_submission_is_an_event(path: Path) -> None:
    with Ledger.open(path) as ledger:
        ledger.put_submission(SUBMISSION, "about to send")
        ledger.put_submission(replace(SUBMISSION, status="pending", ref="r"), "accepted")
        ledger.put_submission(replace(SUBMISSION, status="pending", ref="r"), "nothing new")
        ledger.put_submission(replace(SUBMISSION, status="complete", public_score=0.7), "scored")
        found = ledger.events("s1")
    assert [(e.status, e.public_score, e.detail) for e in found] == [
        ("prepared", None, "about to send"),
        ("pending", None, "accepted"),
        ("complete", 0.7, "scored"),
    ]
    assert all(e.at.tzinfo is not None for e in found)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"exp": None}, "a RunRecord has exp = None, expected int"),
        ({"exp": "1"}, "exp = '1', expected int"),
        ({"exp": True}, "exp = True, expected int"),
        ({"created_at": "yesterday"}, "created_at = 'yesterday', expected datetime"),
        ({"created_at": "2026-11-23T20:00:00"}, "expected datetime"),
        ({"created_at": 5}, "created_at = 5, expected datetime"),
        ({"created_at": "0001-01-01T00:00:00+14:00"}, "expected datetime"),
        ({"cv_mean": 10**400}, "expected float"),
        ({"cv_mean": "0.7"}, "cv_mean = '0.7', expected float"),
        ({"cv_mean": True}, "cv_mean = True, expected float"),
        ({"greater_is_better": 1}, "greater_is_better = 1, expected bool"),
        ({"title": None}, "title = None, expected str"),
        ({"seeds": 1}, "seeds = 1, expected tuple"),
        ({"seeds": [1, None]}, "seeds = [1, None], expected tuple"),
        ({"fold_scores": [0.5, "a"]}, "fold_scores = [0.5, 'a'], expected tuple"),
        ({"seed_scores": [0.5]}, "seed_scores = [0.5], expected tuple"),
        ({"changes": [["a"]]}, "changes = [['a']], expected tuple"),
        ({"run_id": "../../other/data/raw/train"}, "expected a name without folders"),
        ({"n_features": 10**30}, "expected int"),
        ({"run_id": ".."}, "expected a name without folders"),
        ({"competition": "/etc"}, "expected a name without folders"),
        ({"folder": "/tmp/elsewhere"}, "expected a path within the workspace"),
        ({"folder": "competitions/../../elsewhere"}, "expected a path within the workspace"),
    ],
)
def test_a_wrong_record_is_explained(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DamagedError) as caught:
        RunRecord.from_dict(RUN.to_dict() | change)
    assert message in str(caught.value)


def test_a_record_of_a_newer_version_can_be_read() -> None:
    assert RunRecord.from_dict(RUN.to_dict() | {"colour": "green"}) == RUN
    with pytest.raises(DamagedError, match="lacks the key 'key'"):
        RunRecord.from_dict({k: v for k, v in RUN.to_dict().items() if k != "key"})
    with pytest.raises(DamagedError, match="a RunRecord must be an object, got list"):
        RunRecord.from_dict([])  # type: ignore[arg-type]


def test_a_record_of_an_earlier_version_lacks_what_came_later() -> None:
    later = {"optimistic", "cv_windows", "workspace"}
    assert RunRecord.from_dict({k: v for k, v in RUN.to_dict().items() if k not in later}) == RUN
    marked = replace(RUN, optimistic="chosen on these folds", cv_windows=1)
    assert RunRecord.from_dict(marked.to_dict()) == marked


def test_times_are_utc_wherever_they_were_taken() -> None:
    data = RUN.to_dict() | {
        "created_at": "2026-11-23T21:00:00.123456+01:00",
        "finished_at": "2026-11-23T20:00:00.123456Z",
    }
    assert RunRecord.from_dict(data) == RUN
    assert RunRecord.from_dict(data).created_at.tzinfo is UTC


def test_the_largest_number_of_an_experiment(path: Path) -> None:
    with Ledger.open(path) as ledger:
        assert ledger.largest_experiment("flights") == 0
        ledger.put_submission(replace(SUBMISSION, exp=2))
        assert ledger.largest_experiment("flights") == 2
        ledger.put_run(replace(RUN, exp=7))
        ledger.put_run(replace(RUN, run_id="other", competition="houses", exp=9))
        assert [ledger.largest_experiment(name) for name in ("flights", "houses", "none")] == [7, 9, 0]


def test_submissions_are_selected_and_ordered(path: Path) -> None:
    others = [
        replace(SUBMISSION, submission_id="a", created_at=NOW.replace(hour=21)),
        replace(SUBMISSION, submission_id="c", competition="houses"),
        replace(SUBMISSION, submission_id="b"),
    ]
    with Ledger.open(path) as ledger:
        for record in (*others, SUBMISSION):
            ledger.put_submission(record)
        assert [s.submission_id for s in ledger.submissions()] == ["b", "c", "s1", "a"]
        assert [s.submission_id for s in ledger.submissions("flights")] == ["b", "s1", "a"]
        assert ledger.submissions("none") == []


def test_either_score_is_a_change_and_the_rest_is_none(path: Path) -> None:
    states = [{}, {"error": "slow"}, {"public_score": 0.5}, {"public_score": 0.5, "private_score": 0.4}, {}]
    with Ledger.open(path) as ledger:
        for n, state in enumerate(states):
            ledger.put_submission(replace(SUBMISSION, **state), str(n))
        found = ledger.events("s1")
        assert [(e.detail, e.public_score, e.private_score) for e in found] == [
            ("0", None, None),
            ("2", 0.5, None),
            ("3", 0.5, 0.4),
            ("4", None, None),
        ]
        assert ledger.events("none") == []


def test_more_records_are_replaced_than_a_statement_takes(path: Path) -> None:
    n = 2 * store.MAX_VALUES + 1
    runs = [replace(RUN, run_id=f"r{i}", workspace="here") for i in range(n)]
    sent = [replace(SUBMISSION, submission_id=f"s{i}", workspace="here") for i in range(n)]
    events = [SubmissionEvent(s.submission_id, NOW, "prepared", None, None, "") for s in sent]
    with Ledger.open(path) as ledger:
        for _ in range(2):
            replaced(ledger, runs, sent, events)
        counts = ledger.check()
        assert [counts[name] for name in ("runs", "submissions", "submission_events")] == [n, n, n]
        with ledger.replace_records() as replacer:
            replacer.remove_workspaces({"here"}, except_ids=["r0", f"s{n - 1}"])
            assert replacer.put([RUN], [], []) == 2
        counts = ledger.check()
    assert [counts[name] for name in ("runs", "submissions", "submission_events")] == [2, 1, 1]


def test_a_reader_waits_for_no_writer_and_a_writer_has_the_only_lock_from_the_beginning(path: Path) -> None:
    filled(path)
    other = sqlite3.connect(path, isolation_level=None, timeout=0)
    with Ledger.open(path) as ledger:
        other.execute("BEGIN IMMEDIATE")
        assert len(ledger.runs()) == 200
        other.execute("ROLLBACK")
        with ledger.replace_records(), pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        with pytest.raises(RuntimeError), ledger.replace_records() as replacer:
            replacer.put([replace(RUN, run_id="half")], [], [])
            raise RuntimeError
        assert ledger.run("half") is None
    other.close()


@pytest.mark.parametrize(("version", "error"), [(True, "whole number"), ("1", "whole number"), (1.0, "whole number"), (None, "whole number"), (4, "supports versions up to 3"), (3, None), (1, None)])  # fmt: skip
def test_a_file_of_a_newer_version_is_not_taken_for_damage(version: Any, error: str | None) -> None:
    if error is None:
        check_version(version, 3, Path("x.json"))
        return
    with pytest.raises(DamagedError if "whole" in error else NewerError, match=f"^x.json has version.*{error}"):
        check_version(version, 3, Path("x.json"))


@pytest.mark.parametrize("name", FILE_FIELDS)
@pytest.mark.parametrize(
    ("value", "of_names", "of_paths"),
    [
        ("", False, False),
        ("a", False, False),
        ("a b.c", False, False),
        ("a/b", True, False),
        ("a/", True, False),
        (".", True, False),
        ("..", True, True),
        ("a/../b", True, True),
        ("a/..", True, True),
        ("/", True, True),
        ("/a", True, True),
        ("a\0b", True, True),
        ("a..b", False, False),
    ],
)
def test_what_is_outside(name: str, value: str, of_names: bool, of_paths: bool) -> None:
    assert is_outside(name, value) == (of_paths if name in ("folder", "file") else of_names)
    assert not is_outside("title", value)


@pytest.mark.parametrize(("exp", "fits"), [(2**31 - 1, True), (2**31, False), (-(2**31), True), (-(2**31) - 1, False)])
def test_numbers_are_those_that_a_database_takes(exp: int, fits: bool) -> None:
    if fits:
        assert RunRecord.from_dict(RUN.to_dict() | {"exp": exp}).exp == exp
        return
    with pytest.raises(DamagedError, match="expected int"):
        RunRecord.from_dict(RUN.to_dict() | {"exp": exp})


def test_rows_that_are_not_of_one_length_are_damage() -> None:
    cells = [list(row_from(RUN).values()) for _ in range(2)]
    assert records_from(RunRecord, cells) == [RUN, RUN]
    assert records_from(RunRecord, []) == []
    with pytest.raises(ValueError, match="shorter"):
        records_from(RunRecord, [cells[0], cells[1][:-1]])


# ------------------------------------------------------------------------------------------------------ what is broken


def replaced(ledger: Ledger, runs: list[Any], submissions: list[Any], events: list[Any]) -> None:
    with ledger.replace_records() as replacer:
        replacer.put(runs, submissions, events)


def filled(path: Path) -> None:
    with Ledger.open(path) as ledger:
        replaced(ledger, [replace(RUN, run_id=f"r{i}") for i in range(200)], [SUBMISSION], [])


@pytest.mark.parametrize("damage", ["text", "truncated", "middle"])
def test_a_damaged_file_is_explained(path: Path, damage: str) -> None:
    filled(path)
    data = bytearray(path.read_bytes())
    if damage == "text":
        data = bytearray(b"this is no database, though it is long enough to be one " * 100)
    elif damage == "truncated":
        data = data[: len(data) // 3]
    else:
        data[4096:] = os.urandom(len(data) - 4096)
    path.write_bytes(data)
    with pytest.raises(LedgerError, match=r"the ledger .* is damaged") as caught, Ledger.open(path) as ledger:
        ledger.runs("flights")
        ledger.check()
    assert "wb ledger rebuild" in caught.value.hint


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.99])
def test_a_truncated_file_never_passes_for_a_shorter_ledger(path: Path, share: float) -> None:
    filled(path)
    size = path.stat().st_size
    os.truncate(path, int(size * share))
    with pytest.raises(LedgerError, match=r"the ledger .* is damaged"), Ledger.open(path) as ledger:
        ledger.runs()


def test_damage_is_told_of_a_relative_path_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("ledger.db").write_bytes(b"damaged" * 1000)
    for where in (Path("ledger.db"), "sqlite:///ledger.db"):
        with pytest.raises(LedgerError, match="is damaged: file is not a database") as caught:
            Ledger.open(where)
        assert "wb ledger rebuild" in caught.value.hint


@pytest.mark.parametrize(
    "change",
    [
        "fold_scores = '[0.1,'",
        "fold_scores = '[1], [2]'",
        "created_at = 'yesterday'",
        "seed_scores = '[1]'",
        "title = CAST(x'ff' AS TEXT)",
        "folder = '../elsewhere'",
    ],
)
def test_a_record_that_nobody_wrote_is_damage(path: Path, change: str) -> None:
    filled(path)
    with sqlite3.connect(path) as connection:
        connection.execute(f"UPDATE runs SET {change} WHERE run_id = 'r7'")
    connection.close()
    with Ledger.open(path) as ledger:
        with pytest.raises(LedgerError, match=r"the ledger .* is damaged"):
            ledger.runs()
        with pytest.raises(LedgerError, match=r"the ledger .* is damaged"):
            ledger.check()


@pytest.mark.parametrize("version", ["../../evil", "0000", "-1", "0002x", ""])
def test_a_version_that_there_never_was_is_damage(path: Path, version: str) -> None:
    filled(path)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", [version])
    connection.close()
    with pytest.raises(LedgerError, match=r"the ledger .* is damaged: it has the version"):
        Ledger.open(path)
    assert [p.name for p in path.parent.iterdir()] == ["ledger.db"]


def test_a_submission_that_nobody_wrote_is_damage(path: Path) -> None:
    filled(path)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE submissions SET created_at = 'yesterday'")
    connection.close()
    with (
        Ledger.open(path) as ledger,
        pytest.raises(LedgerError, match="a SubmissionRecord has invalid values"),
    ):
        ledger.check()


@pytest.mark.parametrize("table", ["runs", "alembic_version"])
def test_tables_of_another_program_are_not_taken_over(path: Path, table: str) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path) as connection:
        connection.execute(f"CREATE TABLE {table} (version_num TEXT)")
    connection.close()
    with pytest.raises(LedgerError, match=f"is damaged: .*table {table} already exists"):
        Ledger.open(path)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [(table,)]
    connection.close()


def test_a_missing_table_is_damage(path: Path) -> None:
    filled(path)
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE runs")
    connection.close()
    with Ledger.open(path) as ledger, pytest.raises(LedgerError, match="is damaged: no such table: runs"):
        ledger.runs()


def test_a_record_that_breaks_the_schema_is_not_called_damage(path: Path) -> None:
    with Ledger.open(path) as ledger, pytest.raises(LedgerError, match="can't be used: NOT NULL") as caught:
        ledger.put_run(replace(RUN, title=None))  # type: ignore[arg-type]
    assert "rebuild" not in str(caught.value)


def test_a_newer_ledger_is_left_alone(path: Path) -> None:
    filled(path)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0099'")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(LedgerError, match=rf"has version 0099; this workbench supports versions up to {HEAD}"):
        Ledger.open(path)
    assert path.read_bytes() == before


def test_a_locked_ledger_is_explained(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(path)
    monkeypatch.setattr("workbench.ledger.database.BUSY_TIMEOUT_S", 0.1)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(BusyError, match="is locked by another process"), Ledger.open(path) as ledger:
        ledger.put_run(RUN)
    holder.close()


def test_a_folder_that_is_a_file_is_explained(tmp_path: Path) -> None:
    (tmp_path / "submissions").write_text("")
    with pytest.raises(StorageError, match="there is a file of that name"):
        Ledger.open(tmp_path / "submissions" / "ledger.db")
    with pytest.raises(StorageError, match="a part of the path is a file"):
        Ledger.open(tmp_path / "submissions" / "deeper" / "ledger.db")


def test_a_folder_in_the_ledgers_place_is_explained(path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(StorageError, match="can't write the ledger .*: unable to open database file"):
        Ledger.open(path)


FULL = """
import pathlib, resource, sys
from dataclasses import replace
from tests.example_records import RUN
from workbench.core.errors import StorageError
from workbench.ledger import Ledger
with Ledger.open(pathlib.Path(sys.argv[1])) as ledger:
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
    try:
        for i in range(100):
            ledger.put_run(replace(RUN, run_id=str(i), title="x" * 10_000))
            print(i, flush=True)
    except StorageError as exc:
        print(exc.message, file=sys.stderr)
"""


def test_a_full_disk_is_explained_and_loses_nothing(path: Path) -> None:
    here = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, cwd=here, check=True, timeout=60
    )
    assert "can't write the ledger" in done.stderr
    with Ledger.open(path) as ledger:
        assert {r.run_id for r in ledger.runs()} == set(done.stdout.split())
        assert ledger.check()["integrity"] == "ok"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense", "not a database URL"),
        ("postgresql://me@server:1secret/wb", "not a database URL"),
        ("sqlite://", "would be in memory"),
        ("mssql+nodriver://me:secret@127.0.0.1:1/wb", "no driver for mssql\\+nodriver://me:\\*\\*\\*@"),
        ("postgresql+nodriver:///wb?user=me&password=secret", "no driver for .*password=hidden"),
    ],
)
def test_a_wrong_url_is_explained_without_its_password(url: str, message: str) -> None:
    with pytest.raises(LedgerError, match=message) as caught:
        Ledger.open(url)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None or "secret" not in str(caught.value.__cause__)


def test_a_server_out_of_reach_is_explained_without_its_password() -> None:
    package("psycopg")
    with pytest.raises(LedgerError, match=r"me:\*\*\*@127.0.0.1:1/wb can't be used: .*refused") as caught:
        Ledger.open("postgresql+psycopg://me:secret@127.0.0.1:1/wb")
    assert "secret" not in str(caught.value)
    assert "WB_LEDGER_URL" in caught.value.hint


@pytest.mark.parametrize(
    ("url", "file", "shown"),
    [
        ("sqlite:////a/b.db", "/a/b.db", "sqlite:////a/b.db"),
        ("sqlite:///b.db", "b.db", "sqlite:///b.db"),
        ("sqlite:///file:b.db?uri=true", None, "sqlite:///file%3Ab.db?uri=true"),
        ("postgresql://me@server/wb", None, "postgresql://me@server/wb"),
        (
            "postgresql:///wb?host=h&sslPassword=s3&access_token=s3&client_secret=s3",
            None,
            "postgresql:///wb?access_token=hidden&client_secret=hidden&host=h&sslPassword=hidden",
        ),
    ],
)
def test_an_address_has_its_file_and_shows_no_secret(url: str, file: str | None, shown: str) -> None:
    at = parse_address(url)
    assert (at.path, at.shown) == (None if file is None else Path(file), shown)
    assert parse_address(Path("b.db")).path == Path("b.db")


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite:///:memory:"])
def test_a_ledger_in_memory_is_refused(url: str) -> None:
    with pytest.raises(LedgerError, match="would be in memory and keep nothing\nname a file"):
        parse_address(url)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sqlite:///{}/a.db", {"timeout": 30.0}),
        ("sqlite:///{}/a.db?timeout=5", {}),
        ("postgresql://server/wb", {"connect_timeout": 10}),
        ("postgresql+psycopg://server/wb", {"connect_timeout": 10}),
        ("postgresql+psycopg2://server/wb", {"connect_timeout": 10}),
        ("postgresql+psycopg://server/wb?connect_timeout=3", {}),
        ("postgresql+asyncpg://server/wb", {}),  # which does not know the word
        ("mysql://server/wb", {}),
    ],
)
def test_how_long_a_database_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, expected: dict[str, Any]
) -> None:
    asked, real = [], sa.create_engine

    def create_engine(url: sa.URL, **options: Any) -> sa.Engine:
        asked.append(options)
        return real("sqlite://")

    monkeypatch.setattr(sa, "create_engine", create_engine)
    engine_for(parse_address(url.format(tmp_path)))
    assert asked == [{"connect_args": expected, "poolclass": sa.NullPool}]


class DriverError(Exception):
    """As a driver of PostgreSQL raises it."""


def _sqlite_error(code: str, text: str = "why\nand more") -> sqlite3.Error:
    error = sqlite3.OperationalError(text)
    error.sqlite_errorname = code
    return error


def _driver_error(name: str, code: str) -> sa.exc.DBAPIError:
    cause = DriverError("why")
    setattr(cause, name, code)
    return sa.exc.OperationalError("SELECT 1", {}, cause)


@pytest.mark.parametrize(
    ("error", "expected", "message"),
    [
        (_sqlite_error("SQLITE_BUSY"), BusyError, "is locked by another process\ntry again"),
        (_sqlite_error("SQLITE_BUSY_SNAPSHOT"), BusyError, "is locked by another process"),
        (_sqlite_error("SQLITE_LOCKED"), BusyError, "is locked by another process"),
        (_sqlite_error("SQLITE_FULL"), StorageError, ": why\nsee `wb doctor`"),
        (_sqlite_error("SQLITE_IOERR_WRITE"), StorageError, ": why\n"),
        (_sqlite_error("SQLITE_CORRUPT_VTAB"), DamagedLedgerError, "is damaged: why\n"),
        (_sqlite_error("SQLITE_ERROR"), DamagedLedgerError, "is damaged: why\n"),
        (_sqlite_error("SQLITE_CONSTRAINT_NOTNULL"), LedgerError, "can't be used: why$"),
        (_sqlite_error("SQLITE_MISUSE", ""), LedgerError, "can't be used: no reason given$"),
        (sqlite3.OperationalError("Could not decode"), DamagedLedgerError, "is damaged: Could not decode"),
        (sa.exc.OperationalError("x", {}, _sqlite_error("SQLITE_BUSY")), BusyError, "is locked by another process"),
        (_driver_error("sqlstate", "55P03"), BusyError, "is locked by another process"),
        (_driver_error("pgcode", "40P01"), BusyError, "is locked by another process"),
        (_driver_error("sqlstate", "53100"), StorageError, ": why"),
        (_driver_error("sqlstate", "42P01"), LedgerError, "can't be used: why$"),
        (_driver_error("other", "55P03"), LedgerError, "can't be used: why$"),
    ],
)
def test_what_a_database_says_is_put_into_words(path: Path, error: Exception, expected: type, message: str) -> None:
    at = parse_address(path)
    with (
        pytest.raises(expected, match=f"ledger {re.escape(str(path))} ?{message}") as caught,
        transaction(engine_for(at), at),
    ):
        raise error
    assert type(caught.value) is expected
    assert caught.value.__cause__ is error


def test_a_ledger_by_url_gets_its_folder(tmp_path: Path) -> None:
    with Ledger.open(f"sqlite:///{tmp_path}/new/ledger.db") as ledger:
        ledger.put_run(RUN)
        assert ledger.check() == {
            "where": f"sqlite:///{tmp_path}/new/ledger.db",
            "version": HEAD,
            "runs": 1,
            "submissions": 0,
            "submission_events": 0,
            "integrity": "ok",
        }


# ----------------------------------------------------------------------------------------------------------- versions


def schema_of(connection: sa.Connection) -> dict[str, Any]:
    inspector = sa.inspect(connection)
    return {
        table: {
            "columns": {c["name"]: (str(c["type"]), c["nullable"], c["default"]) for c in inspector.get_columns(table)},
            "key": inspector.get_pk_constraint(table),
            "indexes": sorted(map(str, inspector.get_indexes(table))),
        }
        for table in sorted(inspector.get_table_names())
    }


def test_what_is_made_anew_is_what_the_migrations_come_to(path: Path, tmp_path: Path) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from workbench.ledger import versions
    from workbench.ledger.schema import metadata

    with Ledger.open(path) as ledger:
        assert ledger.check()["version"] == HEAD
    made, migrated = (
        sa.create_engine(f"sqlite:///{p}", poolclass=sa.NullPool) for p in (path, tmp_path / "migrated.db")
    )
    with made.connect() as new, migrated.begin() as old:
        versions.migrate(old)
        assert schema_of(new) == schema_of(old)
        for connection in (new, old):
            assert versions.version_of(connection) == HEAD
            assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_scores_keep_all_their_digits_in_every_database() -> None:
    """A plain float is one of 24 bits in MySQL."""
    numbers = [c for t in metadata.tables.values() for c in t.columns if isinstance(c.type, sa.Float)]
    assert len(numbers) > 8
    assert {c.type.precision for c in numbers} == {53}


@pytest.mark.parametrize("dump", sorted((Path(__file__).parent / "schemas").glob("*.sql")), ids=lambda p: p.stem)
def test_old_schemas_can_be_opened(path: Path, dump: Path) -> None:
    path.parent.mkdir()
    connection = sqlite3.connect(path)
    connection.executescript(dump.read_text())
    connection.close()
    with Ledger.open(path) as ledger:
        assert ledger.runs("flights") == [RUN]
        assert ledger.submissions("flights") == [SUBMISSION]
        assert len(ledger.events("s1")) == 1


AFTER = f"{int(HEAD) + 1:04}"

NEXT = f"""
import sqlalchemy as sa
from alembic import op
revision = "{AFTER}"
down_revision = "{HEAD}"
def upgrade():
    op.add_column("runs", sa.Column("colour", sa.Text))
    op.execute("UPDATE runs SET colour = 'green'")
"""


def with_a_next_version(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str = NEXT) -> None:
    """Pretend that the program has one more version; its folder has a per cent sign, which ini files interpolate."""
    from workbench.ledger import versions

    migrations = folder / "100% migrations"
    shutil.copytree(versions.MIGRATIONS, migrations, ignore=shutil.ignore_patterns("__pycache__"))
    (migrations / "versions" / f"v{AFTER}_next.py").write_text(body)
    monkeypatch.setattr(versions, "MIGRATIONS", migrations)
    monkeypatch.setattr(versions, "HEAD", AFTER)


def columns_of(path: Path) -> tuple[str, set[str]]:
    connection = sqlite3.connect(path)
    version = connection.execute("SELECT version_num FROM alembic_version").fetchone()[0]
    columns = {row[1] for row in connection.execute("PRAGMA table_info(runs)")}
    connection.close()
    return version, columns


@pytest.mark.parametrize("as_url", [False, True])
def test_an_older_ledger_is_copied_and_brought_up(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_url: bool
) -> None:
    filled(path)
    with_a_next_version(tmp_path, monkeypatch)
    with Ledger.open(f"sqlite:///{path}" if as_url else path) as ledger:
        assert len(ledger.runs()) == 200
    version, columns = columns_of(path)
    assert (version, "colour" in columns) == (AFTER, True)
    copy = path.with_name(f"ledger.db.bak-{HEAD}")
    assert columns_of(copy) == (HEAD, columns - {"colour"})
    monkeypatch.undo()
    with Ledger.open(copy) as ledger:
        assert len(ledger.runs()) == 200
    assert sorted(p.name for p in path.parent.iterdir()) == ["ledger.db", f"ledger.db.bak-{HEAD}"]


def test_a_migration_that_fails_leaves_the_old_schema(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(path)
    before = columns_of(path)
    with_a_next_version(tmp_path, monkeypatch, NEXT + "    raise RuntimeError('half way')\n")
    with pytest.raises(RuntimeError, match="half way"):
        Ledger.open(path)
    assert columns_of(path) == before


def test_listing_runs_does_not_load_alembic(path: Path) -> None:
    filled(path)
    code = (
        "import sys, pathlib; from workbench.ledger import Ledger\n"
        "with Ledger.open(pathlib.Path(sys.argv[1])) as l: assert len(l.runs()) == 200\n"
        "print([m for m in ('alembic', 'polars', 'numpy', 'lightgbm') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


# ------------------------------------------------------------------------------------------------------ many, and dead

WRITER = """
import sys, pathlib
from dataclasses import replace
from tests.example_records import RUN
from workbench.ledger import Ledger
name, count = sys.argv[2], int(sys.argv[3])
with Ledger.open(pathlib.Path(sys.argv[1])) as ledger:
    for i in range(count):
        ledger.put_run(replace(RUN, run_id=f"{name}-{i}"))
        print(f"{name}-{i}", flush=True)
"""


def writer(path: Path, name: str, count: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), name, str(count)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )


def test_two_processes_write_and_create_at_once(path: Path) -> None:
    writers = [writer(path, name, 25) for name in "ab"]
    for w in writers:
        out, _ = w.communicate(timeout=60)
        assert w.returncode == 0
        assert len(out.split()) == 25
    with Ledger.open(path) as ledger:
        assert len(ledger.runs()) == 50


def test_what_was_acknowledged_survives_a_kill(path: Path) -> None:
    acknowledged: set[str] = set()
    rng = random.Random(3)
    for round_ in range(3):
        w = writer(path, f"w{round_}", 100_000)
        assert w.stdout is not None
        acknowledged.add(w.stdout.readline().strip())
        time.sleep(rng.uniform(0.02, 0.2))
        w.send_signal(signal.SIGKILL)
        rest, _ = w.communicate(timeout=60)
        acknowledged |= set(rest.splitlines())
    with Ledger.open(path) as ledger:
        assert acknowledged <= {r.run_id for r in ledger.runs()}
        ledger.check()


def test_what_is_acknowledged_is_on_the_disk(path: Path) -> None:
    # In a process that waits for the disk, which those of the tests do not; 2 is FULL.
    code = """
import sys
import sqlalchemy as sa
from pathlib import Path
from workbench.ledger import Ledger

@sa.event.listens_for(sa.Engine, "checkout")
def checked_out(connection, *_):
    print(connection.execute("PRAGMA synchronous").fetchone()[0])

with Ledger.open(Path(sys.argv[1])):
    pass
"""
    out = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True).stdout
    assert {*out.split()} == {"2"}


# ------------------------------------------------------------------------------------------------------------ rebuild


def test_rebuild_keeps_the_old_file(path: Path) -> None:
    filled(path)
    path.write_bytes(b"damaged " * 100)
    event = SubmissionEvent("s1", NOW, "prepared", None, None, "about to send")
    rebuild(path, lambda: WorkspaceRecords([RUN], [SUBMISSION], [event]), workspace="here")
    with Ledger.open(path) as ledger:
        assert ledger.runs() == [RUN]
        assert ledger.submissions() == [SUBMISSION]
        assert ledger.events("s1") == [event]
    (old,) = path.parent.glob("ledger.db.damaged-*")
    assert old.read_bytes().startswith(b"damaged")
    assert len(list(path.parent.iterdir())) == 2


def test_a_rebuilt_file_is_on_the_disk_before_it_has_the_name(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(path)
    path.write_bytes(b"damaged " * 100)
    before, seen = path.read_bytes(), list[tuple[str, bool]]()

    def fsync(descriptor: int) -> None:
        place = Path(f"/proc/self/fd/{descriptor}").readlink()
        seen.append(("folder" if place.is_dir() else "file", path.read_bytes() == before))

    monkeypatch.setattr(os, "fsync", fsync)
    held = open_files()
    rebuild(path, lambda: WorkspaceRecords([RUN], [], []), workspace="here")
    assert seen[-2:] == [("file", True), ("folder", False)]
    assert open_files() == held


def test_a_rebuild_that_does_not_know_its_workspace_removes_nothing_from_a_shared_ledger(path: Path) -> None:
    where = f"sqlite:///{path}"
    shared(where)
    _, kept = rebuild(where, lambda: WorkspaceRecords([RUN], [], []), workspace="")
    assert kept == 9
    with Ledger.open(where) as ledger:
        assert len(ledger.runs()) == 6


def test_rebuild_makes_the_first_ledger_too(path: Path) -> None:
    rebuild(path, lambda: WorkspaceRecords([RUN], [], []), workspace="here")
    with Ledger.open(path) as ledger:
        assert ledger.runs() == [RUN]
    assert [p.name for p in path.parent.iterdir()] == ["ledger.db"]


def broken(path: Path) -> None:
    """A ledger that can't be used, of which SQLite still reads and writes what is left."""
    filled(path)
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE submission_events")
    connection.close()


def test_a_rebuilt_ledger_is_not_rolled_back_by_an_old_journal(path: Path) -> None:
    filled(path)
    path.write_bytes(b"damaged " * 100)
    path.with_name("ledger.db-journal").write_bytes(b"of a killed writer")
    rebuild(path, lambda: WorkspaceRecords([RUN], [], []), workspace="here")
    with Ledger.open(path) as ledger:
        assert ledger.runs() == [RUN]
    assert not path.with_name("ledger.db-journal").exists()


@pytest.mark.parametrize("make", [filled, broken])
def test_a_rebuild_that_fails_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch, make: Any) -> None:
    make(path)
    before = path.read_bytes()

    def no_replace(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", no_replace)
    with pytest.raises(StorageError, match="no space left"):
        rebuild(path, lambda: WorkspaceRecords([RUN], [], []), workspace="here")
    assert path.read_bytes() == before
    assert not list(path.parent.glob(".*.tmp"))


def test_rebuild_on_a_file_system_without_second_names(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken(path)

    def no_link(*_: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", no_link)
    rebuild(path, lambda: WorkspaceRecords([RUN], [], []), workspace="here")
    (old,) = path.parent.glob("ledger.db.damaged-*")
    for file, count in ((path, 1), (old, 200)):
        with sqlite3.connect(file) as connection:
            assert connection.execute("SELECT count(*) FROM runs").fetchone() == (count,)
        connection.close()


THEIRS = replace(RUN, run_id="001-20261123T210000-99999999", workspace="there")
OURS = replace(RUN, run_id="001-20261123T220000-88888888", workspace="here")
UNTOLD = replace(RUN, run_id="001-20261123T230000-77777777")
SENT = {w: replace(SUBMISSION, submission_id=w, workspace=w) for w in ("here", "there")}
GONE = [replace(SUBMISSION, submission_id=name, workspace="here") for name in ("gone", "unread")]


def shared(where: str | Path) -> None:
    """A ledger of two workspaces, of one of which a run's folder is gone, and of which another's can't be read."""
    gone, unread = (replace(OURS, run_id=f"002-20261123T220000-{name}") for name in ("gone", "unread"))
    with Ledger.open(where) as ledger:
        for record in (THEIRS, OURS, UNTOLD, gone, unread):
            ledger.put_run(record)
        for sent in (*SENT.values(), *GONE):
            ledger.put_submission(sent)


def rebuilt(where: str | Path) -> tuple[int, set[str], set[str], int]:
    unread = ["002-20261123T220000-unread", "unread"]
    found = WorkspaceRecords([replace(OURS, title="found")], [SENT["here"]], [], unread)
    _, kept = rebuild(where, lambda: found, workspace="here")
    with Ledger.open(where) as ledger:
        assert next(r.title for r in ledger.runs() if r.run_id == OURS.run_id) == "found"
        runs, sent = {r.run_id for r in ledger.runs()}, {s.submission_id for s in ledger.submissions()}
        return kept, runs, sent, len(ledger.events("there"))


def test_rebuild_keeps_what_is_of_other_workspaces(path: Path) -> None:
    where = f"sqlite:///{path}"
    shared(where)
    kept, runs, sent, events = rebuilt(where)
    assert runs == {THEIRS.run_id, OURS.run_id, UNTOLD.run_id, "002-20261123T220000-unread"}
    assert (sent, events, kept) == ({"here", "there", "unread"}, 1, 5)
    assert list(path.parent.glob("ledger.db.bak-*"))
    # The workspace's own file: what does not say whose it is, is its own.
    path.unlink()
    shared(path)
    assert UNTOLD.run_id not in rebuilt(path)[1]


def test_a_damaged_ledger_by_url_is_rebuilt(path: Path) -> None:
    where = f"sqlite:///{path}"
    shared(where)
    path.write_bytes(b"damaged " * 100)
    with pytest.raises(DamagedLedgerError, match="is damaged") as caught:
        Ledger.open(where)
    assert "wb ledger rebuild" in caught.value.hint
    assert rebuilt(where) == (0, {OURS.run_id}, {"here"}, 0)


def test_of_a_damaged_ledger_what_can_be_read_of_others_is_kept(path: Path) -> None:
    where = f"sqlite:///{path}"
    shared(where)
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM alembic_version")
    connection.close()
    with pytest.raises(DamagedLedgerError):
        Ledger.open(where)
    _, runs, sent, events = rebuilt(where)
    assert {THEIRS.run_id, OURS.run_id} <= runs
    assert (sent, events) == ({"here", "there"}, 1)


def test_a_newer_ledger_is_not_rebuilt(path: Path) -> None:
    filled(path)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(LedgerError, match="has version 9999"):
        rebuild(path, lambda: WorkspaceRecords([], [], []), workspace="here")


@pytest.mark.parametrize("make", [filled, broken])
def test_what_ends_during_a_rebuild_is_entered_after_it(path: Path, make: Any) -> None:
    """The writer waits from before the folders are read, and writes into the ledger that is there then."""
    import threading

    make(path)
    written: list[float] = []

    def write() -> None:
        with Ledger.open(path) as ledger:
            ledger.put_run(OURS)
        written.append(time.monotonic())

    writer = threading.Thread(target=write)

    def read() -> WorkspaceRecords:
        writer.start()
        time.sleep(0.3)
        assert not written
        return WorkspaceRecords([RUN], [], [])

    rebuild(path, read, workspace="here")
    writer.join(timeout=30)
    assert written
    with Ledger.open(path) as ledger:
        assert {r.run_id for r in ledger.runs()} == {RUN.run_id, OURS.run_id}


# --------------------------------------------------------------------------------------------------------- PostgreSQL


@pytest.fixture
def server() -> str:
    """The URL of an empty database; whatever ledger it holds is dropped."""
    url = postgresql_url()
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE IF EXISTS runs, submissions, submission_events, alembic_version")
    engine.dispose()
    return url


def test_on_postgresql(server: str) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from workbench.ledger.schema import metadata

    with Ledger.open(server) as ledger:
        replaced(ledger, [RUN], [SUBMISSION], [])
        ledger.put_run(replace(RUN, error="\0\udce9"))
        ledger.put_run(RUN)
        ledger.put_submission(replace(SUBMISSION, status="pending"), "accepted")
        assert ledger.runs("flights") == [RUN]
        assert ledger.submissions() == [replace(SUBMISSION, status="pending")]
        assert [e.status for e in ledger.events("s1")] == ["pending"]
        assert ledger.check()["runs"] == 1
        with pytest.raises(LedgerError, match="can't be used"):
            ledger.put_run(replace(RUN, title=None))  # type: ignore[arg-type]
    engine = sa.create_engine(server, poolclass=sa.NullPool)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_rebuild_keeps_what_is_of_other_workspaces_on_postgresql(server: str) -> None:
    shared(server)
    kept, runs, sent, events = rebuilt(server)
    assert runs == {THEIRS.run_id, OURS.run_id, UNTOLD.run_id, "002-20261123T220000-unread"}
    assert (sent, events, kept) == ({"here", "there", "unread"}, 1, 5)


def test_two_processes_write_and_create_at_once_on_postgresql(server: str) -> None:
    code = WRITER.replace("pathlib.Path(sys.argv[1])", "sys.argv[1]")
    writers = [
        subprocess.Popen([sys.executable, "-c", code, server, "same", "25"], cwd=Path(__file__).parents[2])
        for _ in range(3)
    ]
    assert [w.wait(timeout=60) for w in writers] == [0, 0, 0]
    with Ledger.open(server) as ledger:
        assert len(ledger.runs()) == 25


def test_a_locked_server_is_explained(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from workbench.ledger import database

    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 0.1)
    at = database.parse_address(server)
    locked = pytest.raises(BusyError, match="is locked by another process")
    with Ledger.open(server) as ledger, database.transaction(database.engine_for(at), at, write=True), locked:
        ledger.put_run(RUN)
