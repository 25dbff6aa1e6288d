"""Derive `competition.toml`, the first experiment and the first features from the tables and the platform's facts."""

from workbench.data.inference.infer import Inferred, infer
from workbench.data.inference.log import InferredLog
from workbench.data.inference.starter import write_starter
from workbench.data.inference.text import baseline_text, definition_text, question, submission_text

__all__ = [
    "Inferred",
    "InferredLog",
    "baseline_text",
    "definition_text",
    "infer",
    "question",
    "submission_text",
    "write_starter",
]
