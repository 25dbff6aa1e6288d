"""The command as a person and a program see it: real processes, exit codes, JSON, messages."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import pytest

from tests.commands import Ended, Started, forked_wb, fresh_wb, start_forked
from tests.needs import skip_unless
from tests.quick_run import ALL, QUICK
from tests.small import Small
from workbench.api import library
from workbench.cli import app
from workbench.cli.app import COMMANDS
from workbench.cli.interrupt import RESUMPTIONS, Interrupted, resumption

ROWS = ["rehearse", "x", "--train", "n", "--target", "y", "--metric", "auc"]
LOG = [
    "rehearse",
    "x",
    "--train",
    "n",
    "--metric",
    "map@3",
    "--task",
    "recommend",
    "--user",
    "u",
    "--item",
    "i",
    "--time",
    "t",
    "--horizon",
    "7d",
]


wb = forked_wb


@pytest.fixture
def made(small: Any) -> Small:
    made: Small = small()
    made.experiment(1, 'title = "first"\n' + ALL + QUICK)
    return made


def test_show_has_the_rounds_and_the_curves(made: Small) -> None:
    made.experiment(1, "refit = true\nseeds = [1, 2]\n" + ALL + QUICK)
    run = made.open.run(1)
    shown = wb("show", "1", cwd=made.folder).stdout
    models = json.loads(wb("show", "1", "--json", cwd=made.folder).stdout)["models"]
    of_seed = [m for m in models if m["seed"] == 2]
    assert [m["fold"] for m in of_seed] == [0, 1, 2, 3, 4, -1]
    line = " ".join(str(m["rounds"]) for m in of_seed[:5]) + f" all rows: {of_seed[5]['rounds']}"
    assert f"rounds s2     {line}" in shown
    assert f"\nfolder        {run.folder.relative_to(made.folder)}\n" in shown  # where the shell finds it
    first = of_seed[0]
    assert first["curve"][first["rounds"] - 1] == pytest.approx(run.record.seed_scores[1][0], abs=1e-6)


def test_the_loop_from_nothing(tmp_path: Path) -> None:
    from tests.small import make_frame

    make_frame(300).write_csv(tmp_path / "mine.csv")
    here = tmp_path / "bench"
    assert wb("init", "bench", cwd=tmp_path).returncode == 0
    for command in (
        "rehearse mine --train ../mine.csv --target y --metric auc --holdout 0.2",
        "fetch mine",
        "run --exp 1",
        "submit --exp 1",
        "table",
        "show 1",
        "sync",
        "doctor",
    ):
        done = wb(*command.split(), cwd=here)
        assert done.returncode == 0, (command, done.stderr)
        assert "Traceback" not in done.stderr
    rows = json.loads(wb("table", "--json", cwd=here).stdout)
    assert [r["exp"] for r in rows] == [1]
    assert rows[0]["public_score"] is not None


def test_json_is_all_there_is_on_stdout(made: Small) -> None:
    here = made.workspace.root
    run = json.loads(wb("run", "--exp", "1", "--json", cwd=here).stdout)
    for key in (
        "exp",
        "run_id",
        "status",
        "metric",
        "cv_mean",
        "cv_std",
        "cv_folds",
        "oof",
        "test",
        "submission",
        "seconds",
    ):
        assert key in run
    assert Path(run["submission"]).exists()
    sent = json.loads(wb("submit", "--exp", "1", "--json", cwd=here).stdout)
    for key in [
        "submission_id",
        "exp",
        "run_id",
        "cv_mean",
        "file",
        "sha256",
        "ref",
        "status",
        "public_score",
        "private_score",
        "remaining_today",
    ]:
        assert key in sent
    assert sent["remaining_today"] == 4
    assert isinstance(json.loads(wb("table", "--json", cwd=here).stdout), list)
    for command in (["show", "1"], ["sync"], ["doctor"], ["fetch", "small"], ["new"], ["ledger", "rebuild"]):
        json.loads(wb(*command, "--json", cwd=here).stdout)


def test_a_batch_goes_on_after_a_failure(made: Small) -> None:
    made.experiment(2, "features = ['nothing']\n" + QUICK)
    made.experiment(3, ALL + QUICK)
    done = wb("run", "--exp", "1-3", cwd=made.workspace.root)
    assert done.returncode == 1
    assert "error: experiment 2:" in done.stderr
    assert done.stdout.count("auc 0.") == 2
    results = json.loads(wb("run", "--exp", "1-3", "--json", cwd=made.workspace.root).stdout)
    assert ["error" in r for r in results] == [False, True, False]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["run", "--exp", "9"], 1, "has no experiment 9"),
        (["run", "--exp", "x"], 1, "write numbers and ranges"),
        (["run"], 2, "Missing option '--exp'"),
        (["rnu", "--exp", "1"], 2, "did you mean 'run'"),
        (["run", "--exp", "1", "-c", "smoll"], 1, "did you mean 'small'"),
        (["run", "1", "--exp", "2"], 2, "the argument is experiment 1, but --exp is 2"),
        (["run", "1", "2", "--exp", "1-3"], 2, "the argument is experiment 1,2, but --exp is 1-3"),
        (["submit", "1", "--exp", "2"], 2, "the argument is experiment 1, but --exp is 2"),
        (["check", "1", "--exp", "2"], 2, "the argument is experiment 1, but --exp is 2"),
        (["check", "1", "2"], 2, "expected one experiment, got 1, 2"),
        (["select"], 2, "wb select 3"),
        (["kernel", "push"], 2, "wb kernel push 3"),
        (["tune"], 2, "expected one of --exp, --show and --dashboard"),
        (["tune", "1", "--show", "2"], 2, "expected one of --exp, --show and --dashboard"),
        (["run", "--exp", "1", "--sample", "2"], 1, "between 0 and 1"),
        (["show", "7"], 1, "was never run"),
        (["submit", "--exp", "7"], 1, "was never run"),
        (["fetch", "nothing", "--platform", "rehearsal"], 1, "there is no local competition 'nothing'"),
        (["table", "--sort", "cvv"], 1, "did you mean 'cv'"),
        (["rehearse", "x", "--train", "no.csv", "--target", "y", "--metric", "auc", "--holdout", "0.2"], 1, "no.csv"),
        (
            ["rehearse", "x", "--train", "n", "--target", "y", "--metric", "auc", "--after", "day"],
            2,
            "expected COL=VALUE",
        ),
        (["rehearse", "x", "--train", "n", "--metric", "auc"], 2, "Missing option '--target'"),
        ([*ROWS, "--horizon", "7d"], 2, "--horizon is for --task recommend"),
        ([*LOG, "--holdout", "0.2"], 2, "--holdout is not for --task recommend"),
        ([*LOG, "--less-is-better"], 2, "--greater-is-better is not for --task recommend"),
        (LOG[:-2], 2, "Missing option '--horizon', which --task recommend needs"),
        ([*LOG[:-1], "28 days"], 2, "--horizon '28 days': expected a duration such as 28d"),
        ([*LOG, "--kind", "k", "--weights", "clicks"], 2, "--weights 'clicks': expected KIND=W,KIND=W"),
        ([*LOG, "--id", "a", "--id", "b"], 2, "--task recommend takes at most one --id and one --target"),
        ([*LOG, "--weights", "clicks=1"], 1, "no column of types is named"),
        (LOG, 1, "there is no file n"),
    ],
)
def test_what_is_wrong_is_explained_without_a_traceback(
    made: Small, arguments: list[str], code: int, message: str
) -> None:
    done = wb(*arguments, cwd=made.workspace.root)
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    as_json = wb(*arguments, "--json", cwd=made.workspace.root)
    assert as_json.returncode == code
    error = json.loads(as_json.stdout)["error"]
    assert set(error) == {"type", "message", "hint"}


def test_outside_a_workspace(tmp_path: Path) -> None:
    done = wb("table", cwd=tmp_path)
    assert done.returncode == 1
    assert "wb init DIR" in done.stderr
    assert wb("--help", cwd=tmp_path).returncode == 0
    # To be outside is no fault: it is said what to do.
    doctor = wb("doctor", "--json", cwd=tmp_path)
    (line,) = (c for c in json.loads(doctor.stdout)["checks"] if c["name"] == "workspace")
    assert (line["level"], line["ok"]) == ("note", True)
    assert "wb init DIR" in line["detail"]


def test_where_the_competition_comes_from(made: Small, tmp_path: Path) -> None:
    here = made.workspace.root
    (here / "competitions" / "other").mkdir()
    (here / "competitions" / "other" / "competition.toml").write_text("")
    done = wb("table", cwd=here)
    assert done.returncode == 1
    assert "it has other, small" in done.stderr
    assert wb("table", "-c", "small", cwd=here).returncode == 0
    assert wb("table", cwd=here, env={"WB_COMPETITION": "small"}).returncode == 0
    inside = wb("table", cwd=made.folder, env={"WB_COMPETITION": "other"})
    assert inside.returncode == 0, inside.stderr
    away = wb("table", "-c", "small", cwd=tmp_path.parent, env={"WB_WORKSPACE": str(here)})
    assert away.returncode == 0, away.stderr


def test_the_beginning_of_a_name_is_enough(made: Small) -> None:
    here = made.workspace.root
    for slug in ("smaller", "other"):
        (here / "competitions" / slug).mkdir()
        (here / "competitions" / slug / "competition.toml").write_text("")
    assert wb("new", "-c", "small", cwd=here).returncode == 0  # what it is called comes before what begins so
    several = wb("table", "-c", "sma", cwd=here)
    assert several.returncode == 1
    assert "several competitions begin with 'sma': small, smaller" in several.stderr
    assert wb("table", "-c", "o", cwd=here).stdout.startswith("no run of 'other' yet")
    (here / "competitions" / "smaller" / "competition.toml").unlink()
    assert wb("table", "-c", "sm", cwd=here).returncode == 0
    assert wb("table", cwd=here, env={"WB_COMPETITION": "sm"}).returncode == 0
    assert library.competition("sm", where=made.workspace).slug == "small"
    # A folder of that name is meant, though it is no competition yet, and not another that begins so.
    assert wb("table", "-c", "smaller", cwd=here).returncode == 1
    (here / "competitions" / "sma").mkdir()
    assert wb("table", "-c", "sma", cwd=here).returncode == 1


@pytest.mark.slow
def test_an_experiment_is_an_argument_or_an_option(made: Small) -> None:
    here = made.workspace.root
    ran = json.loads(wb("run", "1", "--json", cwd=here).stdout)
    for words in (["1"], ["001"], ["--exp", "1"], ["1", "--exp", "1"]):
        again = json.loads(wb("run", *words, "--json", cwd=here).stdout)
        assert (again["run_id"], again["how"]) == (ran["run_id"], "unchanged")
        assert json.loads(wb("show", *words, "--json", cwd=here).stdout)["run_id"] == ran["run_id"]
        assert json.loads(wb("submit", *words, "--dry-run", "--json", cwd=here).stdout)["run_id"] == ran["run_id"]
    made.experiment(2, ALL + QUICK.replace("20", "10"))
    made.experiment(3, ALL + QUICK.replace("20", "15"))
    for words in (["1-3"], ["1", "2,3"], ["--exp", "1-3"], ["1", "2", "3", "--exp", "1-3"]):
        assert [r["exp"] for r in json.loads(wb("run", *words, "--json", cwd=here).stdout)] == [1, 2, 3]


def test_the_features_of_an_experiment(made: Small) -> None:
    here = made.workspace.root
    made.experiment(2, "features = ['rows', 'ratio.ratio']\n" + QUICK)
    made.experiment(3, "features = ['rows']\n" + QUICK)
    everything = [f["name"] for f in json.loads(wb("features", "--json", cwd=here).stdout)]
    assert len(everything) > 1
    for words in (["2"], ["--exp", "2"], ["2", "--exp", "2"]):
        listed = json.loads(wb("features", *words, "--json", cwd=here).stdout)
        assert [f["name"] for f in listed] == ["ratio"]
    assert json.loads(wb("features", "3", "--json", cwd=here).stdout) == []


def test_what_fetch_says_is_one_thing_a_line(tmp_path: Path) -> None:
    lines = ["id,release,y", *(f"{i},{('10.1', '10.10', '9.2')[i % 3]},{i % 2}" for i in range(60))]
    (tmp_path / "apps.csv").write_text("\n".join(lines))
    wb("init", "here", cwd=tmp_path)
    here = tmp_path / "here"
    host = ["--train", "../apps.csv", "--target", "y", "--metric", "auc", "--holdout", "0.3"]
    assert wb("rehearse", "apps", *host, cwd=here).returncode == 0
    said = wb("fetch", "apps", cwd=here).stderr.splitlines()
    tables = ("train", "test", "sample_submission")
    assert sorted(line for line in said if line.startswith("converting")) == sorted(f"converting {t}" for t in tables)
    assert [line for line in said if "'release' is a code, left as text" in line]
    assert not any("?" in line or "\r" in line for line in said)


def test_another_ledger(made: Small, tmp_path: Path) -> None:
    url = {"WB_LEDGER_URL": f"sqlite:///{tmp_path}/other.db"}
    assert wb("run", "--exp", "1", cwd=made.workspace.root, env=url).returncode == 0
    assert (tmp_path / "other.db").exists()
    assert not made.workspace.ledger.exists()
    assert json.loads(wb("table", "--json", cwd=made.workspace.root, env=url).stdout)


def test_warnings_need_an_answer(made: Small) -> None:
    here = made.workspace.root
    wb("run", "--exp", "1", cwd=here)
    assert wb("submit", "--exp", "1", cwd=here).returncode == 0
    again = wb("submit", "--exp", "1", cwd=here)
    assert again.returncode == 1
    assert "the same bytes were sent before" in again.stdout
    assert "--yes" in again.stderr
    assert wb("submit", "--exp", "1", "--dry-run", cwd=here).returncode == 0
    assert wb("submit", "--exp", "1", "--yes", cwd=here).returncode == 0


def in_a_terminal(cwd: Path, *arguments: str, answer: str = "") -> tuple[int, str]:
    """Run `wb` in a terminal of its own, where the answer is typed once it asks."""
    descriptor, follower = pty.openpty()
    process = start_forked(arguments, cwd, {}, [Path(os.ttyname(follower))] * 3)

    def close_at_the_end() -> None:
        process.join(60)
        process.kill()
        os.close(follower)

    closing = threading.Thread(target=close_at_the_end)
    closing.start()
    shown = b""
    try:
        while piece := os.read(descriptor, 1024):
            shown += piece
            if answer and b"[y/N]:" in shown:
                time.sleep(0.3)  # until it reads; readline prints codes of its own behind the question
                os.write(descriptor, answer.encode())
                answer = ""
    except OSError:  # so Linux says that there is no more
        pass
    closing.join()
    os.close(descriptor)
    process.join()
    assert process.exitcode is not None
    return process.exitcode, shown.decode()


def test_a_person_is_asked_before_anything_is_sent(made: Small) -> None:
    here = made.workspace.root
    wb("run", "1", cwd=here)
    code, shown = in_a_terminal(here, "submit", "1", answer="n\n")
    assert code == 1
    assert "send it? [y/N]:" in shown
    assert "nothing was sent" in shown
    assert made.open.submissions.records() == []
    record = made.open.runs[1].record
    rows = len(made.open.runs[1].test)
    for part in (
        "experiment    1  first",
        f"run           {record.run_id}",
        f"auc {record.cv_mean:.5f}, fold SD {record.cv_std:.5f}, 95 % interval 0.",
        f"file          {rows:,} rows, ",
        "left today    5 of 5 submissions",
        "compared with nothing, as this is the first submission",
        "no issues found",
    ):
        assert part in shown
    code, shown = in_a_terminal(here, "submit", "1", answer="\n")
    assert (code, made.open.submissions.records()) == (1, [])
    code, shown = in_a_terminal(here, "submit", "1", answer="\x03")
    assert (code, made.open.submissions.records()) == (130, [])
    code, shown = in_a_terminal(here, "submit", "1", answer="y\n")
    assert code == 0
    assert len(made.open.submissions.records()) == 1
    code, shown = in_a_terminal(here, "submit", "1", answer="n\n")
    assert "send it anyway? [y/N]" in shown
    assert "left today    4 of 5" in shown
    assert f"compared with experiment 1: public {made.open.submissions.records()[0].public_score:.5f}" in shown
    for words in (["--yes"], ["-y", "--json"]):
        code, shown = in_a_terminal(here, "submit", "1", *words)
        assert code == 0
        assert "[y/N]" not in shown
    asked_nothing, shown = in_a_terminal(here, "submit", "1", "--json")
    assert (asked_nothing, json.loads(shown)["error"]["type"]) == (1, "SubmissionError")
    assert len(made.open.submissions.records()) == 3


def test_a_dry_run_tells_what_would_be_sent(made: Small) -> None:
    here = made.workspace.root
    wb("run", "1", cwd=here)
    told = json.loads(wb("submit", "1", "--dry-run", "--json", cwd=here).stdout)
    record = made.open.runs[1].record
    low, high = told["cv_interval"]
    assert low < record.cv_mean < high
    assert (told["run_id"], told["sent"], told["remaining_today"]) == (record.run_id, False, 5)
    assert (here / told["file"]).is_file()
    assert (told["rows"], told["compared_with"], told["findings"]) == (len(made.open.runs[1].test), None, [])


def test_a_damaged_ledger_is_explained_and_mended(made: Small) -> None:
    here = made.workspace.root
    wb("run", "--exp", "1", cwd=here)
    before = wb("table", "--json", cwd=here).stdout
    made.workspace.ledger.write_bytes(b"damaged" * 1000)
    broken = wb("table", cwd=here)
    assert broken.returncode == 1
    assert "wb ledger rebuild" in broken.stderr
    assert wb("doctor", cwd=here).returncode == 1
    assert wb("ledger", "rebuild", cwd=here).returncode == 0
    assert wb("table", "--json", cwd=here).stdout == before


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
from workbench.cli import main
main(sys.argv[2:])
"""


