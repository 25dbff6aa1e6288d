from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from workbench import metrics
from workbench.errors import DataError, NotFoundError
from workbench.metrics import Queries, Relevant, aliases

seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(2, 120)
settings.register_profile("metrics", deadline=None, max_examples=60)
settings.load_profile("metrics")


def make(seed: int, n: int, *, classes: int = 2, ties: bool, weighted: bool) -> tuple[Any, Any, Any]:
    """Return codes with at least two classes, scores with or without ties, and weights or None."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, n)
    truth[:2] = [0, 1]
    scores = rng.random(n)
    if ties:
        scores = scores.round(1)
    return truth, scores, rng.integers(1, 5, n).astype(float) if weighted else None


BINARY = {"auc": sk.roc_auc_score, "average_precision": sk.average_precision_score}


@pytest.mark.parametrize("name", BINARY)
@given(seeds, sizes, st.booleans(), st.booleans())
def test_scores_of_a_binary_target(name: str, seed: int, n: int, ties: bool, weighted: bool) -> None:
    truth, scores, weight = make(seed, n, ties=ties, weighted=weighted)
    expected = BINARY[name](truth, scores, sample_weight=weight)
    assert metrics.get(name)(truth, scores, weight) == pytest.approx(expected, rel=1e-10)
    assert metrics.get(name)(truth, scores.astype(np.float32), weight) == pytest.approx(
        BINARY[name](truth, scores.astype(np.float32), sample_weight=weight), rel=1e-10
    )


@given(seeds, sizes, st.booleans())
def test_log_loss(seed: int, n: int, weighted: bool) -> None:
    truth, scores, weight = make(seed, n, ties=True, weighted=weighted)  # ties: 0.0 and 1.0 occur
    expected = sk.log_loss(truth, scores, sample_weight=weight)
    assert metrics.get("logloss")(truth, scores, weight) == pytest.approx(expected, rel=1e-9)


@given(seeds, sizes, st.integers(3, 6), st.booleans())
def test_multiclass_probabilities(seed: int, n: int, classes: int, weighted: bool) -> None:
    rng = np.random.default_rng(seed)
    n += classes
    truth = np.concatenate([np.arange(classes), rng.integers(0, classes, n - classes)])
    proba = rng.dirichlet(np.ones(classes), n)
    weight = rng.random(n) + 0.1 if weighted else None
    labels = list(range(classes))
    expected = sk.log_loss(truth, proba, sample_weight=weight, labels=labels)
    assert metrics.get("mlogloss")(truth, proba, weight) == pytest.approx(expected, rel=1e-9)
    assert metrics.get("logloss")(truth, proba, weight) == pytest.approx(expected, rel=1e-9)
    assert metrics.get("mlogloss")(truth, 7 * proba, weight) == pytest.approx(expected, rel=1e-9)
    if weight is None:
        ovr = sk.roc_auc_score(truth, proba, multi_class="ovr", labels=labels)
        assert metrics.get("auc")(truth, proba) == pytest.approx(ovr, rel=1e-10)


VALUES = {
    "rmse": sk.root_mean_squared_error,
    "rmsle": sk.root_mean_squared_log_error,
    "mae": sk.mean_absolute_error,
    "mape": sk.mean_absolute_percentage_error,
    "medae": sk.median_absolute_error,
    "r2": sk.r2_score,
    "pinball": lambda t, p, sample_weight=None: sk.mean_pinball_loss(t, p, sample_weight=sample_weight, alpha=0.5),
    "pinball@0.9": lambda t, p, sample_weight=None: sk.mean_pinball_loss(t, p, sample_weight=sample_weight, alpha=0.9),
}


@pytest.mark.parametrize("name", VALUES)
@given(seeds, sizes, st.booleans(), st.booleans())
def test_numbers(name: str, seed: int, n: int, ties: bool, weighted: bool) -> None:
    rng = np.random.default_rng(seed)
    truth, predicted = rng.gamma(2, 3, n), rng.gamma(2, 3, n)
    if ties:
        truth, predicted = truth.round(), predicted.round()
    # Of equal values scikit-learn's weighted mean is off by a rounding, over which it divides.
    assume(name != "r2" or len(set(truth)) > 1)
    weight = rng.random(n) + 0.01 if weighted else None
    expected = VALUES[name](truth, predicted, sample_weight=weight)
    assert metrics.get(name)(truth, predicted, weight) == pytest.approx(expected, rel=1e-8, abs=1e-12)


@given(seeds, sizes)
def test_several_targets_are_averaged(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    truth, predicted = rng.normal(size=(n, 3)), rng.normal(size=(n, 3))
    by_column = [metrics.get("rmse")(truth[:, i], predicted[:, i]) for i in range(3)]
    assert metrics.get("rmse")(truth, predicted) == pytest.approx(np.mean(by_column))
    assert metrics.get("mae")(truth, predicted) == pytest.approx(sk.mean_absolute_error(truth, predicted))


LABELS = {
    "accuracy": sk.accuracy_score,
    "balanced_accuracy": sk.balanced_accuracy_score,
    "macro_f1": lambda t, p, sample_weight=None: sk.f1_score(
        t, p, average="macro", sample_weight=sample_weight, zero_division=0
    ),
    "micro_f1": lambda t, p, sample_weight=None: sk.f1_score(t, p, average="micro", sample_weight=sample_weight),
    "weighted_f1": lambda t, p, sample_weight=None: sk.f1_score(
        t, p, average="weighted", sample_weight=sample_weight, zero_division=0
    ),
    "mcc": sk.matthews_corrcoef,
    "qwk": lambda t, p, sample_weight=None: sk.cohen_kappa_score(
        t, p, weights="quadratic", sample_weight=sample_weight, labels=list(range(int(max(t.max(), p.max())) + 1))
    ),
    "f1": lambda t, p, sample_weight=None: sk.f1_score(t == 1, p == 1, sample_weight=sample_weight, zero_division=0),
}


@pytest.mark.parametrize("name", LABELS)
@given(seeds, sizes, st.integers(2, 6), st.booleans())
def test_labels(name: str, seed: int, n: int, classes: int, weighted: bool) -> None:
    truth, scores, weight = make(seed, n, classes=classes, ties=False, weighted=weighted)
    predicted = (scores * classes).astype(int)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns of classes that only one side has
        expected = LABELS[name](truth, predicted, sample_weight=weight)
    assert metrics.get(name)(truth, predicted, weight) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", sorted(set(LABELS) - {"qwk", "f1"}))
def test_labels_may_be_text_or_far_apart(name: str) -> None:
    truth, predicted = np.array([0, 1, 2, 2, 1]), np.array([0, 2, 2, 1, 1])
    expected = metrics.get(name)(truth, predicted)
    for names in (np.array(["low", "mid", "top"]), np.array([-5, 10**12, 2 * 10**12])):
        assert metrics.get(name)(names[truth], names[predicted]) == pytest.approx(expected)


RANKED = ("map", "recall", "micro_recall", "hit_rate", "mrr", "ndcg")


def dense(lists: list[list[int]], items: int) -> np.ndarray:
    result = np.zeros((len(lists), items))
    for i, relevant in enumerate(lists):
        result[i, relevant] = 1
    return result


@given(seeds, st.integers(1, 20), st.integers(1, 8))
def test_ndcg_of_ranked_lists(seed: int, n: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    items = 12
    lists = [rng.choice(items, rng.integers(1, 6), replace=False).tolist() for _ in range(n)]
    ranked = np.array([rng.permutation(items)[:k] for _ in range(n)])
    scores = np.zeros((n, items))
    np.put_along_axis(scores, ranked, np.arange(k, 0, -1) * np.ones((n, 1)), axis=1)
    # scikit-learn shares the discount among tied scores; what is not ranked is beyond k and must not tie with it.
    expected = sk.ndcg_score(dense(lists, items), scores + 1e-9 * rng.random((n, items)), k=k)
    assert metrics.get(f"ndcg@{k}")(Relevant.of(lists), ranked) == pytest.approx(expected, rel=1e-6)


@given(seeds, st.integers(1, 20), st.integers(1, 8))
def test_ranked_lists_against_the_plain_definition(seed: int, n: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    lists = [rng.integers(0, 10, rng.integers(0, 6)).tolist() for _ in range(n)]
    lists[0] = [3, 3, 4]
    ranked = rng.integers(-1, 10, (n, 8))
    scores: dict[str, list[float]] = {name: [] for name in ("map", "recall", "hit_rate", "mrr")}
    found, possible = 0, 0
    for relevant, row in zip(lists, ranked.tolist(), strict=True):
        if not relevant:
            continue
        total, seen, first = 0.0, set(), 0.0
        for place, item in enumerate(row[:k], start=1):
            if item in set(relevant) and item not in seen:
                seen.add(item)
                total += len(seen) / place
                first = first or 1 / place
        best = min(k, len(set(relevant)))
        found, possible = found + len(seen), possible + best
        for name, score in (("map", total / best), ("recall", len(seen) / best), ("mrr", first)):
            scores[name].append(score)
        scores["hit_rate"].append(float(bool(seen)))
    for name, each in scores.items():
        assert metrics.get(f"{name}@{k}")(Relevant.of(lists), ranked) == pytest.approx(np.mean(each)), name
    assert metrics.get(f"micro_recall@{k}")(Relevant.of(lists), ranked) == pytest.approx(found / possible)


@given(seeds, st.integers(2, 12), st.integers(1, 6))
def test_a_list_of_weight_two_counts_as_two_lists(seed: int, n: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    lists = [rng.integers(0, 8, rng.integers(1, 6)).tolist() for _ in range(n)]
    ranked = rng.integers(-1, 8, (n, 6))
    weight = rng.integers(1, 4, n)
    again = np.repeat(np.arange(n), weight)
    for name in RANKED:
        metric = metrics.get(f"{name}@{k}")
        expected = metric(Relevant.of([lists[i] for i in again]), ranked[again])
        assert metric(Relevant.of(lists), ranked, weight) == pytest.approx(expected), name


@pytest.mark.parametrize("name", RANKED)
def test_lists_of_which_none_is_relevant_are_refused(name: str) -> None:
    with pytest.raises(DataError, match="none of the 2 lists has a relevant item"):
        metrics.get(f"{name}@3")(Relevant.of([[], []]), np.zeros((2, 3), np.int64))


def test_ranked_lists_with_one_relevant_item() -> None:
    truth, ranked = np.array([1, 2, 3]), np.array([[1, 2], [1, 2], [1, 2]])
    assert metrics.get("map@2")(truth, ranked) == pytest.approx((1 + 0.5 + 0) / 3)
    assert metrics.get("map@2")(Relevant.of([[1], [2], [3]]), ranked) == pytest.approx((1 + 0.5 + 0) / 3)
    assert metrics.get("recall@1")(truth, ranked) == pytest.approx(1 / 3)


@given(seeds, st.integers(1, 25), st.integers(1, 8), st.booleans(), st.booleans())
@settings(max_examples=60)
def test_ndcg_of_queries(seed: int, n_queries: int, k: int, ties: bool, weighted: bool) -> None:
    """Rows of a query lie anywhere; of each query scikit-learn's number, and their mean."""
    rng = np.random.default_rng(seed)
    query = rng.permutation(np.repeat(np.arange(n_queries) * 7, rng.integers(2, 6, n_queries)))
    relevance = rng.integers(0, 4, len(query)).astype(float)
    scores = rng.integers(0, 3, len(query)).astype(float) if ties else rng.normal(size=len(query))
    weight = rng.random(n_queries) + 0.1 if weighted else np.ones(n_queries)
    each = [sk.ndcg_score([relevance[query == q]], [scores[query == q]], k=k) for q in np.unique(query)]
    given = weight[query // 7] if weighted else None
    found = metrics.get(f"ndcg@{k}")(Queries(relevance, query), scores, given)
    assert found == pytest.approx(np.average(each, weights=weight))


@given(seeds, st.integers(1, 25), st.integers(1, 8))
@settings(max_examples=60)
def test_metrics_of_queries_are_those_of_lists(seed: int, n_queries: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    query = rng.permutation(np.repeat(np.arange(n_queries), rng.integers(1, 6, n_queries)))
    relevance = rng.integers(0, 2, len(query)).astype(float)
    scores = rng.normal(size=len(query))
    rows = [np.flatnonzero(query == q) for q in range(n_queries)]
    lists = [of[relevance[of] > 0].tolist() for of in rows]
    ranked = np.full((n_queries, 8), -1)
    for q, of in enumerate(rows):
        ranked[q, : len(of)] = of[np.argsort(-scores[of])]
    for name in ("map", "recall", "micro_recall", "hit_rate", "mrr"):
        metric = metrics.get(f"{name}@{k}")
        # Lists count only where something is relevant; queries count as 0 there, but not where all are counted as one.
        some = n_queries if name == "micro_recall" and any(lists) else sum(bool(items) for items in lists)
        expected = metric(Relevant.of(lists), ranked) * some / n_queries if some else 0.0
        assert metric(Queries(relevance, query), scores) == pytest.approx(expected), name
        assert metric(Queries(relevance, query), scores, np.full(len(query), 2.0)) == pytest.approx(expected), name


def test_kaggles_own_by_hand() -> None:
    truth, predicted = np.array([1.0, 2.0, 0.0]), np.array([2.0, 2.0, 0.0])
    assert metrics.get("smape")(truth, predicted) == pytest.approx(100 * (2 * 1 / 3 + 0 + 0) / 3)
    assert metrics.get("rmspe")(truth, predicted) == pytest.approx(np.sqrt((1.0 + 0.0) / 2))
    assert metrics.get("wmae")(truth, predicted, np.array([5.0, 1.0, 1.0])) == pytest.approx(5 / 7)


@given(seeds, sizes)
def test_gini_is_twice_auc_minus_one(seed: int, n: int) -> None:
    truth, scores, _ = make(seed, n, ties=False, weighted=False)
    assert metrics.get("gini")(truth, scores) == pytest.approx(2 * metrics.get("auc")(truth, scores) - 1, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "truth", "predicted", "message"),
    [
        ("auc", [0, 0, 0], [0.1, 0.2, 0.3], "auc needs both classes: all 3 rows of y_true are 0"),
        ("auc", [1, 1], [0.1, 0.2], "all 2 rows of y_true are 1"),
        ("average_precision", [0, 0], [0.1, 0.2], "needs positives"),
        ("rmse", [1.0, 2.0], [1.0, np.nan], "rmse: 1 of 2 predictions are infinite or NaN"),
        ("rmse", [1.0, 2.0], [1.0, np.inf], "1 of 2 predictions"),
        ("rmse", [1.0, 2.0], [1.0], "differ in length"),
        ("rmse", [], [], "no rows"),
        ("rmsle", [1.0, 2.0], [1.0, -1.0], "rmsle: 1 of 2 values of y_pred are -1 or less"),
        ("wmae", [1.0], [1.0], "wmae needs weights"),
        ("rmspe", [0.0], [1.0], "all 1 values of y_true are 0"),
        ("gini", [1.0, 1.0], [1.0, 2.0], "all 2 values of y_true are 1"),
        ("qwk", [1.5, 2.5], [1.5, 2.5], "qwk needs integer labels"),
        ("mlogloss", [0, 3], [[0.5, 0.5], [0.5, 0.5]], "classes up to 3 need a column each"),
        ("map@3", [0, 1], [[0.5, 0.5], [0.5, 0.5]], "expected ranked items as an integer array"),
    ],
)
def test_what_is_not_defined_is_explained(name: str, truth: Any, predicted: Any, message: str) -> None:
    with pytest.raises(DataError) as caught:
        metrics.get(name)(truth, predicted)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rmsee", "did you mean 'rmse'"),
        ("map", "write map@K, for example map@10"),
        ("map@x", "write map@K"),
        ("map@0", "write map@K"),
        ("pinball@2", "a quantile between 0 and 1"),
    ],
)
def test_unknown_names(name: str, message: str) -> None:
    with pytest.raises(NotFoundError) as caught:
        metrics.get(name)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("Mean Reciprocal Rank", "mrr@"),
        ("MRR@10", "mrr@10"),
        ("HitRate@5", "hit_rate@5"),
        ("Micro Recall@20", "micro_recall@20"),
        ("Recall@20", "recall@20"),
    ],
)
def test_names_of_lists_in_a_platforms_words(words: str, name: str) -> None:
    assert metrics.find(words) == name


