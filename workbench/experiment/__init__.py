"""`run`: the one use case that strings competition, folds, features and training together."""

from workbench.experiment.compose import compose
from workbench.experiment.feature_list import FeatureList, check_list_name, read_list, write_list
from workbench.experiment.held_out import last_fold, only_fold, without_last_fold, without_rows
from workbench.experiment.kaggle_inputs import INPUT, not_here
from workbench.experiment.kinds import notebook_content
from workbench.experiment.optimistic import SELECTED
from workbench.experiment.other_folds import on_other_folds
from workbench.experiment.plan import fold_rows
from workbench.experiment.ready import ReadyExperiment, lightgbm_of, ready
from workbench.experiment.reconcile import reconcile, recover
from workbench.experiment.run import RunOutcome, run
from workbench.experiment.run_folder import FinishedRun, check_files, list_run_folders, read_run, write_run
from workbench.experiment.spec import ExperimentSpec, parse_keep, parse_numbers, read_spec
from workbench.experiment.sweep import run_all, specs_of_runs
from workbench.experiment.tune import (
    TuneOutcome,
    TuneRequest,
    as_text,
    as_toml_lines,
    best_parameters,
    find_study,
    run_tuned,
    tune,
)
from workbench.serving.submission_file import class_texts

__all__ = [
    "INPUT",
    "SELECTED",
    "ExperimentSpec",
    "FeatureList",
    "FinishedRun",
    "ReadyExperiment",
    "RunOutcome",
    "TuneOutcome",
    "TuneRequest",
    "as_text",
    "as_toml_lines",
    "best_parameters",
    "check_files",
    "check_list_name",
    "class_texts",
    "compose",
    "find_study",
    "fold_rows",
    "last_fold",
    "lightgbm_of",
    "list_run_folders",
    "not_here",
    "notebook_content",
    "on_other_folds",
    "only_fold",
    "parse_keep",
    "parse_numbers",
    "read_list",
    "read_run",
    "read_spec",
    "ready",
    "reconcile",
    "recover",
    "run",
    "run_all",
    "run_tuned",
    "specs_of_runs",
    "tune",
    "without_last_fold",
    "without_rows",
    "write_list",
    "write_run",
]
