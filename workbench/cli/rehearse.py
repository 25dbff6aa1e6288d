"""`wb rehearse`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from workbench.api import library
from workbench.cli.app import echo_json, note, shared_options
from workbench.cli.commands import Command
from workbench.cli.completion import complete_competition
from workbench.cli.terminal import echo, short_path
from workbench.core.errors import ConfigError

if TYPE_CHECKING:
    from workbench.api.values import LogSpec, RehearsalSpec

EXAMPLES = (
    "wb rehearse houses --train houses.csv --target price --metric rmsle \\",
    "    --holdout 0.2 && wb fetch houses",
    "wb rehearse shop --train bought.csv --task recommend --user customer \\",
    "    --item article --time day --horizon 28d --metric recall@20",
)
LOG_OPTIONS = ("user", "item", "time", "kind", "unit", "horizon", "cut", "weights", "first")
ROW_OPTIONS = ("holdout", "after", "drop", "weight", "greater_is_better")


@click.command("rehearse", cls=Command, examples=EXAMPLES)
@click.argument("slug", shell_complete=complete_competition)
@click.option(
    "--train",
    required=True,
    type=click.Path(path_type=Path),
    help="The file with the target: CSV (any encoding, also compressed), JSON lines or Parquet.",
)
@click.option("--encoding", default="", help="Encoding of --train, such as cp949. [default: detected]")
@click.option("--target", "targets", multiple=True, help="The target column; may be repeated.")
@click.option("--metric", required=True, help="A built-in metric, or FILE.py:FUNCTION.")
@click.option("--holdout", type=float, help="The share of the rows that is used as test, at random.")
@click.option("--after", metavar="COL=VALUE", help="Use rows with COL >= VALUE as test.")
@click.option("--id", "ids", multiple=True, help="The id column; may be repeated. [default: id, row_id, or a new one]")
@click.option(
    "--drop", multiple=True, help="A column to remove from the data, as it is known only afterwards; may be repeated."
)
@click.option(
    "--table",
    "tables",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Another file of the competition; may be repeated.",
)
@click.option(
    "--task",
    type=click.Choice(["binary", "multiclass", "regression", "recommend"]),
    help="The task; with recommend --train is a log of interactions, whose end is hidden. [default: by the target]",
)
@click.option("--public", default=0.3, show_default=True, help="The share of the test rows for the public score.")
@click.option("--daily-limit", default=5, show_default=True, help="The number of submissions per day (UTC).")
@click.option("--deadline", metavar="DATE", help="Hide the private score until this date: 2026-12-31.")
@click.option("--leaderboard", type=click.Path(path_type=Path), help="CSV with team and score, for ranks and medals.")
@click.option("--greater-is-better/--less-is-better", default=None, help="The direction of a custom metric.")
@click.option("--weight", help="The weight of a weighted metric: a column or an expression.")
@click.option("--user", metavar="COL", help="recommend: the column of users or sessions.")
@click.option("--item", metavar="COL", help="recommend: the column of items.")
@click.option("--time", metavar="COL", help="recommend: the column of times (dates, times or integers).")
@click.option("--kind", metavar="COL", help="recommend: the column of event types, if any.")
@click.option(
    "--unit", type=click.Choice(["s", "ms", "us", "ns"]), help="recommend: the unit of integer times. [default: s]"
)
@click.option("--horizon", metavar="28d", help="recommend: the length of the hidden end: 28d, 12h.")
@click.option(
    "--cut",
    type=click.Choice(["last", "session"]),
    help="recommend: predict events after the log, or the rest of sessions that begin in the horizon. [default: last]",
)
@click.option(
    "--weights", metavar="KIND=W,…", help="recommend: one row per user and type, with the weight of each type."
)
@click.option("--first", metavar="KIND,…", help="recommend: types of which only the next event is predicted.")
@click.option("--title", default="", help="The competition's title.")
@click.option("--seed", default=42, show_default=True, help="The seed of random splits.")
@click.option("--force", is_flag=True, help="Replace an existing rehearsal.")
@shared_options
def rehearse_command(slug: str, as_json: bool, force: bool, **options: Any) -> None:
    """Host a local competition with hidden solution, public and private scores, daily limit and leaderboard."""
    deadline = options.pop("deadline")
    options["deadline"] = _date(deadline) if deadline else None
    spec = _log_spec(options) if options["task"] == "recommend" else _spec(options)
    folder = library.rehearse(slug, spec, force=force, report=note)
    slug = folder.parent.name
    if as_json:
        echo_json({"slug": slug, "folder": str(folder)})
        return
    echo(f"created rehearsal {slug} in {short_path(folder)}, which contains the solution")
    echo(f"next: wb fetch {slug}")


def _spec(options: dict[str, Any]) -> RehearsalSpec:
    from workbench.api.values import RehearsalSpec

    for name in LOG_OPTIONS:
        if options.pop(name):
            raise click.UsageError(f"--{name} is for --task recommend")
    if not options["targets"]:
        raise click.UsageError("Missing option '--target'.")
    after = options.pop("after")
    if after is not None and "=" not in after:
        raise click.UsageError(f"--after {after!r}: expected COL=VALUE, for example --after date=2013-11-01")
    return RehearsalSpec(after=tuple(after.split("=", 1)) if after else None, **options)


def _log_spec(options: dict[str, Any]) -> LogSpec:
    from workbench.api.values import InteractionsSpec, LogSpec

    for name in ROW_OPTIONS:
        if options.pop(name) not in (None, ()):
            option = "--greater-is-better" if name == "greater_is_better" else f"--{name}"
            raise click.UsageError(f"{option} is not for --task recommend; --horizon selects the hidden events")
    for name in ("user", "item", "time", "horizon"):
        if not options[name]:
            raise click.UsageError(f"Missing option '--{name}', which --task recommend needs.")
    log_options = {name: options.pop(name) for name in LOG_OPTIONS}
    log = InteractionsSpec(
        user=log_options["user"],
        item=log_options["item"],
        time=log_options["time"],
        horizon_s=_seconds(log_options["horizon"]),
        kind=log_options["kind"],
        unit=log_options["unit"] or "s",
        cut=log_options["cut"] or "last",
        id="{user}_{kind}" if log_options["weights"] else "{user}",
        weights=_weights(log_options["weights"]) if log_options["weights"] else {},
        first=tuple(log_options["first"].split(",")) if log_options["first"] else (),
    )
    options.pop("task")
    ids, targets = options.pop("ids"), options.pop("targets")
    if len(ids) > 1 or len(targets) > 1:
        raise click.UsageError(
            "--task recommend takes at most one --id and one --target, the two columns of the sample"
        )
    return LogSpec(log=log, id="".join(ids), target="".join(targets) or "items", **options)


def _seconds(text: str) -> int:
    from workbench.api.values import parse_duration

    duration = parse_duration(text)
    if duration is None:
        raise click.UsageError(f"--horizon {text!r}: expected a duration such as 28d or 12h (units s, m, h, d, w)")
    return int(duration.total_seconds())


def _weights(text: str) -> dict[str, float]:
    from workbench.api.values import parse_weights

    try:
        return parse_weights(text)
    except ValueError:
        raise click.UsageError(f"--weights {text!r}: expected KIND=W,KIND=W, each type once") from None


def _date(text: str) -> datetime:
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"--deadline {text!r}: expected a date such as 2026-12-31 or 2026-12-31T23:59") from None
    return value if value.tzinfo else value.replace(tzinfo=UTC)
