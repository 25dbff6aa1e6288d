"""The note for runs whose seeds all train the same model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from workbench.models.registry import MODEL_KINDS

__all__ = ["same_seeds_note"]

ONE_IS_ENOUGH = "one is enough, and saves the others' time: seeds = [{seed}]"


def same_seeds_note(kind: str, model: Mapping[str, Any], seeds: Sequence[int]) -> str:
    """Return the note for a run whose seeds all gave the same score.

    Parameters
    ----------
    kind : str
        The experiment's table, such as "model" or "sklearn".
    model : mapping
        The content of that table.
    seeds : sequence of int
    """
    model_kind = MODEL_KINDS.get(kind)
    advice = model_kind.seed_advice if model_kind is not None and model_kind.is_random(model) else ""
    one_is_enough = ONE_IS_ENOUGH.format(seed=seeds[0])
    return f"the seeds make no difference: {f'{advice}; or ' if advice else ''}{one_is_enough}"
