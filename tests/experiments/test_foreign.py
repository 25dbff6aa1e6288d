"""What a notebook of somebody else's sees of this machine: no login, an empty home, and the network only on request."""

from __future__ import annotations

import base64
import http.server
import json
import os
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.needs import needs_namespaces, needs_processes_listed
from workbench.cli.app import wb
from workbench.core.credentials import login_paths, secret_values
from workbench.core.errors import ConfigError
from workbench.core.isolation import IsolationSupport
from workbench.experiments.foreign import foreign_environment, foreign_sandbox, isolation_warning
from workbench.experiments.notebook_spec import notebook_spec
from workbench.experiments.notebooks import execute, read_notebook
from workbench.experiments.notebooks import mounts as mounts_module
from workbench.experiments.spec import read_spec

SECRET = "s3cr3t-0123456789abcdef"
KEYS = (
    *(
        "KAGGLE_API_TOKEN",
        "KAGGLE_KEY",
        "KAGGLE_TOKEN",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AZURE_CLIENT_SECRET",
    ),
    *("GOOGLE_API_KEY", "HF_TOKEN", "WANDB_API_KEY", "OPENAI_API_KEY", "WB_LEDGER_URL", "WB_STUDY_URL", "GITHUB_TOKEN"),
    *("SSH_AUTH_SOCK", "DATABASE_URL", "HTTPS_PROXY", "SOMETHING_NOBODY_THOUGHT_OF", "WB_NOTEBOOK"),
)

LOOKS = """
import json, os, subprocess
from pathlib import Path
seen = {"variables": dict(os.environ), "home": [], "files": {}, "network": None}
seen["home"] = sorted(str(p) for p in Path.home().rglob("*"))
for path in HOME_FILES:
    try:
        seen["files"][path] = Path(path).read_text()
    except OSError as exc:
        seen["files"][path] = None
parent = os.getppid()
try:
    seen["parents"] = Path(f"/proc/{WB_PID}/environ").read_bytes().decode(errors="replace")
except OSError:
    seen["parents"] = ""
try:
    import urllib.request
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    seen["network"] = opener.open(ADDRESS, timeout=60).read().decode()
except OSError as exc:
    seen["network"] = f"none: {exc}"
Path("/kaggle/working/seen.json").write_text(json.dumps(seen)) if Path("/kaggle/working").is_dir() else None
print("SEEN", json.dumps(seen))
"""