def test_every_name_is_a_metric_in_any_case() -> None:
    for name in metrics.names():
        found = metrics.get(name.replace("@K", "@5").replace("@Q", "@0.5").upper())
        assert found.needs in ("value", "proba", "label", "ranked")


class TestAFunctionOfOnesOwn:
    def test_it_is_called_with_weights_where_there_are_some(self) -> None:
        seen: list[int] = []

        def score(*arguments: Any) -> float:
            seen.append(len(arguments))
            return 0.25

        metric = metrics.from_function(score, "own", greater_is_better=False)
        assert metric([1.0], [1.0]) == 0.25
        assert metric([1.0], [1.0], [1.0]) == 0.25
        assert seen == [2, 3]

    @pytest.mark.parametrize(
        ("function", "message"),
        [
            (lambda t, p: 1 / 0, "metric 'own' failed: ZeroDivisionError"),
            (lambda t, p: float("nan"), "returned nan, expected a finite number"),
            (lambda t, p: "x", "metric 'own' failed: ValueError"),
        ],
    )
    def test_its_failures_are_explained(self, function: Any, message: str) -> None:
        with pytest.raises(DataError) as caught:
            metrics.from_function(function, "own", greater_is_better=True)([1.0], [1.0])
        assert message in str(caught.value)

    def test_needs_is_checked(self) -> None:
        with pytest.raises(DataError, match="expected one of value, proba, label, ranked"):
            metrics.from_function(lambda t, p: 0.0, "own", greater_is_better=True, needs="probs")


