"""Every encoding against its plain definition, and against labels that it must not know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.core.errors import ConfigError, FeatureError, NotFoundError, WorkbenchError
from workbench.features import Blocks, Split, build_matrix, load_features
from workbench.features.encodings import (
    TargetEncoding,
    target_count,
    target_mean,
    target_stats,
    weight_of_evidence,
)
from workbench.features.groupcodes import group_codes
from workbench.models.folds import group_folds, kfold, time_folds
from workbench.models.target import TargetColumn

seeds = st.integers(0, 2**32 - 1)
HEAD = "import polars as pl\nfrom workbench.features import *\n\n"
SMOOTHING = 3.0


def spread(values: np.ndarray) -> float:
    """A statistic of a user's: it depends on the order, too."""
    return float(values.max() - values[0])


STATS = ["mean", "std", "skew", "median", "q10", "q97.5", "min", "max", "sum", "count", spread]


def columns_of(made: TargetEncoding, groups: np.ndarray, y: np.ndarray, split: Split, fold: int) -> np.ndarray:
    return made.encode(groups, y[:, None], split, fold)


# -------------------------------------------------------------------------------------------------- plain definitions


def plain(name: str, values: np.ndarray, every: np.ndarray, smoothing: float) -> float:
    """The definition of a statistic of a group's values and all values, in plain numpy."""
    if name == "woe":
        positive, n = every.sum(), len(every)
        if positive in (0, n):
            return 0.0
        odds = (values.sum() + smoothing * positive / n) / ((1 - values).sum() + smoothing * (1 - positive / n))
        return np.log(odds) - np.log(positive / (n - positive))
    if name in ("sum", "count"):
        return float(values.sum() if name == "sum" else len(values))
    if name in ("min", "max", "spread"):
        return float({"min": np.min, "max": np.max, "spread": spread}[name](values)) if len(values) else np.nan
    own, prior = (statistic_of(name, v) for v in (values, every))
    if np.isnan(own):
        return prior
    return (len(values) * own + smoothing * prior) / (len(values) + smoothing)


def statistic_of(name: str, values: np.ndarray) -> float:
    n = len(values)
    if name == "std":
        return float(values.std(ddof=1)) if n > 1 else np.nan
    if name == "skew":
        away = values - values.mean() if n else values
        spread = (away**2).mean() if n > 2 else 0.0
        return float((away**3).mean() / spread**1.5) if spread > 1e-20 else np.nan
    if n == 0:
        return np.nan
    quantiles = {"median": 0.5, "q10": 0.1, "q97.5": 0.975}
    return float(np.quantile(values, quantiles[name]) if name in quantiles else values.mean())


def learned_from(split: Split, fold: int, row: int, parts: np.ndarray) -> np.ndarray:
    """The rows that a row learns from, in their order: the definition."""
    seen = split.in_training(fold)
    rows = np.flatnonzero(seen)
    if split.time is not None:
        rows = rows[np.argsort(np.asarray(split.time)[rows], kind="stable")]
    if row >= len(seen) or not seen[row]:
        return rows
    if split.time is None:
        return rows[parts[rows] != parts[row]]
    time = np.asarray(split.time)
    before = time[rows] + split.horizon <= time[row] if split.horizon else time[rows] < time[row]
    return rows[before]


def random_split(scheme: str, rng: np.random.Generator, n: int) -> tuple[Split, int, np.ndarray]:
    """A split, its number of folds, and the parts that a definition needs where time does not matter."""
    seed = int(rng.integers(1000))
    if scheme == "kfold":
        folds = kfold(n, 4, seed)
        return Split(folds.valid), 4, folds.valid
    if scheme == "group":
        groups = rng.integers(0, 12, n)
        folds = group_folds(groups, 3, seed)
        return Split(folds.valid, groups=groups), 3, folds.valid
    if scheme in ("time", "gap"):
        time = rng.permutation(n) // 2
        horizon = 3 if scheme == "gap" else 0
        folds = time_folds(time, 3, gap=horizon)
        return Split(folds.valid, folds.train, time, horizon), 3, folds.valid
    # custom: masks without a pattern, as of a split that takes a sample; many folds make many kinds of rows
    k = 3 if scheme == "custom" else 9
    valid = rng.integers(0, k, n).astype(np.int16)
    train = (rng.random((k, n)) < 0.7) & (valid != np.arange(k)[:, None])
    return Split(valid, train), k, valid


