"""An experiment as a notebook, to be changed freely."""

from __future__ import annotations

import json
from typing import Any

from workbench.core.errors import ConfigError
from workbench.data.competition import Competition
from workbench.experiments.capabilities import check_can
from workbench.experiments.kinds import model_spec
from workbench.experiments.notebooks import new_notebook
from workbench.experiments.spec import OPTIONS, ExperimentSpec, read_spec
from workbench.models.lightgbm.learner import LightGBMSpec, lightgbm_metric
from workbench.models.lightgbm.objectives import objective_for
from workbench.models.target import Target, read_target

__all__ = ["compose"]

NOT_IN_NOTEBOOK = ("target_transform", *OPTIONS)

FOLD_LOOP = """from workbench import nb
import numpy as np

nb.use({slug}, exp={own_number})  # for a session by hand; `wb run` chooses the experiment itself
n_test, width = nb.competition.data.n_test, {width}
oof, test = np.full((len(nb.target), width), np.nan), np.zeros((n_test, width))
for fold in nb.folds:
    f = nb.frames(fold.number)
{body}
nb.score(oof)"""

LIGHTGBM_TRAINING = """    train = lgb.Dataset(f.X_train, label=f.y_train, categorical_feature=f.categorical or "auto")
    valid = lgb.Dataset(f.X_valid, label=f.y_valid, reference=train)
    model = lgb.train(
        parameters,
        train,
        num_boost_round=rounds,
        valid_sets=[valid],
        callbacks=[lgb.early_stopping(patience, verbose=False)],
    )
    print(f"fold {fold.number}: {model.best_iteration} rounds")
    oof[fold.valid] = model.predict(f.X_valid).reshape(-1, width)
    test += model.predict(f.X_test).reshape(-1, width) / len(nb.folds)"""

FIT_CALL = """    # Trains like experiment {number}; the arguments override what its file says.
    result = nb.fit({number}, fold.number{parameters})
    oof[fold.valid] = result.oof
    test += result.test / len(nb.folds)"""


def compose(competition: Competition, number: int, own_number: int) -> Any:
    """Return an experiment as a notebook: its parameters, a loop over the folds, and a call of `nb.record`.

    For LightGBM the notebook has the training code; other models are trained by `nb.fit`.

    Parameters
    ----------
    competition : Competition
    number : int
        The experiment to write out.
    own_number : int
        The experiment that runs the notebook; when a user opens the notebook, its columns are the default.

    Raises
    ------
    ConfigError
        When the experiment already is a notebook, or the competition has several targets.
    """
    spec = read_spec(competition, number)
    subject = f"{spec.path} is a [{spec.kind}] experiment"
    check_can("write out", spec.kind, subject, file=spec.model.get("file"))
    target = read_target(competition)
    if len(target.columns) > 1:
        raise ConfigError(
            f"{competition.slug!r} has {len(target.columns)} targets; a loop over folds is written out for one",
            hint="copy experiments by `wb new`",
        )
    width = target.columns[0].width
    model = model_spec(spec, competition, target)
    if isinstance(model, LightGBMSpec) and _is_plain(model, target):
        task = target.columns[0].task
        metric_name = lightgbm_metric(model, task, competition.metric)
        objective = objective_for(task, competition.metric) | ({"metric": metric_name} if metric_name else {})
        cells, body = _lightgbm(spec, model, objective, width), LIGHTGBM_TRAINING
    else:
        simple = {k: v for k, v in spec.model.items() if k.isidentifier() and not isinstance(v, dict | list)}
        arguments = "".join(f", {k}={k}" for k in simple)
        cells, body = [_lines(simple)], FIT_CALL.format(number=number, parameters=arguments)
    loop = FOLD_LOOP.format(slug=json.dumps(competition.slug), own_number=own_number, width=width, body=body)
    parameters, *code = [*cells, loop]
    stops = bool(getattr(model, "patience", 0)) and not spec.rounds_per_fold
    introduction = _introduction(spec, number, stops=stops)
    return new_notebook(introduction, *code, "nb.record(oof=oof, test=test)", parameters=parameters)


def _is_plain(model: LightGBMSpec, target: Target) -> bool:
    """Return whether the loop trains the same models as the experiment, except for what `_introduction` names."""
    is_weighted = target.weight is not None or model.power > 0
    return model.custom_objective is None and not is_weighted and model.transform == "none"


def _introduction(spec: ExperimentSpec, number: int, *, stops: bool) -> str:
    left_out = [name for name in NOT_IN_NOTEBOOK if getattr(spec, name)]
    more = f"\n\nNot written out: {', '.join(left_out)}." if left_out else ""
    if stops:
        more += (
            "\n\nEach fold stops at its own best round here, while the experiment has one number of rounds for all: "
            "the score is a little better than on new rows."
        )
    return (
        f"# Experiment {number}: {spec.title or 'untitled'}\n\n"
        f"Run by `wb run` it is an experiment like any other; run here, it shows the score and keeps nothing.{more}"
    )


def _lines(parameters: dict[str, Any]) -> str:
    return "\n".join(f"{name} = {value!r}" for name, value in parameters.items()) or "pass"


def _lightgbm(spec: ExperimentSpec, model: LightGBMSpec, objective: dict[str, Any], width: int) -> list[str]:
    ours = ("verbosity", "deterministic", "num_threads", "force_col_wise", "feature_pre_filter", "objective")
    objective |= {k: v for k, v in model.parameters.items() if k == "objective"}
    named = {k: v for k, v in model.parameters.items() if k not in ours}
    simple = {k: v for k, v in named.items() if not isinstance(v, dict | list)}
    nested = {k: v for k, v in named.items() if k not in simple}
    parameters = {**objective, **({"num_class": width} if width > 1 else {}), "verbosity": -1, **nested}
    listed = [*(f"    {k!r}: {v!r},\n" for k, v in parameters.items()), *(f"    {k!r}: {k},\n" for k in simple)]
    first = {"rounds": model.rounds, "patience": model.patience or model.rounds, "seed": spec.seeds[0], **simple}
    return [
        _lines(first),
        f"import lightgbm as lgb\n\nparameters = {{\n{''.join(listed)}    'seed': seed,\n}}",
    ]
