"""Three ways to judge columns that train nothing again: gain, shuffled columns, shuffled targets."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from workbench.experiment import ReadyExperiment
from workbench.selection.groups import Group
from workbench.selection.judged import Judged, Models, Progress, by_group, judging_model
from workbench.selection.options import Options
from workbench.training import FoldModels, score, shuffled_gains

__all__ = ["by_chance", "judge_by_gain", "judge_by_permutation", "judge_by_shuffled_target", "shuffled_order"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
CERTAIN = 0.05


def judge_by_gain(models: Models, groups: Sequence[Group], options: Options) -> tuple[Judged, ...]:
    """Judge by the gain of a column's splits, the mean over folds and seeds.

    Kept is what gains most: the columns that together have `options.share` of the whole gain. A column without a
    split is always dropped.
    """
    gain, spread, splits = _gains(models, groups)
    order = np.argsort(-gain, kind="stable")
    before = np.concatenate([[0.0], np.cumsum(gain[order])[:-1]])
    kept = set(order[before < options.share * gain.sum()].tolist())
    return tuple(
        Judged(g, float(gain[i]), float(spread[i]), i in kept and gain[i] > 0, {"splits": float(splits[i])})
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
            found = by_group(groups, {c: pair[which] for c, pair in columns.items()})
            of_seeds.append([found[g.name] for g in groups])
    mean: Floats = np.mean(of_seeds, axis=0)
    return mean


# ------------------------------------------------------------------------------------------------- shuffled columns


def judge_by_permutation(
    experiment: ReadyExperiment, models: Models, groups: Sequence[Group], options: Options, progress: Progress
) -> tuple[tuple[Judged, ...], bool]:
    """Judge by how much worse the fold's models predict its validated rows when a column's values are shuffled.

    Breiman 2001, section 10, on the competition's own metric and folds. The importance is the mean loss over folds
    and repeats; a column is kept where its loss is above what shuffling alone does, one-sided, at `options.alpha`.

    Returns
    -------
    judged : tuple of Judged
    certain : bool
        Whether at least one column is more than noise, all tests taken together (Bonferroni).
    """
    problem, model = experiment.problem, judging_model(experiment)
    losses = np.zeros((problem.folds.n_folds, options.repeats, len(groups)))
    for fold in range(problem.folds.n_folds):
        texts = {(t, s): text for (t, k, s), text in models.texts.items() if k == fold}
        losses[fold] = _losses(FoldModels(problem, model, fold, texts), fold, groups, options, progress)
    judged = []
    for i, group in enumerate(groups):
        values = losses[:, :, i]
        p = _p_above_zero(values)
        judged.append(Judged(group, float(values.mean()), float(values.std()), p <= options.alpha, {"p": p}))
    return tuple(judged), min(j.more["p"] for j in judged) * len(judged) <= CERTAIN


def _losses(
    models: FoldModels, fold: int, groups: Sequence[Group], options: Options, progress: Progress
) -> npt.NDArray[np.float64]:
    """Return (repeats, groups): how much worse the score of one fold gets."""
    problem, n = models.problem, len(models.rows)
    sign = 1.0 if problem.metric.greater_is_better else -1.0
    used = models.used()
    whole = score(problem.target, models.rows, models.predict(), problem.metric)
    orders = [np.random.default_rng([options.seed, fold, r]).permutation(n) for r in range(options.repeats)]
    losses = np.zeros((options.repeats, len(groups)))
    total = problem.folds.n_folds * len(groups)
    for i, group in enumerate(groups):
        # Where no model splits on any of them, the loss is exactly 0.
        for r, order in enumerate(orders if used & set(group.columns) else []):
            shuffled = models.predict(group.columns, order)
            losses[r, i] = sign * (whole - score(problem.target, models.rows, shuffled, problem.metric))
        progress(fold * len(groups) + i + 1, total, f"fold {fold}, {group.name}")
    return losses


def _p_above_zero(losses: Floats) -> float:
    """Return the p-value of losses (folds, repeats) where the column is noise to the target and the other columns.

    Then the order that the column has is one like those that it was shuffled into, so that a fold's score differs from
    the mean of its r shuffled ones by no more than these differ among each other: the variance of the difference is
    theirs times 1 + 1/r. It is pooled over the folds; their rows are disjoint, and nothing is asked of their models.
    """
    from scipy.special import stdtr

    k, r = losses.shape
    mean, error = float(losses.mean()), float(np.sqrt(losses.var(axis=1, ddof=1).mean() * (1 + 1 / r) / k))
    if error == 0:
        return 0.0 if mean > 0 else 1.0
    return float(stdtr(k * (r - 1), -mean / error))


# ------------------------------------------------------------------------------------------------- shuffled targets


def judge_by_shuffled_target(
    experiment: ReadyExperiment, models: Models, groups: Sequence[Group], options: Options, progress: Progress
) -> tuple[tuple[Judged, ...], bool]:
    """Judge by a column's gain against its gains where the target is shuffled.

    Altmann et al. 2010, "Permutation importance: a corrected feature importance measure". Each shuffle is trained on
    the train rows of one fold, the folds in turn, with as many rounds as the fold's own model has; gains are taken as
    shares of that model's whole gain, so that folds of different size compare. A column is kept where its gain is
    above the chosen percentile of its shuffled ones.

    Returns
    -------
    judged : tuple of Judged
    certain : bool
        Whether the column that stands out most does so more than any does with a shuffled target.
    """
    problem, n_folds = experiment.problem, experiment.problem.folds.n_folds
    seeds = experiment.spec.seeds
    jobs = [(i, i % n_folds, seeds[i // n_folds % len(seeds)]) for i in range(options.shuffles)]
    order_of = shuffled_order(experiment, options.seed)
    gains = shuffled_gains(
        problem,
        judging_model(experiment),
        jobs,
        order_of,
        rounds=lambda target, fold: models.rounds[target, fold],
        done=lambda n: progress(n, len(jobs), "target shuffled"),
    )
    actual = np.stack([_of_fold(models, groups, fold, 0) for fold in range(n_folds)])
    whole = np.maximum(actual.sum(axis=1), 1e-300)
    shuffled = np.stack([[by_group(groups, gain)[g.name] for g in groups] for gain in gains])
    shares = shuffled / whole[[fold for _, fold, _ in jobs]][:, None]
    own = (actual / whole[:, None]).mean(axis=0)
    # The percentile is one of the shuffled gains, the higher of two: with few shuffles it is the largest.
    limit = np.percentile(shares, options.percentile, axis=0, method="higher")
    p = (1 + (shares >= own).sum(axis=0)) / (1 + len(jobs))
    usual = np.median(shares, axis=0) + 1e-12
    certain = bool((own / usual).max() > (shares / usual).max())
    scale = float(whole.mean())
    judged = tuple(
        Judged(
            g,
            float(own[i] * scale),
            float(actual[:, i].std()),
            bool(own[i] > limit[i]),
            {"shuffled": float(limit[i] * scale), "p": float(p[i])},
        )
        for i, g in enumerate(groups)
    )
    return judged, certain


def shuffled_order(experiment: ReadyExperiment, seed: int) -> Callable[[int], Ints]:
    """Return what gives, for a shuffle's number, the row whose target each train row gets.

    Targets stay within the fold that validates their row, so that every fold keeps its own, and, in time, each block
    the level of its time. Where folds keep groups together, whole groups' targets change places one after the other,
    so that targets that are alike within a group stay alike.
    """
    problem, cv = experiment.problem, experiment.competition.definition.cv
    groups: npt.NDArray[np.uint32] | None = None
    if cv.group:
        codes = experiment.competition.train_columns(cv.group)[cv.group].rank("dense").to_numpy()
        groups = codes if experiment.rows is None else codes[experiment.rows]
    valid = problem.folds.valid

    def order_of(shuffle: int) -> Ints:
        rng = np.random.default_rng([seed, shuffle])
        order = np.arange(len(valid))
        for fold in np.unique(valid):
            rows = np.flatnonzero(valid == fold)
            order[rows] = rng.permutation(rows) if groups is None else _by_blocks(rows, groups[rows], rng)
        return order

    return order_of


def _by_blocks(rows: Ints, groups: npt.NDArray[np.uint32], rng: np.random.Generator) -> Ints:
    """Return, for `rows`, where each gets its target from: the groups' rows in a new order of the groups."""
    codes = np.unique(groups, return_inverse=True)[1]
    places = np.argsort(codes, kind="stable")
    drawn = np.argsort(rng.permutation(int(codes.max()) + 1)[codes], kind="stable")
    taken = np.empty_like(rows)
    taken[places] = rows[drawn]
    return taken


def by_chance(n_groups: int, share: float) -> int:
    """Return how many of `n_groups` pass by chance a test that each passes with probability `share`: 95 % have no more.

    Examples
    --------
    >>> by_chance(20, 0.05)
    3
    """
    from scipy.special import bdtr

    return next(k for k in range(n_groups + 1) if bdtr(k, n_groups, share) >= 0.95)
