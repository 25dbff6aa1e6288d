"""What windows, sources and features are, said plainly, user by user; slow, and what the compiled ones are held to."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

from workbench.recommender import Interactions

Event = tuple[int, int, int]


def events_of(log: Interactions, user: int) -> list[Event]:
    """A user's events in their order: item, time, kind, all as codes."""
    if user < 0:
        return []
    part = slice(int(log.starts[user]), int(log.starts[user + 1]))
    return [(int(i), int(t), int(k)) for i, t, k in zip(log.items[part], log.times[part], log.kinds[part], strict=True)]


def own_weights(log: Interactions, user: int) -> list[float]:
    """What each of a user's events weighs by itself."""
    part = slice(int(log.starts[user]), int(log.starts[user + 1]))
    return log.weights[part].tolist() if len(log.weights) else [1.0] * (part.stop - part.start)


def weights_of_events(
    events: list[Event],
    own: list[float],
    now: int,
    weights: list[float],
    rule: tuple[int, float | None, float | None],
) -> list[tuple[int, float]]:
    """The last events, the latest first, as (item, weight)."""
    told = []
    last, decay_s, decay_events = rule
    for place, (item, time, kind) in enumerate(list(reversed(events))[:last]):
        weight = weights[kind] * own[len(own) - 1 - place]
        if decay_s:
            weight /= 1 + (now - time) / decay_s
        if decay_events:
            weight /= 1 + place / decay_events
        told.append((item, weight))
    return told


def best(sums: dict[int, float], top: int) -> list[tuple[int, float]]:
    """The largest, as float32, of equal ones the smaller code."""
    rounded = {item: float(np.float32(s)) for item, s in sums.items()}
    return sorted(rounded.items(), key=lambda pair: (-pair[1], pair[0]))[:top]


def own(told: list[tuple[int, float]], top: int) -> list[tuple[int, float]]:
    sums: dict[int, float] = defaultdict(float)
    for item, weight in told:
        if weight > 0:
            sums[item] += weight
    return best(sums, top)


def votes(told: list[tuple[int, float]], near: Any, shares: Any, top: int) -> list[tuple[int, float]]:
    sums: dict[int, float] = defaultdict(float)
    for item, weight in told:
        if weight > 0:
            for other, share in zip(near[item], shares[item], strict=True):
                if other >= 0:
                    sums[int(other)] += weight * float(share)
    return best(sums, top)


def in_turns(lists: list[list[int]], tops: list[int], limit: int, barred: set[int]) -> list[int]:
    """The first of each list, then the second of each, and so on; each item once, and none that is barred."""
    taken: list[int] = []
    lists = [[item for item in items if item not in barred] for items in lists]
    for rank in range(max(tops, default=0)):
        for items, top in zip(lists, tops, strict=True):
            if rank < min(top, len(items)) and items[rank] not in taken and len(taken) < limit:
                taken.append(items[rank])
    return taken


def pair_features(events: list[Event], now: int, item: int, n_kinds: int, decay_s: float) -> dict[str, float]:
    """What a user did with an item."""
    mine = [(place, time, kind) for place, (i, time, kind) in enumerate(events) if i == item]
    times = sorted({time for _, time, _ in mine})
    told = {
        "own_events": float(len(mine)),
        "own_visits": float(len(times)),
        "own_recent": sum(1 / (1 + (now - time) / decay_s) for _, time, _ in mine),
        "own_first_age": now - times[0] if times else np.nan,
        "own_last_age": now - times[-1] if times else np.nan,
        "own_ago": len(events) - mine[-1][0] if mine else np.nan,
        "own_due": np.nan,
        **{f"kind {k}": float(sum(kind == k for _, _, kind in mine)) for k in range(n_kinds)},
    }
    if len(times) > 1:
        told["own_due"] = (now - times[-1]) / ((times[-1] - times[0]) / (len(times) - 1))
    return told
