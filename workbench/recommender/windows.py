"""Windows: what is known at a moment, who is asked for, and, where it is known, what came then.

The validation window and the test window are made here and nowhere else; all that follows takes a window, and can't
tell the one from the other.
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
    "Asked",
    "Truth",
    "Window",
    "history_frame",
    "known_seconds",
    "known_until",
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
"""What the compiled functions take for a kind where all of them count."""


@dataclass(frozen=True)
class Asked:
    """What is asked for.

    Attributes
    ----------
    cut : str
        ``"last"``: what users do in the horizon after the end of the log, as in H&M. ``"session"``: how sessions go on
        that began in the horizon, as in OTTO.
    horizon_s : int
    k : int
        The length of the lists.
    kinds : tuple of str, optional
        A list for each of them; None: one list, of whatever kind.
    first : tuple of str
        Kinds of which only the next event counts; of the others all do.
    seed : int
        Of where the sessions of validation are cut.
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
    """What came, for one list of every user that is asked for: ``items[offsets[i]:offsets[i + 1]]``, each once."""

    offsets: npt.NDArray[np.int64]
    items: npt.NDArray[np.int32]

    def take(self, rows: npt.NDArray[np.int64]) -> Truth:
        """Return that of some of the users, in their order."""
        lengths = np.diff(self.offsets)[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        at = np.arange(offsets[-1]) - np.repeat(offsets[:-1] - self.offsets[rows], lengths)
        return Truth(offsets, self.items[at])


@dataclass(frozen=True)
class Window:
    """What is known at a moment, who is asked for, and what came then.

    Attributes
    ----------
    history : Interactions
        All that is known.
    users : array of shape (n,), int32
        Codes in `history`; -1 for a user that has no code, since the log has no event of theirs.
    now : array of shape (n,), int32
        The second, since `history.origin`, that is the present for the user.
    truth : tuple of Truth, or None
        By list; None where it is not known.
    codes : array of shape (n_items,), int32, or None
        Of each of the window's items the code in the log that the window was made of; None where it is the same one.
    """

    history: Interactions
    users: npt.NDArray[np.int32]
    now: npt.NDArray[np.int32]
    truth: tuple[Truth, ...] | None = None
    codes: npt.NDArray[np.int32] | None = None

    def __len__(self) -> int:
        return len(self.users)


def take_users(window: Window, rows: npt.NDArray[np.int64]) -> Window:
    """Return a window that asks for some of its users; what is known stays."""
    truth = None if window.truth is None else tuple(t.take(rows) for t in window.truth)
    return replace(window, users=window.users[rows], now=window.now[rows], truth=truth)


def with_own_codes(window: Window) -> Window:
    """Return a window whose items are coded by how often they occur in what is known, as if nothing else were read.

    Of items that are as good as each other the smaller code is preferred everywhere: neighbours, what is popular, what
    gets a vector. A log's codes are by how often items occur in all of it; of a window before its end that would prefer
    what came afterwards.
    """
    log = window.history
    by_id = log.item_ids.values.arg_sort().to_numpy()
    counts = count_items(log)
    codes = by_id[np.argsort(-counts[by_id], kind="stable")].astype(np.int32)
    if np.array_equal(codes, np.arange(len(codes))):
        return window
    own = np.empty(len(codes), np.int32)
    own[codes] = np.arange(len(codes), dtype=np.int32)
    items = np.empty_like(log.items)
    for low in range(0, len(items), COUNTED):
        items[low : low + COUNTED] = own[log.items[low : low + COUNTED]]
    ids = log.item_ids
    table = None if ids.table is None else np.where(ids.table < 0, np.int32(-1), own[ids.table])
    history = replace(log, items=items, item_ids=Ids(ids.values.gather(codes), table, ids.low))
    truth = None if window.truth is None else tuple(_recoded(t, own) for t in window.truth)
    return replace(window, history=history, truth=truth, codes=codes if window.codes is None else window.codes[codes])


def _recoded(truth: Truth, codes: npt.NDArray[np.int32]) -> Truth:
    """Return what came in other codes, that of each user in their order again."""
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
    """Return a log that has users of these ids, too: those that it does not know have no events.

    Raises
    ------
    DataError
        When the ids are of another type than the log's.
    """
    known = log.users.values
    try:
        asked = ids.cast(known.dtype)
    except pl.exceptions.PolarsError as exc:
        raise DataError(
            f"the users that are asked for are {ids.dtype}, those of the interactions {known.dtype}: "
            f"{str(exc).splitlines()[0]}"
        ) from exc
    new = asked.filter(log.users.codes(asked) < 0).drop_nulls().unique()
    if not len(new):
        return log
    lengths = np.concatenate([np.diff(log.starts), np.zeros(len(new), np.int64)])
    values = pl.concat([known, new.alias(known.name)])
    order = values.arg_sort().to_numpy()
    starts = np.concatenate([[0], np.cumsum(lengths[order])]).astype(np.int64)
    return replace(log, users=Ids(values.gather(order)), starts=starts)


def known_until(log: Interactions, ends: npt.NDArray[np.int64]) -> Interactions:
    """Return a log of which each user's list ends before `ends`; ids keep their codes."""
    starts = np.zeros(len(log.starts), np.int64)
    np.cumsum(ends - log.starts[:-1], out=starts[1:])
    n = int(starts[-1])
    n_weights = n if len(log.weights) else 0
    to = (np.empty(n, np.int32), np.empty(n, np.int32), np.empty(n, np.uint8), np.empty(n_weights, np.float32))
    compiled("compiled_windows").take_heads((log.starts, ends, starts), log.arrays, to)
    return replace(log, starts=starts, items=to[0], times=to[1], kinds=to[2], weights=to[3])


def make_test_window(log: Interactions, users: npt.NDArray[np.int32], asked: Asked) -> Window:
    """Return the window of those that the competition asks for.

    Parameters
    ----------
    log : Interactions
        All that is known, of test too.
    users : int32 array
        Their codes; -1 for those without events.
    """
    return Window(log, users.astype(np.int32), _now(log, log.starts[1:], users, asked))


def _taking_part(log: Interactions, tested: npt.NDArray[np.int32], asked: Asked) -> npt.NDArray[np.bool_]:
    """Return whose lists are those of a validation window: with "session" the test's sessions are not."""
    part = np.ones(len(log.users), np.bool_)
    if asked.cut == "session":
        part[tested[tested >= 0]] = False
    return part


def known_seconds(log: Interactions, tested: npt.NDArray[np.int32], asked: Asked) -> int:
    """Return the end of what validation may know: the second after the last event, or the last session's beginning."""
    # Sessions that began before those of test may go on beside them: the horizon is that of beginnings.
    at = log.starts[:-1] if asked.cut == "session" else log.starts[1:] - 1
    counted = _taking_part(log, tested, asked) & (np.diff(log.starts) > 0)
    return int(log.times[at[counted]].max(initial=-1)) + 1


def users_of_window(log: Interactions, tested: npt.NDArray[np.int32], asked: Asked, earlier: int = 0) -> int:
    """Return how many users a validation window asks for, without making it; see `make_validation_window`."""
    begins, ends = _to_foresee(log, tested, asked, earlier)
    return int((begins < ends).sum())


def users_by_list(
    log: Interactions, tested: npt.NDArray[np.int32], asked: Asked, earlier: int = 0
) -> npt.NDArray[np.int64]:
    """Return for each list how many of a validation window's users may have something to foresee, without making it.

    Of sessions, which are cut at random, those count that have such an event behind their first.
    """
    begins, ends = _to_foresee(log, tested, asked, earlier)
    kinds = [EVERY_KIND] if asked.kinds is None else kind_codes(log, asked.kinds)
    count = compiled("compiled_windows").count_lists_with
    return np.array([count(begins, ends, log.kinds, kind) for kind in kinds], np.int64)


def _to_foresee(
    log: Interactions, tested: npt.NDArray[np.int32], asked: Asked, earlier: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return from where to where each user's events may have to be foreseen; of those not asked for there are none."""
    starts, ends = log.starts[:-1], log.starts[1:]
    moment = known_seconds(log, tested, asked) - (1 + earlier) * asked.horizon_s
    if moment <= 0:
        return ends, ends
    first = compiled("compiled_windows").first_from
    begins = first(log.starts, log.times, moment)
    if earlier:
        ends = first(log.starts, log.times, moment + asked.horizon_s)
    part = _taking_part(log, tested, asked)
    if asked.cut == "session":
        part &= begins == starts
        begins = np.minimum(starts + 1, ends)
    return np.where(part, begins, ends), ends


def make_validation_window(
    log: Interactions, tested: npt.NDArray[np.int32], asked: Asked, *, earlier: int = 0
) -> Window:
    """Return a window like the test's that ends before the end of what is known, so that what came then is known, too.

    With the cut "last" the last horizon of the log is hidden, and asked is for those who did something in it. With
    "session" that is so for sessions that began in the last horizon of the sessions that are not of test, and have two
    events or more: each is cut at a random place, and older ones end where the horizon begins.

    Parameters
    ----------
    tested : int32 array
        The users of the test window, which with "session" take no part.
    earlier : int
        The window ends so many horizons before the last one does, as if nothing that came after it were known.

    Returns
    -------
    Window
        Its items have the log's codes, which tell how often each occurs in all of it: see `with_own_codes`.

    Raises
    ------
    DataError
        When the log is too short, or nobody can be asked for.
    """
    run = compiled("compiled_windows")
    part, lengths = _taking_part(log, tested, asked), np.diff(log.starts)
    known = known_seconds(log, tested, asked)
    moment = known - (1 + earlier) * asked.horizon_s
    if moment <= 0:
        days = (
            f"the interactions go over {known / 86_400:,.1f} days, and the horizon has {asked.horizon_s / 86_400:,.1f}"
        )
        if earlier:
            raise DataError(f"{days}: nothing is known before {1 + earlier} of them", hint="fewer windows")
        raise DataError(f"{days}: nothing is known before it", hint="a shorter horizon, or a longer log")
    if earlier:
        log = known_until(log, run.first_from(log.starts, log.times, moment + asked.horizon_s))
        lengths = np.diff(log.starts)
    ends = run.first_from(log.starts, log.times, moment)
    if asked.cut == "last":
        users = _codes(part & (ends < log.starts[1:]))
    else:
        users = _codes(part & (ends == log.starts[:-1]) & (lengths >= 2))
        kept = np.random.default_rng(asked.seed).random(len(users)) * (lengths[users] - 1)
        ends[~part] = log.starts[:-1][~part]  # test is not known at that time
        ends[users] = log.starts[users] + 1 + kept.astype(np.int64)
    if not len(users):
        which = f"the horizon that is {earlier} before the last" if earlier else "the last horizon"
        raise DataError(f"nobody has interactions in {which}: there is nothing to validate on")
    history = known_until(log, ends)
    truth = tuple(_truth(log, users, ends, asked, kind) for kind in asked.lists)
    now = _now(log, ends, users, asked, moment)
    return Window(history, users, now, truth)


def _codes(chosen: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
    return np.flatnonzero(chosen).astype(np.int32)


def _now(
    log: Interactions,
    ends: npt.NDArray[np.int64],
    users: npt.NDArray[np.int32],
    asked: Asked,
    moment: int | None = None,
) -> npt.NDArray[np.int32]:
    """Return the present: that of all, or for sessions the time of the last event that is known."""
    latest = int(log.times.max(initial=-1)) + 1 if moment is None else moment
    now = np.full(len(users), latest, np.int32)
    if asked.cut == "session":
        rows = np.flatnonzero(users >= 0)
        rows = rows[ends[users[rows]] > log.starts[users[rows]]]
        now[rows] = log.times[ends[users[rows]] - 1]
    return now


def _truth(
    log: Interactions, users: npt.NDArray[np.int32], ends: npt.NDArray[np.int64], asked: Asked, kind: str
) -> Truth:
    code = EVERY_KIND if asked.kinds is None else kind_codes(log, [kind])[0]
    only_first = kind in asked.first
    rows, items = compiled("compiled_windows").what_came(
        (log.starts, log.items, log.kinds), users, ends, code, only_first
    )
    keys = np.unique(rows * np.int64(log.n_items) + items)
    counts = np.bincount(keys // log.n_items, minlength=len(users))
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Truth(offsets, (keys % log.n_items).astype(np.int32))
