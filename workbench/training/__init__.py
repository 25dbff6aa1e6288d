"""LightGBM over folds and seeds: from columns, a target and folds to OOF and test predictions."""

from workbench.training.lightgbm_folds import train
from workbench.training.parameters import ModelSpec, model_spec, transform_for
from workbench.training.records import FoldResult, Problem, TrainResult
from workbench.training.scoring import as_metric_input, fold_scores, oof_score, score
from workbench.training.shuffled import FoldModels, shuffled_gains
from workbench.training.target import Target, TargetColumn, read_target

__all__ = [
    "FoldModels",
    "FoldResult",
    "ModelSpec",
    "Problem",
    "Target",
    "TargetColumn",
    "TrainResult",
    "as_metric_input",
    "fold_scores",
    "model_spec",
    "oof_score",
    "read_target",
    "score",
    "shuffled_gains",
    "train",
    "transform_for",
]