@pytest.fixture
def address() -> Iterator[str]:
    """A server of this machine's: what reaches it has the network."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"reached")

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def adopted(small, tmp_path: Path, monkeypatch, address: str, **options: Any) -> tuple[dict[str, Any], Any]:
    """Run a notebook that looks round, and return what it saw, and the outcome."""
    home = tmp_path / "home"
    for name in (".kaggle/kaggle.json", ".aws/credentials", ".netrc", "notes.txt"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(json.dumps({"key": SECRET}))
    monkeypatch.setenv("HOME", str(home))
    for name in KEYS:
        monkeypatch.setenv(name, SECRET)
    monkeypatch.delenv("WB_LEDGER_URL")
    made = small(n_rows=200)
    files = [
        str(home / ".kaggle/kaggle.json"),
        str(home / ".netrc"),
        str(home / "notes.txt"),
        "/root/.kaggle/kaggle.json",
    ]
    told = f"HOME_FILES, ADDRESS, WB_PID = {files!r}, {address!r}, {os.getpid()}\n"
    ends = "import shutil\nshutil.copy('../input/small/sample_submission.csv', 'submission.csv')\nprint('CV: 0.6')"
    node = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(t) for t in (told + LOOKS, ends)])
    path = made.workspace.root / "looks.ipynb"
    nbformat.write(node, path)
    _, experiment, _ = made.open.experiments.adopt(path, **options)
    outcome = made.open.runs.execute(int(experiment.stem))
    printed = (outcome.run.folder / "notebook.txt").read_text()
    line = next(line for line in printed.splitlines() if line.startswith("SEEN "))
    return json.loads(line.removeprefix("SEEN ")), outcome


@pytest.mark.slow
@needs_namespaces
@pytest.mark.parametrize("network", [False, True])
def test_it_sees_nothing_of_its_users(small, tmp_path, monkeypatch, address, network: bool) -> None:
    seen, outcome = adopted(small, tmp_path, monkeypatch, address, network=network)
    assert not set(KEYS) - {"HTTPS_PROXY"} & set(seen["variables"])
    assert ("HTTPS_PROXY" in seen["variables"]) == network
    hidden = {k: v for k, v in seen.items() if k != "variables"}
    assert SECRET not in json.dumps(hidden)
    assert all(content is None for content in seen["files"].values())
    assert not any(".kaggle" in name or ".aws" in name for name in seen["home"])
    assert (seen["network"] == "reached") == network
    assert outcome.run.score == 0.6
    assert outcome.run.record.run_id


@pytest.mark.slow
def test_without_namespaces_it_has_an_empty_home_and_the_rest_is_said(small, tmp_path, monkeypatch, address) -> None:
    without = IsolationSupport(sandboxes=False, pid_namespace=False, reason="not permitted")
    for module in (mounts_module, __import__("workbench.experiments.foreign", fromlist=["isolation_support"])):
        monkeypatch.setattr(module, "isolation_support", lambda: without)
    seen, outcome = adopted(small, tmp_path, monkeypatch, address)
    assert not set(KEYS) & set(seen["variables"])
    assert seen["variables"]["HOME"] != str(tmp_path / "home")
    # What it could read all the same is masked in what is kept.
    for name in ("notebook.ipynb", "notebook.html", "notebook.txt"):
        assert SECRET not in (outcome.run.folder / name).read_text()
    assert any("could read this machine's files" in note for note in outcome.notes)


def test_variables_are_passed_on_by_a_list() -> None:
    environment = dict.fromkeys(KEYS, SECRET) | {"PATH": "/bin", "LC_ALL": "C", "OMP_NUM_THREADS": "2"}
    assert foreign_environment(network=False, environment=environment) == {
        "PATH": "/bin",
        "LC_ALL": "C",
        "OMP_NUM_THREADS": "2",
    }
    assert secret_values(foreign_environment(network=False, environment=environment), Path("/nonexistent")) == []


def test_a_kernel_of_the_users_is_found_though_the_home_is_another(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    found = foreign_environment(network=False, kernel="mine", environment={"PATH": "/bin"})
    assert any(place.startswith(str(tmp_path)) for place in found.pop("JUPYTER_PATH").split(os.pathsep))
    assert found == foreign_environment(network=False, environment={"PATH": "/bin"}) == {"PATH": "/bin"}


def test_a_kernel_of_its_own_sees_the_machine_without_the_places_of_logins(tmp_path) -> None:
    for name in (".kaggle/kaggle.json", ".aws/credentials", ".netrc", ".config/gcloud/a.json", ".ssh/id", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(SECRET)
    names = {p.relative_to(tmp_path).as_posix() for p in login_paths(tmp_path)}
    assert names == {".kaggle", ".aws", ".netrc", ".config/gcloud", ".ssh"}
    path = tmp_path / "a.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")]), path)
    other = foreign_sandbox(read_notebook(path).with_kernel("other"), tmp_path, network=False, home=tmp_path)
    assert (other.host, other.network, other.home) == ("read", False, "/tmp/home")
    assert set(other.hidden) == {str(tmp_path / n) for n in names - {".netrc"}}
    assert set(other.mounts) == {str(tmp_path / ".netrc")}
    usual = foreign_sandbox(read_notebook(path), tmp_path, network=True)
    assert (usual.host, usual.network, usual.own_tmp) == ("system", True, True)


PLANTS = """
import os
from contextlib import suppress
seen = []
for line in open("/proc/self/mountinfo"):
    place = line.split()[4]
    if place.startswith(MINE) and os.access(place, os.W_OK):
        seen += sorted(os.listdir(place))
        for name in ("a.txt", "a.html", "log.txt", "submission.csv", "run.json", "a-figures"):
            with suppress(OSError):
                os.remove(f"{place}/{name}")
            os.symlink(VICTIM, f"{place}/{name}")
for text in ("5", "[1]", "{}", '{"event": "cell"}'):
    os.system(f"echo '{text}' > /proc/{os.getppid()}/fd/1")
