"""Models over folds and seeds: from columns, a target and folds to OOF and test predictions."""

from workbench.training.asked import Asked
from workbench.training.binned import BinnedRows, KeptBins
from workbench.training.fold_rows import FoldRows, probabilities
from workbench.training.fold_scorer import Fidelity, FoldScore, FoldScorer, NoUseError, shared_score
from workbench.training.learner import Learner, ModelSpec
from workbench.training.lightgbm_folds import lightgbm_errors, with_feature_names
from workbench.training.lightgbm_rules import first_training, parameter_type, taken_back
from workbench.training.needs import Granted, MemoryNeeds, ask_memory, check_memory
from workbench.training.objectives import OwnObjective, own_objective
from workbench.training.parameters import (
    FILE_PARAMETERS,
    LightGBMSpec,
    check_target,
    check_together,
    lightgbm_defaults,
    lightgbm_for,
    lightgbm_metric,
    lightgbm_spec,
    objective_for,
    primary_name,
    transform_for,
    with_bagging,
)
from workbench.training.pseudo import Pseudo, check_pseudo
from workbench.training.records import ALL_ROWS, FoldResult, Problem, TrainingState, TrainResult
from workbench.training.refit import ROWS_POWER, refit
from workbench.training.rounds import Stopper, Stopping, limit_notes, shared_rounds
from workbench.training.row_weights import check_fold_weights
from workbench.training.scoring import as_metric_input, fold_scores, oof_score, score
from workbench.training.shuffled import FoldModels, shuffled_gains
from workbench.training.split import split_of
from workbench.training.splits import split_notes, why_no_split
from workbench.training.target import Target, TargetColumn, read_target
from workbench.training.train import class_notes, train
from workbench.training.weights import check_class_weight

__all__ = [
    "ALL_ROWS",
    "FILE_PARAMETERS",
    "ROWS_POWER",
    "Asked",
    "BinnedRows",
    "Fidelity",
    "FoldModels",
    "FoldResult",
    "FoldRows",
    "FoldScore",
    "FoldScorer",
    "Granted",
    "KeptBins",
    "Learner",
    "LightGBMSpec",
    "MemoryNeeds",
    "ModelSpec",
    "NoUseError",
    "OwnObjective",
    "Problem",
    "Pseudo",
    "Stopper",
    "Stopping",
    "Target",
    "TargetColumn",
    "TrainResult",
    "TrainingState",
    "as_metric_input",
    "ask_memory",
    "check_class_weight",
    "check_fold_weights",
    "check_memory",
    "check_pseudo",
    "check_target",
    "check_together",
    "class_notes",
    "first_training",
    "fold_scores",
    "lightgbm_defaults",
    "lightgbm_errors",
    "lightgbm_for",
    "lightgbm_metric",
    "lightgbm_spec",
    "limit_notes",
    "objective_for",
    "oof_score",
    "own_objective",
    "parameter_type",
    "primary_name",
    "probabilities",
    "read_target",
    "refit",
    "score",
    "shared_rounds",
    "shared_score",
    "shuffled_gains",
    "split_notes",
    "split_of",
    "taken_back",
    "train",
    "transform_for",
    "why_no_split",
    "with_bagging",
    "with_feature_names",
]
