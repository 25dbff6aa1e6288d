"""What a training will take is said before it begins, and refused with what would fit."""

from __future__ import annotations

import json
from dataclasses import replace

import polars as pl
import pytest

from workbench.core.context import RunContext, text_listener
from workbench.core.errors import MemoryLimitError
from workbench.experiments.ready import ready
from workbench.experiments.run import run
from workbench.experiments.run_folder import read_run
from workbench.models.memory_estimate import MemoryEstimate, check_memory
from workbench.models.train import train

GB = 2**30
ESTIMATE = MemoryEstimate(
    binned_bytes=4 * GB,
    fold_bytes=4 * GB,
    encoded_bytes=0,
    row_bytes=GB,
    temporary_bytes=GB // 2,
    n_train=80_000_000,
    n_columns=50,
    storage="bins",
)


def test_what_fits_is_said() -> None:
    assert check_memory(ESTIMATE, GB // 2, 12 * GB) == "training will need about 10.0 GB of the memory limit of 12.0 GB"


def test_what_does_not_fit_is_refused_with_the_ways_out() -> None:
    with pytest.raises(
        MemoryLimitError, match=r"would need about 10.0 GB, more than the memory limit of 6.2 GB"
    ) as raised:
        check_memory(ESTIMATE, GB // 2, int(6.2 * GB))
    said = raised.value
    assert "4.0 GB for 80,000,000 train rows x 50 columns" in said.message
    hint = said.hint
    assert "max_bin = 15" in hint
    assert "26 of the 50 columns" in hint  # 5.2 GB of room, 1 GB of it for the rows, 8 / 50 GB a column
    assert "--sample 0.57" in hint
    assert "--memory-limit 11.0GB" in hint


def test_only_ways_that_lead_out_are_named() -> None:
    with pytest.raises(MemoryLimitError) as raised:
        check_memory(ESTIMATE, GB // 2, 5 * GB)
    assert "max_bin" not in raised.value.hint  # half of the bins would still be too much
    with pytest.raises(MemoryLimitError) as raised:
        check_memory(ESTIMATE, GB, GB)
    assert "columns" not in raised.value.hint
    assert "--sample" not in raised.value.hint


def test_every_way_out_leads_below_the_limit() -> None:
    used, limit = GB // 2, int(6.2 * GB)
    few = ESTIMATE.with_few_bins()
    columns = replace(
        ESTIMATE, binned_bytes=ESTIMATE.binned_bytes * 26 // 50, fold_bytes=ESTIMATE.fold_bytes * 26 // 50
    )
    share = replace(
        ESTIMATE,
        **{k: int(getattr(ESTIMATE, k) * 0.57) for k in ("binned_bytes", "fold_bytes", "encoded_bytes", "row_bytes")},
    )
    for way in (few, columns, share):
        assert used + way.total_bytes <= limit


def test_a_run_over_the_limit_ends_before_training(small) -> None:
    made = small()
    made.experiment(1, 'features = ["rows", "te_town"]\n[model]\nnum_iterations = 5\n')
    tight = replace(made.workspace, memory_limit=64 * 2**20)
    with pytest.raises(MemoryLimitError, match="already in use"):
        run(tight, made.open.access.competition, 1)
    done = run(
        made.workspace, made.open.access.competition, 1, context=RunContext((text_listener((said := []).append),))
    ).run
    assert any(line.startswith("training will need about ") for line in said)
    memory = read_run(done.folder)[1]["memory"]
    assert memory["limit_mb"] > memory["foreseen_mb"] > 0


@pytest.mark.parametrize(("task", "metric"), [("two", "rmse"), ("multiclass", "mlogloss")])
def test_the_predictions_of_all_models_are_counted(small, task: str, metric: str) -> None:
    """What one seed more holds to the end is what the forecast grows by."""
    made = small(task=task, metric=metric)
    made.experiment(1, 'features = ["rows.x"]\n[model]\nnum_iterations = 2\n')
    found = ready(made.workspace, made.open.access.competition, 1)
    result = train(found.problem, found.model, (1,))
    of_a_seed = sum(p.oof.nbytes + p.test.nbytes for p in result.parts) + result.seed_oof[0].nbytes
    one, two = (found.model.memory_estimate(found.problem, seeds).total_bytes for seeds in ((1,), (1, 2)))
    assert two - one == of_a_seed
    assert one > of_a_seed + result.oof.nbytes + result.test.nbytes


def test_categories_that_train_lacks_are_counted_and_said(small) -> None:
    from workbench.features import Blocks, build_matrix

    made = small()
    towns = made.folder / "data" / "tables" / "test.parquet"
    changed = pl.read_parquet(towns).with_columns(
        pl.when(pl.int_range(pl.len()) < 7).then(pl.lit("new town")).otherwise("town").alias("town")
    )
    changed.write_parquet(towns)
    _as_fetched(made, towns)
    made.experiment(1, 'features = ["rows"]\n[model]\nnum_iterations = 5\n')
    outcome = run(made.workspace, made.open.access.competition, 1)
    assert "town: 1 category occurs only in test, in 7 of 100 test rows: no model was trained with it" in outcome.notes
    details = read_run(outcome.run.folder)[1]
    assert details["unseen_categories"] == {"town": {"values": 1, "rows": 7}}
    stored = json.loads((outcome.run.folder / "models" / "categories.json").read_text())
    assert "new town" not in stored["town"]
    assert build_matrix(Blocks(made.open.access.competition, {}), ["rows"]).frame["town"][400:407].null_count() == 7


def _as_fetched(made, path) -> None:
    """Enter a table into the manifest as it now is."""
    from workbench.core.cache import file_sha256
    from workbench.data.competition import read_manifest, write_manifest

    folder = path.parent
    manifest = read_manifest(folder, slug=made.slug)
    stat, sha256 = path.stat(), file_sha256(path)
    info = replace(
        manifest.tables[path.stem],
        source_sha256=sha256,
        sha256=sha256,
        size_bytes=stat.st_size,
        mtime_ns=stat.st_mtime_ns,
    )
    write_manifest(folder, replace(manifest, tables=manifest.tables | {path.stem: info}))
