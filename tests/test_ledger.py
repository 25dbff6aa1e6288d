from __future__ import annotations

import os
import random
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

from workbench.errors import BusyError, DamagedError, LedgerError, StorageError
from workbench.ledger import Ledger, RunRecord, SubmissionEvent, SubmissionRecord, rebuild

NOW = datetime(2026, 11, 23, 20, 0, 0, 123456, UTC)

RUN = RunRecord(
    run_id="001-20261123T200000-abcdef01",
    competition="flights",
    exp=1,
    title="baseline",
    kind="model",
    base=None,
    status="finished",
    key="abcdef01",
    metric="auc",
    greater_is_better=True,
    cv_mean=0.74,
    cv_std=0.01,
    cv_folds=2,
    oof_score=0.73,
    fold_scores=(0.75, 0.73),
    seed_scores=((0.75, 0.73), (0.74, 0.72)),
    seeds=(1, 2),
    folds_hash="f",
    n_features=12,
    seconds=1.5,
    peak_rss_mb=300.0,
    created_at=NOW,
    finished_at=NOW,
    git_commit="abc+",
    sample=None,
    changes=("+weather", "num_leaves 31 -> 63"),
    error=None,
    folder="competitions/flights/runs/001",
)

SUBMISSION = SubmissionRecord(
    submission_id="s1",
    competition="flights",
    exp=1,
    run_id=RUN.run_id,
    platform="rehearsal",
    file="submissions/flights/001.csv",
    sha256="0" * 64,
    message="001 baseline",
    cv_mean=0.74,
    created_at=NOW,
    sent_at=None,
    ref=None,
    status="prepared",
    public_score=None,
    private_score=None,
    error=None,
)

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
    return st.builds(cls, **{f.name: values_for(str(f.type)) for f in fields(cls)})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "submissions" / "ledger.db"


@settings(deadline=None, max_examples=25)
@given(records(RunRecord), records(SubmissionRecord))
def test_records_come_back_as_they_went_in(tmp_path_factory: Any, run: RunRecord, submission: SubmissionRecord) -> None:
    path = tmp_path_factory.mktemp("ledger") / "ledger.db"
    with Ledger.open(path) as ledger:
        ledger.put_run(run)
        assert ledger.run(run.run_id) == run
        ledger.put_submission(submission)
        assert ledger.submissions() == [submission]
    assert RunRecord.from_dict(run.to_dict()) == run
    assert SubmissionRecord.from_dict(submission.to_dict()) == submission


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
        ({"seeds": 1}, "seeds = 1, expected tuple"),
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


# ------------------------------------------------------------------------------------------------------ what is broken


def filled(path: Path) -> None:
    with Ledger.open(path) as ledger:
        ledger.replace([replace(RUN, run_id=f"r{i}") for i in range(200)], [SUBMISSION], [])


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


def test_a_newer_ledger_is_left_alone(path: Path) -> None:
    filled(path)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0099'")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(LedgerError, match=r"has version 0099; this workbench knows versions up to 0001"):
        Ledger.open(path)
    assert path.read_bytes() == before


def test_a_locked_ledger_is_explained(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(path)
    monkeypatch.setattr("workbench.ledger.store.BUSY_TIMEOUT_S", 0.1)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(BusyError, match="is locked by another process"), Ledger.open(path) as ledger:
        ledger.put_run(RUN)
    holder.close()


def test_a_folder_that_is_a_file_is_explained(tmp_path: Path) -> None:
    (tmp_path / "submissions").write_text("")
    with pytest.raises(StorageError, match="move that file out of the way"):
        Ledger.open(tmp_path / "submissions" / "ledger.db")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense", "not a database URL"),
        ("postgresql://me:secret@127.0.0.1:1/wb", "no driver for postgresql://me:\\*\\*\\*@"),
    ],
)
def test_a_wrong_url_is_explained_without_its_password(url: str, message: str) -> None:
    with pytest.raises(LedgerError, match=message) as caught:
        Ledger.open(url)
    assert "secret" not in str(caught.value)


# ----------------------------------------------------------------------------------------------------------- versions


def test_migrations_and_tables_agree(path: Path) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from workbench.ledger.schema import HEAD, metadata

    with Ledger.open(path) as ledger:
        assert ledger.check()["version"] == HEAD
    engine = sa.create_engine(f"sqlite:///{path}", poolclass=sa.NullPool)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


@pytest.mark.parametrize("dump", sorted((Path(__file__).parent / "ledgers").glob("*.sql")), ids=lambda p: p.stem)
def test_old_schemas_can_be_opened(path: Path, dump: Path) -> None:
    path.parent.mkdir()
    connection = sqlite3.connect(path)
    connection.executescript(dump.read_text())
    connection.close()
    with Ledger.open(path) as ledger:
        assert ledger.runs("flights") == [RUN]
        assert ledger.submissions("flights") == [SUBMISSION]
        assert len(ledger.events("s1")) == 1


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
from tests.test_ledger import RUN
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
        cwd=Path(__file__).parents[1],
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


# ------------------------------------------------------------------------------------------------------------ rebuild


def test_rebuild_keeps_the_old_file(path: Path) -> None:
    filled(path)
    path.write_bytes(b"damaged " * 100)
    event = SubmissionEvent("s1", NOW, "prepared", None, None, "about to send")
    rebuild(path, [RUN], [SUBMISSION], [event])
    with Ledger.open(path) as ledger:
        assert ledger.runs() == [RUN]
        assert ledger.submissions() == [SUBMISSION]
        assert ledger.events("s1") == [event]
    (old,) = path.parent.glob("ledger.db.old-*")
    assert old.read_bytes().startswith(b"damaged")
    assert not list(path.parent.glob("*.tmp"))


def test_on_postgresql(path: Path) -> None:
    url = os.environ.get("WB_TEST_POSTGRES_URL")
    if not url:
        pytest.skip("set WB_TEST_POSTGRES_URL to try a server")
    with Ledger.open(url) as ledger:
        ledger.replace([RUN], [SUBMISSION], [])
        ledger.put_run(RUN)
        ledger.put_submission(replace(SUBMISSION, status="pending"), "accepted")
        assert ledger.runs("flights") == [RUN]
        assert [e.status for e in ledger.events("s1")] == ["pending"]
        assert ledger.check()["runs"] == 1
    with Ledger.open(url) as ledger:
        ledger.replace([], [], [])
