"""`wb tune` against other tuners of LightGBM: the same rows, the same five folds, two threads, the same wall clock.

Five minutes each on five real tables (`tune_tables`); rivals (`tune_theirs`) are Optuna with the usual objective,
`LightGBMTunerCV` and FLAML. `--scale` scales the minutes. What is compared is the score on rows that nobody has seen.

The last step is one function for all: what each found is trained on all train rows, by `lightgbm.train` with the same
seeds, and this is not on anyone's clock. Nobody's folds are averaged there, ours neither, so that what is measured is
the parameters. Rounds that a tool counts by early stopping on four fifths of the rows (ours and `LightGBMTunerCV`'s) are
made a quarter more, in proportion to the rows; where the number of rounds was searched (Optuna, FLAML) it is taken as
found. The score is the mean over three seeds, of one where there are many rows. Who has finished nothing in the time
gets LightGBM's defaults. Trials are those that finished or were pruned. Our clock runs from the start of the process,
the rivals' from when they have the data.

A part of it, without ours where there is no `wb tune`::

    python -m tests.bench.tune --table adult --who flaml --seconds 60
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tests.bench.tune_tables import TABLES, Table
from workbench.api import library
from workbench.data.competition import Competition
from workbench.data.workspace import Workspace, create_workspace
from workbench.experiments.tune import find_study
from workbench.metrics import get as get_metric
from workbench.models.folds import load_folds
from workbench.rehearsal import RehearsalSpec, create

SECONDS, THREADS = 300.0, 2
OURS = "wb tune"
RIVALS = ("optuna", "LightGBMTunerCV", "flaml")
SEEDS, MANY_ROWS = (1, 2, 3), 100_000
N_FOLDS = 5
PATIENCE = 100
FIXED = {
    *("num_iterations", "early_stopping_round", "num_threads", "verbosity", "metric", "objective", "num_class"),
    *("deterministic", "force_col_wise", "seed"),
}
"""What the last step decides for all; the rest of the parameters is what was found."""

OBJECTIVES = {"binary": "binary", "multiclass": "multiclass", "regression": "regression"}


@dataclass(frozen=True)
class Found:
    """What a tuner had when its time was over.

    `parameters` by any of LightGBM's names, without the rounds; `cv` is its own score of them, None where there is none;
    `searching` are the seconds that the trials took, where it does something else, too.
    """

    parameters: dict[str, Any]
    rounds: int
    trials: int
    seconds: float
    cv: float | None
    searching: float | None = None


def cases(scale: float) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for make in TABLES.values():
        table = make()
        with tempfile.TemporaryDirectory() as folder:
            measured = measure(table, Path(folder), (OURS, *RIVALS), SECONDS * scale)
        rows += _rows(table, measured)
    return rows


def measure(table: Table, here: Path, who: tuple[str, ...], seconds: float) -> dict[str, dict[str, Any]]:
    """Let each tune for so long, one after the other, and score what it found on the hold-out."""
    competition = prepare(table, here)
    measured = {}
    for name in who:
        tuner = ours if name == OURS else theirs
        found = tuner(name, competition, here, seconds)
        score = holdout_score(table, found)
        measured[name] = {
            "score": score,
            "cv": found.cv,
            "trials": found.trials,
            "per_minute": 60 * found.trials / found.seconds,
            "per_minute_of_trials": 60 * found.trials / (found.searching or found.seconds),
            "seconds": found.seconds,
            "rounds": found.rounds,
            "parameters": found.parameters,
        }
        print("# " + json.dumps({"table": table.name, "who": name, **measured[name]}), file=sys.stderr, flush=True)
    return measured


def _rows(table: Table, measured: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    greater = get_metric(table.metric).greater_is_better
    rows = []
    for key, measure, unit, sign in (
        ("score", table.metric, "", 1 if greater else -1),
        ("per_minute", "trials per minute", "", 1),
        ("per_minute_of_trials", "the same, without full and second scores", "", 1),
        ("seconds", "wall clock", "s", -1),
    ):
        values = {name: m[key] for name, m in measured.items()}
        mine = values.pop(OURS)
        ratio = {name: (mine / v) ** sign if v else None for name, v in values.items()}
        rows.append(
            {"case": table.name, "measure": measure, "unit": unit, "ours": mine, "theirs": values, "ratio": ratio}
        )
    return rows


def prepare(table: Table, here: Path) -> Competition:
    """Make a rehearsal competition of a table, with its hold-out as the test rows, and what the rivals read."""
    both = [table.train.with_columns(held=pl.lit(0)), table.holdout.with_columns(held=pl.lit(1))]
    source = here / "all.parquet"
    pl.concat(both).write_parquet(source)
    workspace = create_workspace(here / "workspace")
    spec = RehearsalSpec(
        train=source, targets=(table.target,), metric=table.metric, after=("held", "1"), drop=("held",), task=table.task
    )
    create(workspace.root, table.name, spec)
    _define(workspace, table)
    library.fetch(table.name, where=workspace)
    competition = library.OpenCompetition(workspace, table.name).access.competition
    competition.paths.experiment(1).write_text('features = ["rows"]\n\n[model]\n')
    np.save(here / "folds.npy", load_folds(competition).valid)
    competition.table("train").drop("row_id").collect().write_parquet(here / "train.parquet")
    told = {"target": table.target, "task": table.task, "metric": table.metric}
    (here / "case.json").write_text(json.dumps(told))
    return competition


def _define(workspace: Workspace, table: Table) -> None:
    """Write the definition ourselves: what `wb fetch` makes of a table's columns is not what is compared."""
    scheme = "kfold" if table.task == "regression" else "stratified"
    (workspace.competitions / table.name / "competition.toml").write_text(
        f'slug = "{table.name}"\nplatform = "rehearsal"\ntask = "{table.task}"\nid = "row_id"\n'
        f'target = "{table.target}"\nmetric = "{table.metric}"\n'
        '[tables]\ntrain = "train"\ntest = "test"\nsample_submission = "sample_submission"\n'
        f'[cv]\nscheme = "{scheme}"\nfolds = {N_FOLDS}\nseed = 42\n'
    )


