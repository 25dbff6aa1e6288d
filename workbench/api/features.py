"""`wb.competition(…).features`: the features of `features.py`, what they cost, their cache, and which are worth it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, overload

from workbench.api.access import CompetitionAccess, Report, call_context
from workbench.core.html_page import as_table

if TYPE_CHECKING:
    import polars as pl

    from workbench.analysis.selection import Selection
    from workbench.core.events import Listener
    from workbench.features import CachedBlock, FeatureSummary

__all__ = ["Features", "SelectOptions"]


@dataclass(frozen=True)
class SelectOptions:
    """How `Features.select` judges columns, and where their list goes; None for the method's own default.

    Attributes
    ----------
    method : str
        "gain", "permutation", "null" or "rfe"; their options: `workbench.analysis.selection.SelectionOptions`.
    name : str, optional
        The list's; by default "012-null".
    force : bool
        Replace a list of that name that was made from something else, or edited.
    sample : float, optional
        A share of the train rows, for a subsample run.
    threads : int, optional
        None for as many as the process may use.
    """

    method: str = "permutation"
    name: str | None = None
    force: bool = False
    sample: float | None = None
    threads: int | None = None
    top: int | None = None
    by: str | None = None
    share: float | None = None
    repeats: int | None = None
    alpha: float | None = None
    shuffles: int | None = None
    percentile: float | None = None
    minutes: float | None = None
    trials: int | None = None
    step: float | None = None
    seed: int | None = None
    holdout: bool = True


class Features(Sequence[str]):
    """The names of the features in the competition's `features.py`, and what is done with features."""

    def __init__(self, access: CompetitionAccess) -> None:
        self._access = access

    @property
    def names(self) -> list[str]:
        """The names, as `features.py` has them now."""
        from workbench.features import load_features

        return list(load_features(self._access.competition))

    @property
    def path(self) -> Path:
        """The competition's `features.py`, whether it is there or not."""
        return self._access.competition.paths.features

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        return self.names[index]

    def __len__(self) -> int:
        return len(self.names)

    def __eq__(self, other: object) -> bool:
        return self.names == (other.names if isinstance(other, Features) else other)

    __hash__ = None  # type: ignore[assignment]  # it equals a list, which has none either

    def __repr__(self) -> str:
        return repr(self.names)

    def _repr_html_(self) -> str:
        if self._access.competition.definition.interactions is not None:
            return as_table(("feature",), [(name,) for name in self.names])
        lines = [
            (s.name, ", ".join(s.reads), ", ".join(s.columns or ()), s.seconds, "cached" if s.cached else "")
            for s in self.summaries()
        ]
        return as_table(("feature", "reads", "columns", "seconds", ""), lines)

    def scan(self, name: str) -> pl.LazyFrame:
        """Return a feature's frame, built if it is not in the cache: the row key and its columns.

        Raises
        ------
        NotFoundError, FeatureError
            For an unknown feature, or one that breaks its contract.
        """
        self._access.require_rows("a feature")
        return self._access.blocks().lines(name)

    def summaries(
        self,
        names: Sequence[str] = (),
        *,
        exp: int | None = None,
        build: bool = False,
        report: Report = lambda _: None,
    ) -> list[FeatureSummary]:
        """Return what each feature reads and gives, what it cost, whether it is cached; with `build`, build it first.

        Parameters
        ----------
        names : sequence of str
            Only these; all by default. What is built in is built only where it is named.
        exp : int, optional
            Also those of an experiment.

        Raises
        ------
        NotFoundError, FeatureError
            For an unknown name or input, features that read each other in a circle, one that breaks its contract.
        """
        from workbench.features import summarise_features

        self._access.require_rows("wb features")
        if exp is not None:
            # Of "weather.rain" the feature is listed; the columns of rows are no feature.
            named = [name.partition(".")[0] for name in self._access.feature_names(names, exp)]
            names = [name for name in dict.fromkeys(named) if name != "rows"]
            if not names:
                return []
        blocks = self._access.blocks(report)
        summaries = summarise_features(blocks, names)
        if build:
            blocks.build(s.name for s in summaries if s.kind == "feature" and (names or s.where))
            summaries = summarise_features(blocks, names)
        return summaries

    def graph(self) -> tuple[str, Path]:
        """Return what reads what as mermaid's text, and draw it in ``features.svg`` of the competition's folder."""
        from workbench.core.cache import write_text
        from workbench.features import as_mermaid, as_svg

        defined = [s for s in self.summaries() if s.where]
        path = self._access.competition.folder / "features.svg"
        write_text(path, as_svg(defined))
        return as_mermaid(defined), path

    def cached(self) -> list[CachedBlock]:
        """Return the feature blocks on disk, the most recently used first."""
        from workbench.features import cached_blocks

        return cached_blocks(self._access.blocks())

    @property
    def cache_limit(self) -> int:
        """The bytes that the cache may hold."""
        return self._access.blocks().store.max_bytes

    def prune_cache(self, limit: int | None = None) -> list[CachedBlock]:
        """Remove blocks that no feature uses as it now stands, then the least recently used until `limit` holds.

        A block that a training is reading stays.

        Returns
        -------
        list of CachedBlock
            What was removed.
        """
        from workbench.features import cached_blocks

        blocks = self._access.blocks()
        removed, total = [], 0
        for block in cached_blocks(blocks):
            total += block.size_bytes
            unwanted = not block.current or (limit is not None and total > limit)
            if unwanted and blocks.store.remove(block.key):
                total -= block.size_bytes
                removed.append(block)
        return removed

    def select(
        self,
        number: int,
        options: SelectOptions = SelectOptions(),
        *,
        listen: Listener | None = None,
        report: Report | None = None,
        progress: Callable[[int, int, str], None] | None = None,
    ) -> Selection:
        """Find the columns of an experiment that are worth keeping, as ``wb select`` does, and write their list.

        Raises
        ------
        ConfigError, FeatureError
            For an unknown method or option, another list of that name, or where no column is left.
        """
        from workbench.analysis.selection import ListRequest, options_of, select

        values = asdict(options)
        threads = values.pop("threads")
        request = ListRequest(**{name: values.pop(name) for name in ("name", "force", "sample")})
        chosen = options_of(values.pop("method"), values)
        place, competition = self._access.workspace, self._access.competition
        context = call_context(listen, threads=threads, report=report, progress=progress)
        return select(place, competition, number, chosen, request=request, context=context)
