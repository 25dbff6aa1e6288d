"""Windows: the history at a moment, the users to recommend to, and the ground truth where it is known.

Validation and test windows are made only here; later steps take a window and can't tell one from the other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.core.errors import ConfigError, DataError
from workbench.recommender.extra import compiled
from workbench.recommender.interactions import COUNTED, Ids, Interactions, count_items, kind_codes

__all__ = [
    "TaskSpec",
    "Truth",
    "Window",
    "history_frame",
    "history_seconds",
    "history_until",
    "make_test_window",
    "make_validation_window",
    "take_users",
    "users_by_list",
    "users_of_window",
    "with_own_codes",
    "with_users",
]

CUTS = ("last", "session")
EVERY_KIND = -1
"""The kind for compiled functions where all kinds count."""


@dataclass(frozen=True)
class TaskSpec:
    """The task: which events to predict.

    Attributes
    ----------
    cut : str
        ``"last"``: the users' events in the horizon after the end of the log, as in H&M. ``"session"``: the rest of
        sessions that began in the horizon, as in OTTO.
    horizon_s : int
    k : int
        The length of the lists.
    kinds : tuple of str, optional
        A list for each of them; None for one list of all kinds.
    first : tuple of str
        Kinds of which only the next event counts; of the others all do.
    seed : int
        For the places where validation sessions are cut.
    """

    cut: str
    horizon_s: int
    k: int
    kinds: tuple[str, ...] | None = None
    first: tuple[str, ...] = ()
    seed: int = 42

    def __post_init__(self) -> None:
        if self.cut not in CUTS:
            raise ConfigError(f"cut = {self.cut!r}: expected one of {', '.join(CUTS)}")
        for name in ("horizon_s", "k"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} = {getattr(self, name)!r}: expected 1 or more")

    @property
    def lists(self) -> tuple[str, ...]:
        """The names of the lists of a user."""
        return self.kinds or ("items",)


@dataclass(frozen=True)
class Truth:
    """The ground truth of one list for every user of a window: ``items[offsets[i]:offsets[i + 1]]``, each item once."""

    offsets: npt.NDArray[np.int64]
    items: npt.NDArray[np.int32]

    def take(self, rows: npt.NDArray[np.int64]) -> Truth:
        """Return the ground truth of some of the users, in their order."""
        lengths = np.diff(self.offsets)[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        at = np.arange(offsets[-1]) - np.repeat(offsets[:-1] - self.offsets[rows], lengths)
        return Truth(offsets, self.items[at])


@dataclass(frozen=True)
class Window:
    """The history at a moment, the users to recommend to, and the ground truth.

    Attributes
    ----------
    history : Interactions
        All known events.
    users : array of shape (n,), int32
        Codes in `history`; -1 for a user without events in the log.
    now : array of shape (n,), int32
        The user's present, in seconds since `history.origin`.
    truth : tuple of Truth, or None
        By list; None where it is unknown.
    codes : array of shape (n_items,), int32, or None
        The code of each of the window's items in the original log; None where it is the same.
    """

    history: Interactions
    users: npt.NDArray[np.int32]
    now: npt.NDArray[np.int32]
    truth: tuple[Truth, ...] | None = None
    codes: npt.NDArray[np.int32] | None = None

    def __len__(self) -> int:
        return len(self.users)


def take_users(window: Window, rows: npt.NDArray[np.int64]) -> Window:
    """Return a window with some of its users and the same history."""
    truth = None if window.truth is None else tuple(t.take(rows) for t in window.truth)
    return replace(window, users=window.users[rows], now=window.now[rows], truth=truth)


def with_own_codes(window: Window) -> Window:
    """Return a window whose items are coded by their frequency in its own history.

    Ties are broken by the smaller code everywhere: among neighbours, popular items, items with a vector. A log's codes
    are by frequency in all of it, which would leak what happened after the window.
    """
    log = window.history
    by_id = log.item_ids.values.arg_sort().to_numpy()
    counts = count_items(log)
    codes = by_id[np.argsort(-counts[by_id], kind="stable")].astype(np.int32)
    if np.array_equal(codes, np.arange(len(codes))):
        return window
    window_codes = np.empty(len(codes), np.int32)
    window_codes[codes] = np.arange(len(codes), dtype=np.int32)
    items = np.empty_like(log.items)
    for low in range(0, len(items), COUNTED):
        items[low : low + COUNTED] = window_codes[log.items[low : low + COUNTED]]
    ids = log.item_ids
    table = None if ids.table is None else np.where(ids.table < 0, np.int32(-1), window_codes[ids.table])
    history = replace(log, items=items, item_ids=Ids(ids.values.gather(codes), table, ids.low))
    truth = None if window.truth is None else tuple(_recoded(t, window_codes) for t in window.truth)
    return replace(window, history=history, truth=truth, codes=codes if window.codes is None else window.codes[codes])


def _recoded(truth: Truth, codes: npt.NDArray[np.int32]) -> Truth:
    """Return the ground truth in other codes, sorted again for each user."""
    rows = np.repeat(np.arange(len(truth.offsets) - 1), np.diff(truth.offsets))
    items = codes[truth.items]
    return Truth(truth.offsets, items[np.lexsort((items, rows))])


def history_frame(log: Interactions) -> pl.DataFrame:
    """Return a log as a frame of ids: user, item, time (seconds since 1970), kind, and weight where it has any."""
    users = np.repeat(np.arange(len(log.users)), np.diff(log.starts))
    return pl.DataFrame(
        {
            "user": log.users.values.gather(users),
            "item": log.item_ids.values.gather(log.items),
            "time": log.times.astype(np.int64) + log.origin,
            "kind": log.kind_ids.values.gather(log.kinds),
            **({"weight": log.weights} if len(log.weights) else {}),
        }
    )


def with_users(log: Interactions, ids: pl.Series) -> Interactions:
    """Return a log that has users of these ids, too: unknown ones have no events.

    Raises
    ------
    DataError
        When the ids are of another type than the log's.
    """
    log_ids = log.users.values
    try:
        wanted = ids.cast(log_ids.dtype)
    except pl.exceptions.PolarsError as exc:
        raise DataError(
            f"the users of the submission are {ids.dtype}, those of the interactions {log_ids.dtype}: "
            f"{str(exc).splitlines()[0]}"
        ) from exc
    new_ids = wanted.filter(log.users.codes(wanted) < 0).drop_nulls().unique()
    if not len(new_ids):
        return log
    lengths = np.concatenate([np.diff(log.starts), np.zeros(len(new_ids), np.int64)])
    values = pl.concat([log_ids, new_ids.alias(log_ids.name)])
    order = values.arg_sort().to_numpy()
    starts = np.concatenate([[0], np.cumsum(lengths[order])]).astype(np.int64)
    return replace(log, users=Ids(values.gather(order)), starts=starts)


def history_until(log: Interactions, ends: npt.NDArray[np.int64]) -> Interactions:
    """Return a log in which each user's list ends before `ends`; ids keep their codes."""
    starts = np.zeros(len(log.starts), np.int64)
    np.cumsum(ends - log.starts[:-1], out=starts[1:])
    n = int(starts[-1])
    n_weights = n if len(log.weights) else 0
    to = (np.empty(n, np.int32), np.empty(n, np.int32), np.empty(n, np.uint8), np.empty(n_weights, np.float32))
    compiled("compiled_windows").take_heads((log.starts, ends, starts), log.arrays, to)
    return replace(log, starts=starts, items=to[0], times=to[1], kinds=to[2], weights=to[3])


