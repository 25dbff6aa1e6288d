"""The order and the limits of a search, over a scorer that trains nothing and a clock that it puts on."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from tests.tuning.fake_scorer import Call, Clock, Scorer, search_context
from workbench.core.context import RunContext
from workbench.core.errors import DataError, MemoryLimitError, TrainingError
from workbench.core.events import Event, SearchProgress, StageStarted
from workbench.models.lightgbm.fold_scorer import Fidelity
from workbench.tuning import (
    Budget,
    Scorers,
    Search,
    SearchOptions,
    StudyKey,
    StudySession,
    open_study,
    parse_space,
)
from workbench.tuning.plan import LowFidelity, low_fidelity_within, low_fidelity_without_time
from workbench.tuning.space import proven_points

SPACE = parse_space({"num_leaves": {"low": 4, "high": 64}}, where="")
KEY = StudyKey("small-001", {"space": "a"})
QUICK = LowFidelity(0.1, 1000, 30, 1, 1.0, (0, 1, 2, 3, 4))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", lambda: clock.now)
    return clock


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[StudySession]:
    with open_study(tmp_path, KEY, greater_is_better=True) as opened:
        yield opened


def searched(opened: StudySession, scorer: Scorer, **more: Any) -> Search:
    options: dict[str, Any] = {"other": lambda: None, "held_out": lambda: None, "budget": Budget(0.0, trials=6)} | more
    scorers = Scorers(scorer, options.pop("other"), options.pop("held_out"))
    space, progress = options.pop("space", SPACE), options.pop("progress", lambda _: None)
    return Search(opened, scorers, space, SearchOptions(**options), search_context(progress))


def within(seconds: float, **more: Any) -> Budget:
    return Budget(0.0, seconds, **more)


def queue(opened: StudySession, *leaves: int) -> None:
    """Have these points tried first, and none that is known to be good."""
    for n in leaves:
        opened.study.enqueue_trial({"num_leaves": n})


def settled(opened: StudySession, quick: LowFidelity = QUICK) -> None:
    """Have quick scores as an earlier search settled them."""
    opened.study.set_user_attr("quick", quick.content())


def add(
    opened: StudySession, leaves: int, value: float, *, seconds: float = 5.0, folds: int = 5, **attributes: Any
) -> int:
    """Leave a trial that an earlier search has finished; return its number."""
    trial = optuna.trial.create_trial(
        params={"num_leaves": leaves},
        distributions=SPACE.distributions(),
        value=value,
        intermediate_values=dict.fromkeys(range(5 - folds, 5), value),
        user_attrs={"rounds": [100] * folds, **attributes},
    )
    trial.datetime_complete = trial.datetime_start + timedelta(seconds=seconds)  # type: ignore[operator]
    opened.study.add_trial(trial)
    return len(opened.study.trials) - 1


def states(opened: StudySession) -> list[str]:
    return [t.state.name for t in opened.study.get_trials()]


# ---------------------------------------------------------------------------------------------------------- the stages


def test_each_stage_ends_at_its_share_of_the_time(opened: StudySession, clock: Clock) -> None:
    def cost(call: Call) -> float:
        return 4.0 if call.is_watched or call.fidelity.patience == 0 else 9.0

    # All are as good, so that none is given up, and each of the race takes 45 s.
    scorer, other, held = (Scorer(clock, cost=cost, value=lambda _: 0.5) for _ in range(3))
    stages: list[tuple[str, float]] = []

    def progress(now: SearchProgress) -> None:
        if not stages or stages[-1][0] != now.stage:
            stages.append((now.stage, clock.now))

    search = searched(
        opened, scorer, other=lambda: other, held_out=lambda: held, budget=within(1000), progress=progress
    )
    found = search.run()
    assert [name for name, _ in stages] == ["low-fidelity", "OOF", "full CV", "repeated CV", "holdout", "low-fidelity"]
    # Of the four seconds that a fold takes each stage may begin so many late.
    assert [at for _, at in stages] == pytest.approx([0, 450, 450, 820, 940, 940], abs=30)
    quick = [c.at for c in scorer.quick]
    assert max(at for at in quick if at < 700) <= 450
    assert max(at for at in quick if at < 700) > 446
    full = [c.at for c in scorer.full]
    assert 450 <= min(full) < 456
    assert 780 < max(full) <= 820
    assert max(c.at for c in other.calls) <= 940
    assert 940 < 999.7 - 4 < max(quick) <= 999.7
    assert clock.now <= 999.7 + 4
    assert found.seconds == clock.now
    assert {c.fold for c in held.calls} == {4}


def test_stages_end_to_the_moment(opened: StudySession, clock: Clock) -> None:
    """A score that ends with the stage leaves room for one more; the last writes have three tenths of a second."""
    space = parse_space({"lambda_l2": {"low": 0.1, "high": 10.0}}, where="")
    settled(opened, replace(QUICK, folds=(0,)))
    scorer = Scorer(clock, value=lambda _: 0.5, cost=lambda c: 0.125 if c.is_watched else 50.0)
    searched(opened, scorer, space=space, budget=within(10.0)).run()
    first = [c.at for c in scorer.quick if c.at <= 4.5]
    assert max(first) > 4.5 - 0.125
    with_end = [c.at for c in scorer.quick]
    assert max(with_end) <= 9.7


def test_what_is_left_at_the_end_is_for_quick_scores(opened: StudySession, clock: Clock) -> None:
    space = parse_space({"lambda_l2": {"low": 0.1, "high": 10.0}}, where="")
    settled(opened, replace(QUICK, folds=(0,)))
    scorer = Scorer(clock, value=lambda _: 0.5, cost=lambda c: 0.125 if c.is_watched else 0.01)
    searched(opened, scorer, space=space, budget=within(10.0)).run()
    assert 9.7 - 0.125 < max(c.at for c in scorer.quick) <= 9.7


def test_a_score_that_ends_with_its_stage_is_not_the_last(opened: StudySession, clock: Clock) -> None:
    settled(opened, replace(QUICK, folds=(0,)))
    scorer = Scorer(clock, cost=lambda _: 45.0)
    searched(opened, scorer, budget=within(100.0)).run()
    assert [c.at for c in scorer.quick] == [0.0, 45.0, 90.0]


def test_a_race_that_is_over_early_leaves_its_time_to_quick_scores(opened: StudySession, clock: Clock) -> None:
    """Six tenths of it each time, while it is a twentieth of the whole at least."""
    scorer = Scorer(clock, cost=lambda call: 4.0 if call.is_watched else 1e-3, value=lambda _: 0.5)
    begun: list[tuple[str, float]] = []

    def progress(now: SearchProgress) -> None:
        if not begun or begun[-1][0] != now.stage:
            begun.append((now.stage, clock.now))

    clock.now = 300.0
    searched(opened, scorer, budget=Budget(300.0, 1300.0), progress=progress).run()
    full = [at - 300 for name, at in begun if name == "full CV"]
    expected = [450.0]
    while expected[-1] <= 770:
        expected.append(expected[-1] + 0.6 * (820 - expected[-1]))
    assert full == pytest.approx(expected, abs=5)
    assert len(full) == len(expected) == 4


@pytest.mark.parametrize("trials", [4, 1])
def test_trials_end_a_search_whatever_time_there_is(opened: StudySession, clock: Clock, trials: int) -> None:
    scorer = Scorer(clock)
    found = searched(opened, scorer, budget=within(1e6, trials=trials)).run()
    assert found.n_new_trials == trials
    assert len(opened.study.trials) == 5  # the first points wait for the next search
    assert found.complete + found.pruned == trials


def test_without_a_time_only_trials_end_it(opened: StudySession, clock: Clock) -> None:
    found = searched(opened, Scorer(clock, cost=lambda _: 1e7), budget=Budget(0.0, trials=3)).run()
    assert (found.n_new_trials, found.complete) == (3, 3)


def test_a_space_that_is_exhausted_ends_quick_scores_for_good(opened: StudySession, clock: Clock) -> None:
    space = parse_space({"num_leaves": [8, 16]}, where="")
    scorer = Scorer(clock, parameters={"num_leaves": 8})
    found = searched(opened, scorer, space=space, budget=within(1e5)).run()
    assert {c.leaves for c in scorer.quick} == {8, 16}
    assert len(scorer.quick) == 10
    assert found.notes.count("the search space is exhausted: all of its points were scored") == 1
    # Fifty in a row, after the two that were scored.
    assert found.n_new_trials == len(opened.study.trials) == 52
    assert found.complete == 52
    assert len(found.ranked) == 2
    assert found.seconds < 1e4


def test_a_point_that_was_scored_has_its_score_again(opened: StudySession, clock: Clock) -> None:
    first, lost = add(opened, 8, 0.7), add(opened, 9, 0.6)
    settled(opened)
    opened.study.tell(opened.study.ask(SPACE.distributions()), state=optuna.trial.TrialState.FAIL)
    queue(opened, 8, 12, 9)
    pruned = optuna.trial.create_trial(
        state=optuna.trial.TrialState.PRUNED,
        params={"num_leaves": 12},
        distributions=SPACE.distributions(),
        intermediate_values={3: 0.1},
    )
    opened.study.add_trial(pruned)
    scorer = Scorer(clock)
    searched(opened, scorer, budget=Budget(0.0, trials=3)).run()
    again = opened.study.trials[3:6]
    assert [t.state.name for t in again] == ["COMPLETE", "PRUNED", "COMPLETE"]
    assert [t.value for t in again] == [0.7, 0.1, 0.6]
    assert [t.user_attrs["same_as"] for t in again] == [first, 6, lost]
    assert [dict(t.intermediate_values) for t in again] == [dict.fromkeys(range(5), 0.7), {3: 0.1}, dict.fromkeys(range(5), 0.6)]  # fmt: skip
    assert not scorer.quick


def test_progress_counts_what_was_done(opened: StudySession, clock: Clock) -> None:
    seen: list[SearchProgress] = []

    def value(call: Call) -> float:
        if call.leaves == 5:
            raise TrainingError("odd")
        return 0.5 + call.leaves / 1000

    queue(opened, 31, 5, 8)
    searched(opened, Scorer(clock, value=value, cost=lambda _: 0.3), budget=within(1000, trials=3), progress=seen.append).run()  # fmt: skip
    quick = [p for p in seen if p.stage == "low-fidelity"]
    assert (quick[0].complete, quick[0].pruned, quick[0].failed, quick[0].best) == (0, 0, 0, None)
    assert {p.failed for p in seen} == {0, 1}
    assert {p.best and round(p.best, 9) for p in quick} == {None, 0.531}
    assert quick[-1].best == pytest.approx(0.531)
    assert seen[-1].complete == 2
    # Every half second at most.
    assert len(quick) < 5 + clock.now / 0.5
    left = [p.remaining_s for p in seen]
    assert left == sorted(left, reverse=True)
    assert 990 < left[0] <= 1000
    full = [p.best for p in seen if p.stage == "repeated CV"]
    assert full == pytest.approx([0.531] * len(full))


def test_what_was_told_a_moment_ago_is_not_told_again(opened: StudySession, clock: Clock) -> None:
    times: dict[str, list[float]] = {}
    searched(
        opened,
        Scorer(clock, cost=lambda _: 0.2),
        budget=Budget(0.0, trials=12),
        progress=lambda now: times.setdefault(now.stage, []).append(clock.now),
    ).run()
    for told in times.values():
        assert all(0.5 < b - a < 1 for a, b in pairwise(told))
    assert len(times["low-fidelity"]) > 5
    assert [p for p in times if p == "holdout"]


def test_half_a_second_after_is_not_late_enough(opened: StudySession, clock: Clock) -> None:
    times: dict[str, list[float]] = {}
    progress = lambda now: times.setdefault(now.stage, []).append(clock.now)  # noqa: E731
    searched(opened, Scorer(clock, cost=lambda _: 0.5), budget=Budget(0.0, trials=4), progress=progress).run()
    assert {b - a for a, b in pairwise(times["low-fidelity"])} == {1.0}


def test_time_without_a_promise_has_nothing_left(opened: StudySession, clock: Clock) -> None:
    left: list[float | None] = []
    searched(opened, Scorer(clock), progress=lambda now: left.append(now.remaining_s)).run()
    assert set(left) == {None}


def test_the_time_spent_is_noted_every_ten_seconds(opened: StudySession, clock: Clock) -> None:
    spent: list[tuple[float, float]] = []

    def progress(_: SearchProgress) -> None:
        noted = opened.study.user_attrs.get(f"spent_s:{opened.worker}")
        if noted is not None:
            spent.append((clock.now, noted))

    clock.now = 20.0
    searched(opened, Scorer(clock, cost=lambda _: 0.613), budget=Budget(5.0, trials=12), progress=progress).run()
    assert all(0 <= now - 5 - noted < 11.3 for now, noted in spent)
    assert max(now - 5 - noted for now, noted in spent) > 9
    assert opened.study.user_attrs[f"spent_s:{opened.worker}"] == round(clock.now - 5, 1)


# -------------------------------------------------------------------------------------------------------- quick scores


class TestBeginning:
    def test_a_new_study_begins_with_its_own_and_the_known_points(self, opened: StudySession, clock: Clock) -> None:
        scorer = Scorer(clock, parameters={"num_leaves": 9})
        searched(opened, scorer, budget=Budget(0.0, trials=1)).run()
        points = [t.params or t.system_attrs["fixed_params"] for t in opened.study.trials]
        assert points == [{"num_leaves": 9}, *proven_points(SPACE)]
        # An edited experiment's own come first in the next search; those of before are there already.
        later = Scorer(clock, parameters={"num_leaves": 10})
        searched(opened, later, budget=Budget(0.0, trials=1)).run()
        assert len(opened.study.trials) == 7
        assert opened.study.trials[6].system_attrs["fixed_params"] == {"num_leaves": 10}
        searched(opened, later, budget=Budget(0.0, trials=1)).run()
        assert len(opened.study.trials) == 7

    def test_own_parameters_outside_of_the_space_are_not_tried(self, opened: StudySession, clock: Clock) -> None:
        found = searched(opened, Scorer(clock, parameters={"num_leaves": 99}), budget=Budget(0.0, trials=2)).run()
        assert [t.params for t in opened.study.trials[:2]] == proven_points(SPACE)[:2]
        assert found.initial is None
        assert found.best is not None

    def test_without_a_time_quick_scores_are_as_quick_as_they_have_to_be(
        self, opened: StudySession, clock: Clock
    ) -> None:
        scorer = Scorer(clock, n_train=600_000, n_folds=3)
        searched(opened, scorer, budget=Budget(0.0, trials=1)).run()
        expected = low_fidelity_without_time([600_000] * 3, searches_rate=False)
        assert LowFidelity.of(opened.study.user_attrs["quick"]) == expected
        assert {c.fidelity for c in scorer.quick} == {expected.fidelity}
        assert len(scorer.calls) == 3 + 3 + 3  # no round is timed

    def test_a_rate_that_is_searched_is_not_settled(self, opened: StudySession, clock: Clock) -> None:
        space = parse_space({"learning_rate": {"low": 0.05, "high": 0.3}, "num_leaves": [8, 31]}, where="")
        scorer = Scorer(clock)
        searched(opened, scorer, space=space, budget=Budget(0.0, trials=1)).run()
        assert {c.fidelity.learning_rate for c in scorer.calls} == {None}

    def test_rounds_that_are_fixed_stay_so(self, opened: StudySession, clock: Clock) -> None:
        scorer = Scorer(clock, patience=0, rounds=300, parameters={"learning_rate": 0.05})
        searched(opened, scorer, budget=Budget(0.0, trials=1)).run()
        assert {(c.fidelity.learning_rate, c.fidelity.rounds, c.fidelity.patience) for c in scorer.quick} == {
            (0.1, 150, 0)
        }
        whole = {
            (c.fidelity.learning_rate, c.fidelity.rounds, c.fidelity.patience, c.fidelity.evaluation_interval)
            for c in scorer.full
        }
        assert whole == {(0.05, 300, 0, 300)}

    def test_without_a_rate_fixed_rounds_are_of_lightgbms_own(self, opened: StudySession, clock: Clock) -> None:
        scorer = Scorer(clock, patience=0, rounds=300)
        searched(opened, scorer, budget=Budget(0.0, trials=1)).run()
        assert {(c.fidelity.learning_rate, c.fidelity.rounds) for c in scorer.quick} == {(0.1, 300)}

    def test_what_was_settled_stays(self, opened: StudySession, clock: Clock) -> None:
        settled(opened, LowFidelity(0.2, 77, 9, 3, 0.5, (1, 4)))
        scorer = Scorer(clock)
        found = searched(opened, scorer, budget=within(1000, trials=1), n_oof_trials=1).run()
        assert {c.fidelity for c in scorer.quick} == {Fidelity(0.2, 77, 9, 3, 0.5)}
        assert {c.fold for c in scorer.quick} == {1, 4}
        said = "OOF are kept of full CV only: the study's low-fidelity scores are of 2 of 5 folds"
        assert said in found.notes
        assert said not in searched(opened, scorer, budget=within(1000, trials=1)).run().notes

    @pytest.mark.parametrize(
        ("n_train", "seconds", "per_round", "timed"),
        [
            # The first call bins; where 45 rounds take 0.3 of the time at most, 40 are timed on all rows.
            (4_000, 1000.0, 0.1, [(1, 1.0), (5, 1.0), (40, 1.0)]),
            (4_000, 1000.0, 10.0, [(1, 1.0), (5, 1.0)]),
            (80_000, 1000.0, 0.1, [(1, 0.25), (5, 0.25), (5, 1.0), (40, 1.0)]),
            (80_000, 1000.0, 10.0, [(1, 0.25), (5, 0.25)]),
            (4_000, 1.0, 0.1, [(1, 1.0), (5, 1.0)]),
        ],
    )
    def test_a_round_is_timed(
        self, opened: StudySession, clock: Clock, n_train: int, seconds: float, per_round: float, timed: list[Any]
    ) -> None:
        scorer = Scorer(
            clock,
            n_train=n_train,
            parameters={"num_leaves": 9},
            cost=lambda c: 1e-6 if c.is_watched else per_round * c.fidelity.rounds * c.fidelity.row_share,
        )
        searched(opened, scorer, budget=within(seconds, trials=1)).run()
        first = scorer.calls[: len(timed)]
        assert [(c.fidelity.rounds, c.fidelity.row_share) for c in first] == timed
        assert {
            (c.fold, c.seed, c.leaves, c.fidelity.learning_rate, c.fidelity.patience, c.fidelity.evaluation_interval)
            for c in first
        } == {(0, 1, 9, 0.1, 0, 5)}
        assert all(c.is_watched or c in scorer.full for c in scorer.calls[len(timed) :])
        left = max(0.1, 0.45 * seconds - per_round * sum(r * s for r, s in timed))
        expected = low_fidelity_within(
            left, per_round, [n_train] * 5, [1_000] * 5, all_folds=False, searches_rate=False
        )
        assert LowFidelity.of(opened.study.user_attrs["quick"]) == expected

    def test_where_timing_took_all_of_it_quick_scores_are_as_quick_as_can_be(
        self, opened: StudySession, clock: Clock
    ) -> None:
        """As though a tenth of a second were left."""
        scorer = Scorer(clock, cost=lambda c: 5.0 if c.at == 0 else 0.001 * c.fidelity.rounds)
        searched(opened, scorer, budget=within(10.0)).run()
        expected = low_fidelity_within(0.1, 0.001, [4_000] * 5, [1_000] * 5, all_folds=False, searches_rate=False)
        assert LowFidelity.of(opened.study.user_attrs["quick"]) == expected

    def test_a_round_that_takes_all_of_the_time_ends_the_search(self, opened: StudySession, clock: Clock) -> None:
        scorer = Scorer(clock, cost=lambda _: 95.0)
        found = searched(opened, scorer, budget=within(100.0)).run()
        assert len(scorer.calls) == 1
        assert (found.best, found.n_new_trials) == (None, 0)
        assert "quick" not in opened.study.user_attrs

    def test_where_folds_are_unlike_all_of_them_are_scored(
        self, opened: StudySession, clock: Clock, tmp_path: Path
    ) -> None:
        for name, more in (("plain", {}), ("unlike", {"all_folds": True}), ("kept", {"n_oof_trials": 2})):
            with open_study(tmp_path / name, KEY, greater_is_better=True) as own:
                scorer = Scorer(clock, n_valid=20_000, cost=lambda c: 0.0)
                clock.now = 0.0
                scorer.cost = lambda c: 1.0 if c.is_watched else 0.02 * c.fidelity.rounds
                searched(own, scorer, budget=within(100, trials=1), **more).run()
                assert len(own.study.user_attrs["quick"]["folds"]) == (1 if name == "plain" else 5)

    @pytest.mark.parametrize(
        ("space", "own", "leaves"),
        [
            ({"num_leaves": {"low": 4, "high": 16}}, 99, 16),
            ({"num_leaves": {"low": 4, "high": 64}}, 99, 31),
            ({"num_leaves": {"low": 4, "high": 64}}, 9, 9),
            ({"num_leaves": [5, 6]}, 99, 6),
        ],
    )
    def test_rounds_are_timed_of_a_point_of_the_space(
        self, opened: StudySession, clock: Clock, space: dict[str, Any], own: int, leaves: int
    ) -> None:
        """Its own, else LightGBM's, else one that is known to be good, else the largest."""
        scorer = Scorer(clock, parameters={"num_leaves": own})
        searched(opened, scorer, space=parse_space(space, where=""), budget=within(1000, trials=1)).run()
        assert scorer.calls[0].leaves == leaves


