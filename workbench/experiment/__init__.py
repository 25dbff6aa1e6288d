"""`run`: the one use case that strings competition, folds, features and training together."""

from workbench.experiment.feature_list import FeatureList, check_list_name, read_list, write_list
from workbench.experiment.run import ReadyExperiment, RunOutcome, ready, reconcile, recover, run
from workbench.experiment.run_folder import FinishedRun, check_files, list_run_folders, read_run, write_run
from workbench.experiment.spec import ExperimentSpec, parse_numbers, read_spec
from workbench.experiment.submission_file import class_texts

__all__ = [
    "ExperimentSpec",
    "FeatureList",
    "FinishedRun",
    "ReadyExperiment",
    "RunOutcome",
    "check_files",
    "check_list_name",
    "class_texts",
    "list_run_folders",
    "parse_numbers",
    "read_list",
    "read_run",
    "read_spec",
    "ready",
    "reconcile",
    "recover",
    "run",
    "write_list",
    "write_run",
]
