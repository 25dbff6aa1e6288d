"""The training loop of LightGBM, round by round, for folds, searches, rankers and checks."""

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

__all__ = [
    "BoostedTraining",
    "Boosting",
    "booster_from_text",
    "lightgbm_errors",
    "safe_names",
    "train_booster",
    "with_feature_names",
]

MetricFunction = Callable[[npt.NDArray[np.float64], Any], tuple[str, float, bool]]
"""A metric that LightGBM calls after each round: (predictions, dataset) -> name, value, whether greater is better."""

log = logging.getLogger("workbench.models")


class Boosting:
    """A booster in training, with its datasets.

    Parameters
    ----------
    parameters : dict
        By primary names; the objective may be a function.
    train_set : Dataset
    valid_set : Dataset, optional
    evaluates_train : bool
        Whether the metric of the train rows is computed, too.
    metric : callable, optional
        Called by LightGBM besides the metric in the parameters.

    Attributes
    ----------
    evaluated : list of str
        The datasets whose metric is computed: "train", "valid".
    n_rounds : int
        The number of rounds so far.
    """

    def __init__(
        self,
        parameters: dict[str, Any],
        train_set: lgb.Dataset,
        valid_set: lgb.Dataset | None = None,
        *,
        evaluates_train: bool = False,
        metric: MetricFunction | None = None,
    ) -> None:
        import lightgbm as lgb

        objective = parameters["objective"]
        self._objective = objective if callable(objective) else None
        self._booster = lgb.Booster(parameters | ({"objective": "none"} if self._objective else {}), train_set)
        self._metric = metric
        self.evaluated = [*(["train"] if evaluates_train else []), *([] if valid_set is None else ["valid"])]
        self.n_rounds = 0
        if evaluates_train:
            self._booster.set_train_data_name("train")
        if valid_set is not None:
            self._booster.add_valid(valid_set, "valid")

    def rounds(self, n_rounds: int) -> Iterator[bool]:
        """Train up to this many rounds; yield after each whether no leaf could be split.

        A later round may split a leaf nevertheless, as it samples other rows and columns.
        """
        while self.n_rounds < n_rounds:
            has_no_split = self._booster.update(fobj=self._objective)
            self.n_rounds += 1
            yield has_no_split

    def values(self) -> dict[str, float]:
        """Compute the metric to stop by, the first of LightGBM's metrics, of each evaluated dataset."""
        results = self._booster.eval_train(self._metric) if "train" in self.evaluated else []
        if "valid" in self.evaluated:
            results = [*results, *self._booster.eval_valid(self._metric)]
        return {name: float(next(result[2] for result in results if result[0] == name)) for name in self.evaluated}

    def text(self) -> str:
        """Return the model with all trees as LightGBM's text."""
        return str(self._booster.model_to_string(num_iteration=-1))


def train_booster(
    parameters: dict[str, Any], train_set: lgb.Dataset, rounds: int, each_round: Callable[[], None] = lambda: None
) -> lgb.Booster:
    """Train for this many rounds without validation, and return the booster without its datasets."""
    boosting = Boosting(parameters | {"num_iterations": rounds}, train_set)
    for _ in boosting.rounds(rounds):
        each_round()
    return booster_from_text(boosting.text())


def booster_from_text(text: str) -> lgb.Booster:
    """Return the booster of a model's text.

    Gains have fewer digits in the text, so that boosters are always read from it: results do not depend on whether a
    training kept its datasets.
    """
    import lightgbm as lgb

    return lgb.Booster(model_str=text)


class BoostedTraining(ABC):
    """A training that can be continued as long as its datasets are in memory; else it starts again.

    Attributes
    ----------
    curves : dict
        As in `rounds.Training`; 0 after each round without validation.
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
        """Return a new booster with its datasets."""

    @abstractmethod
    def after_round(self, share: float) -> None:
        """Run after each round, with the share of finished rounds; an exception ends the training."""

    @property
    def can_continue(self) -> bool:
        """Whether it continues from its last round; else it starts again."""
        return self._boosting is not None or not self.curves["valid"]

    def train_to(self, rounds: int, should_stop: Callable[[float], bool]) -> None:
        """Train up to this many rounds, or until `should_stop` returns True for the metric of a new round."""
        with lightgbm_errors(self.where, self.HINT):
            if self._boosting is None:
                self._boosting = self.begin()
                self.curves = {name: [] for name in self._boosting.evaluated or ["valid"]}
            for _ in self._boosting.rounds(rounds):
                values = self._boosting.values()
                for name, curve in self.curves.items():
                    curve.append(values.get(name, 0.0))
                self.after_round(self._boosting.n_rounds / rounds)
                if should_stop(self.curves["valid"][-1]):
                    break

    def release(self) -> None:
        """Free the datasets, and keep the trees."""
        self._text, self._boosting = self.text(), None

    def text(self) -> str:
        """Return the model with all trees as LightGBM's text."""
        return self._text if self._boosting is None else self._boosting.text()

    def booster(self) -> lgb.Booster:
        """Return the booster without its datasets."""
        return booster_from_text(self.text())


def with_feature_names(model: str, names: Sequence[str]) -> str:
    """Replace the feature names in a model's text by the columns' names, in a form that the text can hold.

    Training uses c0, c1, …, because LightGBM rejects names with JSON's characters and changes spaces.
    """
    return re.sub(r"(?m)^feature_names=.*$", lambda _: "feature_names=" + " ".join(safe_names(names)), model, count=1)


def safe_names(names: Sequence[str]) -> list[str]:
    """Return unique names without the characters that LightGBM's text can't hold."""
    safe = [re.sub(r'[\s\[\]{}":,]', "_", name) for name in names]
    return [f"{name}_{i}" for i, name in enumerate(safe)] if len(set(safe)) < len(safe) else safe


class _LogForwarder:
    """Forwards LightGBM's messages to the log; its C++ code reports warnings as information, too."""

    def native(self, text: str) -> None:
        log.log(logging.WARNING if "[Warning]" in text else logging.DEBUG, "%s", text.strip())

    def warning(self, text: str) -> None:
        log.warning("%s", text)


@contextmanager
def lightgbm_errors(where: str, hint: str = BoostedTraining.HINT) -> Iterator[None]:
    """Turn LightGBM's exceptions into TrainingErrors, and forward its messages to the log."""
    import lightgbm as lgb

    lgb.register_logger(_LogForwarder(), info_method_name="native", warning_method_name="warning")
    try:
        yield
    except lgb.basic.LightGBMError as exc:
        raise TrainingError(f"LightGBM failed ({where}): {exc}", hint=hint) from exc
