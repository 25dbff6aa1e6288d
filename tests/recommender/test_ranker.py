"""The ranker: rows to train on, folds of users, lists; runs that end and go on; what odd logs give."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.habit_log import DAY, KINDS, SMALL_RANKER, SOURCES, make_habit_log
from workbench import metrics
from workbench.core.context import RunContext, text_listener
from workbench.core.errors import ConfigError, DataError
from workbench.recommender import (
    Columns,
    CustomSource,
    HistorySource,
    Ids,
    Interactions,
    ListModel,
    PopularSource,
    RankerSpec,
    RecommenderProblem,
    RecommenderResult,
    RecommenderSpec,
    Settings,
    TaskSpec,
    ValidationSpec,
    Window,
    make_validation_window,
    read_interactions,
    recommend,
    score_lists,
    user_folds,
    with_users,
)
from workbench.recommender import ranker as ranking
from workbench.recommender.candidate_features import PreparedWindow, prepare_features
from workbench.recommender.candidates import Generator
from workbench.recommender.problem import NoModelStore
from workbench.recommender.sources import SourceContext, Tables
from workbench.recommender.windows import take_users, with_own_codes


@pytest.fixture(scope="module")
def log() -> Interactions:
    return make_habit_log()


def problem(
    log: Interactions, *, kinds: tuple[str, ...] | None = None, k: int = 5, scheme: str = "users", **options: Any
) -> RecommenderProblem:
    asked = TaskSpec("last", 7 * DAY, k, kinds)
    weights = (1.0,) if kinds is None else tuple(0.1 * (i + 1) for i in range(len(kinds)))
    users = np.arange(len(log.users), dtype=np.int32)
    validation = ValidationSpec(scheme)
    metric = metrics.get(f"recall@{k}")
    return RecommenderProblem(log, users, asked, metric, weights, folds=3, validation=validation, **options)


def spec(**options: Any) -> RecommenderSpec:
    return RecommenderSpec(
        **({"sources": SOURCES, "candidates": 40, "ranker": RankerSpec(model=SMALL_RANKER)} | options)
    )


def same(a: RecommenderResult, b: RecommenderResult) -> bool:
    of = [(r.lists.items if r.lists else None, r.valid.items, r.fold_scores) for r in (a, b)]
    return all(np.array_equal(x, y) for x, y in zip(*of, strict=True))


class TestRowsToTrainOn:
    def rows(self, log: Interactions, share: float, **options: Any) -> tuple[Any, Any, Any, Any]:
        window = make_validation_window(log, np.empty(0, np.int32), TaskSpec("last", 7 * DAY, 5, KINDS))
        ready = SourceContext(window, Tables(), 2, lambda _: None)
        finds = {name: source.prepare(ready) for name, source in SOURCES.items()}
        sources = Generator(finds, {name: s.top for name, s in SOURCES.items()}, 6)
        maker = prepare_features(window.history, sources.names, Tables(), 7 * DAY)
        levels = options.pop("levels", ranking.relevance_levels((1.0, 2.0, 3.0), per_list=True))
        made = RankerSpec(negatives=share, **options)
        rows = ranking.training_rows(PreparedWindow(window, sources, maker), made, levels, seed=1, threads=2)
        return rows, window, sources, maker

    def test_all_that_came_and_a_share_of_the_others(self, log: Interactions) -> None:
        every, window, sources, maker = self.rows(log, 1.0)
        some, *_ = self.rows(log, 0.25)
        made = sources.make(window, slice(0, len(window)))
        features = maker.compute(made, window)
        wanted = {
            (kind, row, int(item))
            for kind, truth in enumerate(window.truth)
            for row in range(len(window))
            for item in truth.items[truth.offsets[row] : truth.offsets[row + 1]]
        }
        labels = np.array(
            [[(k, int(r), int(i)) in wanted for k in range(3)] for r, i in zip(made.user_rows, made.items, strict=True)]
        )
        with_hit = np.isin(made.user_rows, made.user_rows[labels.any(axis=1)])
        assert 0 < with_hit.sum() < len(with_hit)
        assert np.array_equal(every.labels.astype(bool), labels[with_hit])
        assert np.array_equal(every.features, features[with_hit], equal_nan=True)
        assert np.array_equal(every.users, made.user_rows[with_hit])
        assert (some.labels.sum(axis=0) == every.labels.sum(axis=0)).all()
        negatives = [(~r.labels.any(axis=1)).sum() for r in (some, every)]
        assert negatives[0] / negatives[1] == pytest.approx(0.25, abs=0.05)

    def test_one_label_for_all_lists_is_the_highest_that_came(self, log: Interactions) -> None:
        each, *_ = self.rows(log, 1.0)
        one, *_ = self.rows(log, 1.0, levels=ranking.relevance_levels((1.0, 3.0, 2.0), per_list=False))
        assert set(one.labels[:, 0]) == {0, 1, 2, 3}
        assert np.array_equal(one.labels[:, 0], (each.labels * [1, 3, 2]).max(axis=1))

    def test_the_batches_change_nothing(self, log: Interactions, monkeypatch: pytest.MonkeyPatch) -> None:
        first, *_ = self.rows(log, 0.3)
        from workbench.recommender import candidates

        monkeypatch.setattr(candidates, "BATCH_USERS", 17)
        again, *_ = self.rows(log, 0.3)
        assert np.array_equal(first.features, again.features, equal_nan=True)
        assert np.array_equal(first.labels, again.labels)

    def test_some_of_the_users(self, log: Interactions) -> None:
        rows, *_ = self.rows(log, 1.0, users=50)
        assert 25 < len(np.unique(rows.users)) <= 50

    def test_nothing_that_came_is_found(self, log: Interactions) -> None:
        asked = TaskSpec("last", 7 * DAY, 5, ("orders",))
        window = make_validation_window(log, np.empty(0, np.int32), asked)
        none = replace(window, truth=tuple(replace(t, items=t.items * 0 - 1) for t in window.truth or ()))
        finds = {"popular": PopularSource().prepare(SourceContext(window, Tables(), 1, lambda _: None))}
        sources = Generator(finds, {"popular": 3}, 3)
        maker = prepare_features(window.history, sources.names, Tables(), DAY)
        with pytest.raises(DataError, match="no candidate of the window .* is in the ground truth"):
            ranking.training_rows(PreparedWindow(none, sources, maker), RankerSpec(), [(1,)], seed=1, threads=1)


class TestTwoStages:
    def test_the_ranker_learns_what_is_due(self, log: Interactions) -> None:
        plain, ranked = recommend(problem(log), spec(ranker=None)), recommend(problem(log), spec())
        assert ranked.score > 1.15 * plain.score
        assert ranked.models["items-all"].gains["own_due"] > 0

    def test_scores_are_of_users_that_their_model_has_not_seen(self, log: Interactions) -> None:
        p = problem(log, kinds=KINDS)
        made = recommend(p, spec())
        assert (
            np.bincount(made.valid_fold).tolist() == [len(made.valid_users) // 3] * 3 or len(set(made.valid_fold)) == 3
        )
        window = make_validation_window(log, p.test_users, p.task)
        assert np.array_equal(window.users, made.valid_users)
        for fold, score in enumerate(made.fold_scores):
            at = np.flatnonzero(made.valid_fold == fold)
            again, each = score_lists(made.valid.items[at], take_users(window, at), p.metric, p.weights)
            assert score == again
            assert score == pytest.approx(np.dot(each, [0.1, 0.2, 0.3]))

    def test_a_model_never_sees_its_fold(self, log: Interactions, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: list[tuple[Any, ranking.RowSplit]] = []
        training = ranking.RankerTraining

        def watched(rows: Any, number: int, lightgbm: Any, split: ranking.RowSplit, **options: Any) -> Any:
            seen.append((rows.users, split))
            return training(rows, number, lightgbm, split, **options)

        monkeypatch.setattr(user_folds, "RankerTraining", watched)
        made = recommend(problem(log), spec())
        n = len(made.valid_users)
        for fold, (users, split) in enumerate(seen[:3]):
            is_of_fold, is_stop = made.valid_fold[users % n] == fold, users >= n
            assert np.array_equal(split.is_valid, is_of_fold & is_stop)
            assert np.array_equal(split.is_excluded, np.where(is_stop, ~is_of_fold, is_of_fold))
        assert seen[3][1].is_valid is None
        assert np.array_equal(seen[3][1].is_excluded, seen[3][0] >= n)

    def test_earlier_windows_are_trained_on_and_nobody_is_judged_by_them(
        self, log: Interactions, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[tuple[Any, ranking.RowSplit]] = []
        training = ranking.RankerTraining

        def watched(rows: Any, number: int, lightgbm: Any, split: ranking.RowSplit, **options: Any) -> Any:
            seen.append((rows, split))
            return training(rows, number, lightgbm, split, **options)

        monkeypatch.setattr(user_folds, "RankerTraining", watched)
        p, before = problem(log), recommend(problem(log), spec(ranker=RankerSpec(model=SMALL_RANKER)))
        made = recommend(p, spec(ranker=RankerSpec(model=SMALL_RANKER, windows=3)))
        one, three = seen[0][0], seen[-1][0]
        windows = [make_validation_window(log, p.test_users, p.task, earlier=n) for n in (0, 2, 1)]
        n, n_trained = len(windows[0]), sum(map(len, windows))
        users = np.concatenate([w.users for w in (*windows, windows[0])])[three.users]
        first = slice(0, int((one.users < n).sum()))
        assert np.array_equal(three.features[first], one.features[first], equal_nan=True)
        assert np.array_equal(three.labels[first], one.labels[first])
        assert set(three.users // len(windows[0])) >= {0, 1, 2}
        fold_of = dict(zip(made.valid_users.tolist(), made.valid_fold.tolist(), strict=True))
        for fold, (rows, split) in enumerate(seen[4:7]):
            is_of_fold = np.array([fold_of.get(int(u)) == fold for u in users])
            is_stop = rows.users >= n_trained
            assert np.array_equal(split.is_valid, is_of_fold & is_stop)
            assert np.array_equal(split.is_excluded, np.where(is_stop, ~is_of_fold, is_of_fold))
            assert split.is_excluded is not None
            assert split.is_excluded.any()
        assert seen[7][1].is_valid is None
        assert np.array_equal(made.valid_fold, before.valid_fold)
        names = [s.name for s in made.stages]
        assert names.index("rows to train on, 2 before") < names.index("validation window")

    def test_what_is_earlier_is_left_out_of_a_model_where_it_is_excluded(self, log: Interactions) -> None:
        rows, *_ = TestRowsToTrainOn().rows(log, 1.0)
        lightgbm = RankerSpec(model={**SMALL_RANKER, "early_stopping_round": 0}).lightgbm(5, where="", threads=1)
        none, apart = np.zeros(len(rows.users), np.bool_), rows.users % 3 == 0
        labels = rows.labels.copy()
        labels[apart] = np.random.default_rng(1).permutation(labels[apart])
        texts = [
            ranking.RankerTraining(r, 1, lightgbm, ranking.RowSplit(none, apart)).fit().text
            for r in (rows, replace(rows, labels=labels))
        ]
        assert texts[0] == texts[1]
        assert ranking.RankerTraining(rows, 1, lightgbm, ranking.RowSplit(none)).fit().text != texts[0]

    def test_what_came_of_a_fold_is_nothing_to_its_model(self, log: Interactions) -> None:
        rows, *_ = TestRowsToTrainOn().rows(log, 1.0)
        is_valid = rows.users % 3 == 0
        labels = rows.labels.copy()
        labels[is_valid] = np.random.default_rng(1).permutation(labels[is_valid])
        lightgbm = RankerSpec(model={**SMALL_RANKER, "early_stopping_round": 0}).lightgbm(5, where="", threads=1)
        texts = [
            ranking.RankerTraining(r, 1, lightgbm, ranking.RowSplit(is_valid)).fit().text
            for r in (rows, replace(rows, labels=labels))
        ]
        assert texts[0] == texts[1]

    def test_the_models_of_a_list_have_one_number_of_rounds(self, log: Interactions) -> None:
        model = {**SMALL_RANKER, "num_iterations": 60, "early_stopping_round": 4}
        of_ways = {}
        for way in ("mean", "per fold"):
            kept: dict[str, ListModel] = {}
            keeper = NoModelStore()
            keeper.save = kept.__setitem__  # type: ignore[method-assign]
            recommend(problem(log), spec(ranker=RankerSpec(model=model, rounds=way)), Settings(model_store=keeper))
            of_ways[way] = {m.rounds for name, m in kept.items() if not name.endswith("-all")}
        assert len(of_ways["mean"]) == 1
        assert len(of_ways["per fold"]) > 1

    def test_lists_of_a_fold_are_of_its_own_model(self, log: Interactions) -> None:
        p = problem(log, kinds=KINDS)
        made = recommend(p, spec())
        window = with_own_codes(make_validation_window(log, p.test_users, p.task))
        assert window.codes is not None
        ready = SourceContext(window, Tables(), 2, lambda _: None)
        finds = {name: source.prepare(ready) for name, source in SOURCES.items()}
        sources = Generator(finds, {name: s.top for name, s in SOURCES.items()}, 40)
        maker = prepare_features(window.history, sources.names, Tables(), 7 * DAY)
        for fold in range(3):
            at = np.flatnonzero(made.valid_fold == fold)
            models = [made.models[f"{kind}-{fold}"] for kind in KINDS]
            again = ranking.rank(PreparedWindow(take_users(window, at), sources, maker), models, 5, 3, threads=1)
            assert np.array_equal(window.codes[again.items], made.valid.items[at])

    def test_threads_change_nothing(self, log: Interactions) -> None:
        p = problem(log, kinds=KINDS)
        assert same(recommend(p, spec(), Settings(threads=1)), recommend(p, spec(), Settings(threads=3)))

    def test_lists_have_each_item_once_and_the_best_first(self, log: Interactions) -> None:
        made = recommend(problem(log, k=10), spec())
        assert made.lists is not None
        for items, scores in zip(made.lists.items[:, 0], made.lists.scores[:, 0], strict=True):
            there = items[items >= 0]
            assert len(set(there)) == len(there)
            assert (np.diff(scores[: len(there)]) <= 0).all()
            assert (items[len(there) :] == -1).all()

    def test_one_model_for_all_lists(self, log: Interactions) -> None:
        made = recommend(problem(log, kinds=KINDS), spec(ranker=RankerSpec(model=SMALL_RANKER, per_list=False)))
        assert sorted(made.models) == ["lists-0", "lists-1", "lists-2", "lists-all"]
        assert made.lists is not None
        assert np.array_equal(made.lists.items[:, 0], made.lists.items[:, 2])

    @pytest.mark.parametrize("objective", ["binary", "rank_xendcg"])
    def test_other_objectives(self, log: Interactions, objective: str) -> None:
        made = recommend(problem(log), spec(ranker=RankerSpec(model={**SMALL_RANKER, "objective": objective})))
        assert made.score > recommend(problem(log), spec(ranker=None)).score

    def test_what_is_being_done_is_said(self, log: Interactions, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("workbench.recommender.stages.SHARE_EVERY_S", 0.0)
        said: list[str] = []
        made = recommend(problem(log), spec(), context=RunContext((text_listener(said.append),)))
        assert [s.name for s in made.stages] == [s for s in said if "%" not in s]
        shares = [int(s.rpartition(" ")[2][:-1]) for s in said if s.startswith("lists of validation:")]
        assert shares == sorted(shares)
        assert shares[-1] == 100
        assert "lists of test: 100%" in said
        shares = [int(s.rpartition(" ")[2][:-1]) for s in said if s.startswith("training:")]
        assert shares == sorted(shares)
        assert shares[-1] == 100
        assert "source near, test: 100%" in said

    def test_a_quick_try(self, log: Interactions) -> None:
        made = recommend(problem(log), spec(), Settings(sample=0.5))
        assert made.lists is None
        assert len(made.valid_users) == round(0.5 * len(recommend(problem(log), spec(ranker=None)).valid_users))

    def test_a_run_that_ended_goes_on(self, log: Interactions) -> None:
        class ModelStore(NoModelStore):
            def __init__(self, most: int) -> None:
                self.models: dict[str, ListModel] = {}
                self.most = most

            def load(self, name: str) -> ListModel | None:
                return self.models.get(name)

            def save(self, name: str, model: ListModel) -> None:
                if len(self.models) == self.most:
                    raise KeyboardInterrupt
                self.models[name] = model

        kept, p = ModelStore(5), problem(log, kinds=KINDS)
        with pytest.raises(KeyboardInterrupt):
            recommend(p, spec(), Settings(model_store=kept))
        before, kept.most = dict(kept.models), 99
        made = recommend(p, spec(), Settings(model_store=kept))
        # All models are there: what earlier windows are for is done.
        again = recommend(p, spec(ranker=RankerSpec(model=SMALL_RANKER, windows=3)), Settings(model_store=kept))
        assert not [s.name for s in again.stages if "before" in s.name]
        assert again.stopping == made.stopping != {}
        assert len(before) == 5
        assert all(made.models[name] is model for name, model in before.items())
        assert same(made, recommend(p, spec()))

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"negatives": 0.0}, "negatives = 0.0: expected a share above 0"),
            ({"users": 0}, "users = 0"),
            ({"windows": 0}, "windows = 0: expected 1 or more"),
            ({"model": {"num_leafs": 3}}, "unknown key 'num_leafs'"),
            ({"model": {"objective": "regression"}}, "objective = 'regression': expected lambdarank"),
        ],
    )
    def test_odd_values(self, log: Interactions, change: dict[str, Any], message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            recommend(problem(log), spec(ranker=RankerSpec(**change)))


class TestOddLogs:
    def test_k_beyond_the_number_of_items(self) -> None:
        log = make_habit_log(40, 8)
        made = recommend(problem(log, k=30), spec())
        assert made.lists is not None
        assert ((made.lists.items >= 0).sum(axis=2) <= 8).all()
        assert made.lists.items.shape[2] == 30

    def test_users_without_history_get_what_is_popular(self, log: Interactions) -> None:
        more = with_users(log, pl.Series([9_001, 9_002]))
        p = replace(problem(more), test_users=more.users.codes(pl.Series([9_001, 9_002, 3])))
        made = recommend(p, spec(), Settings())
        assert made.lists is not None
        assert (made.lists.items[:, 0] >= 0).all()
        assert np.array_equal(made.lists.items[0], made.lists.items[1])
        without = recommend(p, spec(sources={"history": HistorySource()}, ranker=None))
        assert without.lists is not None
        assert (without.lists.items[:2] == -1).all()
        assert (without.lists.items[2, 0] >= 0).any()

    def test_who_had_what_is_popular_gets_what_comes_next(self) -> None:
        """Films are seen once: who saw the 80 most popular of 200 gets the others, not an empty list."""
        rng = np.random.default_rng(4)
        keen = [(0, item, item) for item in range(150)]
        others = [
            (u, int(i), int(t))
            for u in range(1, 60)
            for i, t in zip((200 * rng.random(30) ** 2), rng.integers(0, 21 * DAY, 30), strict=True)
        ]
        frame = pl.DataFrame(keen + others, schema=["user", "item", "time"], orient="row")
        log = read_interactions(frame.lazy(), Columns("user", "item", "time"))
        made = recommend(
            problem(log), RecommenderSpec({"popular": PopularSource(top=10)}, 40, ranker=None, allow_repeats=False)
        )
        assert made.lists is not None
        assert (made.lists.items >= 0).all()
        had = set(log.items[: log.starts[1]].tolist())
        assert not had & set(made.lists.items[0, 0].tolist())

    def test_users_that_the_log_does_not_know_are_like_nobody_else(self, log: Interactions) -> None:
        """Whose code is -1: of them nothing is known, least of all what is known of the last user."""
        old = [0] * (len(log.users) - 1) + [1]
        tables = Tables(users=pl.DataFrame({"old": old}))

        def tell(history: pl.DataFrame, users: pl.Series, now: pl.Series) -> pl.DataFrame:
            assert len(users) == len(now)
            return users.to_frame("user").with_columns(item=history["item"][0], score=pl.lit(1.0)).unique()

        sources = {"popular": PopularSource(top=3, by="old"), "own": CustomSource("own.py:tell", top=3)}
        window = Window(log, np.array([-1, 5, len(old) - 1], np.int32), np.full(3, int(log.times.max()) + 1, np.int32))
        ready = SourceContext(window, tables, 1, lambda _: tell)
        finds = {name: source.prepare(ready) for name, source in sources.items()}
        found = {name: find(window.users, window.now, 3) for name, find in finds.items()}
        assert np.diff(found["popular"].offsets).tolist() == [0, 3, 3]
        assert np.diff(found["own"].offsets).tolist() == [0, 1, 1]
        generator = Generator(
            {"history": HistorySource().prepare(ready), "p": PopularSource(top=3).prepare(ready)},
            {"history": 3, "p": 3},
            6,
        )
        maker = prepare_features(log, generator.names, tables, 7 * DAY)
        made = generator.make(window, slice(0, 3))
        told = maker.compute(made, window)[:, maker.feature_names.index("users_old")]
        assert [sorted(set(told[made.user_rows == row].tolist())) for row in (1, 2)] == [[0.0], [1.0]]
        assert np.isnan(told[made.user_rows == 0]).all()

    def test_names_that_lightgbm_would_refuse(self, log: Interactions) -> None:
        """Columns and types of events may have JSON's characters, and be called as what is told of all events."""
        named = pl.Series("kind", ["events", 'a "b"', "c:d, [e]"])
        table = pl.DataFrame({"price:usd\n": np.arange(log.n_items)})
        p = replace(problem(replace(log, kind_ids=Ids(named)), tables=Tables(items=table)))
        plain = problem(log, tables=Tables(items=table.rename(lambda _: "price")))
        made, other = recommend(p, spec()), recommend(plain, spec())
        assert np.array_equal(made.valid.items, other.valid.items)
        assert len(set(made.features)) == len(made.features)
        assert {'own_a "b"', "user_events", "user_events_2", "items_price:usd\n"} <= set(made.features)
        assert set(made.models["items-all"].gains) == set(made.features)
        assert "own_a__b_ own_c_d___e_ " in made.models["items-all"].text

    def test_more_windows_than_the_log_has(self, log: Interactions) -> None:
        with pytest.raises(DataError, match="there is no history before 40 of them") as told:
            recommend(problem(log), spec(ranker=RankerSpec(model=SMALL_RANKER, windows=40)))
        assert told.value.hint == "fewer windows"

    def test_one_user_with_very_many_events(self, log: Interactions) -> None:
        rng = np.random.default_rng(1)
        n = 1_000_000
        frame = pl.DataFrame(
            {
                "user": np.concatenate([np.full(n, 1), rng.integers(2, 60, 2_000)]),
                "item": rng.integers(0, 3_000, n + 2_000),
                "time": rng.integers(0, 60 * DAY, n + 2_000),
            }
        )
        many = read_interactions(frame.lazy(), Columns("user", "item", "time"))
        made = recommend(problem(many), spec())
        assert made.lists is not None
        assert (made.lists.items[0] >= 0).all()

    def test_all_at_the_same_time_but_one(self) -> None:
        frame = pl.DataFrame({"user": [1, 2, 2, 3, 3], "item": [1, 1, 2, 2, 1], "time": [0, 8 * DAY] + [9 * DAY] * 3})
        same_time = read_interactions(frame.lazy(), Columns("user", "item", "time"))
        made = recommend(problem(same_time, k=3), spec(ranker=None))
        assert made.lists is not None
        assert sorted(made.lists.items[0, 0, :2].tolist()) == [0, 1]

    def test_times_before_1970(self, log: Interactions) -> None:
        frame = pl.DataFrame({"user": [1, 2] * 20, "item": [1, 2] * 20, "time": range(-40 * DAY, 0, DAY)})
        old = read_interactions(frame.lazy(), Columns("user", "item", "time"))
        made = recommend(problem(old, k=2), spec(ranker=None))
        assert made.score == 1.0

    def test_what_one_validation_user_can_tell(self) -> None:
        frame = pl.DataFrame({"user": [1] * 30, "item": [1, 2] * 15, "time": range(0, 30 * DAY, DAY)})
        one = read_interactions(frame.lazy(), Columns("user", "item", "time"))
        made = recommend(problem(one, k=2), spec())
        assert (made.fold_scores, made.score) == ((1.0,), 1.0)