class TestTrials:
    def test_a_score_is_the_mean_of_the_folds_and_its_rounds_are_kept(self, opened: StudySession, clock: Clock) -> None:
        settled(opened, replace(QUICK, folds=(0, 2, 3)))
        queue(opened, 24)
        scorer = Scorer(clock, best_rounds=lambda call: 100 + call.fold)
        searched(opened, scorer, budget=Budget(0.0, trials=1)).run()
        trial = next(t for t in opened.study.trials if t.params == {"num_leaves": 24})
        assert trial.value == pytest.approx(0.86 + np.mean([0, 0.002, 0.003]))
        assert dict(trial.intermediate_values) == pytest.approx({0: 0.86, 2: 0.862, 3: 0.863})
        assert trial.user_attrs["rounds"] == [100, 102, 103]
        assert set(trial.user_attrs["curves"]) == {"0", "2", "3"}
        # Of 24 leaves to a tree.
        assert trial.user_attrs["curves"]["0"][0] == [24 * done for done in range(10, 110, 10)]
        assert {c.seed for c in scorer.quick} == {1}

    def test_folds_come_in_an_order_of_each_trials_own(self, opened: StudySession, clock: Clock) -> None:
        settled(opened)
        scorer = Scorer(clock)
        searched(opened, scorer, budget=Budget(0.0, trials=4)).run()
        orders = [tuple(c.fold for c in scorer.quick[i : i + 5]) for i in range(0, 20, 5)]
        assert orders == [tuple(np.random.default_rng(n).permutation(5)) for n in range(4)]

    @pytest.mark.parametrize("greater", [True, False])
    def test_only_the_five_best_leave_their_curves(self, tmp_path: Path, clock: Clock, greater: bool) -> None:
        sign = 1 if greater else -1
        with open_study(tmp_path, KEY, greater_is_better=greater) as opened:
            settled(opened)
            values = {10: 0.5, 11: 0.6, 12: 0.7, 13: 0.4, 14: 0.8, 15: 0.45, 16: 0.3999, 17: 0.9}
            queue(opened, *values)
            scorer = Scorer(
                clock, greater=greater, parameters={"num_leaves": 99}, value=lambda c: sign * values[c.leaves]
            )
            searched(opened, scorer, budget=Budget(0.0, trials=8)).run()
            kept = {t.params["num_leaves"]: "curves" in t.user_attrs for t in opened.study.trials}
        # The first five in any case; 15 as it takes the place of the worst of them; 16 is behind from its first fold.
        assert kept == {10: True, 11: True, 12: True, 13: True, 14: True, 15: True, 16: False, 17: True}

    def test_one_that_is_not_among_the_five_best_leaves_none(self, opened: StudySession, clock: Clock) -> None:
        for leaves in range(10, 15):
            add(opened, leaves, 0.8)
        settled(opened, replace(QUICK, folds=(0,)))
        queue(opened, 20, 21)
        scorer = Scorer(clock, parameters={"num_leaves": 99}, value=lambda c: 0.5 if c.leaves == 20 else 0.9)
        searched(opened, scorer, budget=Budget(0.0, trials=2)).run()
        kept = {t.params["num_leaves"]: "curves" in t.user_attrs for t in opened.study.trials if t.params}
        assert (kept[20], kept[21]) == (False, True)

    def test_a_trial_is_given_up_where_its_folds_are_worse_than_the_fifths(
        self, opened: StudySession, clock: Clock
    ) -> None:
        settled(opened)
        queue(opened, 10, 11, 12, 13, 14, 15, 16)

        def value(call: Call) -> float:
            # 15 is behind the fifth one by a different amount on each fold, 16 on one only.
            of_fold = {15: -0.01 - 0.001 * call.fold, 16: 0.2 if call.fold != 2 else -0.01}.get(call.leaves, 0)
            return 0.5 + 0.001 * min(call.leaves, 14) + of_fold

        scorer = Scorer(clock, value=value, parameters={"num_leaves": 99})
        scorer.curves = lambda _: ()
        original = scorer.score
        scorer.score = lambda *a, watch=None, **m: original(*a, watch=None if watch is None else lambda *_: watch(1, 0.0) and False, **m)  # type: ignore[method-assign]  # fmt: skip
        searched(opened, scorer, budget=Budget(0.0, trials=7)).run()
        folds = {n: [c.fold for c in scorer.quick if c.leaves == n] for n in (14, 15, 16)}
        assert {n: len(f) for n, f in folds.items()} == {14: 5, 15: 3, 16: 5}
        by_leaves = {t.params["num_leaves"]: t.state.name for t in opened.study.trials if t.params}
        assert by_leaves[15] == "PRUNED"
        assert by_leaves[16] == "COMPLETE"

    def test_all_folds_but_the_last_decide_whether_a_trial_goes_on(self, opened: StudySession, clock: Clock) -> None:
        """Once it has them all it is complete, however bad it is."""
        for leaves in range(10, 15):
            add(opened, leaves, 0.8)
        settled(opened, replace(QUICK, folds=(0, 1, 2)))
        queue(opened, 20)
        scorer = Scorer(clock, parameters={"num_leaves": 99}, value=lambda c: 0.5 - c.fold / 100)
        searched(opened, scorer, budget=Budget(0.0, trials=1)).run()
        assert next(t.state.name for t in opened.study.trials if t.params == {"num_leaves": 20}) == "COMPLETE"

    def test_the_own_parameters_are_scored_to_the_end(self, opened: StudySession, clock: Clock) -> None:
        for leaves in range(10, 15):
            add(opened, leaves, 0.9)
        settled(opened)
        scorer = Scorer(clock, parameters={"num_leaves": 40}, value=lambda _: 0.1)
        searched(opened, scorer, budget=Budget(0.0, trials=1)).run()
        assert len(scorer.quick) == 5
        assert opened.study.trials[5].value == pytest.approx(0.1)

    def test_a_fold_that_lies_behind_all_curves_is_given_up(self, opened: StudySession, clock: Clock) -> None:
        curves = {str(k): [[100, 2000], [0.8, 0.9]] for k in range(5)}
        for leaves in range(10, 15):
            add(opened, leaves, 0.8, curves=curves)
        settled(opened)
        queue(opened, 20, 21)
        scorer = Scorer(clock, parameters={"num_leaves": 99}, value=lambda c: 0.7 if c.leaves == 20 else 0.85)
        searched(opened, scorer, budget=Budget(0.0, trials=2)).run()
        by_leaves = {t.params["num_leaves"]: t.state.name for t in opened.study.trials if t.params}
        # 0.85 is ahead of what they had with a third of the leaves.
        assert (by_leaves[20], by_leaves[21]) == ("PRUNED", "COMPLETE")
        assert len([c for c in scorer.quick if c.leaves == 20]) == 1

    def test_leaves_that_are_not_searched_are_the_experiments(self, opened: StudySession, clock: Clock) -> None:
        settled(opened)
        space = parse_space({"lambda_l2": {"low": 0.1, "high": 10.0}}, where="")
        for own, expected in (({"num_leaves": 7}, 7), ({}, 31)):
            scorer = Scorer(clock, parameters=own)
            opened.study.enqueue_trial({"lambda_l2": 2.0 + expected / 1000})
            searched(opened, scorer, space=space, budget=Budget(0.0, trials=1)).run()
            trial = [t for t in opened.study.trials if "curves" in t.user_attrs][-1]
            assert trial.user_attrs["curves"]["0"][0][0] == 10 * expected

    def test_failures_are_said_five_by_name(self, opened: StudySession, clock: Clock) -> None:
        def value(call: Call) -> float:
            if call.leaves >= 10:
                raise MemoryError("of 9 GB") if call.leaves == 10 else TrainingError("odd")
            return 0.5

        settled(opened)
        queue(opened, 8, *range(10, 18))
        scorer = Scorer(clock, value=value, parameters={"num_leaves": 99})
        found = searched(opened, scorer, budget=Budget(0.0, trials=12)).run()
        failed = [n for n in found.notes if n.startswith("trial ")]
        assert failed[0] == "trial 1 (tried once more): no memory left: of 9 GB"
        assert failed[1] == "trial 2 (tried once more): odd"
        assert len(failed) == 5
        assert "and 6 more failures" in found.notes
        assert (found.failed, found.complete, found.n_new_trials) == (11, 1, 12)
        assert opened.study.trials[1].user_attrs["failure"] == "no memory left: of 9 GB"
        assert [t.user_attrs.get("retry_of") for t in opened.study.trials[9:12]] == [1, 2, 3]

    def test_five_failures_are_all_said(self, opened: StudySession, clock: Clock) -> None:
        def value(call: Call) -> float:
            if call.leaves >= 10:
                raise TrainingError("odd")
            return 0.5

        settled(opened)
        queue(opened, 8, *range(10, 15))
        found = searched(
            opened, Scorer(clock, value=value, parameters={"num_leaves": 99}), budget=Budget(0.0, trials=6)
        ).run()
        assert len([n for n in found.notes if "odd" in n]) == 5
        assert not [n for n in found.notes if "more failures" in n]

    def test_failures_that_are_all_there_is_end_the_search(self, opened: StudySession, clock: Clock) -> None:
        def value(_: Call) -> float:
            raise TrainingError("odd")

        settled(opened)
        queue(opened, *range(10, 30))
        scorer = Scorer(clock, value=value, parameters={"num_leaves": 99})
        with pytest.raises(TrainingError, match="all of the first 10 trials failed, the last one with: odd") as caught:
            searched(opened, scorer, budget=Budget(0.0, trials=99)).run()
        assert "wb run" in str(caught.value.hint)
        assert len(scorer.calls) == 10

    def test_ten_failures_beside_one_success_end_nothing(self, opened: StudySession, clock: Clock) -> None:
        def value(call: Call) -> float:
            if call.leaves != 8:
                raise TrainingError("odd")
            return 0.5

        settled(opened)
        queue(opened, 8, *range(10, 30))
        scorer = Scorer(clock, value=value, parameters={"num_leaves": 99})
        assert searched(opened, scorer, budget=Budget(0.0, trials=15)).run().failed == 14

    def test_what_is_stopped_has_not_failed_and_is_the_next(self, opened: StudySession, clock: Clock) -> None:
        settled(opened)
        queue(opened, 8, 9)
        scorer = Scorer(clock, parameters={"num_leaves": 99})

        def value(call: Call) -> float:
            if call.leaves == 9:
                raise KeyboardInterrupt
            return 0.5

        scorer.value = value
        search = searched(opened, scorer, budget=Budget(0.0, trials=5))
        with pytest.raises(KeyboardInterrupt):
            search.run()
        stopped, following = opened.study.trials[1:]
        assert stopped.user_attrs == {**stopped.user_attrs, "stopped": True}
        assert (stopped.state.name, following.state.name) == ("FAIL", "WAITING")
        assert following.system_attrs["fixed_params"] == {"num_leaves": 9}
        assert (search.result().failed, search.result().complete, search.result().n_new_trials) == (0, 1, 1)