print(seen)
"""


@pytest.mark.slow
@needs_namespaces
def test_it_can_leave_no_link_where_we_write(tmp_path) -> None:
    """Of the run's folder it sees what is made of itself; that comes over as files. Its words are not its worker's."""
    out, work, victim = tmp_path / "run", tmp_path / "work", tmp_path / "victim"
    for folder in (out, work):
        folder.mkdir()
    for path in (victim, out / "run.json", out / "log.txt"):
        path.write_text("mine\n")
    code = f"MINE, VICTIM = {str(tmp_path)!r}, {str(victim)!r}\n{PLANTS}"
    cells = [nbformat.v4.new_code_cell(text) for text in (code, "print('the end')")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "a.ipynb")
    notebook = read_notebook(tmp_path / "a.ipynb")
    world = foreign_sandbox(notebook, tmp_path, network=False)
    world = replace(world, folder="/kaggle/working", mounts={"/kaggle/working": (str(work), True)})
    execute(notebook, {}, copy=out / "a.ipynb", folder=Path("/kaggle/working"), inherited={}, sandbox=world)
    first, second = nbformat.read(out / "a.ipynb", as_version=4).cells
    assert "run.json" not in first.outputs[0].text
    assert second.outputs[0].text == "the end\n"
    assert victim.read_text() == (out / "run.json").read_text() == "mine\n"
    assert (out / "log.txt").read_text().startswith("mine\n")
    assert not [p for p in out.rglob("*") if p.is_symlink()]
    assert {"a.ipynb", "log.txt", "run.json"} <= {p.name for p in out.iterdir()} <= {"a.ipynb", "a.html", "log.txt", "run.json"}  # fmt: skip


FINDS = """
import json, os
from pathlib import Path
from IPython.display import SVG
secret = Path(KEPT).read_text()
job = Path(f"/proc/{os.getppid()}/cmdline").read_text().split(chr(0))[-2]
with open(json.loads(Path(job).read_text())["log"], "a") as log:
    print("found", secret, file=log)
