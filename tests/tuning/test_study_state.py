"""What a study stores, read and written by key: earlier versions and this one continue each other's studies."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import optuna
import pytest

from tests.pinned import stored
from workbench.experiments.best_parameters import BestParameters, searched_parameters
from workbench.models.lightgbm.fold_scorer import FoldScore
from workbench.tuning import StudyState, TrialState, read_study
from workbench.tuning.plan import LowFidelity
from workbench.tuning.state import CVScores, FullCV, TrialWriter, requeue_failed

FIRST, SECOND = "5bce98f7-c4d93cf2-976f2956fd22", "5bce98f7-c4d93cf2-bf30532c44e2"
"""The processes that searched the stored study."""

RATE = 0.3


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return stored.unpack("binary", tmp_path_factory.mktemp("stored"))


@pytest.fixture(scope="module")
def study(workspace: Any) -> optuna.Study:
    """As an earlier version left it, after two searches."""
    return read_study(workspace.folder / "studies" / "001", "small-001")


@pytest.fixture
def new() -> optuna.Study:
    return optuna.create_study(direction="maximize")


def test_a_stored_study_is_read(study: optuna.Study) -> None:
    state = StudyState(study)
    assert state.key_parts == study.user_attrs["parts"]
    assert set(state.key_parts or ()) == {"features", "folds", "target", "space", "model", "search"}
    assert state.low_fidelity == LowFidelity(0.1, 1000, 30, 1, 1.0, (0, 1, 2, 3))
    assert (state.full_cv_rate, state.n_repeated_folds) == (None, 5)
    assert state.spent_s() == pytest.approx(3.3 + 1.1)
    assert state.announced_memory([FIRST, "another", SECOND]) == [(10149, 4108689673), (10149, 4208775001)]


def test_stored_scores_are_read(study: optuna.Study) -> None:
    cv = CVScores(study)
    assert cv.full_cv(2) is None
    assert cv.full_cv(7) == FullCV(
        (0.8130929791271347, 0.8273244781783681, 0.7988614800759013, 0.8149905123339658), (5,), RATE, None, 0.012
    )
    assert set(cv.fold_scores(7, RATE)) == {0, 1, 2, 3}
    assert cv.fold_scores(7, 0.1) == {}
    third = cv.fold_scores(7, RATE)[2]
    assert (third.score, third.rounds, third.seconds, third.oof, third.rounds_at_time_limit) == (0.8045540796963947, (11,), 0.002054185999895708, None, None)  # fmt: skip
    assert third.curves[0][11] == third.score
    assert cv.repeated_cv(2) == {}
    assert cv.repeated_cv(7)[4] == 0.763986013986014
    assert (cv.holdout(0), cv.holdout(7)) == (0.8444444444444444, None)
    finished = {one.number: one for one in cv.finished()}
    assert set(finished) == {0, 1, 3, 7}
    assert finished[0].holdout == 0.8444444444444444
    assert [len(one.repeated or ()) for one in finished.values()] == [5] * 4


def test_stored_trials_are_read(study: optuna.Study) -> None:
    trial = TrialState(study.trials[0])
    assert (trial.worker, trial.heartbeat_at) == (FIRST, datetime(2026, 11, 30, 9, 48, 29, tzinfo=UTC))
    assert trial.rounds == [82, 4, 53, 22]
    assert set(trial.curves) == {"0", "1", "2", "3"}
    assert (trial.is_stopped, trial.is_retry, trial.is_duplicate) == (False, False, False)
    assert TrialState(study.trials[5]).curves == {}


def test_what_is_written_is_what_was_stored(study: optuna.Study, new: optuna.Study) -> None:
    """Whatever is read from the stored study, and written to another, has the same keys and values there."""
    state, cv = StudyState(new), CVScores(new)
    before, before_cv = StudyState(study), CVScores(study)
    state.key_parts = before.key_parts or {}
    assert [state.count_opening(), state.count_opening()] == [0, 1]
    assert before.low_fidelity is not None
    state.low_fidelity = before.low_fidelity
    state.n_repeated_folds = before.n_repeated_folds
    for worker, seconds in ((FIRST, 3.32), (SECOND, 1.1)):
        state.set_spent(worker, seconds)
        state.announce_memory(worker, *before.announced_memory([worker])[0])
    for number in (0, 1, 3, 7):
        for fold, score in before_cv.fold_scores(number, RATE).items():
            cv.add_fold(number, RATE, fold, score)
        full = before_cv.full_cv(number)
        assert full is not None
        cv.finish(number, full)
        for fold, value in before_cv.repeated_cv(number).items():
            cv.add_repeated_fold(number, fold, value)
        if (holdout := before_cv.holdout(number)) is not None:
            cv.set_holdout(number, holdout)
    assert json.loads(json.dumps(new.user_attrs)) == study.user_attrs


def test_a_rate_that_the_study_chooses_is_stored(new: optuna.Study) -> None:
    StudyState(new).full_cv_rate = 0.03
    assert new.user_attrs == {"full_rate": 0.03}
    assert StudyState(new).full_cv_rate == 0.03


def test_what_became_of_a_full_cv_is_stored_beside_its_score(new: optuna.Study) -> None:
    cv = CVScores(new)
    assert [cv.count_failure(3), cv.count_failure(3)] == [1, 2]
    cv.drop(3, 2)
    assert new.user_attrs["full:3"] == {"failed": 2, "dropped_after": 2}
    assert cv.full_cv(3) == FullCV(None, dropped_after=2, n_failures=2)
    assert cv.finished() == []
    cv.finish(4, FullCV((0.5, 0.6), (9, 8), None, 60, 1.25))
    cv.drop(4, 1)
    content = {"scores": [0.5, 0.6], "rounds": [9, 8], "rate": None, "cut": 60, "seconds": 1.25}
    assert new.user_attrs["full:4"] == content | {"dropped_after": 1}
    assert cv.full_cv(4) == FullCV((0.5, 0.6), (9, 8), None, 60, 1.25, 1)


def test_scores_of_another_model_are_forgotten(new: optuna.Study) -> None:
    cv = CVScores(new)
    cv.forget_later_scores(3)
    assert new.user_attrs == {}
    cv.add_repeated_fold(3, 4, 0.5)
    cv.set_holdout(3, 0.4)
    cv.forget_later_scores(3)
    assert new.user_attrs == {"second:3": {}, "held_out:3": None}
    assert (cv.repeated_cv(3), cv.holdout(3)) == ({}, None)


def test_a_rate_that_is_searched_is_no_part_of_the_key(new: optuna.Study) -> None:
    score = FoldScore(0.5, (7, 8), 2.0, None, 60, ({1: 0.25, 2: 0.5}, {1: 0.5}))
    CVScores(new).add_fold(3, None, 1, score)
    assert json.loads(json.dumps(new.user_attrs)) == {
        "folds:3": {"1": [0.5, [7, 8], 2.0, 60, [[[1, 0.25], [2, 0.5]], [[1, 0.5]]]]}
    }
    assert CVScores(new).fold_scores(3, None) == {1: score}


def test_a_trials_keys(new: optuna.Study) -> None:
    trial = new.ask({"x": optuna.distributions.FloatDistribution(0, 1)})
    writer = TrialWriter(new, trial)
    writer.set_worker("one")
    writer.set_stopped()
    writer.set_failure("odd")
    writer.set_duplicate_of(7)
    writer.set_rounds([1, 2])
    writer.set_curves({"0": ([1], [0.5])})
    attributes = dict(new.trials[0].user_attrs)
    seen_at = datetime.fromisoformat(attributes.pop("seen_at"))
    assert abs((datetime.now(UTC) - seen_at).total_seconds()) < 60
    assert attributes == {
        "worker": "one", "stopped": True, "failure": "odd", "same_as": 7, "rounds": [1, 2], "curves": {"0": ([1], [0.5])},
    }  # fmt: skip
    state = TrialState(new.trials[0])
    assert state.is_stopped
    assert state.is_duplicate
    assert requeue_failed(new, new.trials[0])
    assert new.trials[1].user_attrs == {"retry_of": 0}
    assert TrialState(new.trials[1]).is_retry


def test_the_best_parameters_of_an_earlier_version_are_read(workspace: Any, tmp_path: Path) -> None:
    """It noted no names of what it changed."""
    folder = workspace.folder / "studies" / "001"
    best = BestParameters.read(folder)
    assert best is not None
    content = json.loads((folder / "best.json").read_text())
    assert (best.model, best.tune, best.untuned_key) == (content["model"], content["asked"], content["of"])
    assert best.searched == (content["searched"], [])
    best.write(tmp_path)
    assert json.loads((tmp_path / "best.json").read_text()) == content | {"changed": []}
    assert BestParameters.read(tmp_path) == best
    (tmp_path / "best.json").write_text('{"model": {}, "asked": null}')
    assert BestParameters.read(tmp_path) is None
    assert BestParameters.read(tmp_path / "none") is None


def test_a_damaged_file_of_a_search_is_passed_over(workspace: Any, tmp_path: Path) -> None:
    class Paths:
        def study(self, number: int) -> Path:
            return tmp_path / f"{number:03d}"

    class Folder:
        paths = Paths()

    for name, text in (("001", "["), ("002", "[]"), ("003", '{"searched": {"a": 1}, "changed": ["a"]}'), ("004", "{}")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "best.json").write_text(text)
    assert list(searched_parameters(Folder())) == [({"a": 1}, ["a"]), ({}, [])]  # type: ignore[arg-type]
