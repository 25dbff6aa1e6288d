"""Reference definitions of windows, sources and features, user by user: slow, and compared with the compiled ones."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

from workbench.recommender import Interactions

Event = tuple[int, int, int]


def events_of(log: Interactions, user: int) -> list[Event]:
    """Return a user's events in their order: item, time and kind as codes."""
    if user < 0:
        return []
    part = slice(int(log.starts[user]), int(log.starts[user + 1]))
    return [(int(i), int(t), int(k)) for i, t, k in zip(log.items[part], log.times[part], log.kinds[part], strict=True)]


def own_weights(log: Interactions, user: int) -> list[float]:
    """Return the weight of each of a user's events in the log; 1 if it has no weights."""
    part = slice(int(log.starts[user]), int(log.starts[user + 1]))
    return log.weights[part].tolist() if len(log.weights) else [1.0] * (part.stop - part.start)


def weights_of_events(
    events: list[Event],
    own: list[float],
    now: int,
    weights: list[float],
    rule: tuple[int, float | None, float | None],
) -> list[tuple[int, float]]:
    """Return the last events, the latest first, as (item, weight); `rule` is (number of events, decay_s, decay_events)."""
    weighted = []
    n_events, decay_s, decay_events = rule
    for position, (item, time, kind) in enumerate(list(reversed(events))[:n_events]):
        weight = weights[kind] * own[len(own) - 1 - position]
        if decay_s:
            weight /= 1 + (now - time) / decay_s
        if decay_events:
            weight /= 1 + position / decay_events
        weighted.append((item, weight))
    return weighted


def best(sums: dict[int, float], top: int) -> list[tuple[int, float]]:
    """Return the items with the largest sums, as float32; of equal ones, those with the smaller codes."""
    rounded = {item: float(np.float32(s)) for item, s in sums.items()}
    return sorted(rounded.items(), key=lambda pair: (-pair[1], pair[0]))[:top]


def own(weighted: list[tuple[int, float]], top: int) -> list[tuple[int, float]]:
    """Return the user's own items with the largest sums of weights."""
    sums: dict[int, float] = defaultdict(float)
    for item, weight in weighted:
        if weight > 0:
            sums[item] += weight
    return best(sums, top)


def votes(weighted: list[tuple[int, float]], near: Any, shares: Any, top: int) -> list[tuple[int, float]]:
    """Return the neighbours of the user's items with the largest sums of weight times share."""
    sums: dict[int, float] = defaultdict(float)
    for item, weight in weighted:
        if weight > 0:
            for other, share in zip(near[item], shares[item], strict=True):
                if other >= 0:
                    sums[int(other)] += weight * float(share)
    return best(sums, top)


def round_robin(lists: list[list[int]], tops: list[int], limit: int, excluded: set[int]) -> list[int]:
    """Return the first of each list, then the second of each, and so on: each item once, none of `excluded`."""
    chosen: list[int] = []
    lists = [[item for item in items if item not in excluded] for items in lists]
    for rank in range(max(tops, default=0)):
        for items, top in zip(lists, tops, strict=True):
            if rank < min(top, len(items)) and items[rank] not in chosen and len(chosen) < limit:
                chosen.append(items[rank])
    return chosen


def pair_features(events: list[Event], now: int, item: int, n_kinds: int, decay_s: float) -> dict[str, float]:
    """Return the features of a user and an item by the user's events with that item."""
    item_events = [(position, time, kind) for position, (i, time, kind) in enumerate(events) if i == item]
    times = sorted({time for _, time, _ in item_events})
    features = {
        "own_events": float(len(item_events)),
        "own_visits": float(len(times)),
        "own_recent": sum(1 / (1 + (now - time) / decay_s) for _, time, _ in item_events),
        "own_first_age": now - times[0] if times else np.nan,
        "own_last_age": now - times[-1] if times else np.nan,
        "own_ago": len(events) - item_events[-1][0] if item_events else np.nan,
        "own_due": np.nan,
        **{f"kind {k}": float(sum(kind == k for _, _, kind in item_events)) for k in range(n_kinds)},
    }
    if len(times) > 1:
        features["own_due"] = (now - times[-1]) / ((times[-1] - times[0]) / (len(times) - 1))
    return features
