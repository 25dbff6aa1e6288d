"""Windows, candidates and features: equal to what they are said to be, on random logs; and nothing of what came."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import recommender_reference as reference
from workbench.core.errors import ConfigError, DataError
from workbench.recommender import (
    AttributeSource,
    Columns,
    Covisit,
    CovisitSource,
    CustomSource,
    EventWeighting,
    HistorySource,
    Interactions,
    PopularSource,
    Tables,
    TaskSpec,
    Truth,
    Window,
    make_test_window,
    make_validation_window,
    read_interactions,
    sources,
    with_users,
)
from workbench.recommender.candidate_features import prepare_features
from workbench.recommender.candidates import Generator, source_recall
from workbench.recommender.sources import SourceContext
from workbench.recommender.windows import history_frame, history_seconds, take_users

COLUMNS = Columns("user", "item", "time", "kind")
KINDS = ("carts", "clicks", "orders")
DAY = 86_400


@st.composite
def logs(draw: st.DrawFn) -> Interactions:
    """Few users, items and seconds; in any order, with equal times."""
    n = draw(st.integers(2, 70))
    events = pl.DataFrame(
        {
            "user": draw(st.lists(st.integers(0, 6), min_size=n, max_size=n)),
            "item": draw(st.lists(st.integers(0, 9), min_size=n, max_size=n)),
            "time": draw(st.lists(st.integers(0, 60), min_size=n, max_size=n)),
            "kind": draw(st.lists(st.sampled_from(KINDS), min_size=n, max_size=n)),
        }
    )
    more = pl.DataFrame({"user": [7] * 4, "item": [0, 1, 2, 0], "time": [0, 0, 0, 60], "kind": [*KINDS, "clicks"]})
    events = events.extend(more)
    if not draw(st.booleans()):
        return read_interactions(events.lazy(), COLUMNS)
    weights = draw(st.lists(st.sampled_from([0.0, 0.5, 1.0, 4.0]), min_size=n, max_size=n))
    weighted = events.with_columns(weight=pl.Series([*weights, 1.0, 2.0, 1.0, 1.0]))
    return read_interactions(weighted.lazy(), replace(COLUMNS, weight="weight"))


def ready(window: Window, tables: Tables | None = None, load: Any = None) -> SourceContext:
    return SourceContext(window, tables or Tables(), 2, load)


def whole(log: Interactions) -> Window:
    asked = TaskSpec("last", 10, 5)
    return make_test_window(log, np.arange(len(log.users), dtype=np.int32), asked)


def listed(found: Any, row: int) -> list[tuple[int, float]]:
    part = slice(int(found.offsets[row]), int(found.offsets[row + 1]))
    return list(zip(found.items[part].tolist(), found.scores[part].tolist(), strict=True))


# ------------------------------------------------------------------------------------------------------------- windows


class TestWindows:
    @settings(max_examples=150)
    @given(logs(), st.integers(5, 50), st.sampled_from([None, ("clicks", "orders")]), st.booleans(), st.integers(0, 2))
    def test_the_last_horizon_is_hidden(
        self, log: Interactions, horizon: int, kinds: Any, first: bool, earlier: int
    ) -> None:
        asked = TaskSpec("last", horizon, 5, kinds, ("clicks",) if first and kinds else ())
        moment = int(log.times.max()) + 1 - (1 + earlier) * horizon
        if earlier and (moment <= 0 or not ((log.times >= moment) & (log.times < moment + horizon)).any()):
            with pytest.raises(DataError, match="there is no history before . of them|nothing to validate on"):
                make_validation_window(log, np.empty(0, np.int32), asked, earlier=earlier)
            return
        window = make_validation_window(log, np.empty(0, np.int32), asked, earlier=earlier)
        for user in range(len(log.users)):
            before = [e for e in reference.events_of(log, user) if e[1] < moment]
            assert reference.events_of(window.history, user) == before
            assert reference.own_weights(window.history, user) == reference.own_weights(log, user)[: len(before)]
        came = {
            u: [e for e in reference.events_of(log, u) if moment <= e[1] < moment + horizon]
            for u in range(len(log.users))
        }
        assert window.users.tolist() == [u for u, events in came.items() if events]
        assert window.now.tolist() == [moment] * len(window)
        assert window.truth is not None
        for which, kind in enumerate(asked.lists):
            for row, user in enumerate(window.users):
                of_kind = [i for i, _, k in came[int(user)] if kinds is None or KINDS[k] == kind]
                expected = of_kind[:1] if kind in asked.first else of_kind
                truth = window.truth[which]
                assert truth.items[truth.offsets[row] : truth.offsets[row + 1]].tolist() == sorted(set(expected))

    @settings(max_examples=150)
    @given(logs(), st.integers(5, 50), st.sets(st.integers(0, 6), max_size=3), st.integers(0, 2))
    def test_sessions_are_cut_inside(self, log: Interactions, horizon: int, tested: set[int], earlier: int) -> None:
        known = log.users.values.to_list()
        codes = np.array([known.index(u) for u in sorted(tested) if u in known], np.int32)
        begins = {u: reference.events_of(log, u)[0][1] for u in range(len(log.users)) if u not in codes}
        moment = max(begins.values()) + 1 - (1 + earlier) * horizon
        # Of an earlier window nothing is known that is not before the next.
        end = moment + horizon if earlier else 10**9
        came_until = {u: [e for e in reference.events_of(log, u) if e[1] < end] for u in range(len(log.users))}
        wanted = [u for u, begin in begins.items() if begin >= moment and len(came_until[u]) > 1]
        asked = TaskSpec("session", horizon, 5)
        if moment <= 0 or not wanted:
            before = f"{1 + earlier} of them\nfewer windows" if earlier else "it\na shorter horizon, or a longer log"
            with pytest.raises(DataError, match=f"there is no history before {before}$|nothing to validate on"):
                make_validation_window(log, codes, asked, earlier=earlier)
            return
        window = make_validation_window(log, codes, asked, earlier=earlier)
        assert window.users.tolist() == wanted
        for row, user in enumerate(window.users):
            known_events, all_events = reference.events_of(window.history, int(user)), came_until[int(user)]
            assert 1 <= len(known_events) < len(all_events)
            assert all_events[: len(known_events)] == known_events
            assert window.now[row] == known_events[-1][1]
            assert window.truth is not None
            came = {i for i, _, _ in all_events[len(known_events) :]}
            offsets = window.truth[0].offsets
            assert set(window.truth[0].items[offsets[row] : offsets[row + 1]].tolist()) == came
        for user in set(begins) - set(wanted):
            before = [e for e in reference.events_of(log, user) if e[1] < moment]
            assert reference.events_of(window.history, user) == before
        for user in codes:
            assert reference.events_of(window.history, int(user)) == []

    def test_where_a_session_is_cut_is_any_of_its_places(self) -> None:
        n = 3_000
        events = pl.DataFrame({"user": np.repeat(range(n), 4), "item": [0, 1, 2, 3] * n, "time": [100] * 4 * n})
        events = events.extend(pl.DataFrame({"user": [-1], "item": [0], "time": [0]}))
        log = read_interactions(events.lazy(), Columns("user", "item", "time"))
        window = make_validation_window(log, np.empty(0, np.int32), TaskSpec("session", 50, 5))
        counts = np.bincount(np.diff(window.history.starts)[window.users])
        assert (np.abs(counts[1:4] / n - 1 / 3) < 0.03).all()

    def test_what_is_known_ends_with_the_last_event_or_where_the_last_session_that_is_not_of_test_begins(self) -> None:
        events = pl.DataFrame({"user": [1, 1, 2, 2, 3], "item": [1, 2, 1, 2, 1], "time": [2, 6, 0, 4, 1]})
        log = read_interactions(events.lazy(), PLAIN)
        nobody, first = np.empty(0, np.int32), np.array([0, -1], np.int32)
        last, session = TaskSpec("last", 50, 5), TaskSpec("session", 50, 5)
        assert [history_seconds(log, tested, last) for tested in (nobody, first)] == [7, 7]
        assert [history_seconds(log, tested, session) for tested in (nobody, first)] == [3, 2]

    def test_a_log_that_is_too_short(self) -> None:
        log = read_interactions(pl.DataFrame({"user": [1, 1], "item": [1, 2], "time": [5, 9]}).lazy(), PLAIN)
        with pytest.raises(DataError, match="span .* and the horizon is .*there is no history before it"):
            make_validation_window(log, np.empty(0, np.int32), TaskSpec("last", 50, 5))

    @settings(max_examples=60)
    @given(logs(), st.lists(st.integers(-3, 12), max_size=8))
    def test_users_without_events_are_added(self, log: Interactions, ids: list[int]) -> None:
        more = with_users(log, pl.Series(ids, dtype=pl.Int64))
        assert more.users.values.to_list() == sorted({*log.users.values.to_list(), *ids})
        assert history_frame(more).equals(history_frame(log))
        codes = more.users.codes(pl.Series(ids, dtype=pl.Int64))
        assert more.users.values.gather(codes).to_list() == ids

    @pytest.mark.parametrize(("change", "message"), [({"cut": "lats"}, "cut = 'lats'"), ({"k": 0}, "k = 0")])
    def test_odd_values(self, change: dict[str, Any], message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            TaskSpec(**{"cut": "last", "horizon_s": 5, "k": 5} | change)


PLAIN = Columns("user", "item", "time")

# ------------------------------------------------------------------------------------------------------------- sources

RECENT = st.builds(
    EventWeighting,
    last=st.integers(1, 9),
    weights=st.dictionaries(st.sampled_from(KINDS), st.sampled_from([0.0, 0.5, 3.0])),
    decay_s=st.sampled_from([None, 5.0, 1000.0]),
    decay_events=st.sampled_from([None, 1.0, 5.0]),
)


def weighted_events(window: Window, row: int, weighting: EventWeighting) -> list[tuple[int, float]]:
    weights = [weighting.weights.get(kind, 1.0) for kind in window.history.kind_ids.values]
    user = int(window.users[row])
    return reference.weights_of_events(
        reference.events_of(window.history, user),
        reference.own_weights(window.history, user),
        int(window.now[row]),
        weights,
        (weighting.last, weighting.decay_s, weighting.decay_events),
    )


def same(found: list[tuple[int, float]], expected: list[tuple[int, float]]) -> None:
    """The scores are sums of the same numbers, not always in the same order: near ones may have changed places."""
    assert len(found) == len(expected)
    assert [s for _, s in found] == pytest.approx([s for _, s in expected], rel=1e-5)
    of = dict(expected)
    assert all(of[i] == pytest.approx(s, rel=1e-5) for i, s in found if i in of)


class TestSources:
    @settings(max_examples=150)
    @given(logs(), RECENT, st.integers(1, 6))
    def test_own_items(self, log: Interactions, weighting: EventWeighting, top: int) -> None:
        window = whole(log)
        found = HistorySource(weighting=weighting).prepare(ready(window))(window.users, window.now, top)
        for row in range(len(window)):
            same(listed(found, row), reference.own(weighted_events(window, row, weighting), top))

    @settings(max_examples=150)
    @given(logs(), RECENT, st.integers(1, 30), st.integers(1, 5))
    def test_covisits_of_the_last_items(
        self, log: Interactions, weighting: EventWeighting, top: int, neighbours: int
    ) -> None:
        from workbench.recommender import count_covisits

        window, spec = whole(log), Covisit(last=9, window_s=30, top=neighbours)
        found = CovisitSource(counts=spec, weighting=weighting).prepare(ready(window))(window.users, window.now, top)
        near = count_covisits(log, spec)
        shares = near.weights / np.bincount(log.items, minlength=log.n_items)[:, None]
        for row in range(len(window)):
            same(listed(found, row), reference.votes(weighted_events(window, row, weighting), near.items, shares, top))

    @settings(max_examples=60)
    @given(logs(), st.sampled_from([None, 20]), st.booleans())
    def test_popular(self, log: Interactions, window_s: int | None, by: bool) -> None:
        window = whole(log)
        segment = [None if u % 3 == 0 else f"s{u % 2}" for u in log.users.values]
        tables = Tables(users=pl.DataFrame({"segment": pl.Series(segment, dtype=pl.String)}))
        spec = PopularSource(window_s=window_s, weights={"clicks": 0.5, "carts": 1.0}, by="segment" if by else None)
        found = spec.prepare(ready(window, tables))(window.users, window.now, 4)
        for row in range(len(window)):
            sums: dict[int, float] = {}
            for user in range(len(log.users)):
                if by and segment[user] != segment[int(window.users[row])]:
                    continue
                own = reference.own_weights(log, user)
                for (item, time, kind), weight in zip(reference.events_of(log, user), own, strict=True):
                    if weight and (window_s is None or time > int(log.times.max()) - window_s):
                        sums[item] = sums.get(item, 0.0) + weight * (0.5 if KINDS[kind] == "clicks" else 1.0)
            total = sum(sums.values())
            same(listed(found, row), reference.best({i: s / total for i, s in sums.items()}, 4))

    def test_popular_in_many_segments(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The log is gone through once, in parts, and not once for each segment."""
        rng = np.random.default_rng(2)
        n = 5000
        frame = pl.DataFrame({"user": rng.integers(0, 800, n), "item": rng.integers(0, 50, n), "time": np.arange(n)})
        log = read_interactions(frame.lazy(), PLAIN)
        towns = rng.integers(0, 300, len(log.users))
        seen: list[slice] = []
        weigher = sources.event_weigher

        def counted(*given: Any) -> Any:
            weigh = weigher(*given)
            return lambda part: (seen.append(part), weigh(part))[1]

        monkeypatch.setattr(sources, "event_weigher", counted)
        monkeypatch.setattr(sources, "COUNT_CHUNK", 700)
        window = whole(log)
        tables = Tables(users=pl.DataFrame({"town": towns}))
        found = PopularSource(by="town").prepare(ready(window, tables))(window.users, window.now, 4)
        assert seen == [slice(low, min(low + 700, n)) for low in range(0, n, 700)]
        users = np.repeat(np.arange(len(log.users)), np.diff(log.starts))
        for row in range(0, len(window), 40):
            counts = np.bincount(log.items[towns[users] == towns[window.users[row]]])
            expected = {i: c / counts.sum() for i, c in enumerate(counts.tolist()) if c}
            same(listed(found, row), reference.best(expected, 4))

    def test_same_attribute(self) -> None:
        frame = pl.DataFrame({"user": [1, 2, 2, 2, 3], "item": [10, 11, 11, 12, 13], "time": [1, 2, 3, 4, 5]})
        log = read_interactions(frame.lazy(), PLAIN)
        brands = {10: "a", 11: "a", 12: "a", 13: None}
        table = pl.DataFrame({"brand": [brands[i] for i in log.item_ids.values]})
        window = whole(log)
        find = AttributeSource("brand", each=2, weighting=EventWeighting(last=1)).prepare(
            ready(window, Tables(items=table))
        )
        found = find(window.users, window.now, 5)
        names = [[log.item_ids.values[i] for i, _ in listed(found, row)] for row in range(3)]
        # 11 is the most frequent of a; of the others the one with the smaller code; 13 has no brand.
        assert names == [[11, 10], [11, 10], []]
        # Their shares of the four events of a.
        assert [s for _, s in listed(found, 0)] == [0.5, 0.25]
        with pytest.raises(ConfigError, match="the table of items has no column 'brnad'"):
            AttributeSource("brnad").prepare(ready(window, Tables(items=table)))
        with pytest.raises(
            ConfigError, match="'brand' should be a column of the table of items, but there is no such table"
        ):
            AttributeSource("brand").prepare(ready(window))

    def test_a_function_of_ones_own(self) -> None:
        log = read_interactions(
            pl.DataFrame({"user": ["b", "a", "b"], "item": [5, 6, 7], "time": [10, 20, 30]}).lazy(), PLAIN
        )
        window = whole(log)

        def mine(history: pl.DataFrame, users: pl.Series, now: pl.Series) -> pl.DataFrame:
            assert history.sort("time")["item"].to_list() == [5, 6, 7]
            assert (users.to_list(), now.to_list()) == (["a", "b"], [31, 31])
            return pl.DataFrame(
                {
                    "user": ["b", "b", "a", "nobody", "b", "b"],
                    "item": [6, 5, 7, 5, 99, 6],
                    "score": [0.5, 2.0, 1.0, 1.0, 9.0, 0.1],
                }
            )

        found = CustomSource("x.py:mine").prepare(ready(window, load=lambda _: mine))(window.users, window.now, 5)
        ids = log.item_ids.values
        assert [[(ids[i], s) for i, s in listed(found, row)] for row in (0, 1)] == [[(7, 1.0)], [(5, 2.0), (6, 0.5)]]
        with pytest.raises(DataError, match=r"x.py:mine returned the columns \['a'\]; expected a frame of user, item"):
            CustomSource("x.py:mine").prepare(ready(window, load=lambda _: lambda *_: pl.DataFrame({"a": [1]})))

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: HistorySource(top=0), "history: top = 0"),
            (lambda: EventWeighting(last=0), "weighting: last = 0"),
            (lambda: EventWeighting(decay_s=0.0), "weighting: decay_s = 0.0: expected more than 0"),
            (lambda: HistorySource(weighting=EventWeighting(weights={"click": 1.0})), "have no kind 'click'"),
            (lambda: PopularSource(weights={"clicks": -1.0}), "weights.clicks = -1.0"),
        ],
    )
    def test_odd_values(self, make: Any, message: str) -> None:
        log = read_interactions(
            pl.DataFrame({"user": [1], "item": [1], "time": [1], "kind": ["clicks"]}).lazy(), COLUMNS
        )
        with pytest.raises(ConfigError, match=message):
            make().prepare(ready(whole(log)))