SCHEMES = ["kfold", "group", "time", "gap", "custom", "many"]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_split_of_some_of_the_rows_is_that_of_all_there(scheme: str) -> None:
    rng = np.random.default_rng(5)
    split, k, _ = random_split(scheme, rng, 80)
    rows = rng.choice(80, 30, replace=False)
    taken = split.take(rows)
    assert (taken.valid == split.valid[rows]).all()
    assert taken.horizon == split.horizon
    for fold in range(k):
        assert (taken.in_training(fold) == split.in_training(fold)[rows]).all()
    for name in ("time", "groups"):
        whole, part = getattr(split, name), getattr(taken, name)
        assert (part is None) == (whole is None)
        assert whole is None or (part == whole[rows]).all()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_one_more_fold_learns_from_all_rows(scheme: str) -> None:
    split, k, _ = random_split(scheme, np.random.default_rng(6), 80)
    more = split.with_full_fold()
    for fold in range(k):
        assert (more.in_training(fold) == split.in_training(fold)).all()
    assert more.in_training(k).all()
    assert len(more.in_training(k)) == 80


@pytest.mark.parametrize("scheme", SCHEMES)
@settings(max_examples=5)
@given(seed=seeds, smoothing=st.sampled_from([0.0, SMOOTHING]), whole=st.booleans())
def test_every_statistic_is_its_plain_definition(scheme: str, seed: int, smoothing: float, whole: bool) -> None:
    rng = np.random.default_rng(seed)
    n, extra = 50, 6
    groups = rng.integers(0, 6, n + extra)
    y = rng.integers(0, 4, n).astype(float) if whole else rng.normal(5, 2, n)
    split, k, parts = random_split(scheme, rng, n)
    made = target_stats("g", stats=STATS, smoothing=smoothing)
    assert [s.name for s in made.statistics] == [s if isinstance(s, str) else "spread" for s in STATS]
    of_mean = target_mean("g", smoothing=smoothing)
    for fold in rng.permutation(k)[:3]:
        got = columns_of(made, groups, y, split, fold)
        assert got.dtype == np.float32
        for row in rng.permutation(n + extra)[:12]:
            rows = learned_from(split, fold, row, parts)
            own = y[rows[groups[rows] == groups[row]]]
            want = [plain(s.name, own, y[rows], smoothing) for s in made.statistics]
            assert got[row] == pytest.approx(np.array(want), rel=2e-5, abs=2e-6, nan_ok=True)
        assert np.array_equal(columns_of(of_mean, groups, y, split, fold)[:, 0], got[:, 0], equal_nan=True)


