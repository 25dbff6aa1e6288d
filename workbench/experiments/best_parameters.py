"""The best parameters of a search, in ``best.json`` in the study's folder; older versions read and write it, too."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from workbench.core.cache import read_json, write_json
from workbench.core.errors import DamagedError

if TYPE_CHECKING:
    from workbench.data.competition import Competition

__all__ = ["BestParameters", "SearchedParameters", "searched_parameters"]

NAME = "best.json"


class SearchedParameters(NamedTuple):
    """The searched parameters with their best values, and the names of those that differ from the experiment's."""

    parameters: dict[str, Any]
    changed: list[str]


@dataclass(frozen=True)
class BestParameters:
    """The best parameters of a search.

    Attributes
    ----------
    model : dict
        All of ``[model]``.
    tune : dict, or None
        The experiment's ``[tune]``; None where the options came from the command.
    untuned_key : str
        The key of all that the search started from: features, folds, model.
    searched : SearchedParameters
        Empty where no trial was better than the experiment's own parameters.
    """

    model: dict[str, Any]
    tune: dict[str, Any] | None
    untuned_key: str
    searched: SearchedParameters

    @classmethod
    def read(cls, folder: Path) -> BestParameters | None:
        """Read the best parameters in a study's folder; None where there are none, or the file is damaged."""
        try:
            content = read_json(folder / NAME)
            return cls(dict(content["model"]), content["asked"], content["of"], _searched(content))
        except (OSError, DamagedError, AttributeError, KeyError, TypeError, ValueError):
            return None

    def write(self, folder: Path) -> None:
        """Write them to a study's folder."""
        content: dict[str, Any] = {"model": self.model, "asked": self.tune, "of": self.untuned_key}
        content |= {"searched": self.searched.parameters, "changed": self.searched.changed}
        write_json(folder / NAME, content)


def searched_parameters(competition: Competition) -> Iterator[SearchedParameters]:
    """Yield the searched parameters of each study of a competition; unreadable files are skipped."""
    for path in sorted(competition.paths.study(0).parent.glob(f"*/{NAME}")):
        try:
            yield _searched(read_json(path))
        except (OSError, DamagedError, AttributeError, TypeError, ValueError):
            continue


def _searched(content: Any) -> SearchedParameters:
    # Earlier versions wrote neither key.
    return SearchedParameters(dict(content.get("searched", {})), [*content.get("changed", ())])
