"""Events: to JSON and back, in a file that a kill may tear, with secrets masked, to whoever listens."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.core.context import RunContext, text_listener
from workbench.core.errors import ConfigError
from workbench.core.events import (
    BytesReceived,
    Event,
    EventLog,
    Message,
    ModelTrained,
    Progress,
    RunFinished,
    StageStarted,
    event_from_dict,
    event_text,
    event_to_dict,
    read_events,
)

MODEL = ModelTrained(target=0, fold=1, seed=7, score=0.5, rounds=30, seconds=1.25, remaining=4)


def events() -> st.SearchStrategy[Any]:
    return st.one_of([st.from_type(kind) for kind in get_args(Event)])


def is_finite(event: Any) -> bool:
    return all(v == v and abs(v) != float("inf") for v in vars(event).values() if isinstance(v, float))


@given(events().filter(is_finite))
def test_each_event_comes_back_from_json(event: Any) -> None:
    assert event_from_dict(json.loads(json.dumps(event_to_dict(event)))) == event


@given(events(), st.data())
def test_what_is_no_event_is_none(event: Any, data: st.DataObject) -> None:
    """A field that is missing where it has no default, or of another type."""
    made = event_to_dict(event)
    name = data.draw(st.sampled_from([f.name for f in fields(event)]))
    made[name] = ["a list"]
    assert event_from_dict(made) is None


@pytest.mark.parametrize(
    "data",
    [
        None,
        5,
        "x",
        [],
        {},
        {"event": 1},
        {"event": "later"},
        {"event": "message"},
        {"event": "bytes_received", "size_bytes": True},
    ],
)
def test_other_json_is_none(data: Any) -> None:
    assert event_from_dict(data) is None


def test_a_number_that_is_none_is_null(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "e.jsonl")
    log(RunFinished("1", "finished", float("nan")))
    assert [e.event for e in read_events(log.path)] == [RunFinished("1", "finished", None)]
    assert "NaN" not in log.path.read_text()


def test_a_field_of_a_newer_version_is_left_out() -> None:
    assert event_from_dict({"event": "message", "text": "x", "level": 3}) == Message("x")


def test_events_are_appended_in_their_order(tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl"
    EventLog(path)(StageStarted("one"))
    EventLog(path)(MODEL)
    logged = read_events(path)
    assert [e.event for e in logged] == [StageStarted("one"), MODEL]
    assert logged[0].at <= logged[1].at
    assert logged[0].at.utcoffset() is not None


def test_a_torn_line_is_skipped_and_what_follows_is_read(tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl"
    EventLog(path)(Message("first ü"))
    whole = path.read_bytes()
    EventLog(path)(Message("second ü"))
    line = path.read_bytes()[len(whole) :]
    for cut in range(1, len(line)):
        path.write_bytes(whole + line[:cut])
        assert [e.event for e in read_events(path)] == [Message("first ü")]
        EventLog(path)(MODEL)
        kept = [e.event for e in read_events(path)]
        # All but its end: then it is whole.
        assert kept == (
            [Message("first ü"), MODEL] if cut < len(line) - 1 else [Message("first ü"), Message("second ü"), MODEL]
        )


def test_lines_that_are_no_events_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl"
    path.write_bytes(
        b'5\n[1]\n\xff\n{"event": "message", "text": "x"}\n{"at": 3, "event": "message", "text": "x"}\n'
        + b"[" * 100_000
        + b"\n"
    )
    EventLog(path)(MODEL)
    assert [e.event for e in read_events(path)] == [MODEL]


def test_no_file_has_no_events(tmp_path: Path) -> None:
    assert read_events(tmp_path / "none.jsonl") == read_events(tmp_path / "none" / "e.jsonl") == []


def test_secrets_are_masked(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "e.jsonl")
    log(StageStarted("asking https://me:hunter2hunter2@host/"))
    assert "hunter2" not in log.path.read_text()
    assert [e.event for e in read_events(log.path)] == [StageStarted("asking https://[masked]@host/")]


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    """A notebook of somebody else's may have left one in the run's folder."""
    (tmp_path / "victim").write_text("mine\n")
    (tmp_path / "e.jsonl").symlink_to(tmp_path / "victim")
    RunContext((EventLog(tmp_path / "e.jsonl"),)).say("x")
    assert (tmp_path / "victim").read_text() == "mine\n"


def test_a_listener_that_can_not_write_leaves_the_others_theirs() -> None:
    told: list[Event] = []

    def broken(_: Event) -> None:
        raise BrokenPipeError

    RunContext((told.append,)).with_listeners(broken).stage("one")
    assert told == [StageStarted("one")]


def test_an_error_of_ours_passes() -> None:
    def refusing(_: Event) -> None:
        raise ConfigError("no")

    with pytest.raises(ConfigError, match="no"):
        RunContext((refusing,)).stage("one")


def test_who_is_added_hears_it_first() -> None:
    told: list[str] = []
    context = RunContext((lambda _: told.append("first"),)).with_listeners(lambda _: told.append("added"))
    context.say("x")
    assert told == ["added", "first"]


def test_what_is_told_in_words_becomes_text() -> None:
    told: list[str] = []
    context = RunContext((text_listener(told.append),))
    context.say("note")
    context.stage("reading")
    context.progress(0.5, 1.0, "covisit", "share")
    context.progress(3, 10, "fold 1")
    context.progress(3, None, "fold 1", "rows")
    context.emit(BytesReceived(5))
    context.emit(MODEL)
    assert told == ["note", "reading", "covisit: 50%"]


def test_an_event_without_words_has_no_text() -> None:
    @dataclass(frozen=True)
    class Other:
        pass

    assert event_text(Other()) is None  # type: ignore[arg-type]
    assert event_text(Progress(1, 4, "x", "models")) == "1 of 4 models: x"
    assert event_text(Progress(3, None, "fold 1", "rows")) == "3 rows: fold 1"
