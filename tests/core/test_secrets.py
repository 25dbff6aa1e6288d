"""Secrets: one function knows them all, and masks stand wherever something is printed, logged or recorded."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from workbench.cli import terminal
from workbench.cli.app import main
from workbench.core.credentials import Masks, has_password, process_masks, secret_values
from workbench.platforms.kaggle.login import find_credential

VALUE = "s3cr3t-0123456789abcdef"
OTHER = "an0ther-fedcba9876543210"


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    process_masks.cache_clear()
    yield tmp_path
    process_masks.cache_clear()


def put(home: Path, name: str, text: str) -> Path:
    path = home / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o600)
    return path


KEY = json.dumps({"username": "someone", "key": VALUE})
SIGN_IN = json.dumps({"username": "someone", "refresh_token": VALUE, "access_token": OTHER, "scopes": ["resources"]})
LOGINS = {
    "KAGGLE_API_TOKEN": ({"KAGGLE_API_TOKEN": VALUE}, {}),
    "a file that it names": ({"KAGGLE_API_TOKEN": "{home}/mine"}, {"mine": f"{VALUE}\n"}),
    "KAGGLE_TOKEN": ({"KAGGLE_TOKEN": VALUE}, {}),
    "access_token": ({}, {".kaggle/access_token": VALUE}),
    "access_token.txt": ({}, {".kaggle/access_token.txt": f"{VALUE}\n"}),
    "the key's variables": ({"KAGGLE_USERNAME": "someone", "KAGGLE_KEY": VALUE}, {}),
    "kaggle.json": ({}, {".kaggle/kaggle.json": KEY}),
    "kaggle.json elsewhere": ({"KAGGLE_CONFIG_DIR": "{home}/c"}, {"c/kaggle.json": KEY}),
    "kaggle.json of today's folder": ({}, {".config/kaggle/kaggle.json": KEY}),
    "kaggle.json in XDG_CONFIG_HOME": ({"XDG_CONFIG_HOME": "{home}/x"}, {"x/kaggle/kaggle.json": KEY}),
    "a sign-in": ({}, {".kaggle/credentials.json": SIGN_IN}),
}


@pytest.mark.parametrize("where", LOGINS)
def test_every_login_that_is_accepted_is_masked(where, tmp_path):
    variables, files = LOGINS[where]
    for name, text in files.items():
        put(tmp_path, name, text)
    environment = {k: v.format(home=tmp_path) for k, v in variables.items()}
    found = find_credential(environment, tmp_path)
    assert found is not None, "what is not accepted need not be masked"
    assert found.kind != "incomplete"
    values = secret_values(environment, tmp_path)
    assert VALUE in values
    assert VALUE not in Masks(values).text(f"logged in with {VALUE}.")
    assert not {"someone", "resources", str(tmp_path)} & set(values)


OTHERS = [
    ({"KAGGLE_API_V1_TOKEN": "{home}/t"}, {"t": VALUE}),
    ({"AWS_SECRET_ACCESS_KEY": VALUE}, {}),
    ({"AWS_SHARED_CREDENTIALS_FILE": "{home}/a"}, {"a": f"[default]\naws_secret_access_key = {VALUE}\n"}),
    ({}, {".aws/credentials": f"[default]\naws_secret_access_key={VALUE}\n"}),
    ({"GOOGLE_APPLICATION_CREDENTIALS": "{home}/g.json"}, {"g.json": json.dumps({"private_key_id": "x", "private_key": f"-----BEGIN PRIVATE KEY-----\n{VALUE * 3}\n-----END PRIVATE KEY-----"})}),
    ({"HF_TOKEN": VALUE}, {}),
    ({}, {".cache/huggingface/token": VALUE}),
    ({"WANDB_API_KEY": VALUE}, {}),
    ({}, {".netrc": f"machine api.example.org login me password {VALUE}\n"}),
    ({}, {".git-credentials": f"https://me:{VALUE}@example.org\n"}),
    ({}, {".pgpass": f"host:5432:db:me:{VALUE}\n"}),
    ({"AZURE_STORAGE_CONNECTION_STRING": f"AccountName=x;AccountKey={VALUE}"}, {}),
    ({"WB_LEDGER_URL": f"postgresql://me:{VALUE}@host/db"}, {}),
    ({"WB_STUDY_URL": f"postgresql+psycopg://me@host/db?password={VALUE}"}, {}),
    ({"WB_LEDGER_URL": "postgresql://me:p%40ss%3Aword!@host/db"}, {}),
    ({"HTTPS_PROXY": f"http://me:{VALUE}@proxy:3128"}, {}),
    ({"PIP_INDEX_URL": f"https://me:{VALUE}@host/simple"}, {}),
    ({"SOME_PASSWORD": VALUE}, {}),
]  # fmt: skip


@pytest.mark.parametrize("case", range(len(OTHERS)))
def test_what_others_keep_is_masked_too(case, tmp_path):
    variables, files = OTHERS[case]
    for name, text in files.items():
        put(tmp_path, name, text)
    environment = {k: v.format(home=tmp_path) for k, v in variables.items()}
    masks = Masks(secret_values(environment, tmp_path))
    texts = [VALUE, f"x={VALUE * 3}", "p@ss:word!", "p%40ss%3Aword!"]
    assert any(t not in masks.text(f"a {t} b") for t in texts), variables
    assert masks.text("AUC 0.78431, token of row 3, /usr/bin") == "AUC 0.78431, token of row 3, /usr/bin"


def test_what_is_no_secret_is_left_alone(tmp_path):
    environment = {
        "PATH": "/usr/bin:/bin",
        "SSH_AUTH_SOCK": "/tmp/ssh-1/agent.123",
        "TOKENIZERS_PARALLELISM": "false",
        "PWD": "/home/someone/competitions",
        "HOME": str(tmp_path),
        "KAGGLE_USERNAME": "someone-long",
        "LESSKEY": "/etc/lesskey",
        "API_KEY": "short",
    }
    assert secret_values(environment, tmp_path) == []


def test_a_secret_is_masked_in_an_address_in_json_and_in_a_page():
    masks = Masks(secret_values({"DB_PASSWORD": 'a"b<c>&d/e1234'}, Path("/nonexistent")))
    for form in ('a"b<c>&d/e1234', 'a\\"b<c>&d/e1234', "a&quot;b&lt;c&gt;&amp;d/e1234", "a%22b%3Cc%3E%26d%2Fe1234"):
        assert masks.text(f"[{form}]") == "[[masked]]", form
    basic = secret_values({"KAGGLE_USERNAME": "someone", "KAGGLE_KEY": VALUE}, Path("/nonexistent"))
    assert Masks(basic).text("Basic c29tZW9uZTpzM2NyM3QtMDEyMzQ1Njc4OWFiY2RlZg==") == "Basic [masked]"


def test_addresses_with_a_password():
    assert has_password(f"postgresql+psycopg://me:{VALUE}@host/db")
    assert has_password("postgresql://host/db?user=me&password=x")
    assert has_password("postgresql://me:pa/ss@host/db")
    for address in ("postgresql://me@host/db", "sqlite:////home/me/a.db", "journal", "postgresql://host:5432/db"):
        assert not has_password(address)


def test_errors_notes_and_error_documents_are_masked(home, monkeypatch, capsys):
    monkeypatch.setenv("SOME_TOKEN", VALUE)
    terminal.note(f"the driver says {VALUE}")
    terminal.note_lines(f"two\nlines {VALUE}")
    for arguments in (["show", VALUE], ["show", VALUE, "--json"], ["fetch", "a", "--platform", VALUE, "--json"]):
        with pytest.raises(SystemExit):
            main(arguments)
    out, err = capsys.readouterr()
    assert VALUE not in out + err
    assert (out + err).count("[masked]") >= 4


def test_a_traceback_is_masked(home):
    code = f"from workbench.cli.terminal import sanitize_tracebacks; sanitize_tracebacks(); raise ValueError({VALUE!r})"
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "SOME_TOKEN": VALUE}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert "ValueError: [masked]" in done.stderr
    assert VALUE not in done.stderr


def test_the_log_of_a_run_is_masked(home, monkeypatch):
    from workbench.experiments.run import log_file

    monkeypatch.setenv("SOME_TOKEN", VALUE)
    with log_file(home):
        try:
            raise ValueError(VALUE)
        except ValueError:
            logging.getLogger("workbench").exception("it says %s", VALUE)
    text = (home / "log.txt").read_text()
    assert VALUE not in text
    assert text.count("[masked]") >= 2


@pytest.mark.parametrize("command", [["tune", "1"], ["run", "1"]])
def test_a_password_does_not_come_from_the_command_line(command, home, monkeypatch, capsys):
    address = f"postgresql+psycopg://me:{VALUE}@host/db"
    with pytest.raises(SystemExit) as ended:
        main([*command, "--storage", address])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "WB_STUDY_URL" in said
    assert VALUE not in said
    monkeypatch.setenv("WB_STUDY_URL", address)
    with pytest.raises(SystemExit):
        main([*command, "-c", "nowhere"])
    assert "WB_STUDY_URL" not in capsys.readouterr().err
