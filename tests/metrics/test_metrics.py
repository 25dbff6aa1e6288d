from __future__ import annotations

import inspect
import itertools
import re
import warnings
from typing import Any

import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from workbench import metrics
from workbench.core.errors import DataError, NotFoundError
from workbench.metrics import Queries, Relevant, aliases

seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(2, 120)
settings.register_profile("metrics", max_examples=60)
settings.load_profile("metrics")


def make(seed: int, n: int, *, classes: int = 2, ties: bool, weighted: bool) -> tuple[Any, Any, Any]:
    """Return codes with at least two classes, scores with or without ties, and weights or None, some of them 0."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, n)
    truth[:2] = [0, 1]
    scores = rng.random(n)
    if ties:
        scores = scores.round(1)
    weight = rng.integers(0, 5, n).astype(float)
    weight[:2] += 1
    return truth, scores, weight if weighted else None


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
        (
            "qwk",
            [1.5, 2.5],
            [1, 2],
            "qwk needs labels, which are whole numbers: 2 of 2 values of y_true are not, the first is 1.5",
        ),
        ("accuracy", [1, 0], [0.2, 1.0], "1 of 2 values of y_pred are not, the first is 0.2 in row 0"),
        ("qwk", ["a", "b"], ["a", "b"], "qwk needs integer labels"),
        ("kappa", [1, 1], [1, 1], "kappa is not defined"),
        ("balanced_logloss", [0, 0], [0.1, 0.2], "balanced_logloss needs rows of every class: there are none of 1"),
        ("pauc@0.8", [1, 1], [0.1, 0.2], "pauc needs both classes"),
        ("mlogloss", [0, 3], [[0.5, 0.5], [0.5, 0.5]], "classes up to 3 need a column each"),
        ("map@3", [0, 1], [[0.5, 0.5], [0.5, 0.5]], "as an integer array (n, k), got float64 (2, 2)"),
        ("map@3", [0, 1], [0, 1], "expected ranked items as an integer array (n, k), got int64 (2,)"),
        ("mlogloss", [0, 2], [[0.5, 0.5], [0.5, 0.5]], "classes up to 2 need a column each; predictions are (2, 2)"),
        ("mlogloss", [0, -1], [[0.5, 0.5], [0.5, 0.5]], "need a column each"),
        ("mlogloss", [0, 1], [0.5, 0.5], "need a column each; predictions are (2,)"),
        ("mlogloss", [0, 1, 0], [[0.5, 0.5], [0.0, 0.0], [-2, 1]], "2 rows of predictions add up to 0 or less"),
        ("balanced_logloss", [1, 1], [[0.1, 0.5, 0.4], [0.5, 0.4, 0.1]], "there are none of 0, 2"),
        ("balanced_logloss", [7, 7], np.full((2, 8), 0.1), "there are none of 0, 1, 2, 3, 4"),
        ("rmsle", [1.0, -1.5], [1.0, 0.0], "rmsle: 1 of 2 values of y_true are -1 or less"),
        ("rmse", [[1.0, 2.0]], [[1.0, 2.0, 3.0]], "rmse: truth is (1, 2), predictions are (1, 3)"),
        ("rmse", [[1.0, 2.0]], [1.0], "rmse: truth is (1, 2), predictions are (1,)"),
        ("rmse", [1.0, 2.0], [1.0], "truth, predictions and weights differ in length: [2, 1]"),
        ("qwk", [1, 2], ["a", "b"], "qwk needs integer labels, got int64 and <U1"),
        ("qwk", ["a", "b"], [1, 2], "qwk needs integer labels, got <U1 and int64"),
        ("qwk", [4, 4], [4, 4], "qwk is not defined: truth and predictions are all the same label"),
        ("linear_kappa", [4, 4], [4, 4], "linear_kappa is not defined"),
        ("accuracy", [[1, 0], [1, 0], [0, 0]], [[1, 0], [1, 0], [1.0, 0.2]], "the first is 0.2 in row 2"),
        ("accuracy", [1, 0], [1.0, np.nan], "accuracy: 1 of 2 predictions are infinite or NaN"),
        (
            "ndcg@3",
            Queries(np.array([1.0, -0.5]), np.array([0, 0])),
            [0.1, 0.2],
            "ndcg@3: the lowest relevance is -0.5",
        ),
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
        ("pinball@0", "metric 'pinball@0' needs a quantile between 0 and 1, for example pinball@0.9"),
        ("pinball@1", "a quantile between 0 and 1"),
        ("pinball@", "a quantile between 0 and 1"),
        ("pauc", "needs the minimum true positive rate"),
        ("pauc@1", "for example pauc@0.8"),
        ("pauc@-0.1", "for example pauc@0.8"),
        ("pauc@x", "for example pauc@0.8"),
        ("map@-1", "metric 'map@-1' needs the length of the lists"),
        ("rocket", "no metric is called 'rocket'"),
    ],
)
def test_unknown_names(name: str, message: str) -> None:
    with pytest.raises(NotFoundError) as caught:
        metrics.get(name)
    assert message.partition(", for example")[0] in f"{caught.value} {caught.value.hint}"
    assert message.rpartition(", ")[2] in f"{caught.value} {caught.value.hint}"


def test_what_the_name_of_a_metric_says() -> None:
    """Its direction and what it takes: of a wrong one the best model would be the worst."""
    less, more = {}, {}
    for name in metrics.names():
        metric = metrics.get(name.replace("@K", "@5").replace("@Q", "@0.5").replace("@R", "@0.8"))
        (more if metric.greater_is_better else less)[name] = metric.prediction_type
    values = {"rmse", "rmsle", "mae", "wmae", "mape", "smape", "medae", "rmspe", "pinball@Q"}
    assert less == dict.fromkeys(values, "value") | dict.fromkeys(("logloss", "mlogloss", "balanced_logloss"), "proba")
    labels = ("accuracy", "balanced_accuracy", "f1", "macro_f1", "micro_f1", "weighted_f1", "mcc")
    assert more == (
        {"r2": "value"}
        | dict.fromkeys(("gini", "auc", "average_precision", "pf1", "pauc@R"), "proba")
        | dict.fromkeys((*labels, "kappa", "linear_kappa", "qwk"), "label")
        | dict.fromkeys(("map@K", "recall@K", "micro_recall@K", "hit_rate@K", "mrr@K", "ndcg@K"), "ranked")
    )


@pytest.mark.parametrize(
    ("name", "full"),
    [("pinball", "pinball@0.5"), ("pauc@0", "pauc@0"), ("PAUC@0.80", "pauc@0.8"), (" map@01 ", "map@1")],
)
def test_the_name_that_a_metric_has(name: str, full: str) -> None:
    assert metrics.get(name).name == full


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
        found = metrics.get(name.replace("@K", "@5").replace("@Q", "@0.5").replace("@R", "@0.8").upper())
        assert found.prediction_type in ("value", "proba", "label", "ranked")


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

    def test_the_prediction_type_is_checked(self) -> None:
        with pytest.raises(DataError, match="expected one of value, proba, label, ranked"):
            metrics.from_function(lambda t, p: 0.0, "own", greater_is_better=True, prediction_type="probs")


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


@pytest.mark.parametrize(
    ("called", "hint"),
    [
        ("acc", "did you mean 'accuracy'?"),
        ("error_rate", "did you mean 'accuracy'? It is 1 minus that"),
        ("neg-MSE", "did you mean 'rmse'? It is the square root of that, and ranks models the same"),
        ("negative_roc_auc", "did you mean 'auc'?"),
        ("hits", "did you mean 'hit_rate@K'? With a number for K, as in hit_rate@10"),
        ("hits@5", "did you mean 'hit_rate@5'?"),
        ("map7", "did you mean 'map@7'?"),
        (
            "partial_auc",
            "did you mean 'pauc@R'? With the minimum true positive rate for R, as in pauc@0.8",
        ),
        ("quantile", "did you mean 'pinball@Q'? With the quantile for Q, as in pinball@0.9"),
        ("auc3", ""),
        ("quantile3", ""),
        ("neg_mean_reciprocal_rank_score", "did you mean 'mrr@K'? With a number for K, as in mrr@10"),
        ("the root mean squared error", "did you mean 'rmse'?"),
        ("negligible", ""),
    ],
)
def test_the_hint_says_how_the_metric_differs(called: str, hint: str) -> None:
    assert aliases.suggest(called) == hint


def test_every_metric_has_names_that_lead_to_it() -> None:
    # The form in which scikit-learn's scorers, LightGBM and people write it: with "_score", in words, without its mark.
    assert set(aliases.SPELLINGS) == set(metrics.names())
    for name, spellings in aliases.SPELLINGS.items():
        for spelling in spellings.split():
            assert repr(name) in aliases.suggest(spelling)


# ---------------------------------------------------------------------------------------------- names with qualifiers


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("Area Under Receiver Operating Characteristic Curve", "auc"),
        ("Mean Columnwise Area Under Receiver Operating Characteristic Curve", "auc"),
        ("Roc Auc Score", "auc"),
        ("Mean Absolute Error (MAE)", "mae"),
        ("Mean Columnwise Root Mean Squared Error", "rmse"),
        ("MulticlassLoss", "mlogloss"),
        ("Categorization Accuracy", "accuracy"),
        ("Normalized Gini Index", "gini"),
        ("Quadratic Weighted Kappa", "qwk"),
        ("Linear Weighted Kappa", "linear_kappa"),
        ("Cohen's Kappa", "kappa"),
        ("Balanced Log Loss", "balanced_logloss"),
        ("Probabilistic F1", "pf1"),
        ("pAUC above 80% TPR", "pauc@0.8"),
        ("Partial AUC above 80% TPR (pAUC above 80)", "pauc@0.8"),
        ("Mean F1", "micro_f1"),
        ("F1 Score", "f1"),
        ("MAP@{K}", "map@"),
        ("MAP @ 3", "map@3"),
        ("NDCG@10", "ndcg@10"),
        ("Average AUC", "auc"),
        ("MAE@5", "mae"),
    ],
)
def test_a_platforms_words_for_a_metric(words: str, name: str) -> None:
    assert metrics.find(words) == name


@pytest.mark.parametrize(
    ("words", "task", "name"),
    [
        ("Log Loss", "binary", "logloss"),
        ("Log Loss", "multiclass", "mlogloss"),
        ("Multiclass Loss", "binary", "logloss"),
        ("Multiclass Loss", "multiclass", "mlogloss"),
        ("Mean F1", "binary", "f1"),
        ("Mean F1", "multiclass", "micro_f1"),
        ("F1", "binary", "f1"),
        ("F1", "multiclass", "macro_f1"),
        ("AUC", "regression", "auc"),
    ],
)
def test_the_task_decides_what_a_platform_means(words: str, task: str, name: str) -> None:
    assert metrics.find(words, task=task) == name


@pytest.mark.parametrize(
    "words",
    [
        *("Average Gini", "Averaged Cohen Kappa", "Mean Linear Weighted Kappa"),
        *("Weighted Log Loss", "Weighted multilabel logloss", "Stratified AUC", "Weighted AUC", "Partial AUC"),
        *("Kappa", "Weighted Kappa", "Mean Quadratic Weighted Kappa", "Gini Stability", "NWRMSLE", "Weighted RMSE"),
        *("Weighted Categorization Accuracy", "Top 5 Accuracy", "Adjusted R2", "RMSE of the logarithm", "Log RMSE"),
        *("Mean FScore Beta", "Mean Absolute Scaled Error", "Recall@20 at IoU 0.5", "Group MAE"),
    ],
)
def test_a_word_that_says_more_is_not_passed_over(words: str) -> None:
    assert metrics.find(words) is None


@pytest.mark.parametrize("lowest", [0.0, 0.5, 0.8, 0.95])
def test_the_partial_area_is_that_of_the_competition(lowest: float) -> None:
    """ISIC 2024 turns the classes round, takes scikit-learn's standardised area and undoes the standard."""
    rng = np.random.default_rng(5)
    for _ in range(20):
        truth, predicted = rng.integers(0, 2, 60), np.round(rng.random(60), 1)
        most = 1 - lowest
        theirs = sk.roc_auc_score(1 - truth, 1 - predicted, max_fpr=most)
        area = theirs if most == 1 else most**2 / 2 + (most - most**2 / 2) * 2 * (theirs - 0.5)
        assert metrics.get(f"pauc@{lowest}")(truth, predicted) == pytest.approx(area)


