"""The search itself: many parameter sets scored quickly, the best of them fully, the best of those on other folds.

1. Quick scores. The experiment's own parameters come first, then points that are known to do well, then Optuna's. A
   trial trains fold by fold at a high learning rate, on fewer folds or a share of the rows where there are many; a fold
   is given up when its curve lies behind those of the five best, a trial when its folds are worse than the fifth's
   (Wilcoxon).
2. Full scores. The best trials race at the low learning rate on all rows, fold by fold: what is worse is dropped, and
   what there is no time for.
3. Second scores. The best of those are scored on other folds of the same rows, to choose among them with less noise.
   What is best by both is found.
4. Rows held out. What is found, and the experiment's own parameters, are scored on rows that the search has not seen:
   every other score is of the rows that it was chosen by, and optimistic.

What is left of the time goes into more quick scores, which the next search of the study begins with.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from workbench.core.errors import MemoryLimitError, TrainingError, WorkbenchError
from workbench.models.fold_scorer import Fidelity, FoldScore, FoldScorer, NoUseError, shared_score
from workbench.tuning.oof_files import OOFFiles
from workbench.tuning.optuna_package import optuna
from workbench.tuning.plan import (
    FULL_CV_RATES,
    LOW_FIDELITY_RATE,
    Budget,
    LowFidelity,
    affordable_rate,
    affordable_trials,
    enough_rounds,
    is_much_lower,
    least_share,
    low_fidelity_within,
    low_fidelity_without_time,
    not_clearly_worse,
    repeated_cv_folds,
    wanted_full_cvs,
    with_fixed_rounds,
)
from workbench.tuning.pruning import TOP_TRIALS, Curve, Curves, is_prunable
from workbench.tuning.results import Progress, SearchResult, TrialScores, scored_trials, value_of
from workbench.tuning.space import Space, initial_point, proven_points
from workbench.tuning.study import OpenStudy, retry

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial, Trial

__all__ = ["SCORES_VERSION", "Search"]

One = TypeVar("One")

SCORES_VERSION = "4"
"""How scores are kept in a study. One that keeps them otherwise can't be gone on with."""

QUICK_UNTIL, FULL_UNTIL, SECOND_UNTIL, HELD_OUT_UNTIL = 0.45, 0.82, 0.94, 0.98
"""Of the time: when quick, full and second scores end, and those of rows that are held out."""

AGAIN, WORTH_WHILE = 0.6, 0.05
"""Where the race is over early, so much of what is left goes into more quick scores, if it is worth while."""

FIRST_FOLD = 0.4
"""Of the time of full scores may go into the first fold of those that race."""

MUCH_LONGER = 2.0
"""A score that the time ended is made again where a fold may now take so many times as long."""

MANY_ROWS = 100_000
"""Where a fold trains on so many rows, full scores are evaluated every fifth round."""

PROMOTED = 12
"""So many race for full scores at a time; where time is left, the next ones follow."""

SECOND, MOST_SECOND = 3, 12
"""So many are scored on other folds; at most so many where the time allows."""

REPEATED = 50
"""A space of which so many points in a row were scored before has no others."""

ALL_FAILED = 10
"""So many failed trials before the first that finishes say that something is wrong with all of them."""

SAID = 5
"""So many failures are said one by one."""

MARK_S = 10.0
"""Seconds between two notes of the time spent, which a killed search leaves behind."""

TIMED_ROUNDS, TIMED_SHARE = 45, 0.3
"""So many rounds on all rows tell what one takes, where they take no more than this share of the quick scores' time."""

SEED, OTHER_SEED = 1, 2
"""Of the models; the other one stands in for other folds where there are none."""


class _TimeIsUpError(Exception):
    """A stage's time is over."""


