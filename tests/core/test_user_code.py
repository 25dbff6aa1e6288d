"""Whatever ends the user's code, its own exit too, is an error that names its line; Ctrl-C is none."""

from __future__ import annotations

import ast
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import workbench
from tests.commands import forked_wb
from tests.small import Small
from workbench.core.errors import ConfigError, DataError, FeatureError, NotFoundError, TrainingError
from workbench.core.user_code import is_interrupt, user_code, user_frame
from workbench.rehearsal.host import load_metric

MODEL = "[model]\nnum_iterations = 3\nearly_stopping_round = 0\n"
ONE = 'features = ["rows.x"]\n' + MODEL
FEATURE = "import polars as pl\nfrom workbench.features import ROW, feature, target_stats\n\n@feature\ndef own(rows):\n"
EXIT = "    raise SystemExit(0)\n"


# ------------------------------------------------------------------------------------------------------ what becomes of it


def _sys_exit() -> None:
    sys.exit(0)


def _site_exit() -> None:
    raise SystemExit


def _argparse() -> None:
    import argparse

    argparse.ArgumentParser(prog="mine").parse_args(["--unknown"])


def _says_why() -> None:
    sys.exit("no data\nand more")


def _as_ctrl_c() -> None:
    raise KeyboardInterrupt


def _closing() -> None:
    raise GeneratorExit


class _OddError(BaseException):
    pass


def _odd() -> None:
    raise _OddError("odd")


def _through_polars() -> None:
    pl.LazyFrame({"a": [1]}).select(pl.col("a").map_elements(lambda _: sys.exit(3), return_dtype=pl.Int64)).collect()


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (_sys_exit, "SystemExit: 0"),
        (_site_exit, "SystemExit"),
        (_argparse, "SystemExit: 2"),
        (_says_why, "SystemExit: no data"),
        (_as_ctrl_c, "KeyboardInterrupt"),
        (_closing, "GeneratorExit"),
        (_odd, "_OddError: odd"),
        (_through_polars, "SystemExit: 3"),
    ],
)
def test_everything_is_an_error_with_its_line(function: Callable[[], None], said: str) -> None:
    line = function.__code__.co_firstlineno + (3 if function is _argparse else 1)
    with pytest.raises(ConfigError) as caught, user_code("it failed", ConfigError, hint="usual"):
        function()
    assert caught.value.message == f"it failed: {said} (test_user_code.py, line {line})"
    assert ("raise an error" in caught.value.hint) == ("SystemExit" in said)


def test_what_says_already_what_is_wrong_passes() -> None:
    for error in (DataError("mine"), MemoryError()):
        with pytest.raises(type(error)) as caught, user_code("it failed", ConfigError):
            raise error
        assert caught.value is error


def _interrupted() -> None:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(5)


def _cleans_up() -> None:
    try:
        _interrupted()
    except KeyboardInterrupt:
        time.sleep(0)
        raise


def _ends_by_it() -> None:
    try:
        _interrupted()
    except KeyboardInterrupt:
        sys.exit(1)


def _says_it_again() -> None:
    try:
        _interrupted()
    except KeyboardInterrupt as exc:
        raise KeyboardInterrupt("stopped") from exc


@pytest.mark.parametrize("function", [_interrupted, _cleans_up, _ends_by_it, _says_it_again])
def test_a_real_interrupt_passes(function: Callable[[], None]) -> None:
    with pytest.raises(KeyboardInterrupt), user_code("it failed", ConfigError):
        function()


def test_a_handler_of_ones_own_may_raise_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def handler(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, handler)
    try:
        with pytest.raises(KeyboardInterrupt), user_code("it failed", ConfigError):
            _interrupted()
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_generator_can_be_closed() -> None:
    def numbers() -> Any:
        with user_code("it failed", ConfigError):
            yield 1

    made = numbers()
    assert next(made) == 1
    made.close()