@pytest.mark.slow
@pytest.mark.parametrize("limit_bytes", [500, 5_000, 20_000])
def test_a_write_that_the_system_refuses_is_explained(made: Small, limit_bytes: int) -> None:
    """The system's own refusal (a file size limit; a full disk takes the same way), at three points of a run."""
    here = made.workspace.root
    command = [sys.executable, "-c", LIMITED, str(limit_bytes), "run", "--exp", "1"]
    done = subprocess.run(command, cwd=here, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "can't write" in done.stderr
    assert not list(made.folder.rglob("*.tmp"))
    after = wb("run", "--exp", "1", cwd=here)
    assert after.returncode == 0, after.stderr


@pytest.mark.slow
def test_the_reader_may_go_away(made: Small) -> None:
    command = f"{sys.executable} -m workbench run --exp 1 && {sys.executable} -m workbench table | head -0"
    done = subprocess.run(["bash", "-c", command], cwd=made.workspace.root, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


SLOW = """
import time
import polars as pl
from workbench.features import feature

@feature
def slow(rows):
    {body}
    return [pl.lit(1.0).alias("slow")]
"""
WAITS = "open('begun', 'w').close(); time.sleep(60)"
SWALLOWS = """
    open('begun', 'w').close()
    for _ in range(600):
        try:
            time.sleep(0.1)
        except BaseException:
            open('again', 'w').close()
"""


def interrupted(made: Small, *arguments: str, times: int = 1) -> Ended:
    """Run `wb` and press Ctrl-C once its feature is being computed; once more after the first was not heeded."""
    here = made.workspace.root
    streams = [Path(os.devnull), here / "out", here / "err"]
    process = start_forked(arguments, here, {}, streams)
    for marker in ("begun", "again")[:times]:
        for _ in range(600):
            if (here / marker).exists():
                break
            time.sleep(0.1)
        os.kill(process.pid, signal.SIGINT)
    return Started(process, *streams[1:]).ended()


@pytest.mark.parametrize(
    ("arguments", "kept"),
    [
        (["run", "1"], "built features and trained models are kept"),
        (["check", "1", "-c", "sm"], "the features that were built are in the cache"),
        (["features", "slow", "--build"], "the features that were built are in the cache"),
        (["select", "1", "--name", "few"], "the scored steps"),
        (["tune", "--exp", "1", "--minutes", "1"], "the study has all finished trials"),
    ],
)
def test_an_interruption_says_what_is_kept_and_how_to_go_on(made: Small, arguments: list[str], kept: str) -> None:
    (made.folder / "features.py").write_text(SLOW.format(body=WAITS))
    made.experiment(1, 'features = ["rows", "slow"]\n' + QUICK)
    done = interrupted(made, *arguments)
    assert done.returncode == 130
    assert done.stderr.endswith(f"{kept}\nto continue: {shlex.join(['wb', *arguments])}\n")
    assert "Traceback" not in done.stderr
    (made.workspace.root / "begun").unlink()
    told = json.loads(interrupted(made, *arguments, "--json").stdout)["error"]
    assert (told["type"], told["hint"]) == ("Interrupted", shlex.join(["wb", *arguments, "--json"]))


def test_a_run_that_was_forced_goes_on_without_force() -> None:
    """With it, the models that are kept would be trained again."""
    assert resumption(Interrupted("run"), ["run", "1", "--force", "--json"])[1] == "wb run 1 --json"
    assert resumption(Interrupted("fetch"), ["fetch", "x", "--force"])[1] == "wb fetch x --force"


def test_every_command_that_takes_long_says_what_is_kept() -> None:
    commands = {" ".join(words) for words, _ in walked(app.wb)}
    assert set(RESUMPTIONS) <= commands
    long = {"fetch", "run", "tune", "select", "check", "report", "features", "kernel push", "submit", "kernel submit"}
    assert long <= set(RESUMPTIONS)


def test_a_program_that_calls_the_command_has_its_ctrl_c_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(SystemExit):
        app.main(["--version"])
    assert signal.getsignal(signal.SIGINT) is before


def test_the_second_interruption_ends_what_does_not_heed_the_first(made: Small) -> None:
    (made.folder / "features.py").write_text(SLOW.format(body=SWALLOWS))
    made.experiment(1, 'features = ["rows", "slow"]\n' + QUICK)
    done = interrupted(made, "run", "1", times=2)
    assert done.returncode == 130
    assert done.stderr.endswith("to continue: wb run 1\n")


@pytest.mark.slow
def test_a_debugger_has_the_terminal(made: Small) -> None:
    """The bar is due after two seconds: it must not come over the debugger, and come again behind it."""
    body = "x = 41; time.sleep(2.5); breakpoint(); time.sleep(1)"
    (made.folder / "features.py").write_text(SLOW.format(body=body))
    made.experiment(1, 'features = ["rows", "slow"]\n' + QUICK)
    pid, descriptor = pty.fork()
    if pid == 0:
        os.chdir(made.workspace.root)
        os.execve(sys.executable, [sys.executable, "-m", "workbench", "run", "1"], os.environ | {"TERM": "xterm"})
    watchdog = threading.Timer(60, os.kill, [pid, signal.SIGKILL])
    watchdog.start()
    shown, answers, at = b"", [b"p x + 1\n", b"c\n"], 0
    try:
        while piece := os.read(descriptor, 4096):
            shown += piece
            if answers and b"(Pdb)" in shown[at:]:
                at = len(shown)
                time.sleep(0.7)  # in which the bar would be drawn seven times
                os.write(descriptor, answers.pop(0))
    except OSError:
        pass
    watchdog.cancel()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    before, _, rest = shown.partition(b"(Pdb)")
    paused, _, after = rest.rpartition(b"(Pdb)")
    bar = b"exp 1"
    assert bar in before
    assert b"42" in paused
    assert bar not in paused
    assert bar in after
    assert b"auc 0." in after


@pytest.mark.slow
def test_a_person_sees_a_bar_and_colour(made: Small) -> None:
    made.experiment(
        1, ALL + "seeds = [1, 2, 3, 4, 5, 6]\n" + QUICK.replace("20", "400").replace("round = 5", "round = 0")
    )
    shown = bytearray()

    def read(descriptor: int) -> bytes:
        data = os.read(descriptor, 1024)
        shown.extend(data)
        return data

    here = Path.cwd()
    os.chdir(made.workspace.root)
    try:
        code = pty.spawn([sys.executable, "-m", "workbench", "run", "--exp", "1"], read)
    finally:
        os.chdir(here)
    assert code == 0
    assert b"auc 0." in shown


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "spins"), [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "PASSIVE"}, "0")]
)
def test_threads_wait_asleep_unless_the_environment_says_how(
    made: Small, monkeypatch: pytest.MonkeyPatch, given: dict[str, str], spins: str
) -> None:
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    ran = fresh_wb("run", "--exp", "1", cwd=made.folder, env={"OMP_DISPLAY_ENV": "verbose", **given})
    # What libgomp itself says when LightGBM loads it; another OpenMP has no such count.
    told = [line.partition("=")[2].strip() for line in ran.stderr.splitlines() if "GOMP_SPINCOUNT" in line]
    skip_unless(told, "libgomp", "LightGBM was built with another OpenMP")
    assert set(told) == {f"'{spins}'"}


