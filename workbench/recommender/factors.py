"""Matrix factorisation: vectors of users and items whose inner products are scores.

Only this module uses the library implicit, which fits them.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.core.distribution import install_hint
from workbench.core.errors import ConfigError, DataError, did_you_mean
from workbench.core.threads import available_cores
from workbench.recommender.interactions import Interactions, kind_weights
from workbench.recommender.products import CHUNK, best_products

__all__ = ["Factorisation", "Factors", "best_items", "fit_factors", "user_item_matrix"]

ITERATIONS = {"als": 15, "bpr": 100}
"""The default number of iterations by method."""


@dataclass(frozen=True)
class Factorisation:
    """The parameters of a factorisation.

    The value r of a user and an item is the sum over their events of the kind's weight, times the event's own weight if
    it has one, divided by 1 + age / `decay_s`, with the age relative to the last event of the log.

    - ``"als"`` (Hu, Koren & Volinsky 2008, "Collaborative filtering for implicit feedback datasets"): least squares
      with target 1 and weight `alpha` r where r > 0, and target 0 and weight 1 elsewhere. (In the paper the weight is
      1 + `alpha` r. Without the 1, a very old event has no effect.)
    - ``"bpr"`` (Rendle et al. 2009, "BPR: Bayesian personalized ranking", arXiv:1205.2618): the product should be
      larger for an item with r > 0 than for a random one; the value of r does not matter.

    Attributes
    ----------
    method : str
    factors : int
        The length of a vector; ``"bpr"`` adds one element for an item's bias.
    iterations : int, optional
        None for 15 with ``"als"`` and 100 with ``"bpr"``.
    regularization : float
    alpha : float
        For ``"als"`` only.
    learning_rate : float
        For ``"bpr"`` only.
    weights : dict
        The weight by kind; 1 for a kind that is not named. Kinds of weight 0 do not count.
    last : int, optional
        The number of a list's last events that count, of the kinds with a weight; None for all.
    decay_s : float, optional
        The age at which an event has half its weight.
    seed : int
    top : int
        The number of items for a user.
    """

    method: str = "als"
    factors: int = 64
    iterations: int | None = None
    regularization: float = 0.01
    alpha: float = 1.0
    learning_rate: float = 0.05
    weights: Mapping[str, float] = field(default_factory=dict)
    last: int | None = None
    decay_s: float | None = None
    seed: int = 1
    top: int = 100

    def __post_init__(self) -> None:
        if self.method not in ITERATIONS:
            raise ConfigError(
                f"factors: method = {self.method!r}: expected one of {', '.join(ITERATIONS)}",
                hint=did_you_mean(self.method, ITERATIONS, kind="method"),
            )
        for name in ("factors", "iterations", "last", "top"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"factors: {name} = {value!r}: expected 1 or more")
        for name in ("alpha", "learning_rate", "decay_s"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ConfigError(f"factors: {name} = {value!r}: expected more than 0")
        if not 0 <= self.regularization < float("inf"):
            raise ConfigError(f"factors: regularization = {self.regularization!r}: expected 0 or more")
        for kind, weight in self.weights.items():
            if not 0 <= weight <= 1_000_000:
                raise ConfigError(f"factors: weights.{kind} = {weight!r}: expected a number from 0 to a million")
        if not 0 <= self.seed < 1 << 63:
            raise ConfigError(f"factors: seed = {self.seed!r}: expected a whole number of 0 or more")


@dataclass(frozen=True)
class Factors:
    """The vectors of users and items, by code.

    Attributes
    ----------
    users : array of shape (n_users, size), float32
        All zeros for a user without an event that counts.
    items : array of shape (n_items, size), float32
        Likewise.
    """

    users: npt.NDArray[np.float32]
    items: npt.NDArray[np.float32]


def fit_factors(
    log: Interactions,
    spec: Factorisation,
    threads: int | None = None,
    *,
    progress: Callable[[float], None] = lambda _: None,
) -> Factors:
    """Factorise a log.

    The same seed gives the same vectors on the same machine: with ``"als"`` whatever the number of threads, with
    ``"bpr"`` on one thread only, as several update the vectors concurrently.

    Parameters
    ----------
    log : Interactions
    spec : Factorisation
    threads : int, optional
        Default: all available cores.
    progress : callable
        Called with the completed share.

    Raises
    ------
    ConfigError
        When implicit is not installed, the log lacks a kind that has a weight, or the training diverges.
    DataError
        When the weights of all events are 0.
    """
    if importlib.util.find_spec("implicit") is None:
        raise ConfigError("factorisation needs implicit, which is not installed", hint=install_hint("recommend"))
    from threadpoolctl import threadpool_limits

    matrix = user_item_matrix(log, spec)
    n_iterations = spec.iterations or ITERATIONS[spec.method]
    # implicit has its own threads and warns that BLAS threads would compete with them.
    with threadpool_limits(1, "blas"):
        model = _model(spec, n_iterations, threads or available_cores())
        _fit(model, _confidences(matrix, spec), lambda iteration, *_: progress((iteration + 1) / n_iterations))
    users, items = np.asarray(model.user_factors, np.float32), np.asarray(model.item_factors, np.float32)
    users[np.diff(matrix.indptr) == 0] = 0
    items[np.bincount(matrix.indices, minlength=matrix.shape[1]) == 0] = 0
    return Factors(users, items)


def best_items(
    factors: Factors,
    users: npt.NDArray[np.int32],
    top: int,
    *,
    excluded: Interactions | None = None,
    chunk: int = CHUNK,
    threads: int | None = None,
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Return the items with the largest inner products with each user, in descending order.

    Parameters
    ----------
    factors : Factors
    users : array of int32
        Codes; an unknown user, -1, gets no items.
    top : int
        The number of items of a user, ties by the more frequent item.
    excluded : Interactions, optional
        A log with the same codes; the items of a user's list in it are not returned.
    chunk, threads : int
        They do not change the result; the memory is bounded by some thousand times `chunk` numbers.

    Returns
    -------
    items : array of shape (len(users), top), int32
        Codes; -1 where there are no more.
    scores : array of shape (len(users), top), float32
    """
    if top < 1:
        raise ConfigError(f"factors: top = {top!r}: expected 1 or more")
    has_code = users >= 0
    queries = np.where(has_code[:, None], factors.users[np.where(has_code, users, 0)], np.float32(0))
    excluded_items = None if excluded is None else _lists_of(excluded, users)
    return best_products(queries, factors.items, top, excluded=excluded_items, chunk=chunk, threads=threads)