@pytest.mark.parametrize("weights", [None, "linear", "quadratic"])
def test_kappas_are_scikit_learns(weights: str | None) -> None:
    rng = np.random.default_rng(6)
    a, b, w = rng.integers(0, 5, 80), rng.integers(0, 5, 80), rng.random(80)
    ours = metrics.get({None: "kappa", "linear": "linear_kappa", "quadratic": "qwk"}[weights])
    assert ours(a, b) == pytest.approx(sk.cohen_kappa_score(a, b, weights=weights))
    assert ours(a, b, w) == pytest.approx(sk.cohen_kappa_score(a, b, weights=weights, sample_weight=w))


def test_the_balanced_log_loss_is_the_mean_of_the_classes() -> None:
    rng = np.random.default_rng(7)
    truth, predicted = np.resize([0, 0, 0, 1, 2], 50), rng.dirichlet(np.ones(3), 50)
    each = [sk.log_loss(truth[truth == c], predicted[truth == c], labels=range(3)) for c in range(3)]
    assert metrics.get("balanced_logloss")(truth, predicted) == pytest.approx(np.mean(each))
    binary, p = (truth > 0).astype(int), predicted[:, 0]
    of_classes = [sk.log_loss(binary[binary == c], p[binary == c], labels=[0, 1]) for c in (0, 1)]
    assert metrics.get("balanced_logloss")(binary, p) == pytest.approx(np.mean(of_classes))


