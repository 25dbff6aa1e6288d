"""Every command on a workspace whose names, values and titles would do something, if they could."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import hostile
from workbench.cli.app import main
from workbench.core.errors import PlatformError

COMMANDS = [
    ["table", "--all"],
    ["table", "--csv"],
    ["show", "1"],
    ["features"],
    ["check", "1"],
    ["select", "1", "--method", "gain", "--no-second"],
    ["submit", "1", "--yes"],
    ["submissions"],
    ["sync"],
    ["new", "--from", "1", "--title", hostile.TITLE],
    ["run", "2"],
    ["run", "1"],
    ["cache"],
    ["doctor"],
    ["ledger", "rebuild"],
    ["notebook", "params", "hostile.py"],
    ["fetch", "hostile", "--force"],
    ["show", "99"],
    ["run", "77"],
]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    made = hostile.make_hostile(tmp_path_factory.mktemp("hostile"))
    made.open.run(1)
    (made.folder / "hostile.py").write_text(
        f'# %% tags=["parameters"]\nname: str = {hostile.MARKUP!r}  # {hostile.MARKUP} \x1b]52;c;cm0=\x07 \x9b2J\n'
    )
    return made


@pytest.mark.slow
@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_no_command_lets_anything_through(made, command, as_json, monkeypatch, capsys) -> None:
    monkeypatch.chdir(made.folder)
    if as_json and "--csv" in command:
        pytest.skip("not a case: --csv or --json")
    with pytest.raises(SystemExit) as ended:
        main([*command, *(["--json"] if as_json else [])])
    out, err = capsys.readouterr()
    assert ended.value.code in (0, 1, 2, None), err
    assert "Traceback" not in err
    for text in (out, err):
        assert hostile.harmless(text), [line for line in text.splitlines() if not hostile.harmless(line)][:3]
        assert not any(line.startswith(("error: forged", "hint: forged")) for line in text.splitlines())
    if as_json:
        json.loads(out)


@pytest.mark.slow
def test_the_title_is_shown_as_it_is_and_json_keeps_it(made, monkeypatch, capsys) -> None:
    monkeypatch.chdir(made.folder)
    for command in (["show", "1"], ["table"]):
        with pytest.raises(SystemExit):
            main(command)
        assert hostile.MARKUP in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["show", "1", "--json"])
    assert json.loads(capsys.readouterr().out)["title"] == hostile.TITLE


@pytest.mark.slow
def test_what_the_platform_says_is_harmless_too(made, monkeypatch, capsys) -> None:
    """Its failures, quoted in errors and in notes."""
    monkeypatch.chdir(made.folder)

    from workbench.rehearsal.platform import LocalPlatform

    def fails(*_, **__):
        raise PlatformError(f"it says {hostile.TITLE}", hint=hostile.TITLE)

    for name in ("submissions", "limits"):
        monkeypatch.setattr(LocalPlatform, name, fails)
    for command in (["submissions"], ["sync"], ["submit", "1", "--dry-run"]):
        with pytest.raises(SystemExit):
            main(command)
        out, err = capsys.readouterr()
        assert hostile.harmless(out + err)
        assert "Traceback" not in err
    assert Path(made.folder).exists()
