"""What happens in a run is told, and appended to the run's folder, where others can watch it."""

from __future__ import annotations

from typing import Any

import pytest

from workbench.core.errors import TrainingError, WorkbenchError
from workbench.core.events import EVENTS_FILE, Event, ModelTrained, RunFinished, RunStarted, StageStarted, read_events
from workbench.experiments.run_folder import read_run

QUICK = 'features = ["rows.x", "rows.z"]\nseeds = [1, 2]\n[model]\nnum_iterations = 5\nearly_stopping_round = 0\n'
FUNCTION = 'features = ["rows.x"]\n[python]\nfunction = "models.py:fit"\n'


def events_of(made: Any) -> list[Event]:
    (path,) = made.folder.glob(f"runs/*/{EVENTS_FILE}")
    return [logged.event for logged in read_events(path)]


def test_who_listens_and_the_file_have_the_same(small: Any) -> None:
    made = small()
    made.experiment(1, QUICK)
    told: list[Event] = []
    outcome = made.open.runs.execute(1, listen=told.append, threads=1)
    assert events_of(made) == told
    record = outcome.run.record
    assert told[0] == RunStarted(record.run_id, "new")
    assert told[-1] == RunFinished(record.run_id, "finished", record.cv_mean)
    assert told[-2] == StageStarted("writing")
    models = [e for e in told if isinstance(e, ModelTrained)]
    assert [(m.fold, m.seed, m.rounds) for m in models] == [(fold, seed, 5) for seed in (1, 2) for fold in range(5)]
    assert [m.remaining for m in models] == list(range(9, -1, -1))
    notes = read_run(outcome.run.folder)[1]["models"]
    assert [m.score for m in models] == pytest.approx([n["curve"][-1] for n in notes], abs=1e-7)


def test_a_run_that_is_unchanged_writes_nothing(small: Any) -> None:
    made = small()
    made.experiment(1, QUICK)
    run = made.open.run(1)
    before = (run.folder / EVENTS_FILE).read_bytes()
    told: list[Event] = []
    assert made.open.runs.execute(1, listen=told.append).how == "unchanged"
    assert (run.folder / EVENTS_FILE).read_bytes() == before
    assert told == []


def test_the_file_is_none_of_a_runs_results(small: Any) -> None:
    """Runs of earlier versions have none, and one that is damaged damages no run."""
    made = small()
    made.experiment(1, QUICK)
    run = made.open.run(1)
    assert EVENTS_FILE not in read_run(run.folder)[1]["files"]
    (run.folder / EVENTS_FILE).write_bytes(b"\xff")
    assert made.open.runs[1].record == run.record
    (run.folder / EVENTS_FILE).unlink()
    assert made.open.runs.execute(1).how == "unchanged"
    assert not (run.folder / EVENTS_FILE).exists()


def test_a_run_that_goes_on_is_appended(small: Any) -> None:
    made = small()
    made.experiment(1, QUICK)

    def stop(event: Event) -> None:
        if isinstance(event, ModelTrained) and event.remaining == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made.open.run(1, listen=stop)
    (row,) = made.open.table()
    stopped = events_of(made)
    assert stopped[-1] == RunFinished(row.run.run_id, "interrupted")
    assert sum(isinstance(e, ModelTrained) for e in stopped) == 4
    made.open.run(1)
    later = events_of(made)[len(stopped) :]
    assert events_of(made)[: len(stopped)] == stopped
    assert later[0] == RunStarted(row.run.run_id, "resumed")
    assert sum(isinstance(e, ModelTrained) for e in later) == 6


def test_a_failed_run_says_why_and_no_secret(small: Any) -> None:
    made = small()
    (made.folder / "models.py").write_text(
        "def fit(*data, **more):\n    raise ValueError('at https://me:hunter2hunter2@host/')\n"
    )
    made.experiment(1, FUNCTION)
    with pytest.raises(TrainingError):
        made.open.run(1)
    last = events_of(made)[-1]
    assert isinstance(last, RunFinished)
    assert last.status == "failed"
    assert "at https://[masked]@host/" in str(last.error)
    assert all(b"hunter2" not in p.read_bytes() for p in made.folder.glob("runs/*/events.jsonl"))


def test_a_file_that_can_not_be_written_ends_no_run(small: Any) -> None:
    made = small()
    made.experiment(1, QUICK)

    def spoil(event: Event) -> None:
        if isinstance(event, RunStarted):
            (path,) = made.folder.glob(f"runs/*/{EVENTS_FILE}")
            path.unlink()
            path.mkdir()

    assert made.open.run(1, listen=spoil).record.status == "finished"


def test_callbacks_are_still_called(small: Any) -> None:
    made = small()
    made.experiment(1, QUICK)
    said: list[str] = []
    trained: list[tuple[int, int, int]] = []
    made.open.run(1, report=said.append, done=lambda model, left: trained.append((model.fold, model.seed, left)))
    assert said[-1] == "writing"
    assert trained[0] == (0, 1, 9)
    assert trained[-1] == (4, 2, 0)


def test_an_error_of_a_callback_ends_the_run(small: Any) -> None:
    made = small()
    made.experiment(1, QUICK)

    def refuse(_: Any, left: int) -> None:
        if left == 3:
            raise WorkbenchError("enough")

    with pytest.raises(WorkbenchError, match="enough"):
        made.open.run(1, done=refuse)
    assert made.open.table()[0].run.status == "failed"
