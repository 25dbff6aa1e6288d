"""The base class of runners whose experiments predict rows: their plan, scores and files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from workbench.core.context import RunContext
from workbench.data.competition import Competition
from workbench.data.workspace import Workspace
from workbench.experiments.optimistic import why_optimistic
from workbench.experiments.plan import Plan, make_plan
from workbench.experiments.predictions import Predictions, with_scores, write_predictions
from workbench.experiments.run_folder import RunArtifacts
from workbench.experiments.runner import RunRequest, UsedSource
from workbench.experiments.spec import ExperimentSpec
from workbench.features import Blocks, load_features
from workbench.ledger import RunRecord

__all__ = ["RowRunner"]


class RowRunner(ABC):
    """A runner of experiments that predict rows over the competition's folds; see `Runner`."""

    def read(self, spec: ExperimentSpec) -> Sequence[ExperimentSpec]:
        """Return the experiment itself."""
        return [spec]

    def content(self, spec: ExperimentSpec, competition: Competition) -> dict[str, Any] | None:  # noqa: ARG002
        """Return None: the experiment's file has all values."""
        return None

    def plan(
        self,
        workspace: Workspace,
        competition: Competition,
        spec: ExperimentSpec,
        request: RunRequest,
        context: RunContext,
    ) -> Plan:
        """Read and check all that decides the result."""
        blocks = Blocks(competition, load_features(competition), context, workspace.memory_limit)
        return make_plan(competition, spec, blocks, sample=request.sample, threads=context.threads, model=request.model)

    def used_source(self, plan: Plan) -> UsedSource:
        """Return the code and files that features and the model use."""
        return plan.used_source()

    def execute(
        self, workspace: Workspace, plan: Plan, folder: Path, record: RunRecord, context: RunContext
    ) -> RunArtifacts:
        """Predict the rows of train and test; score and write the predictions."""
        predictions = self.predict(workspace, plan, folder, context)
        context.stage("writing")
        final = replace(with_scores(record, plan, predictions), optimistic=why_optimistic(plan))
        files = write_predictions(plan, folder, predictions)
        return RunArtifacts(final, files, predictions.details, predictions.notes, predictions.peak_mb)

    @abstractmethod
    def predict(self, workspace: Workspace, plan: Plan, folder: Path, context: RunContext) -> Predictions:
        """Predict the rows; further files of the run may be written into its folder."""
        ...
