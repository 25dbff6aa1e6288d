"""An experiment's number is used once, whatever became of its file, and whoever else takes one at the same time."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.small import Small, make_small
from workbench.api import library
from workbench.core.cache import create_text
from workbench.core.errors import LedgerError
from workbench.data.competition import create_experiment, next_number
from workbench.data.workspace import Workspace, create_workspace
from workbench.ledger import Ledger

RUN = "20260101T000000-0123abcd"


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    place = create_workspace(tmp_path / "workspace")
    (place.competitions / "one" / "experiments").mkdir(parents=True)
    (place.competitions / "one" / "competition.toml").write_text("")
    return place


@pytest.mark.parametrize(
    ("trace", "number"),
    [
        ("competitions/one/experiments/007.toml", 8),
        ("competitions/one/experiments/1204.toml", 1205),
        (f"competitions/one/runs/012-{RUN}/run.json", 13),
        (f"competitions/one/runs/1000-{RUN}/run.json", 1001),
        ("competitions/one/studies/031/journal.log", 32),
        ("competitions/one/kernels/004/predict.ipynb", 5),
        ("competitions/one/selections/006-null.toml", 7),
        ("notebooks/one-009.ipynb", 10),
        ("notebooks/one-009.py", 10),
        (f"submissions/one/021-{RUN}.csv", 22),
        (f"submissions/one/021-{RUN}.v3.abcdef.json", 22),
        # What says nothing of this competition's experiments.
        ("competitions/one/experiments/notes.toml", 1),
        ("competitions/one/experiments/²³.toml", 1),
        ("competitions/one/experiments/050.toml.bak", 1),
        ("competitions/one/runs/.044.lock", 1),
        ("competitions/one/selections/2024-best.toml", 1),
        (f"competitions/two/runs/012-{RUN}/run.json", 1),
        ("notebooks/one-more-009.ipynb", 1),
        (f"submissions/two/021-{RUN}.csv", 1),
    ],
)
def test_every_trace_of_a_number_counts(place: Workspace, trace: str, number: int) -> None:
    path = place.root / trace
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    assert next_number(place, "one") == number


@settings(max_examples=40)
@given(st.lists(st.tuples(st.sampled_from(["file", "run", "sent"]), st.integers(1, 3000)), max_size=8))
def test_the_next_number_is_one_more_than_the_largest(tmp_path_factory, traces: list[tuple[str, int]]) -> None:
    place = create_workspace(tmp_path_factory.mktemp("numbers"))
    folder = place.competitions / "one"
    for kind, n in traces:
        path = {
            "file": folder / "experiments" / f"{n:03d}.toml",
            "run": folder / "runs" / f"{n:03d}-{RUN}" / "run.json",
            "sent": place.submissions / "one" / f"{n:03d}-{RUN}.csv",
        }[kind]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    largest = max((n for _, n in traces), default=0)
    assert create_experiment(place, "one", "x")[0] == largest + 1
    assert create_experiment(place, "one", "x")[0] == largest + 2


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a workspace with three experiments, of which the last was run."""
    made = make_small(tmp_path_factory.mktemp("numbers") / "workspace", n_rows=200)
    for number in (1, 2, 3):
        made.experiment(
            number,
            f'title = "the old {number}"\nfeatures = ["rows.x"]\n'
            f"[model]\nnum_iterations = {number}\nearly_stopping_round = 0\n",
        )
    made.open.run(3)
    return made.workspace.root


@pytest.fixture
def ran(template: Path, tmp_path: Path) -> Small:
    shutil.copytree(template, tmp_path / "workspace")
    return Small(Workspace(tmp_path / "workspace"), "small")


def test_a_deleted_experiments_number_is_not_used_again(ran: Small) -> None:
    (ran.folder / "experiments" / "003.toml").unlink()
    path = ran.open.experiments.new(title="another")
    assert path.name == "004.toml"
    assert "base = 2" in path.read_text()  # the newest that has a file


def test_nor_where_only_the_ledger_knows_of_it(ran: Small) -> None:
    (ran.folder / "experiments" / "003.toml").unlink()
    shutil.rmtree(ran.folder / "runs")
    with Ledger.open(ran.workspace.ledger) as ledger:
        assert ledger.largest_experiment("small") == 3
        assert ledger.largest_experiment("other") == 0
    assert ran.open.experiments.new().name == "004.toml"


