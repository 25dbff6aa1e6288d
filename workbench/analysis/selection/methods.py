"""Importance methods without a search: gain, shuffled columns, shuffled targets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from workbench.analysis.selection.groups import Group
from workbench.analysis.selection.importance import GroupImportance, Models, by_group, selection_model
from workbench.analysis.selection.options import SelectionOptions
from workbench.analysis.selection.orders import ColumnOrders, shuffle_units, shuffled_order
from workbench.core.context import RunContext
from workbench.experiments.ready import ReadyExperiment
from workbench.models.lightgbm.shuffling import FoldModels, shuffled_gains
from workbench.models.scoring import score

__all__ = [
    "importance_by_gain",
    "importance_by_permutation",
    "importance_by_shuffled_target",
    "max_passing_by_chance",
    "p_above_zero",
]

Floats = npt.NDArray[np.float64]
SIGNIFICANCE = 0.05
"""The level, corrected for all tests, at which at least one column is certainly not noise."""

ROUNDING = 1e-9
"""Variation of the losses below this share of their size is rounding of the scores."""


def importance_by_gain(
    models: Models, groups: Sequence[Group], options: SelectionOptions
) -> tuple[GroupImportance, ...]:
    """Compute importance as the gain of a column's splits, the mean over folds and seeds.

    The columns with the most gain are kept, up to the share `options.share` of the total. Columns without a split are
    always dropped.
    """
    gains, spreads, n_splits = _gains(models, groups)
    order = np.argsort(-gains, kind="stable")
    gain_before = np.concatenate([[0.0], np.cumsum(gains[order])[:-1]])
    top_indices = set(order[gain_before < options.share * gains.sum()].tolist())
    return tuple(
        GroupImportance(
            g, float(gains[i]), float(spreads[i]), i in top_indices and gains[i] > 0, {"splits": float(n_splits[i])}
        )
        for i, g in enumerate(groups)
    )


def _gains(models: Models, groups: Sequence[Group]) -> tuple[Floats, Floats, Floats]:
    """Return, for each group, the mean gain, its standard deviation over the folds, and the mean splits."""
    folds = sorted({fold for fold, _ in models.importance})
    gains_by_fold = np.stack([_fold_importance(models, groups, fold, 0) for fold in folds])
    splits_by_fold = np.stack([_fold_importance(models, groups, fold, 1) for fold in folds])
    return gains_by_fold.mean(axis=0), gains_by_fold.std(axis=0), splits_by_fold.mean(axis=0)


def _fold_importance(models: Models, groups: Sequence[Group], fold: int, figure: int) -> Floats:
    """Return each group's gain (`figure` 0) or splits (1) in one fold, the mean over the seeds."""
    values_by_seed = []
    for (model_fold, _), columns in models.importance.items():
        if model_fold == fold:
            values = by_group(groups, {column: gain_and_splits[figure] for column, gain_and_splits in columns.items()})
            values_by_seed.append([values[g.name] for g in groups])
    mean: Floats = np.mean(values_by_seed, axis=0)
    return mean


# ------------------------------------------------------------------------------------------------- shuffled columns


def importance_by_permutation(
    experiment: ReadyExperiment, models: Models, groups: Sequence[Group], options: SelectionOptions, context: RunContext
) -> tuple[tuple[GroupImportance, ...], bool]:
    """Compute importance as the loss of score of the fold's models when a column's validation values are shuffled.

    Breiman 2001, section 10, on the competition's own metric and folds. The importance is the mean loss over folds
    and repeats; a column is kept if its loss exceeds that of shuffled noise, one-sided, at `options.alpha`.
    Units that the folds keep together are shuffled as a whole, see `workbench.analysis.selection.orders`.

    Returns
    -------
    importances : tuple of GroupImportance
    is_certain : bool
        Whether at least one column exceeds noise, with the Bonferroni correction for all tests.
    """
    problem, model = experiment.problem, selection_model(experiment)
    losses = np.zeros((problem.folds.n_folds, options.repeats, len(groups)))
    units = shuffle_units(experiment)
    for fold in range(problem.folds.n_folds):
        texts = {(t, s): text for (t, k, s), text in models.texts.items() if k == fold}
        orders = ColumnOrders(experiment, units, fold, options.seed)
        losses[fold] = _losses(FoldModels(problem, model, fold, texts), orders, groups, options, context)
    importances = []
    for i, group in enumerate(groups):
        group_losses = losses[:, :, i]
        p = p_above_zero(group_losses)
        importances.append(
            GroupImportance(group, float(group_losses.mean()), float(group_losses.std()), p <= options.alpha, {"p": p})
        )
    return tuple(importances), min(i.more["p"] for i in importances) * len(importances) <= SIGNIFICANCE