# --------------------------------------------------------------------------------------------------------- full scores


def full(opened: StudySession, number: int) -> dict[str, Any]:
    return dict(opened.study.user_attrs.get(f"full:{number}", {}))


def as_scored(
    opened: StudySession, number: int, value: float, *, seconds: float = 5.0, rate: float | None = 0.02, **more: Any
) -> None:
    """Leave the full score that an earlier search has made of a trial."""
    known = {"scores": [value] * 5, "rounds": [50], "rate": rate, "cut": None, "seconds": seconds}
    opened.study.set_user_attr(f"full:{number}", known | more)


def raced(opened: StudySession, scorer: Scorer, *, seconds: float = 1e6, begun: float = 0.0, **more: Any) -> Any:
    """Run a search that makes no quick score: its trials are those of an earlier one."""
    if "quick" not in opened.study.user_attrs:
        settled(opened)
    budget = Budget(begun, begun + seconds if seconds else None, trials=0)
    return searched(opened, scorer, budget=budget, **more).run()


class TestRace:
    def test_a_full_score_is_kept_with_all_that_it_is_of(self, opened: StudySession, clock: Clock) -> None:
        number = add(opened, 24, 0.8)
        scorer = Scorer(
            clock, best_rounds=lambda c: 100 + 3 * c.fold, cost=lambda c: 1.00011, parameters={"learning_rate": 0.07}
        )
        found = raced(opened, scorer)
        kept = full(opened, number)
        assert kept == {
            "scores": pytest.approx([0.86, 0.861, 0.862, 0.863, 0.864]),
            "rounds": [106],
            "rate": 0.07,
            "cut": None,
            "seconds": 5.001,
        }
        assert [c.fold for c in scorer.full] == [0, 1, 2, 3, 4]
        assert {(c.seed, c.keep_oof) for c in scorer.full} == {(1, False)}
        (best,) = found.ranked
        assert (best.number, best.parameters, best.low_fidelity) == (number, {"num_leaves": 24}, 0.8)
        assert (best.rounds, best.learning_rate, best.rounds_at_time_limit) == ((106,), 0.07, None)

    def test_a_score_of_one_number_of_rounds_is_the_curves_best(self, opened: StudySession, clock: Clock) -> None:
        number = add(opened, 24, 0.8)
        scorer = Scorer(
            clock, per_fold=False, curves=lambda c: ({10: 0.5, 20: 0.7 + c.fold / 100, 30: 0.6},), greater=True
        )
        other = Scorer(clock)
        raced(opened, scorer, other=lambda: other)
        assert full(opened, number)["scores"] == pytest.approx([0.7, 0.71, 0.72, 0.73, 0.74])
        assert full(opened, number)["rounds"] == [20]
        assert {c.rounds for c in other.calls} == {(20,)}

    @pytest.mark.parametrize(
        ("parameters", "patience", "searches_rate", "n_train", "expected"),
        [
            ({"learning_rate": 0.03}, 50, False, 99_999, Fidelity(0.03, 1000, 50, evaluation_interval=1)),
            ({"learning_rate": 0.03}, 50, False, 100_000, Fidelity(0.03, 1000, 50, evaluation_interval=5)),
            ({}, 50, False, 4_000, Fidelity(0.02, 15_000, 150)),
            ({"learning_rate": 0.03}, 0, False, 4_000, Fidelity(0.03, 1000, 0, evaluation_interval=1000)),
            ({}, 0, False, 4_000, Fidelity(None, 1000, 0, evaluation_interval=1000)),
            ({"learning_rate": 0.03}, 50, True, 4_000, Fidelity(None, 1000, 50)),
        ],
    )
    def test_how_thoroughly(
        self,
        opened: StudySession,
        clock: Clock,
        parameters: dict[str, Any],
        patience: int,
        searches_rate: bool,
        n_train: int,
        expected: Fidelity,
    ) -> None:
        add(opened, 24, 0.8)
        scorer = Scorer(clock, parameters=parameters, patience=patience, n_train=n_train)
        rate = {"learning_rate": {"low": 0.01, "high": 0.3}} if searches_rate else {}
        space = parse_space({"num_leaves": {"low": 4, "high": 64}} | rate, where="")
        raced(opened, scorer, space=space)
        assert {replace(c.fidelity, seconds=math.inf) for c in scorer.full} == {expected}

    def test_the_last_folds_rows_tell_how_often_it_is_looked_at(self, opened: StudySession, clock: Clock) -> None:
        """Folds in time grow."""
        add(opened, 24, 0.8)
        scorer = Scorer(clock, n_train=60_000, grows=10_000)
        raced(opened, scorer)
        assert {c.fidelity.evaluation_interval for c in scorer.full} == {5}

    @pytest.mark.parametrize(("best", "kept"), [(0, 1), (1, 1), (2, 2)])
    def test_a_model_has_one_round_at_least(self, opened: StudySession, clock: Clock, best: int, kept: int) -> None:
        number = add(opened, 24, 0.8)
        raced(opened, Scorer(clock, best_rounds=lambda _: best))
        assert full(opened, number)["rounds"] == [kept]

    def test_what_the_time_ended_first_is_as_far_as_all_are_trained(self, opened: StudySession, clock: Clock) -> None:
        number = add(opened, 24, 0.8)
        cuts = {1: 90, 3: 60}
        scorer = Scorer(clock, cut=lambda c: cuts.get(c.fold), parameters={"learning_rate": 0.1})
        raced(opened, scorer, seconds=0)
        assert [c.fidelity.rounds for c in scorer.full] == [1000, 1000, 90, 90, 60]
        assert full(opened, number)["cut"] == 60

    def test_the_rate_is_settled_once_and_lowered_by_two_steps(self, opened: StudySession, clock: Clock) -> None:
        """Five folds of a second at a rate of 0.1, two and a half times and a fifth for patience."""
        number = add(opened, 24, 0.8, seconds=5.0)
        for times, expected in ((37.0, 0.05), (33.0, 0.05), (60.0, 0.05), (90.0, 0.02), (20.0, 0.02)):
            clock.now = 50.0
            # Of so many seconds 0.82 are for full scores.
            raced(opened, Scorer(clock, cost=lambda _: 0.01), seconds=times / 0.82, begun=50.0)
            assert opened.study.user_attrs["full_rate"] == expected, times
            assert full(opened, number)["rate"] == expected

    def test_without_a_time_the_rate_is_a_middling_one(self, opened: StudySession, clock: Clock) -> None:
        add(opened, 24, 0.8)
        scorer = Scorer(clock)
        raced(opened, scorer, seconds=0)
        assert {c.fidelity.learning_rate for c in scorer.full} == {0.03}

    def test_the_own_parameters_race_behind_the_two_best(self, opened: StudySession, clock: Clock) -> None:
        for leaves in (12, 10, 13, 11):
            add(opened, leaves, 0.9 - leaves / 100)
        own = add(opened, 31, 0.3)
        scorer = Scorer(clock, value=lambda _: 0.5, cost=lambda _: 1e-3)
        raced(opened, scorer)
        first = [c.leaves for c in scorer.full if c.fold == 0]
        assert first == [10, 11, 31, 12, 13]
        assert full(opened, own)["scores"] == [0.5] * 5

    @pytest.mark.parametrize(("n_trials", "expected"), [(3, 3), (9, 4), (49, 5), (59, 6)])
    def test_by_trials_a_tenth_of_them_race(
        self, opened: StudySession, clock: Clock, n_trials: int, expected: int
    ) -> None:
        """Three beside the experiment's own at the least."""
        for n in range(n_trials):
            add(opened, 4 + n, 0.8 - n / 100)
        scorer = Scorer(clock, value=lambda _: 0.5, parameters={"num_leaves": 99})
        raced(opened, scorer, seconds=0)
        assert len({c.leaves for c in scorer.full}) == expected

    def test_twelve_race_at_a_time_and_the_next_ones_follow(self, opened: StudySession, clock: Clock) -> None:
        for n in range(14):
            add(opened, 10 + n, 0.8 - n / 100)
        scorer = Scorer(clock, value=lambda _: 0.5, parameters={"num_leaves": 99})
        raced(opened, scorer)
        order = [(c.fold, c.leaves) for c in scorer.full]
        first = [(fold, leaves) for fold in range(5) for leaves in range(10, 22)]
        assert order[:60] == first
        assert order[60:] == [(fold, leaves) for fold in range(5) for leaves in (22, 23)]

    def test_folds_of_quick_scores_come_first(self, opened: StudySession, clock: Clock) -> None:
        settled(opened, replace(QUICK, folds=(2, 4)))
        add(opened, 24, 0.8)
        scorer = Scorer(clock)
        raced(opened, scorer)
        assert [c.fold for c in scorer.full] == [2, 4, 0, 1, 3]

    def test_who_is_clearly_worse_is_dropped_and_stays_so(self, opened: StudySession, clock: Clock) -> None:
        numbers = {leaves: add(opened, leaves, 0.8) for leaves in (20, 40, 31)}
        scorer = Scorer(clock)
        raced(opened, scorer)
        folds = {n: [c.fold for c in scorer.full if c.leaves == n] for n in numbers}
        assert {n: len(f) for n, f in folds.items()} == {20: 5, 40: 2, 31: 5}
        assert full(opened, numbers[40]) == {"dropped_after": 2}
        again = Scorer(clock)
        raced(opened, again)
        assert not again.full

    def test_one_is_dropped_for_being_worse_than_an_earlier_full_score(
        self, opened: StudySession, clock: Clock
    ) -> None:
        as_scored(opened, add(opened, 20, 0.8), 0.95)
        worse = add(opened, 21, 0.7)
        scorer = Scorer(clock, parameters={"num_leaves": 99})
        raced(opened, scorer)
        assert full(opened, worse) == {"dropped_after": 2}

    def test_a_dropped_one_keeps_the_score_that_it_had(self, opened: StudySession, clock: Clock) -> None:
        best, worse = add(opened, 20, 0.8), add(opened, 40, 0.7)
        for number in (best, worse):
            as_scored(opened, number, 0.6, rate=0.1)
        found = raced(opened, Scorer(clock, parameters={"num_leaves": 99}))
        assert full(opened, worse)["dropped_after"] == 2
        assert full(opened, worse)["scores"] == [0.6] * 5
        assert full(opened, best)["rate"] == 0.02
        assert [s.number for s in found.ranked] == [best, worse]

    @pytest.mark.parametrize(
        ("known", "again"),
        [
            (None, True),
            ({"failed": 1}, True),
            ({"failed": 2}, False),
            ({"dropped_after": 3}, False),
            ({"rate": 0.05}, True),
            ({"rate": 0.02}, False),
            ({"rate": 0.01}, False),
            ({"rate": None}, False),
            ({"rate": 0.02, "cut": 70}, True),
            # A fold may now take some 65,600 s, and twice of what it took is enough.
            ({"rate": 0.02, "cut": 70, "seconds": 5 * 32_700.0}, True),
            ({"rate": 0.02, "cut": 70, "seconds": 5 * 32_900.0}, False),
        ],
    )
    def test_who_wants_a_full_score(
        self, opened: StudySession, clock: Clock, known: dict[str, Any] | None, again: bool
    ) -> None:
        number = add(opened, 20, 0.8, seconds=0.0)
        if known is not None and "rate" in known:
            as_scored(opened, number, 0.6, **known)
        elif known is not None:
            opened.study.set_user_attr(f"full:{number}", known)
        scorer = Scorer(clock, parameters={"num_leaves": 99})
        raced(opened, scorer)
        assert bool(scorer.full) == again

    def test_a_failure_is_counted_and_said(self, opened: StudySession, clock: Clock) -> None:
        number = add(opened, 20, 0.8)
        as_scored(opened, number, 0.6, rate=0.1)

        def value(call: Call) -> float:
            if call.fold == 1 and not call.is_watched:
                raise MemoryError("none")
            return 0.5

        for times, how in ((1, "tried once more"), (2, "failed twice")):
            found = raced(opened, Scorer(clock, value=value, parameters={"num_leaves": 99}), seconds=0)
            assert f"trial {number}, full CV ({how}): no memory left: none" in found.notes
            assert full(opened, number)["failed"] == times
            assert full(opened, number)["scores"] == [0.6] * 5
        assert not Scorer(clock).full

    def test_one_that_fails_leaves_the_race_to_the_others(self, opened: StudySession, clock: Clock) -> None:
        odd, fine = add(opened, 20, 0.8), add(opened, 21, 0.7)

        def value(call: Call) -> float:
            if call.leaves == 20 and call.fold == 3:
                raise TrainingError("odd")
            return 0.5

        raced(opened, Scorer(clock, value=value, parameters={"num_leaves": 99}), seconds=0)
        assert full(opened, odd) == {"failed": 1}
        assert full(opened, fine)["scores"] == [0.5] * 5

    def test_folds_that_an_earlier_race_left_are_not_made_again(self, opened: StudySession, clock: Clock) -> None:
        number = add(opened, 24, 0.8)
        left = {"0": [0.4, [77], 2.0, None, []], "3": [0.5, [79], 2.0, 60, [[[1, 0.25]]]]}
        opened.study.set_user_attr(f"folds:{number}@0.07", left)
        scorer = Scorer(clock, parameters={"learning_rate": 0.07})
        raced(opened, scorer, seconds=0)
        # The one that was cut is made again where there is more time.
        assert [c.fold for c in scorer.full] == [1, 2, 3, 4]
        assert full(opened, number)["scores"][0] == 0.4
        kept = opened.study.user_attrs[f"folds:{number}@0.07"]
        assert kept["0"] == left["0"]
        assert kept["3"] == [pytest.approx(0.863), [100], 1.0, None, []]

    def test_what_was_cut_stays_where_there_is_no_more_time(self, opened: StudySession, clock: Clock) -> None:
        number = add(opened, 24, 0.8)
        # A first fold may take 0.82 / 12.5 of the time: 65.6 s.
        opened.study.set_user_attr(f"folds:{number}@0.07", {"0": [0.4, [77], 32.9, 60, []]})
        scorer = Scorer(clock, parameters={"learning_rate": 0.07})
        raced(opened, scorer, seconds=1000.0)
        assert [c.fold for c in scorer.full] == [1, 2, 3, 4]
        assert {c.fidelity.rounds for c in scorer.full} == {60}
        assert full(opened, number)["cut"] == 60
        later = opened.study.user_attrs[f"folds:{number}@0.07"]
        assert [later[str(k)][3] for k in range(5)] == [60] * 5

    def test_a_rate_that_is_searched_names_no_rate(self, opened: StudySession, clock: Clock) -> None:
        number = add(opened, 24, 0.8)
        space = parse_space({"num_leaves": {"low": 4, "high": 64}, "learning_rate": [0.1]}, where="")
        raced(opened, Scorer(clock), space=space)
        assert set(opened.study.user_attrs[f"folds:{number}"]) == set("01234")
        assert full(opened, number)["rate"] is None

    def test_a_quick_score_without_early_stopping_is_a_full_one(self, opened: StudySession, clock: Clock) -> None:
        settled(opened, LowFidelity(0.1, 300, 0, 300, 1.0, (1, 3)))
        number = add(opened, 24, 0.8, folds=4, seconds=6.0, rounds=[40, 60])
        scorer = Scorer(clock, patience=0, rounds=300, parameters={"learning_rate": 0.1})
        raced(opened, scorer)
        assert [c.fold for c in scorer.full] == [0, 2, 4]
        assert full(opened, number)["scores"] == pytest.approx([0.86, 0.8, 0.862, 0.8, 0.864])
        assert full(opened, number)["rounds"] == [80]
        assert full(opened, number)["seconds"] == pytest.approx(3 + 2 * 3.0)

    @pytest.mark.parametrize(
        "quick",
        [
            LowFidelity(0.1, 300, 30, 300, 1.0, (1, 3)),
            LowFidelity(0.1, 300, 0, 300, 0.5, (1, 3)),
            LowFidelity(0.2, 300, 0, 300, 1.0, (1, 3)),
        ],
    )
    def test_a_quicker_one_is_not(self, opened: StudySession, clock: Clock, quick: LowFidelity) -> None:
        settled(opened, quick)
        add(opened, 24, 0.8, folds=4)
        scorer = Scorer(clock, patience=quick.patience, rounds=300, parameters={"learning_rate": 0.1})
        raced(opened, scorer)
        assert sorted(c.fold for c in scorer.full) == [0, 1, 2, 3, 4]

    def test_the_first_fold_has_four_tenths_of_the_time_and_two_of_the_race(
        self, opened: StudySession, clock: Clock
    ) -> None:
        for n in range(8):
            add(opened, 10 + n, 0.8 - n / 100)
        clock.now = 5_000.0
        scorer = Scorer(clock, value=lambda _: 0.5, cost=lambda _: 100.0, parameters={"num_leaves": 99})
        raced(opened, scorer, seconds=1000.0, begun=5_000.0)
        # Of 820 s: those that begin before 328 s are over.
        assert [c.leaves for c in scorer.full if c.fold == 0] == [10, 11, 12, 13]
        slow = Scorer(clock, value=lambda _: 0.5, cost=lambda _: 400.0, parameters={"num_leaves": 99})
        clock.now = 5_000.0
        for name in list(opened.study.user_attrs):
            if name.startswith(("folds:", "full:")):
                opened.study.set_user_attr(name, {})
        raced(opened, slow, seconds=1000.0, begun=5_000.0)
        assert [c.leaves for c in slow.full][:2] == [10, 11]
        assert len(slow.full) == 3
        assert slow.full[2].fold == 1

    def test_limits_of_a_fold(self, opened: StudySession, clock: Clock) -> None:
        """The first may take its share of two and a half sets; the last in the race has to get through."""
        add(opened, 24, 0.8)
        scorer = Scorer(clock, cost=lambda _: 10.0, parameters={"num_leaves": 99, "learning_rate": 0.1})
        clock.now = 5_000.0
        raced(opened, scorer, seconds=1000.0, begun=5_000.0)
        limits = [c.fidelity.seconds for c in scorer.full[:5]]
        assert limits == pytest.approx([820 / 12.5, *(0.95 * (820 - 10 * k) / (5 - k) for k in range(1, 5))])

    def test_others_in_the_race_have_no_limit_and_large_folds_a_longer_first(
        self, opened: StudySession, clock: Clock
    ) -> None:
        for n in range(2):
            add(opened, 20 + n, 0.8)
        scorer = Scorer(clock, n_valid=20_000, value=lambda _: 0.5, parameters={"num_leaves": 99, "learning_rate": 0.1})
        raced(opened, scorer, seconds=1000.0)
        limits = [c.fidelity.seconds for c in scorer.full]
        assert limits == pytest.approx([820 / 6.5] * 2 + [math.inf] * 8)

    def test_there_is_a_race_where_a_median_score_fits(self, opened: StudySession, clock: Clock) -> None:
        """And a fifth more; else what is left goes to the other folds."""
        for waits, seconds in ((True, 680.0), (False, 690.0)):
            for n, took in enumerate((1.0, seconds, 5000.0)):
                as_scored(opened, add(opened, 40 + n, 0.8), 0.95, seconds=took)
            new = add(opened, 20, 0.9)
            clock.now = 5_000.0
            scorer = Scorer(clock, parameters={"num_leaves": 99, "learning_rate": 0.02}, value=lambda _: 0.95)
            raced(opened, scorer, seconds=1000.0, begun=5_000.0)
            assert bool(full(opened, new)) == waits
            for name in [n for n in opened.study.user_attrs if n.startswith(("full:", "folds:"))]:
                opened.study.set_user_attr(name, {"failed": 2})

    def test_as_many_go_on_as_there_is_time_for(self, opened: StudySession, clock: Clock) -> None:
        """After a fold of 20 s of each of six, 700 s are left: for four folds of eight."""
        for n in range(6):
            add(opened, 10 + n, 0.8 - n / 100)
        cost = {0: 60.0, 1: 50.0}
        scorer = Scorer(
            clock,
            value=lambda c: 0.5 + c.leaves / 1e6,
            cost=lambda c: cost.get(c.fold, 50.0),
            parameters={"num_leaves": 99},
        )
        raced(opened, scorer, seconds=1000.0)
        of_fold = [[c.leaves for c in scorer.full if c.fold == k] for k in range(5)]
        # 6 * 60 = 360 s; (820 - 360) / (4 * 60) = 1.9: one goes on, the best of them.
        assert [len(f) for f in of_fold] == [6, 1, 1, 1, 1]
        assert of_fold[1] == [15]

    def test_a_race_of_a_moment_is_one_too(self, opened: StudySession, clock: Clock) -> None:
        for n in range(6):
            add(opened, 10 + n, 0.8 - n / 100)
        scorer = Scorer(clock, value=lambda _: 0.5, cost=lambda _: 0.02, parameters={"num_leaves": 99})
        raced(opened, scorer, seconds=1.0)
        assert len([c for c in scorer.full if c.fold == 1]) == 6

    def test_a_new_full_score_makes_those_that_were_of_it_again(self, opened: StudySession, clock: Clock) -> None:
        number = add(opened, 24, 0.8)
        as_scored(opened, number, 0.6, cut=7)
        opened.study.set_user_attr(f"second:{number}", {"4": 0.1})
        opened.study.set_user_attr(f"held_out:{number}", 0.1)
        search = searched(
            opened, Scorer(clock), budget=within(1e6, trials=0), progress=lambda p: _ended(p.stage == "repeated CV")
        )
        settled(opened)
        with suppress(KeyboardInterrupt):
            search.run()
        assert opened.study.user_attrs[f"second:{number}"] == {}
        assert opened.study.user_attrs[f"held_out:{number}"] is None
        assert full(opened, number)["cut"] is None

    def test_workers_share_out_what_waits(self, opened: StudySession, clock: Clock) -> None:
        for n in range(5):
            add(opened, 10 + n, 0.8 - n / 100)
        settled(opened)
        scorer = Scorer(clock, value=lambda _: 0.5, parameters={"num_leaves": 99})
        search = searched(opened, scorer, budget=within(1e6, trials=0))
        place = opened.position
        opened.position = lambda: (1, 2)  # type: ignore[method-assign]
        try:
            search.run()
        finally:
            opened.position = place  # type: ignore[method-assign]
        # Of five those at places 1 and 3; then what waits is dealt anew, and the first is left to the other.
        assert [c.leaves for c in scorer.full if c.fold == 0] == [11, 13, 12, 14]


