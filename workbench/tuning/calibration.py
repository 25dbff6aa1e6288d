"""The first stage of a study: its first points, and the fidelity of its trials, decided once for all processes."""

from __future__ import annotations

import time

from workbench.models.lightgbm.fold_scorer import Fidelity
from workbench.tuning.context import SearchContext
from workbench.tuning.plan import (
    LOW_FIDELITY_RATE,
    LowFidelity,
    low_fidelity_within,
    low_fidelity_without_time,
    min_row_share,
    with_fixed_rounds,
)
from workbench.tuning.space import proven_points

__all__ = ["Calibration"]

TIMED_ROUNDS, TIMED_SHARE = 45, 0.3
"""This many rounds on all rows are timed if they take at most this share of the time for low-fidelity trials."""


class Calibration:
    """Queues the first points of a study, and chooses its low fidelity by what a boosting round costs.

    Parameters
    ----------
    context : SearchContext
    low_fidelity_until : float, or None
        When low-fidelity trials end, on time.perf_counter.
    """

    def __init__(self, context: SearchContext, low_fidelity_until: float | None) -> None:
        self._context, self._until = context, low_fidelity_until

    def run(self) -> LowFidelity | None:
        """Return the fidelity of the study's trials; None where the time ended before a round was timed."""
        context = self._context
        with context.session.locked():
            self._queue_points()
            low_fidelity = context.session.state.low_fidelity
            if low_fidelity is None:
                low_fidelity = self._choose_fidelity()
                if low_fidelity is None:
                    return None
                context.session.state.low_fidelity = low_fidelity
        if context.options.n_oof_trials and len(low_fidelity.folds) < context.n_folds:
            context.notes.append(
                "OOF are kept of full CV only: the study's low-fidelity scores are of "
                f"{len(low_fidelity.folds)} of {context.n_folds} folds"
            )
        return low_fidelity

    def _queue_points(self) -> None:
        context = self._context
        is_new = not context.trials.all()
        initial = context.trials.initial_point
        # The experiment's own parameters may have been edited since the study was created.
        points = [*([initial] if initial is not None else []), *(proven_points(context.space) if is_new else [])]
        for point in points:
            context.session.study.enqueue_trial(dict(point), skip_if_exists=True)

    def _choose_fidelity(self) -> LowFidelity | None:
        spec, low_fidelity = self._context.scorer.spec, self._affordable_fidelity()
        if spec.patience or low_fidelity is None:
            return low_fidelity
        learning_rate = float(spec.parameters.get("learning_rate", LOW_FIDELITY_RATE))
        return with_fixed_rounds(low_fidelity, spec.rounds, learning_rate)

    def _affordable_fidelity(self) -> LowFidelity | None:
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
        """Return the seconds of a boosting round on all rows of a fold.

        They are extrapolated from a share of the rows where timing all of them would take too long. None if time
        runs out first.
        """
        if self._context.deadline.is_over():
            return None
        row_share = min_row_share(self._context.train_rows)
        # The first training also bins the data, which happens only once.
        if self._time_rounds(1, row_share) is None or (five_rounds_s := self._time_rounds(5, row_share)) is None:
            return None
        round_s = five_rounds_s / 5 / row_share
        if TIMED_ROUNDS * round_s > TIMED_SHARE * (until - time.perf_counter()):
            return round_s
        # The first training on all rows also makes their dataset.
        if row_share < 1 and self._time_rounds(5, 1.0) is None:
            return None
        forty_rounds_s = self._time_rounds(40, 1.0)
        return None if forty_rounds_s is None else forty_rounds_s / 40

    def _time_rounds(self, n_rounds: int, row_share: float) -> float | None:
        """Return the seconds of a training on a share of the rows; None where the deadline ended it."""
        context = self._context
        points = (context.trials.initial_point, context.space.point_of({}), *proven_points(context.space))
        # Where none of these is in the space, the largest model is timed: no trial takes longer.
        point = next((p for p in points if p is not None), context.space.largest)
        fidelity = Fidelity(LOW_FIDELITY_RATE, n_rounds, 0, evaluation_interval=5, row_share=row_share)
        score = context.scorer.score(context.space.parameters(point), 0, fidelity)
        return None if score is None else score.seconds
