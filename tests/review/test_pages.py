"""Pages show what others wrote and run none of it, load nothing, and say so to the browser."""

import re
import subprocess
import tempfile
import time
from types import SimpleNamespace

import nbformat
import pytest

from tests import hostile, page_safety
from tests.needs import browser, needs_browser, package
from workbench.analysis.checks.page import as_page
from workbench.core.credentials import Masks
from workbench.core.html_page import as_html, page
from workbench.core.notebook_worker import worker
from workbench.core.notebook_worker.page import is_safe_svg, notebook_page, remove_raw_elements, sanitize
from workbench.review.report import literal

V4 = nbformat.v4
ATTACKS = [
    "<script>alert(1)</script>",
    "<SCRIPT src=//evil.invalid/x.js></SCRIPT>",
    "<img src=x onerror=alert(1)>",
    "<img src=http://evil.invalid/x.png>",
    "<svg onload=alert(1)><script>alert(1)</script><image href=http://evil.invalid/></svg>",
    "<iframe src=http://evil.invalid/></iframe>",
    "<a href=javascript:alert(1)>a</a><a href=' java\tscript:alert(1)'>a</a>",
    "<a href='data:text/html,<script>alert(1)</script>'>a</a>",
    "<link rel=stylesheet href=http://evil.invalid/x.css><style>@import 'http://evil.invalid/y.css'</style>",
    "<div style='background:url(http://evil.invalid/x.png);color:red'>a</div>",
    "<meta http-equiv=refresh content='0;url=http://evil.invalid/'><base href=http://evil.invalid/>",
    "<form action=http://evil.invalid/><button formaction=javascript:alert(1)>a</button></form>",
    "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=alert(1)&gt;'>",
    "<scr<script></script>ipt>alert(1)</scr<script></script>ipt>",
    "<details open ontoggle=alert(1)>a</details><video poster=http://evil.invalid/x><source onerror=alert(1)></video>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'></noscript>",
    "<table background=http://evil.invalid/x.png><tr><td>a</table>",
    "<img srcset='http://evil.invalid/x.png 2x' src='data:image/png;base64,AA=='>",
]


def output(**data):
    metadata = {"image/png": {"width": "1 onerror=alert(1)", "filenames": {"image/png": "http://evil.invalid/"}}}
    return V4.new_output("display_data", data=data, metadata=metadata)


def attacking(text):
    """Return a notebook that has a text wherever a notebook can have one."""
    outputs = [
        V4.new_output("stream", text=f"\x1b[31m{text}\x1b[0m\n"),
        output(**{"text/html": text}),
        output(**{"text/markdown": text}),
        output(**{"text/latex": text}),
        output(**{"text/plain": text}),
        output(**{"application/javascript": text}),
        output(**{"text/vnd.mermaid": f"</pre>{text}"}),
        output(**{"image/svg+xml": f"<svg xmlns='http://www.w3.org/2000/svg'>{text}</svg>"}),
        output(**{"image/png": "iVBORw0KGgo="}),
        output(**{"application/vnd.jupyter.widget-view+json": {"model_id": text}}),
        V4.new_output("error", ename=text, evalue=text, traceback=[text]),
    ]
    # As a file may have it that nobody has checked.
    code = {"id": f'"{text}', "metadata": {"tags": [f'"{text}']}, "execution_count": 1, "outputs": outputs}
    cells = [V4.new_markdown_cell(text), V4.new_raw_cell(text, metadata={"raw_mimetype": "text/html"})]
    cells.append(nbformat.from_dict({"cell_type": "code", "source": text, **code}))
    widgets = {"application/vnd.jupyter.widget-state+json": {"state": {text: text}}}
    metadata = {"title": text, "widgets": widgets, "language_info": {"name": text}}
    return nbformat.from_dict({"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": cells})


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_runs_or_loads_in_the_page_of_a_notebook(attack):
    for with_code in (True, False):
        made = notebook_page(attacking(attack), title=attack, with_code=with_code)
        assert page_safety.faults(made) == []
    assert page_safety.faults(page("a", sanitize(attack))) == []


def test_the_parser_of_these_tests_sees_what_is_wrong():
    """As these attacks stand in a page that lets them through."""
    for attack in ATTACKS:
        if "scr<script>" not in attack and "mglyph" not in attack:
            assert page_safety.faults(page("a", attack)), attack
    assert page_safety.faults("<html><body>no policy</body></html>")