def _ended(is_time: bool) -> None:
    if is_time:
        raise KeyboardInterrupt


# ----------------------------------------------------------------------------------- other folds and rows held out


class TestSecondScores:
    def scored(self, opened: StudySession, n: int = 5, **more: Any) -> list[int]:
        numbers = [add(opened, 10 + k, 0.9 - k / 100) for k in range(n)]
        for k, number in enumerate(numbers):
            as_scored(opened, number, 0.9 - k / 100, **more)
        return numbers

    def second(self, opened: StudySession, number: int) -> dict[str, float]:
        return dict(opened.study.user_attrs.get(f"second:{number}", {}))

    def test_the_three_best_and_the_own_are_scored_on_other_folds(self, opened: StudySession, clock: Clock) -> None:
        numbers = self.scored(opened)
        other = Scorer(clock, n_folds=6)
        scorer = Scorer(clock, parameters={"num_leaves": 14, "learning_rate": 0.02})
        found = raced(opened, scorer, seconds=0, other=lambda: other)
        assert [c.leaves for c in other.calls] == [n for n in (10, 11, 12, 14) for _ in range(6)]
        assert [c.fold for c in other.calls[:6]] == [5, 4, 3, 2, 1, 0]
        assert {(c.seed, c.rounds, c.fidelity.learning_rate) for c in other.calls} == {(1, (50,), 0.02)}
        assert set(self.second(opened, numbers[0])) == set("012345")
        assert self.second(opened, numbers[3]) == {}
        assert not [n for n in found.notes if "folds" in n]
        assert opened.study.user_attrs["second_folds"] == 6
        assert other.each_round is not Scorer(clock).each_round

    def test_the_own_among_the_best_is_scored_once(self, opened: StudySession, clock: Clock) -> None:
        self.scored(opened)
        other = Scorer(clock)
        raced(
            opened, Scorer(clock, parameters={"num_leaves": 11, "learning_rate": 0.02}), seconds=0, other=lambda: other
        )
        assert [c.leaves for c in other.calls] == [n for n in (10, 11, 12) for _ in range(5)]

    def test_what_was_scored_before_is_not_again(self, opened: StudySession, clock: Clock) -> None:
        numbers = self.scored(opened)
        opened.study.set_user_attr(f"second:{numbers[0]}", dict.fromkeys("01234", 0.5))
        opened.study.set_user_attr(f"second:{numbers[1]}", {"4": 0.5, "2": 0.4})
        other = Scorer(clock)
        raced(
            opened, Scorer(clock, parameters={"num_leaves": 99, "learning_rate": 0.02}), seconds=0, other=lambda: other
        )
        assert [(c.leaves, c.fold) for c in other.calls] == [(11, 3), (11, 1), (11, 0), *((12, k) for k in (4, 3, 2, 1, 0))]  # fmt: skip
        assert self.second(opened, numbers[1])["2"] == 0.4

    def test_without_other_folds_it_is_another_seed(self, opened: StudySession, clock: Clock) -> None:
        self.scored(opened, 1)
        scorer = Scorer(clock, parameters={"num_leaves": 99, "learning_rate": 0.02})
        said = "repeated CV uses the same folds with another seed of the model"
        assert f"there are no other folds: {said}" in raced(opened, scorer, seconds=0).notes
        assert {(c.seed, c.rounds) for c in scorer.calls} == {(2, (50,))}

        def impossible() -> Scorer:
            raise DataError("too few rows")

        (number,) = [n for n in opened.study.user_attrs if n.startswith("second:")]
        opened.study.set_user_attr(number, {})
        found = raced(opened, scorer, seconds=0, other=impossible)
        assert f"other folds can't be made (too few rows): {said}" in found.notes

    def test_a_model_without_early_stopping_has_its_own_rounds(self, opened: StudySession, clock: Clock) -> None:
        self.scored(opened, 1, cut=33)
        other = Scorer(clock)
        scorer = Scorer(clock, patience=0, rounds=200, parameters={"num_leaves": 99, "learning_rate": 0.02})
        held = Scorer(clock)
        # What was cut is made again only where there is time for it.
        as_scored(opened, 0, 0.9, cut=33, seconds=1e9)
        raced(opened, scorer, other=lambda: other, held_out=lambda: held)
        assert {(c.rounds, c.fidelity.rounds, c.fidelity.patience) for c in other.calls} == {(None, 33, 0)}
        assert {(c.rounds, c.fidelity.rounds, c.fidelity.patience) for c in held.calls} == {(None, 33, 0)}

    def test_a_failure_is_said_and_leaves_the_others(self, opened: StudySession, clock: Clock) -> None:
        numbers = self.scored(opened, 2)

        def value(call: Call) -> float:
            if call.leaves == 10:
                raise TrainingError("odd")
            return 0.5

        other = Scorer(clock, value=value)
        found = raced(
            opened, Scorer(clock, parameters={"num_leaves": 99, "learning_rate": 0.02}), seconds=0, other=lambda: other
        )
        assert f"trial {numbers[0]}, repeated CV: odd" in found.notes
        assert len(self.second(opened, numbers[1])) == 5

    @pytest.mark.parametrize(
        ("each", "n_chosen"), [(5.0, 12), (500.0, 12), (13_000.0, 12), (20_000.0, 8), (60_000.0, 3), (1e6, 3)]
    )
    def test_more_of_them_where_the_time_allows(
        self, opened: StudySession, clock: Clock, each: float, n_chosen: int
    ) -> None:
        """Of a tenth of the time that is not needed elsewhere."""
        self.scored(opened, 15, seconds=each)
        other = Scorer(clock)
        clock.now = 740_000.0
        scorer = Scorer(clock, parameters={"num_leaves": 99, "learning_rate": 0.02})
        raced(opened, scorer, seconds=1e6, other=lambda: other)
        # 200,000 s are left until 94 %; nine tenths of them are for all, less one.
        fitting = 180_000 / each - 1
        assert int(max(3, min(12, fitting))) == n_chosen
        assert len({c.leaves for c in other.calls}) == {20_000.0: 8, 60_000.0: 3, 1e6: 1}.get(each, n_chosen)

    def test_too_little_time_is_said_and_fewer_folds_are_not_scored_later(
        self, opened: StudySession, clock: Clock
    ) -> None:
        self.scored(opened, 3, seconds=500.0)
        other = Scorer(clock)
        scorer = Scorer(clock, parameters={"num_leaves": 99, "learning_rate": 0.02})
        clock.now = 9_000.0  # 400 s are left: nine tenths are enough for one of three folds of 100 s each
        found = raced(opened, scorer, seconds=10_000.0, other=lambda: other)
        assert {c.fold for c in other.calls} == {4}
        assert len(other.calls) == 3
        assert "the time was too short for all folds of repeated CV: 1 of 5 are scored" in found.notes
        assert opened.study.user_attrs["second_folds"] == 1
        more = Scorer(clock)
        clock.now = 9_000.0
        opened.study.set_user_attr("second_folds", 2)
        raced(opened, scorer, seconds=10_000.0, other=lambda: more)
        assert {c.fold for c in more.calls} == {3}

    def test_one_that_has_as_many_takes_no_place_of_another(self, opened: StudySession, clock: Clock) -> None:
        numbers = self.scored(opened, 3, seconds=500.0)
        opened.study.set_user_attr(f"second:{numbers[0]}", {"4": 0.5})
        other = Scorer(clock)
        clock.now = 9_300.0  # 100 s are left, of which one fold of one of them takes nine tenths and more
        scorer = Scorer(clock, parameters={"num_leaves": 99, "learning_rate": 0.02})
        raced(opened, scorer, seconds=10_000.0, other=lambda: other)
        assert [(c.leaves, c.fold) for c in other.calls] == [(11, 4)]


