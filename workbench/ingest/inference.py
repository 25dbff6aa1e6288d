"""`competition.toml` and the first experiment, inferred from the tables and from what the platform says."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from workbench import metrics
from workbench.competition import Manifest
from workbench.errors import DataError, NotFoundError
from workbench.platforms import CompetitionFacts

__all__ = ["Inferred", "baseline_text", "definition_text", "infer"]

DEFAULT_METRIC = {"binary": "auc", "multiclass": "mlogloss", "regression": "rmse"}


@dataclass(frozen=True)
class Inferred:
    """What a definition needs, and why: `reasons` maps a key of the file to a comment."""

    slug: str
    title: str
    platform: str
    task: str
    id_columns: tuple[str, ...]
    targets: tuple[str, ...]
    metric: str
    greater_is_better: bool | None
    train: str
    test: str
    sample: str
    weight: str | None
    scheme: str
    time_column: str | None
    free_text: tuple[str, ...]
    reasons: dict[str, str] = field(default_factory=dict)


def infer(manifest: Manifest, tables: Path, facts: CompetitionFacts, platform: str) -> Inferred:
    """Infer a definition for a plain case: one train, one test and one sample file.

    Parameters
    ----------
    manifest : Manifest
    tables : Path
        The folder of the Parquet files.
    facts : CompetitionFacts
        What the platform says; it goes before what the files suggest.
    platform : str

    Raises
    ------
    DataError
        When the case is not plain; the message says what is missing and to write the file by hand.
    """
    reasons: dict[str, str] = {}
    train, test, sample = (_role(manifest, role, facts.slug) for role in ("train", "test", "sample"))
    columns = {name: list(manifest.tables[name].dtypes) for name in (train, test, sample)}
    ids = facts.id_columns or tuple(c for c in columns[sample] if c in columns[test])
    reasons["id"] = "said by the platform" if facts.id_columns else f"the columns of {sample} that {test} has"
    targets = facts.target_columns or _targets(columns[train], columns[test], columns[sample], ids)
    reasons["target"] = "said by the platform" if facts.target_columns else f"what {sample} asks for and {train} has"
    if not ids or not targets:
        raise _not_plain(facts.slug, f"no {'id' if not ids else 'target'} found: {sample} has {columns[sample]}")
    task, reasons["task"] = (facts.task, "said by the platform") if facts.task else _task(tables, train, targets)
    metric, reasons["metric"] = _metric(facts, task)
    time_column = _time_column(manifest, tables, train, test)
    scheme = "time" if time_column else ("stratified" if task != "regression" and len(targets) == 1 else "kfold")
    reasons["scheme"] = (
        f"all of {test} is later than {train}" if time_column else "rows of train and test are not ordered in time"
    )
    return Inferred(
        slug=facts.slug,
        title=facts.title,
        platform=platform,
        task=task,
        id_columns=ids,
        targets=targets,
        metric=metric,
        greater_is_better=facts.greater_is_better if ".py:" in metric else None,
        train=train,
        test=test,
        sample=sample,
        weight=facts.weight_column,
        scheme=scheme,
        time_column=time_column,
        free_text=_free_text(manifest, tables, train, (*ids, *targets)),
        reasons=reasons,
    )


def _role(manifest: Manifest, role: str, slug: str) -> str:
    names = [n for n in manifest.tables if role in n.lower() or (role == "sample" and "submission" in n.lower())]
    exact = [n for n in names if n.lower() in (role, f"{role}_submission", f"{role}submission")]
    found = exact or names
    if len(found) != 1:
        have = ", ".join(manifest.tables)
        raise _not_plain(slug, f"expected one {role} file, found {len(found)} among the tables {have}")
    return found[0]


def _not_plain(slug: str, what: str) -> DataError:
    return DataError(
        f"can't infer the definition of {slug!r}: {what}",
        hint=f"write competitions/{slug}/competition.toml by hand (slug, task, id, target, metric, [tables]), "
        f"then `wb fetch {slug}` again",
    )


def _targets(train: list[str], test: list[str], sample: list[str], ids: tuple[str, ...]) -> tuple[str, ...]:
    asked = [c for c in sample if c not in ids]
    if all(c in train for c in asked):
        return tuple(asked)
    # One column per class: the target itself is the one column that only train has.
    only_train = [c for c in train if c not in test]
    return tuple(only_train) if len(only_train) == 1 else ()


def _task(tables: Path, train: str, targets: tuple[str, ...]) -> tuple[str, str]:
    column = pl.scan_parquet(tables / f"{train}.parquet").select(targets[0]).collect()[targets[0]]
    n = column.n_unique() - bool(column.null_count())
    if n == 2:
        return "binary", f"{targets[0]} has two values"
    if not column.dtype.is_numeric():
        return "multiclass", f"{targets[0]} is text with {n:,} values"
    if column.dtype.is_integer() and n <= 20:
        return "multiclass", f"{targets[0]} is a whole number with {n} values; if they are an amount, write regression"
    return "regression", f"{targets[0]} is a number with {n:,} values"


def _metric(facts: CompetitionFacts, task: str) -> tuple[str, str]:
    if facts.metric and ".py:" in facts.metric:
        return facts.metric, "said by the platform"
    try:
        return metrics.get(facts.metric or "").name, "said by the platform"
    except NotFoundError:
        why = (
            f"the platform says {facts.metric!r}, which is not built in"
            if facts.metric
            else "the platform does not say"
        )
        return DEFAULT_METRIC[task], f"{why}: the usual one for the task stands in"


def _time_column(manifest: Manifest, tables: Path, train: str, test: str) -> str | None:
    """Return the date or time column by which all of test is later than all of train, if there is one."""
    shared = manifest.tables[train].dtypes.keys() & manifest.tables[test].dtypes.keys()
    for name in sorted(shared):
        if manifest.tables[train].dtypes[name].startswith(("Date", "Datetime")):
            last = pl.scan_parquet(tables / f"{train}.parquet").select(pl.col(name).max()).collect().item()
            first = pl.scan_parquet(tables / f"{test}.parquet").select(pl.col(name).min()).collect().item()
            if last is not None and first is not None and first >= last:
                return name
    return None


def _free_text(manifest: Manifest, tables: Path, train: str, known: tuple[str, ...]) -> tuple[str, ...]:
    """Return text columns with nearly as many values as rows: names and free text, useless as categories."""
    info = manifest.tables[train]
    texts = [c for c, t in info.dtypes.items() if t == "String" and c not in known]
    if not texts:
        return ()
    counts = pl.scan_parquet(tables / f"{train}.parquet").select(pl.col(texts).n_unique()).collect().row(0, named=True)
    return tuple(c for c, n in counts.items() if n > 100 and n > 0.5 * info.rows)


# ------------------------------------------------------------------------------------------------------------ texts


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_toml(v) for v in value) + "]"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
    return str(value)


def definition_text(inferred: Inferred) -> str:
    """Return the text of `competition.toml`, with a comment behind every guess."""
    reasons = inferred.reasons

    def one_or_list(values: tuple[str, ...]) -> str:
        return _toml(values[0] if len(values) == 1 else values)

    lines = [
        f"slug = {_toml(inferred.slug)}",
        f"title = {_toml(inferred.title)}",
        f"platform = {_toml(inferred.platform)}",
        f"task = {_toml(inferred.task)}  # {reasons['task']}",
        f"id = {one_or_list(inferred.id_columns)}  # {reasons['id']}",
        f"target = {one_or_list(inferred.targets)}  # {reasons['target']}",
        f"metric = {_toml(inferred.metric)}  # {reasons['metric']}",
    ]
    if inferred.greater_is_better is not None:
        lines.append(f"greater_is_better = {_toml(inferred.greater_is_better)}")
    lines += [f"weight = {_toml(inferred.weight)}"] * bool(inferred.weight)
    lines += ["", "[tables]", f"train = {_toml(inferred.train)}", f"test = {_toml(inferred.test)}"]
    lines += [f"sample_submission = {_toml(inferred.sample)}", "", "[cv]"]
    lines.append(f"scheme = {_toml(inferred.scheme)}  # {reasons['scheme']}")
    lines += [f"column = {_toml(inferred.time_column)}"] * bool(inferred.time_column)
    return "\n".join([*lines, "folds = 5", "seed = 42", ""])


def baseline_text(inferred: Inferred) -> str:
    """Return the text of the first experiment: every column of the tables, LightGBM's usual settings."""
    drop = ""
    if inferred.free_text:
        drop = f"drop = {_toml(inferred.free_text)}  # nearly every value differs\n"
    return (
        'title = "baseline: every column as it is"\n'
        'features = ["rows"]\n'
        f"{drop}"
        "seeds = [1]\n"
        "\n"
        "[model]  # LightGBM's own parameter names\n"
        "learning_rate = 0.1\n"
        "num_leaves = 31\n"
        "num_iterations = 1000\n"
        "early_stopping_round = 50\n"
    )