def _losses(
    models: FoldModels, orders: ColumnOrders, groups: Sequence[Group], options: SelectionOptions, context: RunContext
) -> npt.NDArray[np.float64]:
    """Return the loss of score in one fold, (repeats, groups)."""
    problem, fold = models.problem, models.fold
    sign = 1.0 if problem.metric.greater_is_better else -1.0
    split_columns = models.split_columns()
    full_score = score(problem.target, models.rows, models.predict(), problem.metric)
    losses = np.zeros((options.repeats, len(groups)))
    n_steps = problem.folds.n_folds * len(groups)
    for i, group in enumerate(groups):
        # If no model splits on any of the columns, the loss is exactly 0.
        shuffled_columns = [models.values_of(c) for c in group.columns if c in split_columns]
        for repeat in range(options.repeats if shuffled_columns else 0):
            predictions = models.predict(group.columns, orders.order(shuffled_columns, repeat))
            losses[repeat, i] = sign * (full_score - score(problem.target, models.rows, predictions, problem.metric))
        context.progress(fold * len(groups) + i + 1, n_steps, f"fold {fold}, {group.name}")
    return losses


def p_above_zero(losses: Floats) -> float:
    """Return the p-value of losses (folds, repeats) under the null that the column is noise.

    Under the null the column's own order is exchangeable with the shuffled ones: the p-value is the share of the
    (r + 1)^k ways to choose an order in each fold that score at least as well as the column's own orders, which are one
    of the ways (Phipson and Smyth 2010: a permutation p-value is never 0). But folds are not independent: a chance
    relation in two folds counts twice, as each is trained on the other, so that the variance of the sum is up to twice
    that of independent folds. So the larger of two is returned, this share and the p-value of a t test with twice the
    variance: within a fold that of the shuffled scores times 1 + 1/r, with Welch's degrees of freedom. If the share has
    its lowest possible value, the t test alone decides.
    """
    share, lowest_share = _share_as_good(losses)
    p_by_t = _p_by_t(losses)
    if p_by_t is None:
        return share
    return p_by_t if share <= lowest_share else max(share, p_by_t)


MAX_COMBINATIONS = 50_000
"""The most combinations of orders over the folds that are enumerated; of more, this many are drawn at random."""


def _share_as_good(losses: Floats) -> tuple[float, float]:
    """Return the share of combinations that score at least as well as the column's own orders, and its lowest value."""
    n_folds, n_repeats = losses.shape
    losses_with_own_order = np.concatenate([np.zeros((n_folds, 1)), losses], axis=1)
    tolerance = 1e-12 * float(np.abs(losses).sum())
    if (n_repeats + 1) ** n_folds <= MAX_COMBINATIONS:
        loss_sums = losses_with_own_order[0]
        for fold in losses_with_own_order[1:]:
            loss_sums = np.add.outer(loss_sums, fold).ravel()
        return float((loss_sums <= tolerance).mean()), float(n_repeats + 1) ** -n_folds
    drawn_orders = np.random.default_rng(0).integers(0, n_repeats + 1, (MAX_COMBINATIONS - 1, n_folds))
    loss_sums = losses_with_own_order[np.arange(n_folds), drawn_orders].sum(axis=1)
    return float(1 + (loss_sums <= tolerance).sum()) / MAX_COMBINATIONS, 1 / MAX_COMBINATIONS


