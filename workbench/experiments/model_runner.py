"""The runner of experiments that train models over folds and seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from workbench.core.cache import write_json
from workbench.core.context import RunContext
from workbench.core.wording import counted
from workbench.data.workspace import Workspace
from workbench.experiments.plan import Plan, matrix_of, model_of, problem_of
from workbench.experiments.predictions import Predictions
from workbench.experiments.row_runner import RowRunner
from workbench.experiments.run_folder import FoldParts
from workbench.features import excluded_column_lines, unseen_categories
from workbench.models.full_fit import full_fit
from workbench.models.learner import ModelSpec
from workbench.models.memory_estimate import plan_memory
from workbench.models.records import TrainResult
from workbench.models.registry import has_capability
from workbench.models.rounds import limit_notes
from workbench.models.serving import LearnedColumns
from workbench.models.train import class_notes, train
from workbench.models.unsplit_models import unsplit_notes

__all__ = ["ModelRunner", "train_models"]


class ModelRunner(RowRunner):
    """Trains the models of an experiment over folds and seeds."""

    def predict(self, workspace: Workspace, plan: Plan, folder: Path, context: RunContext) -> Predictions:  # noqa: ARG002
        """Train the models and return their predictions."""
        return train_models(plan, model_of(plan), folder, context)


def train_models(plan: Plan, model: ModelSpec, folder: Path, context: RunContext) -> Predictions:
    """Train the models of an experiment; finished folds are read from its run's folder, and saved there."""
    matrix = matrix_of(plan)
    problem = problem_of(plan, matrix)
    limit = plan.blocks.limit_bytes
    memory_plan = plan_memory(model.memory_estimate(problem, plan.spec.seeds), limit)
    context.say(memory_plan.message)
    parts = FoldParts(folder)
    result = train(problem, model, plan.spec.seeds, parts=parts, max_in_memory=memory_plan.max_folds, context=context)
    if plan.spec.refit:
        context.stage("training on all rows")
        result = full_fit(problem, model, plan.spec.seeds, result, parts=parts, context=context)
    parts.flush_models()
    peak_mb = memory_plan.peak_bytes / 2**20
    details: dict[str, Any] = {
        "models": _model_details(result),
        "memory": {"foreseen_mb": round(peak_mb, 1), "limit_mb": round(limit / 2**20, 1)},
        "left_out": dict(matrix.left_out),
        "unseen_categories": {u.column: {"values": u.values, "rows": u.rows} for u in unseen_categories(matrix)},
    }
    if model.transform != "none":
        details["target_transform"] = model.transform
    if model.power:
        details["row_weights"] = f"1 / |y| ** {model.power}"
    notes = [
        *getattr(model, "notes", ()),
        *class_notes(problem),
        *unsplit_notes(problem, model, result.parts),
        *limit_notes(result.parts, getattr(model, "rounds", 0), getattr(model, "patience", 0)),
        *excluded_column_lines(matrix.left_out),
        *_row_number_notes(plan),
        *_test_prediction_notes(plan, len(result.full_fits)),
        *(
            f"{name}: {plan.spec.kind}, which has only 32 bits, receives it minus {center:.15g}, also when predicting"
            for name, center in (matrix.centers.items() if has_capability(plan.spec.kind, "is_float32") else ())
        ),
    ]
    notes += [
        f"{u.column}: {counted(u.values, 'category occurs', 'categories occur')} only in test, "
        f"in {u.rows:,} of {matrix.n_test:,} test rows: no model was trained with {'it' if u.values == 1 else 'them'}"
        for u in (unseen_categories(matrix) if plan.sample is None else ())
    ]
    write_json(folder / "models" / "categories.json", matrix.categories)
    learned = LearnedColumns.of(plan.blocks, plan.spec.features, matrix, problem.target)
    learned.write(folder / "models")
    return Predictions(
        target=problem.target,
        folds=problem.folds,
        oof=result.oof,
        test=result.test,
        seed_oof=result.seed_oof,
        n_features=matrix.width + sum(len(c.names(problem.target.columns, 0)) for c in matrix.fold_columns),
        importance=result.importance(),
        files=(
            "models/categories.json",
            *(f"models/{n}" for n in learned.files),
            *(f"models/{p.name}" for p in sorted((folder / "models").glob("t*-s*.*"))),
        ),
        details=details,
        notes=tuple(notes),
    )


def _row_number_notes(plan: Plan) -> list[str]:
    """Return a note on the columns that "auto" and "rows" exclude because they only number the rows."""
    if not {"auto", "rows"} & set(plan.spec.features):
        return []
    columns = [f"{c!r} ({reason})" for c, reason in plan.competition.ids.row_numbers.items()]
    if not columns:
        return []
    return [f'left out, only numbers the rows: {", ".join(columns)}; to use one, add "rows.COLUMN"']


def _test_prediction_notes(plan: Plan, n_full_fits: int) -> list[str]:
    """Return a note on the models that predict test: those of all rows, or of folds that lack the latest rows."""
    if n_full_fits:
        return [f"test is predicted by {counted(n_full_fits, 'model')} of all rows"]
    if plan.competition.definition.cv.scheme != "time":
        return []
    advice = "; refit = true trains on all rows" if has_capability(plan.spec.kind, "refit") else ""
    return [f"test is predicted by the folds' models, of which none has seen the latest rows{advice}"]


def _model_details(result: TrainResult) -> list[dict[str, Any]]:
    """Return the details of each trained model: rounds, seconds and learning curves."""
    return [
        {
            "target": p.target,
            "fold": p.fold,
            "seed": p.seed,
            "rounds": p.rounds,
            "seconds": round(p.seconds, 3),
            "curve": [round(v, 7) for v in p.curve.get("valid", [])],
            **({"train_curve": [round(v, 7) for v in p.curve["train"]]} if p.curve.get("train") else {}),
            **({"notes": p.notes} if p.notes else {}),
        }
        for p in (*result.parts, *result.full_fits)
    ]
