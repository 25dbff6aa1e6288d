"""The one loop that trains LightGBM, round by round: for folds, searches, rankers and checks."""

from __future__ import annotations

import logging
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from workbench.core.errors import TrainingError

if TYPE_CHECKING:
    import lightgbm as lgb

__all__ = ["BoostedTraining", "Boosting", "boosted", "lightgbm_errors", "safe_names", "with_feature_names"]

Evaluate = Callable[[npt.NDArray[np.float64], Any], tuple[str, float, bool]]
"""What LightGBM calls after a round: (predictions, dataset) -> name, value, whether a greater one is better."""

log = logging.getLogger("workbench.models")


class Boosting:
    """A booster in training, with its datasets.

    Parameters
    ----------
    parameters : dict
        By primary names; the objective may be a function of the competition's.
    train_set : Dataset
    valid_set : Dataset, optional
    watches_train : bool
        Whether the metric of the train rows is computed, too.
    metric : callable, optional
        Called by LightGBM beside the metric that the parameters name.
    """

    def __init__(
        self,
        parameters: dict[str, Any],
        train_set: lgb.Dataset,
        valid_set: lgb.Dataset | None = None,
        *,
        watches_train: bool = False,
        metric: Evaluate | None = None,
    ) -> None:
        import lightgbm as lgb

        objective = parameters["objective"]
        self._objective = objective if callable(objective) else None
        self._booster = lgb.Booster(parameters | ({"objective": "none"} if self._objective else {}), train_set)
        self._metric = metric
        self.watched = [*(["train"] if watches_train else []), *([] if valid_set is None else ["valid"])]
        self.n_rounds = 0
        if watches_train:
            self._booster.set_train_data_name("train")
        if valid_set is not None:
            self._booster.add_valid(valid_set, "valid")

    def rounds(self, last: int) -> Iterator[bool]:
        """Train up to round number `last`; give after each whether no leaf could be split.

        A later round may split one all the same: it draws other rows and columns.
        """
        while self.n_rounds < last:
            is_finished = self._booster.update(fobj=self._objective)
            self.n_rounds += 1
            yield is_finished

    def values(self) -> dict[str, float]:
        """Compute the metric to stop by: the first value of each dataset that is watched."""
        results = self._booster.eval_train(self._metric) if "train" in self.watched else []
        if "valid" in self.watched:
            results = [*results, *self._booster.eval_valid(self._metric)]
        return {name: float(next(r[2] for r in results if r[0] == name)) for name in self.watched}

    def text(self) -> str:
        """Return all trees as LightGBM's text."""
        return str(self._booster.model_to_string(num_iteration=-1))


def boosted(
    parameters: dict[str, Any], train_set: lgb.Dataset, rounds: int, each_round: Callable[[], None] = lambda: None
) -> lgb.Booster:
    """Train so many rounds without validation, and return the trees alone."""
    boosting = Boosting(parameters | {"num_iterations": rounds}, train_set)
    for _ in boosting.rounds(rounds):
        each_round()
    return trees_of(boosting.text())


def trees_of(text: str) -> lgb.Booster:
    """Return the trees of a model's text: the same whether its datasets were held, as a text has shorter gains."""
    import lightgbm as lgb

    return lgb.Booster(model_str=text)


class BoostedTraining(ABC):
    """A training that goes on from the round it is at as long as its datasets are held; else it begins again.

    Attributes
    ----------
    curves : dict
        As `Training` has them; 0 for each round where nothing is watched.
    where : str
        What is trained, for messages.
    """

    HINT: ClassVar[str] = "check [model] in the experiment's file"

    def __init__(self, where: str) -> None:
        self.where = where
        self.curves: dict[str, list[float]] = {"valid": []}
        self._boosting: Boosting | None = None
        self._text = ""

    @abstractmethod
    def begin(self) -> Boosting:
        """Make the datasets and the booster."""

    @abstractmethod
    def after_round(self, share: float) -> None:
        """Be called after each round, with the share of the rounds that is done; what it raises ends the training."""

    @property
    def held(self) -> bool:
        """Whether it goes on from the round it is at."""
        return self._boosting is not None or not self.curves["valid"]

    def go_on(self, rounds: int, enough: Callable[[float], bool]) -> None:
        """Train until there are so many rounds, or until `enough`, called with each new value, says so."""
        with lightgbm_errors(self.where, self.HINT):
            if self._boosting is None:
                self._boosting = self.begin()
                self.curves = {name: [] for name in self._boosting.watched or ["valid"]}
            for _ in self._boosting.rounds(rounds):
                values = self._boosting.values()
                for name, curve in self.curves.items():
                    curve.append(values.get(name, 0.0))
                self.after_round(self._boosting.n_rounds / rounds)
                if enough(self.curves["valid"][-1]):
                    break

    def release(self) -> None:
        """Let go of the datasets, and keep the trees."""
        self._text, self._boosting = self.text(), None

    def text(self) -> str:
        """Return all trees as LightGBM's text."""
        return self._text if self._boosting is None else self._boosting.text()

    def trees(self) -> lgb.Booster:
        """Return the trees alone."""
        return trees_of(self.text())


def with_feature_names(model: str, names: Sequence[str]) -> str:
    """Put the columns' own names into a model's text, in the form that LightGBM's text can hold.

    Training uses c0, c1, … because LightGBM refuses names with JSON's characters and changes spaces.
    """
    return re.sub(r"(?m)^feature_names=.*$", lambda _: "feature_names=" + " ".join(safe_names(names)), model, count=1)


def safe_names(names: Sequence[str]) -> list[str]:
    """Return columns' names in the form that LightGBM's text can hold, none twice."""
    safe = [re.sub(r'[\s\[\]{}":,]', "_", name) for name in names]
    return [f"{name}_{i}" for i, name in enumerate(safe)] if len(set(safe)) < len(safe) else safe


class _Log:
    """What LightGBM says goes into the log: its C++ part says all of it, warnings too, as information."""

    def native(self, text: str) -> None:
        log.log(logging.WARNING if "[Warning]" in text else logging.DEBUG, "%s", text.strip())

    def warning(self, text: str) -> None:
        log.warning("%s", text)


@contextmanager
def lightgbm_errors(where: str, hint: str = BoostedTraining.HINT) -> Iterator[None]:
    """Turn LightGBM's exceptions into ours, and its log into Python's, for the length of the block."""
    import lightgbm as lgb

    lgb.register_logger(_Log(), info_method_name="native", warning_method_name="warning")
    try:
        yield
    except lgb.basic.LightGBMError as exc:
        raise TrainingError(f"LightGBM refused ({where}): {exc}", hint=hint) from exc
