"""Models over folds and seeds: from columns, a target and folds to OOF and test predictions."""

from workbench.training.asked import Asked
from workbench.training.learner import Learner, ModelSpec
from workbench.training.needs import MemoryNeeds, check_memory
from workbench.training.parameters import LightGBMSpec, lightgbm_spec, transform_for
from workbench.training.records import FoldResult, Problem, TrainResult
from workbench.training.scoring import as_metric_input, fold_scores, oof_score, score
from workbench.training.shuffled import FoldModels, shuffled_gains
from workbench.training.target import Target, TargetColumn, read_target
from workbench.training.train import train

__all__ = [
    "Asked",
    "FoldModels",
    "FoldResult",
    "Learner",
    "LightGBMSpec",
    "MemoryNeeds",
    "ModelSpec",
    "Problem",
    "Target",
    "TargetColumn",
    "TrainResult",
    "as_metric_input",
    "check_memory",
    "fold_scores",
    "lightgbm_spec",
    "oof_score",
    "read_target",
    "score",
    "shuffled_gains",
    "train",
    "transform_for",
]
