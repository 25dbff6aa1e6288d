"""Trials whose process died: they are marked as failed and queued once more."""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.core.cache import is_locked
from workbench.core.temporary import machine
from workbench.core.wording import counted
from workbench.tuning.optuna_package import optuna
from workbench.tuning.state import TrialState, TrialWriter, requeue_failed

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

__all__ = ["n_trials", "settle_dead"]

DEAD_AFTER_S = 3600
"""A trial of another machine is taken for dead after this time without a heartbeat: twelve are missing then."""

DEAD_WITHOUT_HEARTBEAT_AFTER_S = 2 * 86_400
"""The same for a trial of an earlier version, which stored only its local start time, in an unknown time zone."""


def n_trials(n: int) -> str:
    """Return a number of trials in words: `1 trial`, `2 trials`."""
    return counted(n, "trial")


def settle_dead(study: Study, folder: Path, *, shared: bool) -> list[str]:
    """Mark trials whose process died as failed, and queue them once more; the caller holds the study's lock.

    Parameters
    ----------
    study : optuna.Study
    folder : Path
        Of the study.
    shared : bool
        Whether processes of other machines, whose locks are not in the folder, may work on it.

    Returns
    -------
    list of str
        Notes for the user.
    """
    n_queued, n_failed = 0, 0
    states = optuna().trial.TrialState
    for trial in study.get_trials(deepcopy=False, states=(states.RUNNING,)):
        if _is_alive(trial, folder, shared=shared):
            continue
        TrialWriter(study, trial).set_failure("its process ended in the middle")
        study.tell(trial.number, state=states.FAIL)
        if requeue_failed(study, trial):
            n_queued += 1
        else:
            n_failed += 1
    notes = [f"queued again, as their process ended during the trial: {n_trials(n_queued)}"] if n_queued else []
    return notes + (
        [f"marked as failed, as their process ended during the trial twice: {n_trials(n_failed)}"] if n_failed else []
    )


def _is_alive(trial: FrozenTrial, folder: Path, *, shared: bool) -> bool:
    trial_state = TrialState(trial)
    worker = trial_state.worker
    # A lock tells only on the machine that took it. Earlier versions put only the host name before the "-".
    if worker.rpartition("-")[0] in ("-".join(machine()), socket.gethostname()):
        return is_locked(folder / "workers" / worker)
    if not worker and not shared:
        return False
    if trial_state.heartbeat_at is not None:
        return (datetime.now(UTC) - trial_state.heartbeat_at).total_seconds() < DEAD_AFTER_S
    started_at = trial.datetime_start
    # Optuna's times are local and have no zone.
    if started_at is None:
        return True
    return (datetime.now() - started_at).total_seconds() < DEAD_WITHOUT_HEARTBEAT_AFTER_S  # noqa: DTZ005
