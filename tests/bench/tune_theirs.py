"""What `wb tune` is measured against; run as a script: the rival's name, the benchmark's folder, seconds.

Each reads the same rows and folds and tunes LightGBM on two threads. The clock starts when the data is in memory and the
rival is imported. Whenever a better parameter set is found, a line is written to `NAME.jsonl`; what
is still running when the time is over is ended, so that a rival whose trials are long keeps what it had by then.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

THREADS, SEED = 2, 0
SCORING = {
    "auc": "roc_auc",
    "logloss": "neg_log_loss",
    "mlogloss": "neg_log_loss",
    "rmse": "neg_root_mean_squared_error",
}
LIGHTGBM = {"auc": "auc", "logloss": "binary_logloss", "mlogloss": "multi_logloss", "rmse": "rmse"}
FLAML = {"auc": "roc_auc", "logloss": "log_loss", "mlogloss": "log_loss", "rmse": "rmse"}


class Case:
    """The rows, the folds, and where the time is written down."""

    def __init__(self, name: str, folder: Path, seconds: float) -> None:
        told = json.loads((folder / "case.json").read_text())
        frame = pl.read_parquet(folder / "train.parquet")
        self.task, self.metric, self.seconds = told["task"], told["metric"], seconds
        self.y = frame[told["target"]].to_numpy()
        self.X = frame.drop(told["target"]).to_pandas()
        of = np.load(folder / "folds.npy")
        self.of = of
        self.folds = [(np.flatnonzero(of != k), np.flatnonzero(of == k)) for k in np.unique(of)]
        self.path = folder / f"{name}.jsonl"
        self.path.write_text("")
        self.started = 0.0

    def begin(self, *, end_in_time: bool) -> None:
        """Start the clock; end this process when the time is over, in the middle of whatever it does, if asked to."""
        self.started = time.perf_counter()
        if end_in_time:
            timer = threading.Timer(self.seconds, os._exit, (0,))
            timer.daemon = True
            timer.start()

    def found(self, trials: int, score: float, parameters: dict[str, Any], rounds: int) -> None:
        """Write down the best so far: `score` by the metric, `parameters` by any of LightGBM's names, without the rounds."""
        line = {"seconds": time.perf_counter() - self.started, "trials": trials, "score": float(score)}
        with self.path.open("a") as file:
            file.write(json.dumps(line | {"parameters": parameters, "rounds": int(rounds)}) + "\n")


def optuna_usual(case: Case) -> None:
    """`cross_val_score` of the scikit-learn estimator over the space of most public notebooks."""
    import optuna
    from lightgbm import LGBMClassifier, LGBMRegressor
    from sklearn.model_selection import cross_val_score

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    estimator = LGBMRegressor if case.task == "regression" else LGBMClassifier

    def objective(trial: Any) -> float:
        parameters = {
            "n_estimators": trial.suggest_int("n_estimators", 100, 1000),
            "learning_rate": trial.suggest_float("learning_rate", 0.01, 0.3, log=True),
            "num_leaves": trial.suggest_int("num_leaves", 15, 255),
            "min_child_samples": trial.suggest_int("min_child_samples", 5, 100),
            "subsample": trial.suggest_float("subsample", 0.5, 1.0),
            "colsample_bytree": trial.suggest_float("colsample_bytree", 0.5, 1.0),
            "reg_alpha": trial.suggest_float("reg_alpha", 1e-8, 10.0, log=True),
            "reg_lambda": trial.suggest_float("reg_lambda", 1e-8, 10.0, log=True),
        }
        model = estimator(**parameters, subsample_freq=1, n_jobs=THREADS, random_state=SEED, verbosity=-1)
        return float(cross_val_score(model, case.X, case.y, cv=case.folds, scoring=SCORING[case.metric]).mean())

    def done(study: Any, _trial: Any) -> None:
        best = dict(study.best_params)
        rounds = best.pop("n_estimators")
        case.found(len(study.trials), abs(study.best_value), best | {"subsample_freq": 1}, rounds)

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=SEED))
    case.begin(end_in_time=True)
    study.optimize(objective, timeout=case.seconds, callbacks=[done])


def lightgbm_tuner_cv(case: Case) -> None:
    """Optuna's stepwise tuner as its example has it: up to 1,000 rounds, given up after 100 without progress."""
    import lightgbm as lgb
    import optuna
    from optuna_integration.lightgbm import LightGBMTunerCV

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    objective = {"binary": "binary", "multiclass": "multiclass", "regression": "regression"}[case.task]
    fixed = {"objective": objective, "metric": LIGHTGBM[case.metric], "verbosity": -1, "num_threads": THREADS}
    if case.task == "multiclass":
        fixed["num_class"] = len(np.unique(case.y))
    study = optuna.create_study(direction="maximize" if case.metric == "auc" else "minimize")
    prefix = "lightgbm_tuner:"

    def done(study: Any, _trial: Any) -> None:
        known = study.best_trial.system_attrs
        parameters = json.loads(known[f"{prefix}lgbm_params"])
        rounds = round(known[f"{prefix}elapsed_secs"] / known[f"{prefix}average_iteration_time"])
        own = {k: v for k, v in parameters.items() if k not in {*fixed, "feature_pre_filter"}}
        case.found(len(study.trials), study.best_value, own, rounds)

    case.begin(end_in_time=True)
    tuner = LightGBMTunerCV(
        fixed,
        lgb.Dataset(case.X, label=case.y),
        folds=case.folds,
        callbacks=[lgb.early_stopping(100, verbose=False)],
        time_budget=max(1, int(case.seconds)),
        study=study,
        optuna_callbacks=[done],
        optuna_seed=SEED,
        show_progress_bar=False,
    )
    tuner.run()


def flaml(case: Case) -> None:
    """FLAML's search over its own space of LightGBM, on the same folds; it keeps its time by itself."""
    from flaml import AutoML
    from sklearn.model_selection import PredefinedSplit

    log = case.path.with_suffix(".log")
    automl = AutoML()
    case.begin(end_in_time=False)
    automl.fit(
        X_train=case.X,
        y_train=case.y,
        task="regression" if case.task == "regression" else "classification",
        metric=FLAML[case.metric],
        estimator_list=["lgbm"],
        eval_method="cv",
        split_type=PredefinedSplit(case.of),
        time_budget=case.seconds,
        n_jobs=THREADS,
        seed=SEED,
        retrain_full=False,
        auto_augment=False,
        early_stop=False,
        log_file_name=str(log),
        log_type="all",
        verbose=0,
    )
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    best = dict(automl.best_config)
    rounds = best.pop("n_estimators")
    if "log_max_bin" in best:
        best["max_bin"] = (1 << int(best.pop("log_max_bin"))) - 1
    score = 1 - automl.best_loss if case.metric == "auc" else automl.best_loss
    case.found(sum("record_id" in line for line in lines), score, best, rounds)


RIVALS: dict[str, Callable[[Case], None]] = {
    "optuna": optuna_usual,
    "LightGBMTunerCV": lightgbm_tuner_cv,
    "flaml": flaml,
}


def main() -> None:
    name, folder, seconds = sys.argv[1:]
    warnings.simplefilter("ignore")
    RIVALS[name](Case(name, Path(folder), float(seconds)))


if __name__ == "__main__":
    main()
