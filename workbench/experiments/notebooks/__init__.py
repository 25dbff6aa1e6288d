"""Notebooks: reading and checking them, running them through papermill, and the predictions that they record."""

from workbench.experiments.notebooks.context import NotebookContext, read_context, write_context
from workbench.experiments.notebooks.execute import ExecutedNotebook, Limits, execute
from workbench.experiments.notebooks.kaggle_notebook import printed_cv
from workbench.experiments.notebooks.mounts import (
    KAGGLE_ENVIRONMENT,
    KaggleInputs,
    PreparedNotebook,
    kaggle_folders,
    output_file,
)
from workbench.experiments.notebooks.named_inputs import (
    KINDS_OF_DATA,
    code_text,
    competition_paths,
    data_paths,
    file_matcher,
    is_mentioned,
    missing_inputs,
)
from workbench.experiments.notebooks.recorded import (
    RecordedPredictions,
    checked_metrics,
    checked_oof,
    checked_test,
    read_recorded,
    write_recorded,
)
from workbench.experiments.notebooks.source import (
    PARAMETERS_TAG,
    Notebook,
    Parameter,
    as_text,
    check_parameters,
    new_notebook,
    read_notebook,
)

__all__ = [
    "KAGGLE_ENVIRONMENT",
    "KINDS_OF_DATA",
    "PARAMETERS_TAG",
    "ExecutedNotebook",
    "KaggleInputs",
    "Limits",
    "Notebook",
    "NotebookContext",
    "Parameter",
    "PreparedNotebook",
    "RecordedPredictions",
    "as_text",
    "check_parameters",
    "checked_metrics",
    "checked_oof",
    "checked_test",
    "code_text",
    "competition_paths",
    "data_paths",
    "execute",
    "file_matcher",
    "is_mentioned",
    "kaggle_folders",
    "missing_inputs",
    "new_notebook",
    "output_file",
    "printed_cv",
    "read_context",
    "read_notebook",
    "read_recorded",
    "write_context",
    "write_recorded",
]
