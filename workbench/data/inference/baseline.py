"""Settings of the first model, by the number of train rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

__all__ = ["Baseline", "find_baseline"]


@dataclass(frozen=True)
class Baseline:
    """The settings of the first experiment.

    Attributes
    ----------
    seeds : tuple of int
    model : dict
        LightGBM's parameters.
    why : str
        The end of the comment on the parameters in the experiment's file.
    refit : bool
        Whether test is predicted by models of all rows.
    """

    seeds: tuple[int, ...]
    model: dict[str, Any]
    why: str
    refit: bool = False


SMALL_BELOW, MEDIUM_BELOW, LARGE_FROM = 5_000, 20_000, 1_000_000
"""The numbers of train rows that separate small, medium and large tables."""


def find_baseline(n_train: int, *, by_time: bool) -> Baseline:
    """Return the settings for a number of train rows.

    The fewer the rows, the smaller the trees, the lower the learning rate and the more seeds; sampling columns for each
    tree helps at every size. The values are empirical: they did best on held-out rows of a dozen tables of 300 to
    200,000 rows. Where test is later than train, models of all rows predict it: those of the folds have not seen the
    latest rows.
    """
    return replace(_by_size(n_train), refit=by_time)


def _by_size(n_train: int) -> Baseline:
    model: dict[str, Any]
    if n_train < SMALL_BELOW:
        model = {
            "learning_rate": 0.03,
            "num_leaves": 12,
            "min_data_in_leaf": 20,
            "feature_fraction": 0.6,
            "bagging_fraction": 0.8,
            "bagging_freq": 1,
        }
        round_settings = {"num_iterations": 3000, "early_stopping_round": 150}
        return Baseline((1, 2, 3), model | round_settings, f", for {n_train:,} rows: small trees, several seeds")
    if n_train < LARGE_FROM:
        model = {"learning_rate": 0.05, "num_leaves": 31 if n_train < MEDIUM_BELOW else 63, "feature_fraction": 0.8}
        round_settings = {"num_iterations": 2000, "early_stopping_round": 100}
        return Baseline((1,), model | round_settings, f", for {n_train:,} rows")
    model = {"learning_rate": 0.1, "num_leaves": 127, "feature_fraction": 0.8}
    return Baseline((1,), model | {"num_iterations": 1500, "early_stopping_round": 50}, f", for {n_train:,} rows")
