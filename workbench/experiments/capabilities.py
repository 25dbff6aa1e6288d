"""What each kind of experiment is and can do; what it can't is refused here, with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from workbench.core.errors import ConfigError

__all__ = ["CAPABILITIES", "Capabilities", "Operation", "capabilities_of", "check_can"]

Operation = Literal["plan rows", "train", "sample", "report", "write out"]
"""What is done with an experiment or with its run: plan features and folds of rows, train its models outside of a run,
run it on a share of the rows, make the report of its predictions, write it out as a notebook."""


@dataclass(frozen=True)
class Capabilities:
    """What a kind of experiment is.

    Attributes
    ----------
    runner : str
        The runner, as "module:class"; it is imported when something runs.
    packages : tuple of str
        Those whose versions decide the result; of models the registry has them.
    predicts_rows : bool
        Whether it predicts rows of train and test over the competition's folds; otherwise lists for users.
    trains_models : bool
        Whether models are trained here, fold by fold, on the columns of its features.
    has_notebook : bool
        Whether the cells of a notebook decide its result.
    refusals : mapping
        Operation -> why it is refused, and what to do; see `check_can` for what both may name.
    """

    runner: str
    packages: tuple[str, ...] = ()
    predicts_rows: bool = True
    trains_models: bool = True
    has_notebook: bool = False
    refusals: Mapping[Operation, tuple[str, str]] = field(default_factory=dict)


MODELS = Capabilities("workbench.experiments.trained:ModelRunner")
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
    """Return what a kind can do. One that is not known, as in a record of a newer version, is taken for a model."""
    return CAPABILITIES.get(kind, MODELS)


def check_can(operation: Operation, kind: str, subject: str, **facts: object) -> None:
    """Refuse what a kind of experiment can't do.

    Parameters
    ----------
    subject : str
        What is of that kind, and how, for the message: "012.toml is a [notebook] experiment".
    **facts
        What the reason and the hint name: `exp`, the number; `file`, the notebook.

    Raises
    ------
    ConfigError
        Says why, and what to do.
    """
    if operation in capabilities_of(kind).refusals:
        why, hint = capabilities_of(kind).refusals[operation]
        raise ConfigError(f"{subject}: {why.format(**facts)}", hint=hint.format(**facts))