def make_test_window(log: Interactions, users: npt.NDArray[np.int32], task: TaskSpec) -> Window:
    """Return the window of the test users.

    Parameters
    ----------
    log : Interactions
        All known events, including test's.
    users : int32 array
        Their codes; -1 for those without events.
    """
    return Window(log, users.astype(np.int32), _now(log, log.starts[1:], users, task))


def _taking_part(log: Interactions, test_users: npt.NDArray[np.int32], task: TaskSpec) -> npt.NDArray[np.bool_]:
    """Return which lists may be in a validation window: with "session" the test's sessions are not."""
    takes_part = np.ones(len(log.users), np.bool_)
    if task.cut == "session":
        takes_part[test_users[test_users >= 0]] = False
    return takes_part


def history_seconds(log: Interactions, test_users: npt.NDArray[np.int32], task: TaskSpec) -> int:
    """Return the end of validation's history: the second after the last event, or after the last session's start."""
    # Sessions that began before those of test may overlap with them: the horizon is of the starts.
    at = log.starts[:-1] if task.cut == "session" else log.starts[1:] - 1
    counted = _taking_part(log, test_users, task) & (np.diff(log.starts) > 0)
    return int(log.times[at[counted]].max(initial=-1)) + 1


def users_of_window(log: Interactions, test_users: npt.NDArray[np.int32], task: TaskSpec, earlier: int = 0) -> int:
    """Return the number of users of a validation window, without making it; see `make_validation_window`."""
    begins, ends = _to_foresee(log, test_users, task, earlier)
    return int((begins < ends).sum())


def users_by_list(
    log: Interactions, test_users: npt.NDArray[np.int32], task: TaskSpec, earlier: int = 0
) -> npt.NDArray[np.int64]:
    """Return for each list how many of a validation window's users may have ground truth, without making the window.

    Sessions, which are cut at random, count if they have such an event after their first.
    """
    begins, ends = _to_foresee(log, test_users, task, earlier)
    kinds = [EVERY_KIND] if task.kinds is None else kind_codes(log, task.kinds)
    count = compiled("compiled_windows").count_lists_with
    return np.array([count(begins, ends, log.kinds, kind) for kind in kinds], np.int64)