class TestHeldOut:
    def scored(self, opened: StudySession) -> tuple[int, int]:
        best, own = add(opened, 20, 0.9), add(opened, 31, 0.8)
        for number, value in ((best, 0.9), (own, 0.8)):
            as_scored(opened, number, value)
            opened.study.set_user_attr(f"second:{number}", dict.fromkeys("01234", value))
        return best, own

    def test_the_best_and_the_own_are_scored_on_the_last_fold(self, opened: StudySession, clock: Clock) -> None:
        best, own = self.scored(opened)
        held = Scorer(clock, n_folds=7)
        found = raced(opened, Scorer(clock, parameters={"learning_rate": 0.02}), seconds=0, held_out=lambda: held)
        assert [(c.leaves, c.fold, c.seed, c.rounds) for c in held.calls] == [(20, 6, 1, (50,)), (31, 6, 1, (50,))]
        assert opened.study.user_attrs[f"held_out:{best}"] == pytest.approx(0.906)
        assert (found.best.holdout, found.initial.holdout) == pytest.approx((0.906, 0.796))
        assert held.each_round is not Scorer(clock).each_round  # the stage's time ends it

        def not_again() -> Scorer:
            raise AssertionError

        raced(opened, Scorer(clock, parameters={"learning_rate": 0.02}), seconds=0, held_out=not_again)
        opened.study.set_user_attr(f"held_out:{own}", None)
        raced(opened, Scorer(clock, parameters={"learning_rate": 0.02}), seconds=0, held_out=lambda: held)
        assert [c.leaves for c in held.calls[2:]] == [31]

    def test_the_own_as_the_best_is_scored_once(self, opened: StudySession, clock: Clock) -> None:
        self.scored(opened)
        held = Scorer(clock)
        scorer = Scorer(clock, parameters={"learning_rate": 0.02, "num_leaves": 20})
        raced(opened, scorer, seconds=0, held_out=lambda: held)
        assert [c.leaves for c in held.calls] == [20]

    def test_no_memory_for_them_is_said(self, opened: StudySession, clock: Clock) -> None:
        self.scored(opened)

        def too_large() -> Scorer:
            raise MemoryLimitError("9 GB are needed")

        found = raced(opened, Scorer(clock, parameters={"learning_rate": 0.02}), seconds=0, held_out=too_large)
        assert "the holdout is not scored: 9 GB are needed" in found.notes

    def test_a_failure_is_said(self, opened: StudySession, clock: Clock) -> None:
        best, own = self.scored(opened)

        def value(call: Call) -> float:
            if call.leaves == 20:
                raise TrainingError("odd")
            return 0.5

        held = Scorer(clock, value=value)
        found = raced(opened, Scorer(clock, parameters={"learning_rate": 0.02}), seconds=0, held_out=lambda: held)
        assert f"trial {best}, holdout: odd" in found.notes
        assert opened.study.user_attrs[f"held_out:{own}"] == 0.5


