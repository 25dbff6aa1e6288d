"""Matrix factorisation: vectors of users and items, whose products predict how well they match.

The only module that uses the library implicit, which does the fitting.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.core.distribution import install_hint
from workbench.core.errors import ConfigError, DataError, near
from workbench.core.threads import available_cores
from workbench.recommender.interactions import Interactions, kind_weights
from workbench.recommender.products import CHUNK, best_products

__all__ = ["Factorisation", "Factors", "best_items", "fit_factors", "user_item_matrix"]

ITERATIONS = {"als": 15, "bpr": 100}
"""By method; where `iterations` is None."""


@dataclass(frozen=True)
class Factorisation:
    """The parameters of a factorisation.

    The value r of a user and an item is the sum over the events of the kind's weight, times the event's own where it
    has one, divided by 1 + age / `decay_s`, with the age relative to the last event of the log. Then

    - ``"als"`` (Hu, Koren & Volinsky 2008, "Collaborative filtering for implicit feedback datasets"): least squares
      with the target 1 and the weight `alpha` r where r > 0, and the target 0 and the weight 1 elsewhere. (The paper
      has 1 + `alpha` r. Without the 1, a very old event counts as none.)
    - ``"bpr"`` (Rendle et al. 2009, "BPR: Bayesian personalized ranking", arXiv:1205.2618): the product should be
      larger for an item with r > 0 than for one drawn at random; the size of r does not matter.

    Attributes
    ----------
    method : str
    factors : int
        The length of a vector; ``"bpr"`` has one more, for an item's bias.
    iterations : int, optional
        None for 15 of ``"als"`` and 100 of ``"bpr"``.
    regularization : float
    alpha : float
        Of ``"als"`` only.
    learning_rate : float
        Of ``"bpr"`` only.
    weights : dict
        By kind; 1 for a kind that is not named; kinds of weight 0 do not count.
    last : int, optional
        The number of a list's last events that count, of the kinds that do; None for all.
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
                hint=near(self.method, ITERATIONS, kind="method"),
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
        All zeros for one without an event that counts.
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
        By default as many as there are processors.
    progress : callable
        Told the share that is done.

    Raises
    ------
    ConfigError
        When implicit is not installed, the log has no such kind, or the vectors diverge.
    DataError
        When no event counts.
    """
    if importlib.util.find_spec("implicit") is None:
        raise ConfigError("factorisation needs implicit, which is not installed", hint=install_hint("recommend"))
    from threadpoolctl import threadpool_limits

    matrix = user_item_matrix(log, spec)
    n_rounds = spec.iterations or ITERATIONS[spec.method]
    # implicit has its own threads and warns that BLAS threads would compete with them.
    with threadpool_limits(1, "blas"):
        model = _model(spec, n_rounds, threads or available_cores())
        _fit(model, _confidences(matrix, spec), lambda done, *_: progress((done + 1) / n_rounds))
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
    """Return for every user the items with the largest products, in descending order.

    Parameters
    ----------
    factors : Factors
    users : array of int32
        Codes; -1 for one that is not known, which gets none.
    top : int
        So many for each, of those with the same product the more frequent item.
    excluded : Interactions, optional
        A log with the same codes: the items of a user's list are left out. None where they are wanted too.
    chunk, threads : int
        Of no influence on the result; the memory it takes is that of `chunk` times some thousand numbers.

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
    barred = None if excluded is None else _lists_of(excluded, users)
    return best_products(queries, factors.items, top, barred=barred, chunk=chunk, threads=threads)


def _lists_of(log: Interactions, users: npt.NDArray[np.int32]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """Return the items of each user's list; none for an unknown user."""
    codes = np.where(users >= 0, users, 0)
    lengths = np.where(users >= 0, log.starts[codes + 1] - log.starts[codes], 0)
    starts = np.concatenate(([0], np.cumsum(lengths)))
    places = np.arange(starts[-1]) + np.repeat(log.starts[codes] - starts[:-1], lengths)
    return starts, log.items[places]


def user_item_matrix(log: Interactions, spec: Factorisation) -> Any:
    """Return the user-item matrix: the summed weights of the events that count.

    Returns
    -------
    scipy.sparse.csr_matrix of float32 (n_users, n_items)

    Raises
    ------
    DataError
        When no event counts.
    """
    from scipy.sparse import csr_matrix

    by_kind = kind_weights(log, spec.weights, "factors: ")
    counts = by_kind[log.kinds] > 0
    before = np.concatenate(([0], np.cumsum(counts)))
    ends = before[log.starts[1:]]
    if spec.last is not None:
        # The number of later events in the list that count.
        counts &= np.repeat(ends, np.diff(log.starts)) - before[1:] < spec.last
        before = np.concatenate(([0], np.cumsum(counts)))
    if not before[-1]:
        raise DataError("no event counts: the weights of all kinds are 0")
    weights = by_kind[log.kinds[counts]] * (log.weights[counts] if len(log.weights) else 1.0)
    if spec.decay_s is not None:
        ages = (int(log.times.max()) - log.times[counts]).astype(np.float64)
        weights = weights / (1 + ages / spec.decay_s)
    shape = (len(log.users), log.n_items)
    matrix = csr_matrix((weights.astype(np.float32), log.items[counts], before[log.starts]), shape=shape)
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
    """Return the matrix for implicit, which takes its values as weights, and a weight of 1 elsewhere."""
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
            "factors: the vectors grew beyond all bounds", hint="more regularization, or a lower learning_rate"
        ) from error
