"""Content keys of feature blocks: from their code, their inputs and the files that they read."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from workbench.core.cache import content_key
from workbench.core.errors import FeatureError, NotFoundError, did_you_mean
from workbench.core.read_once import digest_once
from workbench.data.competition import Competition
from workbench.features import auto
from workbench.features.auto_plan import AutoPlan
from workbench.features.code_keys import code_key
from workbench.features.definition import Feature, FoldFeature

__all__ = ["AUTO", "BlockKeys", "is_built_in"]

AUTO = "auto"
"""The name of the built-in feature, which a feature of the same name in `features.py` replaces."""

AUTO_VERSION = [
    "6b355305c7d9f43b26cd3ec04df76b1e4aae45076e4fb9425e32b835e99af2d7",
    "ffd750ef4d17c011620791518ca5b541955fb221b795d696bf291f612ff869d0",
]
"""Represents the code of ``auto`` in keys; change it when the columns or values of ``auto`` change.

The code itself does not count, so that it may be moved; these are digests of an earlier version of it.
`tests/test_pinned.py` compares the values with stored ones.
"""


def is_built_in(feature: Feature | FoldFeature) -> bool:
    """Tell whether a feature is built in, not from `features.py`."""
    return isinstance(feature, Feature) and feature.path == Path(auto.__file__)


@dataclass
class BlockKeys:
    """The content keys of a competition's features, computed once.

    Attributes
    ----------
    competition : Competition
    features : dict
        Name -> feature, ``auto`` included.
    served_plan : AutoPlan, or None
        The plan of ``auto`` of a served model; None to derive it from the rows.
    file_digests : dict
        Path -> the SHA-256 that is part of a key, for files that features read.
    """

    competition: Competition
    features: dict[str, Feature | FoldFeature]
    served_plan: AutoPlan | None = None
    file_digests: dict[Path, str] = field(default_factory=dict)
    _keys: dict[str, str] = field(default_factory=dict)

    def feature(self, name: str) -> Feature | FoldFeature:
        """Return a feature by name.

        Raises
        ------
        NotFoundError
            If there is none; the hint has similar names.
        """
        if name not in self.features:
            names = [*self.features, "rows"]
            path = self.competition.paths.features
            raise NotFoundError(
                f"no feature is called {name!r} in {path}", hint=did_you_mean(name, names, kind="feature")
            )
        return self.features[name]

    def key(self, name: str, chain: tuple[str, ...] = ()) -> str:
        """Return the key of a feature's block: of its code, its inputs and files, and the version of polars.

        Parameters
        ----------
        name : str
        chain : tuple of str
            The features that led to this one by their inputs, to detect cycles.

        Raises
        ------
        FeatureError
            For a cycle, which the message shows, or a missing file.
        NotFoundError
            For an input that is neither a table nor a feature.
        """
        if name not in self._keys:
            feature = self.feature(name)
            if is_built_in(feature):
                self._keys[name] = self._auto_key()
            elif isinstance(feature, FoldFeature):
                self._keys[name] = content_key(feature.key, [self._column_key(c) for c in feature.columns])
            else:
                inputs = [(i, self.input_key(feature, i, (*chain, name))) for i in feature.inputs]
                path = self.competition.paths.features
                # By its name in features.py, as one function may create several features.
                code = code_key(path if path.exists() else feature.path, feature.name)
                files = [(file, self._file_key(feature, file)) for file in feature.files]
                self._keys[name] = content_key("block-v3", code, inputs, files, pl.__version__)
        return self._keys[name]

    @property
    def plan_key(self) -> str:
        """The key of the plan of ``auto`` in the cache, as deriving it takes several passes over the rows."""
        return content_key("auto-plan", self._auto_key())

    def _auto_key(self) -> str:
        dataset = [list(self.competition.ids.key_columns), self.competition.n_train]
        kind = "auto-v3" if self.served_plan is None else f"auto-served {self.served_plan.content}"
        return content_key(kind, AUTO_VERSION, self.competition.rows.content_key, dataset, pl.__version__)

    def _file_key(self, feature: Feature, file: str) -> str:
        path = self.competition.paths.features.parent / file
        if not path.is_file():
            raise FeatureError(
                f"feature {feature.name!r} ({feature.where}) lists the file {file!r}, which is not there: {path}",
                hint="files are named by their path from the folder of features.py",
            )
        self.file_digests[path] = digest_once(path)
        return self.file_digests[path]

    def _column_key(self, column: str) -> str:
        feature, _, name = column.partition(".")
        return self.key(feature) if name and feature in self.features else self.competition.rows.content_key

    def input_key(self, reader: Feature, name: str, chain: tuple[str, ...] = ()) -> str:
        """Return the key of an input's content: of rows, a table, or another feature."""
        kind = self.input_kind(reader, name, chain)
        if kind == "rows":
            return self.competition.rows.content_key
        if kind == "table":
            return self.competition.manifest.table(name, slug=self.competition.slug).content
        if name in chain:
            raise FeatureError(
                f"features read each other in a circle: {' -> '.join((*chain, name))} ({reader.where})",
                hint="take what they share into a feature of its own",
            )
        return self.key(name, chain)

    def input_kind(self, reader: Feature, name: str, chain: tuple[str, ...] = ()) -> str:
        """Return whether an input of the feature `reader` is "rows", a "table" or a "feature".

        Raises
        ------
        FeatureError
            For a name that is both a table and a feature, or a feature that depends on the fold.
        NotFoundError
            For any other name.
        """
        if name == "rows":
            return "rows"
        is_table = name in self.competition.manifest.tables
        # A feature may have the name of the table that it reads: `def weather(rows, weather)`.
        is_feature = name in self.features and name != reader.name
        if is_table and is_feature:
            raise FeatureError(
                f"feature {reader.name!r} ({reader.where}) reads {name!r}, which is both a table and a feature",
                hint="rename the feature",
            )
        if is_table:
            return "table"
        if is_feature:
            if isinstance(self.features[name], FoldFeature):
                raise FeatureError(
                    f"feature {reader.name!r} ({reader.where}) reads {name!r}, which depends on the fold",
                    hint="list both in the experiment instead",
                )
            return "feature"
        if name in self.competition.manifest.excluded:
            self.competition.manifest.table(name, slug=self.competition.slug)  # raises, with the reason
        inputs = ["rows", *self.competition.manifest.tables, *self.features]
        readers = f"; it is read by {' -> '.join((*chain, name))}" if len(chain) > 1 else ""
        raise NotFoundError(
            f"feature {reader.name!r} ({reader.where}) reads {name!r}, which is neither a table nor a feature{readers}",
            hint=did_you_mean(name, inputs, kind="input"),
        )