def test_the_last_line_of_the_users_own_is_named(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    path = tmp_path / "lib" / "deep.py"
    path.write_text("import json\n\ndef f():\n    return json.loads('{')\n")
    names: dict[str, Any] = {}
    exec(compile(path.read_text(), str(path), "exec"), names)
    with pytest.raises(ValueError, match="Expecting") as caught:
        names["f"]()
    assert user_frame(caught.value, tmp_path).endswith("(lib/deep.py, line 4)")
    assert user_frame(caught.value).endswith("(deep.py, line 4)")
    assert not is_interrupt(ValueError())


# ---------------------------------------------------------------------------------------------- every place that calls it


def _features(made: Small, text: str, chosen: str = "own") -> None:
    (made.folder / "features.py").write_text(text)
    made.experiment(1, f'features = ["rows.x", "{chosen}"]\n' + MODEL)


def _features_file(made: Small) -> None:
    _features(made, "import sys\n\nfrom workbench.features import feature\n\nsys.exit(0)\n")


def _file_beside(made: Small) -> None:
    _features(made, "import lib.deep\n")
    (made.folder / "lib").mkdir()
    (made.folder / "lib" / "deep.py").write_text("\nraise SystemExit(0)\n")


def _feature(made: Small) -> None:
    _features(made, FEATURE + EXIT)


def _feature_in_polars(made: Small) -> None:
    _features(
        made,
        FEATURE + "    def f(v):\n        exit(0)\n"
        "    return rows.select(ROW, q=pl.col('x').map_elements(f, return_dtype=pl.Float64))\n",
    )


def _one_of_two_features(made: Small) -> None:
    text = (
        FEATURE + "    def f(v):\n        exit(0)\n    return [pl.col('x').map_batches(f, return_dtype=pl.Float64)]\n"
    )
    _features(made, text + "\n@feature\ndef other(rows):\n    return [pl.col('x').alias('other')]\n")
    made.experiment(1, 'features = ["own", "other"]\n' + MODEL)


def _statistic(made: Small) -> None:
    text = FEATURE.partition("\n@")[0] + "\ndef odd(values):\n" + EXIT + "\nte = target_stats('town', stats=[odd])\n"
    _features(made, text, "te")


def _metric_file(made: Small) -> None:
    made.definition('metric = "auc"', 'metric = "metric.py:score"\ngreater_is_better = true')
    (made.folder / "metric.py").write_text("def score(t, p):\n    return 1.0\n\nquit()\n")


def _metric(made: Small) -> None:
    _metric_file(made)
    (made.folder / "metric.py").write_text("def score(t, p):\n" + EXIT)


def _objective(made: Small, text: str = "def own(predictions, labels, weights):\n" + EXIT) -> None:
    (made.folder / "objective.py").write_text(text)
    made.experiment(1, ONE + 'objective = "objective.py:own"\n')


def _objective_file(made: Small) -> None:
    _objective(made, "exit('no')\n")


def _split(made: Small, text: str = "def split(train):\n" + EXIT) -> None:
    (made.folder / "split.py").write_text(text)
    path = made.folder / "competition.toml"
    head = path.read_text().partition("[cv]")[0]
    path.write_text(head + '[cv]\nscheme = "custom"\nfunction = "split.py:split"\n')


def _split_file(made: Small) -> None:
    _split(made, "exit()\n")


def _python(made: Small, text: str = "def fit(X_train, y_train, X_valid, y_valid, X_test):\n" + EXIT) -> None:
    (made.folder / "models.py").write_text(text)
    made.experiment(1, 'features = ["rows.x"]\n[python]\nfunction = "models.py:fit"\n')


def _python_file(made: Small) -> None:
    _python(made, "import argparse\nargparse.ArgumentParser(prog='fit').parse_args(['--odd'])\n")


def _estimator(made: Small, where: str = "def fit(self, X, y):\n        raise SystemExit(0)") -> None:
    (made.folder / "mine_estimators.py").write_text(
        "from sklearn.linear_model import LogisticRegression\n\nclass Mine(LogisticRegression):\n    " + where + "\n"
    )
    made.experiment(1, 'features = ["rows.x"]\n[sklearn]\nestimator = "mine_estimators.Mine"\n')


def _estimator_file(made: Small) -> None:
    _estimator(made, "exit(0)")


PLACES = {
    "features.py": (_features_file, ConfigError, r"features.py can't be loaded: SystemExit: 0 \(features.py, line 5\)"),
    "a module that it imports": (_file_beside, ConfigError, r"SystemExit: 0 \(lib/deep.py, line 2\)"),
    "a feature": (_feature, FeatureError, r"feature 'own' .* failed: SystemExit: 0 \(features.py, line 6\)"),
    "a feature's function in polars": (
        _feature_in_polars,
        FeatureError,
        r"'own' .* SystemExit: 0 \(features.py, line 7\)",
    ),
    "one of several features": (_one_of_two_features, FeatureError, r"'own' .* SystemExit: 0 \(features.py, line 7\)"),
    "a statistic": (_statistic, FeatureError, r"statistic 'odd' failed .* SystemExit: 0 \(features.py, line 5\)"),
    "metric.py": (_metric_file, ConfigError, r"metric.py can't be loaded: SystemExit \(metric.py, line 4\)"),
    "the metric": (_metric, TrainingError, r"metric 'score' failed: SystemExit: 0 \(metric.py, line 2\)"),
    "objective.py": (_objective_file, ConfigError, r"can't be loaded: SystemExit: no \(objective.py, line 1\)"),
    "the objective": (_objective, TrainingError, r"objective .* failed: SystemExit: 0 \(objective.py, line 2\)"),
    "split.py": (_split_file, ConfigError, r"can't be loaded: SystemExit \(split.py, line 1\)"),
    "the split": (_split, DataError, r"cv.function .*: SystemExit: 0 \(split.py, line 2\)"),
    "models.py": (_python_file, ConfigError, r"can't be loaded: SystemExit: 2 \(models.py, line 2\)"),
    "the model": (_python, TrainingError, r"failed: SystemExit: 0 \(models.py, line 2\)"),
    "the estimator's module": (_estimator_file, ConfigError, r"SystemExit: 0 \(mine_estimators.py, line 4\)"),
    "the estimator": (_estimator, TrainingError, r"SystemExit: 0 \(mine_estimators.py, line 5\)"),
}


@pytest.mark.parametrize("place", PLACES)
def test_an_exit_is_an_error_of_the_place(small, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    prepare, error, message = PLACES[place]
    made = small(n_rows=200)
    made.experiment(1, ONE)
    monkeypatch.syspath_prepend(made.folder)
    prepare(made)
    with pytest.raises(error, match=message) as caught:
        made.open.run(1)
    assert "raise an error" in caught.value.hint
    for path in (made.folder / "runs").glob("001-*/run.json"):
        record = json.loads(path.read_text())["record"]
        assert record["status"] == "failed"
        assert "SystemExit" in record["error"]
    assert not list(made.folder.rglob("*.tmp"))
    sys.modules.pop("mine_estimators", None)


def test_an_exit_in_a_check_of_time(small) -> None:
    made = small(n_rows=200)
    later = (
        "    return rows.filter(exit(0) if rows.select(pl.len()).collect().item() < 180 else True).select(ROW, 'z')\n"
    )
    _features(made, FEATURE + later)
    with pytest.raises(FeatureError, match=r"on the data before .*: SystemExit: 0 \(features.py, line 6\)"):
        made.open.data.check_time(columns=["day"])


def test_an_exit_of_a_rehearsals_metric(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("\nexit(0)\n")
    with pytest.raises(NotFoundError, match=r"SystemExit: 0 \(mine.py, line 2\)"):
        load_metric("mine.py:half", tmp_path, greater_is_better=True)


@pytest.mark.slow
def test_the_command_says_so_once_and_fails(small) -> None:
    made = small(n_rows=200)
    _features_file(made)
    for arguments in (["run", "--exp", "1"], ["check"], ["features"]):
        ran = forked_wb(*arguments, cwd=made.folder)
        assert ran.returncode == 1
        assert ran.stderr.count("error:") == 1
        assert "Traceback" not in ran.stderr
        assert "(features.py, line 5)" in ran.stderr
    _feature(made)
    (made.folder / "features.py").write_text(FEATURE + "    import os\n    os._exit(0)\n")
    forked_wb("run", "--exp", "1", cwd=made.folder)
    ran = forked_wb("table", "--all", "--json", cwd=made.folder)
    # Nothing in the process can see that; the record can.
    assert [r["status"] for r in json.loads(ran.stdout)] == ["interrupted"]


def test_no_other_place_calls_it() -> None:
    """A module that imports or calls what the user wrote does so within `user_code`; a new one is listed here."""
    root = Path(workbench.__file__).parent
    names = {"load_code", "load_function", "exec", "function", "import_module"}
    places = set()
    for path in root.rglob("*.py"):
        tree = ast.parse(path.read_text())
        guarded = {
            id(inner)
            for node in ast.walk(tree)
            if isinstance(node, ast.With)
            and any(
                "user_code" in ast.unparse(i) or "as_error" in ast.unparse(i) or "_errors(" in ast.unparse(i)
                for i in node.items
            )
            for inner in ast.walk(node)
        }
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or id(node) in guarded:
                continue
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            literal = node.args and isinstance(node.args[0], ast.Constant | ast.JoinedStr)
            if called in names and not (called == "import_module" and literal):
                places.add(f"{path.relative_to(root).as_posix()}: {ast.unparse(node.func)}")
    assert places == {
        # They load within `as_error`.
        "data/competition/folder.py: load_code",
        "data/competition/folder.py: self.load_function",
        "experiments/recommend_run.py: competition.load_function",
        "experiments/recommend_spec.py: competition.load_function",
        "features/build.py: load_code",
        "models/folds.py: competition.load_function",
        "models/function_folds.py: load_code",
        "models/lightgbm/objectives.py: competition.load_function",
        # They are called by `Blocks`, `check_time` within it, and by a notebook's cell.
        "features/definition.py: self.function",
        "features/evaluate.py: self.feature.function",
        # A source is called by what `recommend_run` guards; a login is no code of the user's.
        "recommender/sources.py: function",
        "platforms/kaggle/login.py: function",
        # They import what is installed or the workbench's own.
        "__init__.py: importlib.import_module",
        "api/values.py: importlib.import_module",
        "features/code_modules.py: importlib.import_module",
        "experiments/notebooks/extra.py: importlib.import_module",
        "core/packed.py: import_module",
        "platforms/protocol.py: importlib.import_module",
        "models/model_request.py: importlib.import_module",
        "models/registry.py: importlib.import_module",
        "experiments/runner.py: import_module",
        "models/sklearn_folds.py: importlib.import_module",
    }
