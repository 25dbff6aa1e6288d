"""The capabilities of each kind of experiment, and the errors for operations that it does not support."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from workbench.core.errors import ConfigError

__all__ = ["CAPABILITIES", "Capabilities", "Operation", "capabilities_of", "check_can"]

Operation = Literal["plan rows", "train", "sample", "report", "write out"]
"""An operation on an experiment or its run: plan features and folds of rows, train its models outside of a run, run it
on a share of the rows, make the report of its predictions, write it as a notebook."""


@dataclass(frozen=True)
class Capabilities:
    """The capabilities of a kind of experiment.

    Attributes
    ----------
    runner : str
        The runner, as "module:class"; it is imported when an experiment is run.
    packages : tuple of str
        The packages whose versions decide the result; those of models are in the registry.
    predicts_rows : bool
        Whether it predicts rows of train and test over the competition's folds; otherwise it predicts lists for users.
    trains_models : bool
        Whether this package trains its models, fold by fold, on the columns of its features.
    has_notebook : bool
        Whether the cells of a notebook decide its result.
    refusals : mapping
        Operation -> the reason why it is not supported, and a hint; both may have the fields of `check_can`.
    """

    runner: str
    packages: tuple[str, ...] = ()
    predicts_rows: bool = True
    trains_models: bool = True
    has_notebook: bool = False
    refusals: Mapping[Operation, tuple[str, str]] = field(default_factory=dict)


MODELS = Capabilities("workbench.experiments.model_runner:ModelRunner")
NOTEBOOK = Capabilities(
    "workbench.experiments.notebook_run:NotebookRunner",
    trains_models=False,
    has_notebook=True,
    refusals={
        "train": ("nothing is trained here", "choose one with a model"),
        "sample": ("a notebook predicts all rows", "give it a parameter for a subsample run"),
        "write out": ("it is a notebook already: {file}", "copy that file"),
    },
)
RECOMMENDER = Capabilities(
    "workbench.experiments.recommend_run:RecommendRunner",
    packages=("lightgbm", "numba", "implicit"),
    predicts_rows=False,
    trains_models=False,
    refusals={
        "plan rows": ("it has lists, no rows to train on", "choose one with a model"),
        "train": ("it has lists, no rows to train on", "choose one with a model"),
        "report": (
            "it has lists, and the report is of predictions",
            "`wb show {exp}` has its scores, what each source finds, and what the stages took",
        ),
        "write out": ("it has lists, no rows to train on", "choose one with a model"),
    },
)

CAPABILITIES: dict[str, Capabilities] = {"notebook": NOTEBOOK, "recommend": RECOMMENDER}
"""By the table that selects the kind. The tables of models, which all are `MODELS`, are in `workbench.models.registry`,
with what one library can do and another can't."""


def capabilities_of(kind: str) -> Capabilities:
    """Return the capabilities of a kind; an unknown kind, as in a record of a newer version, is taken for a model."""
    return CAPABILITIES.get(kind, MODELS)


def check_can(operation: Operation, kind: str, subject: str, **facts: object) -> None:
    """Raise if a kind of experiment does not support an operation.

    Parameters
    ----------
    operation : str
    kind : str
    subject : str
        The start of the message: "012.toml is a [notebook] experiment".
    **facts
        Fields of the reason and the hint: `exp`, the number; `file`, the notebook.

    Raises
    ------
    ConfigError
        With the reason and a hint.
    """
    if operation in capabilities_of(kind).refusals:
        reason, hint = capabilities_of(kind).refusals[operation]
        raise ConfigError(f"{subject}: {reason.format(**facts)}", hint=hint.format(**facts))
