"""`wb table` and `wb show`."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING, Any

import click

from workbench.api import library
from workbench.cli.app import competition_option, echo_json, note, shared_options
from workbench.cli.commands import Command, experiment_option
from workbench.cli.terminal import echo, echo_lines, styled
from workbench.core.garbage import no_collection
from workbench.core.printable import one_line
from workbench.core.text_table import text_table

if TYPE_CHECKING:
    from workbench.api.values import Change, Row

TERMINAL_LINES = 200
COLOURS = {"better": {"fg": "green"}, "worse": {"fg": "red"}, "quiet": {"dim": True}, "head": {"bold": True}}


def _paint(text: str, tone: str) -> str:
    return styled(text, **COLOURS[tone]) if tone in COLOURS else text  # type: ignore[arg-type]


@click.command("table", cls=Command, examples=("wb table --sort cv", 'wb table --filter weather --filter "seconds<60"'))
@click.option(
    "--sort", default="exp", show_default=True, metavar="COLUMN", help="cv, change, seconds, …; -cv turns it."
)
@click.option("--filter", "filters", multiple=True, metavar="TEXT", help='A word, or "cv>0.78"; may be repeated.')
@click.option("--all", "show_all", is_flag=True, help="Every run, not only the one that stands for its experiment.")
@click.option(
    "--limit", default=-1, metavar="N", help="Show N lines; 0 for all. [default: 200, all with --json, --csv]"
)
@click.option("--csv", "as_comma", is_flag=True, help="Every run as CSV.")
@competition_option
@shared_options
@no_collection()
def table_command(
    sort: str,
    filters: tuple[str, ...],
    show_all: bool,
    limit: int,
    as_comma: bool,
    slug: str | None,
    as_json: bool,
) -> None:
    """Show every experiment: CV, its change against the base and whether that is beyond noise, cost, scores.

    An experiment is shown by the run of its present definition; where there is none, the title says how the run
    differs: [other folds], [edited since], ….

    "fold SD": the standard deviation of the folds' scores. The 95 % interval is that of the change alone. "*" behind a
    change: beyond noise, with all changes that are compared on the same folds taken together; "~": it may be noise;
    "^": chosen on these very folds, so CV and change are optimistic; or its base was, and the change is too bad.
    With --json and --csv there is one entry per run.
    """
    from workbench.api.values import RunTable, as_csv, as_dicts

    competition = library.competition(slug)
    rows = competition.table(filters=filters, sort=sort)
    waiting = [] if filters or as_json or as_comma else competition.runs.waiting(rows)
    if not (show_all or as_json or as_comma):
        older = sum(not r.latest for r in rows)
        rows = RunTable(r for r in rows if r.latest)
    else:
        older = 0
    shown = _limited(rows, limit if limit >= 0 or as_json or as_comma else TERMINAL_LINES, newest=sort == "exp")

    if as_json:
        echo_json(as_dicts(shown))
    elif as_comma:
        echo_lines(as_csv(shown), nl=False)
    else:
        _print(competition.slug, shown, filtered=bool(filters))
        _print_compared(shown)
        _print_rest(older, len(rows) - len(shown), waiting)


def _limited(rows: list[Row], limit: int, *, newest: bool) -> list[Row]:
    """Return at most `limit` rows (all for 0 and less): in the order of the experiments the newest, else the first."""
    if limit <= 0 or limit >= len(rows):
        return rows
    return rows[-limit:] if newest else rows[:limit]


def _print(slug: str, rows: list[Row], *, filtered: bool) -> None:
    if not rows:
        echo(f"no run of {slug!r} {'matches' if filtered else 'yet: wb run 1'}")
        return
    # The definition's metric: lines of another one are marked as outdated.
    run = next((r.run for r in reversed(rows) if r.latest and not r.outdated), rows[-1].run)
    direction = "greater is better" if run.greater_is_better else "less is better"
    note(f"{slug}: {run.metric}, {direction}")
    print_rows(rows)


def print_rows(rows: list[Row]) -> None:
    """Print lines of the table, as wide as the terminal is."""
    from workbench.api.values import as_text

    width = shutil.get_terminal_size((160, 24)).columns if sys.stdout.isatty() else 10_000
    echo_lines(as_text(rows, width=width, paint=_paint))


def _print_compared(rows: list[Row]) -> None:
    """Say how many changes the marks are of, and why scores are marked as chosen."""
    newest = next((r.family for r in reversed(rows) if r.latest and not r.outdated and len(r.family)), None)
    if newest is not None and len(newest) > 1:
        note(f'{len(newest)} changes are compared on these folds; "*" is beyond noise with all of them taken together')
    for row in [r for r in rows if r.run.optimistic or r.chosen][:10]:
        of_base = "" if row.base is None else f"its base, {row.base.exp}, is {row.base.optimistic}"
        note(f"^ {row.run.exp}: {row.run.optimistic or of_base}")


def _print_rest(older: int, cut: int, waiting: list[int]) -> None:
    if older:
        note(f"{older} older runs: --all")
    if cut > 0:
        note(f"{cut} more lines: --limit 0")
    if waiting:
        note("not run yet: " + ", ".join(map(str, waiting[:20])) + (", …" if len(waiting) > 20 else ""))


@click.command("show", cls=Command, examples=("wb show 12",))
@experiment_option()
@competition_option
@shared_options
def show_command(number: int, slug: str | None, as_json: bool) -> None:
    """Show one experiment's run in full: folds, seeds, change, importances, files, submissions."""
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
    for name, value in [*_lines(row), *_rounds(models)]:
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
    """Return what the run's record says of each model: where it stopped, how long it took, its learning curve."""
    if row.run.status != "finished" or row.run.sample is not None:
        return []
    return competition.runs[row.run.exp].model_notes


