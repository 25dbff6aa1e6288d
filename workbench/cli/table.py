"""`wb table` and `wb show`."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from workbench.api import library
from workbench.cli.app import competition_option, echo_json, note, shared_options
from workbench.cli.commands import Command, experiment_option
from workbench.cli.terminal import echo, echo_lines, short_path, styled
from workbench.core.garbage import no_collection
from workbench.core.printable import one_line
from workbench.core.text_table import text_table
from workbench.core.wording import counted

if TYPE_CHECKING:
    from workbench.api.values import Change, Row

TERMINAL_LINES = 200
COLOURS = {"better": {"fg": "green"}, "worse": {"fg": "red"}, "quiet": {"dim": True}, "head": {"bold": True}}


def _paint(text: str, tone: str) -> str:
    return styled(text, **COLOURS[tone]) if tone in COLOURS else text  # type: ignore[arg-type]


@click.command("table", cls=Command, examples=("wb table --sort cv", 'wb table --filter weather --filter "seconds<60"'))
@click.option(
    "--sort",
    default="exp",
    show_default=True,
    metavar="COLUMN",
    help="The column to sort by: cv, change, seconds, …; -cv reverses the order.",
)
@click.option(
    "--filter",
    "filters",
    multiple=True,
    metavar="TEXT",
    help='A word, or a condition such as "cv>0.78"; may be repeated.',
)
@click.option("--all", "show_all", is_flag=True, help="Show every run, not only the current one of each experiment.")
@click.option(
    "--limit", default=-1, metavar="N", help="Show at most N rows; 0 for all. [default: 200, all with --json and --csv]"
)
@click.option("--csv", "as_csv_text", is_flag=True, help="Print every run as CSV.")
@competition_option
@shared_options
@no_collection()
def table_command(
    sort: str,
    filters: tuple[str, ...],
    show_all: bool,
    limit: int,
    as_csv_text: bool,
    slug: str | None,
    as_json: bool,
) -> None:
    """List experiments with their CV, its change against the base, cost and scores.

    Each experiment is shown by the run of its current definition. If there is none, the title says how the run shown
    differs: [other folds], [edited since], ….

    "fold SD" is the standard deviation of the fold scores. The 95 % interval is of the change alone. A mark follows the
    change: "*" if it is beyond noise, allowing for all changes that are compared on the same folds; "~" if it may be
    noise; "^" if the run or its base was selected on these folds, so that the change is biased. --json and --csv print
    every run.
    """
    from workbench.api.values import RunTable, as_csv, as_dicts

    competition = library.competition(slug)
    rows = competition.table(filters=filters, sort=sort)
    unrun_experiments = [] if filters or as_json or as_csv_text else competition.runs.waiting(rows)
    if not (show_all or as_json or as_csv_text):
        n_older = sum(not r.latest for r in rows)
        rows = RunTable(r for r in rows if r.latest)
    else:
        n_older = 0
    shown = _limited(rows, limit if limit >= 0 or as_json or as_csv_text else TERMINAL_LINES, newest=sort == "exp")

    if as_json:
        echo_json(as_dicts(shown))
    elif as_csv_text:
        echo_lines(as_csv(shown), nl=False)
    else:
        _print(competition.slug, shown, filtered=bool(filters))
        _print_compared(shown)
        _print_omitted(n_older, len(rows) - len(shown), unrun_experiments)


def _limited(rows: list[Row], limit: int, *, newest: bool) -> list[Row]:
    """Return at most `limit` rows, the last ones if `newest`, else the first; all if it is 0 or less."""
    if limit <= 0 or limit >= len(rows):
        return rows
    return rows[-limit:] if newest else rows[:limit]


def _print(slug: str, rows: list[Row], *, filtered: bool) -> None:
    if not rows:
        echo(f"no run of {slug!r} {'matches' if filtered else 'yet: wb run 1'}")
        return
    # The definition's metric; rows with another one are marked as outdated.
    run = next((r.run for r in reversed(rows) if r.latest and not r.outdated), rows[-1].run)
    direction = "greater is better" if run.greater_is_better else "less is better"
    note(f"{slug}: {run.metric}, {direction}")
    print_rows(rows)


def print_rows(rows: list[Row]) -> None:
    """Print rows of the table in the width of the terminal."""
    from workbench.api.values import as_text

    width = shutil.get_terminal_size((160, 24)).columns if sys.stdout.isatty() else 10_000
    echo_lines(as_text(rows, width=width, paint=_paint))


def _print_compared(rows: list[Row]) -> None:
    """Explain the marks: how many changes are compared, and why runs are marked as optimistic."""
    newest = next((r.family for r in reversed(rows) if r.latest and not r.outdated and len(r.family)), None)
    if newest is not None and len(newest) > 1:
        note(f'{len(newest)} changes are compared on these folds; "*" is beyond noise, allowing for all of them')
    for row in [r for r in rows if r.run.optimistic or r.is_biased][:10]:
        base_reason = "" if row.base is None else f"its base, {row.base.exp}, is {row.base.optimistic}"
        note(f"^ {row.run.exp}: {row.run.optimistic or base_reason}")


def _print_omitted(n_older: int, n_omitted: int, unrun_experiments: list[int]) -> None:
    if n_older:
        note(f"{counted(n_older, 'older run')}: --all")
    if n_omitted > 0:
        note(f"{counted(n_omitted, 'more row')}: --limit 0")
    if unrun_experiments:
        note(
            "not run yet: "
            + ", ".join(map(str, unrun_experiments[:20]))
            + (", …" if len(unrun_experiments) > 20 else "")
        )


@click.command("show", cls=Command, examples=("wb show 12",))
@experiment_option()
@competition_option
@shared_options
def show_command(number: int, slug: str | None, as_json: bool) -> None:
    """Show an experiment's run in detail: folds, seeds, change, importances, files, submissions."""
    competition = library.competition(slug)
    row = competition.runs.row(number)
    importance, models = _importance(competition, row), _models(competition, row)
    recommender = _recommender(competition, row)
    if as_json:
        from workbench.api.values import as_dicts

        submissions = [s.to_dict() for s in row.submissions]
        echo_json(
            {
                **as_dicts([row])[0],
                "importance": importance,
                "models": models,
                **({} if recommender is None else {"recommender": recommender}),
                "submissions_sent": submissions,
                "folder": row.run.folder,
            }
        )
        return
    folder = competition.access.workspace.root / row.run.folder
    for name, value in [*_lines(row, folder), *_rounds(models)]:
        echo(f"{name:<13} {one_line(value)}")
    if recommender is not None:
        _show_recommender(recommender)
    if importance:
        echo("importance    (mean gain)")
        gains = [(one_line(entry["column"]), f"{entry['gain']:,.1f}") for entry in importance[:15]]
        for line in text_table(gains, right=[1], indent="  "):
            echo(line)