def test_the_probabilistic_f1_of_certain_predictions_is_f1() -> None:
    truth, predicted = np.array([1, 1, 0, 0, 1]), np.array([1, 0, 1, 0, 1])
    assert metrics.get("pf1")(truth, predicted) == pytest.approx(sk.f1_score(truth, predicted))
    halves = np.full(5, 0.5)  # precision 3 of 5, recall a half
    assert metrics.get("pf1")(truth, halves) == pytest.approx(2 * 0.6 * 0.5 / (0.6 + 0.5))


# ------------------------------------------------------------------------------------------------------------- ties


def of_orders(name: str, k: int, relevant: list[float], scores: list[float]) -> float:
    """Return the mean over all orders of the rows in which their scores fall."""
    values = []
    for order in itertools.permutations(range(len(scores))):
        if all(scores[a] >= scores[b] for a, b in itertools.pairwise(order)):
            hits = [relevant[i] > 0 for i in order]
            first = next((1 / (i + 1) for i, hit in enumerate(hits[:k]) if hit), 0.0)
            most = max(min(sum(hits), k), 1)
            precision = sum(sum(hits[: i + 1]) / (i + 1) for i, hit in enumerate(hits[:k]) if hit) / most
            values.append(
                {"map": precision, "recall": sum(hits[:k]) / most, "hit_rate": any(hits[:k]), "mrr": first}[name]
            )
    return float(np.mean(values))


