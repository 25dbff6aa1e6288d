"""A competition on disk: the only module that knows the folder convention."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from workbench import metrics
from workbench.core.cache import content_key, read_json, write_json
from workbench.core.errors import ConfigError, DamagedError, DataError, NotFoundError, near
from workbench.core.frames import parquet_schema
from workbench.data.competition.answer import IdTemplate, as_written, match_targets
from workbench.data.competition.definition import Definition, read_definition
from workbench.data.competition.importing import load_code
from workbench.data.competition.own_code import own_file
from workbench.data.competition.row_numbers import find_row_numbers
from workbench.data.competition.tables import Manifest, check_table, read_manifest, scan
from workbench.data.competition.weights import RowWeights, read_weights
from workbench.data.workspace import Workspace, experiment_files, experiment_numbers

ROW = "__row__"
"""The row key: the stable number of a row, train first, then test, in file order."""


@dataclass(frozen=True)
class Competition:
    """A competition: its definition, its folder and its data. All paths are resolved.

    Nothing is read before it is asked for; tables are lazy frames.
    """

    definition: Definition
    folder: Path
    cache_limit: int | None = None
    columns: tuple[str, ...] | None = None
    """The columns of the rows, where a model was trained on them: what else the tables share does not count."""
    empty_types: Mapping[str, pl.DataType] | None = None
    """Types of columns of the rows that have no value, where a model was trained: a column of nothing tells none."""

    @property
    def slug(self) -> str:
        """The competition's name on its platform, and its folder's."""
        return self.definition.slug

    @property
    def tables_folder(self) -> Path:
        """Where the Parquet tables are."""
        return self.folder / "data" / "tables"

    @property
    def folds_folder(self) -> Path:
        """Where the folds are saved."""
        return self.folder / "data" / "folds"

    @property
    def cache_folder(self) -> Path:
        """Where feature blocks are kept."""
        return self.folder / "cache"

    @property
    def runs_folder(self) -> Path:
        """Where the run folders are."""
        return self.folder / "runs"

    def study_folder(self, number: int) -> Path:
        """Return the folder of an experiment's study, which need not exist."""
        return self.folder / "studies" / f"{number:03d}"

    @property
    def features_path(self) -> Path:
        """The competition's own features; the file need not exist."""
        return self.folder / "features.py"

    @cached_property
    def manifest(self) -> Manifest:
        """What `wb fetch` wrote of the tables."""
        return read_manifest(self.tables_folder, slug=self.slug)

    @cached_property
    def metric(self) -> metrics.Metric:
        """The competition's metric: built in, or the function of its own that the definition names."""
        d = self.definition
        if ".py:" not in d.metric:
            return metrics.get(d.metric)
        function = self.load_function(d.metric)
        name = d.metric.rpartition(":")[2]
        return metrics.from_function(
            function, name, greater_is_better=bool(d.greater_is_better), needs=d.metric_needs or "value"
        )

    # ------------------------------------------------------------------------------------------- experiment files

    def experiment_path(self, number: int) -> Path:
        """Return the path of an experiment's file, which need not exist.

        Raises
        ------
        ConfigError
            When two files have the number: 12.toml and 012.toml.
        """
        path, *duplicates = experiment_files(self.folder, number)
        if duplicates:
            names = " and ".join(p.name for p in (path, *duplicates))
            raise ConfigError(
                f"experiment {number} has {1 + len(duplicates)} files in {path.parent}: {names}",
                hint=f"keep one as {number:03d}.toml; for another experiment `wb new` gives the next number",
            )
        return path

    def experiment_numbers(self) -> list[int]:
        """Return the numbers of the experiments that have a file, ascending."""
        return experiment_numbers(self.folder)

    def selection_path(self, name: str) -> Path:
        """Return the path of a feature list, which need not exist."""
        return self.folder / "selections" / f"{name}.toml"

    def selection_names(self) -> list[str]:
        """Return the names of the feature lists that have a file."""
        return sorted(p.stem for p in (self.folder / "selections").glob("*.toml"))

    # ------------------------------------------------------------------------------------------------------- data

    def table(self, name: str) -> pl.LazyFrame:
        """Return a table, lazily, in file order.

        Raises
        ------
        NotFoundError
            For an unknown name.
        DamagedError
            When its file is not the one that was fetched.
        """
        return scan(self._table_path(name))

    def _table_path(self, name: str) -> Path:
        return check_table(self.tables_folder, self.manifest.table(name, slug=self.slug), slug=self.slug)

    @property
    def n_train(self) -> int:
        """The number of train rows."""
        return self.manifest.table(self.definition.tables.train, slug=self.slug).rows

    @property
    def n_test(self) -> int:
        """The number of test rows."""
        return self.manifest.table(self.definition.tables.test, slug=self.slug).rows

    @cached_property
    def shared_columns(self) -> tuple[str, ...]:
        """The columns that train and test share, in train's order, without the targets.

        What test lacks is never a feature: it would be a leak.
        """
        d = self.definition
        train = self.manifest.table(d.tables.train, slug=self.slug).dtypes
        test = self.manifest.table(d.tables.test, slug=self.slug).dtypes
        self._need_columns(d.targets, train, d.tables.train, "target")
        if self.id_template is None:
            self._need_columns(d.id_columns, test, d.tables.test, "id")
        _ = self.weights
        if self.columns is not None:
            for table, have in ((d.tables.train, train), (d.tables.test, test)):
                for column in self.columns:
                    if column not in have:
                        raise DataError(
                            f"table {table!r} has no column {column!r}, which it had when the model was trained; "
                            f"it has {', '.join(list(have)[:20])}",
                            hint=near(column, have, kind="column"),
                        )
            return self.columns
        return tuple(c for c in train if c in test and c not in d.targets and c not in self.unlike_columns)

    @cached_property
    def unlike_columns(self) -> dict[str, str]:
        """The columns that train and test hold in types that no type holds both of, each with both types.

        They are no columns of the rows: lists beside numbers, for one.
        """
        d = self.definition
        train, test = (self.manifest.table(t, slug=self.slug).dtypes for t in (d.tables.train, d.tables.test))
        differing = [c for c in train if c in test and train[c] != test[c]]
        if not differing:
            return {}
        schemas = [parquet_schema(self._table_path(t)) for t in (d.tables.train, d.tables.test)]
        return {
            c: f"{train[c]} in {d.tables.train}, {test[c]} in {d.tables.test}: no type holds both"
            for c in differing
            if not _go_together(*(schema[c] for schema in schemas))
        }

    @cached_property
    def weights(self) -> RowWeights:
        """What the rows of train weigh in training and in the metric.

        Raises
        ------
        ConfigError
            When an expression can't be read, or names a column that train does not have.
        """
        d = self.definition
        train = self.manifest.table(d.tables.train, slug=self.slug).dtypes
        return read_weights(d, train, where=str(self.folder / "competition.toml"))

    def class_words(self, target: str, classes: Sequence[Any]) -> list[str]:
        """Return the classes of a target as the train file writes them."""
        info = self.manifest.table(self.definition.tables.train, slug=self.slug)
        if info.dtypes[target] != "Boolean":
            return [str(c) for c in classes]
        words = (info.spelled.get(target) or "False/True").split("/")
        return [words[int(c)] for c in classes]

    def sample_column(self, target: str) -> str:
        """Return the sample's column for a target; the target's own name where no column is for it alone."""
        d = self.definition
        if d.tables.sample_submission is None:
            return target
        have = self.manifest.table(d.tables.sample_submission, slug=self.slug).dtypes
        matched = match_targets([c for c in have if c not in d.id_columns], d.targets) or {}
        return next((column for column, of in matched.items() if of == target), target)

    def positive(self, target: str, classes: Sequence[Any]) -> metrics.Positive:
        """Find which of two classes of a target is the positive one: whose probability a prediction is.

        competition.toml says it (`positive`), else the name of the sample's column or of the target, else what is usual
        for such a pair of classes.

        Parameters
        ----------
        classes : sequence
            The two values, as the table has them.

        Raises
        ------
        ConfigError
            When competition.toml names a class that the target does not have.
        """
        labels = self.class_words(target, classes)
        label = self.definition.positive.get(target)
        if label is not None:
            index = metrics.match_label(label, labels)
            if index is None:
                raise ConfigError(
                    f"{self.folder / 'competition.toml'}: positive = {label!r}, but the classes of target {target!r} "
                    f"are {labels[0]!r} and {labels[1]!r}",
                    hint="write one of these two",
                )
            return metrics.Positive(index, "competition.toml")
        positive = metrics.find_positive(labels, (self.sample_column(target), target))
        # What was read as no and yes has an order, whatever its words are.
        is_boolean = all(isinstance(c, bool) for c in classes)
        return metrics.Positive(1, "it is true") if positive.index is None and is_boolean else positive

    def _need_columns(self, wanted: tuple[str, ...], have: dict[str, str], table: str, key: str) -> None:
        for column in wanted:
            if column not in have:
                raise DataError(
                    f"{self.folder / 'competition.toml'}: {key} = {column!r}, but table {table!r} has no such column",
                    hint=near(column, have, kind="column"),
                )

    @cached_property
    def id_template(self) -> IdTemplate | None:
        """How the ids are made from the test table; None where it has them under their names.

        Raises
        ------
        DataError
            When `id_in_test` names a column that test does not have.
        """
        d = self.definition
        if d.id_in_test is None:
            return None
        columns = list(self.manifest.table(d.tables.test, slug=self.slug).dtypes)
        template = IdTemplate.parse(d.id_in_test, columns)
        if template is None:
            raise DataError(
                f"{self.folder / 'competition.toml'}: id_in_test = {d.id_in_test!r} names no columns of table "
                f"{d.tables.test!r}, which has {', '.join(columns[:10])}",
                hint='write a column\'s name, "{Store}_{Date}", or "{row+1}" for the number of the row',
            )
        return template

    @property
    def key_columns(self) -> tuple[str, ...]:
        """The columns that only tell rows apart: the id, where it is one column and no date, and `row_numbers`."""
        return tuple(dict.fromkeys((*self._single_id, *self.row_numbers)))

    @cached_property
    def _single_id(self) -> tuple[str, ...]:
        template = self.id_template
        ids = self.definition.id_columns if template is None else template.columns * template.is_column
        test = self.definition.tables.test
        types = self.manifest.table(test, slug=self.slug).dtypes
        self._need_columns(ids, types, test, "id")
        return ids if len(ids) == 1 and not types[ids[0]].startswith(("Date", "Datetime")) else ()

    @cached_property
    def row_numbers(self) -> dict[str, str]:
        """The columns of train and test, beside an id, that only number the rows of train, and of each why it is so.

        They are no features: where train is sorted by its target, they would give it away.
        """
        d = self.definition
        meant = (*self._single_id, *self.weights.columns, d.query, d.cv.column, d.cv.group)
        types = self.manifest.table(d.tables.train, slug=self.slug).dtypes
        dtypes = {c: types[c] for c in self.shared_columns if c not in meant}
        template = self.id_template
        ids = d.id_columns if template is None else template.columns
        key = content_key("row-numbers-v2", self.rows_content, dtypes, list(ids))
        path = self.folder / "data" / "row_numbers.json"
        with suppress(DamagedError, OSError, KeyError, TypeError):
            noted = read_json(path)
            if noted["key"] == key:
                return dict(noted["columns"])
        reasons = find_row_numbers(self.table(d.tables.train), self.n_train, dtypes, ids)
        with suppress(OSError):
            write_json(path, {"key": key, "columns": reasons})
        return reasons

    def rows(self) -> pl.LazyFrame:
        """Return train and test stacked, in file order, with the row key `ROW`: what features attach to.

        Columns are those that train and test share, without the targets.
        """
        names = self.definition.tables
        columns = list(self.shared_columns)
        train = scan(self._table_path(names.train), ROW, 0).select(ROW, *columns)
        test = scan(self._table_path(names.test), ROW, self.n_train).select(ROW, *columns)
        rows = pl.concat([train, test], how="vertical_relaxed")
        nothing = [pl.lit(None, dtype=t).alias(c) for c, t in (self.empty_types or {}).items()]
        return rows.with_columns(nothing) if nothing else rows

    def rows_between(self, start: int, stop: int) -> pl.LazyFrame:
        """Return the lines of `rows` from row `start` to row `stop` (not included), without reading what is before."""
        names, n_train = self.definition.tables, self.n_train
        types = self.rows().collect_schema()
        pieces = []
        for name, first, end in ((names.train, 0, n_train), (names.test, n_train, n_train + self.n_test)):
            low, high = max(start, first), min(stop, end)
            if low < high:
                pieces.append(scan(self._table_path(name), ROW, first).slice(low - first, high - low))
        return pl.concat([piece.select(pl.col(c).cast(t) for c, t in types.items()) for piece in pieces])

    @property
    def rows_content(self) -> str:
        """The content key of `rows`."""
        names = self.definition.tables
        parts = [self.manifest.table(n, slug=self.slug).content for n in (names.train, names.test)]
        empty = [[{c: str(t) for c, t in self.empty_types.items()}]] if self.empty_types else []
        return content_key("rows", parts, list(self.shared_columns), *empty)

    def feature_table(self, name: str) -> pl.LazyFrame:
        """Return a table as features may see it: train without its targets and without what test lacks."""
        frame = self.table(name)
        return frame.select(self.shared_columns) if name == self.definition.tables.train else frame

    def train_columns(self, *columns: str, key: str = "column") -> pl.DataFrame:
        """Return columns of the train table, in file order.

        Parameters
        ----------
        key : str
            The key of competition.toml that names them, for the message.

        Raises
        ------
        DataError
            For a column that train does not have.
        """
        d = self.definition
        self._need_columns(columns, self.manifest.table(d.tables.train, slug=self.slug).dtypes, d.tables.train, key)
        path = self._table_path(d.tables.train)
        return scan(path, ROW).select(ROW, *columns).sort(ROW).drop(ROW).collect()

    def test_ids(self) -> pl.DataFrame:
        """Return the ids of the test rows, in file order, under the sample's names.

        Raises
        ------
        DataError
            When they are not unique, or null.
        """
        d, template = self.definition, self.id_template
        columns = d.id_columns if template is None else template.columns
        self.check_keys({d.tables.test: columns, d.tables.sample_submission or "": d.id_columns})
        ids = scan(self._table_path(d.tables.test), ROW).select(ROW, *columns).sort(ROW).drop(ROW).collect()
        if template is not None:
            if template.first_row is not None:
                ids = pl.DataFrame({ROW: range(self.n_test)})
            elif not template.is_column:
                ids = as_written(ids, self.manifest.table(d.tables.test, slug=self.slug).spelled)
            ids = template.make(ids, d.id_columns[0]).to_frame()
        name = " + ".join(d.id_columns)
        nulls = int(ids.null_count().sum_horizontal()[0])
        if nulls:
            raise DataError(f"id {name!r} of table {d.tables.test!r} has {nulls:,} nulls, expected none")
        repeated = ids.filter(ids.is_duplicated())
        if repeated.height:
            shown = ", ".join(map(str, repeated.unique(maintain_order=True).head(3).rows()))
            raise DataError(
                f"id {name!r} of table {d.tables.test!r} is not unique: {repeated.height:,} of {ids.height:,} rows "
                f"share theirs, for example {shown}",
                hint=f'name all the id columns in {self.folder / "competition.toml"}: id = ["…", "…"]',
            )
        return ids

    def check_keys(self, keys: Mapping[str, Iterable[str]]) -> None:
        """Refuse tables that an earlier version made, and whose keys may be spelled otherwise there than in the files.

        Parameters
        ----------
        keys : mapping
            By table the columns that are keys; a table that is not there is passed over.

        Raises
        ------
        DataError
            Names table and column, and how to convert them again.
        """
        for name, columns in keys.items():
            info = self.manifest.tables.get(name)
            for column in columns if info is not None and info.keys is None else ():
                if info is not None and info.may_have_lost(column):
                    raise DataError(
                        f"table {name!r} was converted by an earlier version: {column!r} is a key, and became "
                        f"{info.dtypes[column]}, which may spell it otherwise than the file does",
                        hint=f"`wb fetch {self.slug} --force` converts the files again; keys keep their spelling now",
                    )

    # ---------------------------------------------------------------------------------------------- its own code

    def load_function(self, reference: str) -> Any:
        """Return a function of the competition's folder from ``file.py:name``.

        Raises
        ------
        ConfigError
            When the file or the function is missing, the file is outside of the folder, or it raises.
        """
        file, _, name = reference.partition(":")
        path = own_file(self.folder, file, where=f"{self.folder / 'competition.toml'}: {reference!r}")
        module = load_code(path)
        if not callable(getattr(module, name, None)):
            functions = [n for n, v in vars(module).items() if callable(v)]
            raise NotFoundError(f"{path} has no function {name!r}", hint=near(name, functions, kind="function"))
        return getattr(module, name)


APART = (pl.Binary, pl.Duration)
"""Types that polars would cast to others, with another meaning."""


def _go_together(one: pl.DataType, other: pl.DataType) -> bool:
    """Whether rows of two types can be stacked, and mean the same."""
    if any(one.is_nested() != other.is_nested() or (t in (one, other) and one != other) for t in APART):
        return False
    # To polars a time is a number of units since 1970.
    if any(a.is_temporal() and b.is_numeric() for a, b in ((one, other), (other, one))):
        return False
    try:
        pl.concat([pl.DataFrame(schema={"": t}) for t in (one, other)], how="vertical_relaxed")
    except pl.exceptions.PolarsError:
        return False
    return True


def load_competition(workspace: Workspace, slug: str) -> Competition:
    """Return the competition `slug` of a workspace.

    Raises
    ------
    NotFoundError
        When there is none of that name, or it has no definition yet.
    ConfigError
        When its definition is wrong.
    """
    folder = workspace.competition_folder(slug)
    return Competition(read_definition(folder / "competition.toml", slug), folder, workspace.cache_limit)