def _recommender(competition: library.OpenCompetition, row: Row) -> dict[str, Any] | None:
    if row.run.status != "finished" or row.run.sample is not None:
        return None
    return competition.runs[row.run.exp].recommender


def _show_recommender(recommender: dict[str, Any]) -> None:
    """Print how it was scored, the score of each list, what its sources find, and what the stages took."""
    for name, value in validation_lines(recommender):
        echo(f"{name:<13} {value}")
    for of, sources in recommender["recall"].items():
        score, ceiling = recommender["list_scores"].get(of), recommender.get("list_ceilings", {}).get(of)
        allowed = "" if ceiling is None else f" of the {ceiling:.6f} that its candidates allow"
        echo(f"list          {of}" + ("" if score is None else f": {score:.6f}{allowed}"))
        rows = [("what came is", "in the first", "in all", "only there", "candidates")]
        for s in sources:
            only = "" if s["name"] == "together" else f"{s['adds']:.4f}"
            rows.append((s["name"], f"{s['alone_at_k']:.4f}", f"{s['alone']:.4f}", only, f"{s['per_user']:.1f}"))
        for line in text_table(rows, right=range(1, 5), indent="  "):
            echo(line)
    stages = [(s["name"], f"{s['seconds']:.1f}", f"{s['peak_mb']:.0f}") for s in recommender["stages"]]
    for line in text_table([("stages", "seconds", "MB"), *stages], right=(1, 2)):
        echo(line)


def validation_lines(recommender: dict[str, Any]) -> list[tuple[str, str]]:
    """Return how a recommender was scored, of how much, and what its ranker was stopped by."""
    if "validation" not in recommender:
        return [("scored", "users held out of the last window, the rule of earlier versions; a ranker knew the window")]
    v, stopping = recommender["validation"], recommender["stopping"]
    by = "users held out of the last window" if v["scheme"] == "users" else f"windows before the end: {v['windows']}"
    lines = [("scored", f"{by} ({v['why']})")]
    if v.get("doubt"):
        lines.append(("doubtful", v["doubt"]))
    if len(recommender["window_scores"]) > 1:
        scores = " ".join("-" if s is None else f"{s:.6f}" for s in recommender["window_scores"])
        lines.append(("windows", f"{scores}, the last one first"))
    if recommender["ceiling"] is not None:
        lines.append(("ceiling", f"{recommender['ceiling']:.6f}: the score of a perfect ranker of these candidates"))
    if stopping:
        users = f"{stopping['users']:,} users, all {stopping['candidates']:,} candidates of theirs"
        lines.append(("stopped by", f"{stopping['by']}: {users}"))
    return lines