@pytest.mark.parametrize("name", ["map", "recall", "hit_rate", "mrr"])
def test_rows_of_equal_score_count_as_in_any_order(name: str) -> None:
    rng = np.random.default_rng(8)
    for _ in range(15):
        sizes = rng.integers(1, 6, 2)
        relevant = [rng.integers(0, 2, n).astype(float).tolist() for n in sizes]
        scores = [rng.integers(0, 3, n).astype(float).tolist() for n in sizes]
        truth = metrics.Queries(np.concatenate(relevant), np.repeat([0, 1], sizes))
        for k in (1, 2, 3, 10):
            expected = np.mean([of_orders(name, k, r, s) for r, s in zip(relevant, scores, strict=True)])
            assert metrics.get(f"{name}@{k}")(truth, np.concatenate(scores)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    "name", ["map@5", "recall@5", "micro_recall@5", "hit_rate@5", "mrr@5", "ndcg@5", "gini", "auc"]
)
def test_constant_predictions_score_alike_in_any_order_of_the_file(name: str) -> None:
    values = np.repeat([1.0, 0.0], 20)
    one_query = np.zeros(40, np.int64)
    needs_queries = "@" in name
    scores = {
        metrics.get(name)(metrics.Queries(v, one_query) if needs_queries else v, np.full(40, 0.3))
        for v in (values, values[::-1])
    }
    assert len(scores) == 1
    for weight in [np.ones(40)] if name == "gini" else []:
        assert metrics.get(name)(values, np.full(40, 0.3), weight) == pytest.approx(0)