def test_a_baseline_does_not_take_the_number_of_runs_that_are_there(ran: Small) -> None:
    shutil.rmtree(ran.folder / "experiments")
    fetched = library.fetch("small", where=ran.workspace)
    assert [p.name for p in fetched.written] == ["004.toml"]
    assert "baseline" in fetched.written[0].read_text()
    assert library.fetch("small", where=ran.workspace).written == ()


def test_a_notebook_that_is_left_is_not_written_over(ran: Small) -> None:
    left = ran.workspace.root / "notebooks" / "small-009.ipynb"
    left.write_text("mine")
    notebook, experiment = ran.open.experiments.new_notebook(3)
    assert (notebook.name, experiment.name) == ("small-010.ipynb", "010.toml")
    assert left.read_text() == "mine"
    assert 'file = "small-010.ipynb"' in experiment.read_text()


def test_without_the_ledger_no_number_is_guessed(ran: Small) -> None:
    (ran.workspace.submissions / "ledger.db").write_bytes(b"no database" * 100)
    with pytest.raises(LedgerError, match="the next experiment of 'small' can't be numbered without the ledger"):
        ran.open.experiments.new()
    assert ran.open.access.competition.paths.experiment_numbers() == [1, 2, 3]


MANY = """
import json, sys, time
from pathlib import Path
from workbench.api import library
from workbench.data.workspace import Workspace
root, barrier, name, kind = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4]
opened = library.OpenCompetition(Workspace(root), "one")
(barrier / name).touch()
while len(list(barrier.iterdir())) < 3:
    time.sleep(0.001)
paths = []
for n in range(6):
    if kind == "notebook":
        paths += opened.experiments.adopt(root / "mine.py", title=f"{name} {n}")[:2]
    else:
        paths.append(opened.experiments.new(title=f"{name} {n}", source=1))
print(json.dumps([str(p) for p in paths]))
"""


@pytest.mark.slow
def test_processes_at_the_same_time_never_get_the_same(place: Workspace, tmp_path: Path) -> None:
    barrier = tmp_path / "barrier"
    barrier.mkdir()
    definition = 'slug = "one"\nplatform = "rehearsal"\ntask = "binary"\nid = "id"\ntarget = "y"\nmetric = "auc"\n'
    definition += '[tables]\ntrain = "train"\ntest = "test"\nsample_submission = "sample"\n[cv]\nscheme = "kfold"\n'
    (place.competitions / "one" / "competition.toml").write_text(definition)
    (place.competitions / "one" / "experiments" / "001.toml").write_text('features = ["rows"]\n[model]\n')
    (place.root / "mine.py").write_text("# %%\nprint(1)\n")
    started = [
        subprocess.Popen(
            [sys.executable, "-c", MANY, str(place.root), str(barrier), f"p{k}", "notebook" if k == 2 else "new"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for k in range(3)
    ]
    outputs = [p.communicate() for p in started]
    assert [p.returncode for p in started] == [0] * 3, outputs
    paths = [Path(p) for out, _ in outputs for p in json.loads(out)]
    assert len(set(paths)) == len(paths) == 2 * 6 + 12
    experiments = {p for p in paths if p.suffix == ".toml"}
    assert len(experiments) == 18
    titles = [p.read_text().partition("\n")[0] for p in experiments]
    assert len(set(titles)) == 18  # nobody's was written over
    assert not list(place.competitions.rglob("*.tmp"))
    for notebook in (p for p in paths if p.suffix != ".toml"):
        number = notebook.stem.removeprefix("one-")
        assert (
            f'file = "{notebook.name}"' in (place.competitions / "one" / "experiments" / f"{number}.toml").read_text()
        )


def test_a_file_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "a.toml"
    assert create_text(path, "first")
    assert not create_text(path, "second")
    assert path.read_text() == "first"
    assert [p.name for p in path.parent.iterdir()] == ["a.toml"]


def test_a_file_is_made_once_where_files_have_one_name_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted", str(self))

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    path = tmp_path / "a.toml"
    assert create_text(path, "first")
    assert not create_text(path, "second")
    assert path.read_text() == "first"
