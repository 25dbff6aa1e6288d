"""`run`: the one use case that strings competition, folds, features and training together."""

from workbench.experiment.run import RunOutcome, reconcile, recover, run
from workbench.experiment.run_folder import FinishedRun, check_files, list_run_folders, read_run, write_run
from workbench.experiment.spec import ExperimentSpec, parse_numbers, read_spec
from workbench.experiment.submission_file import class_texts

__all__ = [
    "ExperimentSpec",
    "FinishedRun",
    "RunOutcome",
    "check_files",
    "class_texts",
    "list_run_folders",
    "parse_numbers",
    "read_run",
    "read_spec",
    "reconcile",
    "recover",
    "run",
    "write_run",
]
