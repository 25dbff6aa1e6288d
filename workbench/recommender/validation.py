"""The choice of a recommender's validation: rolling windows, or users held out of the last window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from workbench.core.errors import ConfigError
from workbench.recommender.interactions import Interactions
from workbench.recommender.windows import TaskSpec, history_seconds, users_by_list, users_of_window

__all__ = ["Validation", "ValidationSpec", "choose_validation", "user_groups"]

MAX_WINDOWS = 4
MIN_USER_SHARE = 0.1
"""A window with a smaller share of the last one's users, in all or of a list, is not representative."""

MIN_HISTORY_SHARE = 0.5
"""The share of the last window's history that the earliest window to train on needs, unless [cv] asks for windows."""

TOLERANCE = 0.01
"""The last event may be up to this share of a horizon before the end of the last horizon."""

DAY_S = 86_400

Ints = npt.NDArray[np.int32]


@dataclass(frozen=True)
class ValidationSpec:
    """The validation that the user has configured.

    Attributes
    ----------
    scheme : "windows", "users" or None
        None for windows if the log is long enough, else users.
    windows : int, optional
        The number of windows at the end of the log to score; None for as many as the log allows, up to four.
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
        The number of scored windows; 1 with "users".
    why : str
        The reason for the choice.
    doubt : str
        A warning about the end of the log, or empty.
    """

    scheme: str
    windows: int
    why: str
    doubt: str = ""


def choose_validation(log: Interactions, test_users: Ints, task: TaskSpec, spec: ValidationSpec) -> Validation:
    """Choose the validation by the length of the log in horizons.

    A window is scored by a ranker that was trained on windows before it. The earliest of those must have at least half
    of the last window's history and a tenth of its users, also of each list: models trained on much less would not be
    comparable. The choice does not depend on the experiment, so that all experiments are scored on the same windows.

    Raises
    ------
    ConfigError
        When the log is too short for the configured windows.
    """
    horizons = _length(log, test_users, task) / task.horizon_s
    length = f"the log has {horizons:.1f} horizons"
    doubt = _last_window_warning(log, test_users, task)
    if spec.scheme == "users":
        return Validation("users", 1, "as [cv] says", doubt)
    share = 0.0 if spec.scheme == "windows" or spec.windows else MIN_HISTORY_SHARE
    n_usable, shortfall = _count_windows(log, test_users, task, share, spec.windows or MAX_WINDOWS)
    because = f", {shortfall}" if shortfall else ""
    if spec.windows is not None:
        if spec.windows > n_usable:
            raise ConfigError(
                f"[cv] windows = {spec.windows}, but {length}{because}: at most {n_usable} can be scored, "
                "as each needs a window before it to learn from",
                hint="fewer windows, or a shorter horizon" if n_usable else 'scheme = "users" under [cv]',
            )
        return Validation("windows", spec.windows, f"as [cv] says; {length}", doubt)
    if n_usable:
        return Validation("windows", n_usable, length, doubt)
    if spec.scheme == "windows":
        raise ConfigError(
            f'[cv] scheme = "windows", but {length}{because}: the last window has none before it to learn from',
            hint='scheme = "users" under [cv]',
        )
    too_few = because or ": too few for a window to learn from before one that is scored"
    return Validation("users", 1, f"{length}{too_few}", doubt)


def _length(log: Interactions, test_users: Ints, task: TaskSpec) -> int:
    """Return the length of the log in seconds; if its times are dates, the last day counts in full."""
    last_events = log.starts[1:][np.diff(log.starts) > 0] - 1
    has_dates = task.horizon_s % DAY_S == 0 and not (log.times[last_events] % DAY_S).any()
    return history_seconds(log, test_users, task) + (DAY_S - 1 if has_dates else 0)


def _last_window_warning(log: Interactions, test_users: Ints, task: TaskSpec) -> str:
    """Return a warning if the last window has hardly any users, as after a wrong timestamp; else an empty string."""
    n_last, n_before = (users_of_window(log, test_users, task, horizons_back) for horizons_back in (0, 1))
    has_two_windows = history_seconds(log, test_users, task) > 2 * task.horizon_s
    if n_last >= MIN_USER_SHARE * n_before and (n_before or not has_two_windows):
        return ""
    return (
        f"users in the last window: {n_last:,}, in the one before it: {n_before:,}; "
        "is the log complete, and are its last timestamps right?"
    )


def _count_windows(log: Interactions, test_users: Ints, task: TaskSpec, share: float, limit: int) -> tuple[int, str]:
    """Count the windows at the end of the log with one before them to learn from, up to `limit`.

    That one needs enough users and at least `share` of the last window's history. The second value returned says what
    the next one lacks; it is empty if the log is too short.
    """
    last_history_s = _length(log, test_users, task) - task.horizon_s
    n_last_users, last_users_by_list = users_of_window(log, test_users, task), users_by_list(log, test_users, task)
    # A list without events in the last window has no minimum.
    min_users_by_list = np.maximum(MIN_USER_SHARE * last_users_by_list, last_users_by_list > 0)
    n_windows = 0
    # One at a time, as each count is a pass over the whole log.
    while n_windows < limit:
        horizons_back = n_windows + 1
        history_s = last_history_s - horizons_back * task.horizon_s
        if history_s <= 0 or history_s < share * last_history_s - TOLERANCE * task.horizon_s:
            break
        n_users = users_of_window(log, test_users, task, horizons_back)
        if n_users < max(MIN_USER_SHARE * n_last_users, 1):
            shortfall = f"and the window {horizons_back} before the last has {n_users:,} users, too few to learn from"
            return n_windows, f"{shortfall} (the last has {n_last_users:,})"
        is_enough = users_by_list(log, test_users, task, horizons_back) >= min_users_by_list
        if not is_enough.all():
            list_name = task.lists[int(np.argmin(is_enough))]
            return n_windows, f"and too little of {list_name} {horizons_back} before the last window to learn from"
        n_windows += 1
    return n_windows, ""


def user_groups(windows: Sequence[Ints], n_groups: int, seed: int) -> list[npt.NDArray[np.int32]]:
    """Split the users of windows into random groups, the same in every window.

    There are fewer than `n_groups` groups if one would be empty in some window.

    Examples
    --------
    >>> [g.tolist() for g in user_groups([np.array([3, 5, 8], np.int32), np.array([5, 8], np.int32)], 2, 1)]
    [[0, 1, 0], [1, 0]]
    """
    all_users = np.unique(np.concatenate(windows))
    random_ranks = np.empty(len(all_users), np.int64)
    random_ranks[np.random.default_rng(seed).permutation(len(all_users))] = np.arange(len(all_users))
    for n in range(max(1, min([n_groups, *map(len, windows)])), 0, -1):
        groups = [(random_ranks[np.searchsorted(all_users, users)] % n).astype(np.int32) for users in windows]
        if all(len(np.unique(group)) == n for group in groups):
            break
    return groups