def test_gini_of_two_classes_with_ties_is_that_of_the_area() -> None:
    rng = np.random.default_rng(9)
    truth, predicted, weight = rng.integers(0, 2, 50), np.round(rng.random(50), 1), rng.integers(1, 4, 50).astype(float)
    area = metrics.get("auc")(truth, predicted)
    assert metrics.get("gini")(truth, predicted) == pytest.approx(2 * area - 1)
    assert metrics.get("gini")(truth, predicted, weight) == pytest.approx(
        2 * metrics.get("auc")(truth, predicted, weight) - 1
    )


# -------------------------------------------------------------------------------------------------------------- weights


@pytest.mark.parametrize("name", ["qwk", "linear_kappa", "kappa"])
def test_kappas_of_one_label_are_refused_whatever_it_weighs(name: str) -> None:
    # Not told by an expected distance of 0, which rounding misses.
    for weight in ([1.0, 1.0, 1.0], [0.1, 0.7, 0.13], [0.3, 0.3, 0.9], [0.5, 0.0, 0.1]):
        truth = [7, 7 if weight[1] else 3, 7]
        with pytest.raises(DataError, match=f"{name} is not defined: truth and predictions are all the same label"):
            metrics.get(name)(truth, [7, 7, 7], weight)
    assert metrics.get(name)([7, 7, 7], [7, 7, 3]) == pytest.approx(0)


def scored(name: str, rng: np.random.Generator, n: int) -> tuple[Any, Any]:
    """Return a truth and predictions with ties, as a metric takes them."""
    prediction_type = metrics.get(name).prediction_type
    if prediction_type == "value":
        return rng.integers(1, 9, n).astype(float), rng.integers(1, 9, n).astype(float)
    if prediction_type == "label":
        return np.resize(rng.permutation(3), n), rng.integers(0, 3, n)
    if prediction_type == "ranked":
        return rng.integers(0, 6, n), rng.integers(-1, 6, (n, 4))
    if name == "mlogloss":
        return np.resize([0, 1, 2], n), rng.dirichlet(np.ones(3), n)
    truth = np.resize([0, 1, 1], n)
    return (truth * rng.integers(1, 9, n) if name == "gini" else truth), rng.random(n).round(1)


EVERY = [name.replace("@K", "@3").replace("@Q", "@0.3").replace("@R", "@0.4") for name in metrics.names()]


@pytest.mark.parametrize("name", EVERY)
def test_a_weight_of_two_is_the_row_twice_and_one_of_zero_no_row(name: str) -> None:
    metric = metrics.get(name)
    for seed in range(4):
        rng = np.random.default_rng(seed)
        truth, predicted = scored(name, rng, 12)
        weight = np.r_[[1, 1, 1], rng.integers(0, 4, 9)]
        twice = np.repeat(np.arange(12), weight)
        expected = metric(truth[twice], predicted[twice], np.ones(len(twice)))
        assert metric(truth, predicted, weight) == pytest.approx(expected)
        # Nor does it matter what all of them are multiplied by.
        for scale in (1e-9, 1e9):
            assert metric(truth, predicted, weight * scale) == pytest.approx(expected)
        if name != "wmae":
            assert metric(truth[twice], predicted[twice]) == pytest.approx(expected)


