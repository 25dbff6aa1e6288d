"""Notebooks that were written for Kaggle: replacing ``/kaggle`` in paths, and finding the printed CV."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from workbench.experiments.notebooks.extra import library
from workbench.experiments.notebooks.source import Notebook

__all__ = ["CV_TAG", "printed_cv", "with_kaggle_folder"]

KAGGLE_PATH = re.compile(r"(?<![\w./~}-])/kaggle(?![\w.-])")
"""The start of a path to Kaggle's folders."""

CV_TAG = "cv"
"""The tag of a cell whose last number is the CV."""

NUMBER = r"[-+]?\d*\.\d+(?:[eE][-+]?\d+)?"

PRINTED_CV = re.compile(
    rf"\b(?:cv|oof|cross[- ]?val\w*|mean fold|overall|validation)\b[^\d\n]{{0,40}}?({NUMBER})", re.IGNORECASE
)
"""Common forms of a printed CV: "CV: 0.7843", "OOF AUC = 0.7843", "Overall validation score 0.7843"."""


def with_kaggle_folder(notebook: Notebook, kaggle: Path) -> Notebook:
    """Return a copy of the notebook with another folder in place of ``/kaggle`` in its code."""
    nbformat = library("nbformat")
    node = nbformat.reads(notebook.text, as_version=4)
    for cell in node.cells:
        if cell.cell_type == "code":
            cell.source = KAGGLE_PATH.sub(lambda _: str(kaggle), cell.source)
    return replace(notebook, text=nbformat.writes(node))


def printed_cv(copy: Path, pattern: str | None = None) -> float | None:
    """Return the CV that an executed notebook printed; None where there is none.

    It is the last number in the output of cells tagged "cv", else the last match of `pattern`, by default of
    the common forms (`PRINTED_CV`).

    Parameters
    ----------
    copy : Path
        The executed notebook.
    pattern : str, optional
        A regular expression; its first group is the number.
    """
    node = library("nbformat").read(copy, as_version=4)
    tagged = [c for c in node.cells if c.cell_type == "code" and CV_TAG in c.metadata.get("tags", [])]
    if tagged and pattern is None:
        matches = re.findall(NUMBER, "\n".join(_output_text(c.get("outputs", [])) for c in tagged))
        return float(matches[-1]) if matches else None
    text = "\n".join(_output_text(c.get("outputs", [])) for c in node.cells if c.cell_type == "code")
    matches = re.findall(pattern, text) if pattern is not None else PRINTED_CV.findall(text)
    if not matches:
        return None
    last = matches[-1] if isinstance(matches[-1], str) else matches[-1][0]
    try:
        return float(last)
    except ValueError:
        return None


def _output_text(outputs: Sequence[Any]) -> str:
    """Return the printed text and the text of displayed values of a cell's outputs."""
    texts = []
    for output in outputs:
        if output.output_type == "stream":
            texts.append(output.text)
        elif output.output_type in ("execute_result", "display_data"):
            texts.append(output.data.get("text/plain", ""))
    return "\n".join(texts)