@pytest.mark.parametrize("scheme", SCHEMES)
@settings(max_examples=5)
@given(seed=seeds)
def test_weight_of_evidence_and_count_are_their_plain_definitions(scheme: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, extra, n_classes = 50, 6, int(rng.integers(2, 4))
    groups, classes = rng.integers(0, 6, n + extra), rng.integers(0, n_classes, n)
    split, k, parts = random_split(scheme, rng, n)
    target = (
        (classes[:, None] == np.arange(n_classes)).astype(float) if n_classes > 2 else classes[:, None].astype(float)
    )
    for fold in rng.permutation(k)[:3]:
        got = weight_of_evidence("g", smoothing=SMOOTHING).encode(groups, target, split, fold)
        counts = target_count("g").encode(groups, target, split, fold)
        assert got.shape == (n + extra, target.shape[1])
        assert counts.shape == (n + extra, 1)
        for row in range(n + extra):
            rows = learned_from(split, fold, row, parts)
            own = rows[groups[rows] == groups[row]]
            assert counts[row, 0] == len(own)
            want = [plain("woe", y[own], y[rows], SMOOTHING) for y in target.T]
            assert got[row] == pytest.approx(np.array(want), rel=2e-5, abs=2e-6)


# ------------------------------------------------------------------------------------------ labels not to be known of


def all_encodings(task: str) -> list[TargetEncoding]:
    found = [target_mean("g", smoothing=1), target_stats("g", stats=STATS, smoothing=1), target_count("g")]
    return found if task == "regression" else [*found, weight_of_evidence("g", smoothing=1)]


@pytest.mark.parametrize("scheme", [*SCHEMES, "two folds", "hold-out"])
@settings(max_examples=5)
@given(seed=seeds, task=st.sampled_from(["binary", "regression"]))
def test_labels_that_are_not_to_be_known_change_no_bit(scheme: str, seed: int, task: str) -> None:
    """A row's own label, the labels that its fold validates, and, in time, all that are not earlier."""
    rng = np.random.default_rng(seed)
    n = 60
    groups = rng.integers(0, 8, n + 6)
    # Numbers of very different size: what is added and taken away again would leave its rounding.
    y = rng.integers(0, 2, n).astype(float) if task == "binary" else rng.normal(size=n) * 10.0 ** rng.integers(-8, 9, n)
    if scheme == "two folds":
        split, k = Split(kfold(n, 2, seed % 1000).valid), 2
    elif scheme == "hold-out":
        split, k = Split(np.where(rng.random(n) < 0.3, 0, -1).astype(np.int16)), 1
    else:
        split, k, _ = random_split(scheme, rng, n)
    row = int(rng.integers(n))
    for made in all_encodings(task):
        for fold in rng.permutation(k)[:3]:
            before = columns_of(made, groups, y, split, fold)
            other = np.array(y)
            other[row] = 1 - y[row]
            after = columns_of(made, groups, other, split, fold)
            assert np.array_equal(before[row], after[row], equal_nan=True)
            hidden = ~split.in_training(fold)
            other = np.where(hidden, 1 - y, y)
            after = columns_of(made, groups, other, split, fold)
            assert np.array_equal(before, after, equal_nan=True)
            if split.time is not None:
                time = np.asarray(split.time)
                later = time + split.horizon > time[row] if split.horizon else time >= time[row]
                after = columns_of(made, groups, np.where(later, 1 - y, y), split, fold)
                known = split.in_training(fold) & (time <= time[row])
                assert np.array_equal(before[:n][known], after[:n][known], equal_nan=True)


def test_something_is_learned_in_every_fold_of_two_and_of_a_hold_out() -> None:
    """One fold's rows may not be the only part: then each would learn from nothing."""
    n = 4000
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 10, n)
    y = (rng.random(n) < groups / 10).astype(float)
    hold_out = np.where(rng.random(n) < 0.2, 0, -1).astype(np.int16)
    for valid, k in ((kfold(n, 2, 0).valid, 2), (hold_out, 1)):
        for fold in range(k):
            seen = valid != fold
            got = columns_of(target_mean("g"), groups, y, Split(valid), fold)[:, 0]
            assert np.corrcoef(got[seen], groups[seen])[0, 1] > 0.95
            assert abs(got[seen].mean() - got[~seen].mean()) < 0.05


def test_rows_of_one_cv_group_never_learn_from_each_other() -> None:
    """Not even where two folds leave one part to train on, which is then cut between groups."""
    n = 600
    rng = np.random.default_rng(1)
    person = rng.integers(0, 100, n)
    y = (person % 2).astype(float)
    split = Split(group_folds(person, 2, 0).valid, groups=person)
    counts = columns_of(target_count("person"), person, y, split, 0)[:, 0]
    assert (counts[split.in_training(0)] == 0).all()
    assert (columns_of(target_mean("person"), person, y, split, 0)[:, 0] == counts).all() is np.False_


PLANTED: dict[str, Callable[[np.random.Generator, np.ndarray], np.ndarray]] = {
    "groups of one row": lambda rng, y: rng.permutation(len(y)),
    "groups of two rows": lambda rng, y: rng.permutation(len(y)) // 2,
    # Each group has one label but for few rows: half of the groups, at random, have no other row of the fold.
    "a group almost per label": lambda rng, y: np.where(rng.random(len(y)) < 0.999, np.arange(len(y)), y.astype(int)),
}


def naive(y: np.ndarray, groups: np.ndarray, valid: np.ndarray, fold: int) -> np.ndarray:
    """What many write: the means of the fold's train rows, for these rows themselves too."""
    seen = valid != fold
    n_groups = int(groups.max()) + 1
    sums = np.bincount(groups[seen], y[seen], n_groups)
    means = (sums + y[seen].mean()) / (np.bincount(groups[seen], minlength=n_groups) + 1)
    return means[groups]