@pytest.mark.parametrize("name", EVERY)
def test_the_order_of_the_rows_changes_nothing(name: str) -> None:
    metric, rng = metrics.get(name), np.random.default_rng(3)
    truth, predicted = scored(name, rng, 30)
    weight, order = rng.integers(1, 4, 30), rng.permutation(30)
    assert metric(truth[order], predicted[order], weight[order]) == pytest.approx(metric(truth, predicted, weight))


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ([1.0, -1.0, np.nan], "mae: 2 of 3 weights are below 0, infinite or NaN"),
        ([1.0, 1.0, -0.5], "mae: 1 of 3 weights are below 0"),
        ([1.0, np.inf, 1.0], "mae: 1 of 3 weights are below 0"),
        ([0.0, 0.0, 0.0], "mae: all 3 rows have a weight of 0"),
        ([1.0, 1.0], "mae: truth, predictions and weights differ in length: [3, 3, 2]"),
    ],
)
def test_weights_that_can_not_be(weight: list[float], message: str) -> None:
    with pytest.raises(DataError) as caught:
        metrics.get("mae")([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], weight)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "truth", "message"),
    [
        ("auc", [0, 1, 0], "auc needs both classes: all rows with a weight above 0 are 0"),
        ("auc", [1, 0, 1], "auc needs both classes: all rows with a weight above 0 are 1"),
        ("pauc@0.5", [0, 1, 0], "pauc needs both classes: all 2 rows of y_true are 0"),
        ("average_precision", [0, 1, 0], "average_precision needs positives: all rows with a weight above 0 are 0"),
        ("rmspe", [0, 1, 0], "rmspe: all rows with a y_true other than 0 have a weight of 0"),
        ("gini", [2, 1, 2], "gini: all 2 values of y_true with a weight above 0 are 2"),
        ("balanced_logloss", [0, 1, 0], "there are none of 1"),
    ],
)
def test_what_only_a_row_of_weight_zero_has_does_not_count(name: str, truth: list[int], message: str) -> None:
    with pytest.raises(DataError) as caught:
        metrics.get(name)(truth, [0.1, 0.2, 0.3], [1.0, 0.0, 2.0])
    assert message in str(caught.value)


# ------------------------------------------------------------------------------------------------------------ limits


@pytest.mark.parametrize("weight", [None, [1.0, 2.0, 3.0]])
@pytest.mark.parametrize(
    ("name", "truth", "predicted", "expected"),
    [
        ("r2", [2.0, 2.0, 2.0], [2.0, 2.0, 2.0], 1),
        ("r2", [2.0, 2.0, 2.0], [2.0, 2.0, 3.0], 0),
        ("f1", [0, 2, 0], [0, 0, 2], 0),
        ("mcc", [0, 1, 0], [1, 1, 1], 0),
        ("mcc", [1, 1, 1], [0, 1, 0], 0),
        ("pf1", [0, 0, 0], [0.0, 0.0, 0.0], 0),
        ("pf1", [1, 1, 0], [7.0, 1.0, -3.0], 1),
        ("smape", [0.0, 0.0, 0.0], [0.0, 0.0, 0.0], 0),
        ("smape", [-1.0, 2.0, 1.0], [1.0, -2.0, 0.0], 200),
        ("rmsle", [0.0, 0.0, -0.5], [0.0, 0.0, -0.5], 0),
        ("auc", [0, 1, 1], [1, 1, 1], 0.5),
        ("accuracy", ["a", "b", "b"], ["a", "b", "b"], 1),
    ],
)
def test_scores_at_the_limits(name: str, truth: Any, predicted: Any, expected: float, weight: Any) -> None:
    assert metrics.get(name)(truth, predicted, weight) == pytest.approx(expected)


def test_predictions_whose_sum_is_too_large_are_finite_all_the_same() -> None:
    assert metrics.get("medae")([0.0, 0.0, 0.0], [1e308, 1e308, 1e308]) == 1e308


def test_a_score_that_is_no_number_is_refused() -> None:
    with pytest.warns(RuntimeWarning), pytest.raises(DataError, match=r"metric 'rmse' gives inf for these 2 rows"):
        metrics.get("rmse")([1e300, 1.0], [-1e300, 1.0])


