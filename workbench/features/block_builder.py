"""Compute feature blocks and write them to the cache, one by one or several in one pass."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import polars as pl

from workbench.core.cache import CacheEntry, Store
from workbench.core.context import RunContext
from workbench.core.errors import BusyError, DataError, FeatureError, StorageError, WorkbenchError
from workbench.core.memory import format_bytes, measured_peak
from workbench.core.read_once import has_digest
from workbench.core.user_code import as_error, is_interrupt
from workbench.data.competition import ROW
from workbench.features.block_keys import BlockKeys, is_built_in
from workbench.features.definition import Feature
from workbench.features.evaluate import Evaluation, write_blocks
from workbench.features.inputs import ORDERING_SHARE, FeatureInputs
from workbench.features.shared_joins import GroupBySize, SharedJoins
from workbench.features.unused_columns import unused_by_auto

__all__ = ["BlockBuilder"]

MAX_JOINT_FEATURES = 8
"""The number of features to compute in one pass, as each needs memory for its groups and its result."""

MAX_JOINT_COLUMNS = 64
"""The number of columns of several features to compute in one pass: a batch has all of them for 262,144 rows."""

MAX_CALLED_FEATURES = 64
"""The number of features whose functions are called before their blocks are written: each locks a file."""

GROUPS_SHARE = 2
"""The group-bys of a pass may take up to half of the memory limit, as far as that can be known beforehand."""

Pass = tuple[SharedJoins | None, list[Evaluation]]
"""The features that are computed together; None for a feature alone."""


@dataclass
class BlockBuilder:
    """Computes the blocks of features.

    Attributes
    ----------
    keys : BlockKeys
    inputs : FeatureInputs
    store : Store
    ensure_block : callable
        Takes the name of a feature whose block must exist before others are computed.
    context : RunContext
    """

    keys: BlockKeys
    inputs: FeatureInputs
    store: Store
    ensure_block: Callable[[str], object]
    context: RunContext

    def build_partitioned(self, features: Iterable[Feature]) -> None:
        """Compute the features with the same `partition_by` in common passes where possible.

        Features that can't be computed in a common pass are left out.
        """
        groups: dict[tuple[str, int], list[Feature]] = {}
        for feature in features:
            if feature.partition_by:
                groups.setdefault((feature.partition_by, self._depth(feature)), []).append(feature)
        for (_, _), group in sorted(groups.items(), key=lambda item: item[0][1]):
            for start in range(0, len(group), MAX_JOINT_FEATURES):
                self._build_together(group[start : start + MAX_JOINT_FEATURES])

    def build_shared(self, features: Iterable[Feature]) -> None:
        """Compute features without `partition_by` in common passes, in which they share group-bys and joins.

        Features that can't be computed in a common pass are computed alone here, because their functions have already
        been called. Built-in features, and those that another process computes, are left out.

        Raises
        ------
        FeatureError
            If a function raises, or a result is invalid; the blocks of the features before it are in the cache.
        """
        by_depth: dict[int, list[Feature]] = {}
        for feature in features:
            if not feature.partition_by and not is_built_in(feature):
                by_depth.setdefault(self._depth(feature), []).append(feature)
        for _, group in sorted(by_depth.items()):
            for start in range(0, len(group), MAX_CALLED_FEATURES):
                self._build_shared(group[start : start + MAX_CALLED_FEATURES])

    def build(self, feature: Feature, key: str) -> CacheEntry:
        """Compute a feature and return its block."""
        self._ensure_inputs(feature)
        with self._explained(feature):
            self._write([feature])
        block = self.store.get(key)
        if block is None:
            raise FeatureError(
                f"feature {feature.name!r}: its block in {self.store.folder} vanished while it was written"
            )
        return block

    def _depth(self, feature: Feature) -> int:
        """Return the length of the longest chain of features that a feature is computed from."""
        inputs = [self.keys.features[i] for i in feature.inputs if self.keys.input_kind(feature, i) == "feature"]
        return 1 + max((self._depth(f) for f in inputs if isinstance(f, Feature)), default=0)

    def _ensure_inputs(self, feature: Feature) -> None:
        for name in feature.inputs:
            if self.keys.input_kind(feature, name) == "feature":
                self.ensure_block(name)

    def _explained(self, feature: Feature) -> AbstractContextManager[None]:
        """Return a context in which an exception becomes an error that names the feature."""

        def failure(exc: BaseException) -> WorkbenchError:
            # An error of a recipe names neither the feature that called it nor the line.
            is_explained = isinstance(exc, WorkbenchError) and type(exc) is not FeatureError
            return exc if is_explained else self.inputs.evaluation(feature)[0].failure(exc)  # type: ignore[return-value]

        return as_error(failure, pass_through=(MemoryError,))

    def _build_shared(self, features: Sequence[Feature]) -> None:
        failure: WorkbenchError | None = None
        for n_ready, feature in enumerate(features):
            try:
                self._ensure_inputs(feature)
            except WorkbenchError as exc:
                failure, features = exc, features[:n_ready]
                break
        passes: list[Pass] = []
        sizes: dict[tuple[bytes, str], GroupBySize] = {}
        with ExitStack() as locks:
            for n_called, feature in enumerate(features):
                try:
                    evaluation = self._call(feature, locks)
                except WorkbenchError as exc:
                    failure, features = exc, features[:n_called]
                    break
                if evaluation is not None:
                    _add_to_pass(passes, evaluation, self.inputs.limit_bytes // GROUPS_SHARE, sizes)
            for joins, evaluations in passes:
                group = [evaluation.feature for evaluation in evaluations]
                if joins is None or len(group) == 1:
                    with self._explained(group[0]):
                        self._write(group, evaluations, is_announced=len(features) == 1)
                else:
                    frame = joins.frame(evaluations[0].inputs("rows", None))
                    with self._one_by_one_after_failure(group):
                        self._write(group, evaluations, frame)
        if failure is not None:
            # Those whose common pass failed are yet to be computed, and one of them may fail itself.
            for feature in features:
                self.ensure_block(feature.name)
            raise failure

    def _call(self, feature: Feature, locks: ExitStack) -> Evaluation | None:
        """Call the function of a feature; return None if another process computes it, or it was computed alone here.

        Parameters
        ----------
        feature : Feature
        locks : ExitStack
            Gets the lock of the feature if it is yet to be computed.
        """
        key = self.keys.key(feature.name)
        with ExitStack() as feature_lock:
            try:
                # Waiting while holding the locks of others, two processes could wait for each other.
                feature_lock.enter_context(self.store.lock(key, wait=False))
            except BusyError:
                return None
            if self.store.peek(key) is not None:
                return None
            self._announce([feature.name])
            with self._explained(feature):
                evaluation = self.inputs.evaluation(feature)[0].call()
                if evaluation.row_columns is None:
                    self._write([feature], [evaluation], is_announced=True)
                    return None
            locks.push(feature_lock.pop_all())
        return evaluation

    def _build_together(self, group: list[Feature]) -> None:
        for feature in group:
            self._ensure_inputs(feature)
        with ExitStack() as locks:
            # Sorted, so that two processes never wait for each other.
            for key in sorted(self.keys.key(feature.name) for feature in group):
                locks.enter_context(self.store.lock(key))
            group = [feature for feature in group if self.store.peek(self.keys.key(feature.name)) is None]
            group = self._with_distinct_expressions(group)
            if len(group) > 1:
                with self._one_by_one_after_failure(group):
                    self._write(group)

    @contextmanager
    def _one_by_one_after_failure(self, group: Sequence[Feature]) -> Iterator[None]:
        """Ignore the failure of a common pass: computing the features one by one shows which one fails, and where."""
        try:
            yield
        except (StorageError, MemoryError):
            raise
        except BaseException as exc:
            if is_interrupt(exc):
                raise
            reason = (str(exc).strip().splitlines() or ["not together"])[0]
            self.context.stage(f"features {', '.join(f.name for f in group)} one by one: {reason}")

    def _with_distinct_expressions(self, group: list[Feature]) -> list[Feature]:
        """Return the features that return expressions, without those whose columns another one has."""
        chosen, used_columns = [], set[str]()
        for feature in group:
            try:
                evaluation, _ = self.inputs.evaluation(feature)
                part = next(iter(evaluation.parts or (None,)))
                expressions = evaluation.expressions(part)
                if expressions is None:
                    continue
                columns = set(evaluation.schema(evaluation.inputs("rows", part).select(ROW, *expressions))) - {ROW}
            except BaseException as exc:
                if is_interrupt(exc):
                    raise
                continue  # the error is reported when the feature is computed by itself
            if not columns & used_columns:
                chosen.append(feature)
                used_columns |= columns
        return chosen

    def _announce(self, names: Sequence[str]) -> None:
        self.context.stage(f"feature{'s' * (len(names) > 1)} {', '.join(names)}")

    def _write(
        self,
        group: list[Feature],
        called: Sequence[Evaluation] = (),
        shared: pl.LazyFrame | None = None,
        *,
        is_announced: bool = False,
    ) -> None:
        """Write the blocks of features that are computed in one pass; each note has an equal share of the time.

        Parameters
        ----------
        group : list of Feature
        called : sequence of Evaluation
            Those of the features, if their functions have been called.
        shared : LazyFrame, optional
            The columns of all features.
        is_announced : bool
            Whether the user has been told that they are computed.
        """
        names = [feature.name for feature in group]
        if not is_announced:
            self._announce(names)
        started_at = time.perf_counter()
        notes: list[dict[str, Any]] = [{"feature": feature.name, "reads": list(feature.inputs)} for feature in group]
        limit_bytes = self.inputs.limit_bytes
        with measured_peak() as peak, ExitStack() as open_blocks:
            evaluations = [(e, 1) for e in called] or [self.inputs.evaluation(feature) for feature in group]
            paths = [
                open_blocks.enter_context(self.store.writing(self.keys.key(feature.name), note))
                for feature, note in zip(group, notes, strict=True)
            ]
            budget_bytes = limit_bytes // ORDERING_SHARE
            written = write_blocks([e for e, _ in evaluations], paths, self.store.folder, budget_bytes, shared)
            self._check_files_unchanged(group)
            seconds = (time.perf_counter() - started_at) / len(group)
            peak_mb = max([peak.mb, *(evaluation.call_peak_mb for evaluation, _ in evaluations)])
            for note, block, (evaluation, n_parts) in zip(notes, written, evaluations, strict=True):
                note.update(columns=block.columns, ranges=block.ranges)
                all_seconds = round(evaluation.call_seconds + seconds, 3)
                note.update(seconds=all_seconds, parts=n_parts, peak_rss_mb=peak_mb)
                if len(names) > 1:
                    note["together"] = names
            if is_built_in(group[0]) and self.keys.served_plan is None:
                notes[0]["left_out"] = self._unused_by_auto(notes[0]["columns"])
        used_bytes = peak_mb * 2**20
        if used_bytes > limit_bytes:
            advice = "" if group[0].partition_by else ', @feature(partition_by="…") takes the rows in parts'
            self.context.say(
                f"feature {', '.join(names)} took {format_bytes(used_bytes)}, more than the memory limit of "
                f"{format_bytes(limit_bytes)}{advice}"
            )

    def _check_files_unchanged(self, group: Sequence[Feature]) -> None:
        """Raise DataError if a file that a feature reads has changed since the key was computed."""
        for feature in group:
            for file in feature.files:
                path = self.keys.competition.paths.features.parent / file
                digest = self.keys.file_digests.get(path)
                if digest is not None and not has_digest(path, digest):
                    raise DataError(
                        f"{path} was changed while feature {feature.name!r}, which reads it, was computed",
                        hint="run it again, now that the file is saved",
                    )

    def _unused_by_auto(self, auto_columns: Iterable[str]) -> dict[str, str]:
        competition = self.keys.competition
        return unused_by_auto(
            competition.rows.scan(),
            list(auto_columns),
            ids=competition.ids.key_columns,
            n_train=competition.n_train,
        )


def _add_to_pass(
    passes: list[Pass], evaluation: Evaluation, max_group_bytes: int, sizes: dict[tuple[bytes, str], GroupBySize]
) -> None:
    """Add a feature to the first pass that has room for it; one that can't share a pass is alone."""
    columns = evaluation.row_columns
    if columns is None:
        raise ValueError(f"{evaluation.feature.name} has no columns to share")
    for joins, evaluations in passes:
        if joins is None:
            continue
        has_room = joins.width + len(columns.outputs) - 1 <= MAX_JOINT_COLUMNS and len(evaluations) < MAX_JOINT_FEATURES
        if has_room and joins.add(columns):
            evaluations.append(evaluation)
            return
    joins = SharedJoins(max_group_bytes, sizes)
    passes.append((joins if joins.add(columns) else None, [evaluation]))