def _to_foresee(
    log: Interactions, test_users: npt.NDArray[np.int32], task: TaskSpec, earlier: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the range of each user's events that may be ground truth; empty for users that are not in the window."""
    starts, ends = log.starts[:-1], log.starts[1:]
    moment = history_seconds(log, test_users, task) - (1 + earlier) * task.horizon_s
    if moment <= 0:
        return ends, ends
    first = compiled("compiled_windows").first_from
    begins = first(log.starts, log.times, moment)
    if earlier:
        ends = first(log.starts, log.times, moment + task.horizon_s)
    takes_part = _taking_part(log, test_users, task)
    if task.cut == "session":
        takes_part &= begins == starts
        begins = np.minimum(starts + 1, ends)
    return np.where(takes_part, begins, ends), ends


def make_validation_window(
    log: Interactions, test_users: npt.NDArray[np.int32], task: TaskSpec, *, earlier: int = 0
) -> Window:
    """Return a window like the test's that ends before the end of the log, so that its ground truth is known.

    With the cut "last" the last horizon of the log is hidden, and the users who were active in it are scored. With
    "session" the scored sessions are those of train that began in the last horizon and have two events or more: each is
    cut at a random place, and older ones end where the horizon begins.

    Parameters
    ----------
    test_users : int32 array
        The users of the test window, which are excluded with "session".
    earlier : int
        The window ends this many horizons before the last one, as if nothing after it were known.

    Returns
    -------
    Window
        Its items have the log's codes, which reveal how often each occurs in all of it: see `with_own_codes`.

    Raises
    ------
    DataError
        When the log is too short, or the window has no users.
    """
    run = compiled("compiled_windows")
    takes_part, lengths = _taking_part(log, test_users, task), np.diff(log.starts)
    history_s = history_seconds(log, test_users, task)
    moment = history_s - (1 + earlier) * task.horizon_s
    if moment <= 0:
        horizon = f"the horizon has {task.horizon_s / 86_400:,.1f}"
        days = f"the interactions go over {history_s / 86_400:,.1f} days, and {horizon}"
        if earlier:
            raise DataError(f"{days}: nothing is known before {1 + earlier} of them", hint="fewer windows")
        raise DataError(f"{days}: nothing is known before it", hint="a shorter horizon, or a longer log")
    if earlier:
        log = history_until(log, run.first_from(log.starts, log.times, moment + task.horizon_s))
        lengths = np.diff(log.starts)
    ends = run.first_from(log.starts, log.times, moment)
    if task.cut == "last":
        users = _codes(takes_part & (ends < log.starts[1:]))
    else:
        users = _codes(takes_part & (ends == log.starts[:-1]) & (lengths >= 2))
        cut_shares = np.random.default_rng(task.seed).random(len(users)) * (lengths[users] - 1)
        ends[~takes_part] = log.starts[:-1][~takes_part]  # test is not known at that time
        ends[users] = log.starts[users] + 1 + cut_shares.astype(np.int64)
    if not len(users):
        horizon = f"the horizon that is {earlier} before the last" if earlier else "the last horizon"
        raise DataError(f"nobody has interactions in {horizon}: there is nothing to validate on")
    history = history_until(log, ends)
    truth = tuple(_truth(log, users, ends, task, kind) for kind in task.lists)
    now = _now(log, ends, users, task, moment)
    return Window(history, users, now, truth)


def _codes(chosen: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
    return np.flatnonzero(chosen).astype(np.int32)


def _now(
    log: Interactions,
    ends: npt.NDArray[np.int64],
    users: npt.NDArray[np.int32],
    task: TaskSpec,
    moment: int | None = None,
) -> npt.NDArray[np.int32]:
    """Return the users' present: the same for all, or for sessions the time of the last known event."""
    latest = int(log.times.max(initial=-1)) + 1 if moment is None else moment
    now = np.full(len(users), latest, np.int32)
    if task.cut == "session":
        rows = np.flatnonzero(users >= 0)
        rows = rows[ends[users[rows]] > log.starts[users[rows]]]
        now[rows] = log.times[ends[users[rows]] - 1]
    return now


def _truth(
    log: Interactions, users: npt.NDArray[np.int32], ends: npt.NDArray[np.int64], task: TaskSpec, kind: str
) -> Truth:
    code = EVERY_KIND if task.kinds is None else kind_codes(log, [kind])[0]
    only_first = kind in task.first
    rows, items = compiled("compiled_windows").ground_truth(
        (log.starts, log.items, log.kinds), users, ends, code, only_first
    )
    keys = np.unique(rows * np.int64(log.n_items) + items)
    counts = np.bincount(keys // log.n_items, minlength=len(users))
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Truth(offsets, (keys % log.n_items).astype(np.int32))