def test_labels_of_objects_are_those_of_numbers() -> None:
    truth, predicted = np.array([0, 1, 2, 2]), np.array([0, 2, 2, 2])
    for name in ("macro_f1", "balanced_accuracy", "mcc", "kappa"):
        expected = metrics.get(name)(truth, predicted)
        assert metrics.get(name)(truth, predicted.astype(object)) == pytest.approx(expected)
        assert metrics.get(name)(truth.astype(object), predicted) == pytest.approx(expected)
        assert metrics.get(name)(truth.astype(float), predicted.astype(float)) == pytest.approx(expected)


def test_gini_is_kaggles_of_amounts() -> None:
    """Allstate's: the area between the line and the curve of the claims that the predictions put first."""

    def area(truth: np.ndarray, by: np.ndarray) -> float:
        curve = np.cumsum(truth[np.argsort(-by)]) / truth.sum()
        return float(np.sum(curve - np.arange(1, len(truth) + 1) / len(truth)))

    rng = np.random.default_rng(4)
    truth, predicted = rng.gamma(2, 3, 40), rng.random(40)
    expected = area(truth, predicted) / area(truth, truth)
    assert metrics.get("gini")(truth, predicted) == pytest.approx(expected)
    weighted = metrics.get("gini")(truth, predicted, np.ones(40))
    # Steps that lie on the line: half a row more or less at each end, alike in both.
    assert weighted == pytest.approx(expected)


def test_log_loss_of_rows_that_do_not_add_up_to_one() -> None:
    truth, scores = np.array([0, 1]), np.array([[0.5, 0.5], [1.0, 3.0]])
    expected = -(np.log(0.5) + np.log(0.75)) / 2
    assert metrics.get("mlogloss")(truth, scores) == pytest.approx(expected)
    counts = np.array([[1, 1], [1, 3]])
    assert metrics.get("mlogloss")(truth, counts) == pytest.approx(expected)
    # What is off by no more than rounding is left as it is.
    barely = np.array([[0.5, 0.5 + 1e-9], [0.25, 0.75]])
    assert metrics.get("mlogloss")(truth, barely) == expected
    barely32 = np.array([[0.5, 0.5 + 1e-4], [0.25, 0.75]], np.float32)
    assert metrics.get("mlogloss")(truth, barely32) == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize(
    ("dtype", "least"), [(np.float64, np.finfo(np.float64).eps), (np.float32, np.finfo(np.float32).eps)]
)
def test_a_certain_error_costs_as_much_as_the_type_can_tell(dtype: Any, least: float) -> None:
    wrong, right = np.array([1.0, 0.0], dtype), np.array([0.0, 1.0], dtype)
    assert metrics.get("logloss")([0, 1], wrong) == pytest.approx(-np.log(least))
    assert metrics.get("logloss")([0, 1], right) == pytest.approx(-np.log1p(-least), abs=1e-12)
    assert metrics.get("logloss")([0, 1], wrong.astype(int)) == pytest.approx(-np.log(np.finfo(float).eps))


def test_the_area_of_several_classes_weighs_rows() -> None:
    rng = np.random.default_rng(2)
    truth, proba, weight = np.resize([0, 1, 2], 30), rng.dirichlet(np.ones(3), 30), rng.random(30)
    each = [sk.roc_auc_score(truth == c, proba[:, c], sample_weight=weight) for c in range(3)]
    assert metrics.get("auc")(truth, proba, weight) == pytest.approx(np.mean(each))


def test_classes_by_the_distance_of_their_numbers() -> None:
    qwk = metrics.get("qwk")
    assert metrics.grades_of(qwk, ["1", "2.0", "4"]).tolist() == [1, 2, 4]
    assert metrics.grades_of(metrics.get("linear_kappa"), [0, 2, 4]).tolist() == [0, 2, 4]
    assert metrics.grades_of(qwk, [3, 2, 1]).tolist() == [3, 2, 1]
    for metric, classes in ((metrics.get("kappa"), [1, 2, 9]), (qwk, [5, 6, 7]), (qwk, [1, 9]), (qwk, ["a", "1", "5"])):
        assert metrics.grades_of(metric, classes) is None
    assert metrics.are_grades([1, "2", " +3 ", "-4.00", 123456789012345])
    for odd in (True, "1.5", "x", "", 1234567890123456):
        assert not metrics.are_grades([1, odd])


# ---------------------------------------------------------------------------------------------------------- queries