def hold_out_auc(train: np.ndarray, y_train: np.ndarray, valid: np.ndarray, y_valid: np.ndarray) -> tuple[float, float]:
    """LightGBM's AUC on the rows it is trained on, and on those it is not."""
    import lightgbm as lgb
    from sklearn.metrics import roc_auc_score

    model = lgb.train(
        {"objective": "binary", "verbosity": -1, "num_threads": 1, "seed": 0, "num_leaves": 8},
        lgb.Dataset(train, y_train),
        num_boost_round=20,
    )
    on_train, on_valid = (roc_auc_score(y, model.predict(x)) for x, y in ((train, y_train), (valid, y_valid)))
    return on_train, on_valid


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_leak_is_picked_up_by_the_naive_encoding_and_by_none_of_ours(name: str) -> None:
    n, noise = 4000, np.random.default_rng(5)
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, n).astype(float)
    groups = PLANTED[name](rng, y).astype(np.int64)
    split = Split(kfold(n, 5, 0).valid)
    seen = split.in_training(0)

    def aucs(columns: np.ndarray) -> tuple[float, float]:
        columns = np.column_stack([columns, noise.normal(size=n)])
        return hold_out_auc(columns[seen], y[seen], columns[~seen], y[~seen])

    on_train, on_valid = aucs(naive(y, groups, split.valid, 0))
    assert on_train > 0.9
    assert on_valid < 0.6
    for made in all_encodings("binary"):
        columns = columns_of(made, groups, y, split, 0)
        on_train, on_valid = aucs(columns)
        assert on_train < 0.72, made.kind  # of noise alone, about 0.65
        assert on_valid > 0.44, made.kind


# ----------------------------------------------------------------------------------------------- names, groups, errors


def target(name: str, task: str, values: Any, *classes: str) -> TargetColumn:
    return TargetColumn(name, task, np.asarray(values, np.float64), classes or None)


def named(made: TargetEncoding, *targets: TargetColumn, own: int = 0) -> list[str]:
    made.name = "te"
    return made.names(targets, own)


def test_the_columns_are_named_after_group_target_class_and_statistic() -> None:
    a, b = target("a", "regression", [0.5, 2]), target("b", "regression", [1, 3])
    c = target("c", "multiclass", [0, 1], "high", "low", "mid")
    assert named(target_mean("g"), a, b, own=1) == ["te"]
    assert named(target_mean("g"), c) == ["te_high", "te_low", "te_mid"]
    assert named(target_mean("g", target="all"), a, b) == ["te_a", "te_b"]
    assert named(target_mean("g", target="b"), a, b) == ["te_b"]
    assert named(target_stats("g", stats=["mean", "count"]), a) == ["te_mean", "te_count"]
    assert named(target_stats("g", stats=["mean", "count"]), c) == [
        "te_high_mean",
        "te_count",
        "te_low_mean",
        "te_mid_mean",
    ]
    assert named(target_mean(["g"], ["g", "calendar.hour"]), a) == ["te_g", "te_g_calendar_hour"]
    assert named(target_count("g"), c) == ["te"]