# ----------------------------------------------------------------------------------------------------------- candidates


def generator(
    window: Window, limit: int = 7, tops: tuple[int, int, int] = (3, 4, 2), *, allow_repeats: bool = True
) -> Generator:
    specs = {
        "history": HistorySource(),
        "near": CovisitSource(counts=Covisit(window_s=30, top=5)),
        "popular": PopularSource(),
    }
    finds = {name: spec.prepare(ready(window)) for name, spec in specs.items()}
    return Generator(finds, dict(zip(specs, tops, strict=True)), limit, allow_repeats)


class TestCandidates:
    @settings(max_examples=120)
    @given(logs(), st.integers(1, 12), st.tuples(*[st.integers(1, 5)] * 3), st.booleans())
    def test_sources_take_turns(
        self, log: Interactions, limit: int, tops: tuple[int, int, int], allow_repeats: bool
    ) -> None:
        window = whole(log)
        sources = generator(window, limit, tops, allow_repeats=allow_repeats)
        made = sources.make(window, slice(0, len(window)))
        for row in range(len(window)):
            lists = [[i for i, _ in listed(f, row)] for f in made.by_source]
            part = slice(int(made.offsets[row]), int(made.offsets[row + 1]))
            had = {i for i, _, _ in reference.events_of(log, int(window.users[row]))}
            assert made.items[part].tolist() == reference.round_robin(
                lists, list(tops), limit, set() if allow_repeats else had
            )
            for c, item in zip(range(part.start, part.stop), made.items[part], strict=True):
                for s, found in enumerate(made.by_source):
                    of = dict(listed(found, row))
                    score, rank = made.source_scores[c, 2 * s], made.source_scores[c, 2 * s + 1]
                    if item in of:
                        assert (score, rank) == (np.float32(of[int(item)]), 1 + list(of).index(int(item)))
                    else:
                        assert np.isnan(score)
                        assert np.isnan(rank)

    @settings(max_examples=60)
    @given(logs(), st.integers(10, 40))
    def test_what_sources_find_alone_and_together(self, log: Interactions, horizon: int) -> None:
        window = make_validation_window(log, np.empty(0, np.int32), TaskSpec("last", horizon, 2))
        sources = generator(window)
        report = source_recall(window, sources, 2, ("items",), threads=2)["items"]
        made = sources.make(window, slice(0, len(window)))
        tops, hits = list(sources.tops.values()), np.zeros((4, 3))
        truth = window.truth[0] if window.truth else Truth(np.zeros(1, np.int64), np.empty(0, np.int32))
        for row in range(len(window)):
            lists = [[i for i, _ in listed(f, row)][:top] for f, top in zip(made.by_source, tops, strict=True)]
            lists.append(made.items[made.offsets[row] : made.offsets[row + 1]].tolist())
            for item in truth.items[truth.offsets[row] : truth.offsets[row + 1]].tolist():
                having = [item in found for found in lists]
                for s, found in enumerate(lists):
                    hits[s, 0] += item in found[:2]
                    hits[s, 1] += having[s]
                    hits[s, 2] += s < 3 and having[s] and sum(having[:3]) == 1
        for s, told_of in enumerate(report):
            found_of = (told_of.alone_at_k, told_of.alone, told_of.adds)
            assert found_of == pytest.approx(tuple(hits[s] / max(1, len(truth.items))))

    def test_batches_and_threads_change_nothing(self) -> None:
        from workbench.recommender.candidates import in_batches

        window = whole(shop())
        sources = generator(window, 20, (10, 10, 10))
        maker = prepare_features(window.history, sources.names, Tables(), DAY)

        def work(rows: slice) -> Any:
            made = sources.make(window, rows)
            return made.items, maker.compute(made, window)

        once = work(slice(0, len(window)))
        for threads, size in ((1, 7), (3, 64)):
            parts = list(in_batches(window, work, threads=threads, size=size))
            assert np.array_equal(np.concatenate([p[0] for p in parts]), once[0])
            assert np.array_equal(np.concatenate([p[1] for p in parts]), once[1], equal_nan=True)


