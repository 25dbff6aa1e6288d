"""The first stage of a study: the points that come first, and the fidelity of its trials, once for all processes."""

from __future__ import annotations

import time

from workbench.models.lightgbm.fold_scorer import Fidelity
from workbench.tuning.context import SearchContext
from workbench.tuning.plan import (
    LOW_FIDELITY_RATE,
    LowFidelity,
    least_share,
    low_fidelity_within,
    low_fidelity_without_time,
    with_fixed_rounds,
)
from workbench.tuning.space import proven_points

__all__ = ["Calibration"]

TIMED_ROUNDS, TIMED_SHARE = 45, 0.3
"""So many rounds on all rows tell what one takes, where they take no more than this share of low fidelity's time."""


class Calibration:
    """Queues the first points of a study, and decides its low fidelity from what a round costs.

    Parameters
    ----------
    context : SearchContext
    until : float or None
        When low-fidelity trials have to be done, of time.perf_counter.
    """

    def __init__(self, context: SearchContext, until: float | None) -> None:
        self._context, self._until = context, until

    def run(self) -> LowFidelity | None:
        """Return the fidelity of the study's trials; None where the time ended before it was known."""
        context = self._context
        with context.opened.locked():
            self._queue_points()
            low = context.opened.state.low_fidelity
            if low is None:
                low = self._decide()
                if low is None:
                    return None
                context.opened.state.low_fidelity = low
        if context.options.keep and len(low.folds) < context.n_folds:
            context.notes.append(
                f"OOF are kept of full CV only: the study's low-fidelity scores are of {len(low.folds)} of "
                f"{context.n_folds} folds"
            )
        return low

    def _queue_points(self) -> None:
        context = self._context
        is_new = not context.trials.all()
        initial = context.trials.initial_point
        # The experiment's own may have been edited since the study was begun.
        points = [*([initial] if initial is not None else []), *(proven_points(context.space) if is_new else [])]
        for point in points:
            context.opened.study.enqueue_trial(dict(point), skip_if_exists=True)

    def _decide(self) -> LowFidelity | None:
        spec, low = self._context.scorer.spec, self._affordable()
        if spec.patience or low is None:
            return low
        return with_fixed_rounds(low, spec.rounds, float(spec.parameters.get("learning_rate", LOW_FIDELITY_RATE)))

    def _affordable(self) -> LowFidelity | None:
        context = self._context
        searches_rate = "learning_rate" in context.space.names
        if self._until is None:
            return low_fidelity_without_time(context.train_rows, searches_rate=searches_rate)
        round_s = self._round_seconds(self._until)
        if round_s is None:
            return None
        return low_fidelity_within(
            max(0.1, self._until - time.perf_counter()),
            max(1e-5, round_s),
            context.train_rows,
            context.valid_rows,
            all_folds=context.options.scores_all_folds,
            searches_rate=searches_rate,
        )

    def _round_seconds(self, until: float) -> float | None:
        """Return what a round of one fold takes on all of its rows: measured on them, where the time is long enough."""
        if self._context.deadline.is_over():
            return None
        share = least_share(self._context.train_rows)
        # The first call bins the data, which is done once.
        if self._timed(1, share) is None or (few := self._timed(5, share)) is None:
            return None
        few /= 5
        if TIMED_ROUNDS * few / share > TIMED_SHARE * (until - time.perf_counter()):
            return few / share
        # A fold's rows are made ready first.
        if (share < 1 and self._timed(5, 1.0) is None) or (many := self._timed(40, 1.0)) is None:
            return None
        return many / 40

    def _timed(self, rounds: int, share: float) -> float | None:
        """Return the seconds of a training; None where the time ended it."""
        context = self._context
        points = (context.trials.initial_point, context.space.inside({}), *proven_points(context.space))
        # Of choices that none of them has, the largest take longest.
        point = next((p for p in points if p is not None), context.space.largest)
        fidelity = Fidelity(LOW_FIDELITY_RATE, rounds, 0, every=5, share=share)
        score = context.scorer.score(context.space.parameters(point), 0, fidelity)
        return None if score is None else score.seconds