def _p_by_t(losses: Floats) -> float | None:
    """Return the p-value of the mean loss by a t test; None if all shuffles have the same loss."""
    from scipy.special import stdtr

    n_folds, n_repeats = losses.shape
    variances = losses.var(axis=1, ddof=1)
    standard_error = float(np.sqrt(2 * variances.mean() * (1 + 1 / n_repeats) / n_folds))
    if standard_error <= ROUNDING * float(np.abs(losses).max()):
        return None
    degrees_of_freedom = float(variances.sum() ** 2 / (variances**2).sum()) * (n_repeats - 1)
    return float(stdtr(degrees_of_freedom, -float(losses.mean()) / standard_error))


# ------------------------------------------------------------------------------------------------- shuffled targets


def importance_by_shuffled_target(
    experiment: ReadyExperiment, models: Models, groups: Sequence[Group], options: SelectionOptions, context: RunContext
) -> tuple[tuple[GroupImportance, ...], bool]:
    """Compare a column's gain with its gains when the target is shuffled.

    Altmann et al. 2010, "Permutation importance: a corrected feature importance measure". Each shuffle is trained on
    the train rows of one fold, the folds in turn, for as many rounds as the fold's own model. Gains are shares of that
    model's total gain, so that folds of different size can be compared. A column is kept if its gain is above a
    percentile, `options.percentile`, of its gains with shuffled targets.

    Returns
    -------
    importances : tuple of GroupImportance
    is_certain : bool
        Whether the largest ratio of a gain to its median with shuffled targets exceeds all such ratios with them.
    """
    problem, n_folds = experiment.problem, experiment.problem.folds.n_folds
    seeds = experiment.spec.seeds
    experiment.plan_memory(seeds=seeds[:1])
    jobs = [(i, i % n_folds, seeds[i // n_folds % len(seeds)]) for i in range(options.shuffles)]
    order_of_shuffle = shuffled_order(experiment, options.seed)
    job_gains = shuffled_gains(
        problem,
        selection_model(experiment),
        jobs,
        order_of_shuffle,
        rounds=lambda target, fold: models.rounds[target, fold],
        on_finished=lambda n: context.progress(n, len(jobs), "target shuffled"),
    )
    gains_by_fold = np.stack([_fold_importance(models, groups, fold, 0) for fold in range(n_folds)])
    total_gains = np.maximum(gains_by_fold.sum(axis=1), 1e-300)
    shuffled_gains_by_job = np.stack([[by_group(groups, gains)[g.name] for g in groups] for gains in job_gains])
    shuffled_shares = shuffled_gains_by_job / total_gains[[fold for _, fold, _ in jobs]][:, None]
    observed_shares = (gains_by_fold / total_gains[:, None]).mean(axis=0)
    # Not interpolated: with few shuffles the limit is the largest of the shuffled gains.
    limits = np.percentile(shuffled_shares, options.percentile, axis=0, method="higher")
    p_values = (1 + (shuffled_shares >= observed_shares).sum(axis=0)) / (1 + len(jobs))
    medians = np.median(shuffled_shares, axis=0) + 1e-12
    is_certain = bool((observed_shares / medians).max() > (shuffled_shares / medians).max())
    mean_gain = float(total_gains.mean())
    importances = tuple(
        GroupImportance(
            g,
            float(observed_shares[i] * mean_gain),
            float(gains_by_fold[:, i].std()),
            bool(observed_shares[i] > limits[i]),
            {"shuffled": float(limits[i] * mean_gain), "p": float(p_values[i])},
        )
        for i, g in enumerate(groups)
    )
    return importances, is_certain


def max_passing_by_chance(n_groups: int, share: float) -> int:
    """Return the number of groups that pass a test by chance, at most, with a probability of 95 %.

    Parameters
    ----------
    n_groups : int
    share : float
        The probability that a group passes by chance.

    Examples
    --------
    >>> max_passing_by_chance(20, 0.05)
    3
    """
    from scipy.special import bdtr

    return next(k for k in range(n_groups + 1) if bdtr(k, n_groups, share) >= 0.95)
