"""Notebooks, through papermill: read and checked, run in a process of their own, and what they record."""

from workbench.experiments.notebooks.context import NotebookContext, read_context, write_context
from workbench.experiments.notebooks.execute import Executed, Limits, execute
from workbench.experiments.notebooks.kaggle_notebook import printed_cv
from workbench.experiments.notebooks.mounts import KAGGLE_ENVIRONMENT, Inputs, Placed, left_file, placed
from workbench.experiments.notebooks.named_inputs import (
    KINDS_OF_DATA,
    competition_places,
    data_places,
    is_named,
    missing_inputs,
    reads,
    text_of,
)
from workbench.experiments.notebooks.recorded import (
    Recorded,
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
    "Executed",
    "Inputs",
    "Limits",
    "Notebook",
    "NotebookContext",
    "Parameter",
    "Placed",
    "Recorded",
    "as_text",
    "check_parameters",
    "checked_metrics",
    "checked_oof",
    "checked_test",
    "competition_places",
    "data_places",
    "execute",
    "is_named",
    "left_file",
    "missing_inputs",
    "new_notebook",
    "placed",
    "printed_cv",
    "read_context",
    "read_notebook",
    "read_recorded",
    "reads",
    "text_of",
    "write_context",
    "write_recorded",
]
