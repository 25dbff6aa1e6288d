"""Trials whose process is gone: they are marked as failed, and queued once more."""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.core.cache import is_locked
from workbench.core.temporary import machine
from workbench.tuning.optuna_package import optuna
from workbench.tuning.state import TrialState, TrialWriter, requeue_failed

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

__all__ = ["n_trials", "settle_dead"]

SILENT_S = 3600
"""A trial of another machine that has said nothing for so long is taken for dead."""

UNKNOWN_S = 2 * 86_400
"""The same for one of an earlier version, which said once when it began, and not in which time zone."""


def n_trials(n: int) -> str:
    """Return a number of trials in words: `1 trial`, `2 trials`."""
    return "1 trial" if n == 1 else f"{n} trials"


def settle_dead(study: Study, folder: Path, *, shared: bool) -> list[str]:
    """Mark trials whose process is gone as failed, and queue them once more; the caller holds the study's lock.

    Parameters
    ----------
    shared : bool
        Whether processes of other machines, which hold no lock here, may work on it.

    Returns
    -------
    list of str
        A line for what was found.
    """
    retried, marked = 0, 0
    state = optuna().trial.TrialState
    for trial in study.get_trials(deepcopy=False, states=(state.RUNNING,)):
        if _is_alive(trial, folder, shared=shared):
            continue
        TrialWriter(study, trial).set_failure("its process ended in the middle")
        study.tell(trial.number, state=state.FAIL)
        if requeue_failed(study, trial):
            retried += 1
        else:
            marked += 1
    notes = [f"tried once more, since the process ended in the middle: {n_trials(retried)}"] if retried else []
    return notes + (
        [f"marked as failed, since the process ended in the middle twice: {n_trials(marked)}"] if marked else []
    )


def _is_alive(trial: FrozenTrial, folder: Path, *, shared: bool) -> bool:
    trial_state = TrialState(trial)
    worker = trial_state.worker
    # A lock tells only where it was taken; earlier versions named the host alone.
    if worker.rpartition("-")[0] in ("-".join(machine()), socket.gethostname()):
        return is_locked(folder / "workers" / worker)
    if not worker and not shared:
        return False
    if trial_state.heartbeat_at is not None:
        return (datetime.now(UTC) - trial_state.heartbeat_at).total_seconds() < SILENT_S
    began = trial.datetime_start
    # Optuna's times are local and have no zone.
    return began is None or (datetime.now() - began).total_seconds() < UNKNOWN_S  # noqa: DTZ005