def test_what_can_be_shown_is_shown():
    cells = [
        V4.new_markdown_cell("# A *title*\n\n| a | b |\n|---|---|\n| 1 | $x^2$ |\n\n[there](https://example.org)"),
        V4.new_code_cell(
            "x = '<b>'",
            outputs=[
                output(**{"text/html": "<style>td {}</style><table><thead><tr><th>c</th></tr></thead></table>"}),
                output(**{"image/png": "iVBORw0KGgo="}),
                output(**{"text/html": "<div></div><script>draw()</script>"}),
                V4.new_output("stream", text="\x1b[31mred\x1b[0m"),
            ],
        ),
    ]
    made = notebook_page(V4.new_notebook(cells=cells), title="a", with_code=True)
    for part in ("<em>title</em>", "<td>$x^2$</td>", 'href="https://example.org"', "<thead><tr><th>c</th>", ">red<"):
        assert part in made
    assert 'src="data:image/png;base64,iVBORw0KGgo="' in made
    assert "&lt;b&gt;" in made
    assert "td {}" not in made
    assert "1 output with a script" in page_safety.text_of(made)
    assert len(made) < 12_000


@pytest.mark.parametrize(
    "attack",
    [
        "<script>alert(1)</script>",
        '<g onclick="alert(1)"/>',
        '<a href="javascript:alert(1)"><text>a</text></a>',
        '<image href="http://evil.invalid/a.png"/>',
        '<image xlink:href="//evil.invalid/a.png"/>',
        '<image href="data:image/svg+xml;base64,AAAA"/>',
        '<use href="http://evil.invalid/a.svg#a"/>',
        '<set attributeName="onload" to="alert(1)"/>',
        '<foreignObject><b xmlns="http://www.w3.org/1999/xhtml">a</b></foreignObject>',
        '<h:script xmlns:h="http://www.w3.org/1999/xhtml">alert(1)</h:script>',
        "<metadata><h:img xmlns:h='http://www.w3.org/1999/xhtml' src='http://evil.invalid'/></metadata>",
        "<style>@import url(http://evil.invalid/a.css);</style>",
        "<style>*{background: u<![CDATA[rl(http://evil.invalid/)]]>}</style>",
        "<g style=\"fill: url( 'http://evil.invalid/a#b')\"/>",
        '<g fill="\\75rl(http://evil.invalid)"/>',
        "<feImage href='#a'/>",
        "<?xml-stylesheet href='http://evil.invalid/a.css'?>",
        "<g",
    ],
)
def test_a_drawing_that_does_more_than_draw_is_no_figure(tmp_path, attack):
    start = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'
    assert not is_safe_svg(f"{start}{attack}</svg>")
    cell = V4.new_code_cell("", outputs=[output(**{"image/svg+xml": f"{start}{attack}</svg>"})])
    nbformat.write(V4.new_notebook(cells=[cell]), tmp_path / "a.ipynb")
    worker.write_page(tmp_path / "a.ipynb", Masks([]), with_code=True)
    assert not (tmp_path / "a-figures").exists()


def test_a_drawing_is_a_figure(tmp_path):
    plt = package("matplotlib.pyplot")
    figure, axes = plt.subplots()
    axes.imshow([[0, 1], [2, 3]])
    axes.set_title("a & <b>", alpha=0.5)
    figure.savefig(tmp_path / "a.svg")
    plt.close(figure)
    assert is_safe_svg((tmp_path / "a.svg").read_text())
    assert not is_safe_svg('<!DOCTYPE svg [<!ENTITY a "b">]><svg xmlns="http://www.w3.org/2000/svg"/>')


@pytest.mark.parametrize("text", ["<script ", "<style>", "<template></script>"])
def test_tags_that_never_end_are_passed_in_a_moment(text):
    """They took a time that grows with the square of their number: half a minute for 160 KB, days for 10 MB."""
    started = time.process_time()
    remove_raw_elements(text * 300_000)
    assert time.process_time() - started < 10