def _lists_of(log: Interactions, users: npt.NDArray[np.int32]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """Return where each user's list begins, and the items of all of them; an unknown user's list is empty."""
    codes = np.where(users >= 0, users, 0)
    lengths = np.where(users >= 0, log.starts[codes + 1] - log.starts[codes], 0)
    starts = np.concatenate(([0], np.cumsum(lengths)))
    positions = np.arange(starts[-1]) + np.repeat(log.starts[codes] - starts[:-1], lengths)
    return starts, log.items[positions]


def user_item_matrix(log: Interactions, spec: Factorisation) -> Any:
    """Return the user-item matrix: the summed weights of the events that count.

    Returns
    -------
    scipy.sparse.csr_matrix of float32 (n_users, n_items)

    Raises
    ------
    DataError
        When the weights of all events are 0.
    """
    from scipy.sparse import csr_matrix

    weight_by_kind = kind_weights(log, spec.weights, "factors: ")
    is_counted = weight_by_kind[log.kinds] > 0
    # The number of events that count before each event; the index pointers of the sparse matrix, too.
    n_before = np.concatenate(([0], np.cumsum(is_counted)))
    ends = n_before[log.starts[1:]]
    if spec.last is not None:
        # The number of later events in the list that count.
        is_counted &= np.repeat(ends, np.diff(log.starts)) - n_before[1:] < spec.last
        n_before = np.concatenate(([0], np.cumsum(is_counted)))
    if not n_before[-1]:
        raise DataError("no event counts: the weights of all kinds are 0")
    weights = weight_by_kind[log.kinds[is_counted]] * (log.weights[is_counted] if len(log.weights) else 1.0)
    if spec.decay_s is not None:
        ages = (int(log.times.max()) - log.times[is_counted]).astype(np.float64)
        weights = weights / (1 + ages / spec.decay_s)
    shape = (len(log.users), log.n_items)
    matrix = csr_matrix((weights.astype(np.float32), log.items[is_counted], n_before[log.starts]), shape=shape)
    matrix.sum_duplicates()
    return matrix


def _model(spec: Factorisation, iterations: int, threads: int) -> Any:
    parameters = {
        "factors": spec.factors,
        "regularization": spec.regularization,
        "iterations": iterations,
        "num_threads": threads,
        "random_state": spec.seed,
    }
    if spec.method == "bpr":
        from implicit.cpu.bpr import BayesianPersonalizedRanking

        return BayesianPersonalizedRanking(learning_rate=spec.learning_rate, **parameters)
    from implicit.cpu.als import AlternatingLeastSquares

    return AlternatingLeastSquares(**parameters)


def _confidences(matrix: Any, spec: Factorisation) -> Any:
    """Return the matrix for implicit, which uses its values as weights, and a weight of 1 where it has none."""
    if spec.method == "bpr":
        return matrix
    confidences = matrix.copy()
    confidences.data = (spec.alpha * matrix.data).astype(np.float32)
    return confidences


def _fit(model: Any, matrix: Any, callback: Callable[..., None]) -> None:
    from implicit.recommender_base import ModelFitError

    try:
        model.fit(matrix, show_progress=False, callback=callback)
    except ModelFitError as error:
        raise ConfigError(
            "factors: the training diverged", hint="more regularization, or a lower learning_rate"
        ) from error
