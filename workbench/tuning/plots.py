"""A study in pictures: history, importances, slices, as PNG (matplotlib) and as one page (plotly)."""

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

FEWEST = 3
"""Complete trials without which there is nothing to see."""

A_ROW = 4
"""So many slices beside each other."""


def importances(study: Any) -> dict[str, float]:
    """Return how much of the spread of the scores each parameter explains, falling; PED-ANOVA, Watanabe et al. 2023."""
    op = optuna()
    if len(_complete(study)) < FEWEST:
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
    """Write ``history.png``, ``importances.png`` where they are wanted, ``slices.png`` and ``study.html``.

    Raises
    ------
    NotFoundError
        When fewer than three trials are complete.
    ConfigError
        When matplotlib or plotly is not installed.
    """
    if len(_complete(study)) < FEWEST:
        raise NotFoundError(
            f"the study has {len(_complete(study))} complete trials, too few to show", hint="tune for longer"
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
        from optuna.visualization import matplotlib as pictures
    except ImportError as exc:
        raise ConfigError("the pictures need matplotlib", hint=install_hint("tune")) from exc
    drawings: dict[str, Any] = {"history": pictures.plot_optimization_history, "slices": pictures.plot_slice}
    if with_importances:
        drawings["importances"] = partial(pictures.plot_param_importances, evaluator=_evaluator())
    written = []
    for name, plot in drawings.items():
        path = folder / f"{name}.png"
        with plot_style(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            plot(study)
            with temporary_file(path) as temporary:
                plt.gcf().savefig(temporary, format="png", dpi=110, bbox_inches="tight")
                temporary.rename(path)
            plt.close("all")
        written.append(path)
    return written


def _as_page(study: Any, path: Path, with_importances: bool) -> Path:
    try:
        import plotly  # noqa: F401
        from optuna import visualization as pictures
    except ImportError as exc:
        raise ConfigError("the page needs plotly", hint=install_hint("tune")) from exc
    figures = [pictures.plot_optimization_history(study)]
    if with_importances:
        figures.append(pictures.plot_param_importances(study, evaluator=_evaluator()))
    # All in one row would be wider than a screen.
    names = sorted(study.best_params)
    figures += [pictures.plot_slice(study, params=names[i : i + A_ROW]) for i in range(0, len(names), A_ROW)]
    # The script goes into the page: it is to be seen without network.
    pieces = [f.to_html(full_html=False, include_plotlyjs=(i == 0)) for i, f in enumerate(figures)]
    head = f"<h1>{as_html(study.study_name)}</h1>\n"
    write_text(path, page(study.study_name, head + "".join(pieces), own_script=True))
    return path
