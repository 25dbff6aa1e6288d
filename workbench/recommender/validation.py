"""The validation of a recommender: by windows with a ranker of earlier ones, or by users held out of the last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from workbench.core.errors import ConfigError
from workbench.recommender.interactions import Interactions
from workbench.recommender.windows import TaskSpec, history_seconds, users_by_list, users_of_window

__all__ = ["Validation", "ValidationSpec", "choose_validation", "user_groups"]

MOST_WINDOWS = 4
FEW_USERS = 0.1
"""A window with a smaller share of the last one's users, in all or of a list, is not representative."""

CLOSE = 0.01
"""The last event may be up to this share of a horizon before the end of the last horizon."""

DAY_S = 86_400

Ints = npt.NDArray[np.int32]


@dataclass(frozen=True)
class ValidationSpec:
    """The validation that the user has configured.

    Attributes
    ----------
    scheme : "windows", "users" or None
        None: windows if the log is long enough, else users.
    windows : int, optional
        The number of windows at the end of the log to score; None: as many as the log allows, up to four.
    """

    scheme: str | None = None
    windows: int | None = None


@dataclass(frozen=True)
class Validation:
    """The chosen validation, and the reason.

    Attributes
    ----------
    scheme : "windows" or "users"
    windows : int
        The number of scored windows: with "users" the last one.
    why : str
    doubt : str
        A warning about the end of the log; empty where there is none.
    """

    scheme: str
    windows: int
    why: str
    doubt: str = ""


def choose_validation(log: Interactions, test_users: Ints, task: TaskSpec, spec: ValidationSpec) -> Validation:
    """Choose the validation by the length of the log in horizons.

    A window is scored by a ranker that was trained on windows before it. The first of those has at least half of the
    history of the last window and a tenth of its users, for each list, too: training on much less would not be
    comparable. None of this depends on the experiment, so that all are scored on the same windows.

    Raises
    ------
    ConfigError
        When more windows are configured than the log has.
    """
    horizons = _length(log, test_users, task) / task.horizon_s
    length = f"the log has {horizons:.1f} horizons"
    doubt = _doubt(log, test_users, task)
    if spec.scheme == "users":
        return Validation("users", 1, "as [cv] says", doubt)
    share = 0.0 if spec.scheme == "windows" or spec.windows else 0.5
    most, shortfall = _most_windows(log, test_users, task, share, spec.windows or MOST_WINDOWS)
    because = f", {shortfall}" if shortfall else ""
    if spec.windows is not None:
        if spec.windows > most:
            raise ConfigError(
                f"[cv] windows = {spec.windows}, and {length}{because}: "
                f"{most} at its end have one before them to learn from",
                hint="fewer windows, or a shorter horizon" if most else 'scheme = "users" under [cv]',
            )
        return Validation("windows", spec.windows, f"as [cv] says; {length}", doubt)
    if most:
        return Validation("windows", most, length, doubt)
    if spec.scheme == "windows":
        raise ConfigError(
            f'[cv] scheme = "windows", and {length}{because}: no window at its end has one before it to learn from',
            hint='scheme = "users" under [cv]',
        )
    too_few = because or ": too few for a window to learn from before one that is scored"
    return Validation("users", 1, f"{length}{too_few}", doubt)


def _length(log: Interactions, test_users: Ints, task: TaskSpec) -> int:
    """Return the length of the log in seconds; with dates the last day counts in full."""
    ends = log.starts[1:][np.diff(log.starts) > 0] - 1
    is_of_dates = task.horizon_s % DAY_S == 0 and not (log.times[ends] % DAY_S).any()
    return history_seconds(log, test_users, task) + (DAY_S - 1 if is_of_dates else 0)


def _doubt(log: Interactions, test_users: Ints, task: TaskSpec) -> str:
    """Return a warning where the last window has hardly any users, for example because of a wrong time."""
    last, before = (users_of_window(log, test_users, task, earlier) for earlier in (0, 1))
    long_enough = history_seconds(log, test_users, task) > 2 * task.horizon_s
    if last >= FEW_USERS * before and (before or not long_enough):
        return ""
    return (
        f"users in the last window: {last:,}, in the one before it: {before:,}; "
        "is the log complete to its end, and are its last times right?"
    )


def _most_windows(log: Interactions, test_users: Ints, task: TaskSpec, share: float, wanted: int) -> tuple[int, str]:
    """Return how many of the wanted windows have one before them with enough users and this share of the history.

    Also return what the next one lacks; empty where it is the length of the log.
    """
    last = _length(log, test_users, task) - task.horizon_s
    users, of_lists = users_of_window(log, test_users, task), users_by_list(log, test_users, task)
    # A list without events in the last window sets no requirement.
    enough = np.maximum(FEW_USERS * of_lists, of_lists > 0)
    most = 0
    # One at a time, as each count is a pass over the whole log.
    while most < wanted:
        before = last - (most + 1) * task.horizon_s
        if before <= 0 or before < share * last - CLOSE * task.horizon_s:
            break
        n_users = users_of_window(log, test_users, task, most + 1)
        if n_users < max(FEW_USERS * users, 1):
            return (
                most,
                f"and {n_users:,} users came {most + 1} before the last window, {users:,} in it: too few to learn from",
            )
        has_enough = users_by_list(log, test_users, task, most + 1) >= enough
        if not has_enough.all():
            return (
                most,
                f"and too little of {task.lists[int(np.argmin(has_enough))]} {most + 1} before the last window "
                "to learn from",
            )
        most += 1
    return most, ""


def user_groups(windows: Sequence[Ints], folds: int, seed: int) -> list[npt.NDArray[np.int32]]:
    """Return the group of each window's users: the same in every window, without empty groups.

    Examples
    --------
    >>> [g.tolist() for g in user_groups([np.array([3, 5, 8], np.int32), np.array([5, 8], np.int32)], 2, 1)]
    [[0, 1, 0], [1, 0]]
    """
    all_users = np.unique(np.concatenate(windows))
    place = np.empty(len(all_users), np.int64)
    place[np.random.default_rng(seed).permutation(len(all_users))] = np.arange(len(all_users))
    for n in range(max(1, min([folds, *map(len, windows)])), 0, -1):
        groups = [(place[np.searchsorted(all_users, users)] % n).astype(np.int32) for users in windows]
        if all(len(np.unique(g)) == n for g in groups):
            break
    return groups