@settings(max_examples=10)
@given(seeds)
def test_each_target_and_class_is_encoded_like_one_of_its_own(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = 40
    groups, split = rng.integers(0, 5, n + 5), Split(kfold(n, 3, 0).valid)
    a, c = target("a", "regression", rng.random(n)), target("c", "multiclass", rng.integers(0, 3, n), *"xyz")
    stats = ["mean", "count", "max"]
    made = target_stats("g", stats=stats, target="all")
    made.name = "te"
    got = dict(zip(made.names([a, c], 0), made.learn(groups, [a, c], 0, split).columns(1), strict=True))
    alone = {"a": a.values, **{f"c_{label}": (c.values == i).astype(float) for i, label in enumerate("xyz")}}
    for name, values in alone.items():
        mean, count, largest = columns_of(target_stats("g", stats=stats), groups, values, split, 1).T
        assert np.array_equal(got[f"te_{name}_mean"], mean)
        assert np.array_equal(got[f"te_{name}_max"], largest, equal_nan=True)
        assert np.array_equal(got["te_count"], count)


@pytest.mark.parametrize("value", [0.1, 1 / 3, 1e6 + 0.1])
def test_equal_values_have_no_skewness_in_folds_either(value: float) -> None:
    """Though their mean, a sum divided by their number, may differ from them in the last digit."""
    y, split = np.full(60, value), Split(kfold(60, 4, 0).valid)
    for group_size in (3, 6, 7, 10):
        got = target_stats("g", stats=["skew"]).encode(np.arange(70) // group_size, y[:, None], split, 0)
        assert np.isnan(got).all()


def test_cells_that_are_summed_for_each_fold_anew_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where almost every row has a group of its own they are not held; and groups are taken in slabs."""
    from workbench.features.encodings import learned

    rng = np.random.default_rng(0)
    groups, y, split = rng.permutation(600), rng.random(500), Split(kfold(500, 5, 0).valid)
    made = target_stats("g", stats=["mean", "skew", "q10"])
    whole = [made.encode(groups, y[:, None], split, fold) for fold in range(5)]
    monkeypatch.setattr(learned, "GROUPS_AT_ONCE", 64)
    monkeypatch.setattr(learned, "MAX_CACHED_CELLS", 0)
    monkeypatch.setattr(learned, "ROWS_AT_ONCE", 77)
    one = made.learn(groups, [target("y", "regression", y)], 0, split)
    for fold in range(5):
        assert np.array_equal(np.column_stack(one.columns(fold)), whole[fold])
    whole_summarise, summed = learned.summarise, []
    monkeypatch.setattr(learned, "summarise", lambda *given: summed.append(1) or whole_summarise(*given))
    one.columns(3)
    again = len(summed)
    assert again > 0
    monkeypatch.setattr(learned, "MAX_CACHED_CELLS", 10**9)
    for times in (again, 0):
        summed.clear()
        one.columns(3)
        assert len(summed) == times


@settings(max_examples=50)
@given(st.lists(st.tuples(st.none() | st.integers(0, 3), st.none() | st.sampled_from("ab")), min_size=1, max_size=30))
def test_group_codes_number_distinct_lines(lines: list[tuple[int | None, str | None]]) -> None:
    codes = group_codes(pl.DataFrame(lines, schema={"a": pl.Int64, "b": pl.String}, orient="row"))
    assert codes.dtype == np.int32
    assert sorted(set(codes)) == list(range(len(set(lines))))
    for i, a in enumerate(lines):
        for j, b in enumerate(lines):
            assert (codes[i] == codes[j]) == (a == b)


VALUES = {
    "integers that lie close": pl.Series([-3, None, 5, -3, 0]),
    "integers far apart": pl.Series([-(2**63), None, 2**63 - 1, -(2**63), 0]),
    "large unsigned": pl.Series([2**64 - 1, None, 2**64 - 2, 2**64 - 1, 0], dtype=pl.UInt64),
    "bytes": pl.Series([255, None, 0, 255, 7], dtype=pl.UInt8),
    "floats": pl.Series([float("nan"), None, 0.0, float("nan"), 1.5]),
    "texts": pl.Series(["b", None, "", "b", "a"]),
    "categories": pl.Series(["b", None, "", "b", "a"], dtype=pl.Categorical),
    "dates": pl.Series(["2024-01-02", None, "1999-01-01", "2024-01-02", "2024-01-03"]).str.to_date(),
}


@pytest.mark.parametrize("name", VALUES)
def test_group_codes_of_every_type(name: str) -> None:
    codes = group_codes(VALUES[name].to_frame("a"))
    assert codes[0] == codes[3]
    assert sorted(set(codes)) == [0, 1, 2, 3]


def test_group_codes_of_truths_nothing_and_no_rows() -> None:
    assert group_codes(pl.DataFrame({"a": [True, None, False, True]})).tolist() == [2, 0, 1, 2]
    assert group_codes(pl.DataFrame({"a": [None, None]})).tolist() == [0, 0]
    assert group_codes(pl.DataFrame({"a": []}, schema={"a": pl.String})).tolist() == []


@pytest.mark.parametrize("big", [0, 10**12])
def test_group_codes_of_many_values_are_the_same_every_time(big: int) -> None:
    values = np.random.default_rng(0).integers(0, 50_000, 100_000)
    frame = pl.DataFrame({"number": values * (big + 1), "text": (values % 7_000).astype(str), "few": values % 3})
    for names in (["number"], ["text"], ["number", "text", "few"]):
        codes = group_codes(frame.select(names))
        assert np.array_equal(codes, group_codes(frame.select(names)))
        assert codes.max() + 1 == frame.select(names).n_unique() == len(np.unique(codes))
        assert frame.select(names, code=codes).n_unique() == codes.max() + 1


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: target_mean(smoothing=3), FeatureError, "target_mean needs at least one column"),
        (lambda: target_mean([]), FeatureError, "at least one column"),
        (lambda: target_mean("a", smoothing=-1), FeatureError, "expected smoothing >= 0, got -1"),
        (lambda: target_mean("a", smoothing=float("nan")), FeatureError, "expected smoothing >= 0, got nan"),
        (lambda: target_mean(3), FeatureError, "expected names of columns"),
        (lambda: target_mean("a", ["b", 3]), FeatureError, r"expected names of columns, or lists of them, got \['a', \['b', 3\]\]"),
        (lambda: target_mean("a", ""), FeatureError, "at least one column target_mean\\(\"carrier\"\\) or"),
        (lambda: target_mean(["a"], []), FeatureError, "at least one column"),
        (lambda: target_mean("a", smoothing=float("inf")), FeatureError, "expected smoothing >= 0, got inf"),
        (lambda: target_mean("a", smoothing="3"), FeatureError, "expected smoothing >= 0, got '3'"),
        (lambda: target_stats("a", stats=["q"]), NotFoundError, "or give a function"),
        (lambda: target_stats("a", stats=["q1.", "mean"]), NotFoundError, "no statistic is called 'q1.'"),
        (lambda: weight_of_evidence("a", smoothing=0), FeatureError, "expected smoothing > 0"),
        (lambda: target_stats("a", stats=[]), FeatureError, "expected a list of statistics"),
        (lambda: target_stats("a", stats="mean"), FeatureError, "expected a list of statistics"),
        (lambda: target_stats("a", stats=["mean", "mean"]), FeatureError, "gives a name twice"),
        (lambda: target_stats("a", stats=["medain"]), NotFoundError, "did you mean 'median'"),
        (lambda: target_stats("a", stats=["q100"]), NotFoundError, "'q100'"),
        (lambda: target_stats("a", stats=[lambda v: 0.0]), FeatureError, "has no name"),
        (lambda: target_mean("a").check("binary", ["y"]) or target_mean("a", target="yy").check("binary", ["y"]), NotFoundError, "did you mean 'y'|valid targets: y"),
        (lambda: weight_of_evidence("a").check("regression", ["y"]), FeatureError, "the task is 'regression'"),
        (lambda: weight_of_evidence("a").encode(np.zeros(3, int), np.array([[0.0], [1], [7.5]]), Split(np.array([0, 1, 1])), 0), FeatureError, "values such as 7.5"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_explained(make: Callable[[], Any], error: type[WorkbenchError], message: str) -> None:
    with pytest.raises(error) as caught:
        make()
    import re

    assert re.search(message, f"{caught.value.message} {caught.value.hint}")


def failing(values: np.ndarray) -> float:
    return float(values[99])


def test_a_function_that_fails_is_named() -> None:
    with pytest.raises(FeatureError, match="the statistic 'failing' failed on 2 values: IndexError"):
        target_stats("a", stats=[failing]).encode(np.zeros(4, int), np.ones((4, 1)), Split(np.array([0, 0, 1, 1])), 0)


def test_every_parameter_is_in_the_key() -> None:
    made = [
        target_mean("a"),
        target_mean("a", "b"),
        target_mean(["a"], ["b"]),
        target_mean("a", smoothing=21),
        target_mean("a", target="y"),
        target_mean("a", target="all"),
        target_count("a"),
        weight_of_evidence("a"),
        target_stats("a", stats=["mean"]),
        target_stats("a", stats=["std"]),
        target_stats("a", stats=["std", "mean"]),
        target_stats("a", stats=["q10"]),
        target_stats("a", stats=["q11"]),
        target_stats("a", stats=[spread]),
        target_stats("a", stats=[failing]),
        target_stats("a", stats=[np.ptp]),
    ]
    assert len({m.key for m in made}) == len(made)
    assert target_mean("a").key == target_mean("a").key


def test_what_is_not_said_is_as_said_here() -> None:
    for made, same in (
        (target_mean("a"), target_mean("a", smoothing=20)),
        (weight_of_evidence("a"), weight_of_evidence("a", smoothing=20)),
        (target_stats("a", stats=["mean"]), target_stats("a", stats=["mean"], smoothing=20.0)),
        (target_mean("a", ["b"]), target_mean(["a"], ["b"])),
    ):
        assert made.key == same.key
        assert made == same
        same.name = "another"
        assert made == same  # the name is no part of it
    plain = TargetEncoding("own", (("a",),), target_mean("a").statistics)
    assert (plain.smoothing, plain.target, plain.suffixed, plain.name) == (0, None, False, "")
    assert target_mean("a", smoothing=0).smoothing == 0
    assert [s.quantile for s in target_stats("a", stats=["q5", "q05", "q97.5", "q0", "median"]).statistics] == [
        0.05, 0.05, 0.975, 0, 0.5,
    ]  # fmt: skip
    for task in ("binary", "multiclass", "regression"):
        target_mean("a").check(task, ["y"])
        if task != "regression":
            weight_of_evidence("a", target="y").check(task, ["x", "y"])


def test_rows_that_no_fold_keeps_together_are_dealt_out_as_ever() -> None:
    """Into five parts by a seed of their own: other parts are other numbers for every run there was."""
    groups, y = np.zeros(12, int), np.arange(10.0)
    hold_out = Split(np.array([-1, -1, 0, -1, -1, -1, 0, -1, -1, -1], np.int16))
    two = Split(np.array([0, 1] * 5, np.int16))
    grouped = Split(np.array([0, 1] * 5, np.int16), groups=np.array([7, 3, 7, 5, 9, 5, 9, 3, 1, 3]))
    found = [
        columns_of(target_stats("g", stats=["sum"]), groups, y, split, 0)[:, 0].tolist()
        for split in (hold_out, two, grouped)
    ]
    assert found == [
        [37, 27, 37, 34, 25, 25, 37, 25, 25, 27, 37, 37],
        [25, 15, 25, 22, 25, 13, 25, 13, 25, 15, 25, 25],
        [25, 8, 25, 17, 25, 17, 25, 8, 25, 8, 25, 25],
    ]


def called(values: np.ndarray) -> float:
    CALLS.append(len(values))
    return float(len(values))


CALLS: list[int] = []


def test_the_past_that_all_folds_share_is_looked_up_once() -> None:
    time = np.arange(12)
    folds = time_folds(time, 3)
    split = Split(folds.valid, folds.train, time)
    learned = target_stats("g", stats=[called]).learn(np.zeros(12, int), [target("y", "regression", time)], 0, split)
    n_calls = []
    for fold in (0, 1, 1):
        CALLS.clear()
        learned.columns(fold)
        n_calls.append(len(CALLS))
    assert n_calls[1] == n_calls[2] == 1  # what is validated
    assert n_calls[0] == 12


def test_a_function_gets_values_of_its_own() -> None:
    y = np.arange(4.0)
    target_stats("g", stats=[spoiling]).encode(np.zeros(4, int), y[:, None], Split(np.array([0, 0, 1, 1])), 0)
    assert y.tolist() == [0, 1, 2, 3]


def spoiling(values: np.ndarray) -> float:
    values[:] = -1
    return 0.0


@pytest.mark.parametrize("horizon", [0.0, 2.0])
def test_statistics_of_few_and_of_equal_values_in_time(horizon: float) -> None:
    """Of one value there is no spread, of two no skewness; of equal ones neither, whatever rounding leaves."""
    time = np.arange(9.0)
    split = Split(np.full(9, -1, np.int16), np.ones((1, 9), np.bool_), time, horizon)
    made = target_stats("g", stats=["sum", "count", "min", "max", "std", "skew"], smoothing=0)
    for y in (np.full(9, 0.1), np.full(9, 1e6 + 0.1), np.r_[0.1, 0.1, 0.1, 7, 7, 7, 7, 7, 7]):
        got = columns_of(made, np.zeros(10, int), y, split, 0)
        for i in range(9):
            past = y[time + horizon <= time[i]] if horizon else y[:i]
            n = len(past)
            assert got[i, 0] == pytest.approx(past.sum())
            assert got[i, 1] == n
            assert np.isnan(got[i, 2]) == np.isnan(got[i, 3]) == (n == 0)
            std, skew = statistic_of("std", past), statistic_of("skew", past) if len(set(past)) > 1 else np.nan
            assert got[i, 4] == pytest.approx(std, abs=1e-6, nan_ok=True)
            assert got[i, 5] == pytest.approx(skew, rel=1e-4, nan_ok=True)


def test_a_function_of_features_py_counts_with_what_it_uses(small) -> None:
    code = (
        "FACTOR = 2\n\n\ndef helper(v):\n    return v.max() * FACTOR\n\n\n"
        "def reach(values):\n    return helper(values)\n\n\nte = target_stats('town', stats=[reach, 'mean'])\n"
    )
    made = small()
    keys = []
    for text in (code, code + "\n# a remark\n", code.replace("FACTOR = 2", "FACTOR = 3")):
        (made.folder / "features.py").write_text(HEAD + text)
        competition = made.open.access.competition
        keys.append(Blocks(competition, load_features(competition)).key("te"))
    assert keys[0] == keys[1] != keys[2]


# --------------------------------------------------------------------------------------------------------- end to end

EXPERIMENT = """
title = "encodings"
features = ["ratio", "te", "few", "stats"{more}]
[model]
num_leaves = 7
num_iterations = 12
"""
DEFINITIONS = (
    "@feature\ndef ratio(rows):\n    return [(pl.col('x') / 2).alias('ratio')]\n\n\n"
    "def reach(values):\n    return values.max() - values.min()\n\n\n"
    "te = target_mean(['town'], ['town', 'household'], smoothing=5)\n"
    "few = target_count('household')\n"
    "stats = target_stats('town', stats=['std', 'q25', 'max', reach], target='all')\n"
    "woe = weight_of_evidence('town', smoothing=5)\n"
)


@pytest.mark.parametrize(
    ("task", "metric", "cv", "columns"),
    [
        ("binary", "auc", None, ["te_town", "te_town_household", "few", "stats_y_std", "stats_y_reach", "woe"]),
        ("multiclass", "mlogloss", None, ["te_town_mid", "few", "stats_y_low_std", "woe_high"]),
        ("two", "rmse", None, ["te_town", "stats_y_q25", "stats_w_q25"]),
        (
            "binary",
            "auc",
            'scheme = "time"\ncolumn = "day"\ngap = "3d"\npurge = "2d"',
            ["te_town", "stats_y_q25", "woe"],
        ),
        ("regression", "rmse", 'scheme = "group"\ngroup = "household"', ["te_town_household", "stats_y_max"]),
    ],
)
def test_a_run_from_end_to_end(small, task: str, metric: str, cv: str | None, columns: list[str]) -> None:
    made = small(task=task, metric=metric)
    (made.folder / "features.py").write_text(HEAD + DEFINITIONS)
    made.experiment(1, EXPERIMENT.format(more=', "woe"' if task in ("binary", "multiclass") else ""))
    if cv is not None:
        text = (made.folder / "competition.toml").read_text()
        (made.folder / "competition.toml").write_text(text.partition("[cv]")[0] + f"[cv]\n{cv}\nfolds = 3\nseed = 1\n")
    outcome = made.open.run(1)
    assert set(columns) <= set(outcome.importance["column"])
    assert made.open.runs.execute(1).how == "unchanged"


def test_an_encoding_that_does_not_fit_is_refused_before_anything_is_built(small) -> None:
    made = small(task="regression", metric="rmse")
    (made.folder / "features.py").write_text(HEAD + DEFINITIONS)
    made.experiment(1, EXPERIMENT.format(more=', "woe"'))
    with pytest.raises(FeatureError, match="woe: weight_of_evidence compares classes; the task is 'regression'"):
        made.open.run(1)
    assert not list(made.folder.glob("cache/*.parquet"))


def test_an_unknown_column_is_explained(small) -> None:
    made = small()
    (made.folder / "features.py").write_text(HEAD + "te = target_mean('twn')\n")
    competition = made.open.access.competition
    with pytest.raises(NotFoundError, match="rows have no column 'twn'") as caught:
        build_matrix(Blocks(competition, load_features(competition)), ["te"])
    assert "town" in str(caught.value.hint)


def test_a_column_that_there_is_not_is_named_with_its_feature_before_anything_is_built(small) -> None:
    made = small()
    code = "good = target_mean('town', 'rows.x', 'f.a')\nbad = target_mean('towm')\nworse = target_mean('g.a')\n"
    code += "\n@feature\ndef f(rows):\n    return [pl.col('x').alias('a')]\n"
    (made.folder / "features.py").write_text(HEAD + code)
    for name, said, near in (("bad", "towm", "'town'"), ("worse", "g.a", "'f.a'")):
        made.experiment(1, f'title = "t"\nfeatures = ["good", "{name}"]\n[model]\nnum_iterations = 2\n')
        for ask in (lambda: made.open.run(1), lambda n=name: made.open.data.check_time([n], columns=["day"])):
            with pytest.raises(
                NotFoundError, match=rf"{name!r} \(features.py\): rows have no column '{said}'"
            ) as caught:
                ask()
            assert near in caught.value.hint
    assert not list(made.folder.glob("cache/*.parquet"))


def test_what_is_wrong_when_the_file_is_loaded_keeps_its_hint(small) -> None:
    made = small()
    (made.folder / "features.py").write_text(HEAD + "te = target_stats('town', stats=['meen'])\n")
    with pytest.raises(ConfigError, match=r"can't be loaded: .*'meen' \(features.py, line \d+\)") as caught:
        _ = made.open.features.names
    assert "did you mean 'mean'" in caught.value.hint


def test_a_column_that_is_there_already_is_refused(small) -> None:
    made = small()
    code = (
        "te = target_stats('town', stats=['std'])\n\n@feature\ndef f(rows):\n    return [pl.col('x').alias('te_std')]\n"
    )
    (made.folder / "features.py").write_text(HEAD + code)
    made.experiment(1, 'title = "t"\nfeatures = ["f", "te"]\n[model]\nnum_iterations = 2\n')
    with pytest.raises(FeatureError, match="both give a column 'te_std'"):
        made.open.run(1)
