"""`competition.toml` and the first experiment, inferred from the tables and from what the platform says."""

from workbench.inference.infer import Inferred, infer
from workbench.inference.text import baseline_text, definition_text, question

__all__ = ["Inferred", "baseline_text", "definition_text", "infer", "question"]
