"""Three importance methods without a search: gain, shuffled columns, shuffled targets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from workbench.analysis.selection.groups import Group
from workbench.analysis.selection.importance import GroupImportance, Models, by_group, judging_model
from workbench.analysis.selection.options import SelectionOptions
from workbench.analysis.selection.orders import ColumnOrders, shuffled_order, units_of
from workbench.core.context import RunContext
from workbench.experiments.ready import ReadyExperiment
from workbench.models.lightgbm.shuffling import FoldModels, shuffled_gains
from workbench.models.scoring import score

__all__ = ["by_chance", "judge_by_gain", "judge_by_permutation", "judge_by_shuffled_target", "p_above_zero"]

Floats = npt.NDArray[np.float64]
CERTAIN = 0.05
ROUNDED_OFF = 1e-9
"""Relative to the losses: smaller variation is rounding of the scores."""


def judge_by_gain(models: Models, groups: Sequence[Group], options: SelectionOptions) -> tuple[GroupImportance, ...]:
    """Judge by the gain of a column's splits, the mean over folds and seeds.

    The columns with the most gain are kept, up to the share `options.share` of the total. A column without a split is
    always dropped.
    """
    gain, spread, splits = _gains(models, groups)
    order = np.argsort(-gain, kind="stable")
    before = np.concatenate([[0.0], np.cumsum(gain[order])[:-1]])
    retained = set(order[before < options.share * gain.sum()].tolist())
    return tuple(
        GroupImportance(
            g, float(gain[i]), float(spread[i]), i in retained and gain[i] > 0, {"splits": float(splits[i])}
        )
        for i, g in enumerate(groups)
    )


def _gains(models: Models, groups: Sequence[Group]) -> tuple[Floats, Floats, Floats]:
    """Return, per group: the mean gain, its spread over the folds, the mean splits."""
    folds = sorted({fold for fold, _ in models.importance})
    gain = np.stack([_of_fold(models, groups, fold, 0) for fold in folds])
    splits = np.stack([_of_fold(models, groups, fold, 1) for fold in folds])
    return gain.mean(axis=0), gain.std(axis=0), splits.mean(axis=0)


def _of_fold(models: Models, groups: Sequence[Group], fold: int, which: int) -> Floats:
    """Return each group's gain (0) or splits (1) in one fold, the mean over the seeds."""
    of_seeds = []
    for (k, _), columns in models.importance.items():
        if k == fold:
            importance = by_group(groups, {c: pair[which] for c, pair in columns.items()})
            of_seeds.append([importance[g.name] for g in groups])
    mean: Floats = np.mean(of_seeds, axis=0)
    return mean


# ------------------------------------------------------------------------------------------------- shuffled columns


def judge_by_permutation(
    experiment: ReadyExperiment, models: Models, groups: Sequence[Group], options: SelectionOptions, context: RunContext
) -> tuple[tuple[GroupImportance, ...], bool]:
    """Judge by how much worse the fold's models predict its validated rows when a column's values are shuffled.

    Breiman 2001, section 10, on the competition's own metric and folds. The importance is the mean loss over folds
    and repeats; a column is kept where its loss is above that of shuffling noise, one-sided, at `options.alpha`.
    Units that the folds keep together are shuffled as a whole, see `workbench.analysis.selection.orders`.

    Returns
    -------
    judged : tuple of GroupImportance
    certain : bool
        Whether at least one column is above noise, corrected for all tests (Bonferroni).
    """
    problem, model = experiment.problem, judging_model(experiment)
    losses = np.zeros((problem.folds.n_folds, options.repeats, len(groups)))
    units = units_of(experiment)
    for fold in range(problem.folds.n_folds):
        texts = {(t, s): text for (t, k, s), text in models.texts.items() if k == fold}
        orders = ColumnOrders(experiment, units, fold, options.seed)
        losses[fold] = _losses(FoldModels(problem, model, fold, texts), orders, groups, options, context)
    judged = []
    for i, group in enumerate(groups):
        values = losses[:, :, i]
        p = p_above_zero(values)
        judged.append(GroupImportance(group, float(values.mean()), float(values.std()), p <= options.alpha, {"p": p}))
    return tuple(judged), min(j.more["p"] for j in judged) * len(judged) <= CERTAIN


def _losses(
    models: FoldModels, orders: ColumnOrders, groups: Sequence[Group], options: SelectionOptions, context: RunContext
) -> npt.NDArray[np.float64]:
    """Return the loss of score in one fold, (repeats, groups)."""
    problem, fold = models.problem, models.fold
    sign = 1.0 if problem.metric.greater_is_better else -1.0
    used = models.used()
    full_score = score(problem.target, models.rows, models.predict(), problem.metric)
    losses = np.zeros((options.repeats, len(groups)))
    total = problem.folds.n_folds * len(groups)
    for i, group in enumerate(groups):
        # Where no model splits on any of them, the loss is exactly 0.
        split_on = [models.values_of(c) for c in group.columns if c in used]
        for r in range(options.repeats if split_on else 0):
            shuffled = models.predict(group.columns, orders.order(split_on, r))
            losses[r, i] = sign * (full_score - score(problem.target, models.rows, shuffled, problem.metric))
        context.progress(fold * len(groups) + i + 1, total, f"fold {fold}, {group.name}")
    return losses