def test_a_page_that_takes_too_long_is_left_out(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(worker, "PAGE_TIMEOUT_S", 0.01)

    def endless(*_, **__):
        # Plain code: Python ignores what a signal raises in a callback of the libraries that make a page.
        while True:
            pass

    monkeypatch.setattr(worker, "notebook_page", endless)
    path = tmp_path / "a.ipynb"
    nbformat.write(V4.new_notebook(cells=[V4.new_code_cell("1")]), path)
    worker.write_page(path, Masks([]), with_code=True)
    assert "could not make a page" in caplog.text
    assert not path.with_suffix(".html").exists()


@pytest.mark.parametrize("name", [*hostile.NAMES, hostile.TITLE, *ATTACKS])
def test_a_name_in_markdown_is_a_name(name):
    made = notebook_page(
        V4.new_notebook(cells=[V4.new_markdown_cell(f"### {literal(name)}")]), title="a", with_code=True
    )
    assert page_safety.faults(made) == []
    from workbench.core.printable import one_line

    # An address is made a link of its own, of the same text.
    assert one_line(name) in one_line(page_safety.text_of(made))


def test_a_text_as_html_shows_itself():
    for text in [*ATTACKS, hostile.TITLE]:
        assert page_safety.faults(page(text, f'<p title="{as_html(text)}">{as_html(text)}</p>')) == []


def test_the_study_page_runs_only_its_own_script(tmp_path):
    optuna = package("optuna")
    package("plotly")
    from workbench.tuning.plots import draw

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    attack = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"
    study = optuna.create_study(study_name=attack)
    study.optimize(lambda t: t.suggest_float(attack, 0, 1) + len(t.suggest_categorical("c", [attack, "b"])), n_trials=4)
    made = page_safety.read(draw(study, tmp_path, with_importances=True)[-1])
    assert page_safety.faults(made, own_script=True) == []
    assert "<script>alert(1)" not in made


@pytest.fixture(scope="module")
def hostile_pages(tmp_path_factory):
    made = hostile.make_hostile(tmp_path_factory.mktemp("hostile"))
    made.open.run(1)
    return [made.open.data.check_page(made.open.data.check(exp=1)), made.open.data.explore(), made.open.runs.report(1)]


@pytest.mark.slow
def test_every_page_of_a_hostile_competition(hostile_pages):
    for path in hostile_pages:
        html = page_safety.read(path)
        assert page_safety.faults(html) == [], path
        assert "<script>alert(1)</script>" in page_safety.text_of(html)


@pytest.mark.slow
@needs_browser
def test_a_browser_shows_every_page_of_a_hostile_competition_and_does_no_more(hostile_pages):
    assert _complaints_of_a_browser(hostile_pages) == []


def _complaints_of_a_browser(paths):
    """Return what a real browser says of the pages beyond showing them."""
    said = []
    for path in paths:
        with tempfile.TemporaryDirectory() as profile:
            options = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-component-update "
            options += (
                "--disable-background-networking --disable-sync --enable-logging=stderr --virtual-time-budget=3000"
            )
            done = subprocess.run(
                [browser(), *options.split(), f"--user-data-dir={profile}", "--dump-dom", f"file://{path}"],
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
        # A script that ran, or an address that was asked for, is refused by the policy: that, too, is one too many.
        said += re.findall(r".*(?:CONSOLE|Content Security Policy|evil\.invalid.*ERR_).*", done.stderr)
        assert "<body" in done.stdout
    return said


def test_without_plots_a_check_page_is_as_safe(monkeypatch):
    from workbench.analysis.checks import plots
    from workbench.analysis.checks.finding import Adversarial, CheckReport

    monkeypatch.setattr(plots, "can_plot", lambda: False)
    attack = ATTACKS[0] + ATTACKS[2]
    finding = SimpleNamespace(severity="serious", check=attack, column=attack, text=attack, todo=attack)
    drift = SimpleNamespace(
        column=attack, kind=attack, effect=0.5, psi=0.1, unseen=0.1, nulls_train=0.1, nulls_test=0.2, bars=()
    )
    report = SimpleNamespace(
        **dict.fromkeys(CheckReport.__dataclass_fields__),
    )
    report.__dict__.update(
        slug=attack,
        title=attack,
        findings=[finding],
        n_train=9,
        n_test=9,
        columns=(attack,),
        sampled=(9, 9),
        drift=[drift],
        adversarial=Adversarial(
            auc=0.5, roc=(), gains=((attack, 0.5),), left_out=(attack,), n_rows=9, grouped_by=attack
        ),
        power=[(attack, 0.9, attack)],
        target=[(attack, [(attack, 3)])],
        periods=SimpleNamespace(every=attack, what=attack, lines=[(attack, 3, 0.5)]),
        order=[SimpleNamespace(column=attack, measure=attack, score=0.5)],
        nulls=SimpleNamespace(shares={attack: (0.1, 0.2)}, patterns=(), groups=[(attack, attack)]),
        facts=[(attack, attack)],
        not_checked=[attack],
        counts=lambda: {"serious": 1, "notable": 0, "minor": 0},
    )
    assert page_safety.faults(as_page(report)) == []
