"""The border to the terminal: what comes from others shows something and does nothing; JSON keeps it as it is."""

import ast
import io
import json
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.hostile import harmless
from workbench.cli import terminal
from workbench.core.printable import one_line, printable

CLI = Path(terminal.__file__).parent
HARMFUL_CHARACTERS = [
    "\x1b[2J",
    "\x1b]52;c;cm0gLXJm\x07",
    "\x1b]0;title\x1b\\",
    "\x9b31m",
    "\x9d0;title\x9c",
    "\x90q\x9c",
    "\x07",
    "\x08",
    "\r",
    "\x7f",
]
TURNING = ["\u202e", "\u2066", "\u200f", "\u061c", "\u200b", "\ufeff", "\ud800"]


@pytest.mark.parametrize("sequence", HARMFUL_CHARACTERS + TURNING)
def test_what_could_act_on_a_terminal_is_dropped(sequence):
    assert printable(f"a{sequence}b").replace("\n", "") == "ab"
    assert one_line(f"a{sequence}b") in ("ab", "a b")


@given(st.text(st.characters(categories=["Cc", "Cf", "Cs", "Zl", "Zp", "Lu", "Nd", "Po", "Ps"])))
def test_whatever_the_text_nothing_harmful_is_left(text):
    assert harmless(printable(text))
    assert "\n" not in one_line(text)


def test_a_sequence_without_an_end_hides_nothing_of_what_stands_behind_it():
    row = "evil \x1b]0;   0.78430   0.79 *\nnext line\x07 end"
    assert printable(row) == "evil ]0;   0.78430   0.79 *\nnext line end"
    assert printable("evil \x1b[   0.78430") == "evil [   0.78430"
    assert printable("evil \x1bP" + "x" * 10_000 + "\x07").count("x") == 10_000


def test_writing_that_needs_joiners_is_kept():
    assert printable("می\u200cخواهم 👩\u200d🔬") == "می\u200cخواهم 👩\u200d🔬"


def test_our_styles_arrive_and_those_of_data_do_not(capsys, monkeypatch):
    monkeypatch.setattr("click.utils.should_strip_ansi", lambda *_: False)
    terminal.echo(terminal.styled("bold \x1b[31mred\x1b[0m", bold=True) + " \x1b[32mgreen")
    assert capsys.readouterr().out == "\x1b[1mbold red\x1b[0m green\n"


def test_a_line_break_in_a_name_makes_no_second_line(capsys):
    terminal.echo("left out: a\nerror: b\r\u2028c")
    terminal.note("left out: a\nerror: b")
    out, err = capsys.readouterr()
    assert out.count("\n") == err.count("\n") == 1


def test_json_keeps_the_data_and_can_do_nothing():
    data = {"name": "".join(HARMFUL_CHARACTERS + TURNING) + "\U000e0001é漢👩\u200d🔬"}
    text = terminal.as_json(data)
    assert json.loads(text) == data
    assert harmless(text)
    assert "é漢👩" in text
    text.encode()  # half a character, too


def test_no_module_of_the_command_line_prints_past_the_border():
    """What prints is in one module; a `click.echo` elsewhere would let escape sequences through."""
    past = []
    for path in sorted(CLI.glob("*.py")):
        if path.name == "terminal.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            prints = (
                "click.echo",
                "click.secho",
                "click.style",
                "click.confirm",
                "click.prompt",
                "click.echo_via_pager",
            )
            if called in (*prints, "print", "Console", "sys.stdout.write", "sys.stderr.write", "json.dumps"):
                past.append(f"{path.name}, line {node.lineno}: {called}")
    assert past == []


def test_text_that_looks_like_markup_is_printed_as_it_is_also_while_a_bar_is_shown(monkeypatch):
    """rich reads what code prints while a bar is shown, and "[/]" raises there."""
    from rich import progress

    out = io.StringIO()
    monkeypatch.setattr(sys, "stderr", out)
    console = terminal.console(err=True, width=80)
    console.print("[bold]a[/] [/] [link=x] :smile:")
    with progress.Progress(console=console):
        print("[/] [red]", end="", flush=True)
        print("[bold] :smile:")
    assert "[bold]a[/] [/] [link=x] :smile:" in out.getvalue()


