"""How recommenders are scored: windows by models of earlier ones, what candidates allow, intervals over both."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.example_records import RUN
from tests.fashion_log import WEEK_S, make_fashions
from tests.habit_log import SMALL_RANKER, SOURCES, make_habit_log
from workbench import metrics
from workbench.core.errors import ConfigError, DataError
from workbench.core.intervals import half_width, t_975, window_values
from workbench.recommender import (
    AttributeSource,
    Columns,
    CosineSource,
    Covisit,
    CovisitSource,
    EmbeddingsSource,
    EventWeighting,
    HistorySource,
    Ids,
    Interactions,
    ListModel,
    PopularSource,
    RankerSpec,
    RecommenderProblem,
    RecommenderSpec,
    Settings,
    SkipGram,
    Tables,
    TaskSpec,
    ValidationSpec,
    choose_validation,
    make_test_window,
    make_validation_window,
    read_interactions,
    recommend,
    rolling_windows,
    score_lists,
    user_folds,
)
from workbench.recommender import ranker as ranking
from workbench.recommender.problem import NoModelStore
from workbench.recommender.windows import history_frame, users_of_window, with_own_codes
from workbench.review.table import change_against, cv_interval

NOBODY = np.empty(0, np.int32)
WEEKLY = TaskSpec("last", WEEK_S, 5)
RECALL = metrics.get("recall@5")
HISTORY = HistorySource(top=40, weighting=EventWeighting(last=500))
RANKER = RankerSpec(negatives=1.0, model={"num_iterations": 60, "num_leaves": 15, "min_data_in_leaf": 20})


@pytest.fixture(scope="module")
def log() -> Interactions:
    return make_habit_log(150, 60)


def problem(
    log: Interactions, scheme: str | None = None, windows: int | None = None, **more: Any
) -> RecommenderProblem:
    users = np.arange(len(log.users), dtype=np.int32)
    return RecommenderProblem(
        log, users, WEEKLY, RECALL, (1.0,), folds=3, validation=ValidationSpec(scheme, windows), **more
    )


def spec(**ranker: Any) -> RecommenderSpec:
    return RecommenderSpec(SOURCES, 40, RankerSpec(model=SMALL_RANKER, **ranker))


class TestHowItIsScored:
    def test_held_out_users_of_a_window_are_no_window_to_come(self) -> None:
        """What is in fashion can't be foreseen: a ranker that knows the window is far too good, and beats the history."""
        log, tables = make_fashions(200, 60, weeks=10, seed=1)
        to_come = make_validation_window(log, NOBODY, WEEKLY)
        by_scheme: dict[str, list[float]] = {"users": [], "windows": []}
        truths = []
        for sources, of, ranker in (
            ({"history": HISTORY}, Tables(), None),
            ({"history": HISTORY, "popular": PopularSource(top=60)}, tables, RANKER),
        ):
            made: Any = None
            for scheme, scores in by_scheme.items():
                p = RecommenderProblem(
                    to_come.history, to_come.users, WEEKLY, RECALL, (1.0,), of, 3, validation=ValidationSpec(scheme)
                )
                made = recommend(p, RecommenderSpec(sources, 60, ranker))
                assert made.is_optimistic == (scheme == "users" and ranker is not None)
                scores.append(made.score)
            truths.append(score_lists(made.lists.items, to_come, RECALL, (1.0,))[0])
        users, windows = by_scheme["users"], by_scheme["windows"]
        assert users[1] > 1.5 * truths[1]
        assert users[1] > 1.5 * users[0]
        assert abs(windows[1] - truths[1]) < abs(users[1] - truths[1]) / 2
        assert windows[0] == pytest.approx(truths[0], abs=0.1)
        # By users the ranker is far ahead; in truth, and by windows, it is behind.
        assert truths[1] < truths[0]
        assert windows[1] - windows[0] < (users[1] - users[0]) / 4

    @pytest.mark.parametrize(
        ("weeks", "scheme", "windows"), [(2, "users", 1), (3, "windows", 1), (5, "windows", 2), (12, "windows", 4)]
    )
    def test_the_length_of_the_log_decides(self, weeks: int, scheme: str, windows: int) -> None:
        log, _ = make_fashions(60, 30, weeks=weeks)
        asked = replace(WEEKLY, horizon_s=WEEK_S - 3600)
        chosen = choose_validation(log, NOBODY, asked, ValidationSpec())
        assert (chosen.scheme, chosen.windows) == (scheme, windows)
        assert "the log has" in chosen.why
        assert choose_validation(log, NOBODY, asked, ValidationSpec("users")).windows == 1

    def test_more_windows_than_the_log_has(self) -> None:
        log, _ = make_fashions(60, 30, weeks=3)
        asked = replace(WEEKLY, horizon_s=WEEK_S - 3600)
        with pytest.raises(ConfigError, match=r"windows = 9, but the log has 3\.. horizons: at most 2 can be scored"):
            choose_validation(log, NOBODY, asked, ValidationSpec(windows=9))
        with pytest.raises(ConfigError, match='scheme = "windows", but the log has 1'):
            choose_validation(log, NOBODY, replace(asked, horizon_s=2 * WEEK_S), ValidationSpec("windows"))

    @pytest.mark.parametrize("is_dates", [True, False])
    @pytest.mark.parametrize(
        ("horizons", "scheme", "windows"),
        [(2, "users", 1), (3, "windows", 1), (5, "windows", 2), (7, "windows", 3), (9, "windows", 4)],
    )
    def test_a_log_of_whole_horizons_has_all_of_them(
        self, horizons: int, scheme: str, windows: int, is_dates: bool
    ) -> None:
        """Its last event comes before their end: of dates a day before, of times a moment."""
        rng, end = np.random.default_rng(1), horizons * WEEK_S
        times = np.concatenate([[0, end - 30], rng.integers(0, end, 2000)])
        if is_dates:
            times = times // 86_400 * 86_400
        frame = pl.DataFrame({"user": rng.integers(0, 60, 2002), "item": rng.integers(0, 50, 2002), "time": times})
        log = read_interactions(frame.lazy(), Columns("user", "item", "time"))
        chosen = choose_validation(log, NOBODY, WEEKLY, ValidationSpec())
        assert (chosen.scheme, chosen.windows) == (scheme, windows)
        assert chosen.why.startswith(f"the log has {horizons}.0 horizons")

    @pytest.mark.parametrize("late", [20 * WEEK_S, 2 * WEEK_S])
    def test_an_event_long_after_the_others_is_the_logs_end_and_doubtful(self, log: Interactions, late: int) -> None:
        frame = history_frame(log)
        odd = frame.head(1).with_columns(time=pl.lit(int(frame["time"].max()) + late, pl.Int64))  # type: ignore[call-overload]
        longer = read_interactions(pl.concat([frame, odd]).lazy(), Columns("user", "item", "time", "kind"))
        chosen = choose_validation(longer, NOBODY, WEEKLY, ValidationSpec())
        assert "users in the last window: 1, in the one before it: 0; is the log complete" in chosen.doubt
        assert chosen.scheme == "users"
        assert "and the window 1 before the last has 0 users, too few to learn from (the last has 1)" in chosen.why
        assert choose_validation(log, NOBODY, WEEKLY, ValidationSpec()).doubt == ""
        nearer = frame.head(1).with_columns(time=pl.lit(int(frame["time"].max()) + WEEK_S * 5 // 4, pl.Int64))  # type: ignore[call-overload]
        longer = read_interactions(pl.concat([frame, nearer]).lazy(), Columns("user", "item", "time", "kind"))
        chosen = choose_validation(longer, NOBODY, WEEKLY, ValidationSpec())
        assert chosen.scheme == "windows"
        assert "users in the last window: 1, in the one before it: 149;" in chosen.doubt

    @pytest.mark.parametrize("weeks", [1, 2, 3])
    def test_short_logs_are_not_doubtful(self, weeks: int) -> None:
        log, _ = make_fashions(60, 30, weeks=weeks)
        assert choose_validation(log, NOBODY, replace(WEEKLY, horizon_s=WEEK_S - 3600), ValidationSpec()).doubt == ""

    @pytest.mark.parametrize("cut", ["last", "session"])
    @pytest.mark.parametrize("earlier", [0, 1, 2])
    def test_users_are_counted_without_the_window(self, log: Interactions, cut: str, earlier: int) -> None:
        if cut == "session":  # many short ones, of the users' weeks
            frame = history_frame(log).with_columns(user=pl.col("user") * 100 + pl.col("time") // WEEK_S)
            log = read_interactions(frame.lazy(), Columns("user", "item", "time", "kind"))
        asked, tested = replace(WEEKLY, cut=cut), np.arange(5, dtype=np.int32)
        made = make_validation_window(log, tested, asked, earlier=earlier)
        assert users_of_window(log, tested, asked, earlier) == len(made)

    @pytest.mark.parametrize("windows", [1, 2])
    def test_a_model_of_a_window_has_seen_nothing_of_it_nor_of_later_ones(
        self, log: Interactions, windows: int
    ) -> None:
        """Other things come in the last three windows, and the model of the first of them is the same, to the byte."""
        later = log.times >= int(log.times.max()) + 1 - 3 * WEEK_S
        items = log.items.copy()
        items[later] = np.random.default_rng(1).permutation(items[later])
        made = [
            recommend(problem(one, "windows", 3), spec(windows=windows)) for one in (log, replace(log, items=items))
        ]
        for name in ("items-rounds", "items-w2"):
            assert made[0].models[name].text == made[1].models[name].text
        assert made[0].models["items-w1"].text != made[1].models["items-w1"].text
        first = [m.valid.items[m.valid_window == 2] for m in made]
        assert np.array_equal(first[0], first[1])
        assert made[0].window_scores[2] != made[1].window_scores[2]
        assert len({m.rounds for m in made[0].models.values()}) == 1

    @pytest.mark.parametrize("ranker", [None, RANKER], ids=["sources", "ranker"])
    def test_what_comes_later_does_not_choose_among_equals(self, ranker: RankerSpec | None) -> None:
        """Of items that are as good as each other those were taken that occur more often in all of the log."""
        rng = np.random.default_rng(3)
        n, weeks, brands = 3000, 10, pl.DataFrame({"item": range(1500)}).with_columns(brand=pl.col("item") % 7)
        frame = pl.DataFrame(
            {
                "user": rng.integers(0, 100, n),
                "item": rng.integers(0, 1500, n),
                "time": np.sort(rng.integers(0, weeks * WEEK_S, n)),
            }
        )
        later = frame["time"] >= frame["time"].max() + 1 - 3 * WEEK_S  # type: ignore[operator]
        favourites = pl.Series(rng.integers(0, 60, n) * 25)
        lists, texts, ceilings = [], [], []
        for version in (frame, frame.with_columns(item=pl.when(later).then(favourites).otherwise("item"))):
            log = read_interactions(version.lazy(), Columns("user", "item", "time"))
            table = pl.DataFrame({"item": log.item_ids.values}).join(brands, on="item", maintain_order="left")
            tables = Tables(table.select(pl.col("brand").cast(pl.String), size="brand"))
            sources = {
                "popular": PopularSource(top=5),
                "near": CovisitSource(top=5, counts=Covisit(window_s=None, top=3)),
                "cosine": CosineSource(top=5, neighbours=3),
                "brand": AttributeSource("brand", top=5, each=3),
                "vectors": EmbeddingsSource(top=5, model=SkipGram(4, epochs=1, min_count=1, most_items=100, top=3)),
                "history": HistorySource(top=5),
            }
            made = recommend(problem(log, "windows", 3, tables=tables), RecommenderSpec(sources, 25, ranker))
            first = made.valid.items[made.valid_window == 2]
            lists.append(np.where(first < 0, -1, log.item_ids.values.to_numpy()[first]))
            texts.append([made.models[name].text for name in ("items-rounds", "items-w2")] if ranker else [])
            ceilings.append(made.ceiling)
        assert np.array_equal(lists[0], lists[1])
        assert texts[0] == texts[1]
        assert ceilings[0] < ceilings[1] < 1

    def test_items_are_those_of_the_log_whatever_a_windows_own_codes_are(self, log: Interactions) -> None:
        """What is told of lists, of what came, and of the table of items is of the same items."""
        window = make_validation_window(log, NOBODY, WEEKLY, earlier=1)
        own = with_own_codes(window)
        assert own.codes is not None
        assert with_own_codes(own) is own
        counts = np.bincount(own.history.items, minlength=own.history.n_items)
        assert np.all(np.diff(counts) <= 0)
        assert history_frame(own.history).equals(history_frame(window.history))
        ids = log.item_ids.values
        assert np.array_equal(own.history.item_ids.codes(ids.gather(own.codes)), np.arange(len(ids)))
        for truth, before in zip(own.truth or (), window.truth or (), strict=True):
            for low, high in pairwise(truth.offsets):
                assert np.all(np.diff(truth.items[low:high]) > 0)
                assert set(own.codes[truth.items[low:high]]) == set(before.items[low:high])
        # All that is known of the log has its codes.
        assert with_own_codes(make_test_window(log, NOBODY, WEEKLY)).codes is None

    def test_the_last_model_is_of_the_last_windows(self, log: Interactions, monkeypatch: pytest.MonkeyPatch) -> None:
        made = recommend(problem(log, "windows", 2), spec())
        held = recommend(problem(log, "users"), spec())
        rounds = made.models["items-all"].rounds
        trained: dict[str, str] = {}

        fit = ranking.RankerTraining.fit

        def watched(training: ranking.RankerTraining, n_rounds: int | None = None) -> ListModel:
            if training.split.is_valid is None:
                trained["all"] = fit(training, rounds).text
            return fit(training, n_rounds)

        monkeypatch.setattr(ranking.RankerTraining, "fit", watched)
        recommend(problem(log, "users"), spec())
        assert held.lists is not None
        assert trained["all"] == made.models["items-all"].text

    def test_a_log_without_a_window_to_stop_by_holds_users_out(self) -> None:
        log = make_habit_log(150, 60, weeks=3)
        made = recommend(problem(log, "windows", 1), spec())
        assert "held out" in made.stopping["by"]
        assert set(made.models) == {"items-rounds", "items-w0", "items-all"}

    def test_a_run_that_ended_goes_on(self, log: Interactions) -> None:
        class ModelStore(NoModelStore):
            def __init__(self) -> None:
                self.models: dict[str, ListModel] = {}

            def load(self, name: str) -> ListModel | None:
                return self.models.get(name)

            def save(self, name: str, model: ListModel) -> None:
                self.models[name] = model

        kept = ModelStore()
        whole = recommend(problem(log, "windows", 3), spec(), Settings(model_store=kept))
        every = dict(kept.models)
        for gone in (["items-all"], ["items-w0", "items-all"], ["items-rounds", "items-w2", "items-w1"], []):
            kept.models = {name: model for name, model in every.items() if name not in gone}
            again = recommend(problem(log, "windows", 3), spec(), Settings(model_store=kept))
            assert np.array_equal(again.valid.items, whole.valid.items)
            assert {n: m.text for n, m in again.models.items()} == {n: m.text for n, m in every.items()}
            before = [s.name for s in again.stages if s.name in ("window, 3 before", "window, 4 before")]
            assert bool(before) == ("items-rounds" in gone)
            assert again.stopping == whole.stopping != {}

    def test_windows_are_scored_without_a_ranker_too(self, log: Interactions) -> None:
        made = recommend(problem(log), RecommenderSpec(SOURCES, 40))
        assert made.validation.windows == 3
        assert len(made.fold_scores) == 9
        for number in range(3):
            window = make_validation_window(log, NOBODY, WEEKLY, earlier=number)
            again, _ = score_lists(made.valid.items[made.valid_window == number], window, RECALL, (1.0,))
            assert again == made.window_scores[number]
        assert made.score == pytest.approx(np.mean(made.window_scores))


class TestListsOfWhichNothingComes:
    """Types of events that begin late in the log, or pause."""

    WEEKS = 10

    def log(self, *weeks: int) -> Interactions:
        """Clicks in all weeks, orders in some."""
        rng = np.random.default_rng(1)
        n = 3000
        time = np.sort(rng.integers(0, self.WEEKS * WEEK_S, n))
        is_order = np.isin(time // WEEK_S, weeks) & (np.arange(n) % 5 == 0)
        items = (40 * rng.random(n) ** 2).astype(int)
        frame = pl.DataFrame({"user": rng.integers(0, 60, n), "item": items, "time": time})
        frame = frame.with_columns(kind=pl.Series(np.where(is_order, "orders", "clicks")))
        return read_interactions(frame.lazy(), Columns("user", "item", "time", "kind"))

    def made(self, log: Interactions, kinds: tuple[str, ...], ranker: RankerSpec | None = RANKER) -> Any:
        users = np.arange(len(log.users), dtype=np.int32)
        p = RecommenderProblem(log, users, replace(WEEKLY, kinds=kinds), RECALL, (1.0,) * len(kinds), folds=3)
        return recommend(p, RecommenderSpec({"history": HISTORY, "popular": PopularSource(top=10)}, 30, ranker))

    @pytest.mark.parametrize("kinds", [("clicks", "orders"), ("orders",)])
    @pytest.mark.parametrize(
        ("weeks", "scheme", "windows"),
        [
            ((9,), "users", 1),
            ((8, 9), "windows", 1),
            ((5, 6, 7, 8, 9), "windows", 4),
            ((0, 1, 6, 7, 8, 9), "windows", 3),
        ],
    )
    def test_windows_have_something_of_each_list(
        self, weeks: tuple[int, ...], scheme: str, windows: int, kinds: tuple[str, ...]
    ) -> None:
        made = self.made(self.log(*weeks), kinds)
        assert (made.validation.scheme, made.validation.windows) == (scheme, windows)
        assert ("too little of orders" in made.validation.why) == (scheme == "users")
        assert not np.isnan(made.window_scores).any()
        assert not np.isnan(list(made.list_scores.values())).any()

    def test_more_windows_than_have_something(self) -> None:
        asked = replace(WEEKLY, kinds=("clicks", "orders"))
        with pytest.raises(
            ConfigError,
            match="windows = 3, but .* too little of orders 2 before the last window to learn from: at most 1 can be scored",
        ):
            choose_validation(self.log(8, 9), NOBODY, asked, ValidationSpec(windows=3))

    @pytest.mark.parametrize("kinds", [("clicks", "orders"), ("orders",)])
    def test_a_ranker_needs_something_of_each_list_in_the_last_window(self, kinds: tuple[str, ...]) -> None:
        with pytest.raises(DataError, match="^orders: no such events in the last horizon of the log"):
            self.made(self.log(0, 1, 2, 3, 4, 5, 6, 7), kinds)

    def test_windows_without_a_score_are_no_part_of_the_interval(self) -> None:
        made = self.made(self.log(0, 1, 2, 3, 4, 5, 6, 7), ("orders",), None)
        assert np.isnan(made.window_scores).tolist() == [True, True, False, False]
        assert made.cv_windows == 2
        assert len(made.fold_scores) == 6
        assert np.mean(made.fold_scores) == pytest.approx(made.score, abs=0.05)
        run = replace(RUN, fold_scores=made.fold_scores, cv_mean=made.score, cv_std=0.1, cv_windows=made.cv_windows)
        interval = cv_interval(run)
        assert interval is not None
        assert interval[0] < made.score < interval[1]
        assert np.unique(made.valid_fold).tolist() == list(range(12))

    @pytest.mark.parametrize(("scheme", "ranker"), [("windows", None), ("users", None), ("users", RANKER)])
    def test_folds_have_something_of_each_list(self, scheme: str, ranker: RankerSpec | None) -> None:
        """Of one without orders the clicks had the weight of both: the mean of the folds was another number."""
        rng = np.random.default_rng(1)
        n, users = 6000, 60
        who, favourite = rng.integers(0, users, n), rng.integers(0, 200, users)
        is_order = rng.random(n) < 0.012
        items = np.where(is_order, favourite[who], rng.integers(0, 200, n))
        kinds = np.where(is_order, "orders", "clicks")
        first = pl.DataFrame({"user": np.arange(users), "item": favourite, "time": np.zeros(users, np.int64)})
        later = pl.DataFrame({"user": who, "item": items, "time": np.sort(rng.integers(0, 10 * WEEK_S, n))})
        frame = pl.concat([first, later]).with_columns(kind=pl.Series(["orders"] * users + kinds.tolist()))
        log = read_interactions(frame.lazy(), Columns("user", "item", "time", "kind"))
        asked = replace(WEEKLY, kinds=("clicks", "orders"))
        everybody = np.arange(users, dtype=np.int32)
        p = RecommenderProblem(log, everybody, asked, RECALL, (0.2, 0.8), validation=ValidationSpec(scheme))
        history = HistorySource(top=10, weighting=EventWeighting(last=500, weights={"orders": 50.0, "clicks": 0.1}))
        made = recommend(p, RecommenderSpec({"history": history}, 30, ranker))
        assert len(made.fold_scores) >= 2
        for window in np.unique(made.valid_window):
            truth = (make_validation_window(log, NOBODY, asked, earlier=int(window)).truth or ())[1]
            of_window = made.valid_fold[made.valid_window == window]
            assert set(of_window[np.diff(truth.offsets) > 0]) == set(of_window)
        assert np.mean(made.fold_scores) == pytest.approx(made.score, abs=0.01 if ranker is None else 0.1)

    def test_candidates_that_hold_nothing_of_a_list(self) -> None:
        """In truth there is something of it, and the sources find nothing: which list and window is said."""
        log = self.log(*range(10))
        orders = np.flatnonzero(log.kinds == 1)
        items = log.items.copy()
        items[orders] = np.arange(len(orders)) % 20 + 40
        ids = Ids(pl.Series("item", range(60)))
        nowhere = replace(log, items=items, item_ids=ids)
        with pytest.raises(
            DataError, match=r"orders, the window \d before the last: none of the candidates is in the ground truth"
        ):
            users = np.arange(len(log.users), dtype=np.int32)
            p = RecommenderProblem(
                nowhere, users, replace(WEEKLY, kinds=("clicks", "orders")), RECALL, (1.0, 1.0), folds=3
            )
            clicks = {"popular": PopularSource(top=30, weights={"orders": 0.0})}
            recommend(p, RecommenderSpec(clicks, 30, RANKER))


class TestWhatIsAllowed:
    def test_a_perfect_ranker_of_the_candidates(self, log: Interactions) -> None:
        """Mean over users of min(k, hits) over min(k, relevant), by hand."""
        sources = {"history": HistorySource(top=4), "popular": PopularSource(top=3)}
        made = recommend(problem(log, "users"), RecommenderSpec(sources, 6))
        window = make_validation_window(log, NOBODY, WEEKLY)
        from workbench.recommender.candidates import Generator
        from workbench.recommender.sources import SourceContext

        ready = SourceContext(window, Tables(), 1, lambda _: None)
        finds = {name: s.prepare(ready) for name, s in sources.items()}
        of = Generator(finds, {"history": 4, "popular": 3}, 6).make(window, slice(0, len(window)))
        truth, shares = (window.truth or ())[0], []
        for row in range(len(window)):
            came = set(truth.items[truth.offsets[row] : truth.offsets[row + 1]].tolist())
            hits = len(came & set(of.items[of.offsets[row] : of.offsets[row + 1]].tolist()))
            shares.append(min(5, hits) / min(5, len(came)))
        assert made.ceiling == pytest.approx(np.mean(shares))
        assert made.score <= made.ceiling

    @pytest.mark.parametrize("scheme", ["users", "windows"])
    def test_stopping_sees_all_candidates(
        self, log: Interactions, scheme: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        per_user = []
        training = ranking.RankerTraining

        def watched(rows: Any, number: int, lightgbm: Any, split: ranking.RowSplit, **options: Any) -> Any:
            if split.is_valid is not None:
                users = rows.users[split.is_valid]
                per_user.append(len(users) / len(np.unique(users)))
                for u in np.unique(users)[:5]:
                    assert not (rows.users[split.training_mask(len(rows.users))] == u).any()
            return training(rows, number, lightgbm, split, **options)

        for module in (rolling_windows, user_folds):
            monkeypatch.setattr(module, "RankerTraining", watched)
        made = recommend(problem(log, scheme), spec(negatives=0.1))
        assert min(per_user) > 15
        assert made.stopping["negatives"] == 1.0
        assert made.stopping["users"] > 50


def cells(rng: np.random.Generator, windows: int, between: float) -> list[float]:
    """Differences of two methods that are equally good: users persist over windows, windows differ by chance."""
    groups, users = 5, 40
    taste = 0.5 * rng.normal(size=(groups, users))
    of_users = taste + rng.normal(size=(windows, groups, users)) + between * rng.normal(size=(windows, 1, 1))
    return of_users.mean(axis=2).ravel().tolist()


class TestIntervals:
    @pytest.mark.parametrize("windows", [3, 4])
    @pytest.mark.parametrize("between", [0.0, 0.1, 0.5])
    def test_they_hold_what_is_true(self, windows: int, between: float) -> None:
        rng = np.random.default_rng(7)
        missed = 0
        for _ in range(1_500):
            values = window_values(cells(rng, windows, between), windows)
            missed += abs(math.fsum(values) / len(values)) > half_width(values, 0.0)
        assert missed / 1_500 <= 0.07

    def test_cells_as_if_they_were_folds_would_not_hold(self) -> None:
        rng = np.random.default_rng(7)
        missed = 0
        for _ in range(1_500):
            values = cells(rng, 4, 0.5)
            missed += abs(np.mean(values)) > half_width(values, 0.0)
        assert missed / 1_500 > 0.3

    @pytest.mark.parametrize("windows", [1, 2])
    def test_few_windows_are_those_users_alone(self, windows: int) -> None:
        rng = np.random.default_rng(7)
        missed = sum(
            abs(np.mean(v)) > half_width(v, 0.0)
            for v in (window_values(cells(rng, windows, 0.0), windows) for _ in range(1_500))
        )
        assert missed / 1_500 <= 0.07

    @pytest.mark.parametrize(("cells", "windows"), [([0.2, 0.3], 4), ([0.2, 0.3, 0.4], 2), ([0.1], 3)])
    def test_cells_that_are_no_whole_windows_are_taken_by_themselves(self, cells: list[float], windows: int) -> None:
        """As runs of earlier versions have them: the table showed none of its rows."""
        assert window_values(cells, windows) == cells
        run = replace(RUN, fold_scores=tuple(cells), cv_mean=0.25, cv_std=0.1, cv_windows=windows)
        assert (cv_interval(run) is None) == (len(cells) < 2)

    def test_the_mean_stays(self) -> None:
        for values, windows in (([1.0, 2.0, 3.0, 5.0, 5.0, 8.0], 3), ([1.0, 2.0, 2.0, 1.0, 1.5, 1.5], 3), ([1.0], 1)):
            independent = window_values(values, windows)
            assert np.mean(independent) == pytest.approx(np.mean(values))
        assert np.std(window_values([1.0, 2.0, 2.0, 1.0, 1.5, 1.5], 3)) > 0

    def test_runs_are_compared_over_windows(self) -> None:
        base = replace(RUN, fold_scores=(0.1, 0.2, 0.3, 0.2, 0.1, 0.3), cv_windows=3, cv_mean=0.2)
        better = replace(base, fold_scores=(0.2, 0.3, 0.5, 0.4, 0.2, 0.4))
        change = change_against(better, base)
        assert change is not None
        each = window_values([0.1, 0.1, 0.2, 0.2, 0.1, 0.1], 3)
        assert change.high - change.mean == pytest.approx(t_975(2) * np.std(each, ddof=1) / math.sqrt(3))
        assert cv_interval(base) is not None
        assert change_against(better, replace(base, cv_windows=1)) is None
