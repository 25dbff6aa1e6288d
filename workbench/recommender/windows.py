"""Windows: the history at a moment, the users to recommend to, and the ground truth if it is known.

Validation and test windows are made only here; later steps treat both alike.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.core.errors import ConfigError, DataError
from workbench.recommender.extra import compiled
from workbench.recommender.interactions import COUNT_CHUNK, Ids, Interactions, count_items, kind_codes

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
ALL_KINDS = -1
"""The value for compiled functions if all kinds count."""


@dataclass(frozen=True)
class TaskSpec:
    """The task: which events to predict.

    Attributes
    ----------
    cut : str
        ``"last"`` to predict the users' events in the horizon after the end of the log, as in H&M; ``"session"`` to
        predict the rest of sessions that began in the horizon, as in OTTO.
    horizon_s : int
    k : int
        The length of the lists.
    kinds : tuple of str, optional
        A list for each of them; None for one list of all kinds.
    first : tuple of str
        Kinds of which only the next event counts; all events of other kinds count.
    seed : int
        For the random cuts of validation sessions.
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
    """The ground truth of one list: user i of a window has ``items[offsets[i]:offsets[i + 1]]``, sorted and unique."""

    offsets: npt.NDArray[np.int64]
    items: npt.NDArray[np.int32]

    def take(self, rows: npt.NDArray[np.int64]) -> Truth:
        """Return the ground truth of some of the users, in their order."""
        lengths = np.diff(self.offsets)[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        positions = np.arange(offsets[-1]) - np.repeat(offsets[:-1] - self.offsets[rows], lengths)
        return Truth(offsets, self.items[positions])


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
        By list; None for test.
    codes : array of shape (n_items,), int32, or None
        The code in the original log of each of the window's items; None if the codes are equal.
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
    truths = None if window.truth is None else tuple(truth.take(rows) for truth in window.truth)
    return replace(window, users=window.users[rows], now=window.now[rows], truth=truths)


def with_own_codes(window: Window) -> Window:
    """Return a window whose items are coded by their frequency in its own history.

    Ties are broken by the smaller code everywhere: among neighbours, popular items, items with a vector. The codes of a
    log are by frequency in the whole log, which would leak what happened after the window.
    """
    log = window.history
    codes_by_id = log.item_ids.values.arg_sort().to_numpy()
    counts = count_items(log)
    codes = codes_by_id[np.argsort(-counts[codes_by_id], kind="stable")].astype(np.int32)
    if np.array_equal(codes, np.arange(len(codes))):
        return window
    window_codes = np.empty(len(codes), np.int32)
    window_codes[codes] = np.arange(len(codes), dtype=np.int32)
    items = np.empty_like(log.items)
    for low in range(0, len(items), COUNT_CHUNK):
        items[low : low + COUNT_CHUNK] = window_codes[log.items[low : low + COUNT_CHUNK]]
    ids = log.item_ids
    table = None if ids.table is None else np.where(ids.table < 0, np.int32(-1), window_codes[ids.table])
    history = replace(log, items=items, item_ids=Ids(ids.values.gather(codes), table, ids.low))
    truths = None if window.truth is None else tuple(_recode(truth, window_codes) for truth in window.truth)
    return replace(window, history=history, truth=truths, codes=codes if window.codes is None else window.codes[codes])


def _recode(truth: Truth, codes: npt.NDArray[np.int32]) -> Truth:
    """Return the ground truth in other codes, sorted by them for each user."""
    rows = np.repeat(np.arange(len(truth.offsets) - 1), np.diff(truth.offsets))
    items = codes[truth.items]
    return Truth(truth.offsets, items[np.lexsort((items, rows))])


def history_frame(log: Interactions) -> pl.DataFrame:
    """Return a log as a frame of ids: user, item, time (seconds since 1970), kind, and weight if it has weights."""
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
    """Add users to a log; those that it lacks get empty lists.

    Raises
    ------
    DataError
        When the ids have another type than the log's.
    """
    log_ids = log.users.values
    try:
        users = ids.cast(log_ids.dtype)
    except pl.exceptions.PolarsError as exc:
        raise DataError(
            f"the users have the type {ids.dtype} in the submission and {log_ids.dtype} in the interactions: "
            f"{str(exc).splitlines()[0]}"
        ) from exc
    new_ids = users.filter(log.users.codes(users) < 0).drop_nulls().unique()
    if not len(new_ids):
        return log
    lengths = np.concatenate([np.diff(log.starts), np.zeros(len(new_ids), np.int64)])
    values = pl.concat([log_ids, new_ids.alias(log_ids.name)])
    order = values.arg_sort().to_numpy()
    starts = np.concatenate([[0], np.cumsum(lengths[order])]).astype(np.int64)
    return replace(log, users=Ids(values.gather(order)), starts=starts)


def history_until(log: Interactions, ends: npt.NDArray[np.int64]) -> Interactions:
    """Return a log whose lists are cut off at the positions `ends`; ids keep their codes."""
    starts = np.zeros(len(log.starts), np.int64)
    np.cumsum(ends - log.starts[:-1], out=starts[1:])
    n_events = int(starts[-1])
    items, times, kinds = np.empty(n_events, np.int32), np.empty(n_events, np.int32), np.empty(n_events, np.uint8)
    weights = np.empty(n_events if len(log.weights) else 0, np.float32)
    take_heads = compiled("compiled_windows").take_heads
    take_heads((log.starts, ends, starts), log.arrays, (items, times, kinds, weights))
    return replace(log, starts=starts, items=items, times=times, kinds=kinds, weights=weights)


def make_test_window(log: Interactions, users: npt.NDArray[np.int32], task: TaskSpec) -> Window:
    """Return the window of the test users.

    Parameters
    ----------
    log : Interactions
        All known events, including those of test.
    users : int32 array
        Codes; -1 for users without events.
    """
    return Window(log, users.astype(np.int32), _now(log, log.starts[1:], users, task))


def _is_eligible(log: Interactions, test_users: npt.NDArray[np.int32], task: TaskSpec) -> npt.NDArray[np.bool_]:
    """Return which users may be in a validation window: with "session" all but the test sessions."""
    is_eligible = np.ones(len(log.users), np.bool_)
    if task.cut == "session":
        is_eligible[test_users[test_users >= 0]] = False
    return is_eligible


def history_seconds(log: Interactions, test_users: npt.NDArray[np.int32], task: TaskSpec) -> int:
    """Return the end of the history for validation: the second after the last event, or the last session's start."""
    # Sessions that began before those of test may overlap with them, so the horizon counts their starts.
    positions = log.starts[:-1] if task.cut == "session" else log.starts[1:] - 1
    has_event = _is_eligible(log, test_users, task) & (np.diff(log.starts) > 0)
    return int(log.times[positions[has_event]].max(initial=-1)) + 1


def users_of_window(log: Interactions, test_users: npt.NDArray[np.int32], task: TaskSpec, earlier: int = 0) -> int:
    """Return the number of users of a validation window, without making it; see `make_validation_window`."""
    begins, ends = _truth_ranges(log, test_users, task, earlier)
    return int((begins < ends).sum())


def users_by_list(
    log: Interactions, test_users: npt.NDArray[np.int32], task: TaskSpec, earlier: int = 0
) -> npt.NDArray[np.int64]:
    """Return the number of a validation window's users with ground truth in each list, without making the window.

    As sessions are cut at random, they count if any event after their first is of the list's kind.
    """
    begins, ends = _truth_ranges(log, test_users, task, earlier)
    kinds = [ALL_KINDS] if task.kinds is None else kind_codes(log, task.kinds)
    count_lists_with = compiled("compiled_windows").count_lists_with
    return np.array([count_lists_with(begins, ends, log.kinds, kind) for kind in kinds], np.int64)


def _truth_ranges(
    log: Interactions, test_users: npt.NDArray[np.int32], task: TaskSpec, earlier: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the range of each user's events that may be ground truth; empty for users that are not in the window."""
    starts, ends = log.starts[:-1], log.starts[1:]
    cut_s = history_seconds(log, test_users, task) - (1 + earlier) * task.horizon_s
    if cut_s <= 0:
        return ends, ends
    first_from = compiled("compiled_windows").first_from
    begins = first_from(log.starts, log.times, cut_s)
    if earlier:
        ends = first_from(log.starts, log.times, cut_s + task.horizon_s)
    is_eligible = _is_eligible(log, test_users, task)
    if task.cut == "session":
        is_eligible &= begins == starts
        begins = np.minimum(starts + 1, ends)
    return np.where(is_eligible, begins, ends), ends


def make_validation_window(
    log: Interactions, test_users: npt.NDArray[np.int32], task: TaskSpec, *, earlier: int = 0
) -> Window:
    """Return a window like the test's that ends before the end of the log, so that its ground truth is known.

    With the cut "last" the last horizon of the log is hidden, and the users who were active in it are scored. With
    "session" the scored sessions are those of train that began in the last horizon and have two events or more: each is
    cut at a random position, and older ones end where the horizon begins.

    Parameters
    ----------
    test_users : int32 array
        The users of the test window, which are excluded with "session".
    earlier : int
        The window ends this many horizons before the last one, as if nothing after it were known.

    Returns
    -------
    Window
        Its items have the log's codes, which reveal their frequencies in the whole log: see `with_own_codes`.

    Raises
    ------
    DataError
        When the log is too short, or the window has no users.
    """
    first_from = compiled("compiled_windows").first_from
    is_eligible, lengths = _is_eligible(log, test_users, task), np.diff(log.starts)
    history_s = history_seconds(log, test_users, task)
    cut_s = history_s - (1 + earlier) * task.horizon_s
    if cut_s <= 0:
        horizon = f"the horizon is {task.horizon_s / 86_400:,.1f}"
        days = f"the interactions span {history_s / 86_400:,.1f} days, and {horizon}"
        if earlier:
            raise DataError(f"{days}: there is no history before {1 + earlier} of them", hint="fewer windows")
        raise DataError(f"{days}: there is no history before it", hint="a shorter horizon, or a longer log")
    if earlier:
        log = history_until(log, first_from(log.starts, log.times, cut_s + task.horizon_s))
        lengths = np.diff(log.starts)
    ends = first_from(log.starts, log.times, cut_s)
    if task.cut == "last":
        users = _codes_where(is_eligible & (ends < log.starts[1:]))
    else:
        users = _codes_where(is_eligible & (ends == log.starts[:-1]) & (lengths >= 2))
        cut_shares = np.random.default_rng(task.seed).random(len(users)) * (lengths[users] - 1)
        ends[~is_eligible] = log.starts[:-1][~is_eligible]  # test is unknown at that time
        ends[users] = log.starts[users] + 1 + cut_shares.astype(np.int64)
    if not len(users):
        horizon = f"the horizon {earlier} before the last" if earlier else "the last horizon"
        raise DataError(f"no user has interactions in {horizon}: there is nothing to validate on")
    history = history_until(log, ends)
    truth = tuple(_truth(log, users, ends, task, kind) for kind in task.lists)
    now = _now(log, ends, users, task, cut_s)
    return Window(history, users, now, truth)


def _codes_where(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
    return np.flatnonzero(mask).astype(np.int32)


def _now(
    log: Interactions,
    ends: npt.NDArray[np.int64],
    users: npt.NDArray[np.int32],
    task: TaskSpec,
    cut_s: int | None = None,
) -> npt.NDArray[np.int32]:
    """Return the users' present: the same time for all, or for sessions the time of their last known event."""
    latest_s = int(log.times.max(initial=-1)) + 1 if cut_s is None else cut_s
    now = np.full(len(users), latest_s, np.int32)
    if task.cut == "session":
        rows = np.flatnonzero(users >= 0)
        rows = rows[ends[users[rows]] > log.starts[users[rows]]]
        now[rows] = log.times[ends[users[rows]] - 1]
    return now


def _truth(
    log: Interactions, users: npt.NDArray[np.int32], ends: npt.NDArray[np.int64], task: TaskSpec, kind: str
) -> Truth:
    """Return the ground truth of a list: the users' events from `ends` on."""
    code = ALL_KINDS if task.kinds is None else kind_codes(log, [kind])[0]
    only_first = kind in task.first
    rows, items = compiled("compiled_windows").ground_truth(
        (log.starts, log.items, log.kinds), users, ends, code, only_first
    )
    keys = np.unique(rows * np.int64(log.n_items) + items)
    counts = np.bincount(keys // log.n_items, minlength=len(users))
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Truth(offsets, (keys % log.n_items).astype(np.int32))