def test_more_queries_than_the_smallest_numbers_count() -> None:
    """Of each query the second row is relevant, and ranked first in every other one."""
    n = 70_000
    query = np.repeat(np.arange(n), 2)
    relevance, scores = np.tile([0.0, 1.0], n), np.zeros(2 * n)
    scores[1::2] = np.tile([1.0, -1.0], n // 2)
    truth = Queries(relevance, query)
    assert len(truth) == 2 * n
    assert metrics.get("hit_rate@1")(truth, scores) == 0.5
    assert metrics.get("mrr@2")(truth, scores) == 0.75
    odd = np.zeros(2 * n)
    odd[2::4] = odd[3::4] = 1.0  # the second half of each pair of queries weighs all
    assert metrics.get("hit_rate@1")(truth, scores, odd) == 0


def test_a_query_weighs_as_much_as_its_rows_on_average() -> None:
    truth = Queries(np.array([1.0, 0.0, 0.0, 1.0, 0.0]), np.array([4, 4, 4, 9, 9]))
    scores, weight = [3.0, 2.0, 1.0, 1.0, 2.0], [1.0, 2.0, 6.0, 1.0, 1.0]
    for name in ("map@1", "recall@1", "micro_recall@1", "hit_rate@1", "mrr@1", "ndcg@1"):
        assert metrics.get(name)(truth, scores) == 0.5
        assert metrics.get(name)(truth, scores, weight) == pytest.approx(3 / 4)


class TestWeightsOfAFunctionOfOnesOwn:
    def test_one_that_takes_none_is_refused_where_there_are_some(self) -> None:
        metric = metrics.from_function(lambda t, p: 0.5, "own", greater_is_better=True)
        with pytest.raises(
            DataError, match="metric 'own' does not accept weights, but competition.toml has weight"
        ) as caught:
            metric([1.0], [1.0], [2.0])
        assert "add a third argument" in caught.value.hint

    def test_of_one_that_does_not_tell_its_arguments_it_is_tried(self) -> None:
        with pytest.raises(ValueError, match="no signature"):
            inspect.signature(max)
        with pytest.raises(DataError, match="metric 'own' failed"):  # it was called: there was more than one number
            metrics.from_function(max, "own", greater_is_better=True)([1.0, 2.0], [2.0, 1.0], [3.0, 4.0])

    def test_it_takes_amounts_unless_it_says_otherwise(self) -> None:
        assert metrics.from_function(lambda t, p: 0.5, "own", greater_is_better=True).prediction_type == "value"


# ------------------------------------------------------------------------- drawn, against scikit-learn and definitions


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
    if weight is not None and ties:
        weight[1:-1:3] = 0
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
    scores: dict[str, list[float]] = {name: [] for name in ("map", "recall", "hit_rate", "mrr", "ndcg")}
    found, possible = 0, 0
    for relevant, row in zip(lists, ranked.tolist(), strict=True):
        if not relevant:
            continue
        total, seen, first, gained = 0.0, set(), 0.0, 0.0
        for place, item in enumerate(row[:k], start=1):
            if item in set(relevant) and item not in seen:
                seen.add(item)
                total += len(seen) / place
                first = first or 1 / place
                gained += 1 / np.log2(place + 1)
        best = min(k, len(set(relevant)))
        found, possible = found + len(seen), possible + best
        for name, score in (("map", total / best), ("recall", len(seen) / best), ("mrr", first)):
            scores[name].append(score)
        scores["hit_rate"].append(float(bool(seen)))
        scores["ndcg"].append(gained / sum(1 / np.log2(place + 1) for place in range(1, best + 1)))
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
    metric, ranked = metrics.get(f"{name}@3"), np.zeros((2, 3), np.int64)
    with pytest.raises(DataError, match="none of the 2 lists has a relevant item"):
        metric(Relevant.of([[], []]), ranked)
    with pytest.raises(DataError, match="none of the lists with a weight above 0 has a relevant item"):
        metric(Relevant.of([[1], []]), ranked, [0.0, 1.0])
    assert metric(Relevant.of([[0], []]), ranked, [0.5, 1.0]) == 1


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
