"""Notebooks, through papermill: read and checked, run in a process of their own, and what they record."""

from workbench.notebooks.adopted import at_home, inputs_of, printed_cv
from workbench.notebooks.execute import Executed, Limits, execute
from workbench.notebooks.masks import Masks, known_secrets
from workbench.notebooks.recorded import (
    Recorded,
    checked_metrics,
    checked_oof,
    checked_test,
    read_recorded,
    write_recorded,
)
from workbench.notebooks.source import (
    PARAMETERS_TAG,
    Notebook,
    Parameter,
    as_text,
    check_parameters,
    new_notebook,
    read_notebook,
)
from workbench.notebooks.told import Told, tell, told

__all__ = [
    "PARAMETERS_TAG",
    "Executed",
    "Limits",
    "Masks",
    "Notebook",
    "Parameter",
    "Recorded",
    "Told",
    "as_text",
    "at_home",
    "check_parameters",
    "checked_metrics",
    "checked_oof",
    "checked_test",
    "execute",
    "inputs_of",
    "known_secrets",
    "new_notebook",
    "printed_cv",
    "read_notebook",
    "read_recorded",
    "tell",
    "told",
    "write_recorded",
]