@pytest.mark.parametrize(
    ("called", "name"),
    [
        ("acc", "accuracy"),
        ("Accuracy_Score", "accuracy"),
        ("balanced_accuracy_score", "balanced_accuracy"),
        ("roc_auc", "auc"),
        ("PR-AUC", "average_precision"),
        ("neg_log_loss", "logloss"),
        ("multi_logloss", "mlogloss"),
        ("mse", "rmse"),
        ("neg_mean_absolute_error", "mae"),
        ("r2_score", "r2"),
        ("f1_macro", "macro_f1"),
        ("quadratic_weighted_kappa", "qwk"),
        ("matthews_corrcoef", "mcc"),
        ("map3", "map@3"),
        ("ndcg_10", "ndcg@10"),
        ("quantile_loss", "pinball@Q"),
        ("MULTI CLASS LOG LOSS", "mlogloss"),
        ("acuracy", "accuracy"),
    ],
)
def test_what_others_call_a_metric(called: str, name: str) -> None:
    with pytest.raises(NotFoundError, match=re.escape(f"no metric is called {called!r}")) as caught:
        metrics.get(called)
    assert caught.value.hint.startswith(f"did you mean {name!r}")


def test_every_metric_has_names_that_lead_to_it() -> None:
    # The form in which scikit-learn's scorers, LightGBM and people write it: with "_score", in words, without its mark.
    assert set(aliases._CALLED) == set(metrics.names())
    for name, spellings in aliases._CALLED.items():
        for spelling in spellings.split():
            assert repr(name) in aliases.suggest(spelling)
