"""`wb.competition(…).features`: the features of `features.py`, their values, build times and cache; selection."""

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
    """The method of `Features.select`, its options, and the list that is written; None for the method's default.

    Attributes
    ----------
    method : str
        "gain", "permutation", "null" or "rfe"; for their options see `workbench.analysis.selection.SelectionOptions`.
    name : str, optional
        Of the list; by default "012-null" for experiment 12 and this method.
    force : bool
        Replace a list of that name that was made from something else, or edited.
    sample : float, optional
        A share of the train rows, for a subsample run.
    threads : int, optional
        None for all available cores.
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
    """A sequence of the names of the features in `features.py`, with methods to read, build and select features.

    It has more than 15 methods, as half of them make it a sequence that can be compared and displayed.
    """

    def __init__(self, access: CompetitionAccess) -> None:
        self._access = access

    @property
    def names(self) -> list[str]:
        """The names, read from `features.py` now."""
        from workbench.features import load_features

        return list(load_features(self._access.competition))

    @property
    def path(self) -> Path:
        """The path of `features.py`, which may not exist."""
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

    __hash__ = None  # type: ignore[assignment]  # it can equal a list, which has no hash

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
        """Return a lazy frame of the row key and a feature's columns; it is built if it is not cached.

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
        """Return the inputs, columns, build time and cache state of each feature.

        Parameters
        ----------
        names : sequence of str
            By default all. With `build`, built-in features are only built if named here.
        exp : int, optional
            Adds the features of this experiment.
        build : bool
            Build the features that are not cached, first.
        report : callable, optional
            Called with the text of each step.

        Raises
        ------
        NotFoundError, FeatureError
            For an unknown name or input, a cycle of features, or one that breaks its contract.
        """
        from workbench.features import summarise_features

        self._access.require_rows("wb features")
        if exp is not None:
            # "weather.rain" is a column of the feature "weather"; "rows" is not a feature.
            feature_names = [name.partition(".")[0] for name in self._access.feature_names(names, exp)]
            names = [name for name in dict.fromkeys(feature_names) if name != "rows"]
            if not names:
                return []
        blocks = self._access.blocks(report)
        summaries = summarise_features(blocks, names)
        if build:
            blocks.build(s.name for s in summaries if s.kind == "feature" and (names or s.where))
            summaries = summarise_features(blocks, names)
        return summaries

    def graph(self) -> tuple[str, Path]:
        """Return the graph of features and inputs as mermaid text, and the path of ``features.svg``, which shows it."""
        from workbench.core.cache import write_text
        from workbench.features import as_mermaid, as_svg

        user_summaries = [s for s in self.summaries() if s.where]
        path = self._access.competition.folder / "features.svg"
        write_text(path, as_svg(user_summaries))
        return as_mermaid(user_summaries), path

    def cached(self) -> list[CachedBlock]:
        """Return the feature blocks on disk, the most recently used first."""
        from workbench.features import cached_blocks

        return cached_blocks(self._access.blocks())

    @property
    def cache_limit(self) -> int:
        """The maximal size of the cache in bytes."""
        return self._access.blocks().store.max_bytes

    def prune_cache(self, limit: int | None = None) -> list[CachedBlock]:
        """Remove blocks that no present feature uses, then the least recently used ones until `limit` bytes are left.

        A block that a training is reading is kept.

        Returns
        -------
        list of CachedBlock
            The removed blocks.
        """
        from workbench.features import cached_blocks

        blocks = self._access.blocks()
        removed_blocks, total_bytes = [], 0
        for block in cached_blocks(blocks):
            total_bytes += block.size_bytes
            is_removable = not block.current or (limit is not None and total_bytes > limit)
            if is_removable and blocks.store.remove(block.key):
                total_bytes -= block.size_bytes
                removed_blocks.append(block)
        return removed_blocks

    def select(
        self,
        number: int,
        options: SelectOptions = SelectOptions(),
        *,
        listen: Listener | None = None,
        report: Report | None = None,
        progress: Callable[[int, int, str], None] | None = None,
    ) -> Selection:
        """Select the useful columns of an experiment, as ``wb select`` does, and write a list of them.

        Raises
        ------
        ConfigError, FeatureError
            For an unknown method or option, an existing other list of that name, or if no column is left.
        """
        from workbench.analysis.selection import ListRequest, options_of, select

        option_values = asdict(options)
        threads = option_values.pop("threads")
        request = ListRequest(**{name: option_values.pop(name) for name in ("name", "force", "sample")})
        selection_options = options_of(option_values.pop("method"), option_values)
        workspace, competition = self._access.workspace, self._access.competition
        context = call_context(listen, threads=threads, report=report, progress=progress)
        return select(workspace, competition, number, selection_options, request=request, context=context)