print(secret)
SVG(f"<svg xmlns='http://www.w3.org/2000/svg'><text>{secret}</text></svg>")
"""


@needs_processes_listed
def test_a_secret_that_it_has_found_stays_in_nothing_that_is_kept(tmp_path, monkeypatch) -> None:
    """Its worker does not know the secrets of whoever runs it: they are masked in whatever it leaves."""
    monkeypatch.setenv("HF_TOKEN", SECRET)
    (tmp_path / "kept").write_text(SECRET)
    cell = nbformat.v4.new_code_cell(f"KEPT = {str(tmp_path / 'kept')!r}\n{FINDS}")
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "a.ipynb")
    out = tmp_path / "out"
    out.mkdir()
    (out / "log.txt").write_text("mine\n")
    inherited = {"PATH": os.environ["PATH"]}
    execute(read_notebook(tmp_path / "a.ipynb"), {}, copy=out / "a.ipynb", folder=tmp_path, inherited=inherited)
    kept = {p.relative_to(out).as_posix(): p.read_text() for p in out.rglob("*") if p.is_file()}
    assert set(kept) == {"a.ipynb", "a.html", "a.txt", "log.txt", "a-figures/cell000-1.svg"}
    assert kept["log.txt"].startswith("mine\nfound [masked]\n")
    assert base64.b64encode(SECRET.encode())[:20].decode() not in kept["a.html"]
    (drawn,) = re.findall(r'src="data:image/svg\+xml;base64,([^"]*)"', kept["a.html"])
    assert "[masked]" in base64.b64decode(drawn).decode()
    assert all("[masked]" in text and SECRET not in text for text in kept.values())


@pytest.mark.parametrize("named", ["Python3", "another"])
def test_it_does_not_choose_what_it_sees_by_the_kernel_that_it_names(small, named: str) -> None:
    """Jupyter takes "Python3" for python3; a kernel of its own sees the machine, and only its user gives it one."""
    made = small(n_rows=200)
    (made.workspace.root / "notebooks").mkdir(exist_ok=True)
    node = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")])
    node.metadata["kernelspec"] = {"name": named, "display_name": named, "language": "python"}
    nbformat.write(node, made.workspace.root / "notebooks" / "a.ipynb")
    text = '[notebook]\nfile = "a.ipynb"\nsubmission = "submission.csv"\n'

    def spec(more: str) -> Any:
        made.experiment(1, text + more)
        read = read_spec(made.open.access.competition, 1)
        return notebook_spec(read, made.folder, made.workspace.root / "notebooks")

    assert spec("").notebook.kernel == "python3"
    assert spec('kernel = "another"\n').notebook.kernel == "another"


def test_missing_isolation_is_reported(monkeypatch) -> None:
    module = __import__("workbench.experiments.foreign", fromlist=["isolation_support"])
    monkeypatch.setattr(
        module, "isolation_support", lambda: IsolationSupport(sandboxes=False, pid_namespace=False, reason="forbidden")
    )
    assert "the network was open to it" in isolation_warning(network=False)
    assert "the network was open" not in isolation_warning(network=True)
    assert "the notebook has an empty home" in isolation_warning(network=False, is_over=False)


def test_adopt_says_so_and_network_is_a_key_of_such_notebooks(small, monkeypatch, capsys) -> None:
    made = small(n_rows=200)
    monkeypatch.chdir(made.folder)
    path = made.workspace.root / "a.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")]), path)
    closed = IsolationSupport(sandboxes=True, pid_namespace=True)
    monkeypatch.setattr("workbench.experiments.foreign.isolation_support", lambda: closed)
    wb.main(["notebook", "adopt", str(path)], standalone_mode=False)
    out, err = capsys.readouterr()
    assert "without network (to allow it: network = true under [notebook]), without your credentials" in err
    assert "network" not in Path(out.splitlines()[1]).read_text()
    module = __import__("workbench.experiments.foreign", fromlist=["isolation_support"])
    with monkeypatch.context() as patch:
        patch.setattr(
            module,
            "isolation_support",
            lambda: IsolationSupport(sandboxes=False, pid_namespace=False, reason="forbidden"),
        )
        wb.main(["notebook", "adopt", str(path)], standalone_mode=False)
    err = capsys.readouterr().err
    assert "can read this machine's files, and the network is open to it" in err
    assert "without network" not in err
    wb.main(["notebook", "adopt", str(path), "--network"], standalone_mode=False)
    out, err = capsys.readouterr()
    assert "it runs with network" in err
    assert "network = true" in Path(out.splitlines()[1]).read_text()
    made.experiment(9, '[notebook]\nfile = "a.ipynb"\nnetwork = true\n')
    (made.workspace.root / "notebooks").mkdir(exist_ok=True)
    path.rename(made.workspace.root / "notebooks" / "a.ipynb")
    with pytest.raises(ConfigError, match="network is only for notebooks with submission"):
        made.open.run(9)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"metadata": {"kernelspec": [1]}}, "kernelspec is list, expected an object"),
        ({"metadata": {"language_info": "python"}}, "language_info is str, expected an object"),
        ({"nbformat": 99}, "Unsupported nbformat version 99"),
        ({"source": 5}, "the source of a cell is not a string"),
        ({"tags": 5}, "the tags of a cell are 5, expected a list of strings"),
        ({"tags": ["parameters"], "source": "x = " + "-" * 20_000 + "1"}, "the parameters cell can't be parsed"),
        ({"tags": ["parameters"], "source": "x = a" + ".b" * 20_000}, "the parameters cell can't be parsed"),
        ({"tags": ["parameters"], "source": "x = a" + "+ b" * 900}, "the parameters cell can't be parsed"),
        ({"tags": ["parameters"], "source": "x = '\0'"}, "the parameters cell is not valid Python"),
    ],
)
def test_a_notebook_that_nobody_would_save_is_explained(tmp_path, change: dict[str, Any], says: str) -> None:
    cell = {"cell_type": "code", "id": "a", "outputs": [], "execution_count": None, "source": change.get("source", "1")}
    cell["metadata"] = {"tags": change["tags"]} if "tags" in change else {}
    node = {"nbformat": change.get("nbformat", 4), "nbformat_minor": 5, "metadata": change.get("metadata", {})}
    (tmp_path / "a.ipynb").write_text(json.dumps(node | {"cells": [cell]}))
    with pytest.raises(ConfigError, match=re.escape(says)):
        read_notebook(tmp_path / "a.ipynb")