class Search:
    """One search of a study.

    Parameters
    ----------
    study : OpenStudy
    scorer : FoldScorer
        On the competition's folds.
    other : callable
        Makes the scorer on other folds; None where the scheme has no others, and then another seed stands in.
    space : Space
    budget : Budget
    keep : int
        How many trials' OOF are kept; the quick ones then are of all folds.
    all_folds : bool
        Whether one fold is too unlike the others to be scored alone.
    held_out : callable
        Makes the scorer of the rows that are held out, whose last fold validates them; None where there are none.
    progress : callable
    """

    def __init__(  # noqa: PLR0913 what a search is made of
        self,
        study: OpenStudy,
        scorer: FoldScorer,
        other: Callable[[], FoldScorer | None],
        space: Space,
        *,
        budget: Budget,
        keep: int = 0,
        all_folds: bool = False,
        held_out: Callable[[], FoldScorer | None] = lambda: None,
        progress: Callable[[Progress], None] = lambda _: None,
    ) -> None:
        self.held_out = held_out
        self.opened, self.study = study, study.study
        self.scorer, self.other, self.space = scorer, other, space
        # The experiment's own parameters as a point of the space; None where they lie outside.
        self.own = initial_point(space, scorer.spec.parameters)
        self.budget, self.keep, self.progress = budget, keep, progress
        self.all_folds = all_folds or keep > 0
        self.state = optuna().trial.TrialState
        self.greater = scorer.problem.metric.greater_is_better
        self.kept = OOFFiles(study, scorer, keep, greater_is_better=self.greater)
        folds = scorer.problem.folds
        self.n_folds = folds.n_folds
        self.train_rows = [len(folds.train_rows(k)) for k in range(folds.n_folds)]
        self.valid_rows = [len(folds.valid_rows(k)) for k in range(folds.n_folds)]
        self.curves = Curves(scorer.watched.greater_is_better)
        self.notes: list[str] = []
        self.failures: list[str] = []
        self.trials_now = 0
        self._repeated, self._exhausted = 0, False
        self._stage, self._stop_at, self._told, self._marked = "", math.inf, 0.0, 0.0
        scorer.each_round = self._check

    # ------------------------------------------------------------------------------------------------------- stages

    def run(self) -> SearchResult:
        """Search until the budget is spent."""
        with suppress(_TimeIsUpError):
            self._begin()
            self._in_time("quick", QUICK_UNTIL, self._quick_scores)
            # Half of the race's time at most.
            self._in_time("OOF", (QUICK_UNTIL + FULL_UNTIL) / 2, self._keep_missing)
            self._in_time("full", FULL_UNTIL, self._full_scores)
            while (until := self._quick_again()) is not None:
                self._in_time("quick", until, self._quick_scores)
                self._in_time("full", FULL_UNTIL, self._full_scores)
            self._in_time("other folds", SECOND_UNTIL, self._second_scores)
            self._in_time("rows held out", HELD_OUT_UNTIL, self._held_out_scores)
            if self.budget.ends_at is not None and self.budget.trials is None:
                self._in_time("quick", 1.0, self._quick_scores)
        self._mark_spent()
        return self.result()

    def _quick_again(self) -> float | None:
        """Return until when more quick scores are made; None where the race took all of its time."""
        budget = self.budget
        if budget.ends_at is None or budget.trials is not None or self._exhausted:
            return None
        spent = (time.perf_counter() - budget.started_at) / (budget.ends_at - budget.started_at)
        return None if spent > FULL_UNTIL - WORTH_WHILE else spent + AGAIN * (FULL_UNTIL - spent)

    def _in_time(self, stage: str, until: float, work: Callable[[], None]) -> None:
        at = self.budget.at(until)
        # The last writes take a moment, too.
        self._stage, self._stop_at = stage, math.inf if at is None else at - (0.3 if until == 1.0 else 0.0)
        self._told = -math.inf  # each stage is told when it begins
        with suppress(_TimeIsUpError):
            self._check()  # of a stage without time not even the data is made ready
            work()

    def _check(self) -> None:
        now = time.perf_counter()
        if now > self._stop_at:
            raise _TimeIsUpError
        if now > self._told + 0.5:
            self._told = now
            self.progress(self._progress())
        if now > self._marked + MARK_S:
            self._mark_spent()

    def _mark_spent(self) -> None:
        self._marked = time.perf_counter()
        self.study.set_user_attr(f"spent_s:{self.opened.worker}", round(self._marked - self.budget.started_at, 1))

    def _progress(self) -> Progress:
        n = self._counts()
        left = None if self.budget.ends_at is None else max(0.0, self.budget.ends_at - time.perf_counter())
        best = self._best_known()
        return Progress(self._stage, n["complete"], n["pruned"], n["failed"], best, left)

    # -------------------------------------------------------------------------------------------------- quick scores

    def _begin(self) -> None:
        """Queue the first points of a new study, and settle how quick a quick score is; once for all processes."""
        self._stage, self._stop_at = "quick", self.budget.at(SECOND_UNTIL) or math.inf
        with self.opened.locked():
            is_new = not self._trials()
            # The experiment's own may have been edited since the study was begun.
            points = [*([self.own] if self.own is not None else []), *(proven_points(self.space) if is_new else [])]
            for point in points:
                self.study.enqueue_trial(point, skip_if_exists=True)
            known = self.study.user_attrs.get("quick")
            if known is None:
                known = self._settled().content()
                self.study.set_user_attr("quick", known)
        self.quick = LowFidelity.of(known)
        if self.keep and len(self.quick.folds) < self.n_folds:
            of = f"{len(self.quick.folds)} of {self.n_folds} folds"
            self.notes.append(f"OOF are kept of full scores only: the study's quick scores are of {of}")

    def _settled(self) -> LowFidelity:
        spec, quick = self.scorer.spec, self._quick_enough()
        if spec.patience:
            return quick
        return with_fixed_rounds(quick, spec.rounds, float(spec.parameters.get("learning_rate", LOW_FIDELITY_RATE)))

    def _quick_enough(self) -> LowFidelity:
        """Decide how quick a quick score is, from what a round costs."""
        searches_rate = "learning_rate" in self.space.names
        at = self.budget.at(QUICK_UNTIL)
        if at is None:
            return low_fidelity_without_time(self.train_rows, searches_rate=searches_rate)
        per_round = self._round_seconds(at)
        return low_fidelity_within(
            max(0.1, at - time.perf_counter()),
            max(1e-5, per_round),
            self.train_rows,
            self.valid_rows,
            all_folds=self.all_folds,
            searches_rate=searches_rate,
        )

    def _round_seconds(self, until: float) -> float:
        """Return what a round of one fold takes on all of its rows: measured on them, where the time is long enough."""
        point = self.own or self.space.inside({}) or proven_points(self.space)[0]
        parameters = self.space.parameters(point)

        def timed(rounds: int, share: float) -> float:
            return self.scorer.score(
                parameters, 0, SEED, Fidelity(LOW_FIDELITY_RATE, rounds, 0, every=5, share=share)
            ).seconds

        self._check()
        share = least_share(self.train_rows)
        # The first call bins the data, which is done once.
        timed(1, share)
        few = timed(5, share) / 5
        left = until - time.perf_counter()
        if TIMED_ROUNDS * few / share > TIMED_SHARE * left:
            return few / share
        if share < 1:
            timed(5, 1.0)  # which makes the fold's rows ready
        return timed(40, 1.0) / 40

    def _quick_scores(self) -> None:
        while not self._exhausted and (self.budget.trials is None or self.trials_now < self.budget.trials):
            self._check()
            self._one_trial(self.opened.ask(self.space.distributions()))

    def _one_trial(self, trial: Trial) -> None:
        if self._was_scored(trial):
            self._repeated += 1
            if self._repeated == REPEATED:
                self._exhausted = True
                self.notes.append("the space is exhausted: no point is left that was not scored")
            return
        self._repeated = 0
        folds = [int(k) for k in np.random.default_rng(trial.number).permutation(self.quick.folds)]
        # The experiment's own parameters are scored to the end: what is found is compared with them.
        rivals = [] if trial.params == self.own else self._complete()[:TOP_TRIALS]
        scores: dict[int, FoldScore] = {}
        try:
            for fold in folds:
                scores[fold] = self._quick_fold(trial, fold, rivals)
                trial.report(scores[fold].score, fold)
                if len(scores) < len(folds) and len(rivals) == TOP_TRIALS:
                    self._give_up_if_hopeless(scores, rivals[-1])
        except NoUseError:
            self.study.tell(trial, state=self.state.PRUNED)
        except (TrainingError, MemoryError) as exc:
            self._failed(trial, _why(exc))
        except BaseException:
            # Not its fault: the time is up, or the user has ended it. The next search begins with it.
            trial.set_user_attr("stopped", value=True)
            self.study.tell(trial, state=self.state.FAIL)
            self.study.enqueue_trial(trial.params)
            raise
        else:
            value = float(np.mean([s.score for s in scores.values()]))
            trial.set_user_attr("rounds", [int(np.mean(scores[k].rounds)) for k in self.quick.folds])
            if len(rivals) < TOP_TRIALS or value == self._best_of(value, value_of(rivals[-1])):
                trial.set_user_attr("curves", self.curves.of_trial(trial.number))
            with self._telling(trial.number, value, scores):
                self.study.tell(trial, value)
        self.trials_now += 1

    def _best_of(self, *values: float) -> float:
        return max(values) if self.greater else min(values)

    def _was_scored(self, trial: Trial) -> bool:
        """Tell a point that was scored before its score again; Optuna proposes some points twice in small spaces."""
        for other in self._trials(self.state.COMPLETE, self.state.PRUNED):
            if other.params == trial.params:
                for step, value in other.intermediate_values.items():
                    trial.report(value, step)
                trial.set_user_attr("same_as", other.number)
                if other.state == self.state.PRUNED:
                    self.study.tell(trial, state=other.state)
                else:
                    self.study.tell(trial, other.value)
                self.trials_now += 1
                return True
        return False

    def _give_up_if_hopeless(self, scores: Mapping[int, FoldScore], rival: FrozenTrial) -> None:
        """Raise where the folds so far are worse than those of the last of the best."""
        so_far = {k: s.score for k, s in scores.items()}
        if is_prunable(so_far, rival.intermediate_values, greater_is_better=self.greater):
            raise NoUseError

    def _quick_fold(self, trial: Trial, fold: int, best: Sequence[FrozenTrial]) -> FoldScore:
        self.curves.learn(fold, {t.number: t.user_attrs.get("curves", {}) for t in best})
        rivals = [t.number for t in best]
        leaves = int(trial.params.get("num_leaves", self.scorer.spec.parameters.get("num_leaves", 31)))
        curve = Curve()

        def watch(done: int, best: float) -> bool:
            curve.add(done * leaves, best)
            return self.curves.is_behind(fold, rivals, done * leaves, best)

        made = self.scorer.score(
            self.space.parameters(trial.params), fold, SEED, self.quick.fidelity, watch=watch, keep_oof=self.keep > 0
        )
        self.curves.keep(fold, trial.number, curve)
        return made

    def _failed(self, trial: Trial, why: str) -> None:
        trial.set_user_attr("failure", why)
        self.study.tell(trial, state=self.state.FAIL)
        frozen = self._trials()[trial.number]
        again = "tried once more" if retry(self.study, frozen) else "failed twice"
        self.failures.append(f"trial {trial.number} ({again}): {why}")
        if len(self.failures) == ALL_FAILED and not self._complete():
            raise TrainingError(
                f"all of the first {ALL_FAILED} trials failed, the last one for: {why}",
                hint="does the experiment run by itself? `wb run` says more",
            )

    def _telling(
        self, number: int, value: float, scores: Mapping[int, FoldScore], *, full: bool = False
    ) -> AbstractContextManager[None]:
        """Keep a trial's OOF where it is among the best; its value, of a full or quick score, is told in the block."""
        mine = {number: value}

        def by_full() -> dict[int, float]:
            return {s.number: s.value for s in self._scored()} | (mine if full else {})

        def by_quick() -> dict[int, float]:
            return {t.number: value_of(t) for t in self._complete()} | ({} if full else mine)

        return self.kept.telling(number, scores, by_full, by_quick)

    def _keep_missing(self) -> None:
        """Make the OOF of full scores that were made without: by a search that kept none, or one that was killed."""
        if not self.keep:
            return
        for one in self._scored()[: self.keep]:
            if self.kept.has(one.number, one.value):
                continue
            fidelity, parameters = self._fidelity_of(one), self.space.parameters(one.parameters)
            rounds = self._rounds_of(one) if self._shares_rounds else None
            scores = {
                k: self.scorer.score(parameters, k, SEED, fidelity, rounds=rounds, keep_oof=True)
                for k in range(self.n_folds)
            }
            with self._telling(one.number, one.value, scores, full=True):
                pass

    # --------------------------------------------------------------------------------------------------- full scores

    def _full_scores(self) -> None:
        self._race_all()
        self._keep_missing()

    def _race_all(self) -> None:
        rate = self._full_rate()
        while waiting := self._shared_out(self._candidates(rate)):
            left, seconds = self._stop_at - time.perf_counter(), self._full_seconds()
            # Without time for one more, what there is left goes to the scores on other folds.
            if seconds and left < 1.2 * float(np.median(seconds)):
                break
            self._race(waiting[:PROMOTED], rate)
            if self.budget.ends_at is None:
                break

    def _shared_out(self, candidates: list[One]) -> list[One]:
        """Return this process's part of them; when it is done with that, the others' next ones may be its own."""
        place, n = self.opened.place()
        # Who ends by trials has to have a full score, and can't know how far the others are.
        return candidates[place::n] if self.budget.ends_at is not None else candidates

    def _full_seconds(self) -> list[float]:
        """Return what full scores took."""
        attributes = self.study.user_attrs
        return [attributes[f"full:{s.number}"]["seconds"] for s in self._scored()]

    def _race(self, promoted: Sequence[FrozenTrial], rate: float | None) -> None:
        """Score trials fully, fold by fold; each is dropped or done at the end, or there was no time for it."""
        begun = time.perf_counter()
        trials = {t.number: t for t in promoted}
        own = next((t.number for t in promoted if self._is_own(t)), None)
        race: dict[int, dict[int, FoldScore]] = {number: {} for number in trials}
        alive = list(trials)
        # A quick score that is as thorough need not be made again.
        order = [*self.quick.folds, *(k for k in range(self.n_folds) if k not in self.quick.folds)]
        for at, fold in enumerate(order):
            limit = self._next_fold_limit(len(order) - at, len(alive)) if at else self._first_fold_limit(begun)
            for number in alive:
                if at == 0 and self._first_fold_is_over(begun, sum(map(bool, race.values()))):
                    break
                self._check()
                try:
                    race[number][fold] = self._full_fold(trials[number], fold, rate, limit, race[number])
                except (TrainingError, MemoryError) as exc:
                    self._full_failed(number, exc)
                    race[number].clear()
                    continue
                if at + 1 == self.n_folds:
                    self._finish(number, race[number], rate)
            alive = self._still_racing([n for n in alive if race[n]], race, order[: at + 1], own)

    def _full_failed(self, number: int, exc: Exception) -> None:
        known = self.study.user_attrs.get(f"full:{number}", {})
        times = known.get("failed", 0) + 1
        self.study.set_user_attr(f"full:{number}", known | {"failed": times})
        again = "failed twice" if times > 1 else "tried once more"
        self.failures.append(f"trial {number}, full score ({again}): {_why(exc)}")

    def _first_fold_is_over(self, begun: float, scored: int) -> bool:
        # Two of them are a race.
        return scored > 1 and time.perf_counter() > begun + FIRST_FOLD * (self._stop_at - begun)

    def _in_full(self) -> float:
        return wanted_full_cvs(self.valid_rows, all_folds=self.all_folds)

    def _first_fold_limit(self, begun: float) -> float:
        """Return how long a trial's first fold may train: nobody may use up the time that the others need."""
        return (self._stop_at - begun) / (self.n_folds * self._in_full())

    def _next_fold_limit(self, folds_left: int, n_alive: int) -> float:
        """Return how long a later fold may train: the last in the race has to get through all of them."""
        return 0.95 * (self._stop_at - time.perf_counter()) / folds_left if n_alive == 1 else math.inf

    def _still_racing(
        self, alive: list[int], race: Mapping[int, Mapping[int, FoldScore]], folds: Sequence[int], own: int | None
    ) -> list[int]:
        """Return who is scored on the next fold, the best first; who is dropped for being worse is marked."""
        folds_left = self.n_folds - len(folds)
        scores = {n: [race[n][k].score for k in folds] for n in alive}
        best = self._best_full()
        if not folds_left or not scores:
            return []
        known = {best.number: [best.full[k] for k in folds]} if best and best.full else {}
        hopeful = not_clearly_worse(known | scores, own, greater_is_better=self.greater)
        for number in set(alive) - set(hopeful):
            # A score that was to be made again stays.
            scored = self.study.user_attrs.get(f"full:{number}", {})
            self.study.set_user_attr(f"full:{number}", scored | {"dropped_after": len(folds)})
        each = float(np.mean([s.seconds for n in alive for s in race[n].values()]))
        room = (self._stop_at - time.perf_counter()) / max(1e-9, folds_left * each)
        return affordable_trials([n for n in hopeful if n in scores], room, own)

    def _candidates(self, rate: float | None) -> list[FrozenTrial]:
        """Return the trials to score thoroughly: the experiment's own parameters and the best, the best first."""
        ranked = self._complete()
        own = [t for t in ranked if self._is_own(t)]
        found = [*ranked[:2], *own, *ranked[2:]]
        if self.budget.trials is not None and self.budget.ends_at is None:
            found = found[: 1 + max(SECOND, len(ranked) // 10)]
        return list({t.number: t for t in found if self._wants_full_score(t, rate)}.values())

    def _wants_full_score(self, trial: FrozenTrial, rate: float | None) -> bool:
        """Say whether a trial has none, or one at a higher rate, or one that the time cut short and now need not."""
        known = self.study.user_attrs.get(f"full:{trial.number}")
        if known is None:
            return True
        if "dropped_after" in known or known.get("failed", 0) > 1:
            return False
        if "scores" not in known:
            return True
        if rate is not None and known["rate"] is not None and rate < known["rate"]:
            return True
        if known["cut"] is None:
            return False
        # By the fold that took longest, as `_known_fold` has it: else the same score would be made for ever.
        folds = self.study.user_attrs.get(_name_of_folds(trial.number, known["rate"]), {})
        longest = max((seconds for _, _, seconds, *_ in folds.values()), default=known["seconds"] / self.n_folds)
        return self._first_fold_limit(time.perf_counter()) > MUCH_LONGER * float(longest)

    def _full_rate(self) -> float | None:
        """Return the learning rate of full scores: the experiment's own, else the lowest that lets some fit.

        A search of a study that is there takes its rate, or a much lower one where it has the time.
        """
        if "learning_rate" in self.space.names:
            return None
        own = self.scorer.spec.parameters.get("learning_rate")
        if own is not None:
            return float(own)
        if not self.scorer.spec.patience:  # so many rounds at another rate are another model
            return None
        with self.opened.locked():
            known, rate = self.study.user_attrs.get("full_rate"), self._affordable_rate()
            if known is not None and not is_much_lower(rate, known):
                return float(known)
            self.study.set_user_attr("full_rate", rate)
        return rate

    def _affordable_rate(self) -> float:
        # The best ones take more rounds than most.
        seconds = [_seconds(t) / len(self.quick.folds) for t in self._complete()[:TOP_TRIALS]]
        if self.budget.ends_at is None or not seconds:
            return FULL_CV_RATES[1]
        return affordable_rate(self._stop_at - time.perf_counter(), seconds, self.quick, self.n_folds, self._in_full())

    def full_fidelity(self, rate: float | None) -> Fidelity:
        """Return how a parameter set is scored thoroughly."""
        spec, n_rows = self.scorer.spec, self.train_rows[-1]
        if not spec.patience:
            return Fidelity(rate, spec.rounds, 0, every=spec.rounds)
        rounds, patience = spec.rounds, spec.patience
        if rate is not None and "learning_rate" not in spec.parameters:
            rounds, patience = enough_rounds(rate, rounds, patience)
        return Fidelity(rate, rounds, patience, every=5 if n_rows >= MANY_ROWS else 1)

    def _fidelity_of(self, one: TrialScores) -> Fidelity:
        """Return how a parameter set with a full score was scored."""
        fidelity = self.full_fidelity(one.rate)
        return fidelity if one.cut is None else replace(fidelity, rounds=one.cut)

    def _full_fold(
        self, trial: FrozenTrial, fold: int, rate: float | None, limit: float, before: Mapping[int, FoldScore]
    ) -> FoldScore:
        fidelity = self.full_fidelity(rate)
        name = _name_of_folds(trial.number, rate)
        known = self.study.user_attrs.get(name, {})
        if (scored := self._known_fold(trial, fold, fidelity, limit, known)) is not None:
            return scored
        cut = min((s.cut for s in before.values() if s.cut is not None), default=None)
        if cut is not None:
            fidelity = replace(fidelity, rounds=cut)
        made = self.scorer.score(
            self.space.parameters(trial.params),
            fold,
            SEED,
            replace(fidelity, seconds=limit),
            keep_oof=self.keep > 0 and not self._shares_rounds,
        )
        if cut is not None and made.cut is None:
            made = replace(made, cut=cut)
        mine = [made.score, list(made.rounds), made.seconds, made.cut, [list(c.items()) for c in made.curves]]
        self.study.set_user_attr(name, known | {str(fold): mine})
        return made

    def _known_fold(
        self, trial: FrozenTrial, fold: int, fidelity: Fidelity, limit: float, known: Mapping[str, Any]
    ) -> FoldScore | None:
        """Return the score that an earlier race left, or a quick one that is as thorough."""
        if str(fold) in known:
            score, rounds, seconds, cut, kept = known[str(fold)]
            if cut is None or limit < MUCH_LONGER * seconds:
                curves = tuple({int(n): float(v) for n, v in curve} for curve in kept)
                return FoldScore(score, tuple(rounds), seconds, None, cut, curves)
        quick = self.quick
        # Of a quick score there is no curve to find one number of rounds by.
        if fold not in quick.folds or quick.fidelity != fidelity or fidelity.patience:
            return None
        rounds = trial.user_attrs["rounds"][quick.folds.index(fold)]
        return FoldScore(trial.intermediate_values[fold], (rounds,), _seconds(trial) / len(quick.folds))

    def _finish(self, number: int, scores: Mapping[int, FoldScore], rate: float | None) -> None:
        made = [scores[k] for k in range(self.n_folds)]
        if self._shares_rounds:
            made = shared_score(made, greater_is_better=self.greater)
            # Of other rounds than those; `_keep_missing` makes what is to be kept.
            scores = {k: replace(s, oof=None) for k, s in scores.items()}
        found: dict[str, Any] = {
            "scores": [s.score for s in made],
            "rounds": [
                max(1, round(float(np.mean(of_target)))) for of_target in zip(*(s.rounds for s in made), strict=True)
            ],
            "rate": rate,
            "cut": min((s.cut for s in made if s.cut is not None), default=None),
            "seconds": round(sum(s.seconds for s in made), 3),
        }
        with self._telling(number, float(np.mean(found["scores"])), scores, full=True):
            self.study.set_user_attr(f"full:{number}", found)
        if self.study.user_attrs.get(f"second:{number}"):
            # It was of a model that the time had cut short.
            self.study.set_user_attr(f"second:{number}", {})
        if self.study.user_attrs.get(f"held_out:{number}") is not None:
            self.study.set_user_attr(f"held_out:{number}", None)

    @property
    def _shares_rounds(self) -> bool:
        """Whether the folds of a full score have one number of rounds."""
        return bool(self.scorer.spec.patience) and not self.scorer.spec.per_fold

    def _by_quick_score(self, trial: FrozenTrial) -> TrialScores:
        """Return a trial as far as it is scored; the learning rate is left to the experiment."""
        scores = tuple(trial.intermediate_values[k] for k in sorted(trial.intermediate_values))
        return TrialScores(trial.number, dict(trial.params), value_of(trial), scores)

    # ------------------------------------------------------------------------------------------------- second scores

    def _second_scores(self) -> None:
        ranked, start = self._scored(), self._start()
        chosen = ranked[: self._n_second()]
        chosen += [start] if start is not None and start not in chosen else []
        scorer, seed = self._other_scorer()
        n_folds = scorer.problem.folds.n_folds
        waiting = [s for s in chosen if len(self._second_of(s)) < n_folds]
        if not waiting:
            return
        fold_seconds = [self.study.user_attrs[f"full:{s.number}"]["seconds"] / self.n_folds for s in waiting]
        n_scored, n_chosen = repeated_cv_folds(self._stop_at - time.perf_counter(), fold_seconds, n_folds)
        with self.opened.locked():
            # Of fewer folds than before, they could not be held against those.
            n_scored = max(n_scored, self.study.user_attrs.get("second_folds", 0))
            self.study.set_user_attr("second_folds", n_scored)
        if n_scored < n_folds:
            self.notes.append(f"the time was too short for all other folds: {n_scored} of {n_folds} are scored")
        waiting = [s for s in waiting if len(self._second_of(s)) < n_scored]
        for one in self._shared_out(waiting)[:n_chosen]:
            fidelity, parameters = self._fidelity_of(one), self.space.parameters(one.parameters)
            try:
                # The last ones first: folds in time grow.
                for fold in reversed(range(n_folds - n_scored, n_folds)):
                    known = self._second_of(one)
                    if str(fold) not in known:
                        made = scorer.score(parameters, fold, seed, fidelity, rounds=self._rounds_of(one)).score
                        self.study.set_user_attr(f"second:{one.number}", known | {str(fold): made})
            except (TrainingError, MemoryError) as exc:
                self.failures.append(f"trial {one.number}, other folds: {_why(exc)}")

    def _rounds_of(self, one: TrialScores) -> tuple[int, ...] | None:
        """Return the rounds that a full score has chosen, for scores that are not to choose them anew."""
        return one.rounds if self.scorer.spec.patience else None

    def _held_out_scores(self) -> None:
        """Score what is found, and the experiment's own parameters, on rows that the search has not seen."""
        best, start = self._best_of_scored(self._scored()), self._start()
        waiting = [s for s in (best, start) if s is not None and s.held_out is None]
        try:
            scorer = self.held_out() if waiting else None
        except MemoryLimitError as exc:
            self.notes.append(f"the rows held out are not scored: {exc.message}")
            return
        if scorer is None:
            return
        scorer.each_round = self._check
        last = scorer.problem.folds.n_folds - 1
        for one in {s.number: s for s in waiting}.values():
            parameters, fidelity = self.space.parameters(one.parameters), self._fidelity_of(one)
            try:
                made = scorer.score(parameters, last, SEED, fidelity, rounds=self._rounds_of(one)).score
                self.study.set_user_attr(f"held_out:{one.number}", made)
            except (TrainingError, MemoryError) as exc:
                self.failures.append(f"trial {one.number}, rows held out: {_why(exc)}")

    def _second_of(self, one: TrialScores) -> dict[str, float]:
        """Return the scores on other folds that are known, by fold."""
        known: dict[str, float] = self.study.user_attrs.get(f"second:{one.number}", {})
        return known

    def _other_scorer(self) -> tuple[FoldScorer, int]:
        """Return the scorer on other folds and the model's seed; another seed where there are no other folds."""
        try:
            other = self.other()
            why = "there are no other folds"
        except WorkbenchError as exc:
            other, why = None, f"other folds can't be made ({exc.message})"
        if other is None:
            self.notes.append(f"{why}: the second score is of another seed of the model on the same folds")
            return self.scorer, OTHER_SEED
        other.each_round = self._check
        return other, SEED

    def _n_second(self) -> int:
        seconds = self._full_seconds()
        if self.budget.ends_at is None or not seconds:
            return SECOND
        fitting = 0.9 * (self._stop_at - time.perf_counter()) / float(np.median(seconds))
        return int(max(SECOND, min(MOST_SECOND, fitting - 1)))

    # ------------------------------------------------------------------------------------------------------- results

    def _is_own(self, trial: FrozenTrial) -> bool:
        return bool(trial.params == self.own)

    def _trials(self, *states: Any) -> list[FrozenTrial]:
        """Return the trials, all or those in some states; not as copies, since nobody changes them."""
        return list(self.study.get_trials(deepcopy=False, states=states or None))

    def _complete(self) -> list[FrozenTrial]:
        """Return the finished trials, the best first; of those with the same point the one that was scored."""
        trials = [t for t in self._trials(self.state.COMPLETE) if "same_as" not in t.user_attrs]
        return sorted(trials, key=value_of, reverse=self.greater)

    def _scored(self) -> list[TrialScores]:
        """Return what has a full score, the best first."""
        return scored_trials(self.study, greater_is_better=self.greater)

    def _best_full(self) -> TrialScores | None:
        return next(iter(self._scored()), None)

    def _start(self) -> TrialScores | None:
        return next((s for s in self._scored() if s.parameters == self.own), None)

    def _best_known(self) -> float | None:
        full = self._best_full()
        if full is not None:
            return full.value
        return next((t.value for t in self._complete()), None)

    def _counts(self) -> dict[str, int]:
        # What was stopped by the end of its time has not failed.
        states = [t.state for t in self._trials() if "stopped" not in t.user_attrs]
        wanted = {"complete": self.state.COMPLETE, "pruned": self.state.PRUNED, "failed": self.state.FAIL}
        return {name: states.count(state) for name, state in wanted.items()}

    def result(self) -> SearchResult:
        """Return what is found so far."""
        ranked = self._scored()
        start = self._start()
        if not ranked:
            ranked, start = self._by_quick_scores()
        best = self._best_of_scored(ranked)
        own = self._say_own(best)
        if own is not None and best is not None and self._best_of(own.quick, best.quick) == own.quick:
            best = start = own  # nothing says that the other is better
        more = len(self.failures) - SAID
        self.notes += self.failures[:SAID] + ([f"and {more} more failures"] if more > 0 else [])
        seconds = time.perf_counter() - self.budget.started_at
        return SearchResult(
            best,
            start,
            tuple(ranked),
            **self._counts(),
            trials_now=self.trials_now,
            seconds=seconds,
            notes=tuple(self.notes),
        )

    def _by_quick_scores(self) -> tuple[list[TrialScores], TrialScores | None]:
        """Return what is best by quick scores, where no time was left for full ones, and the experiment's own point.

        What was not held against the experiment's own parameters says nothing; nor does one score by itself.
        """
        complete = self._complete()
        own = next((t for t in complete if self._is_own(t)), None)
        if not complete or (own is None and self.own is not None):
            return [], None
        start = None if own is None else self._by_quick_score(own)
        of = LowFidelity.of(self.study.user_attrs["quick"]).left_out(self.n_folds)
        self.notes.append(f"the time was too short for full scores: what is best by quick ones{of} is taken")
        best = self._by_quick_score(complete[0])
        return ([start] if start is not None and start.quick == best.quick else [best]), start

    def _best_of_scored(self, ranked: Sequence[TrialScores]) -> TrialScores | None:
        # Only what was scored twice can be trusted as much as the others that were.
        second = [s for s in ranked if s.second is not None]
        return max(second or ranked, key=lambda s: s.judged if self.greater else -s.judged, default=None)

    def _say_own(self, best: TrialScores | None) -> TrialScores | None:
        """Hold the experiment's own parameters against the best by quick scores where they have no full one.

        Returns
        -------
        TrialScores or None
            The experiment's own parameters where they were held against the best.
        """
        own = next((t for t in self._complete() if self._is_own(t)), None)
        if best is not None and own is not None and best.number != own.number and self._start() is None:
            was = f"{own.value:.5f} by a quick score, against {best.quick:.5f} of trial {best.number}"
            self.notes.append(f"the time was too short for a full score of the experiment's own parameters: {was}")
            return self._by_quick_score(own)
        return None


def _name_of_folds(number: int, rate: float | None) -> str:
    return f"folds:{number}" if rate is None else f"folds:{number}@{rate:g}"


def _why(exc: Exception) -> str:
    return exc.message if isinstance(exc, WorkbenchError) else f"no memory left: {exc}"


def _seconds(trial: FrozenTrial) -> float:
    return (trial.duration or timedelta()).total_seconds()
