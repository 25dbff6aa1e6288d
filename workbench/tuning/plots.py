"""Plots of a study: history, importances and slices, as PNG files (matplotlib) and on one page (plotly)."""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path
from typing import Any

from workbench.core.cache import temporary_file, write_text
from workbench.core.distribution import install_hint
from workbench.core.errors import ConfigError, NotFoundError
from workbench.core.html_page import as_html, page
from workbench.core.plot_style import plot_style
from workbench.tuning.optuna_package import optuna

__all__ = ["draw", "importances"]

MIN_COMPLETE_TRIALS = 3
"""Fewer show neither a history nor importances."""

SLICES_PER_ROW = 4
"""All slices in one row would be wider than a screen."""


def importances(study: Any) -> dict[str, float]:
    """Return each parameter's share of the variance of the scores, in descending order.

    By PED-ANOVA (Watanabe et al. 2023). Empty for too few trials, or where all scores are equal.
    """
    op = optuna()
    if len(_complete(study)) < MIN_COMPLETE_TRIALS:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            shares = op.importance.get_param_importances(study, evaluator=_evaluator())
        except (ValueError, RuntimeError):  # all scores are equal, or all points are
            return {}
    return {name: float(share) for name, share in shares.items()}


def _evaluator() -> Any:
    return optuna().importance.PedAnovaImportanceEvaluator()


def draw(study: Any, folder: Path, *, with_importances: bool) -> list[Path]:
    """Write ``history.png``, ``slices.png``, ``study.html`` and, if asked for, ``importances.png``; return paths.

    Raises
    ------
    NotFoundError
        When fewer than three trials are complete.
    ConfigError
        When matplotlib or plotly is not installed.
    """
    if len(_complete(study)) < MIN_COMPLETE_TRIALS:
        raise NotFoundError(
            f"the study has {len(_complete(study))} complete trials, too few to plot", hint="tune for longer"
        )
    return [*_as_png(study, folder, with_importances), _as_page(study, folder / "study.html", with_importances)]


def _complete(study: Any) -> list[Any]:
    state = optuna().trial.TrialState.COMPLETE
    return [t for t in study.get_trials(deepcopy=False) if t.state == state]


def _as_png(study: Any, folder: Path, with_importances: bool) -> list[Path]:
    try:
        import matplotlib as mpl

        mpl.use("Agg")
        import matplotlib.pyplot as plt
        from optuna.visualization import matplotlib as plots
    except ImportError as exc:
        raise ConfigError("the plots need matplotlib", hint=install_hint("tune")) from exc
    plot_by_name: dict[str, Any] = {"history": plots.plot_optimization_history, "slices": plots.plot_slice}
    if with_importances:
        plot_by_name["importances"] = partial(plots.plot_param_importances, evaluator=_evaluator())
    paths = []
    for name, plot in plot_by_name.items():
        path = folder / f"{name}.png"
        with plot_style(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            plot(study)
            with temporary_file(path) as temporary:
                plt.gcf().savefig(temporary, format="png", dpi=110, bbox_inches="tight")
                temporary.rename(path)
            plt.close("all")
        paths.append(path)
    return paths


def _as_page(study: Any, path: Path, with_importances: bool) -> Path:
    try:
        import plotly  # noqa: F401
        from optuna import visualization as plots
    except ImportError as exc:
        raise ConfigError("the page needs plotly", hint=install_hint("tune")) from exc
    figures = [plots.plot_optimization_history(study)]
    if with_importances:
        figures.append(plots.plot_param_importances(study, evaluator=_evaluator()))
    names = sorted(study.best_params)
    figures += [
        plots.plot_slice(study, params=names[i : i + SLICES_PER_ROW]) for i in range(0, len(names), SLICES_PER_ROW)
    ]
    # The page contains plotly's script, to be shown without a network.
    figures_html = [f.to_html(full_html=False, include_plotlyjs=(i == 0)) for i, f in enumerate(figures)]
    head = f"<h1>{as_html(study.study_name)}</h1>\n"
    write_text(path, page(study.study_name, head + "".join(figures_html), own_script=True))
    return path
