"""From LightGBM's predictions to those of the competition, and the metric on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from workbench.models.fold_data import FoldTarget
from workbench.models.lightgbm.boosting import MetricFunction
from workbench.models.lightgbm.fold_datasets import DatasetSplit
from workbench.models.lightgbm.objectives import CustomObjective, apply_link

if TYPE_CHECKING:
    import lightgbm as lgb

__all__ = ["LightGBMOutput"]

Floats = npt.NDArray[np.float64]


class LightGBMOutput:
    """Converts the output of one target's models.

    Parameters
    ----------
    target : FoldTarget
    objective : str or CustomObjective
        That the models are trained with.
    """

    def __init__(self, target: FoldTarget, objective: Any) -> None:
        self.target = target
        self.objective = objective

    def linked(self, output: Floats) -> Floats:
        """Convert the output of a booster in training, (n,) or (n, width), to that of the model's text, (n, width).

        They differ for a custom objective: its booster returns raw scores.
        """
        shaped = output.reshape(-1, self.target.column.width)
        return apply_link(shaped, self.target.column) if isinstance(self.objective, CustomObjective) else shaped

    def to_target_scale(self, output: Floats, fold: int) -> Floats:
        """Convert the output of a model's text, (n, width), to predictions on the target's scale."""
        return self.target.to_target_scale(self._label_scale(output), fold)

    def _label_scale(self, output: Floats) -> Floats:
        if self.objective == "multiclassova":  # one model per class: the probabilities need not sum to one
            return np.asarray(output / np.maximum(output.sum(axis=1, keepdims=True), 1e-15))
        if self.objective == "cross_entropy_lambda":  # the output is the rate of a Poisson process of events
            return np.asarray(-np.expm1(-output))
        return output

    def stopping_metric(self, splits: Sequence[DatasetSplit], fold: int, seed: int) -> MetricFunction:
        """Return the metric to stop by, on the target's scale, for LightGBM to call on each of the datasets."""
        metric, where = self.target.stopping_metric, f"fold {fold}, seed {seed}"
        score_by_dataset = {id(split.dataset): self.target.stopping_score(fold, split.rows, where) for split in splits}

        def evaluate(output: Floats, dataset: lgb.Dataset) -> tuple[str, float, bool]:
            value = score_by_dataset[id(dataset)](self._label_scale(self.linked(output)))
            return metric.name, value, metric.greater_is_better

        return evaluate
