"""Whatever trains asks for its memory before it begins; a search ends with what it found where some of it does not fit."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from typing import Any

import pytest

from tests.tuning.fake_scorer import search_context
from workbench import nb
from workbench.analysis.selection import options_of, select
from workbench.core import memory
from workbench.core.context import RunContext
from workbench.core.errors import MemoryLimitError
from workbench.core.events import SearchProgress
from workbench.experiments.notebooks.context import CONTEXT_VARIABLE, NotebookContext, write_context
from workbench.experiments.ready import ReadyExperiment
from workbench.experiments.tune import TuneRequest, run_tuned, tune
from workbench.models.lightgbm.bins import BinnedRows
from workbench.tuning import StudyKey, open_study

MODEL = "[model]\nlearning_rate = 0.2\nnum_leaves = 8\nnum_iterations = 30\nearly_stopping_round = 5\nlambda_l2 = 1.0\n"
TUNE = (
    "[tune]\ntrials = 4\n[tune.space]\nnum_leaves = { low = 4, high = 16, log = true }\n"
    "lambda_l2 = { low = 0.1, high = 10.0, log = true }\n"
)
TIGHT = 64 * 2**20


@pytest.fixture
def made(small, monkeypatch) -> Any:
    monkeypatch.setenv("WB_THREADS", "1")
    found = small()
    found.experiment(1, f'features = ["rows.x", "rows.z"]\n{MODEL}{TUNE}')
    return found


@pytest.fixture
def nothing_binned(monkeypatch) -> None:
    def binned(self: Any, *_: Any, **__: Any) -> Any:
        raise AssertionError("it was binned before memory was asked for")

    monkeypatch.setattr(BinnedRows, "dataset", binned)


def tuned(made: Any, **options: Any) -> Any:
    request = TuneRequest(**({"trials": 4, "holdout": False} | options))
    return tune(made.workspace, made.open.access.competition, 1, request, RunContext(threads=1))


@pytest.mark.usefixtures("nothing_binned")
class TestWhatIsTooMuchIsRefusedBeforeItBegins:
    def test_a_search(self, made) -> None:
        tight = replace(made.workspace, memory_limit=TIGHT)
        with pytest.raises(MemoryLimitError, match="already in use"):
            tune(tight, made.open.access.competition, 1, TuneRequest(trials=4))

    def test_a_run_that_is_tuned(self, made) -> None:
        with pytest.raises(MemoryLimitError, match="already in use"):
            run_tuned(replace(made.workspace, memory_limit=TIGHT), made.open.access.competition, 1)

    @pytest.mark.parametrize("method", ["gain", "rfe", "null"])
    def test_a_selection(self, made, method: str) -> None:
        tight = replace(made.workspace, memory_limit=TIGHT)
        with pytest.raises(MemoryLimitError, match="already in use"):
            select(tight, made.open.access.competition, 1, options_of(method, {}))

    def test_a_fold_in_a_notebook(self, made, monkeypatch) -> None:
        monkeypatch.chdir(made.folder)
        nb.use(made.slug)  # whatever a notebook before it was told is forgotten
        with write_context(NotebookContext.of(replace(made.workspace, memory_limit=TIGHT), made.slug)) as variables:
            monkeypatch.setenv(*next(iter(variables.items())))
            with pytest.raises(MemoryLimitError, match="already in use"):
                nb.fit(1, 0)
        monkeypatch.delenv(CONTEXT_VARIABLE)
        nb.use(made.slug)


class TestAFinishedSearchStays:
    def _but(self, monkeypatch, fits: Any) -> None:
        whole = ReadyExperiment.plan_memory

        def asked(self: Any, problem: Any = None, model: Any = None, **more: Any) -> Any:
            if problem is not None and not fits(self, problem):
                raise MemoryLimitError("training would need about 9 TB")
            return whole(self, problem, model, **more)

        monkeypatch.setattr(ReadyExperiment, "plan_memory", asked)

    def test_where_other_folds_do_not_fit(self, made, monkeypatch) -> None:
        self._but(monkeypatch, lambda ready, problem: problem.folds.content == ready.problem.folds.content)
        outcome = tuned(made)
        assert outcome.tuned.best is not None
        assert outcome.tuned.best.full_cv
        assert any("other folds can't be made (training would need about 9 TB)" in n for n in outcome.notes)

    def test_where_the_rows_held_out_do_not_fit(self, made, monkeypatch) -> None:
        asked: list[int] = []

        def fits(ready: Any, problem: Any) -> bool:
            asked.append(1)
            return problem is not ready.problem or len(asked) == 1

        self._but(monkeypatch, fits)
        outcome = tuned(made, holdout=True)
        assert outcome.tuned.best.holdout is None
        assert "the holdout is not scored: training would need about 9 TB" in outcome.notes


class TestWorkersShareMemory:
    def test_what_one_is_about_to_take_the_other_leaves(self, tmp_path, monkeypatch) -> None:
        with (
            open_study(tmp_path, StudyKey("s", {}), greater_is_better=True) as first,
            open_study(tmp_path, StudyKey("s", {}), greater_is_better=True) as second,
        ):
            first.announce_memory(memory.used_bytes() + 2**30)
            assert abs(second.memory_announced_by_others() - 2**30) < 2**28  # less what it has taken already
            assert first.memory_announced_by_others() == 0
            second.announce_memory(1)
            assert first.memory_announced_by_others() == 0
        with open_study(tmp_path, StudyKey("s", {}), greater_is_better=True) as third:
            assert third.memory_announced_by_others() == 0  # of one that has ended nothing is kept

    def test_the_second_is_refused_what_the_first_is_about_to_take(self, made, monkeypatch) -> None:
        from workbench.tuning.study import StudySession

        monkeypatch.setattr(StudySession, "memory_announced_by_others", lambda _: memory.machine_bytes())
        with pytest.raises(MemoryLimitError):
            tuned(made)
        said = replace(made.workspace, memory_limit=2**33)  # what the user says stays said
        assert (
            tune(said, made.open.access.competition, 1, TuneRequest(trials=1), RunContext(threads=1)).tuned.best
            is not None
        )

    def test_the_memory_of_another_process_is_seen(self) -> None:
        other = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
        try:
            assert memory.used_bytes(os.getpid()) > 2**20
            assert memory.used_bytes(other.pid) > 0
        finally:
            other.communicate(b"")
        assert memory.used_bytes(other.pid) == 0


class TestASmallBudget:
    @pytest.fixture
    def clock(self, monkeypatch) -> list[float]:
        """Let each look at the clock take 10 ms, and so a round some 20, and nothing else take any time."""
        now = [100.0]

        def looked() -> float:
            now[0] += 0.01
            return now[0]

        monkeypatch.setattr(time, "perf_counter", looked)
        return now

    def test_ends_with_quick_scores(self, made, clock) -> None:
        """In 45 % of two seconds there is no room for 45 rounds of 20 ms."""
        outcome = tuned(made, trials=None, minutes=2 / 60)
        assert outcome.tuned.complete >= 2
        assert outcome.tuned.best is not None

    def test_gives_nothing_that_is_no_better_than_what_was_given(self, made, clock) -> None:
        def progress(at: SearchProgress) -> None:
            if at.stage == "full CV":
                clock[0] += 100

        request = TuneRequest(minutes=2 / 60, holdout=False)
        outcome = tune(made.workspace, made.open.access.competition, 1, request, search_context(progress, 1))
        best, initial = outcome.tuned.best, outcome.tuned.initial
        assert (best == initial) == any("no trial is better" in n for n in outcome.notes)
        assert best.low_fidelity >= initial.low_fidelity
        assert any(n.startswith("the time was too short for full CV") for n in outcome.notes)

    @pytest.mark.usefixtures("nothing_binned")
    def test_that_is_spent_bins_nothing(self, made) -> None:
        outcome = tuned(made, trials=None, minutes=1e-6)
        assert outcome.tuned.best is None