def p_above_zero(losses: Floats) -> float:
    """Return the p-value of losses (folds, repeats) where the column is noise to the target and the other columns.

    Then the order that the column has in a fold is one like those that it was shuffled into: of all (r + 1)^k ways to
    take one of the orders in each fold, some share scores as well as the column's own, which is one of them (Phipson
    and Smyth 2010: a p-value of permutations is never 0). But the folds are not independent. What a column happens
    to have in common with the target in two folds counts twice, once as what one's model has learned and the
    other confirms, and once the other way round: the variance of the sum is up to twice that of independent folds. So
    the larger of two is returned, the share and the p-value of a t test with that variance: within a fold that of the
    shuffled scores times 1 + 1/r, with Welch's degrees of freedom. Where no share could be smaller, the t test decides.
    """
    share, least = _share_as_good(losses)
    by_t = _p_by_t(losses)
    if by_t is None:
        return share
    return by_t if share <= least else max(share, by_t)


MOST_WAYS = 50_000
"""The most combinations of orders over the folds that are enumerated; of more, this many are drawn at random."""


def _share_as_good(losses: Floats) -> tuple[float, float]:
    """Return the share of combinations without a loss against the column's own order, and the smallest possible."""
    k, r = losses.shape
    with_original = np.concatenate([np.zeros((k, 1)), losses], axis=1)
    slack = 1e-12 * float(np.abs(losses).sum())
    if (r + 1) ** k <= MOST_WAYS:
        loss_sums = with_original[0]
        for fold in with_original[1:]:
            loss_sums = np.add.outer(loss_sums, fold).ravel()
        return float((loss_sums <= slack).mean()), float(r + 1) ** -k
    picked = np.random.default_rng(0).integers(0, r + 1, (MOST_WAYS - 1, k))
    loss_sums = with_original[np.arange(k), picked].sum(axis=1)
    return float(1 + (loss_sums <= slack).sum()) / MOST_WAYS, 1 / MOST_WAYS


def _p_by_t(losses: Floats) -> float | None:
    """Return the p-value of the mean loss by a t test; None where all shuffles have the same loss."""
    from scipy.special import stdtr

    k, r = losses.shape
    variances = losses.var(axis=1, ddof=1)
    error = float(np.sqrt(2 * variances.mean() * (1 + 1 / r) / k))
    if error <= ROUNDED_OFF * float(np.abs(losses).max()):
        return None
    degrees = float(variances.sum() ** 2 / (variances**2).sum()) * (r - 1)
    return float(stdtr(degrees, -float(losses.mean()) / error))


# ------------------------------------------------------------------------------------------------- shuffled targets


def judge_by_shuffled_target(
    experiment: ReadyExperiment, models: Models, groups: Sequence[Group], options: SelectionOptions, context: RunContext
) -> tuple[tuple[GroupImportance, ...], bool]:
    """Judge by a column's gain against its gains where the target is shuffled.

    Altmann et al. 2010, "Permutation importance: a corrected feature importance measure". Each shuffle is trained on
    the train rows of one fold, the folds in turn, with as many rounds as the fold's own model has; gains are taken as
    shares of that model's whole gain, so that folds of different size compare. A column is kept where its gain is
    above the chosen percentile of its shuffled ones.

    Returns
    -------
    judged : tuple of GroupImportance
    certain : bool
        Whether the most outstanding column exceeds every column's excess with a shuffled target.
    """
    problem, n_folds = experiment.problem, experiment.problem.folds.n_folds
    seeds = experiment.spec.seeds
    experiment.ask_memory(seeds=seeds[:1])
    jobs = [(i, i % n_folds, seeds[i // n_folds % len(seeds)]) for i in range(options.shuffles)]
    order_of = shuffled_order(experiment, options.seed)
    gains = shuffled_gains(
        problem,
        judging_model(experiment),
        jobs,
        order_of,
        rounds=lambda target, fold: models.rounds[target, fold],
        done=lambda n: context.progress(n, len(jobs), "target shuffled"),
    )
    actual = np.stack([_of_fold(models, groups, fold, 0) for fold in range(n_folds)])
    total_gain = np.maximum(actual.sum(axis=1), 1e-300)
    shuffled = np.stack([[by_group(groups, gain)[g.name] for g in groups] for gain in gains])
    shares = shuffled / total_gain[[fold for _, fold, _ in jobs]][:, None]
    observed = (actual / total_gain[:, None]).mean(axis=0)
    # The percentile is one of the shuffled gains, the higher of two: with few shuffles it is the largest.
    limit = np.percentile(shares, options.percentile, axis=0, method="higher")
    p = (1 + (shares >= observed).sum(axis=0)) / (1 + len(jobs))
    usual = np.median(shares, axis=0) + 1e-12
    certain = bool((observed / usual).max() > (shares / usual).max())
    scale = float(total_gain.mean())
    judged = tuple(
        GroupImportance(
            g,
            float(observed[i] * scale),
            float(actual[:, i].std()),
            bool(observed[i] > limit[i]),
            {"shuffled": float(limit[i] * scale), "p": float(p[i])},
        )
        for i, g in enumerate(groups)
    )
    return judged, certain


def by_chance(n_groups: int, share: float) -> int:
    """Return how many of `n_groups` pass by chance a test that each passes with probability `share`: 95 % have no more.

    Examples
    --------
    >>> by_chance(20, 0.05)
    3
    """
    from scipy.special import bdtr

    return next(k for k in range(n_groups + 1) if bdtr(k, n_groups, share) >= 0.95)