# ------------------------------------------------------------------------------------------------------------- results


class TestResult:
    def result(self, opened: StudySession, clock: Clock, **more: Any) -> Any:
        settled(opened, more.pop("quick", QUICK))
        clock.now += 7.0
        return searched(opened, Scorer(clock, **more), budget=Budget(3.0)).result()

    def test_an_empty_study_has_found_nothing(self, opened: StudySession, clock: Clock) -> None:
        found = self.result(opened, clock)
        assert (found.best, found.initial, found.ranked, found.notes) == (None, None, (), ())
        assert (found.complete, found.pruned, found.failed, found.n_new_trials, found.seconds) == (0, 0, 0, 0, 4.0)

    def test_the_best_by_both_scores_is_found(self, opened: StudySession, clock: Clock) -> None:
        for leaves, first, second in ((10, 0.9, None), (11, 0.8, 0.6), (12, 0.7, 0.8)):
            number = add(opened, leaves, 0.5)
            as_scored(opened, number, first)
            if second is not None:
                opened.study.set_user_attr(f"second:{number}", dict.fromkeys("01234", second))
        found = self.result(opened, clock, parameters={"num_leaves": 11})
        assert [s.parameters["num_leaves"] for s in found.ranked] == [10, 11, 12]
        assert found.best.parameters == {"num_leaves": 12}
        assert found.initial.parameters == {"num_leaves": 11}
        assert not found.notes

    def test_without_full_scores_the_best_quick_one_is_taken(self, opened: StudySession, clock: Clock) -> None:
        add(opened, 31, 0.5)
        add(opened, 20, 0.6)
        found = self.result(opened, clock, quick=replace(QUICK, folds=(1, 3)))
        assert (found.best.parameters, found.initial.parameters) == ({"num_leaves": 20}, {"num_leaves": 31})
        assert found.ranked == (found.best,)
        assert (found.best.low_fidelity, found.best.full_cv, found.best.learning_rate) == (0.6, (0.6,) * 5, None)
        said = "the time was too short for full CV: the best is chosen by low-fidelity scores, of 2 of 5 folds"
        assert said in found.notes

    def test_an_equal_quick_score_keeps_the_own_parameters(self, opened: StudySession, clock: Clock) -> None:
        add(opened, 20, 0.5)
        own = add(opened, 31, 0.5)
        found = self.result(opened, clock)
        assert found.best == found.initial
        assert found.best.number == own
        assert found.ranked == (found.best,)
        assert len(found.notes) == 1

    def test_a_quick_score_is_told_fold_by_fold(self, opened: StudySession, clock: Clock) -> None:
        settled(opened)
        queue(opened, 24)
        search = searched(
            opened,
            Scorer(clock, parameters={"num_leaves": 99}),
            budget=Budget(0.0, trials=1),
            progress=lambda p: _ended(p.stage == "full CV"),
        )
        with suppress(KeyboardInterrupt):
            search.run()
        assert list(opened.study.trials[0].intermediate_values) != [0, 1, 2, 3, 4]
        best = search.result().best
        assert best is not None
        assert best.full_cv == pytest.approx((0.86, 0.861, 0.862, 0.863, 0.864))

    def test_own_parameters_without_any_score_leave_nothing_to_compare(
        self, opened: StudySession, clock: Clock
    ) -> None:
        add(opened, 20, 0.5)
        found = self.result(opened, clock)
        assert (found.best, found.ranked) == (None, ())
        # Where they are no point of the space, the best is found.
        found = self.result(opened, clock, parameters={"num_leaves": 99})
        assert found.best.parameters == {"num_leaves": 20}
        assert found.initial is None

    @pytest.mark.parametrize(("own", "is_own"), [(0.6, True), (0.5, True), (0.4, False)])
    def test_own_parameters_without_a_full_score_are_held_against_the_best(
        self, opened: StudySession, clock: Clock, own: float, is_own: bool
    ) -> None:
        best = add(opened, 20, 0.5)
        as_scored(opened, best, 0.9)
        add(opened, 31, own)
        found = self.result(opened, clock)
        said = f"{own:.5f} at low fidelity, against 0.50000 of trial {best}"
        assert any(said in n for n in found.notes)
        assert (found.best.parameters["num_leaves"] == 31) == is_own
        assert (found.initial is not None) == is_own

    def test_what_is_less_is_better_where_the_metric_says_so(self, tmp_path: Path, clock: Clock) -> None:
        with open_study(tmp_path / "less", KEY, greater_is_better=False) as opened:
            for leaves, value in ((10, 0.3), (11, 0.2), (31, 0.4)):
                as_scored(opened, add(opened, leaves, value), value)
            found = self.result(opened, clock, greater=False)
            assert [s.parameters["num_leaves"] for s in found.ranked] == [11, 10, 31]
            assert found.best.parameters == {"num_leaves": 11}
        with open_study(tmp_path / "quick", KEY, greater_is_better=False) as opened:
            for leaves, value in ((31, 0.3), (11, 0.2), (10, 0.4)):
                add(opened, leaves, value)
            assert self.result(opened, clock, greater=False).best.parameters == {"num_leaves": 11}


