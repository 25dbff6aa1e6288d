"""How a recommender is scored: by windows whose ranker saw earlier ones only, or by users held out of the last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from workbench.core.errors import ConfigError
from workbench.recommender.interactions import Interactions
from workbench.recommender.windows import Asked, known_seconds, users_by_list, users_of_window

__all__ = ["Validation", "ValidationSpec", "choose_validation", "user_groups"]

MOST_WINDOWS = 4
FEW_USERS = 0.1
"""A window with a smaller share of the last one's users, in all or of a list, says little of it."""

CLOSE = 0.01
"""The last event comes somewhat before the end of the last horizon: by so large a share of one it may be short."""

DAY_S = 86_400

Ints = npt.NDArray[np.int32]


@dataclass(frozen=True)
class ValidationSpec:
    """What is asked for.

    Attributes
    ----------
    scheme : "windows", "users" or None
        None: windows where the log is long enough, else users.
    windows : int, optional
        So many windows at the end of the log are scored; None: as the log's length allows, four at most.
    """

    scheme: str | None = None
    windows: int | None = None


@dataclass(frozen=True)
class Validation:
    """How it is scored, and why so.

    Attributes
    ----------
    scheme : "windows" or "users"
    windows : int
        So many windows are scored: with "users" the last one.
    why : str
    doubt : str
        What is odd about the log's end; empty where nothing is.
    """

    scheme: str
    windows: int
    why: str
    doubt: str = ""


def choose_validation(log: Interactions, tested: Ints, asked: Asked, spec: ValidationSpec) -> Validation:
    """Choose how a log is scored, by its length in horizons.

    A window is scored by a ranker that learned from windows before it. The first of those has half of what is known
    before the last window at least, and as much as a tenth of its users, of each list too: what is learned of much less
    is of another kind. Nothing of this depends on the experiment, so that all are scored on the same windows.

    Raises
    ------
    ConfigError
        When the windows that are asked for are more than the log has.
    """
    horizons = _length(log, tested, asked) / asked.horizon_s
    length = f"the log has {horizons:.1f} horizons"
    doubt = _doubt(log, tested, asked)
    if spec.scheme == "users":
        return Validation("users", 1, "as [cv] says", doubt)
    share = 0.0 if spec.scheme == "windows" or spec.windows else 0.5
    most, lacks = _most_windows(log, tested, asked, share, spec.windows or MOST_WINDOWS)
    because = f", {lacks}" if lacks else ""
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


def _length(log: Interactions, tested: Ints, asked: Asked) -> int:
    """Return how many seconds the log goes over; with dates for times the last day is a whole one."""
    ends = log.starts[1:][np.diff(log.starts) > 0] - 1
    is_of_dates = asked.horizon_s % DAY_S == 0 and not (log.times[ends] % DAY_S).any()
    return known_seconds(log, tested, asked) + (DAY_S - 1 if is_of_dates else 0)


def _doubt(log: Interactions, tested: Ints, asked: Asked) -> str:
    """Say where the last window has next to nobody: an event of a wrong time, say, is the end of the log."""
    last, before = (users_of_window(log, tested, asked, earlier) for earlier in (0, 1))
    long_enough = known_seconds(log, tested, asked) > 2 * asked.horizon_s
    if last >= FEW_USERS * before and (before or not long_enough):
        return ""
    return (
        f"users in the last window: {last:,}, in the one before it: {before:,}; "
        "is the log whole to its end, and are its last times right?"
    )


def _most_windows(log: Interactions, tested: Ints, asked: Asked, share: float, wanted: int) -> tuple[int, str]:
    """Return how many windows, of those wanted, have one before them with enough users and this share of the past.

    And what the next one lacks; empty where it is the length of the log.
    """
    last = _length(log, tested, asked) - asked.horizon_s
    users, of_lists = users_of_window(log, tested, asked), users_by_list(log, tested, asked)
    # A list of which nothing comes in the last window is none to go by.
    enough = np.maximum(FEW_USERS * of_lists, of_lists > 0)
    most = 0
    # Each look goes through the whole log.
    while most < wanted:
        before = last - (most + 1) * asked.horizon_s
        if before <= 0 or before < share * last - CLOSE * asked.horizon_s:
            break
        there = users_of_window(log, tested, asked, most + 1)
        if there < max(FEW_USERS * users, 1):
            return (
                most,
                f"and {there:,} users came {most + 1} before the last window, {users:,} in it: too few to learn from",
            )
        has = users_by_list(log, tested, asked, most + 1) >= enough
        if not has.all():
            return (
                most,
                f"and too little of {asked.lists[int(np.argmin(has))]} {most + 1} before the last window to learn from",
            )
        most += 1
    return most, ""


def user_groups(windows: Sequence[Ints], folds: int, seed: int) -> list[npt.NDArray[np.int32]]:
    """Return the group of each window's users: the same in every window, none without a user in any.

    Examples
    --------
    >>> [g.tolist() for g in user_groups([np.array([3, 5, 8], np.int32), np.array([5, 8], np.int32)], 2, 1)]
    [[0, 1, 0], [1, 0]]
    """
    everybody = np.unique(np.concatenate(windows))
    place = np.empty(len(everybody), np.int64)
    place[np.random.default_rng(seed).permutation(len(everybody))] = np.arange(len(everybody))
    for n in range(max(1, min([folds, *map(len, windows)])), 0, -1):
        groups = [(place[np.searchsorted(everybody, users)] % n).astype(np.int32) for users in windows]
        if all(len(np.unique(g)) == n for g in groups):
            break
    return groups