def _importance(competition: library.OpenCompetition, row: Row) -> list[dict[str, Any]]:
    if row.run.status != "finished":
        return []
    frame = competition.runs[row.run.exp].importance if row.run.sample is None else None
    return [] if frame is None else frame.to_dicts()


def _models(competition: library.OpenCompetition, row: Row) -> list[dict[str, Any]]:
    """Return the record of each model: rounds, seconds, learning curve."""
    if row.run.status != "finished" or row.run.sample is not None:
        return []
    return competition.runs[row.run.exp].model_notes


def _recommender(competition: library.OpenCompetition, row: Row) -> dict[str, Any] | None:
    if row.run.status != "finished" or row.run.sample is not None:
        return None
    return competition.runs[row.run.exp].recommender


def _show_recommender(recommender: dict[str, Any]) -> None:
    """Print a recommender's validation, the score and recall of each list, and the cost of its stages."""
    for name, value in validation_lines(recommender):
        echo(f"{name:<13} {value}")
    for list_name, sources in recommender["recall"].items():
        score = recommender["list_scores"].get(list_name)
        ceiling = recommender.get("list_ceilings", {}).get(list_name)
        maximum = "" if ceiling is None else f" (a perfect ranker of its candidates: {ceiling:.6f})"
        echo(f"list          {list_name}" + ("" if score is None else f": {score:.6f}{maximum}"))
        rows = [("recall of", "the first", "all", "only this", "candidates")]
        for s in sources:
            only = "" if s["name"] == "together" else f"{s['adds']:.4f}"
            rows.append((s["name"], f"{s['alone_at_k']:.4f}", f"{s['alone']:.4f}", only, f"{s['per_user']:.1f}"))
        for line in text_table(rows, right=range(1, 5), indent="  "):
            echo(line)
    stages = [(s["name"], f"{s['seconds']:.1f}", f"{s['peak_mb']:.0f}") for s in recommender["stages"]]
    for line in text_table([("stages", "seconds", "MB"), *stages], right=(1, 2)):
        echo(line)