def test_a_bar_shows_names_as_they_are(monkeypatch):
    from workbench.cli.progress import Bar

    monkeypatch.setattr("workbench.cli.progress.PATIENCE_S", 0.0)
    out = io.StringIO()
    out.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", out)
    monkeypatch.setenv("TERM", "xterm")
    bar = Bar("[/] label")
    with bar.shown():
        bar.appear()
        bar.update(description="cell 1: [/] [link=file:///] \x1b]52;c;cm0=\x07\x9b2J two\nlines")
        bar.say("[/] \x1b]52;c;cm0=\x07 said")
    assert "cell 1: [/] [link=file:///] two lines" in out.getvalue()
    assert "[/]  said" in out.getvalue()
    assert "52;c" not in out.getvalue()
    assert "\x9b" not in out.getvalue()


def test_a_bar_that_showed_the_time_of_a_search_shows_no_count_of_seconds_after_it(monkeypatch):
    from workbench.cli.progress import progress_bar
    from workbench.core.events import Progress, SearchProgress, StageStarted

    monkeypatch.setattr("workbench.cli.progress.PATIENCE_S", 3600.0)
    out = io.StringIO()
    out.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", out)
    monkeypatch.setenv("TERM", "xterm")

    def shown(listen, event) -> str:
        listen(event)
        progress = listen.bar.progress
        return str(progress.columns[2].render(progress.tasks[0]))

    with progress_bar("run 1") as listen:
        assert shown(listen, SearchProgress("full CV", 5, 0, 0, None, 90.0)) == ""
        assert shown(listen, StageStarted("writing")) == ""
        assert "3/7" in shown(listen, Progress(3, 7, "fold 1")).replace(" ", "")
        assert "3/7" in shown(listen, StageStarted("writing")).replace(" ", "")


def test_the_line_of_a_model_says_which_rows_it_is_trained_on(monkeypatch, capsys):
    from workbench.cli.progress import progress_bar
    from workbench.core.events import ModelTrained

    monkeypatch.setattr("workbench.cli.progress.PATIENCE_S", 3600.0)
    with progress_bar("run 1") as listen:
        listen(ModelTrained(0, 2, 7, 0.5, 30, 1.25, 2, "logloss"))
        listen(ModelTrained(0, 2, 7, 0.5, 30, 1.25, 1))
        listen(ModelTrained(0, -1, 7, None, 0, 2.0, 0))
    assert capsys.readouterr().err.splitlines() == [
        "  fold 2, seed 7: logloss 0.50000, 30 rounds, 1.2 s (2 remaining)",
        "  fold 2, seed 7: 0.50000, 30 rounds, 1.2 s (1 remaining)",
        "  all rows, seed 7: trained, 2.0 s (0 remaining)",
    ]


def test_a_wrong_argument_and_a_defect_quote_data_without_harm(tmp_path):
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "COLUMNS": "200"}
    wrong = [sys.executable, "-m", "workbench", "show", "\x1b]52;c;cm0=\x07\x9b2J"]
    done = subprocess.run(wrong, capture_output=True, text=True, cwd=CLI.parents[1], env=environment, check=False)
    assert done.returncode == 2
    assert harmless(done.stderr), done.stderr
    code = (
        "import sys, warnings; from workbench.cli.terminal import sanitize_tracebacks; sanitize_tracebacks();"
        "warnings.warn('a \\x1b[2J'); raise KeyError(), ValueError('b \\x9b2J')"
    ).replace("raise KeyError(), ", "raise ")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=CLI.parents[1], check=False)
    assert "ValueError: b " in done.stderr
    assert harmless(done.stderr), done.stderr


def test_no_character_that_hides_or_orders_text_reaches_the_terminal():
    """All that this Python's Unicode knows; the joiners, without which some writings can't do, only within JSON."""
    kinds = ("Cc", "Cf", "Cs", "Zl", "Zp")
    # Backwards, as two halves of a character in their order are one.
    found = "".join(c for c in map(chr, reversed(range(0x110000))) if unicodedata.category(c) in kinds)
    assert set(printable(found)) <= {"\n", "\t", "\u200c", "\u200d"}
    shown = terminal.as_json(found)
    assert json.loads(shown) == found
    assert not [c for c in shown if unicodedata.category(c) in kinds]