def test_new_experiments_build_on_the_last(made: Small) -> None:
    here = made.workspace.root
    assert "wrote" in wb("new", "--title", "more", cwd=here).stdout
    spec = made.open.experiments[2]
    assert (spec.base, spec.title, spec.changes) == (1, "more", ())
    wb("new", "--from", "1", cwd=here)
    assert made.open.experiments[3].base == 1


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command(command: str, tmp_path: Path) -> None:
    done = wb(command, "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "Usage: wb " + command in done.stdout


def walked(group: click.Group, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        assert found is not None
        yield (*words, name), found
        if isinstance(found, click.Group):
            yield from walked(found, (*words, name))


def typed(examples: Sequence[str]) -> Iterator[list[str]]:
    """Return each command of the examples as its words."""
    for line in "\n".join(examples).replace("\\\n", " ").splitlines():
        for part in re.split(r"&&|\||\$\(|\)", line):
            words = shlex.split(part.replace('"', "") if "eval" in line else part)
            if words and words[0] == "wb":
                yield words[1:]


@pytest.mark.parametrize(("words", "found"), [((), app.wb), *walked(app.wb)])
def test_every_command_ends_with_an_example_that_parses(words: tuple[str, ...], found: click.Command) -> None:
    examples = found.examples  # type: ignore[attr-defined]
    shown = found.get_help(click.Context(found, info_name="wb"))
    assert shown.endswith(f"Examples:\n  {examples[0]}" + "".join(f"\n  {line}" for line in examples[1:]))
    lines = list(typed(examples))
    assert any(tuple(line[: len(words)]) == words for line in lines)
    for line in lines:
        command, rest = app.wb, line
        while isinstance(command, click.Group):
            context = click.Context(command)
            _, command, rest = command.resolve_command(context, rest)  # type: ignore[assignment]
        command.make_context("wb", list(rest))
    assert all(len(line) <= 76 for line in examples)


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
@pytest.mark.parametrize("words", [[], ["kernel"], ["notebook"], ["ledger"]])
def test_summaries_are_whole_however_narrow_the_terminal(words: list[str], columns: int, tmp_path: Path) -> None:
    shown = wb(*words, "--help", cwd=tmp_path, env={"COLUMNS": str(columns)}).stdout
    assert "..." not in shown.replace("[ARGS]...", "")
    assert all(len(line) <= columns for line in shown.splitlines())
    text = " ".join(shown.split())
    if words:
        group = dict(walked(app.wb))[tuple(words)]
        assert isinstance(group, click.Group)
        summaries = [c.get_short_help_str(10_000) for c in group.commands.values()]
    else:
        summaries = [summary for _, summary in COMMANDS.values()]
    assert [s for s in summaries if s not in text] == []


def test_help_is_in_groups(tmp_path: Path) -> None:
    shown = wb("--help", cwd=tmp_path).stdout
    headings = ["Data:", "Experiments:", "Review:", "Submit:", "Notebooks:", "System:", "Examples:"]
    assert [line for line in shown.splitlines() if line.rstrip(":") + ":" in headings] == headings


def with_loaded(modules: set[str], *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run `wb` in a new process, whose output ends with a line of those of the modules that it has loaded."""
    code = (
        "import sys\nfrom workbench.cli.app import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit as e:\n    assert not e.code, e.code\n"
        f"print('LOADED', sorted({modules!r} & set(sys.modules)))"
    )
    return subprocess.run([sys.executable, "-c", code, *arguments], cwd=cwd, capture_output=True, text=True, check=True)


def test_help_loads_neither_a_network_nor_what_is_installed() -> None:
    out = with_loaded({"ssl", "urllib.request", "importlib.metadata", "tempfile"}, "--help").stdout
    assert out.strip().endswith("LOADED []")


def test_an_unchanged_run_loads_no_model_library(made: Small) -> None:
    wb("run", "--exp", "1", cwd=made.workspace.root)
    libraries = {"lightgbm", "sklearn", "scipy", "pandas"}
    ended = with_loaded(libraries, "run", "--exp", "1", cwd=made.workspace.root)
    assert "has not changed" in ended.stderr
    assert ended.stdout.strip().endswith("LOADED []")


def test_help_and_table_load_nothing_heavy(made: Small) -> None:
    wb("run", "--exp", "1", cwd=made.workspace.root)
    heavy = {"lightgbm", "polars", "numpy", "pandas", "scipy", "alembic", "pydantic", "rich"}
    for arguments in (["--help"], ["table"], ["table", "--json"]):
        out = with_loaded(heavy, *arguments, cwd=made.workspace.root).stdout
        assert out.strip().endswith("LOADED []"), out[-200:]