def ours(_name: str, competition: Competition, here: Path, seconds: float) -> Found:
    """Run the command as a user does, on an experiment with no parameters of its own."""
    command = [str(Path(sys.executable).parent / "wb"), "tune", "--exp", "1", "--minutes", str(seconds / 60)]
    command += ["-c", competition.slug, "--threads", str(THREADS), "--json"]
    started = time.perf_counter()
    done = subprocess.run(command, cwd=here / "workspace", capture_output=True, text=True, check=False)
    spent = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}\n{done.stdout}")
    said = json.loads(done.stdout)
    best = said["best"]
    if best is None:
        return Found({}, 100, said["trials"], spent, None)
    parameters = {k: v for k, v in best["parameters"].items() if k not in FIXED}
    per_fold = best.get("rounds") or _counted_rounds(here, parameters, best["parameters"])
    rounds = round(float(np.mean(per_fold)) * N_FOLDS / (N_FOLDS - 1))
    trials = find_study(competition, 1)[0].get_trials(deepcopy=False)
    times = [t.datetime_complete - t.datetime_start for t in trials if t.datetime_start and t.datetime_complete]
    searching = sum(time.total_seconds() for time in times)
    return Found(parameters, rounds, said["trials"], spent, best["score"], searching)


def _counted_rounds(here: Path, parameters: dict[str, Any], given: dict[str, Any]) -> int:
    """Return the rounds of early stopping on the folds, where the command does not say them."""
    import lightgbm as lgb

    told = json.loads((here / "case.json").read_text())
    frame, folds = pl.read_parquet(here / "train.parquet"), np.load(here / "folds.npy")
    X, y = frame.drop(told["target"]), frame[told["target"]].to_numpy()
    names = {"auc": "auc", "logloss": "binary_logloss", "mlogloss": "multi_logloss", "rmse": "rmse"}
    fixed = _fixed(told["task"], y, 1) | {"metric": names[told["metric"]]}
    pairs = [(np.flatnonzero(folds != k), np.flatnonzero(folds == k)) for k in range(N_FOLDS)]
    most = max(5_000, int(given.get("num_iterations", 0)))
    patience = int(given.get("early_stopping_round", PATIENCE)) or PATIENCE
    stop = lgb.early_stopping(patience, verbose=False)
    curves = lgb.cv(parameters | fixed, lgb.Dataset(X, label=y), most, folds=pairs, callbacks=[stop])
    return len(next(iter(curves.values())))


def theirs(name: str, _competition: Competition, here: Path, seconds: float) -> Found:
    """Run a rival in a process of its own."""
    # -P: modules of this folder have names of the standard library's.
    command = [sys.executable, "-P", str(Path(__file__).with_name("tune_theirs.py")), name, str(here), str(seconds)]
    done = subprocess.run(command, cwd=here, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    lines = [json.loads(line) for line in (here / f"{name}.jsonl").read_text().splitlines()]
    if not lines:
        return Found({}, 100, 0, seconds, None)
    last = lines[-1]
    rounds = last["rounds"] * N_FOLDS / (N_FOLDS - 1) if name == "LightGBMTunerCV" else last["rounds"]
    return Found(last["parameters"], round(rounds), last["trials"], max(seconds, last["seconds"]), last["score"])


def holdout_score(table: Table, found: Found) -> float:
    """Train on all train rows with what was found, and score the hold-out; the mean over the seeds."""
    import lightgbm as lgb

    metric = get_metric(table.metric)
    y, truth = table.train[table.target].to_numpy(), table.holdout[table.target].to_numpy()
    seeds = SEEDS[:1] if table.train.height > MANY_ROWS else SEEDS
    scores = []
    for seed in seeds:
        data = lgb.Dataset(table.train.drop(table.target), label=y)
        fixed = _fixed(table.task, y, seed)
        booster = lgb.train(found.parameters | fixed, data, num_boost_round=max(1, found.rounds))
        scores.append(metric(truth, booster.predict(table.holdout.drop(table.target))))
    return float(np.mean(scores))


def _fixed(task: str, y: Any, seed: int) -> dict[str, Any]:
    fixed = {"objective": OBJECTIVES[task], "num_threads": THREADS, "verbosity": -1, "seed": seed}
    return fixed | ({"num_class": len(np.unique(y))} if task == "multiclass" else {})


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.tune", description="a part of the comparison")
    parser.add_argument("--table", choices=list(TABLES), action="append", help="default: all")
    parser.add_argument("--who", choices=[OURS, *RIVALS], action="append", help="default: all")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    arguments = parser.parse_args()
    for name in arguments.table or list(TABLES):
        folder = Path(tempfile.mkdtemp())
        try:
            measure(TABLES[name](), folder, tuple(arguments.who or (OURS, *RIVALS)), arguments.seconds)
        finally:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