def _rounds(models: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Return a line of the best rounds, fold by fold, for each target and seed."""
    by_fit: dict[tuple[int, int], list[str]] = {}
    for m in models:
        of = "all rows: " if m["fold"] < 0 else ""
        by_fit.setdefault((m["target"], m["seed"]), []).append(f"{of}{m['rounds']}")
    several = len({t for t, _ in by_fit}) > 1, len({s for _, s in by_fit}) > 1
    named = [
        ("rounds" + f" t{t}" * several[0] + f" s{s}" * several[1], " ".join(rounds))
        for (t, s), rounds in by_fit.items()
    ]
    return named if any(m["rounds"] for m in models) else []


def _verdict(row: Row, change: Change) -> str:
    """Say how sure a change is, alone and as one of those that are compared on the same folds."""
    among = f"one of {change.compared} changes compared on these folds"
    if row.chosen:
        return f"{'' if row.run.optimistic else 'its base was '}chosen on these folds, so not comparable"
    if change.compared < 2:
        return "beyond noise" if change.clear else "may be noise"
    if change.clear:
        return f"beyond noise, also as {among}"
    return f"beyond noise alone, but it is {among}" if change.clear_alone else f"may be noise ({among})"


def _lines(row: Row) -> list[tuple[str, str]]:
    from workbench.api.values import outdated_text, scores_text

    run = row.run
    lines = [("experiment", f"{run.exp}  {run.title}"), ("run", run.run_id), ("status", run.status)]
    lines += [("error", run.error)] * bool(run.error) if run.error else []
    if run.sample is not None:
        lines.append(("sample", f"{run.sample:.3g} of the rows: a subsample run, not for submission"))
    if row.outdated:
        text = f"{outdated_text(row.outdated)}: `wb run {run.exp}` runs the present definition"
        lines.append(("outdated", text))
    if run.base is not None:
        lines.append(("base", f"{run.base}: {', '.join(run.changes) or 'nothing changed'}"))
    if run.cv_mean is not None and run.cv_std is None:
        lines.append((run.metric, f"{run.cv_mean:.6f}, as the notebook says itself"))
    if run.cv_mean is not None and run.cv_std is not None:
        lines.append(
            (
                run.metric,
                f"{run.cv_mean:.6f}, fold SD {run.cv_std:.6f} over {run.cv_folds} folds; OOF {run.oof_score:.6f}",
            )
        )
        if run.optimistic:
            lines.append(("optimistic", f"{run.optimistic}: expect less on new rows"))
        lines.append(("folds", " ".join(f"{s:.6f}" for s in run.fold_scores)))
        if len(run.seeds) > 1:
            lines += [
                (f"seed {s}", " ".join(f"{v:.6f}" for v in v_))
                for s, v_ in zip(run.seeds, run.seed_scores, strict=True)
            ]
    change = row.change
    if change is not None and change.low is not None:
        interval = f"95 % interval {change.low:+.6f} to {change.high:+.6f}"
        lines.append(("change", f"{change.mean:+.6f} ({interval}): {_verdict(row, change)}"))
    if run.seconds is not None:
        memory = "" if run.peak_rss_mb is None else f", {run.peak_rss_mb:.0f} MB"
        lines.append(("cost", f"{run.seconds:.1f} s{memory}"))
    lines += [("commit", run.git_commit or "not in git"), ("folder", run.folder)]
    for s in row.submissions:
        parts = (s.status, s.ref or "", scores_text(s), s.error or "")
        lines.append(("submission", " ".join(part for part in parts if part)))
    return lines