def shop(n: int = 4_000, seed: int = 3) -> Interactions:
    rng = np.random.default_rng(seed)
    events = pl.DataFrame(
        {
            "user": rng.integers(0, n // 12, n),
            "item": (200 * rng.random(n) ** 3).astype(np.int64),
            "time": rng.integers(0, 40 * DAY, n),
            "kind": rng.choice(KINDS, n),
        }
    )
    return read_interactions(events.lazy(), COLUMNS)


# ------------------------------------------------------------------------------------------------------------- features


class TestFeatures:
    @settings(max_examples=100)
    @given(logs())
    def test_what_users_did_with_candidates(self, log: Interactions) -> None:
        window = whole(log)
        sources = generator(window)
        maker = prepare_features(log, sources.names, Tables(), 10)
        made = sources.make(window, slice(0, len(window)))
        features = maker.compute(made, window)
        at, kinds = maker.feature_names.index, [str(k) for k in log.kind_ids.values]
        for c, row in enumerate(made.user_rows):
            events, now = reference.events_of(log, int(window.users[row])), int(window.now[row])
            expected = reference.pair_features(events, now, int(made.items[c]), len(kinds), 10.0)
            for name, value in expected.items():
                column = f"own_{kinds[int(name[5:])]}" if name.startswith("kind ") else name
                assert features[c, at(column)] == pytest.approx(value, rel=1e-5, nan_ok=True), column
            times = [t for _, t, _ in events]
            of_user = {
                "user_events": len(events),
                "user_visits": len(set(times)),
                "user_first_age": now - times[0] if times else np.nan,
                "user_last_age": now - times[-1] if times else np.nan,
                "user_gap": (times[-1] - times[0]) / (len(set(times)) - 1) if len(set(times)) > 1 else np.nan,
            }
            for column, value in of_user.items():
                assert features[c, at(column)] == pytest.approx(value, nan_ok=True), column

    @settings(max_examples=60)
    @given(logs())
    def test_what_items_are(self, log: Interactions) -> None:
        window, horizon = whole(log), 10
        sources = generator(window)
        maker = prepare_features(log, sources.names, Tables(), horizon)
        made = sources.make(window, slice(0, len(window)))
        features, at = maker.compute(made, window), maker.feature_names.index
        every = [(u, *e) for u in range(len(log.users)) for e in reference.events_of(log, u)]
        end = int(log.times.max()) + 1
        for c in range(0, len(made.items), 7):
            mine = [(u, t, k) for u, i, t, k in every if i == made.items[c]]
            expected = {
                "item_events": len(mine),
                "item_recent": sum(t >= end - horizon for _, t, _ in mine),
                "item_latest": sum(t >= end - horizon // 4 for _, t, _ in mine),
                "item_users": len({u for u, _, _ in mine}),
                "item_last_age": end - max(t for _, t, _ in mine),
                "item_first_age": end - min(t for _, t, _ in mine),
            }
            for column, value in expected.items():
                assert features[c, at(column)] == value, column

    def test_how_near_attributes_are(self) -> None:
        frame = pl.DataFrame({"user": [1, 1, 2], "item": [10, 11, 12], "time": [0, 10, 10]})
        log = read_interactions(frame.lazy(), PLAIN)
        of = {10: ("a", 1.0, None), 11: ("b", 3.0, True), 12: ("a", None, False)}
        rows = [of[i] for i in log.item_ids.values]
        items = pl.DataFrame(rows, schema={"brand": pl.String, "price": pl.Float64, "new": pl.Boolean}, orient="row")
        users = pl.DataFrame({"age": [30, None], "town": ["x", "y"]})
        window = replace(whole(log), now=np.array([20, 20], np.int32))
        finds = {"popular": PopularSource().prepare(ready(window))}
        sources = Generator(finds, {"popular": 3}, 3)
        maker = prepare_features(log, sources.names, Tables(items, users), 10)
        made = sources.make(window, slice(0, 2))
        table = pl.DataFrame(maker.compute(made, window), schema=list(maker.feature_names), orient="row")
        table = table.with_columns(item=log.item_ids.values.gather(made.items), row=made.user_rows)
        first = table.filter(pl.col("row") == 0).sort("item")
        # User 1 had 10 (weight 1/3) and 11 (weight 1/2).
        assert first["same_brand"].to_list() == pytest.approx([0.4, 0.6, 0.4])
        assert first["same_new"].to_list() == pytest.approx([0.0, 1.0, 0.0])
        mean = (1 / 3 * 1 + 1 / 2 * 3) / (1 / 3 + 1 / 2)
        assert first["more_price"][:2].to_list() == pytest.approx([1 - mean, 3 - mean])
        assert np.isnan(first["items_price"][2])
        assert first["users_age"].to_list() == [30.0] * 3
        assert table.filter(pl.col("row") == 1)["users_town"].to_list() == [1.0] * 3

    @settings(max_examples=60)
    @given(logs(), st.integers(10, 40), st.randoms())
    def test_nothing_is_told_of_what_came(self, log: Interactions, horizon: int, random: Any) -> None:
        asked = TaskSpec("last", horizon, 3)
        hidden = log.times >= int(log.times.max()) + 1 - horizon
        items = log.items.copy()
        changed = items[hidden].tolist()
        random.shuffle(changed)
        items[hidden] = changed
        told = []
        for version in (log, replace(log, items=items)):
            window = make_validation_window(version, np.empty(0, np.int32), asked)
            sources = generator(window)
            made = sources.make(window, slice(0, len(window)))
            features = prepare_features(window.history, sources.names, Tables(), horizon).compute(made, window)
            told.append((made.items, features))
        assert np.array_equal(told[0][0], told[1][0])
        assert np.array_equal(told[0][1], told[1][1], equal_nan=True)

    @settings(max_examples=60)
    @given(logs(), st.integers(10, 40))
    def test_validation_and_test_are_told_the_same(self, log: Interactions, horizon: int) -> None:
        """What is known before the horizon, taken for all there is: its test window has the same candidates."""
        asked = TaskSpec("last", horizon, 3)
        valid = make_validation_window(log, np.empty(0, np.int32), asked)
        test = replace(make_test_window(valid.history, valid.users, asked), now=valid.now)
        for other in (test, take_users(valid, np.arange(len(valid)))):
            made = [generator(w).make(w, slice(0, len(w))) for w in (valid, other)]
            assert np.array_equal(made[0].items, made[1].items)
            assert np.array_equal(made[0].source_scores, made[1].source_scores, equal_nan=True)