# ------------------------------------------------------------------------------------------------------------ kept OOF


class TestKeptOOF:
    def kept(self, opened: StudySession) -> dict[int, float]:
        found = {}
        for path in (opened.folder / "oof").glob("*.npz"):
            with np.load(path) as file:
                assert np.isfinite(file["oof"]).all()
                found[int(path.stem)] = round(float(file["value"]), 6)
        return found

    def test_those_of_the_best_quick_scores(self, opened: StudySession, clock: Clock) -> None:
        settled(opened)
        queue(opened, 10, 20, 19, 30)
        scorer = Scorer(clock, parameters={"num_leaves": 99})
        search = searched(
            opened,
            scorer,
            budget=Budget(0.0, trials=4),
            n_oof_trials=2,
            progress=lambda p: _ended(p.stage == "full CV"),
        )
        with suppress(KeyboardInterrupt):
            search.run()
        assert self.kept(opened) == {1: 0.902, 2: 0.892}
        assert all(c.keep_oof for c in scorer.quick)

    def test_none_where_none_are_asked_for(self, opened: StudySession, clock: Clock) -> None:
        scorer = Scorer(clock)
        searched(opened, scorer, budget=Budget(0.0, trials=2)).run()
        assert not (opened.folder / "oof").exists()
        assert not any(c.keep_oof for c in scorer.calls)

    def test_full_scores_take_the_place_of_quick_ones(self, opened: StudySession, clock: Clock) -> None:
        settled(opened)
        queue(opened, 20, 40)
        scorer = Scorer(
            clock, parameters={"num_leaves": 99}, value=lambda c: (0.5 if c.is_watched else 0.7) + c.leaves / 1000
        )
        searched(opened, scorer, budget=Budget(0.0, trials=2), n_oof_trials=1).run()
        assert self.kept(opened) == {1: 0.74}

    def test_full_scores_that_have_none_are_made_again(self, opened: StudySession, clock: Clock) -> None:
        numbers = [add(opened, 10 + k, 0.9) for k in range(3)]
        for k, number in enumerate(numbers):
            as_scored(opened, number, 0.8 + (10 + k) / 1000 - 0.01, rate=0.02, cut=70 if k == 2 else None, seconds=1e9)
        scorer = Scorer(
            clock, per_fold=False, parameters={"num_leaves": 99, "learning_rate": 0.02},
            value=lambda c: 0.8 + c.leaves / 1000 - 0.01,
        )  # fmt: skip
        search = searched(
            opened,
            scorer,
            budget=within(1e6, trials=0),
            n_oof_trials=2,
            progress=lambda p: _ended(p.stage == "full CV"),
        )
        settled(opened)
        with suppress(KeyboardInterrupt):
            search.run()
        # The best first, as they were scored: at one number of rounds, and by the rounds that the time left them.
        assert [(c.leaves, c.fold) for c in scorer.calls] == [(n, k) for n in (12, 11) for k in range(5)]
        assert {(c.leaves, c.rounds, c.fidelity.rounds, c.seed) for c in scorer.calls} == {(12, (50,), 70, 1), (11, (50,), 1000, 1)}  # fmt: skip
        assert self.kept(opened) == {2: 0.802, 1: 0.801}
        calls = len(scorer.calls)
        with suppress(KeyboardInterrupt):
            search.run()
        assert len(scorer.calls) == calls

    def test_those_of_one_number_of_rounds_are_made_for_it(self, opened: StudySession, clock: Clock) -> None:
        """Of folds that each stop at their own best there is another OOF."""
        settled(opened)
        queue(opened, 20)
        scorer = Scorer(
            clock,
            per_fold=False,
            parameters={"num_leaves": 99},
            curves=lambda _: ({10: 0.5, 20: 0.7},),
            value=lambda c: 0.7 if c.rounds == (20,) else 0.6,
        )
        searched(opened, scorer, budget=Budget(0.0, trials=1), n_oof_trials=1).run()
        assert not any(c.keep_oof for c in scorer.full)
        assert [(c.fold, c.keep_oof) for c in scorer.calls if c.rounds == (20,) and c.seed == 1] == [
            (k, True) for k in range(5)
        ]
        assert self.kept(opened) == {0: 0.7}


def test_stages_are_events(opened: StudySession, clock: Clock) -> None:
    stages: list[str] = []

    def listen(event: Event) -> None:
        if isinstance(event, StageStarted):
            stages.append(event.name)

    scorers = Scorers(Scorer(clock), lambda: Scorer(clock), lambda: Scorer(clock))
    Search(opened, scorers, SPACE, SearchOptions(Budget(0.0, trials=6)), RunContext((listen,))).run()
    assert stages == [f"tuning: {name}" for name in ("low-fidelity", "OOF", "full CV", "repeated CV", "holdout")]