def validation_lines(recommender: dict[str, Any]) -> list[tuple[str, str]]:
    """Return lines on a recommender's validation and its ranker's early stopping."""
    if "validation" not in recommender:
        return [("scored", "users held out of the last window (rule of earlier versions; the ranker knew the window)")]
    v, stopping = recommender["validation"], recommender["stopping"]
    by = (
        "users held out of the last window"
        if v["scheme"] == "users"
        else f"windows at the end of the log: {v['windows']}"
    )
    lines = [("scored", f"{by} ({v['why']})")]
    if v.get("doubt"):
        lines.append(("warning", v["doubt"]))
    if len(recommender["window_scores"]) > 1:
        scores = " ".join("-" if s is None else f"{s:.6f}" for s in recommender["window_scores"])
        lines.append(("windows", f"{scores}, the last window first"))
    if recommender["ceiling"] is not None:
        lines.append(("ceiling", f"{recommender['ceiling']:.6f}, the score of a perfect ranker of the candidates"))
    if stopping:
        users = f"{stopping['users']:,} users with all of their {stopping['candidates']:,} candidates"
        lines.append(("stopped by", f"{stopping['by']}: {users}"))
    return lines


def _rounds(models: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Return a label and the best rounds of the folds, for each target and seed."""
    by_fit: dict[tuple[int, int], list[str]] = {}
    for m in models:
        prefix = "all rows: " if m["fold"] < 0 else ""
        by_fit.setdefault((m["target"], m["seed"]), []).append(f"{prefix}{m['rounds']}")
    has_targets, has_seeds = len({t for t, _ in by_fit}) > 1, len({s for _, s in by_fit}) > 1
    lines = [
        ("rounds" + f" t{t}" * has_targets + f" s{s}" * has_seeds, " ".join(rounds))
        for (t, s), rounds in by_fit.items()
    ]
    return lines if any(m["rounds"] for m in models) else []


def _verdict(row: Row, change: Change) -> str:
    """Describe the significance of a change, alone and as one of those compared on the same folds."""
    among = f"one of {change.n_compared} changes compared on these folds"
    if row.is_biased:
        return f"{'' if row.run.optimistic else 'its base was '}selected on these folds, so not comparable"
    if change.n_compared < 2:
        return "beyond noise" if change.clear else "may be noise"
    if change.clear:
        return f"beyond noise, also as {among}"
    return f"beyond noise alone, but it is {among}" if change.clear_alone else f"may be noise ({among})"


def _lines(row: Row, folder: Path) -> list[tuple[str, str]]:
    """Return the label and the text of each line about a run."""
    from workbench.api.values import outdated_text, scores_text

    run = row.run
    lines = [("experiment", f"{run.exp}  {run.title}"), ("run", run.run_id), ("status", run.status)]
    lines += [("error", run.error)] * bool(run.error) if run.error else []
    if run.sample is not None:
        lines.append(("sample", f"{run.sample:.3g} of the rows, a subsample run, not for submission"))
    if row.outdated:
        text = f"{outdated_text(row.outdated)}: `wb run {run.exp}` runs the current definition"
        lines.append(("outdated", text))
    if run.base is not None:
        lines.append(("base", f"{run.base}: {', '.join(run.changes) or 'nothing changed'}"))
    if run.cv_mean is not None and run.cv_std is None:
        lines.append((run.metric, f"{run.cv_mean:.6f}, reported by the notebook"))
    if run.cv_mean is not None and run.cv_std is not None:
        lines.append(
            (
                run.metric,
                f"{run.cv_mean:.6f}, fold SD {run.cv_std:.6f} over {run.cv_folds} folds; OOF {run.oof_score:.6f}",
            )
        )
        if run.optimistic:
            lines.append(("optimistic", f"{run.optimistic}: expect a worse score on new rows"))
        lines.append(("folds", " ".join(f"{s:.6f}" for s in run.fold_scores)))
        if len(run.seeds) > 1:
            lines += [
                (f"seed {seed}", " ".join(f"{score:.6f}" for score in scores))
                for seed, scores in zip(run.seeds, run.seed_scores, strict=True)
            ]
    change = row.change
    if change is not None and change.low is not None:
        interval = f"95 % interval {change.low:+.6f} to {change.high:+.6f}"
        lines.append(("change", f"{change.mean:+.6f} ({interval}): {_verdict(row, change)}"))
    if run.seconds is not None:
        memory = "" if run.peak_rss_mb is None else f", {run.peak_rss_mb:.0f} MB"
        lines.append(("cost", f"{run.seconds:.1f} s{memory}"))
    lines += [("commit", run.git_commit or "not in git"), ("folder", str(short_path(folder)))]
    for s in row.submissions:
        parts = (s.status, s.ref or "", scores_text(s), s.error or "")
        lines.append(("submission", " ".join(part for part in parts if part)))
    return lines
