"""LightGBM over folds and seeds: from columns, a target and folds to OOF and test predictions."""

from workbench.training.lightgbm_folds import train
from workbench.training.needs import MemoryNeeds, check_memory, memory_needs
from workbench.training.parameters import ModelSpec, model_spec, transform_for
from workbench.training.records import FoldResult, Problem, TrainResult
from workbench.training.scoring import as_metric_input, fold_scores, oof_score, score
from workbench.training.shuffled import FoldModels, shuffled_gains
from workbench.training.target import Target, TargetColumn, read_target

__all__ = [
    "FoldModels",
    "FoldResult",
    "MemoryNeeds",
    "ModelSpec",
    "Problem",
    "Target",
    "TargetColumn",
    "TrainResult",
    "as_metric_input",
    "check_memory",
    "fold_scores",
    "memory_needs",
    "model_spec",
    "oof_score",
    "read_target",
    "score",
    "shuffled_gains",
    "train",
    "transform_for",
]
