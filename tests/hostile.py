"""A competition whose names, values and titles contain scripts, markup and control characters."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import polars as pl

from tests.small import Small
from workbench.api import library
from workbench.data.workspace import create_workspace
from workbench.rehearsal import RehearsalSpec, create

SCRIPT = "<script>alert(1)</script>"
PICTURE = "<img src=http://evil.invalid/x.png onerror=alert(2)>"
MARKDOWN = "![m](http://evil.invalid/m.png) `<script>alert(3)</script>` </code>"
ESCAPES = "\x1b]52;c;cm0gLXJm\x07\x1b[2J\x9b31m\x9d0;t\x9c"
MARKUP = "[/] [bold] [link=file:///etc/passwd]"
TURNED = "a\u202eb"
FORGED = "x\nerror: forged\rhint: forged"
NAMES = [f"{SCRIPT} one", f"{PICTURE} two", f"{MARKDOWN} 3", f"{ESCAPES}esc", f"{MARKUP} $x$", f"{TURNED} turned"]
CLASSES = [f"{PICTURE} low", f"{MARKUP}{ESCAPES} high"]
TARGET = f"y {SCRIPT}"
TITLE = f"{SCRIPT} {PICTURE} {MARKUP} {ESCAPES} {TURNED} {FORGED} {MARKDOWN}"


def harmless(text: str) -> bool:
    """Tell whether a text has no control characters and no characters that change the direction of writing."""
    return not any(
        c not in "\n\t\u200c\u200d" and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in text
    )


def toml(text: str) -> str:
    """Return a text as a TOML string."""
    return (
        '"' + "".join(c if (c.isalnum() and c.isascii()) or c in " <>/()" else f"\\U{ord(c):08x}" for c in text) + '"'
    )


def make_hostile(root: Path, *, n_rows: int = 240) -> Small:
    """Host and fetch the competition; it has two experiments, and no runs."""
    rng = np.random.default_rng(3)
    place = create_workspace(root)
    signal = rng.normal(size=n_rows)
    kinds = np.array([f"{SCRIPT} red", f"{ESCAPES}{MARKUP} blue", PICTURE])
    frame = pl.DataFrame(
        {
            "id": np.arange(n_rows),
            **{name: (signal + rng.normal(size=n_rows)).round(4) for name in NAMES[:-1]},
            NAMES[-1]: kinds[rng.integers(0, 3, n_rows)],
            TARGET: np.array(CLASSES)[(signal > 0).astype(int)],
        }
    )
    (root / "source").mkdir()
    frame.write_csv(root / "source" / "all.csv")
    create(
        place.root,
        "hostile",
        RehearsalSpec(train=root / "source" / "all.csv", targets=(TARGET,), metric="auc", holdout=0.25),
    )
    library.fetch("hostile", where=place)
    made = Small(place, "hostile")
    model = 'features = ["rows"]\n[model]\nnum_iterations = 5\nnum_leaves = 4\nverbosity = -1\n'
    made.experiment(1, f"title = {toml(TITLE)}\n{model}")
    made.experiment(2, f"title = {toml(TITLE)}\nbase = 1\n[model]\nnum_leaves = 6\n")
    return made
